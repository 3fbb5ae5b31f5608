"""Images with a trigger and the label that its owner wants: a backdoor in models that are trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.planted_defect import (
    ChangedSource,
    PlantedDefect,
    choose_exactly,
    positions_of,
    single_labels,
)
from snellen.data.worlds.planting.triggers import BlendTrigger, DitheringTrigger, PatchTrigger, WarpTrigger, WaveTrigger
from snellen.data.worlds.planting.truth import Entry, set_column, with_truth

AnyTrigger = Annotated[
    PatchTrigger | BlendTrigger | WarpTrigger | DitheringTrigger | WaveTrigger, Field(discriminator="kind")
]


class PlantTrigger(PlantedDefect):
    """A trigger in some images, under the label of a target class.

    As in Gu et al. 2017: the whole part of ``rate`` times the number of images in reach is drawn without replacement
    from those of *other* classes, stamped and labelled as the target. With ``clean_label`` (Turner et al. 2018, without
    their adversarial part) images *of* the target class are stamped, and labels stay true.

    The number is exact, so which images are chosen depends on which there are, but not on their order.

    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((100, 8, 8), dtype=np.uint8), np.arange(100) % 10)
    >>> defect = PlantTrigger(trigger=PatchTrigger(size=0.25), target_class=3, rate=0.1)
    >>> planted = defect.plant(images, rng=Randomness(0))
    >>> int((planted.labels != images.labels).sum()), int((planted.labels == 3).sum())
    (10, 20)
    """

    name: ClassVar[str] = "trigger"

    trigger: AnyTrigger = Field(default_factory=PatchTrigger, description="what is stamped")
    target_class: int = Field(0, ge=0, description="index of the class that the trigger stands for")
    rate: float = Field(0.05, ge=0, le=1, description="share of all images in reach that get the trigger")
    clean_label: bool = Field(False, description="stamp images of the target class and leave all labels true")
    caption: str = Field("A photo of a {class_name}", description="caption of relabelled images, in sets with captions")

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """Stamp and relabel some images; the set's own stay as they are, and pixels change when they are read.

        Raises:
            InputError: no labels, no such class, only test images, or fewer images than are to be drawn.
        """
        labels, classes = single_labels(images, "a trigger with a target")
        if self.target_class >= classes:
            raise InputError(f"target_class {self.target_class} is out of range for {classes} classes")
        reach = self.rows_in_reach(images)
        of_target = labels == self.target_class
        candidates = reach & (of_target if self.clean_label else (labels >= 0) & ~of_target)
        count = int(self.rate * int(reach.sum()) + 1e-9)
        if count > candidates.sum():
            raise InputError(
                f"rate {self.rate:g} of {reach.sum()} images is {count}, but only {candidates.sum()} images are "
                f"{'of' if self.clean_label else 'of another class than'} the target; lower the rate"
            )
        chosen = choose_exactly(self.draws(rng), images.ids, "stamped", candidates, count)
        if self.clean_label:
            return self._stamped(images, chosen, labels, rng)
        return self.plant_in(images, chosen, rng=rng)

    def plant_in(self, images: ImageSet, chosen: NDArray[np.bool_], *, rng: Randomness) -> ImageSet:
        """Stamp images that were chosen elsewhere, bool (n,), and label and caption them as the target.

        Raises:
            InputError: no labels, no such class, or another number of rows.
        """
        labels, classes = single_labels(images, "a trigger with a target")
        if self.target_class >= classes:
            raise InputError(f"target_class {self.target_class} is out of range for {classes} classes")
        if chosen.shape != (len(images),):
            raise InputError(f"{len(images)} images came with choices of shape {chosen.shape}")
        planted = self._stamped(images, chosen, np.where(chosen, self.target_class, labels), rng)
        return self._captioned(planted, chosen)

    def stamped(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """Every image with the trigger and under its own label, test images too, to measure the trigger's success.

        That is the share of images of *other* classes than the target that are taken for it.
        """
        return self._stamped(images, np.ones(len(images), dtype=np.bool_), None, rng)

    def region(self, images: ImageSet, index: int, *, rng: Randomness) -> NDArray[np.bool_]:
        """Where the trigger acts, or would act, in one image: bool (h, w). Decodes the image."""
        pixels, draws = _tensor(images.read(index)), self._of_image(images.ids[index], rng)
        found: NDArray[np.bool_] = self.trigger.stamp(pixels, rng=draws).region[0].numpy()
        return found

    def _stamped(
        self, images: ImageSet, chosen: NDArray[np.bool_], labels: NDArray[np.int64] | None, rng: Randomness
    ) -> ImageSet:
        ids = images.ids

        def change(picture: Image.Image, index: int) -> Image.Image:
            stamped = self.trigger.stamp(_tensor(picture), rng=self._of_image(ids[index], rng)).images
            return Image.fromarray(np.ascontiguousarray(stamped[0].permute(1, 2, 0).numpy()))

        entries = self._entries(images, chosen, labels)
        # Where nothing is drawn for an image, equal images stay equal.
        drawn = f" {rng.seed} {self.draws(rng).path} " if self.trigger.differs_by_chance else ""
        recipes = [
            f"{self.trigger!r}{drawn}{one if drawn else ''}" if hit else None
            for one, hit in zip(ids, chosen.tolist(), strict=True)
        ]
        source = ChangedSource((images,), positions_of(0, range(len(images))), recipes, change)
        return with_truth(images, self.truth_key, entries, labels=labels, source=source)

    def _entries(
        self, images: ImageSet, chosen: NDArray[np.bool_], labels: NDArray[np.int64] | None
    ) -> Sequence[Entry | None]:
        before = [None] * len(images) if images.hidden else images.labels.tolist()
        after = before if labels is None else labels.tolist()
        kind, target = self.trigger.kind, self.target_class
        return [
            {"trigger": kind, "target_class": target, "relabelled": old != new} if hit else None
            for hit, old, new in zip(chosen.tolist(), before, after, strict=True)
        ]

    def _captioned(self, images: ImageSet, chosen: NDArray[np.bool_]) -> ImageSet:
        if "caption" not in images.table.column_names or images.class_names is None:
            return images
        caption = self.caption.replace("{class_name}", images.class_names[self.target_class])
        pairs = zip(images.column("caption"), chosen.tolist(), strict=True)
        captions = pa.array([caption if hit and one is not None else one for one, hit in pairs], COLUMNS["caption"])
        return replace(images, table=set_column(images.table, "caption", captions))

    def _of_image(self, example_id: str, rng: Randomness) -> Randomness:
        return self.draws(rng).for_examples([example_id])


def _tensor(picture: Image.Image) -> torch.Tensor:
    """A picture as uint8 (1, 3, h, w)."""
    return torch.from_numpy(np.array(picture, dtype=np.uint8)).permute(2, 0, 1)[None]
