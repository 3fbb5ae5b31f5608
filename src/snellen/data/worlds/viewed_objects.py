"""The objects of a set of views: what an attack on the camera, and a check of it, start from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.worlds.recorded_renderer import RecordedRenderer
from snellen.data.worlds.view_set import ViewSource

#: Attributes of a view by which its object's makers are thanked.
_CREDITS = ("creator", "source", "licence")


@dataclass(frozen=True, eq=False)
class ViewedObject:
    """One object, and from where the set looks at it.

    Attributes:
        object_id: its id in the renderer.
        label: its class in the set; −1 where unknown.
        viewpoints: of its views in the set, float64 (m, 6).
        positions: of these views in the set.
        credit: maker, collection and licence, where the set tells them.
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
        renderer: looks at them from anywhere; before its own background, whatever the set puts behind objects.
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
            f"{images.name} are images, and not views whose renderer is known: nobody can look at their objects from "
            f"elsewhere. Give a set of views: optotypes:solids, meshes:FOLDER, meshes:FILE.sh3f"
        )
    assert images.rows is not None
    labels = images.labels.tolist() if images.has_labels else [-1] * len(images)
    told = images.column("attributes")
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
                credit=_credit(told[positions[0]]),
            )
        )
    return ViewedObjects(source.renderer, tuple(objects))


def _credit(attributes: object) -> str:
    try:
        known = json.loads(str(attributes))
        return ", ".join(str(known[name]) for name in _CREDITS if known.get(name))
    except (ValueError, AttributeError):
        return ""
