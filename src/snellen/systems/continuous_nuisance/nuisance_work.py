"""What is done for some things of a call: trajectories under every shift, files of them, answers of classifiers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.preparation import to_unit
from snellen.core.randomness import Randomness
from snellen.runs.safe_names import folder_names
from snellen.runs.settings import severity_name
from snellen.runs.whole_file import whole_file
from snellen.runs.writer import sha256
from snellen.systems.continuous_nuisance.measuring import measure_trajectories
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.things import Thing, pixels_of, requests_for, things_of
from snellen.systems.continuous_nuisance.words import named_phrases


@dataclass(frozen=True, eq=False)
class NuisanceWork:
    """A call's method, classifiers and folder.

    Args:
        method: with the words of the classes and the folder of the sliders.
        classifiers: that know all classes.
        folder: of the call.
        seeds: things of each class.
        seed: of everything random.
    """

    method: ContinuousNuisance
    classifiers: Sequence[Classifier]
    folder: Path
    seeds: int
    seed: int

    @property
    def concepts(self) -> tuple[str, ...]:
        """Names of the shifts."""
        return tuple(named_phrases(self.method.concept))

    @property
    def things(self) -> list[Thing]:
        """All things, one of each class in turn: a call that was stopped has as many of each."""
        return things_of(self.method.classes, self.seeds)

    def requests(self, things: Sequence[Thing]) -> list[dict[str, Any]]:
        """What the method is asked for: each thing under every shift."""
        return requests_for(self.concepts, things, self.seed)

    def path(self, concept: str, strength: float, thing: Thing) -> str:
        """Where an image lies: ``SHIFT/STRENGTH/CLASS/NUMBER.png``, relative to the folder."""
        folders = folder_names([*self.concepts, *self.method.classes])
        return f"{folders[concept]}/{severity_name(strength)}/{folders[thing.class_name]}/{thing.number:04d}.png"

    def done(self, things: Sequence[Thing]) -> tuple[Evidence, list[dict[str, Any]]]:
        """Make trajectories, write them, and ask the classifiers.

        Returns:
            The evidence of the classifiers, and for each trajectory a row with what was written of it.
        """
        made = self.method.generate(self.requests(things), rng=Randomness(self.seed))
        pixels = pixels_of(made, len(self.method.strengths))
        columns = {name: made.column(name) for name in ("attributes", "provenance", "caption")}
        rows: list[dict[str, Any]] = []
        evidence: list[Evidence] = []
        for number, concept in enumerate(self.concepts):
            first = number * len(things)
            reasons: list[str | None] = []
            for place, thing in enumerate(things):
                at = (first + place) * len(self.method.strengths)
                reasons.append(json.loads(str(columns["attributes"][at])).get("reason"))
                hashes = [
                    self._write(self.path(concept, strength, thing), pixels[first + place, step].numpy())
                    for step, strength in enumerate(self.method.strengths)
                ]
                told = {
                    name: [str(value) for value in values[at : at + len(self.method.strengths)]]
                    for name, values in columns.items()
                }
                rows.append({"concept": concept, "class": thing.class_name, "number": thing.number}
                            | {"hashes": hashes, "reason": reasons[-1], "told": told})  # fmt: skip
            trajectories = to_unit(pixels[first : first + len(things)])
            for classifier in self.classifiers:
                evidence.append(
                    measure_trajectories(
                        [classifier],
                        trajectories,
                        [classifier.class_names.index(thing.class_name) for thing in things],
                        name=concept,
                        strengths=self.method.strengths,
                        ids=[f"{concept}/{thing.id}" for thing in things],
                        reasons=reasons,
                        unit_ids=[thing.id for thing in things],
                    )
                )
        return Evidence.merge(evidence), rows

    def holds(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the files of trajectories are there, byte for byte."""
        try:
            return all(
                sha256((self.folder / self.path(row["concept"], strength, _thing(row))).read_bytes()) == recorded
                for row in rows
                for strength, recorded in zip(self.method.strengths, row["hashes"], strict=True)
            )
        except OSError:
            return False

    def with_thresholds(self, thresholds: Mapping[str, float]) -> NuisanceWork:
        """The same work with these thresholds of the filter."""
        parameters = {**self.method.model_dump(), "thresholds": dict(thresholds)}
        return replace(self, method=ContinuousNuisance(**parameters))

    def _write(self, path: str, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
        with whole_file(self.folder / path) as stream:
            Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(stream, "PNG")
        return sha256((self.folder / path).read_bytes())


def _thing(row: Mapping[str, Any]) -> Thing:
    return Thing(str(row["class"]), int(row["number"]))
