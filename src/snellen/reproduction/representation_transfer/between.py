"""One layer, every model as a source: a calibrated attack, and what its tensors do in every other model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.attacks.calibrated_strength import Calibrated, calibrate
from snellen.methods.attacks.norms import Norm
from snellen.metrics.transfer_rates import TransferPair
from snellen.models.layers.split_classifier import PIXELS
from snellen.reproduction.representation_transfer.known_outcomes import KnownOutcomes
from snellen.reproduction.representation_transfer.setting import Cut, Pictures, Strength, Study
from snellen.systems.representation_transfer.representation_attack import (
    Crafted,
    Scope,
    add,
    craft,
    random_changes,
    relative_size,
)
from snellen.systems.representation_transfer.representation_maps import ChannelMap, MapKind, fit_channel_map

MAPS: tuple[MapKind, ...] = ("none", "orthogonal", "ridge")


@dataclass(frozen=True, eq=False)
class Source:
    """An attack on one model at one layer, at the size that breaks the wanted share of it.

    Attributes:
        cut: the attacked model.
        calibrated: the size, in the units of the representation.
        crafted: the tensors for the measured images.
        relative_epsilon: the size in units of the root mean square of the activations.
        predictions: (n,) of the source with its own tensors.
        random: (draws, n, ...) as a list, directions of the same size.
    """

    cut: Cut
    calibrated: Calibrated
    crafted: Crafted
    relative_epsilon: float
    predictions: Tensor
    random: list[Tensor]


@dataclass(frozen=True, eq=False)
class Layer:
    """Everything measured at one layer.

    Attributes:
        pairs: by map, every ordered pair of different models.
        own: by name, which of the images that a source gets right its own tensors break: bool (m,).
        sources: by name.
        maps: by kind and (source, target).
    """

    pairs: Mapping[MapKind, list[TransferPair]]
    own: Mapping[str, NDArray[np.bool_]]
    sources: Mapping[str, Source]
    maps: Mapping[tuple[MapKind, str, str], ChannelMap]

    @property
    def diagonal(self) -> dict[str, float]:
        """Success of each source on the images it gets right, by name; 0 where it gets none right."""
        return {name: float(broken.mean()) if len(broken) else 0.0 for name, broken in self.own.items()}


def measure_layer(
    study: Study, layer: str, cuts: Mapping[str, Cut], *, scope: Scope = "per-image", known: Layer | None = None
) -> Layer:
    """Attack every model at a layer and apply the same tensors in all others, as they are and mapped.

    Args:
        study: what is measured on.
        layer: name, for the randomness.
        cuts: every model cut there.
        scope: one tensor for each image, or one for all.
        known: what was measured there on other images: sizes and maps are its own.
    """
    correct = {name: study.correct(cut) for name, cut in cuts.items()}
    sources = {
        name: attack_source(
            cut, study, scope=scope, rng=study.rng.child(layer, scope, name),
            size=None if known is None else known.sources[name].calibrated,
        )
        for name, cut in cuts.items()
    }  # fmt: skip
    kinds: tuple[MapKind, ...] = ("none",) if layer == PIXELS else MAPS
    pairs: dict[MapKind, list[TransferPair]] = {kind: [] for kind in kinds}
    maps = dict[tuple[MapKind, str, str], ChannelMap]({} if known is None else known.maps)
    for first, source in sources.items():
        floor_here = random_outcomes(source.cut, source, study)
        for second in sources:
            if first == second:
                continue
            target = cuts[second]
            for kind in kinds:
                if kind != "none" and (kind, first, second) not in maps:
                    maps[kind, first, second] = fit_channel_map(
                        source.cut.encoded["fit"], target.encoded["fit"], kind=kind
                    )
                matrix = None if kind == "none" else maps[kind, first, second].matrix
                common = (correct[first] & correct[second]).cpu().numpy()
                floor_there = random_outcomes(target, source, study, matrix)
                pairs[kind].append(
                    pair_of(first, second, common, source, target, study, (floor_here, floor_there), matrix)
                )
    labels = study.data.measure.labels
    own = {name: (source.predictions != labels)[correct[name]].cpu().numpy() for name, source in sources.items()}
    return Layer(pairs, own, sources, maps)


def attack_source(
    cut: Cut, study: Study, *, scope: Scope = "per-image", rng: Randomness, size: Calibrated | None = None
) -> Source:
    """Bisect the size on the images for that, then attack the measured ones (a universal tensor: found on others).

    A size that is given is taken as it is.
    """
    strength, data = study.strength, study.data
    found = size or _calibrated(cut, study, scope, rng)
    on = ("fit", data.fit) if scope == "universal" else ("measure", data.measure)
    crafted = _craft(cut, *on, strength, scope, rng.child("measure"))(found.epsilon)
    encoded = cut.encoded["measure"]
    random = [
        random_changes(encoded.shape, norm=strength.norm, epsilon=found.epsilon, rng=rng.child("random", draw)).to(
            encoded
        )
        for draw in range(strength.draws)
    ]
    return Source(
        cut,
        found,
        crafted,
        relative_size(found.epsilon, strength.norm, encoded),
        _applied(cut, "measure", data.measure, crafted.changes),
        random,
    )


def _calibrated(cut: Cut, study: Study, scope: Scope, rng: Randomness) -> Calibrated:
    strength, data = study.strength, study.data
    pixels, encoded = cut.split.layer == PIXELS, cut.encoded
    start = strength.start if pixels else strength.hidden_start / relative_size(1.0, strength.norm, encoded["fit"])
    if pixels and strength.norm == "l2":
        start *= encoded["fit"][0].numel() ** 0.5 / 2

    right = (cut.decisions["calibrate"] == data.calibrate.labels).nonzero().flatten()
    universal = _craft(cut, "fit", data.fit, strength, scope, rng) if scope == "universal" else None

    def broken_at(size: float, rows: Tensor) -> Tensor:
        chosen = right[rows]
        if universal is not None:
            changes = universal(size).changes
        else:
            changes = _craft(cut, "calibrate", data.calibrate, strength, scope, rng, chosen)(size).changes
        said = _applied(cut, "calibrate", data.calibrate, changes, rows=chosen)
        return (said != data.calibrate.labels[chosen]).cpu()

    outcomes = KnownOutcomes(broken_at, len(right))
    success_at = outcomes if scope == "per-image" else outcomes.measured
    found = calibrate(
        success_at,
        wanted=strength.wanted,
        start=start,
        most=strength.evaluations,
        ceiling=1.0 if pixels and strength.norm == "linf" else None,
    )
    return found._replace(success=outcomes.measured(found.epsilon))


def pair_of(
    first: str,
    second: str,
    common: NDArray[np.bool_],
    source: Source,
    target: Cut,
    study: Study,
    floors: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    matrix: Tensor | None = None,
) -> TransferPair:
    """Apply the stored tensors of a source in a target; nothing is searched for there."""
    labels = study.data.measure.labels
    there = _applied(target, "measure", study.data.measure, source.crafted.changes, matrix)
    broken_here, broken_there = source.predictions != labels, there != labels
    return TransferPair(
        source=first,
        target=second,
        common=common,
        on_source=broken_here.cpu().numpy(),
        on_target=broken_there.cpu().numpy(),
        random_on_source=floors[0],
        random_on_target=floors[1],
        same_class=(broken_here & broken_there & (source.predictions == there)).cpu().numpy(),
    )


def random_outcomes(cut: Cut, source: Source, study: Study, matrix: Tensor | None = None) -> NDArray[np.bool_]:
    """Which images random changes of a source's size, carried over in the same way, break in a model: (draws, n)."""
    labels = study.data.measure.labels
    said = [_applied(cut, "measure", study.data.measure, drawn, matrix) for drawn in source.random]
    return np.stack([(one != labels).cpu().numpy() for one in said])


