"""From training images to what edits them: codes, directions that keep the class, and how both were judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.preparation import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.systems.natural_transformations.autoencoder import Autoencoder
from snellen.systems.natural_transformations.code_file import code_keys, kept_codes
from snellen.systems.natural_transformations.directions import (
    RANGES,
    Algorithm,
    Directions,
    Examined,
    examine_directions,
    find_directions,
    kept_directions,
)
from snellen.systems.natural_transformations.edits import EditedImages, Search
from snellen.systems.natural_transformations.inversion import (
    Codes,
    InversionSettings,
    SplitGenerator,
    invert,
    peak_ratio,
    render,
)
from snellen.training.batches import ImageStore

#: Images that are rendered at once.
_TOGETHER = 128


class EditSettings(BaseModel):
    """Numbers of directions and edits. All are ours: the paper's could not be read.

    >>> EditSettings().epsilon
    2.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Algorithm = Field("principal", description="principal: of the codes of images; closed_form: of weights")
    count: int = Field(5, ge=1, description="directions of each range of layers, before the filter")
    ranges: tuple[str, ...] = Field(
        RANGES, description="ranges of layers that directions act on; all: one of all layers"
    )
    epsilon: float = Field(2.0, gt=0, description="largest step along a direction, in standard deviations")
    most_changed: float = Field(
        0.05, gt=0, le=1, description="leave out directions that change this share of labels (τ)"
    )
    least_visible: float = Field(
        0.01, ge=0, description="leave out directions that change pixels less, in the mean (δ)"
    )
    examined: int = Field(256, ge=1, description="images on which directions are judged")
    least_psnr: float = Field(20.0, description="images that are reconstructed worse are not edited, decibels")
    search: Search = Field("worst_of_q", description="how the edit of a step is chosen")
    draws: int = Field(4, ge=1, description="edits that worst_of_q compares (q)")
    together: int = Field(1, ge=1, description="directions along which a drawn edit moves at once")
    steps: int = Field(4, ge=1, description="gradient steps of pga")


@dataclass(frozen=True, eq=False)
class Editing:
    """What edits the training images.

    Attributes:
        generator: cut at a layer.
        codes: of all images.
        psnr: of all reconstructions, decibels (n,).
        usable: bool (n,): the others are not edited.
        directions: those that the filter keeps.
        examined: every direction, with the reason where it is left out.
        changed: share of the judge's right decisions that drawn edits lose, with as many directions as they have.
        settings: numbers.
    """

    generator: SplitGenerator
    codes: Codes
    psnr: Tensor
    usable: Tensor
    directions: Directions
    examined: tuple[Examined, ...]
    settings: EditSettings
    changed: float = 0.0

    def supply(self, search: Search | None = None) -> EditedImages:
        """Edits for a training; ``search`` in place of the one of the settings."""
        return EditedImages(
            self.generator, self.codes[self.usable.nonzero().flatten()], places(self.usable), self.directions,
            self.settings.epsilon, search or self.settings.search, self.settings.draws, self.settings.steps,
            self.settings.together,
        )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """For a lineage: reconstructions, images left out, and the judgement of every direction."""
        return {
            "reconstruction_psnr": round(float(self.psnr.mean()), 3),
            "images_not_edited": int((~self.usable).sum()),
            "labels_changed_by_edits": round(self.changed, 4),
            "directions": [one.row() for one in self.examined],
        }


def places(usable: Tensor) -> Tensor:
    """For each image its row among the usable ones, −1 for the others: bool (n,) → int64 (n,).

    >>> places(torch.tensor([True, False, True])).tolist()
    [0, -1, 1]
    """
    return torch.where(usable, usable.long().cumsum(0) - 1, -1)


def inverted(
    autoencoder: Autoencoder,
    store: ImageStore,
    settings: InversionSettings,
    *,
    rng: Randomness,
    block: int | None = None,
    path: Path | None = None,
    progress: Progress | None = None,
) -> tuple[SplitGenerator, Codes, Tensor]:
    """Codes of all images of a store, from the file where they are there, and the PSNR of each reconstruction (n,).

    Raises:
        InputError: images of another size than the generator makes.
    """
    side = autoencoder.generator.shape.side
    if tuple(store.images.shape[1:]) != (autoencoder.generator.shape.channels, side, side):
        raise InputError(
            f"the generator makes images of {side} × {side} pixels in {autoencoder.generator.shape.channels} channels, "
            f"and the training images are {tuple(store.images.shape[1:])}: set side={side}, or name another generator"
        )
    generator = autoencoder.split(block)
    keys = code_keys(store.images, generator.identity, autoencoder.hashes[1], settings)
    bound = rng.child("inversion")

    def found(rows: Tensor) -> Codes:
        images = to_unit(store.images[rows])
        own = bound.for_examples([store.ids[row] for row in rows.tolist()])
        perceptual = autoencoder.perceptual if settings.perceptual else None
        return invert(generator, images, autoencoder.start(images), settings, rng=own, perceptual=perceptual)

    codes = kept_codes(path, keys, found, batch=settings.batch, progress=progress)
    return generator, codes, psnr_of(generator, codes, store.images)


