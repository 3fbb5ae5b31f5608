"""What is done for some objects of a call: trajectories under every shift, files of them, answers of classifiers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.privacy.nameless import with_hidden
from snellen.runs.measuring import Put
from snellen.runs.picture_grid import picture_grid
from snellen.runs.reopening import Reopening
from snellen.runs.safe_names import folder_names
from snellen.runs.settings import severity_name
from snellen.runs.shard import Shard
from snellen.runs.thumbnails import png
from snellen.runs.whole_file import whole_file
from snellen.systems.continuous_nuisance.measuring import measure_trajectories
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.nuisance_set import MANIFEST, REJECTED
from snellen.systems.continuous_nuisance.objects import (
    GeneratedObject,
    made_under,
    objects_of,
    pixels_of,
    requests_for,
    thresholds_for,
)
from snellen.systems.continuous_nuisance.words import named_phrases

#: What progress calls it.
TASK = "trajectories"


@dataclass(frozen=True, eq=False)
class NuisanceWork:
    """A call's method and classifiers.

    Items are objects.

    Args:
        method: with the words of the classes and the folder of the sliders.
        classifiers: that know all classes.
        seeds: objects of each class.
        seed: of everything random.
        hidden: what files must not reveal about the models that made them; see
            :func:`~snellen.data.privacy.nameless.hidden_references`.
    """

    method: ContinuousNuisance
    classifiers: Sequence[Classifier]
    seeds: int
    seed: int
    hidden: Mapping[str, str] = field(default_factory=dict)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Names of the shifts."""
        return tuple(named_phrases(self.method.concept))

    @property
    def objects(self) -> list[GeneratedObject]:
        """All objects, one of each class in turn: a call that was stopped has as many of each."""
        return objects_of(self.method.classes, self.seeds)

    def requests(self, objects: Sequence[GeneratedObject]) -> list[dict[str, Any]]:
        """The requests to the method: each object under every shift, but for what is avoided."""
        return requests_for(self.concepts, objects, self.seed, avoided=self.avoided)

    @cached_property
    def avoided(self) -> dict[tuple[str, str], str]:
        """Shift and class of trajectories that are not made, with the reason."""
        return self.method.avoided()

    def path(self, concept: str, strength: float, one_object: GeneratedObject) -> str:
        """Where an image lies: ``SHIFT/STRENGTH/CLASS/NUMBER.png``, relative to the folder."""
        folders = folder_names([*self.concepts, *self.method.classes])
        return (
            f"{folders[concept]}/{severity_name(strength)}/{folders[one_object.class_name]}/{one_object.number:04d}.png"
        )

    @classmethod
    def again(
        cls, classifiers: Sequence[Classifier], _: Mapping[str, ImageSet], arguments: Mapping[str, Any]
    ) -> NuisanceWork:
        """The same work in another process; thresholds that follow from the models are found anew."""
        method = ContinuousNuisance(**{k: v for k, v in arguments["method"].items() if k != "method"})
        method.make_ready()
        work = cls(method, classifiers, arguments["seeds"], arguments["seed"], arguments["hidden"])
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
                "hidden": dict(self.hidden),
                "finds_thresholds": finds_thresholds,
            },
        )

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Make trajectories and ask the classifiers; a row for each says what was written of it."""
        objects = self.objects[items.start : items.stop]
        made = self.method.generate(self.requests(objects), rng=Randomness(self.seed))
        pixels = pixels_of(made, len(self.method.strengths))
        columns = {name: made.column(name) for name in ("attributes", "provenance", "caption")}
        rows: list[dict[str, Any]] = []
        evidence: list[Evidence] = []
        first = 0
        for concept in self.concepts:
            own = made_under(concept, objects, self.avoided)
            if not own:
                continue
            reasons: list[str | None] = []
            for place, one_object in enumerate(own):
                at = (first + place) * len(self.method.strengths)
                reasons.append(json.loads(str(columns["attributes"][at])).get("reason"))
                for step, strength in enumerate(self.method.strengths):
                    picture = pixels[first + place, step].permute(1, 2, 0).numpy()
                    put(self.path(concept, strength, one_object), png(Image.fromarray(np.ascontiguousarray(picture))))
                told = {
                    name: [
                        with_hidden(str(value), self.hidden) for value in values[at : at + len(self.method.strengths)]
                    ]
                    for name, values in columns.items()
                }
                rows.append({"concept": concept, "class": one_object.class_name, "number": one_object.number}
                            | {"reason": reasons[-1], "told": told})  # fmt: skip
            trajectories = to_unit(pixels[first : first + len(own)])
            for classifier in self.classifiers:
                evidence.append(
                    measure_trajectories(
                        [classifier],
                        trajectories,
                        [classifier.class_names.index(one_object.class_name) for one_object in own],
                        name=concept,
                        strengths=self.method.strengths,
                        ids=[f"{concept}/{one_object.id}" for one_object in own],
                        reasons=reasons,
                        unit_ids=[one_object.id for one_object in own],
                    )
                )
            first += len(own)
        progress.advance(TASK, len(objects) * len(self.concepts) * len(self.method.strengths))
        return Shard({"nuisance": Evidence.merge(evidence)} if self.classifiers else {}, {"rows": rows})

    def with_thresholds(self, thresholds: Mapping[str, float]) -> NuisanceWork:
        """The same work with these thresholds of the filter."""
        parameters = {**self.method.model_dump(), "thresholds": dict(thresholds)}
        return replace(self, method=ContinuousNuisance(**parameters))


COLUMNS = ("path", "id", "label", "group", "unit_id", "caption", "attributes", "provenance")

#: Trajectories on a sheet that are kept, and that are not.
SHOWN, SHOWN_REJECTED = 6, 2


def write_manifests(work: NuisanceWork, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """Write the list of kept images, and that of rejected ones where there are any; returns their names.

    Ids are ``SHIFT/STRENGTH/CLASS/NUMBER``, the group is the shift, and the unit the object: its images under all
    shifts and at all strengths have one noise.
    """
    written = []
    for name, kept in ((MANIFEST, True), (REJECTED, False)):
        chosen = [row for row in rows if (row["reason"] is None) == kept]
        if not chosen and not kept:
            continue
        with whole_file(folder / name) as stream:
            text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
            table = csv.writer(text)
            table.writerow(COLUMNS)
            for row in sorted(chosen, key=lambda row: work.concepts.index(row["concept"])):
                table.writerows(_images(work, row))
            text.detach()
        written.append(name)
    return written


def write_sheet(work: NuisanceWork, concept: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """Draw trajectories of one shift, spread over the classes, and a few that the filter rejected; returns the name."""
    kept = [row for row in rows if row["reason"] is None]
    lost = [row for row in rows if row["reason"] is not None]
    chosen = [*_spread(kept, SHOWN), *_spread(lost, SHOWN_REJECTED)]
    pictures = [
        (
            [_read(work, row, strength, folder) for strength in work.method.strengths],
            str(row["class"]) if row["reason"] is None else f"{row['class']}, rejected: {row['reason']}",
        )
        for row in chosen
    ]
    name = f"contact-sheet-{folder_names([concept])[concept]}.png"
    heads = [f"strength {severity_name(strength)}" for strength in work.method.strengths]
    with whole_file(folder / name) as stream:
        picture_grid(f"{concept}  ({with_hidden(work.method.generator, work.hidden)})", heads, pictures).save(
            stream, "PNG"
        )
    return name


def _images(work: NuisanceWork, row: Mapping[str, Any]) -> list[list[str]]:
    one_object = GeneratedObject(str(row["class"]), int(row["number"]))
    return [
        [
            work.path(row["concept"], strength, one_object),
            f"{row['concept']}/{severity_name(strength)}/{one_object.id}",
            one_object.class_name,
            row["concept"],
            one_object.id,
            *(row["told"][column][at] for column in ("caption", "attributes", "provenance")),
        ]
        for at, strength in enumerate(work.method.strengths)
    ]


def _spread(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """At most ``count`` rows: one of each class in turn."""
    turns: dict[str, int] = {}
    order = []
    for place, row in enumerate(rows):
        turns[row["class"]] = turns.get(row["class"], 0) + 1
        order.append((turns[row["class"]], place))
    return [rows[place] for _, place in sorted(order)[:count]]


def _read(work: NuisanceWork, row: Mapping[str, Any], strength: float, folder: Path) -> torch.Tensor:
    path = folder / work.path(row["concept"], strength, GeneratedObject(str(row["class"]), int(row["number"])))
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
