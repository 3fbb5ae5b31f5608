"""Is it the camera: the same objects from their own viewpoints, from anywhere, and from where an attack puts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Companion, LackedSetting
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.independent import in_first_half
from snellen.checks.panels import HeatPicture, Panel, keep_file, keep_picture
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.core.preprocessing import to_image
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.data.references import load_images
from snellen.data.worlds.view_set import ViewedObject, ViewedObjects, is_view_set, viewed_objects
from snellen.metrics.clustered import ClusteredMean, clustered_mean, clustered_share
from snellen.systems.viewpoints.method import ViewpointAttack
from snellen.systems.viewpoints.seen_objects import SeenObject, WorstRegion, random_views, seen_object, worst_region
from snellen.systems.viewpoints.view_map import map_picture, view_map

#: The attack of the check: as published but for fewer components, views and steps.
COMPONENTS, POPSIZE, SAMPLES = 3, 21, 24


class Viewpoint(Check):
    """Right decisions that are lost where objects are drawn from anywhere instead of from the set's own viewpoints.

    Both are rendered by the renderer that the set knows, before its own background, and prepared alike; an object, not
    a view, is what is drawn. Views from anywhere include those from below and from behind, which nobody may ever take:
    the map says where decisions are lost. ``renderer`` is for audits of other images: a set of views whose objects the
    model should know. The worst field of the map is chosen on one half of the objects and measured on the other. A few
    objects are attacked: it is what a search for bad viewpoints finds, and no estimate for all.
    """

    name: ClassVar[str] = "viewpoint"
    summary: ClassVar[str] = "from where objects are not recognised (views of objects, or a set of views given)"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores"})

    renderer: str | None = Field(
        None, description="a set of views in place of the audited images (optotypes:solids, meshes:FOLDER)"
    )
    objects: int = Field(100, ge=2, description="objects that are looked at, at most, drawn by their ids")
    views: int = Field(8, ge=1, description="views of each object, at most: of its own in the set, and random ones")
    attacked: int = Field(3, ge=0, description="objects whose camera is attacked; 0 leaves that out")
    iterations: int = Field(10, ge=1, description="steps of the attack")
    examples: int = Field(5, ge=0, description="pictures for the finding")

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why it cannot run: nobody knows how these objects look from elsewhere."""
        if self.renderer is None:
            if not is_view_set(images):
                return LackedSetting(
                    f"needs views whose renderer is known, and {images.name} are images; audit optotypes:solids or "
                    f"meshes:FOLDER, or give a set of views: --set {self.name}.renderer=meshes:FOLDER",
                    "renderer",
                )
            if not images.has_labels:
                return f"needs labels, and {images.name} has none"
        return super().missing(classifier, images, companions)

    def resolved(self, classifier: Classifier) -> Viewpoint:
        """As it is; a set of views that cannot be used raises now, and not after hours."""
        if self.renderer is not None:
            self._given(classifier)
        return self

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        seen = ("natural", "random", "worst_region", *(("attacked",) if self.attacked else ()))
        return self._names("lost", *(f"{views}.accuracy" for views in seen))

    def cost(self) -> float:
        """Two views for each image of a set of views, and the attack, shared among a thousand images."""
        attack = self.iterations * (POPSIZE - 1 + COMPONENTS) + SAMPLES
        return 2.0 + self.attacked * attack / 1000

    def conclude(self, reading: CheckInput) -> CheckResult:
        """One hypothesis: random viewpoints cost no more right decisions than the set's own."""
        whole = self._objects(reading)
        if whole is None:
            return CheckResult(notes=["Viewpoint: the objects of the audited images are not known any more."])
        known = [one for one in whole.objects if one.label >= 0]
        drawn = _drawn(known, self.objects, reading.rng.child(self.name))
        found, lost = list[SeenObject](), list[str]()
        for viewed in drawn:
            one = seen_object(
                reading.classifier, whole.renderer, viewed, reading.rng.child(self.name), views=self.views
            )
            if isinstance(one, SeenObject):
                found.append(one)
            else:
                lost.append(one)
        notes = [
            f"Viewpoint: {len(lost)} of {len(drawn)} objects count in no figure; first: {one}." for one in lost[:1]
        ]
        if len(found) < 2:
            return CheckResult(notes=[*notes, "Viewpoint: fewer than two objects could be looked at."])
        return self._concluded(found, whole, reading, notes)

    def _given(self, classifier: Classifier) -> ViewedObjects:
        assert self.renderer is not None
        images = load_images(self.renderer)
        try:
            viewed_objects(images)  # images that are no views are refused first, with any labels
            return viewed_objects(align_labels(images, classifier.class_names))
        except InputError as error:
            raise InputError(f"{self.name}.renderer={self.renderer}: {error}") from error

    def _objects(self, reading: CheckInput) -> ViewedObjects | None:
        if self.renderer is not None:
            return self._given(reading.classifier)
        if reading.audited is None or not is_view_set(reading.audited):
            return None
        return viewed_objects(align_labels(reading.audited, reading.names))

    def _concluded(
        self, found: Sequence[SeenObject], whole: ViewedObjects, reading: CheckInput, notes: Sequence[str]
    ) -> CheckResult:
        drops = np.array([one.natural.share - one.random.share for one in found])
        lost = clustered_mean(drops, pseudo_units=1.0)
        worst = worst_region(found, in_first_half([one.viewed.object_id for one in found]))
        attacked = self._attacked(found, whole, reading)
        metrics = self._metrics(found, drops, lost, worst, attacked)
        pictures: dict[str, bytes] = {}
        examples = self._examples(found, whole, reading, pictures)
        return CheckResult(
            metrics=metrics,
            hypotheses=[
                Hypothesis(
                    lost.p_value(),
                    lambda confidence: max(lost.lower(confidence), 0.0),
                    partial(self._finding, found, metrics, lost, worst, examples),
                )
            ],
            panels=[self._panel(found, pictures)],
            lists={self.name: _rows(found, attacked, reading.names)},
            notes=notes,
            pictures=pictures,
        )

    def _metrics(
        self,
        found: Sequence[SeenObject],
        drops: NDArray[np.float64],
        lost: ClusteredMean,
        worst: WorstRegion | None,
        attacked: Mapping[str, NDArray[np.bool_]],
    ) -> dict[str, CheckFigure]:
        low, high = lost.interval()
        metrics = {
            f"{self.name}.natural.accuracy": _accuracy([one.natural.right for one in found]),
            f"{self.name}.random.accuracy": _accuracy([one.random.right for one in found]),
            f"{self.name}.lost": CheckFigure(
                value=float(drops.mean()), low=max(low, -1.0), high=min(high, 1.0), n=len(found)
            ),
        }
        if worst is not None:
            metrics[f"{self.name}.worst_region.accuracy"] = CheckFigure(
                value=worst.right, low=worst.low, high=worst.high, n=worst.views
            )
        if attacked:
            metrics[f"{self.name}.attacked.accuracy"] = _accuracy(list(attacked.values()))
        return metrics

    def _attacked(
        self, found: Sequence[SeenObject], whole: ViewedObjects, reading: CheckInput
    ) -> dict[str, NDArray[np.bool_]]:
        """Whether fresh views of what the attack found are right, by object; of objects with a right view to lose."""
        method = ViewpointAttack(components=COMPONENTS, popsize=POPSIZE, iterations=self.iterations, samples=SAMPLES)
        right = [one.viewed for one in found if one.natural.right.any()]
        chosen = _drawn(right, self.attacked, reading.rng.child(self.name, "attacked"))
        told: dict[str, NDArray[np.bool_]] = {}
        for viewed in chosen:
            views = method.attack_views(
                reading.classifier,
                whole.renderer,
                [viewed.object_id],
                torch.tensor([viewed.label]),
                rng=reading.rng.child(self.name, "attack"),
            )
            if views.status[0] in ("found", "not found"):
                told[viewed.object_id] = ~views.success[0][~views.blank[0]].numpy()
        return told

    def _finding(
        self,
        found: Sequence[SeenObject],
        metrics: Mapping[str, CheckFigure],
        lost: ClusteredMean,
        worst: WorstRegion | None,
        examples: tuple[FindingExample, ...],
        harm: float,
    ) -> Finding:
        natural, random = (metrics[f"{self.name}.{kind}.accuracy"].value for kind in ("natural", "random"))
        where = "" if worst is None else f"; {worst.right:.0%} at {worst.region}"
        facts: dict[str, float | int | str] = {
            "objects": len(found),
            **{name.partition(".")[2]: one.value for name, one in metrics.items()},
        }
        if worst is not None:
            facts["worst_region"] = str(worst.region)
        return Finding(
            kind="viewpoint",
            harm=harm,
            p_value=lost.p_value(),
            title=f"Decisions change with the camera: {random:.0%} of views from anywhere are right, {natural:.0%} of "
            f"those from the set's own viewpoints{where}",
            facts=facts,
            examples=examples,
        )

    def _examples(
        self, found: Sequence[SeenObject], whole: ViewedObjects, reading: CheckInput, pictures: dict[str, bytes]
    ) -> tuple[FindingExample, ...]:
        """Objects that are right from most of their own viewpoints, beside a random view in which they are not."""
        if self.renderer is not None or reading.audited is None:
            return ()  # pictures of examples are of audited images
        usable, names = set(reading.images.ids), reading.names
        ranked = sorted(found, key=lambda one: (one.random.share - one.natural.share, one.viewed.object_id))
        examples: list[FindingExample] = []
        for one in ranked:
            ids = [reading.audited.ids[place] for place in one.viewed.positions]
            own = [ids[place] for place in one.natural.places[one.natural.right].tolist() if ids[place] in usable]
            if one.random.right.all() or not own or len(examples) == self.examples:
                continue
            place = int(np.flatnonzero(~one.random.right)[0])
            said, viewpoint = int(one.random.predictions[place]), one.random.viewpoints[place]
            after = None
            if reading.pictured:
                try:
                    seen = whole.renderer.render(one.viewed.object_id, viewpoint[None])[0][0]
                except RejectedImageError:
                    continue
                after = keep_picture(pictures, reading.classifier.prepare(to_image(seen)))
            examples.append(
                FindingExample(
                    example_id=own[0],
                    caption=f"{names[one.viewed.label]} from azimuth {float(viewpoint[1]):.0f}°, elevation "
                    f"{float(viewpoint[2]):.0f}°: {'no decision' if said < 0 else names[said]}",
                    after=after,
                )
            )
        return tuple(examples)

    def _panel(self, found: Sequence[SeenObject], pictures: dict[str, bytes]) -> Panel:
        mapped = view_map(*random_views(found))
        drawn = map_picture(mapped.means, mapped.azimuths, mapped.elevations, "Right decisions on random views")
        bands = view_map(*random_views(found), azimuths=1)
        return Panel(
            check=self.name,
            title="From where objects are recognised",
            about="Share of right decisions on random views by azimuth (0°: from the front) and elevation. An object "
            "counts once in each field.",
            x_label="share of right decisions",
            head=("elevation", "views", "objects", "right"),
            rows=tuple(
                (
                    f"{bands.elevations[row]:.0f}° to {bands.elevations[row + 1]:.0f}°",
                    int(bands.views[row, 0]),
                    int(bands.objects[row, 0]),
                    round(float(bands.means[row, 0]), 4),
                )
                for row in reversed(range(len(bands.views)))
                if bands.views[row, 0]
            ),
            heat=(
                HeatPicture(
                    title="azimuth × elevation",
                    caption=f"{int(mapped.views.sum())} random views of {len(found)} objects",
                    heat=keep_file(pictures, drawn, lossless=True),
                ),
            ),
        )


