"""Sets of scenes as image sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS as TABLE
from snellen.core.images import ImageSet, Provenance, Split
from snellen.data.worlds.optotypes import lettering
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import described
from snellen.data.worlds.optotypes.factors import (
    BACKGROUNDS,
    COLOURS,
    COLUMNS,
    LIGHTINGS,
    ROWS,
    SHAPES,
    SIZES,
    STYLES,
    TEXTURES,
    TILTS,
)
from snellen.data.worlds.optotypes.rendering import VERSION, render, visible
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.rendered_source import RenderedSource

#: Factors that may be the label: their values, and how a scene says its own. Those of objects describe the first.
LABELS: dict[str, tuple[Sequence[str], Callable[[Scene], str]]] = {
    "shape": (SHAPES, lambda scene: scene.objects[0].shape),
    "colour": (COLOURS, lambda scene: scene.objects[0].colour),
    "texture": (TEXTURES, lambda scene: scene.objects[0].texture),
    "size": (SIZES, lambda scene: scene.objects[0].size),
    "tilt": (TILTS, lambda scene: scene.objects[0].tilt),
    "column": (COLUMNS, lambda scene: scene.objects[0].column),
    "row": (ROWS, lambda scene: scene.objects[0].row),
    "background": (BACKGROUNDS, lambda scene: scene.background),
    "lighting": (LIGHTINGS, lambda scene: scene.light.name),
    "style": (STYLES, lambda scene: scene.style),
}

#: Pixels that are drawn together, for every size of pictures, to bound the memory.
_PIXELS_AT_ONCE = 2**17


def _chunk(size: int) -> int:
    """Scenes that are drawn together."""
    return max(1, _PIXELS_AT_ONCE // size**2)


class SceneSource(RenderedSource):
    """Pictures and masks of scenes, drawn when they are read.

    Args:
        scenes: the records.
        size: side of the pictures, pixels.
    """

    def __init__(self, scenes: Sequence[Scene], size: int) -> None:
        self.scenes, self.size = tuple(scenes), size
        super().__init__(len(self.scenes), self._pictures, self._recipe, masks=self._object_masks, chunk=_chunk(size))

    def _pictures(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        drawn = render([self.scenes[row] for row in rows], self.size).pixels
        return drawn.permute(0, 2, 3, 1).contiguous().numpy()

    def _object_masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        seen = visible([self.scenes[row] for row in rows], self.size)
        masks: NDArray[np.uint8] = seen.sum(1).clamp_(0, 1).mul_(255).round_().byte().numpy()
        return masks

    def _recipe(self, row: int) -> str:
        scene = self.scenes[row]
        written = "" if scene.lettering is None else f" lettering {lettering.VERSION}"
        return f"optotypes {VERSION}{written} {self.size} {scene.to_json()}"


def scene_images(
    scenes: Sequence[Scene],
    *,
    size: int,
    label: str = "shape",
    class_names: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    unit_ids: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    split: Split | None = None,
    captions: bool = True,
    name: str = "optotypes",
) -> ImageSet:
    """Make an image set of scenes.

    >>> from snellen.data.worlds.optotypes.scene import SceneObject
    >>> scene = Scene(objects=(SceneObject(shape="star", colour="red"),), background="grass")
    >>> images = scene_images([scene], size=16)
    >>> images.class_names[images.labels[0]], images[0].image.size
    ('star', (16, 16))

    The table holds for every image its label, its caption, the boxes of its objects in pixels (an object that is seen
    in no pixel by half has none), and the record of its scene in ``attributes``. Masks show all objects.

    Args:
        scenes: n records.
        size: side of the pictures, pixels.
        label: factor that is the class, one of :data:`LABELS`.
        class_names: values of that factor that are classes; None means all there are.
        ids: n unique ids; None numbers them.
        unit_ids: which images belong together (n).
        groups: (n).
        split: the split that the images are.
        captions: whether to write captions.
        name: shown in reports.

    Raises:
        InputError: no such factor, a scene whose value is no class, or one without objects where the label needs one.
    """
    if label not in LABELS:
        raise InputError(f"the label of a scene can be {', '.join(LABELS)}; got {label!r}")
    names = tuple(class_names or LABELS[label][0])
    keys = list(ids) if ids is not None else [f"{position:06d}" for position in range(len(scenes))]
    columns: dict[str, Sequence[object]] = {
        "id": keys,
        "label": [_class_index(scene, label, names) for scene in scenes],
        "mask": [f"masks/{key}.png" for key in keys],
        "boxes": [box for part in _chunks(scenes, _chunk(size)) for box in _boxes(part, size)],
        "attributes": [scene.to_json() for scene in scenes],
        "provenance": [_provenance(scene) for scene in scenes],
    }
    if captions:
        columns["caption"] = [caption(described(scene), seed=scene.seed) for scene in scenes]
    for column, values in (("unit_id", unit_ids), ("group", groups)):
        if values is not None:
            columns[column] = values
    if split is not None:
        columns["split"] = [split] * len(keys)
    table = pa.table({column: pa.array(values, TABLE[column]) for column, values in columns.items()})
    return ImageSet(SceneSource(scenes, size), table, names, name, split=split)


def _class_index(scene: Scene, label: str, names: Sequence[str]) -> int:
    if not scene.objects and label not in ("background", "lighting", "style"):
        raise InputError(f"a scene without objects has no {label} to be its label")
    value = LABELS[label][1](scene)
    if value not in names:
        raise InputError(f"a scene has the {label} {value!r}, which is none of the classes: {', '.join(names)}")
    return names.index(value)


def _provenance(scene: Scene) -> str:
    return Provenance(origin="generated", generator="snellen optotypes", seed=scene.seed).model_dump_json()


def _chunks(scenes: Sequence[Scene], length: int) -> Iterator[Sequence[Scene]]:
    return (scenes[start : start + length] for start in range(0, len(scenes), length))


def _boxes(scenes: Sequence[Scene], size: int) -> list[list[list[float]]]:
    """Boxes x0, y0, x1, y1 in pixels of the objects of each scene."""
    inside = visible(scenes, size).numpy() >= 0.5
    found = []
    for masks in inside:
        spans = [(np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))) for mask in masks if mask.any()]
        found.append([[float(x[0]), float(y[0]), float(x[-1] + 1), float(y[-1] + 1)] for x, y in spans])
    return found
