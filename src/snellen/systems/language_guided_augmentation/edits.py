"""Edits that take a phrase out of an image, each with a matched control: stage 3 of ASPIRE.

The control of an object's edit does the same to as many pixels elsewhere, which touch neither the phrase nor the
class's object. The control of a background's edit puts the image before its own background in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.worlds.optotypes.factors import BACKGROUNDS
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Scene
from snellen.methods.edits.masked_object import pasted_onto, removed, widened
from snellen.methods.edits.painting import Instructed, Painter, control_region, filling_painter
from snellen.methods.explanations.background_swap import before_backgrounds
from snellen.models.detectors.protocol import Detector
from snellen.models.segmenters.protocol import Segmenter
from snellen.systems.language_guided_augmentation.words import stem, stems

Kind = Literal["object", "background"]

#: Why no edit was made: the first words of a reason, which statuses are made of.
NOT_FOUND = "not found"


@dataclass(frozen=True, eq=False)
class Subject:
    """An image and what is known of it.

    Attributes:
        example_id: of the image.
        image: float (3, h, w) in [0, 1], at its own size.
        names: of its class, its own first.
        record: column ``attributes``; None where there is none.
        mask: where the object of the class is, bool (h, w); None where that is not known.
    """

    example_id: str
    image: Tensor
    names: tuple[str, ...]
    record: str | None = None
    mask: Tensor | None = None


@dataclass(frozen=True)
class Wish:
    """What is to be taken out of an image: an object, or a background for an alternative."""

    kind: Kind
    phrase: str
    alternative: str | None = None


@dataclass(frozen=True, eq=False)
class Edited:
    """An edited image; without one, the reason.

    Attributes:
        image: float (3, h, w) in [0, 1]; None where no edit was made.
        control: the same, of the matched control; None where there is no room for one.
        mask: what was changed, bool (h, w).
        reason: why there is no edit, or no control.
    """

    image: Tensor | None = None
    control: Tensor | None = None
    mask: Tensor | None = None
    reason: str = ""


class PhraseEditor(Protocol):
    """Takes phrases out of images."""

    @property
    def name(self) -> str:
        """Shown in reports."""

    def edit(self, subject: Subject, wish: Wish, lent: Subject | None, rng: Randomness) -> Edited:
        """Edit one image.

        Args:
            subject: the image.
            wish: what goes.
            lent: an image that shows the alternative background; None where none does.
            rng: bound to the image.
        """


#: A drawn image differs from its record by no more than rounding.
_ROUNDING = 1.5 / 255


@dataclass(frozen=True)
class SceneEditor:
    """The oracle of scenes: they are drawn anew without the object or lettering, or on another background.

    Controls are of the same background with other grain: behind an object of the same shape elsewhere, or everywhere
    behind the objects.
    """

    name: str = "scenes drawn anew"

    def edit(self, subject: Subject, wish: Wish, lent: Subject | None, rng: Randomness) -> Edited:
        """Draw the scene without the phrase; see :class:`PhraseEditor`."""
        image, size = subject.image, subject.image.shape[-1]
        try:
            scene = Scene.from_json(subject.record or "")
        except InputError:
            return Edited(reason="its attributes are not the record of a scene")
        changed = _without(scene, wish, subject.names)
        other = scene.model_copy(update={"seed": derive_seed(scene.seed, "control")})
        rendered = render([scene, changed or scene, other], size)
        drawn, edited, anew = rendered.pixels.float() / 255
        if image.shape[1] != size or float((drawn - image).abs().max()) > _ROUNDING:
            return Edited(reason="its picture is not what its record draws")
        if changed is None:
            return Edited(reason=NOT_FOUND)
        mask = (edited != drawn).any(0)
        if not bool(mask.any()):
            return Edited(reason=f"{NOT_FOUND}: it cannot be seen")
        objects = rendered.coverage[0].sum(0) > 0
        if wish.kind == "background":
            return Edited(edited, pasted_onto(image[None], objects[None], anew[None])[0], mask)
        where = control_region(mask, objects, float(rng.uniform("control", ())))
        control = None if where is None else pasted_onto(anew[None], where[None], image[None])[0]
        return Edited(edited, control, mask, "" if where is not None else "no room for its control")


def _without(scene: Scene, wish: Wish, names: tuple[str, ...]) -> Scene | None:
    """The scene without a phrase; None where it shows no such object. Objects of the class itself stay."""
    words = frozenset(stems(wish.phrase))
    if wish.kind == "background":
        new = next((one for one in BACKGROUNDS if one in stems(wish.alternative or "")), None)
        return None if new is None or scene.background not in words else scene.model_copy(update={"background": new})
    if scene.lettering is not None and "text" in words and words <= {"text", stem(scene.lettering.text)}:
        return scene.model_copy(update={"lettering": None})
    left = []
    for one in scene.objects:
        of_class = {one.shape, one.colour, one.texture, one.size, one.tilt, one.column, one.row} & set(names)
        if of_class or not words <= {one.colour, one.shape, one.texture, one.size}:
            left.append(one)
    return None if len(left) == len(scene.objects) else scene.model_copy(update={"objects": tuple(left)})


@dataclass(frozen=True, eq=False)
class DetectedEditor:
    """Detector → boxes → masks → their union → dilated → painted; the object of the class is kept.

    A background is edited by instruction where something does that, and painted around the object where the painter
    reads words; else it is that of an image that shows the alternative, without its object.

    Attributes:
        detector: finds phrases, and the object of the class where it has no mask.
        segmenter: makes masks of boxes; None: the boxes are the masks.
        paint: fills holes.
        by_words: whether it reads words.
        instruct: edits backgrounds by words.
        threshold: least score of a box.
        dilate: pixels around the union that go with it.
    """

    detector: Detector
    segmenter: Segmenter | None = None
    paint: Painter = field(default_factory=lambda: filling_painter("moved"))
    by_words: bool = False
    instruct: Instructed | None = None
    threshold: float = 0.3
    dilate: int = 5
    #: Where the object of the class is, of the images that are still held: it is found once for all phrases of one.
    objects: WeakKeyDictionary[Subject, Tensor | None] = field(default_factory=WeakKeyDictionary, repr=False)

    @property
    def name(self) -> str:
        """Of the detector and the segmenter."""
        return " and ".join(one.name for one in (self.detector, self.segmenter) if one is not None)

    def edit(self, subject: Subject, wish: Wish, lent: Subject | None, rng: Randomness) -> Edited:
        """Find the phrase and take it out; see :class:`PhraseEditor`."""
        kept = self._object(subject)
        if wish.kind == "background":
            return self._before(subject, kept, wish, lent, rng)
        region = self.region(subject.image, wish.phrase)
        if region is None:
            return Edited(reason=NOT_FOUND)
        kept = torch.zeros_like(region) if kept is None else kept
        if float((region & ~kept).sum()) < 0.5 * float(region.sum()):
            return Edited(reason="it lies on the object of the class")
        hole = widened(region, self.dilate) & ~kept
        if bool(hole.all()):
            return Edited(reason="it is all of the image")
        seed = _seed(rng)
        edited = self.paint(subject.image, hole, "background", seed)
        where = control_region(hole, widened(kept, 1), float(rng.uniform("control", ())))
        control = None if where is None else self.paint(subject.image, where, "background", seed)
        return Edited(edited, control, hole, "" if where is not None else "no room for its control")

    def region(self, image: Tensor, phrase: str) -> Tensor | None:
        """Union of the masks of all boxes of a phrase, bool (h, w); None where it was not found."""
        (found,) = self.detector.detect([image], [phrase], threshold=self.threshold)
        region = found.region(*image.shape[1:])
        if len(found) and self.segmenter is not None:
            # Edges of boxes lie between pixels, prompts of a segmenter at their centres.
            region = self.segmenter.segment(image[None], boxes=found.boxes - 0.5).regions.cpu().any(0)
        return region if bool(region.any()) else None

    def _object(self, subject: Subject) -> Tensor | None:
        if subject.mask is not None:
            return subject.mask
        if subject not in self.objects:
            self.objects[subject] = self.region(subject.image, subject.names[0])
        return self.objects[subject]

    def _before(
        self, subject: Subject, kept: Tensor | None, wish: Wish, lent: Subject | None, rng: Randomness
    ) -> Edited:
        if kept is None or bool(kept.all()):
            return Edited(reason="the object of the class was not found, so nobody knows what its background is")
        if (self.by_words or self.instruct is not None) and wish.alternative is not None:
            seed, image = _seed(rng), subject.image
            edited, control = (
                self.paint(image, ~kept, words, seed)
                if self.instruct is None
                # Changes of the object of the class are no evidence about its background.
                else torch.where(kept, image, self.instruct(image, wish.phrase, words, seed))
                for words in (wish.alternative, wish.phrase)
            )
            return Edited(edited, control, ~kept)
        theirs = None if lent is None else self._object(lent)
        if lent is None or theirs is None or bool(theirs.all()):
            return Edited(reason=f"no image lends the background {wish.alternative!r}")
        size = subject.image.shape[1:]
        taken = removed(lent.image[None], theirs[None], ring=self.dilate)
        new = functional.interpolate(taken, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        own = removed(subject.image[None], kept[None], ring=self.dilate)
        step = torch.stack([rng.integers(axis, (), 0, side) for axis, side in zip("yx", size, strict=True)], 1)
        return Edited(
            pasted_onto(subject.image[None], kept[None], new)[0],
            before_backgrounds(subject.image[None], kept[None], own, step)[0],
            ~kept,
        )


def _seed(rng: Randomness) -> int:
    return int(rng.integers("painting", (), 0, 2**31 - 1))