def target_success(
    study: Study, source: Source, target: Cut, common: Tensor, *, factor: float, norm: Norm, rng: Randomness
) -> tuple[float, float]:
    """Success on source and target of an attack of another size: a point of the strength sweep."""
    size = source.calibrated.epsilon * factor
    size = min(size, 1.0) if source.cut.split.layer == PIXELS and norm == "linf" else size
    crafted = _craft(source.cut, "measure", study.data.measure, study.strength, "per-image", rng)(size)
    labels, shares = study.data.measure.labels, []
    for cut in (source.cut, target):
        broken = _applied(cut, "measure", study.data.measure, crafted.changes) != labels
        shares.append(_share(broken, common))
    return shares[0], shares[1]


def _craft(
    cut: Cut,
    part: str,
    pictures: Pictures,
    strength: Strength,
    scope: Scope,
    rng: Randomness,
    rows: Tensor | None = None,
) -> Callable[[float], Crafted]:
    """Size → what is found for the images of a part, or for these rows of them."""
    everyone = torch.arange(len(pictures.images)) if rows is None else rows.cpu()
    # A universal tensor takes its gradient from all images at once.
    together = len(everyone) if scope == "universal" else strength.together or len(everyone)

    def crafted(size: float) -> Crafted:
        found = [
            craft(
                cut.split,
                pictures.images[chosen],
                pictures.labels[chosen],
                norm=strength.norm,
                epsilon=size,
                steps=strength.steps,
                scope=scope,
                encoded=cut.encoded[part][chosen],
                rng=rng,
            )
            for chosen in everyone.split(max(together, 1))
        ]
        return replace(found[0], changes=torch.cat([one.changes for one in found]))

    return crafted


def _applied(
    cut: Cut,
    part: str,
    pictures: Pictures,
    changes: Tensor,
    matrix: Tensor | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Decisions (n,) with tensors added, of the images of a part or of these rows."""
    everyone = torch.arange(len(pictures.images)) if rows is None else rows.cpu()
    said = list[Tensor]()
    for places in torch.arange(len(everyone)).split(cut.together or max(len(everyone), 1)):
        chosen, moved = everyone[places], changes if len(changes) == 1 else changes[places]
        encoded = cut.encoded[part][chosen]
        said.append(add(cut.split, pictures.images[chosen], moved, matrix=matrix, encoded=encoded).argmax(1))
    return torch.cat(said)


def _share(broken: Tensor, counted: Tensor) -> float:
    """Share of the images that count; 0 where none does."""
    return float(broken[counted].double().mean()) if bool(counted.any()) else 0.0
