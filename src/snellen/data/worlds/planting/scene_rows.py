"""The scenes that the images of a set show, and a set with other scenes in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scene_set import SceneSource, scene_images
from snellen.data.worlds.planting.truth import set_column


def scenes_of(images: ImageSet) -> tuple[Scene, ...]:
    """The scene of each image (n).

    Raises:
        InputError: the images are no scenes, or their pixels were changed after they were drawn.
    """
    if not isinstance(images.source, SceneSource):
        raise InputError(
            f"{images.name} is no set of scenes (its pixels come from {type(images.source).__name__}); plant shortcuts "
            f"in scenes before triggers and copies"
        )
    assert images.rows is not None
    return tuple(images.source.scenes[row] for row in images.rows.tolist())


def with_scenes(images: ImageSet, scenes: Sequence[Scene]) -> ImageSet:
    """The same images of other scenes: pixels, attributes, captions and boxes follow; labels and all else stay.

    Args:
        images: a set of scenes.
        scenes: one for each image.
    """
    assert isinstance(images.source, SceneSource)
    present = images.table.column_names
    # Of the set that is drawn, only what follows from the scenes is taken; a background is a label that each scene has.
    drawn = scene_images(
        scenes, size=images.source.size, label="background", ids=images.ids, captions="caption" in present
    )
    table = images.table
    for column in ("attributes", "boxes", "caption"):
        if column in present:
            table = set_column(table, column, drawn.table[column])
    return replace(images, source=drawn.source, table=table, rows=np.arange(len(table), dtype=np.int64))
