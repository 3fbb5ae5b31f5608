"""A small call of every verb whose steps need each other, and of each with a frame of its own: all of them resume."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import snellen
from snellen.methods.forgetting.fine_tuning import FineTuning
from snellen.reproduction.language_model_annotation.materials import (
    COMPOUND,
    FactorAnswerer,
    FactorCaptioner,
    RuleInterpreter,
    definition,
)
from snellen.systems.continuous_nuisance.nuisance_images import shift_nuisance
from snellen.systems.generator_failure.discriminator import WeakEnsembleWarning
from snellen.systems.generator_failure.searching import find_failures
from snellen.systems.language_model_annotation.collaboration import Schedule
from snellen.systems.language_model_annotation.student import StudentFit
from snellen.verbs.worst_case_prompts import worst_case_prompts
from tests.systems.conditional_generation.test_study import studied
from tests.systems.continuous_nuisance.test_nuisance_images import method as nuisance_method
from tests.systems.continuous_nuisance.test_nuisance_images import model as nuisance_model
from tests.systems.functional_hashing.test_cell_search import searched
from tests.systems.generator_failure.parts import cnn, judge, scene_generator
from tests.systems.generator_failure.test_scanning import NUMBERS, PRIOR
from tests.systems.language_model_annotation.test_labelling import WORLD
from tests.systems.scaling_laws.test_planning import planned
from tests.verbs.every_verb import IMAGES, MODEL
from tests.verbs.ill_classifiers import classifier_of, garments, overconfident
from tests.verbs.test_train import PLAN, images
from tests.verbs.test_worst_case_prompts import ANEW, PROMPTS, SETTINGS, Bright


@dataclass(frozen=True)
class Steps:
    """A verb with its arguments.

    Attributes:
        call: of the verb, into a folder.
        timed: names of files that hold clock readings, which no promise is about.
        again: whether the same call reads a finished folder; others refuse it.
    """

    call: Callable[[Path], Any]
    timed: frozenset[str] = frozenset()
    again: bool = True

    def __call__(self, *, out: Path) -> Any:
        """Make the call."""
        return self.call(out)


def _audit(out):
    checks = ["clean", "calibration", "corruption"]
    snellen.audit(MODEL, snellen.load_images(IMAGES).limit(12), checks=checks, out=out, batch_size=6, shards=2)


def _forget(out):
    train, test = garments()["train"].select(range(30)), garments()["val"].select(range(10))
    snellen.forget(
        MODEL, train, FineTuning(epochs=1, batch_size=16), ids=train.ids[:4], test=test, random_sets=0, out=out
    )


def _label(out):
    snellen.label(
        definition(COMPOUND[1], clause=True), WORLD.model_copy(update={"count": 160}).images(split="train"),
        language=RuleInterpreter(), captioner=FactorCaptioner(0), answers=FactorAnswerer(0, 0.0),
        towers="bundled:scene-clip", schedule=Schedule(queries=4, per_query=6, initial=16, rounds=1, batch=4),
        student=StudentFit(width=8, epochs=4), store=out.parent / "labels.sqlite", out=out,
    )  # fmt: skip


def _train(out):
    recipe = {
        "method": "mixup", "architecture": "fashion_cnn", "side": 28, "plan": {**PLAN, "epochs": 3, "batch_size": 8}
    }  # fmt: skip
    snellen.train(recipe, images(16), out=out, val=images(8, 1), onnx=False)


@cache
def _audited():
    """A classifier that is too sure, and what an audit says of it."""
    images = garments()["audited"].select(range(120))
    return snellen.audit(classifier_of(overconfident()), images, checks=["clean", "calibration"])


def _treat(out):
    snellen.treat(_audited(), val=garments()["val"].select(range(80)), findings="calibration", out=out)


def _prompts(out):
    decides = snellen.Classifier(
        Bright(), class_names=["star", "ring"], preparation=snellen.Preprocessing(size=(64, 64)), name="j"
    )
    worst_case_prompts(
        snellen.load_generator("bundled:scene-diffusion"), PROMPTS, judge=decides, retraining=ANEW, out=out, **SETTINGS
    )


def _failures(out):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEnsembleWarning)  # one classifier is enough here
        find_failures(
            scene_generator(), [cnn()], ["star", "cross"], out=out, spaces=("prompts",), templates=("a {}",),
            prior=PRIOR, judge=judge(), numbers=NUMBERS,
        )  # fmt: skip


def _nuisance(out):
    sliders = out.parent / "sliders"
    shift_nuisance(nuisance_method(sliders), [nuisance_model()], out=out, seeds=1, reference_model="bright")


STEPWISE = {
    "audit": Steps(_audit, frozenset({"timing.json"})),
    "nuisance": Steps(_nuisance),
    "forget": Steps(_forget),
    "forgotten prompts": Steps(_prompts),
    "search": Steps(lambda out: searched(out, candidates=4), frozenset({"costs.json"})),
    "label": Steps(_label),
    "train": Steps(_train, again=False),
    "treat": Steps(_treat, frozenset({"timing.json"}), again=False),
    "synthesis plan": Steps(lambda out: planned(out)),
    "robustness study": Steps(lambda out: studied(out)),
    "generator failures": Steps(_failures),
}
