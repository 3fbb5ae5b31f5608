"""One edit of a batch, by its row of the published list: the object is moved and put before what lies behind it."""

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
from snellen.systems.attribute_editing.motions import TURNS, full_sized, placed, sized, turned
from snellen.systems.attribute_editing.object_layer import ObjectLayer, shifted
from snellen.systems.attribute_editing.published import WEIGHT, EditSetting

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
