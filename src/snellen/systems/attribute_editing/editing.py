"""One edit of a batch, by its row of the published list: the object is moved and put before what lies behind it.

Li et al., *ImageNet-E* (CVPR 2023), whose code repeats k = sqrt(s / rate) on its own result up to 50 times, until the
rate is within 0.015 of s or has the same whole percent. Scaling by k multiplies the area by k², so one step is nearly
exact; what rounding to pixels leaves is made up for by a few more, each sampled from the original.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.outcomes import Edited
from snellen.core.randomness import Randomness, derive_seed
from snellen.methods.edits.masked_object import Fill, Parts, object_of, pasted_onto, removed, ring_pixels, widened
from snellen.systems.attribute_editing.editor import BackgroundEditor, Guides, scores_of
from snellen.systems.attribute_editing.object_layer import ObjectLayer, resampled, resampled_share, shifted
from snellen.systems.attribute_editing.published import WEIGHT, EditSetting

#: Published: how far the share of the image may be from the requested one, and how often it is tried.
TOLERANCE, ROUNDS = 0.015, 50

#: Parts of a pixel by which an object may move while its size is looked for: where straight edges lie along the pixels
#: whole rows come and go together, and some sizes can be had only between them.
NUDGES = ((0.0, 0.0), (0.25, 0.25), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5))

#: A size is reached when it is off by half a pixel, or by the first share of it; after a search without any part of a
#: pixel the second one will do.
NEAR, ENOUGH = 1 / 500, 1 / 50

#: Published in a comment of the code: directions are drawn between −45 and 45 degrees.
TURNS = 45.0


def sized(layer: ObjectLayer, share: float, *, parity: bool = False) -> ObjectLayer:
    """The object in a size, where it is.

    Its centre stays, to half a pixel, unless the object must move inside. A share that is larger than any that fits
    becomes the largest that does, as published ("full").

    Args:
        layer: the object.
        share: of the image that it shall cover, in (0, 1].
        parity: stop at the published tolerance, which leaves an object alone that is within 0.015 already; by default
            the nearest share that whole pixels allow is looked for.

    Raises:
        InputError: a share outside of (0, 1].
        RejectedImageError: no size within the tolerance is found.
    """
    if not 0 < share <= 1:
        raise InputError(f"a size is the share of the image that the object covers, in (0, 1]; got {share}")
    if layer.share == share or (parity and _reached(layer.share, share)):
        return layer
    largest = largest_scale(layer)
    if share >= layer.share * largest**2:
        return full_sized(layer)
    best, scale, nudge = math.inf, 1.0, NUDGES[0]
    near = max(0.5 / layer.mask.numel(), NEAR * share)
    for own in NUDGES:
        low, high, tried = 0.0, largest * (1 - 1e-6), math.sqrt(share / layer.share)
        for _ in range(ROUNDS // len(NUDGES)):
            tried = tried if low < tried < high else (low + high) / 2
            found = resampled_share(layer, tried, own)
            if abs(found - share) < abs(best - share):
                best, scale, nudge = found, tried, own
            if (parity and _reached(found, share)) or abs(found - share) <= near:
                return resampled(layer, tried, 0.0, own)
            low, high = (tried, high) if found < share else (low, tried)
            tried = tried * math.sqrt(share / found) if found else 0.0
        if abs(best - share) <= ENOUGH * share:
            break
    if abs(best - share) > TOLERANCE:
        raise RejectedImageError(f"its object covers {best:.3f} of the image at best, not the {share:g} asked for")
    return resampled(layer, scale, 0.0, nudge)


def full_sized(layer: ObjectLayer) -> ObjectLayer:
    """The object as large as the image allows with its aspect: its box reaches from edge to edge one way."""
    scale = largest_scale(layer)
    for _ in range(4):  # rounding may put the last pixel outside
        try:
            return resampled(layer, scale, 0.0)
        except RejectedImageError:
            scale *= 1 - 1e-3
    raise RejectedImageError("its object cannot be made as large as the image")


def largest_scale(layer: ObjectLayer) -> float:
    """Factor by which the lengths of an object can grow until its box is as high or as wide as the image."""
    top, left, bottom, right = layer.box
    height, width = layer.mask.shape
    return min(height / (bottom - top), width / (right - left))


def placed(layer: ObjectLayer, down: float, across: float) -> ObjectLayer:
    """The object at another place, fully inside, by whole pixels: size, direction and every pixel stay.

    Args:
        layer: the object.
        down: which of the places from top to bottom, uniform in [0, 1) for a uniform place.
        across: the same from left to right.

    Raises:
        RejectedImageError: its box is as large as the image, so there is no other place.
    """
    top, left, bottom, right = layer.box
    height, width = layer.mask.shape
    rooms = height - (bottom - top) + 1, width - (right - left) + 1
    if rooms == (1, 1):
        raise RejectedImageError("its object is as large as the image: there is no other place for it")
    at = [min(int(one * room), room - 1) for one, room in zip((down, across), rooms, strict=True)]
    return shifted(layer, at[0] - top, at[1] - left)


def turned(layer: ObjectLayer, degrees: float) -> ObjectLayer:
    """The object turned clockwise about its centre.

    Raises:
        RejectedImageError: turned like this it does not fit into the image.
    """
    return resampled(layer, 1.0, degrees)


def _reached(rate: float, share: float) -> bool:
    return math.floor(100 * rate) == 100 * share or abs(rate - share) <= TOLERANCE


#: Severity at which an edit is the published one.
MOST = 5.0


@dataclass(frozen=True, eq=False)
class Edit:
    """An edit and the networks that it takes.

    Args:
        setting: what changes.
        editor: paints backgrounds; None: copy and paste.
        misled: the classifier of an adversarial background.
        weight: absolute λ of plain and complex backgrounds.
        adversarial_weight: of the classifier's log-probability.
        fill: how an object is taken out where no background is given.
        ring: width of what is taken out around it, of the longer side; at least a pixel.
        parts: which parts of a mask are the object.
        constant: brightness counts as complexity.
        parity: sizes within the published tolerance count as reached.
    """

    setting: EditSetting
    editor: BackgroundEditor | None = None
    misled: Classifier | None = None
    weight: float = WEIGHT
    adversarial_weight: float = 10.0
    fill: Fill = "moved"
    ring: float = 0.0
    parts: Parts = "largest"
    constant: bool = True
    parity: bool = False

    def edit(
        self,
        images: Tensor,
        masks: Tensor,
        severity: float,
        *,
        rng: Randomness,
        backgrounds: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Edited:
        """See :meth:`snellen.systems.attribute_editing.method.AttributeEditing.edit`."""
        _check(images, masks, severity, backgrounds)
        if severity == 0 or not len(images):
            return Edited(images, masks, ("ok",) * len(images))
        if self.setting.borrows and backgrounds is None:
            raise InputError("random_background needs the backgrounds of other images: give backgrounds (n, 3, h, w)")
        unfit = self._unfit((images.shape[2], images.shape[3]))
        if unfit is not None:
            return Edited(images, masks, (unfit,) * len(images))
        bound, share = rng.bind(len(images)), severity / MOST
        fills = backgrounds is None or (self.setting.borrows and share < 1)
        status, layers = list[str](), list[ObjectLayer]()
        for row in range(len(images)):
            try:
                if fills and bool(widened(masks[row], self._around(images)).all()):
                    raise RejectedImageError("no background is left around its object")
                layers.append(self._moved(images[row], masks[row], share, bound[[row]]))
                status.append("ok")
            except RejectedImageError as error:
                status.append(str(error))
        rows = [row for row, told in enumerate(status) if told == "ok"]
        result, places = images.clone(), masks.clone()
        if rows:
            behind = self._behind(images[rows], masks[rows], share, None if backgrounds is None else backgrounds[rows])
            objects, places[rows] = (
                torch.stack([one.image for one in layers]),
                torch.stack([one.mask for one in layers]),
            )
            if self.editor is None:
                made = pasted_onto(objects, places[rows], behind)
            else:
                said = self._classes(images[rows], None if labels is None else labels[rows])
                made = self._painted(self.editor, objects, places[rows], behind, share, bound[rows], said)
            result[rows] = made.to(result)
        return Edited(result, places, tuple(status))

    def _unfit(self, size: tuple[int, int]) -> str | None:
        """Why images of a size cannot be painted, or None."""
        try:
            if self.editor is not None:
                self.editor.generator.latent_shape(size)
        except InputError as error:
            return str(error)
        return None

    def _moved(self, image: Tensor, mask: Tensor, share: float, rng: Randomness) -> ObjectLayer:
        """The object after that share of its motion; RejectedImageError where it cannot be made."""
        if not bool(image.isfinite().all()):
            raise RejectedImageError("it holds values that are not finite (NaN or infinity)")
        layer, wanted = ObjectLayer(image, object_of(mask, self.parts)), self.setting
        if wanted.attribute == "size":
            full = full_sized(layer) if wanted.share == 1 else None
            if full is not None and share == 1:
                return full
            target = wanted.share if full is None else full.share
            return sized(layer, layer.share * (target / layer.share) ** share, parity=self.parity)
        if wanted.attribute == "position":
            down, across = rng.uniform("place", (2,))[0].tolist()
            there = placed(layer, down, across)
            return shifted(
                layer, *(round((to - at) * share) for to, at in zip(there.box[:2], layer.box[:2], strict=True))
            )
        if wanted.attribute == "direction":
            return turned(layer, drawn_turn(rng)[0] * share)
        return layer

    def _behind(self, images: Tensor, masks: Tensor, share: float, backgrounds: Tensor | None) -> Tensor:
        """What lies behind the objects; a lent background is mixed with the own one."""
        if backgrounds is not None and (not self.setting.borrows or share == 1):
            return backgrounds.to(images)
        own = removed(images, masks, self.fill, ring=self._around(images))
        return own if backgrounds is None else torch.lerp(own, backgrounds.to(images), share)

    def _around(self, images: Tensor) -> int:
        """Pixels around an object that are taken out with it."""
        return ring_pixels(self.ring, images.shape[2], images.shape[3])

    def _classes(self, images: Tensor, labels: Tensor | None) -> Tensor | None:
        """Classes from which an adversarial background leads away: given, or what the classifier says."""
        if not self.setting.adversarial or self.misled is None or labels is not None:
            return labels
        with torch.no_grad():
            return self.misled.predict(scores_of(self.misled, images)).cpu()

    def _painted(
        self,
        editor: BackgroundEditor,
        objects: Tensor,
        masks: Tensor,
        backgrounds: Tensor,
        share: float,
        rng: Randomness,
        labels: Tensor | None,
    ) -> Tensor:
        count = len(objects)
        guides = Guides(
            torch.full(
                (count,), share * math.copysign(self.weight, self.setting.weight) if self.setting.weight else 0.0
            ),
            torch.full((count,), share * self.adversarial_weight if self.setting.adversarial else 0.0),
            self.misled,
            labels,
            self.constant,
        )
        assert rng.ids is not None
        # One seed for all edits of an image: they differ in the edit, and not in the noise.
        seeds = [derive_seed(rng.seed, "background", key) % 2**31 for key in rng.ids]
        if self.setting.attribute == "control":
            editor = editor.shortened(share)
        return editor.edit(objects, masks, backgrounds, seeds, guides)


def drawn_turn(rng: Randomness) -> list[float]:
    """Angles of random directions, degrees, uniform between the published limits; one for each example."""
    return rng.uniform("direction", (), -TURNS, TURNS).tolist()


def _check(images: Tensor, masks: Tensor, severity: float, backgrounds: Tensor | None) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise InputError(f"images are float (n, 3, h, w) in [0, 1]; got {images.dtype} {tuple(images.shape)}")
    if masks.dtype != torch.bool or masks.shape != (len(images), *images.shape[2:]):
        raise InputError(
            f"masks of images {tuple(images.shape)} are bool {(len(images), *images.shape[2:])}; got {masks.dtype} "
            f"{tuple(masks.shape)}"
        )
    if not 0 <= severity <= MOST:
        raise InputError(f"severity lies in [0, {MOST:g}], got {severity!r}")
    if backgrounds is not None and backgrounds.shape != images.shape:
        raise InputError(f"backgrounds {tuple(backgrounds.shape)} and images {tuple(images.shape)} differ in shape")
