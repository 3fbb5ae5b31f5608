"""Who decides what is edited: regions, instructions and a score of the result, behind one interface.

arXiv 2511.19111, section on the data engine: a vision-language model names objects, Grounded-SAM gives their masks, the
model writes a prompt for an edit type, and scores the result. Here that is one protocol with two implementations: the
scene program, which knows objects and masks, and models by reference (:mod:`.by_reference`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from torch import Tensor

from snellen.core.randomness import Randomness

#: What an edit does.
EditType = Literal["add", "remove", "change"]

EDIT_TYPES: tuple[EditType, ...] = get_args(EditType)


@dataclass(frozen=True, eq=False)
class Region:
    """A part of an image that can be edited.

    Attributes:
        name: what is there, in words.
        mask: bool (h, w).
        edits: what can be done there.
        key: of the planner that proposed it, to recognise it again.
    """

    name: str
    mask: Tensor
    edits: tuple[EditType, ...]
    key: int = 0


@dataclass(frozen=True, eq=False)
class Instruction:
    """What an editor shall do.

    Attributes:
        edit: the type.
        prompt: what shall be there.
        mask: bool (h, w), where the picture may change.
        region: the region it is about.
    """

    edit: EditType
    prompt: str
    mask: Tensor
    region: Region


class Planner(Protocol):
    """Decides about the turns of *one* base image."""

    def identity(self) -> str:
        """Hash of all that decides: scene or weights, words and thresholds (sha256, hex)."""

    def propose_regions(self, image: Tensor, rng: Randomness) -> Sequence[Region]:
        """Regions of an image, float (3, h, w) in [0, 1], as it is now."""

    def write_edit(self, image: Tensor, region: Region, edit: EditType, rng: Randomness) -> Instruction:
        """An instruction for a region and a type of edit."""

    def score_edit(self, before: Tensor, after: Tensor, instruction: Instruction, seed: int) -> float:
        """How good an edit of this seed is, in [0, 1]: whether it shows what the prompt says, without artefacts."""

    def accept(self, instruction: Instruction) -> None:
        """The edit was kept: further turns begin from it."""
