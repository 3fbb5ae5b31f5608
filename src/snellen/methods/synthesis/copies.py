"""Images of a generated set that add nothing: equal or nearly equal ones, copies of real images, and blank ones."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet
from snellen.metrics.inspection.duplicates import across, exact_groups, near_groups
from snellen.metrics.inspection.fingerprints import FLAT_CONTRAST, Fingerprints, fingerprint, pixel_hashes

#: Images of one size that are compared at once.
BATCH = 64

#: Shortest side of an image that has a fingerprint, pixels.
LEAST_SIDE = 8

#: From this share of duplicates on, the generator has collapsed to few pictures.
COLLAPSED = 0.05


class Copies(BaseModel):
    """How many images of a generated set add nothing.

    Attributes:
        images: that were compared.
        exact: that equal an earlier one, pixel for pixel.
        near: that are nearly equal to another one, exact ones included.
        of_real: that are nearly equal to a real image; None where no real images were given.
        blank: that are nearly constant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(ge=0)
    exact: int = Field(ge=0)
    near: int = Field(ge=0)
    of_real: int | None = Field(None, ge=0)
    blank: int = Field(ge=0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before they train on the set."""
        found = []
        if self.images and self.near / self.images >= COLLAPSED:
            found.append(
                f"{self.near} of {self.images} images are copies of others: the generator draws few different ones; "
                f"lower the guidance, or vary the prompts"
            )
        if self.of_real:
            found.append(
                f"{self.of_real} images are copies of real ones: they add nothing, and show who was trained on"
            )
        if self.blank:
            found.append(f"{self.blank} images are nearly constant: nothing is drawn in them")
        return tuple(found)


def copies(made: ImageSet, real: ImageSet | None = None) -> Copies | None:
    """Compare generated images with each other and with real ones.

    Args:
        made: all of one size.
        real: of any sizes; those that cannot be read, or are too small, are left out.

    Returns:
        The counts; None for images with a side below 8 pixels.
    """
    hashes, prints = _prints(made)
    if not hashes:
        return None
    exact = sum(len(group) - 1 for group in exact_groups(hashes))
    near = {row for group in near_groups(prints, mirrored=False) for row in group.members if row != group.medoid}
    flat = prints.flat
    of_real = None
    if real is not None:
        _, others = _prints(real)
        found = across(prints, others, mirrored=False) if len(others) else None
        of_real = 0 if found is None else len(np.unique(found.first[~flat[found.first]]))
    return Copies(images=len(hashes), exact=exact, near=max(len(near), exact), of_real=of_real, blank=int(flat.sum()))


def nearly_constant(images: ImageSet) -> set[int]:
    """Positions of images in which nothing is drawn: one grey or colour all over, as safety filters leave them.

    >>> from snellen.data.files.arrays import load_arrays
    >>> noise = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    >>> nearly_constant(load_arrays(np.concatenate([noise, noise[:1] * 0])))
    {2}
    """
    found = set()
    for row in range(len(images)):
        pixels = np.asarray(images.read(row), dtype=np.float64) / 255
        if pixels.std(axis=(0, 1)).max() < FLAT_CONTRAST:
            found.add(row)
    return found


def _prints(images: ImageSet) -> tuple[list[str], Fingerprints]:
    """Hashes and fingerprints of the images that can be read and are large enough, in their order."""
    hashes, parts, alike = list[str](), list[Fingerprints](), list[Tensor]()

    def add_alike() -> None:
        if alike:
            pixels = torch.stack(alike)
            hashes.extend(pixel_hashes(pixels))
            parts.append(fingerprint(pixels))
            alike.clear()

    for row in range(len(images)):
        try:
            picture = torch.from_numpy(np.array(images.read(row))).permute(2, 0, 1)
        except RejectedImageError:
            continue
        if min(picture.shape[1:]) < LEAST_SIDE:
            continue
        if len(alike) == BATCH or (alike and alike[0].shape != picture.shape):
            add_alike()
        alike.append(picture)
    add_alike()
    nothing = torch.zeros(0, 3, LEAST_SIDE, LEAST_SIDE, dtype=torch.uint8)
    return hashes, Fingerprints.joined(parts) if parts else fingerprint(nothing)