def _drawn(objects: Sequence[ViewedObject], count: int, rng: Randomness) -> list[ViewedObject]:
    """At most so many objects, drawn by their ids, in the order of the set, which may be one class after the other."""
    if not objects:
        return []
    places = rng.for_examples([one.object_id for one in objects]).uniform("objects", ()).numpy()
    return [objects[place] for place in sorted(np.argsort(places, kind="stable")[:count].tolist())]


def _accuracy(right: Sequence[NDArray[np.bool_]]) -> CheckFigure:
    """Share of right views, with an interval in which objects are drawn."""
    values = np.concatenate(right)
    low, high = clustered_share(values, np.repeat(np.arange(len(right)), [len(one) for one in right]))
    return CheckFigure(value=float(values.mean()), low=low, high=high, n=len(values))


def _rows(
    found: Sequence[SeenObject], attacked: Mapping[str, NDArray[np.bool_]], names: tuple[str, ...]
) -> list[dict[str, object]]:
    """What is known of each object, those that lose most first."""
    ranked = sorted(found, key=lambda one: (one.random.share - one.natural.share, one.viewed.object_id))
    return [
        {
            "id": one.viewed.object_id,
            "class": names[one.viewed.label],
            "natural": one.natural.share,
            "random": one.random.share,
            "lost": one.natural.share - one.random.share,
            "attacked": float(attacked[one.viewed.object_id].mean()) if one.viewed.object_id in attacked else None,
        }
        for one in ranked
    ]
