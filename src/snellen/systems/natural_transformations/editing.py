"""From training images to what edits them: codes, directions that keep the class, and how both were judged."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.attacks.in_training import lent
from snellen.systems.natural_transformations.autoencoder import Autoencoder
from snellen.systems.natural_transformations.code_file import code_keys, kept_codes
from snellen.systems.natural_transformations.directions import (
    RANGES,
    Algorithm,
    Directions,
    Examined,
    NoDirectionError,
    Scores,
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

#: Shares of ε that are tried, one after the other, until the edits of the search keep the class.
_SHARES = (1.0, 0.75, 0.5, 0.25)


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
    epsilon: float = Field(
        2.0,
        gt=0,
        description="largest step along a direction, in standard deviations; less where edits lose labels",
    )
    most_changed: float = Field(
        0.05,
        gt=0,
        le=1,
        description="share of labels that no direction, and no edit of the search, may change (τ); 1: any",
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
class Judged:
    """Images on which a judge reads edits.

    Attributes:
        rows: of the codes of usable images, int64 (m,).
        labels: their classes, int64 (m,), where the judge is.
        judge: not the network that is trained.
        rng: of the edits.
    """

    rows: Tensor
    labels: Tensor
    judge: Scores
    rng: Randomness


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
        settings: numbers.
        judged: on what edits are judged.
        epsilon: the largest step, in standard deviations: that of the settings or less.
        changed: share of the judge's right decisions that edits of the search lose, before the training.
    """

    generator: SplitGenerator
    codes: Codes
    psnr: Tensor
    usable: Tensor
    directions: Directions
    examined: tuple[Examined, ...]
    settings: EditSettings
    judged: Judged
    epsilon: float
    changed: float = 0.0

    def supply(self, search: Search | None = None) -> EditedImages:
        """Edits for a training; ``search`` in place of the one of the settings."""
        return EditedImages(
            self.generator, self.codes[self.usable.nonzero().flatten()], places(self.usable), self.directions,
            self.epsilon, search or self.settings.search, self.settings.draws, self.settings.steps,
            self.settings.together,
        )  # fmt: skip

    @torch.no_grad()
    def lost(self, network: nn.Module | None = None) -> float:
        """Share of the judge's right decisions that edits lose, where the search is against a network as it is.

        Args:
            network: None: against the judge.
        """
        edits, (judge, labels) = self.supply(), (self.judged.judge, self.judged.labels)
        rng = self.judged.rng.for_examples([str(row) for row in self.judged.rows.tolist()])
        before, after = list[Tensor](), list[Tensor]()
        with nullcontext(judge) if network is None else lent(_beside(network, labels)) as against:
            if isinstance(against, nn.Module):
                against.requires_grad_(False)
            for part in torch.arange(len(labels)).split(_TOGETHER):
                rows, own = self.judged.rows[part], labels[part]
                made = edits.searched(against, rows, own, rng[part], self.epsilon)
                before.append(judge(render(edits.generator, edits.codes[rows])).argmax(1) == own)
                after.append(judge(made).argmax(1) == own)
        read = torch.cat(before)
        return float((read & ~torch.cat(after)).sum() / read.sum())

    def facts(self) -> dict[str, Any]:
        """For a lineage: reconstructions, images left out, and the judgement of every direction."""
        return {
            "reconstruction_psnr": round(float(self.psnr.mean()), 3),
            "images_not_edited": int((~self.usable).sum()),
            "largest_step": self.epsilon,
            "labels_changed_by_edits": round(self.changed, 4),
            "directions": [one.row() for one in self.examined],
        }


def _beside(network: nn.Module, tensor: Tensor) -> nn.Module:
    """A network where a tensor is: itself, or a copy."""
    there = next((one.device for one in network.parameters()), tensor.device)
    return network if there == tensor.device else copy.deepcopy(network).to(tensor.device)


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
        images = to_unit(store.images[rows].to(autoencoder.device))
        own = bound.for_examples([store.ids[row] for row in rows.tolist()])
        perceptual = autoencoder.perceptual if settings.perceptual else None
        return invert(generator, images, autoencoder.start(images), settings, rng=own, perceptual=perceptual)

    codes = kept_codes(path, keys, found, batch=settings.batch, progress=progress).to(autoencoder.device)
    return generator, codes, psnr_of(generator, codes, store.images)


@torch.no_grad()
def psnr_of(generator: SplitGenerator, codes: Codes, images: Tensor) -> Tensor:
    """PSNR of the reconstructions of images uint8 (n, 3, s, s): (n,), decibels, on the CPU."""
    parts = torch.arange(len(codes)).split(_TOGETHER)
    shown = (images[rows].to(codes.values.device) for rows in parts)
    return torch.cat(
        [peak_ratio(to_unit(own), render(generator, codes[rows])).cpu() for rows, own in zip(parts, shown, strict=True)]
    )


def prepare_editing(
    generator: SplitGenerator,
    codes: Codes,
    psnr: Tensor,
    labels: Tensor,
    judge: Scores,
    settings: EditSettings,
    *,
    rng: Randomness,
    trained: nn.Module | None = None,
    domain: Tensor | None = None,
) -> Editing:
    """Find directions, and keep those along which a judge reads the same class.

    Args:
        generator: cut at a layer.
        codes: of n images, on the generator's device.
        psnr: of their reconstructions.
        labels: their classes, int64 (n,).
        judge: images → scores, on that device; not the network that will be trained.
        settings: numbers.
        rng: which images are judged.
        trained: the network that will be trained: it is not the judge, and edits are searched against it; None: against
            the judge.
        domain: codes (m, L, d) of images of the whole domain, in which principal directions are found; None: in those
            of the n images. What varies together in these codes, a direction changes together.

    Raises:
        InputError: the judge is that network, or no image is reconstructed well enough.
        NoDirectionError: no direction keeps the class, or edits of the search do not, however small.
    """
    if trained is not None and judge is trained:
        raise InputError(
            "the judge of directions is the network that is trained: it would call right what it learns; name another"
        )
    usable, labels = psnr >= settings.least_psnr, labels.to(codes.values.device)
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
    judged = Judged(order, labels[rows[order]], judge, rng.child("edits"))
    kept = kept_directions(directions, examined)
    return _bounded(
        Editing(generator, codes, psnr, usable, kept, examined, settings, judged, settings.epsilon), trained
    )


def _bounded(editing: Editing, trained: nn.Module | None) -> Editing:
    """The same with the largest share of ε whose edits keep the class: each direction was judged alone before.

    Several directions at once, and the hardest of several edits, lose more labels than one direction does.
    """
    most, changed = editing.settings.most_changed, 1.0
    for share in _SHARES:
        tried = replace(editing, epsilon=share * editing.settings.epsilon)
        changed = tried.lost(trained)
        if changed < most or most == 1:
            return replace(tried, changed=changed)
    raise NoDirectionError(
        f"edits of {editing.settings.search} change the label of {changed:.1%} even at {_SHARES[-1]:g} · epsilon, "
        f"although each direction alone keeps the class; expected less than {most:.1%}: lower epsilon or together, "
        f"raise most_changed, or take another search (--edits)"
    )


def direction_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The log of a lineage as text: a line for each direction."""
    return [
        f"{row['direction']}: label changed {row['label_changed']:.1%} of {row['judged']}, "
        f"visible {row['visible']:.3f}, " + ("kept" if row["kept"] else f"left out: {row['reason']}")
        for row in rows
    ]
