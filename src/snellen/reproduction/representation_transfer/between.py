"""One layer, every model as a source: a calibrated attack, and what its tensors do in every other model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
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
from snellen.systems.representation_transfer.representation_maps import MapKind, fit_channel_map

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
        diagonal: success of each source on the images it gets right, by name.
        sources: by name.
        map_residuals: by map and (source, target), the residual on images that were kept back.
    """

    pairs: Mapping[MapKind, list[TransferPair]]
    diagonal: Mapping[str, float]
    sources: Mapping[str, Source]
    map_residuals: Mapping[tuple[MapKind, str, str], float]


def measure_layer(study: Study, layer: str, cuts: Mapping[str, Cut], *, scope: Scope = "per-image") -> Layer:
    """Attack every model at a layer and apply the same tensors in all others, as they are and mapped."""
    correct = {name: study.correct(cut) for name, cut in cuts.items()}
    sources = {
        name: attack_source(cut, study, scope=scope, rng=study.rng.child(layer, scope, name))
        for name, cut in cuts.items()
    }
    maps: tuple[MapKind, ...] = ("none",) if layer == PIXELS else MAPS
    pairs: dict[MapKind, list[TransferPair]] = {kind: [] for kind in maps}
    residuals = dict[tuple[MapKind, str, str], float]()
    for first, source in sources.items():
        floor_here = random_outcomes(source.cut, source, study)
        for second in sources:
            if first == second:
                continue
            target = cuts[second]
            for kind in maps:
                matrix = None
                if kind != "none":
                    fitted = fit_channel_map(source.cut.encoded["fit"], target.encoded["fit"], kind=kind)
                    matrix, residuals[kind, first, second] = fitted.matrix, fitted.held_out_residual
                common = (correct[first] & correct[second]).numpy()
                floor_there = random_outcomes(target, source, study, matrix)
                pairs[kind].append(
                    pair_of(first, second, common, source, target, study, (floor_here, floor_there), matrix)
                )
    diagonal = {
        name: _share(source.predictions != study.data.measure.labels, correct[name]) for name, source in sources.items()
    }
    return Layer(pairs, diagonal, sources, residuals)


def attack_source(cut: Cut, study: Study, *, scope: Scope = "per-image", rng: Randomness) -> Source:
    """Bisect the size on the images for that, then attack the measured ones (a universal tensor: found on others)."""
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
        return _applied(cut, "calibrate", data.calibrate, changes, rows=chosen) != data.calibrate.labels[chosen]

    outcomes = KnownOutcomes(broken_at, len(right))
    success_at = outcomes if scope == "per-image" else outcomes.measured
    found = calibrate(
        success_at,
        wanted=strength.wanted,
        start=start,
        most=strength.evaluations,
        ceiling=1.0 if pixels and strength.norm == "linf" else None,
    )
    found = found._replace(success=outcomes.measured(found.epsilon))
    on = ("fit", data.fit) if scope == "universal" else ("measure", data.measure)
    crafted = _craft(cut, *on, strength, scope, rng.child("measure"))(found.epsilon)
    shape = encoded["measure"].shape
    random = [
        random_changes(shape, norm=strength.norm, epsilon=found.epsilon, rng=rng.child("random", draw))
        for draw in range(strength.draws)
    ]
    return Source(
        cut,
        found,
        crafted,
        relative_size(found.epsilon, strength.norm, encoded["measure"]),
        _applied(cut, "measure", data.measure, crafted.changes),
        random,
    )


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
        on_source=broken_here.numpy(),
        on_target=broken_there.numpy(),
        random_on_source=floors[0],
        random_on_target=floors[1],
        same_class=(broken_here & broken_there & (source.predictions == there)).numpy(),
    )


def random_outcomes(cut: Cut, source: Source, study: Study, matrix: Tensor | None = None) -> NDArray[np.bool_]:
    """Which images random changes of a source's size, carried over in the same way, break in a model: (draws, n)."""
    labels = study.data.measure.labels
    rows = [(_applied(cut, "measure", study.data.measure, drawn, matrix) != labels).numpy() for drawn in source.random]
    return np.stack(rows)


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
    chosen = slice(None) if rows is None else rows
    return lambda size: craft(
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


def _applied(
    cut: Cut,
    part: str,
    pictures: Pictures,
    changes: Tensor,
    matrix: Tensor | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Decisions (n,) with tensors added, of the images of a part or of these rows."""
    chosen = slice(None) if rows is None else rows
    scores = add(cut.split, pictures.images[chosen], changes, matrix=matrix, encoded=cut.encoded[part][chosen])
    return scores.argmax(1)


def _share(broken: Tensor, counted: Tensor) -> float:
    """Share of the images that count; 0 where none does."""
    return float(broken[counted].double().mean()) if bool(counted.any()) else 0.0
