"""The published list of edits: what each changes, and in which strength.

Names of settings and figures of ResNet-50 are those of the paper from memory; the ten drops average to the published
15.72 points. λ, steps, sizes and the range's weight are those of the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Attribute = Literal["control", "background", "size", "position", "direction"]

Kind = Literal[
    "inver", "plain_background", "complex_background", "adversarial_background", "random_background",
    "full_size", "size_10", "size_8", "size_5", "random_position", "random_direction",
]  # fmt: skip

#: Attributes that edits change.
ATTRIBUTES: tuple[Attribute, ...] = ("background", "size", "position", "direction")


@dataclass(frozen=True)
class EditSetting:
    """One row of the table.

    Attributes:
        kind: its name here.
        published: its name there.
        attribute: what changes.
        weight: λ of the background's complexity.
        adversarial: whether a classifier is misled, so that the edit is not neutral between models.
        share: of the image that the object covers; 1 for the largest that fits, 0 for its own.
        resnet50: published drop of ResNet-50, percentage points.
    """

    kind: Kind
    published: str
    attribute: Attribute
    resnet50: float
    weight: float = 0.0
    adversarial: bool = False
    share: float = 0.0

    @property
    def in_mean(self) -> bool:
        """Whether it is one of the ten edits that the published mean is of: all but the control."""
        return self.attribute != "control"

    @property
    def guided(self) -> bool:
        """Whether it needs a diffusion model: copy and paste has no complexity to turn."""
        return bool(self.weight) or self.adversarial

    @property
    def borrows(self) -> bool:
        """Whether what lies behind the object comes from another image."""
        return self.kind == "random_background"


#: Published λ, plain and complex backgrounds alike.
WEIGHT = 20.0

_ROWS = (
    EditSetting("inver", "Inver", "control", 1.97),
    EditSetting("plain_background", "λ = −20", "background", 7.30, weight=-WEIGHT),
    EditSetting("complex_background", "λ = 20", "background", 13.35, weight=WEIGHT),
    EditSetting("adversarial_background", "λ = 20-adv", "background", 29.92, weight=WEIGHT, adversarial=True),
    EditSetting("random_background", "random background", "background", 13.34),
    EditSetting("full_size", "full", "size", 2.71, share=1.0),
    EditSetting("size_10", "0.1", "size", 7.25, share=0.1),
    EditSetting("size_8", "0.08", "size", 10.51, share=0.08),
    EditSetting("size_5", "0.05", "size", 21.26, share=0.05),
    EditSetting("random_position", "rp", "position", 26.46),
    EditSetting("random_direction", "rd", "direction", 25.12),
)

#: All settings by kind, in the order of the paper.
SETTINGS: dict[str, EditSetting] = {row.kind: row for row in _ROWS}

KINDS: tuple[Kind, ...] = get_args(Kind)

#: Published accuracy of ResNet-50 on the original images, and the mean drop of the ten edits; points.
RESNET50_ORIGINAL, RESNET50_MEAN = 92.69, 15.72
