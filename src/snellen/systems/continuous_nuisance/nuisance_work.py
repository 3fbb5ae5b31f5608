"""What is done for some things of a call: trajectories under every shift, files of them, answers of classifiers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.preparation import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.runs.measuring import Put
from snellen.runs.reopening import Reopening
from snellen.runs.safe_names import folder_names
from snellen.runs.settings import severity_name
from snellen.runs.shard import Shard
from snellen.runs.thumbnails import png
from snellen.systems.continuous_nuisance.measuring import measure_trajectories
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.things import Thing, pixels_of, requests_for, things_of, thresholds_for
from snellen.systems.continuous_nuisance.words import named_phrases

#: What progress calls it.
TASK = "trajectories"


@dataclass(frozen=True, eq=False)
class NuisanceWork:
    """A call's method and classifiers.

    Items are things.

    Args:
        method: with the words of the classes and the folder of the sliders.
        classifiers: that know all classes.
        seeds: things of each class.
        seed: of everything random.
    """

    method: ContinuousNuisance
    classifiers: Sequence[Classifier]
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

    @classmethod
    def again(
        cls, classifiers: Sequence[Classifier], _: Mapping[str, ImageSet], arguments: Mapping[str, Any]
    ) -> NuisanceWork:
        """The same work in another process; thresholds that follow from the models are found anew."""
        method = ContinuousNuisance(**{k: v for k, v in arguments["method"].items() if k != "method"})
        method.make_ready()
        work = cls(method, classifiers, arguments["seeds"], arguments["seed"])
        return work.with_thresholds(thresholds_for(method, work.seed)) if arguments["finds_thresholds"] else work

    def reopening(self, finds_thresholds: bool) -> Reopening:
        """From what a worker makes the same work."""
        return Reopening(
            maker="snellen.systems.continuous_nuisance.nuisance_work:NuisanceWork.again",
            classifiers=self.classifiers,
            methods={"generation": [self.method]},
            arguments={
                "method": self.method.record(),
                "seeds": self.seeds,
                "seed": self.seed,
                "finds_thresholds": finds_thresholds,
            },
        )

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Make trajectories and ask the classifiers; a row for each says what was written of it."""
        things = self.things[items.start : items.stop]
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
                for step, strength in enumerate(self.method.strengths):
                    picture = pixels[first + place, step].permute(1, 2, 0).numpy()
                    put(self.path(concept, strength, thing), png(Image.fromarray(np.ascontiguousarray(picture))))
                told = {
                    name: [str(value) for value in values[at : at + len(self.method.strengths)]]
                    for name, values in columns.items()
                }
                rows.append({"concept": concept, "class": thing.class_name, "number": thing.number}
                            | {"reason": reasons[-1], "told": told})  # fmt: skip
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
        progress.advance(TASK, len(things) * len(self.concepts) * len(self.method.strengths))
        return Shard({"nuisance": Evidence.merge(evidence)} if self.classifiers else {}, {"rows": rows})

    def with_thresholds(self, thresholds: Mapping[str, float]) -> NuisanceWork:
        """The same work with these thresholds of the filter."""
        parameters = {**self.method.model_dump(), "thresholds": dict(thresholds)}
        return replace(self, method=ContinuousNuisance(**parameters))
