"""System 2, CNS-Bench, on small scenes: four sliders, four classifiers, a filter that shares no weights with any.

The generator is that of scenes, the judge of every reading guided, filtered and decided nothing, and the filter's
encoders (two towers, the image side of a segmenter) are none of the classifiers. Thresholds come from trajectories of
other seeds that the judge labels, as people did for the published ones.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from snellen.core.evidence import Evidence
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.core.system import Scale
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.models.encoders.references import load_encoder
from snellen.models.references import load_two_tower
from snellen.reproduction.continuous_nuisance.answers import of_classifiers
from snellen.reproduction.continuous_nuisance.classifiers import ARMS, REFERENCE, trained_classifiers
from snellen.reproduction.continuous_nuisance.exactness import exactness
from snellen.reproduction.continuous_nuisance.full import full
from snellen.reproduction.continuous_nuisance.oracle import Reading, read
from snellen.reproduction.continuous_nuisance.scales import KNOWN, SHIFTS, SMALL, SMOKE, TEMPLATE, Budget
from snellen.reproduction.continuous_nuisance.switching import switched
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.continuous_nuisance.filter_scores import FilterEncoders, filter_scores
from snellen.systems.continuous_nuisance.filtering import Kept, calibrated, keep, rates, threshold_keeping
from snellen.systems.continuous_nuisance.measuring import measure_trajectories
from snellen.systems.continuous_nuisance.slider import Slider
from snellen.systems.continuous_nuisance.slider_folder import sliders_in
from snellen.systems.continuous_nuisance.trajectories import Trajectories, sample_trajectories
from snellen.systems.continuous_nuisance.words import class_prompt

#: Fewest trajectories under a shift for figures of classifiers under it.
FEWEST = 5

#: Images that are sampled together.
_TOGETHER = 30


def continuous_nuisance(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 2.

    Returns:
        ``neutral.difference``, ``gate.difference`` and ``gate.opened``, ``alone.difference``: largest differences of
        images, and of latents above and below the gate. ``oracle.SHIFT.spearman`` and ``.rising``, and their means.
        ``filter.*`` and ``single.*``: rates of the four scores and of the class's score alone on images the judge
        labels; ``filter.wrong_before`` and ``wrong_after``: share of trajectories of another class at the largest
        strength; ``filter.least_kept`` of the trajectories of a shift. Of classifiers, what
        :func:`~snellen.reproduction.continuous_nuisance.answers.of_classifiers` gives. ``switch.*`` and ``slider.*``:
        prompt switching beside sliders. ``cost.rows`` and ``cost.calls``: shares of what each image takes alone. What
        could not be measured is None.

    Raises:
        InputError: the scale is full, and something that it needs is not there.
    """
    if scale == "full":
        return full(seed, progress)
    budget, prefix = (SMOKE, "smoke.") if scale == "smoke" else (SMALL, "")
    classifiers = trained_classifiers(budget, seed, progress)
    sampler = Sampler(load_generator("bundled:scene-diffusion"), steps=budget.steps)
    with tempfile.TemporaryDirectory() as folder:
        sliders: dict[str, Slider] = {}
        for name in budget.shifts:
            sliders |= sliders_in(
                Path(folder),
                sampler.generator,
                {name: SHIFTS[name].words},
                [class_prompt(TEMPLATE, shape) for shape in SHAPES],
                fit=budget.fit.model_copy(update={"learning_rate": SHIFTS[name].learning_rate}),
                seed=seed,
                progress=progress,
            )
        made = {
            part: sample_trajectories(
                sampler,
                sliders,
                [class_prompt(TEMPLATE, shape) for shape in SHAPES] * count,
                [derive_seed(seed, part, row) % 2**31 for row in range(count * len(SHAPES))],
                strengths,
                guidance_scale=budget.guidance_scale,
                batch_size=_TOGETHER,
                progress=progress,
            )
            for part, count, strengths in (
                ("calibration", budget.calibrated, budget.labelled),
                ("test", budget.objects, budget.strengths),
            )
        }
        figures: dict[str, Figure] = dict(exactness(sampler, sliders, made["test"], budget, _TOGETHER))
    judge = load_judge()
    encoders = FilterEncoders(load_two_tower("bundled:scene-clip"), load_encoder("bundled:scene-sam"))
    encoders.check_independent(classifiers)
    seen = {
        part: {
            name: _Seen(
                read(judge, found.images[row], SHIFTS[name], _classes(found)),
                filter_scores(encoders, found.images[row], _classes(found), SHIFTS[name].words),
            )
            for row, name in enumerate(found.concepts)
        }
        for part, found in made.items()
    }
    figures |= _of_oracle({name: one.reading for name, one in seen["test"].items()}, budget)
    kept, found = _filtered(seen["calibration"], seen["test"], budget)
    figures |= found
    labels = torch.arange(len(SHAPES)).repeat(budget.objects)
    evidence = Evidence.merge(
        measure_trajectories(
            classifiers,
            made["test"].images[row],
            labels,
            name=name,
            strengths=budget.strengths,
            ids=[
                f"{shape}/{seed_of}" for shape, seed_of in zip(_classes(made["test"]), made["test"].seeds, strict=True)
            ],
            reasons=kept[name].reasons if budget.filtered else None,
        )
        for row, name in enumerate(budget.shifts)
    )
    enough = [name for name in budget.shifts if not budget.filtered or kept[name].trajectories.sum() >= FEWEST]
    figures |= of_classifiers(
        evidence, budget.shifts, enough, list(ARMS), budget.strengths, reference=REFERENCE, group=("known", KNOWN)
    )
    figures |= switched(
        sampler, judge, made["test"], {name: one.reading for name, one in seen["test"].items()}, budget, _TOGETHER
    )
    return {prefix + name: value for name, value in figures.items()}


