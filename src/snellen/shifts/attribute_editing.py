"""One attribute of the object in an image changes, and the object's pixels stay: background, size, place, direction.

Li, Chen, Zhu, Wang, Zhang and Xue, "ImageNet-E: Benchmarking Neural Network Robustness via Attribute Editing", CVPR
2023, arXiv 2303.17096. The object is cut out, the background behind it filled, the object moved, and the background
noised and denoised around it. Without a generator it is copied and pasted, which is also the baseline that shows what
seams cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.attribute_edits.backgrounds import Fill, pasted_onto, removed
from snellen.attribute_edits.editor import BackgroundEditor, Guides
from snellen.attribute_edits.motions import TURNS, full_sized, placed, sized, turned
from snellen.attribute_edits.object_layer import ObjectLayer, shifted
from snellen.attribute_edits.object_mask import Parts, object_of
from snellen.attribute_edits.published import KINDS, SETTINGS, EditSetting, Kind
from snellen.classifier import Classifier
from snellen.diffusion.generator import Generator
from snellen.diffusion.loading import load_generator
from snellen.errors import InputError, RejectedImageError
from snellen.images import ImageSet
from snellen.method import Method, Need
from snellen.models.references import load_classifier
from snellen.outcomes import Edited
from snellen.randomness import Randomness, derive_seed

#: Severity at which an edit is the published one.
MOST = 5.0


class AttributeEditing(Method):
    """One edit of the published list.

    >>> images, masks = torch.rand(1, 3, 16, 16), torch.zeros(1, 16, 16, dtype=torch.bool)
    >>> masks[0, 4:10, 5:9] = True
    >>> method = AttributeEditing(kind="random_position")
    >>> edited = method.edit(images, masks, 5.0, rng=Randomness(0))
    >>> edited.status, int(edited.masks.sum()) == int(masks.sum())
    (('ok',), True)
    """

    name: ClassVar[str] = "attribute_editing"
    needs: ClassVar[frozenset[Need]] = frozenset({"masks"})
    finds: ClassVar[tuple[str, ...]] = ("attribute",)

    kind: Kind = Field(
        "random_position",
        description="what changes: inver (nothing, a control), a background, a size or full_size, random_position, "
        "random_direction",
        json_schema_extra={"x-snellen-left-out": "all published edits that can be made with what is given"},
    )
    generator: str | None = Field(
        None, description="reference of the diffusion model that paints backgrounds; none: copy and paste"
    )
    classifier: str | None = Field(None, description="reference of the classifier that adversarial_background misleads")
    fill: Fill = Field(
        "moved",
        description="how the object is taken out of its background: by pixels from elsewhere, or Telea's method",
    )
    parts: Parts = Field("largest", description="of several parts of a mask, the largest is the object, or all are")
    steps: int = Field(100, ge=1, description="steps of the diffusion model's schedule")
    made: int = Field(25, ge=1, description="how many of them, the last ones, are made")
    adversarial_weight: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="weight of the misled classifier's log-probability"
    )
    constant: bool = Field(True, description="brightness counts as complexity, as published")
    coarse_to_fine: bool = Field(False, description="keep a ring around the object while more than 35 steps are left")
    parity: bool = Field(False, description="sizes within 0.015 of what is asked for count as reached, as published")

    @classmethod
    def when_left_out(cls, given: Mapping[str, object]) -> Mapping[str, Sequence[object]]:
        """What a command stands for that names no kind: all that can be made with what is given.

        >>> "complex_background" in AttributeEditing.when_left_out({})["kind"]
        False
        """
        if "kind" in given:
            return {}
        generated, misled = given.get("generator") is not None, given.get("classifier") is not None
        possible = [
            kind
            for kind in KINDS
            if (generated or not SETTINGS[kind].guided) and (misled or not SETTINGS[kind].adversarial)
        ]
        return {"kind": possible}

    @property
    def setting(self) -> EditSetting:
        """The published row of this kind."""
        return SETTINGS[self.kind]

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: a guided background without a generator, or without a classifier to mislead."""
        if self.setting.guided and self.generator is None:
            return f"of kind {self.kind} needs a generator: --generator bundled:scene-diffusion or diffusers:FOLDER"
        if self.setting.adversarial and self.classifier is None:
            return f"of kind {self.kind} needs the classifier that it misleads: --classifier bundled:scene-cnn"
        if self.made > self.steps:
            return f"makes {self.made} of {self.steps} steps; give --made of at most that"
        return super().missing(classifier, images)

    def edit(
        self,
        images: Tensor,
        masks: Tensor,
        severity: float,
        *,
        rng: Randomness | None = None,
        backgrounds: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Edited:
        """Edit images; severity 0 returns them unchanged, 5 is the published edit.

        Between, sizes go geometrically from the object's own to the published one; places and angles are that share of
        the drawn ones; λ and the classifier's weight are that share; a lent background is mixed with the own one; the
        control makes that share of the steps.

        Args:
            images: float (n, 3, h, w) in [0, 1].
            masks: bool (n, h, w), the objects.
            severity: in [0, 5].
            rng: bound to the images' ids, or by position.
            backgrounds: (n, 3, h, w), what lies behind the objects: for ``random_background`` those of other images
                without their objects, for every other kind the images' own. None: the own ones are made by ``fill``.
            labels: int64 (n,), the classes from which ``adversarial_background`` leads away; None: what the classifier
                says of the unedited images.

        Raises:
            InputError: shapes that do not fit, a severity outside of [0, 5], a random background without backgrounds,
                or something that the kind needs and the method lacks.
        """
        _check(images, masks, severity, backgrounds)
        lacking = self.missing()
        if lacking is not None:
            raise InputError(f"{self.name} {lacking}")
        bound = (rng or Randomness(0)).bind(len(images))
        if severity == 0 or not len(images):
            return Edited(images, masks, ("ok",) * len(images))
        if self.kind == "random_background" and backgrounds is None:
            raise InputError("random_background needs the backgrounds of other images: give backgrounds (n, 3, h, w)")
        status: list[str] = []
        layers: list[ObjectLayer] = []
        for row in range(len(images)):
            try:
                found = self._moved(images[row], masks[row], severity / MOST, bound[[row]])
            except RejectedImageError as error:
                status.append(str(error))
                continue
            status.append("ok")
            layers.append(found)
        rows = [row for row, told in enumerate(status) if told == "ok"]
        result, places = images.clone(), masks.clone()
        if rows:
            behind = self._behind(images, masks, rows, severity / MOST, backgrounds)
            objects, found_masks = (torch.stack([getattr(one, name) for one in layers]) for name in ("image", "mask"))
            said = None if labels is None else labels[rows]
            result[rows] = self._before(
                objects, found_masks, behind, images[rows], severity / MOST, bound[rows], said
            ).to(images)
            places[rows] = found_masks
        return Edited(result, places, tuple(status))

    def _moved(self, image: Tensor, mask: Tensor, share: float, rng: Randomness) -> ObjectLayer:
        """The object after the share of its motion; RejectedImageError where it cannot be made."""
        if not bool(image.isfinite().all()):
            raise RejectedImageError("it holds values that are not finite (NaN or infinity)")
        layer = ObjectLayer(image, object_of(mask, self.parts))
        if self.setting.attribute == "size":
            full = full_sized(layer) if self.setting.share == 1 else None
            if full is not None and share == 1:
                return full
            target = self.setting.share if full is None else full.share
            return sized(layer, layer.share * (target / layer.share) ** share, parity=self.parity)
        if self.setting.attribute == "position":
            down, across = rng.uniform("place", (2,))[0].tolist()
            there = placed(layer, down, across)
            moved = [round((to - at) * share) for to, at in zip(there.box[:2], layer.box[:2], strict=True)]
            return shifted(layer, *moved)
        if self.setting.attribute == "direction":
            return turned(layer, float(rng.uniform("direction", (1,), -TURNS, TURNS)[0]) * share)
        return layer

    def _behind(
        self, images: Tensor, masks: Tensor, rows: list[int], share: float, backgrounds: Tensor | None
    ) -> Tensor:
        """Backgrounds of the rows that are edited."""
        lent = None if backgrounds is None else backgrounds[rows].to(images)
        if lent is not None and (self.kind != "random_background" or share == 1):
            return lent
        own = removed(images[rows], masks[rows], self.fill)
        return own if lent is None else torch.lerp(own, lent, share)

    def _before(
        self,
        objects: Tensor,
        masks: Tensor,
        backgrounds: Tensor,
        originals: Tensor,
        share: float,
        rng: Randomness,
        labels: Tensor | None,
    ) -> Tensor:
        """Objects before their backgrounds, pasted or painted."""
        if self.generator is None:
            return pasted_onto(objects, masks, backgrounds)
        count = len(objects)
        adversarial = share * self.adversarial_weight if self.setting.adversarial else 0.0
        misled = _classifier(self.classifier) if self.setting.adversarial and self.classifier else None
        if misled is not None and labels is None:
            with torch.no_grad():
                labels = misled.predict(misled(originals.to(misled.device))).cpu()
        guides = Guides(
            torch.full((count,), share * self.setting.weight),
            torch.full((count,), adversarial),
            misled,
            labels,
            self.constant,
        )
        made = max(1, round(self.made * share)) if self.setting.attribute == "control" else self.made
        editor = BackgroundEditor(_generator(self.generator), self.steps, made, self.coarse_to_fine)
        assert rng.ids is not None
        seeds = [derive_seed(rng.seed, *rng.path, "edit", key) % 2**31 for key in rng.ids]
        return editor.edit(objects, masks, backgrounds, seeds, guides)


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


@lru_cache(maxsize=2)
def _generator(reference: str) -> Generator:
    return load_generator(reference)


@lru_cache(maxsize=2)
def _classifier(reference: str) -> Classifier:
    return load_classifier(reference)
