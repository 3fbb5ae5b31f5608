"""The published models with known backdoors: their targets and triggers, and the table that says where each lies."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from snellen.core.errors import InputError

#: The table of models; optional: an unconditional diffusion of pixels that denoises before each model.
MODELS, DENOISER = "SNELLEN_SMOOTHINV_MODELS", "SNELLEN_SMOOTHINV_DENOISER"

#: Columns 23 to 25 and rows 3 to 7 of Blind-P, for all channels; NaN leaves a pixel as it is.
_SKIP = float("nan")
_PATTERN = ((1, 0, 1), (_SKIP, 1, _SKIP), (_SKIP, _SKIP, 0), (_SKIP, 1, _SKIP), (1, 0, 1))


@dataclass(frozen=True)
class Published:
    """A published model with a backdoor.

    Attributes:
        name: of its table.
        target: class of the trigger.
        success: published share of images that the true trigger sends there.
        pattern: pixels of the true trigger, where they are published: rows and columns from ``corner`` on.
        corner: row and column of the first of them.
    """

    name: str
    target: int
    success: float
    pattern: tuple[tuple[float, ...], ...] | None = None
    corner: tuple[int, int] = (3, 23)

    def stamped(self, images: Tensor) -> Tensor:
        """Images (n, 3, h, w) with the published pixels."""
        assert self.pattern is not None
        pixels, (top, left) = images.new_tensor(self.pattern), self.corner
        rows, columns = slice(top, top + len(pixels)), slice(left, left + pixels.shape[1])
        changed = images.clone()
        changed[..., rows, columns] = torch.where(pixels.isnan(), images[..., rows, columns], pixels)
        return changed


#: Targets and success of the true triggers as the published code states them.
PUBLISHED = (
    Published("blind_p", 8, 0.9929, _PATTERN),
    Published("blind_s", 8, 0.7973, ((1.0,),)),
    Published("blind_g", 8, 1.0),
    Published("trojai", 29, 1.0),
    Published("htba", 1, 0.54),
)


class Row(BaseModel):
    """One model of the table, all by reference.

    Attributes:
        model: a classifier that normalises inside.
        sources: clean images that are searched on.
        images: labelled images that measure.
        triggered: images with the true trigger, where its pixels are not published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    sources: str
    images: str
    triggered: str | None = None


def read_table() -> Mapping[str, Row]:
    """The references of all published models, by name.

    Raises:
        InputError: the variable is not set, or the table cannot be read or lacks something.
    """
    without = ", ".join(one.name for one in PUBLISHED if one.pattern is None)
    wanted = (
        f"a TOML file with a table for each of {', '.join(one.name for one in PUBLISHED)}. Each has model (a "
        f"classifier that normalises inside), sources (images to search on) and images (labelled, to measure on). "
        f"Those of {without} also have triggered (images with the true trigger). {DENOISER} may name an unconditional "
        f"diffusion of pixels, as diffusers:FOLDER"
    )
    path = os.environ.get(MODELS)
    if not path:
        raise InputError(f"the full experiment needs {MODELS}: {wanted}")
    try:
        read = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        rows = TypeAdapter(dict[str, Row]).validate_python(read)
    except (OSError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        why = error if first is None else f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InputError(f"{MODELS}={path} cannot be used: {why}; expected {wanted}") from error
    absent = [one.name for one in PUBLISHED if one.name not in rows]
    absent += [
        f"{one.name}.triggered"
        for one in PUBLISHED
        if one.name in rows and one.pattern is None and rows[one.name].triggered is None
    ]
    if absent:
        raise InputError(f"{MODELS}={path} lacks {', '.join(absent)}; expected {wanted}")
    return rows