@torch.no_grad()
def psnr_of(generator: SplitGenerator, codes: Codes, images: Tensor) -> Tensor:
    """PSNR of the reconstructions of images uint8 (n, 3, s, s): (n,), decibels."""
    parts = torch.arange(len(codes)).split(_TOGETHER)
    return torch.cat([peak_ratio(to_unit(images[rows]), render(generator, codes[rows])) for rows in parts])


def prepare_editing(
    generator: SplitGenerator,
    codes: Codes,
    psnr: Tensor,
    labels: Tensor,
    judge: Callable[[Tensor], Tensor] | nn.Module,
    settings: EditSettings,
    *,
    rng: Randomness,
    trained: nn.Module | None = None,
    domain: Tensor | None = None,
) -> Editing:
    """Find directions, and keep those along which a judge reads the same class.

    Args:
        generator: cut at a layer.
        codes: of n images.
        psnr: of their reconstructions.
        labels: their classes, int64 (n,).
        judge: images → scores; not the network that will be trained.
        settings: numbers.
        rng: which images are judged.
        trained: the network that will be trained, to make sure that it is not the judge.
        domain: codes (m, L, d) of images of the whole domain, in which principal directions are found; None: in those
            of the n images. What varies together in these codes, a direction changes together.

    Raises:
        InputError: the judge is that network; no image is reconstructed well enough; no direction keeps the class.
    """
    if trained is not None and judge is trained:
        raise InputError(
            "the judge of directions is the network that is trained: it would call right what it learns; name another"
        )
    usable = psnr >= settings.least_psnr
    if not bool(usable.any()):
        raise InputError(
            f"no training image is reconstructed with {settings.least_psnr:g} dB or more (the mean is "
            f"{float(psnr.mean()):.1f}): train the generator for longer, or lower least_psnr"
        )
    rows = usable.nonzero().flatten()
    good = codes[rows]
    directions = find_directions(
        generator,
        settings.count,
        algorithm=settings.algorithm,
        codes=good.mean if domain is None else domain,
        ranges=settings.ranges,
    )
    order = rng.for_examples([str(row) for row in rows.tolist()]).uniform("judged", ()).argsort()[: settings.examined]
    examined = examine_directions(
        directions, generator, good[order], labels[rows[order]], judge,
        epsilon=settings.epsilon, most_changed=settings.most_changed, least_visible=settings.least_visible,
    )  # fmt: skip
    made = Editing(generator, codes, psnr, usable, kept_directions(directions, examined), examined, settings)
    return replace(made, changed=_changed(made, order, labels[rows[order]], judge, rng))


@torch.no_grad()
def _changed(
    editing: Editing, rows: Tensor, labels: Tensor, judge: Callable[[Tensor], Tensor] | nn.Module, rng: Randomness
) -> float:
    """Share of the labels that random edits of these usable images lose, of those read rightly before."""
    edits = editing.supply("random")
    drawn = edits.drawn(rng.child("drawn").for_examples([str(row) for row in rows.tolist()]), edits.epsilon)

    def right(coefficients: Tensor) -> Tensor:
        parts = zip(rows.split(_TOGETHER), coefficients.split(_TOGETHER), strict=True)
        return torch.cat([judge(edits.images(*part)).argmax(1) for part in parts]) == labels

    before, after = right(torch.zeros_like(drawn)), right(drawn)
    return float((before & ~after).sum() / before.sum())


def direction_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The log of a lineage as text: a line for each direction."""
    return [
        f"{row['direction']}: label changed {row['label_changed']:.1%} of {row['judged']}, "
        f"visible {row['visible']:.3f}, " + ("kept" if row["kept"] else f"left out: {row['reason']}")
        for row in rows
    ]
