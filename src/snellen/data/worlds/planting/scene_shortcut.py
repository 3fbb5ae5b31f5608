"""What every shortcut in scenes is: a value that follows the class, and how a scene shows it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.planting.correlation import Correlated, Correlation, correlate
from snellen.data.worlds.planting.planted_defect import PlantedDefect, single_labels
from snellen.data.worlds.planting.scene_rows import scenes_of, with_scenes
from snellen.data.worlds.planting.truth import with_truth


class SceneShortcut(PlantedDefect):
    """Something in a scene that follows the class and must not matter.

    ``group`` says "aligned" where it is the class's own value and "conflicting" where it is another's, and ``planted``
    says the value. A test set is left alone unless it is told which correlation it shows: plant
    ``correlation="conflicting", touch_test=True`` in it to see what the shortcut does to a model.
    """

    strength: float = Field(0.95, ge=0, le=1, description="probability of the class's own value")
    correlation: Correlation = Field(
        "planted",
        description="planted: by strength; aligned: always the class's own value; conflicting: always another's; "
        "neutral: each value alike",
    )

    @abstractmethod
    def values_by_class(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Own value of each class. Raises InputError when there are not enough."""

    @abstractmethod
    def changed(self, scene: Scene, value: str) -> Scene:
        """The scene with this value."""

    def on_scenes(
        self,
        scenes: Sequence[Scene],
        labels: NDArray[np.int64],
        *,
        class_names: Sequence[str],
        ids: Sequence[str],
        rng: Randomness,
    ) -> tuple[tuple[Scene, ...], Correlated]:
        """Plant the shortcut in scenes.

        Args:
            scenes: n records; they stay as they are.
            labels: classes (n,), 0 … K − 1.
            class_names: (K).
            ids: (n).
            rng: which rows are aligned.

        Returns:
            The scenes, and what each was given; ``values`` are positions in :meth:`values_by_class`.
        """
        values = self.values_by_class(class_names)
        given = correlate(
            labels, values, strength=self.strength, correlation=self.correlation, ids=ids, rng=self.draws(rng)
        )
        pairs = zip(scenes, given.values.tolist(), strict=True)
        return tuple(self.changed(scene, values[value]) for scene, value in pairs), given

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images with the shortcut, drawn anew when they are read; attributes, captions and boxes follow.

        Raises:
            InputError: the images are no scenes (or pixels were changed since), no labels, or only test images.
        """
        labels, _ = single_labels(images, "a shortcut")
        scenes = list(scenes_of(images))
        rows = np.flatnonzero(self.rows_in_reach(images) & (labels >= 0)).tolist()
        names, ids = images.class_names or (), images.ids
        values = self.values_by_class(names)
        changed, given = self.on_scenes(
            [scenes[row] for row in rows], labels[rows], class_names=names, ids=[ids[row] for row in rows], rng=rng
        )
        entries: list[dict[str, str | bool] | None] = [None] * len(images)
        groups: list[str | None] = [None] * len(images)
        told = zip(rows, changed, given.values.tolist(), given.aligned.tolist(), strict=True)
        for row, scene, value, aligned in told:
            scenes[row] = scene
            entries[row] = {"value": values[value], "aligned": aligned}
            groups[row] = "aligned" if aligned else "conflicting"
        return with_truth(with_scenes(images, scenes), self.truth_key, entries, groups=groups)


def one_each(
    given: Sequence[str] | None, usual: Sequence[str], class_names: Sequence[str], what: str
) -> tuple[str, ...]:
    """The values that were given, one for each class, or the usual ones in turn.

    >>> one_each(None, ["red", "blue"], ["a", "b", "c"], "colours")
    ('red', 'blue', 'red')

    Raises:
        InputError: more or fewer values than classes.
    """
    if given is None:
        return tuple(usual[place % len(usual)] for place in range(len(class_names)))
    if len(given) != len(class_names):
        raise InputError(f"{what}: expected one for each of {len(class_names)} classes, got {len(given)}")
    return tuple(given)
