"""A model's classes under nuisances, generated at the end of an audit, and the model's decisions on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from snellen.checks.panels import keep_picture
from snellen.checks.per_image import ABSENT, PerImage
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.finding import FindingExample
from snellen.core.preprocessing import to_image, to_unit
from snellen.core.randomness import Randomness
from snellen.metrics.sweep import setting_name
from snellen.systems.continuous_nuisance.measuring import measure_trajectories
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.nuisance_loss import NuisanceLoss, nuisance_loss
from snellen.systems.continuous_nuisance.objects import (
    check_calibration,
    made_under,
    objects_of,
    pixels_of,
    requests_for,
    thresholds_for,
    without_failures,
)
from snellen.systems.continuous_nuisance.presets import SCENE_GENERATOR, Preset, filled_in
from snellen.systems.continuous_nuisance.slider_folder import filter_of
from snellen.systems.continuous_nuisance.words import named_phrases


@dataclass(frozen=True, eq=False)
class FirstFailure:
    """A trajectory that is right at strength 0, where it first fails.

    Attributes:
        id: of the trajectory.
        label: its class.
        prediction: what is decided instead.
        strength: the first one at which that is so.
        before: image of strength 0, uint8 (3, h, w).
        after: image of that strength.
    """

    id: str
    label: int
    prediction: int
    strength: float
    before: Tensor
    after: Tensor

    def example(self, classifier: Classifier, pictures: dict[str, bytes] | None) -> FindingExample:
        """How a finding shows it: with pictures as the model saw them, where there is a place to keep them."""
        names = classifier.class_names
        shown: list[str | None] = [None, None]
        if pictures is not None:
            prepared = [classifier.prepare(to_image(to_unit(one))) for one in (self.before, self.after)]
            shown = [keep_picture(pictures, one) for one in prepared]
        return FindingExample(
            example_id=self.id,
            caption=f"generated {names[self.label]} at strength {self.strength:g}: {names[self.prediction]}",
            image=shown[0],
            after=shown[1],
        )


def failures_of(
    evidence: Evidence, concept: str, strengths: Sequence[float], ids: Sequence[str], pixels: Tensor
) -> list[FirstFailure]:
    """The trajectories of one shift that are right at strength 0 and fail later, in their order.

    Args:
        evidence: of one model; trajectories that it lacks at some strength are passed over.
        concept: name of the shift.
        strengths: ascending from 0.
        ids: of n trajectories.
        pixels: uint8 (n, strengths, 3, h, w).
    """
    settings = [setting_name(concept, strength) for strength in strengths]
    right = [evidence.correct(setting) for setting in settings]
    found: list[FirstFailure] = []
    for place, key in enumerate(ids):
        measured = all(key in one for one in right) and right[0][key]
        at = next((at for at, one in enumerate(right) if not one[key]), None) if measured else None
        if at is not None:
            (row,) = evidence.where(example_id=key, setting=settings[at]).table.to_pylist()
            found.append(
                FirstFailure(key, row["label"], row["prediction"], strengths[at], pixels[place, 0], pixels[place, at])
            )
    return found


#: Objects that are made together: what is in memory at once.
TOGETHER = 8


@dataclass(frozen=True, eq=False)
class GeneratedTrajectories:
    """What came out.

    Attributes:
        evidence: a row for each trajectory and strength, ``invalid`` where the filter rejected it.
        concepts: names of the shifts.
        strengths: ascending from 0.
        rejected: id and reason of the trajectories that the filter took out.
        failures: some of those that fail on the way, by shift.
        unmade: a sentence for each class under a shift that was not made.
    """

    evidence: Evidence
    concepts: tuple[str, ...]
    strengths: tuple[float, ...]
    rejected: tuple[tuple[str, str], ...]
    failures: Mapping[str, Sequence[FirstFailure]] = field(default_factory=dict)
    unmade: tuple[str, ...] = ()

    def made(self, concept: str) -> int:
        """How many trajectories there were under a shift."""
        return len(self.evidence.where(setting=setting_name(concept, 0.0)))

    def loss(self, concept: str) -> NuisanceLoss | None:
        """Figures of one shift; None where nothing is left of it."""
        known = PerImage.of(self.evidence.where(setting=setting_name(concept, 0.0), status="ok"))
        if not len(known):
            return None
        table = self.evidence.table
        theirs = replace(self.evidence, table=table.filter(pc.is_in(table["example_id"], pa.array(known.ids))))
        # A decision that was prevented is no failure: the trajectory counts in no figure.
        rows = [
            known.outcomes(theirs, setting_name(concept, strength), undecided=ABSENT) for strength in self.strengths[1:]
        ]
        return nuisance_loss(known, np.stack(rows), self.strengths[1:])

    def lines(self) -> list[dict[str, object]]:
        """Each trajectory with its decisions, for the lists of a run."""
        found: dict[str, dict[str, object]] = {}
        for row in self.evidence.table.to_pylist():
            one = found.setdefault(row["example_id"], {"id": row["example_id"], "rejected": None, "decisions": []})
            if row["status"] == "invalid":
                one["rejected"] = row["reason"]
            else:
                decisions = one["decisions"]
                assert isinstance(decisions, list)
                decisions.append({"setting": row["setting"], "label": row["label"], "prediction": row["prediction"]})
        return list(found.values())


@dataclass(frozen=True)
class TrajectoryPlan:
    """What is to be generated.

    Args:
        method: with everything filled in.
        seeds: objects of each class.
        examples: of trajectories that fail, under each shift.
        calibrated: whether thresholds of the filter come from images of other classes.
        unmade: a sentence for each class under a shift at which the generator is known to fail.
    """

    method: ContinuousNuisance
    seeds: int
    examples: int
    calibrated: bool
    unmade: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        method: ContinuousNuisance,
        classifier: Classifier,
        *,
        seeds: int,
        examples: int,
        preset: Preset | None = None,
    ) -> TrajectoryPlan:
        """Fill in classes and, by preset or for the generator of the package, what else is left out; check all of it.

        Raises:
            InputError: no shift or folder of sliders; a word that the generator does not know; a filter without
                encoders, or with one that is the classifier.
        """
        if not method.sliders:
            raise InputError("needs a folder for the sliders, which it may make: --set nuisance.sliders=FOLDER")
        if not method.concept and preset != "imagenet":
            raise InputError("""needs a shift to generate: --set 'nuisance.concept=["fog"]'""")
        if method.text_image is None and method.generator != SCENE_GENERATOR:
            raise InputError(
                "needs a filter of generated images, a text-image model and a second encoder: "
                "--set nuisance.text_image=hf:FOLDER --set nuisance.second_encoder=hf:FOLDER"
            )
        filled = filled_in(
            method, preset, class_names=classifier.class_names, sliders=Path(method.sliders), filter=True
        )
        lacking = filled.missing()
        if lacking is not None:
            raise InputError(lacking)
        filled, unmade = without_failures(filled)
        asked = cls(filled, seeds, examples, calibrated=preset != "imagenet", unmade=unmade)
        if asked.calibrated:
            check_calibration(filled)
        filled.check(requests_for(tuple(named_phrases(filled.concept)), objects_of(filled.classes, 1), 0))
        encoders = filter_of(filled)
        if encoders is not None:
            encoders.check_independent([classifier])
        return asked

    def generate(self, classifier: Classifier, seed: int) -> GeneratedTrajectories:
        """Train what sliders are missing, generate, filter, and ask the classifier."""
        method = self.method
        method.make_ready()
        if self.calibrated:
            method = ContinuousNuisance(**{**method.model_dump(), "thresholds": thresholds_for(method, seed)})
        concepts, objects = tuple(named_phrases(method.concept)), objects_of(method.classes, self.seeds)
        parts: list[Evidence] = []
        rejected: list[tuple[str, str]] = []
        failures: dict[str, list[FirstFailure]] = {concept: [] for concept in concepts}
        avoided = method.avoided()
        for start in range(0, len(objects), TOGETHER):
            part = objects[start : start + TOGETHER]
            requests = requests_for(concepts, part, seed, avoided=avoided)
            made = method.generate(requests, rng=Randomness(seed))
            pixels, told = pixels_of(made, len(method.strengths)), made.column("attributes")
            reasons = [json.loads(str(told[row * len(method.strengths)])).get("reason") for row in range(len(requests))]
            rejected += [(row["id"], why) for row, why in zip(requests, reasons, strict=True) if why is not None]
            first = 0
            for concept in concepts:
                under = made_under(concept, part, avoided)
                own = slice(first, first + len(under))
                first += len(under)
                if not under:
                    continue
                ids = [str(row["id"]) for row in requests[own]]
                measured = measure_trajectories(
                    [classifier],
                    to_unit(pixels[own]),
                    [classifier.class_names.index(one_object.class_name) for one_object in under],
                    name=concept,
                    strengths=method.strengths,
                    ids=ids,
                    reasons=reasons[own],
                    unit_ids=[one_object.id for one_object in under],
                )
                parts.append(measured)
                # All images of a large audit do not fit into memory; the first few that fail are enough to show.
                shown = failures[concept]
                if len(shown) < self.examples:
                    shown += failures_of(measured, concept, method.strengths, ids, pixels[own])
                    del shown[self.examples :]
        return GeneratedTrajectories(
            Evidence.merge(parts), concepts, method.strengths, tuple(rejected), failures, self.unmade
        )
