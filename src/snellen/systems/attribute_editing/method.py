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

from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.outcomes import Edited
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import Fill, Parts
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.systems.attribute_editing.editing import Edit
from snellen.systems.attribute_editing.editor import BackgroundEditor, check_misled
from snellen.systems.attribute_editing.published import KINDS, SETTINGS, WEIGHT, EditSetting, Kind


class AttributeEditing(Method):
    """One edit of the published list.

    >>> import torch
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
    ring: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="width of what is taken out around the object with it, such as its shadow, of the image's longer "
        "side; at least a pixel",
    )
    parts: Parts = Field("largest", description="of several parts of a mask, the largest is the object, or all are")
    steps: int = Field(100, ge=1, description="steps of the diffusion model's schedule")
    made: int = Field(25, ge=1, description="how many of them, the last ones, are made")
    weight: float = Field(
        WEIGHT, gt=0, allow_inf_nan=False, description="λ of plain and complex backgrounds, its absolute value"
    )
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

    @property
    def borrows(self) -> bool:
        """Whether the backgrounds that it is given must be those of other images."""
        return self.setting.borrows

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: a guided background without a generator, or without a classifier to mislead."""
        if self.setting.guided and self.generator is None:
            return f"of kind {self.kind} needs a generator: --generator bundled:scene-painter or diffusers:FOLDER"
        if self.setting.adversarial and self.classifier is None:
            return f"of kind {self.kind} needs the classifier that it misleads: --classifier bundled:scene-cnn"
        if self.made > self.steps:
            return f"makes {self.made} of {self.steps} steps; give --made of at most that"
        return super().missing(classifier, images)

    def load(self) -> None:
        """Load the generator, and the classifier that is misled."""
        if self.generator is not None:
            _generator(self.generator)
        if self.setting.adversarial and self.classifier is not None:
            check_misled(_classifier(self.classifier))

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
            labels: int64 (n,), the classes from which ``adversarial_background`` leads away; None: the classifier's
                decisions on the unedited images.

        Raises:
            InputError: shapes that do not fit, a severity outside of [0, 5], a random background without backgrounds,
                or something that the kind needs and the method lacks.
        """
        lacking = self.missing()
        if lacking is not None:
            raise InputError(f"{self.name} {lacking}")
        editor = misled = None
        if severity and self.generator is not None:
            editor = BackgroundEditor(_generator(self.generator), self.steps, self.made, self.coarse_to_fine)
            misled = _classifier(self.classifier) if self.setting.adversarial and self.classifier else None
        edit = Edit(
            self.setting,
            editor,
            misled,
            weight=self.weight,
            adversarial_weight=self.adversarial_weight,
            fill=self.fill,
            ring=self.ring,
            parts=self.parts,
            constant=self.constant,
            parity=self.parity,
        )
        source = rng or Randomness(0)
        return edit.edit(images, masks, severity, rng=source, backgrounds=backgrounds, labels=labels)


@lru_cache(maxsize=2)
def _generator(reference: str) -> Generator:
    return load_generator(reference)


@lru_cache(maxsize=2)
def _classifier(reference: str) -> Classifier:
    return load_classifier(reference)
