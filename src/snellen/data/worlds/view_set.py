"""Views of objects as an image set: the class of the object is the label, and the object is the unit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Provenance, Split
from snellen.core.view_renderer import ViewRenderer
from snellen.data.worlds.rendered_source import RenderedSource
from snellen.data.worlds.viewpoints import COORDINATES, RecordedRenderer

#: Boxes x0, y0, x1, y1 in pixels, float32 (m, 4), of an object from viewpoints (m, 6); nan where nothing is seen.
BoxesOfViews = Callable[[str, Tensor], NDArray[np.float32]]


class Backdrop(Protocol):
    """Pictures to be put behind objects, one for each row of a set."""

    def pictures(self, rows: Sequence[int]) -> Tensor:
        """Pictures of some rows, float32 (m, 3, h, w) in [0, 1]; a row's must not depend on the others."""
        ...

    def recipe(self, row: int) -> str:
        """Text that says everything the picture of a row follows from."""
        ...


@runtime_checkable
class LayeredRenderer(Protocol):
    """A renderer that knows object and background apart."""

    def layers(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Object, coverage and background light.

        Returns:
            The object times its coverage (n, 3, h, w), the coverage (n, h, w), and what the background is multiplied
            with before it is added (n, h, w): 1 − coverage, less where the object casts a shadow; all in [0, 1].
        """
        ...


def view_set(
    renderer: RecordedRenderer,
    viewpoints_by_object: Mapping[str, Tensor],
    *,
    class_names: Sequence[str] | None = None,
    attributes_by_object: Mapping[str, Mapping[str, object]] | None = None,
    groups: Sequence[str] | None = None,
    backdrop: Backdrop | None = None,
    boxes: BoxesOfViews | None = None,
    split: Split | None = None,
    generator: str = "snellen views",
    seed: int | None = None,
    name: str = "views",
) -> ImageSet:
    """Make an image set of views, rendered when they are read.

    Rows follow the mapping: all views of the first object, then those of the second. The id of a view is
    ``OBJECT/NUMBER``, so that it stays what it is when objects or views are added. Columns: label (class of the
    object), unit_id (object), mask (coverage), attributes (object, class and the six numbers of the viewpoint),
    provenance, and group, split and boxes where they are given.

    Args: renderer: draws the objects; its background is white where ``backdrop`` is given and it has no layers.
        viewpoints_by_object: object → viewpoints (m, 6), m may differ.
        class_names: what labels index; None means the classes of these objects in alphabetical order.
        attributes_by_object: object → more that is known about it, put among the attributes.
        groups: group of each row, in the order of rows.
        backdrop: pictures to put behind the objects; None keeps the renderer's background.
        boxes: boxes of one object's views; None leaves the column out.
        split: the split that all views are.
        generator: what made them, for the provenance.
        seed: what they were drawn with, for the provenance.
        name: shown in reports.

    Raises:
        InputError: viewpoints of another shape, an object whose class has no name, or another number of groups.
    """
    viewpoints = _checked(viewpoints_by_object)
    owners = [object_id for object_id, rows in viewpoints.items() for _ in range(len(rows))]
    numbers = [number for rows in viewpoints.values() for number in range(len(rows))]
    classes = {object_id: renderer.class_of(object_id) for object_id in viewpoints}
    names = tuple(class_names) if class_names is not None else tuple(sorted(set(classes.values())))
    unnamed = next((object_id for object_id in classes if classes[object_id] not in names), None)
    if unnamed is not None:
        raise InputError(f"{unnamed} is a {classes[unnamed]}, which is none of the classes: {', '.join(names)}")
    if groups is not None and len(groups) != len(owners):
        raise InputError(f"groups must be one for each of the {len(owners)} views; got {len(groups)}")
    keys = [f"{owner}/{number:04d}" for owner, number in zip(owners, numbers, strict=True)]
    known = attributes_by_object or {}
    made = Provenance(origin="generated", generator=generator, seed=seed).model_dump_json(exclude_none=True)
    columns: dict[str, Sequence[object]] = {
        "id": keys,
        "label": [names.index(classes[owner]) for owner in owners],
        "unit_id": owners,
        "mask": [f"masks/{key}.png" for key in keys],
        "attributes": [
            json.dumps({"object": owner, "class": classes[owner], **known.get(owner, {}), **_written(view)})
            for owner, rows in viewpoints.items()
            for view in rows.tolist()
        ],
        "provenance": [made] * len(keys),
    }
    if groups is not None:
        columns["group"] = groups
    if split is not None:
        columns["split"] = [split] * len(keys)
    if boxes is not None:
        columns["boxes"] = [box for owner, rows in viewpoints.items() for box in _listed(boxes(owner, rows))]
    table = pa.table({column: pa.array(values, COLUMNS[column]) for column, values in columns.items()})
    source = ViewSource(renderer, owners, torch.cat(list(viewpoints.values())), backdrop)
    return ImageSet(source, table, names, name, split=split)


class ViewSource(RenderedSource):
    """Pictures and masks of views, rendered when they are read.

    Args: renderer: draws the objects. owners: object of each row (n). viewpoints: of each row (n, 6).
        backdrop: what is put behind the objects; None keeps the renderer's background.
    """

    def __init__(
        self, renderer: RecordedRenderer, owners: Sequence[str], viewpoints: Tensor, backdrop: Backdrop | None = None
    ) -> None:
        self.renderer, self.owners, self.viewpoints, self.backdrop = renderer, tuple(owners), viewpoints, backdrop
        super().__init__(
            len(self.owners),
            self._pictures,
            self._recipe,
            masks=self._coverage,
            chunk=max(1, min(128, 2**19 // renderer.size**2)),
        )

    def _pictures(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        return _bytes_of(torch.cat([self._seen(run) for run in self._runs(rows)]).permute(0, 2, 3, 1))

    def _seen(self, rows: Sequence[int]) -> Tensor:
        owner, viewpoints = self.owners[rows[0]], self.viewpoints[list(rows)]
        pictures = None if self.backdrop is None else self.backdrop.pictures(rows)
        return rendered_before(self.renderer, owner, viewpoints, pictures)[0]

    def _coverage(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        runs = self._runs(rows)
        return _bytes_of(
            torch.cat([self.renderer.render(self.owners[run[0]], self.viewpoints[list(run)])[1] for run in runs])
        )

    def _runs(self, rows: Sequence[int]) -> list[list[int]]:
        """Neighbouring rows of one object, which are rendered in one call."""
        return [list(run) for _, run in groupby(rows, key=lambda row: self.owners[row])]

    def _recipe(self, row: int) -> str:
        owner = self.owners[row]
        behind = "" if self.backdrop is None else f" before {self.backdrop.recipe(row)}"
        content = f"{self.renderer.recipe} {self.renderer.size} {owner} {self.renderer.content_hash(owner)}"
        return f"{content} {self.viewpoints[row].tolist()}{behind}"


def rendered_before(
    renderer: ViewRenderer, object_id: str, viewpoints: Tensor, pictures: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Render an object before pictures.

    Args:
        renderer: of the object.
        object_id: the object.
        viewpoints: (m, 6).
        pictures: (m, 3, ...) in [0, 1], resized to the views; None keeps the renderer's own background.

    Returns:
        Views (m, 3, h, w) and coverage by the object (m, h, w).
    """
    if pictures is None:
        return renderer.render(object_id, viewpoints)
    if isinstance(renderer, LayeredRenderer):
        front, coverage, light = renderer.layers(object_id, viewpoints)
    else:
        images, coverage = renderer.render(object_id, viewpoints)
        light = 1 - coverage
        front = images - light[:, None]  # what is left when the white background is taken away
    if pictures.shape[2:] != coverage.shape[1:]:
        pictures = F.interpolate(pictures, size=coverage.shape[1:], mode="bilinear", antialias=True)
    return front + light[:, None] * pictures, coverage


def boxes_of_coverage(coverage: Tensor) -> NDArray[np.float32]:
    """Boxes x0, y0, x1, y1 in whole pixels about what is covered by half, float32 (n, 4); nan where nothing is.

    >>> boxes_of_coverage(torch.tensor([[[0.0, 0.9, 0.6], [0.0, 0.2, 0.0]]])).tolist()
    [[1.0, 0.0, 3.0, 1.0]]
    """
    inside = coverage.detach().cpu() >= 0.5
    sides = []
    for lines in (inside.any(1), inside.any(2)):  # columns, then rows
        places = torch.arange(lines.shape[1])
        first = torch.where(lines, places, lines.shape[1]).amin(1)
        sides.append((first, torch.where(lines, places + 1, 0).amax(1)))
    (left, right), (top, bottom) = sides
    found: NDArray[np.float32] = torch.stack([left, top, right, bottom], 1).float().numpy()
    found[~inside.flatten(1).any(1).numpy()] = np.nan
    return found


def _checked(viewpoints_by_object: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not viewpoints_by_object:
        raise InputError("a set of views needs at least one object; got none")
    checked = {}
    for object_id, viewpoints in viewpoints_by_object.items():
        if viewpoints.ndim != 2 or viewpoints.shape[1] != len(COORDINATES):
            raise InputError(
                f"viewpoints of {object_id} must be (m, 6): {', '.join(COORDINATES)}; got {tuple(viewpoints.shape)}"
            )
        if not bool(torch.isfinite(viewpoints).all()):
            raise InputError(f"a viewpoint of {object_id} holds a number that is not finite")
        checked[object_id] = viewpoints.detach().cpu().double()
    return checked


def _written(viewpoint: Sequence[float]) -> dict[str, float]:
    return dict(zip(COORDINATES, viewpoint, strict=True))


def _listed(boxes: NDArray[np.float32]) -> list[list[list[float]]]:
    # nan compares false: nothing seen, no box.
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return [[box] if there else [] for box, there in zip(boxes.tolist(), seen.tolist(), strict=True)]


def _bytes_of(values: Tensor) -> NDArray[np.uint8]:
    """Bytes, without gradients, of numbers in [0, 1]."""
    scaled: NDArray[np.uint8] = values.detach().cpu().clamp(0, 1).mul(255).round().byte().contiguous().numpy()
    return scaled


#: Attributes of a view by which its object's makers are thanked.
_CREDITS = ("creator", "source", "licence")


@dataclass(frozen=True, eq=False)
class ViewedObject:
    """One object, and the viewpoints of the set.

    Attributes:
        object_id: its id in the renderer.
        label: its class in the set; −1 where unknown.
        viewpoints: of its views in the set, float64 (m, 6).
        positions: of these views in the set.
        credit: maker, collection and licence, where the set states them.
    """

    object_id: str
    label: int
    viewpoints: Tensor
    positions: tuple[int, ...]
    credit: str = ""


@dataclass(frozen=True, eq=False)
class ViewedObjects:
    """A set of views as objects.

    Attributes:
        renderer: draws them from anywhere, before its own background and not the set's backdrop.
        objects: in the order of the set.
    """

    renderer: RecordedRenderer
    objects: tuple[ViewedObject, ...] = field(default_factory=tuple)


def is_view_set(images: ImageSet) -> bool:
    """Whether images are views whose source knows its renderer; under pseudonyms they are not."""
    return isinstance(images.source, ViewSource)


def viewed_objects(images: ImageSet) -> ViewedObjects:
    """The objects of a set of views, each with its views that are in the set.

    Raises:
        InputError: the images are not such a set, or an object has two labels.
    """
    source = images.source
    if not isinstance(source, ViewSource):
        raise InputError(
            f"{images.name} are images, and not views whose renderer is known: their objects cannot be drawn from "
            f"elsewhere. Give a set of views: optotypes:solids, meshes:FOLDER, meshes:FILE.sh3f"
        )
    assert images.rows is not None
    labels = images.labels.tolist() if images.has_labels else [-1] * len(images)
    written = images.column("attributes")
    members: dict[str, list[int]] = {}
    for position, row in enumerate(images.rows.tolist()):
        members.setdefault(source.owners[row], []).append(position)
    objects = []
    for object_id, positions in members.items():
        several = {labels[position] for position in positions}
        if len(several) > 1:
            raise InputError(f"{images.name}: views of {object_id} have {len(several)} different labels")
        objects.append(
            ViewedObject(
                object_id=object_id,
                label=several.pop(),
                viewpoints=source.viewpoints[np.asarray(images.rows)[positions].tolist()],
                positions=tuple(positions),
                credit=_credit(written[positions[0]]),
            )
        )
    return ViewedObjects(source.renderer, tuple(objects))


def _credit(attributes: object) -> str:
    try:
        known = json.loads(str(attributes))
        return ", ".join(str(known[name]) for name in _CREDITS if known.get(name))
    except (ValueError, AttributeError):
        return ""