continuous_nuisance.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("one shift of two training steps, two strengths, a trajectory for each of six classes",),
    "small": (
        "bundled:scene-diffusion (2.5 million weights, 32 pixels) for Stable Diffusion 2 with learned tokens",
        "fog, blur, stripes and bricks, words of scene captions, for 14 shifts; one slider for all six classes, of 40 "
        "steps and learning rate 6e-4 (fog 4.5e-4, blur 4e-4), for 1,400 of 400 steps and 2e-4",
        "120 trajectories of strengths to 5 under each shift, 480 of a seed, for 32,000 of strengths to 2.5",
        "20 steps and guidance 2 for 50 and 7.5",
        "bundled:scene-clip and bundled:scene-sam for CLIP ViT-B/16 and DINOv2 ViT-L/14 in the filter; "
        "bundled:scene-judge for people, who labels trajectories of twice the strength as well",
        "networks of three families trained on 2,500 drawn scenes, one of them with stripes and bricks as well, for 40 "
        "classifiers",
    ),
    "full": ("5 classes, 2 shifts and 6 classifiers for 100, 14 and 40",),
}


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the judge reads of trajectories, and the filter's scores."""

    reading: Reading
    scores: Mapping[str, NDArray[np.float64]]


def _classes(found: Trajectories) -> list[str]:
    return [str(shape) for shape in SHAPES] * (len(found.prompts) // len(SHAPES))


def _of_oracle(readings: Mapping[str, Reading], budget: Budget) -> dict[str, Figure]:
    figures = {f"oracle.{name}.spearman": reading.spearman(budget.strengths) for name, reading in readings.items()}
    figures |= {f"oracle.{name}.rising": reading.rising() for name, reading in readings.items()}
    for kind in ("spearman", "rising"):
        figures[f"oracle.{kind}"] = fmean(figures[f"oracle.{name}.{kind}"] for name in readings)
    return dict(figures)


def _filtered(
    labelled: Mapping[str, _Seen], test: Mapping[str, _Seen], budget: Budget
) -> tuple[dict[str, Kept], dict[str, Figure]]:
    """What four scores keep of the test's trajectories, and their rates beside those of one score."""
    right = np.concatenate([one.reading.right for one in labelled.values()])
    scores = _joined(labelled)
    thresholds = dict.fromkeys(scores, -np.inf) if right.all() else calibrated(scores, right)
    kept = {name: keep(one.scores, thresholds, strengths=budget.strengths) for name, one in test.items()}
    truth = np.concatenate([one.reading.right for one in test.values()])
    images = np.concatenate([one.images for one in kept.values()])
    whole = np.concatenate([one.trajectories for one in kept.values()])
    ours = rates(images, truth)
    alone = _joined(test)["class"]
    # One score at the threshold at which it keeps as many of the test's own images of their class: in its favour.
    at = threshold_keeping(alone[truth], max(ours["true_positives"], 1e-9)) if truth.any() else -np.inf
    single = rates(alone > at, truth)
    last = ~truth[:, -1]
    return kept, {
        **{f"filter.{name}": value for name, value in ours.items()},
        **{f"single.{name}": value for name, value in single.items()},
        "filter.out_of_class": float((~truth).mean()),
        "filter.kept": float(whole.mean()),
        "filter.wrong_before": Sample.of(last),
        "filter.wrong_after": Sample.of(last[whole]) if whole.any() else None,
        **{f"filter.{name}.kept": float(one.trajectories.mean()) for name, one in kept.items()},
        "filter.least_kept": min(float(one.trajectories.mean()) for one in kept.values()),
    }


def _joined(parts: Mapping[str, _Seen]) -> dict[str, NDArray[np.float64]]:
    names = next(iter(parts.values())).scores
    return {name: np.concatenate([one.scores[name] for one in parts.values()]) for name in names}
