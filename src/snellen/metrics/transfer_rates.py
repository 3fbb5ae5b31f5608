"""How much of an attack carries over from one model to another, above what chance does.

With S and T the success on source and target, both on the images that both classify correctly, and R the success of
random changes of equal size: τ = (T − R_T) / (S − R_S).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.intervals import Interval

#: Images that both models must get right for a τ to be reported.
LEAST_COMMON = 50

#: What the success on the source must be above chance.
LEAST_MARGIN = 0.2


@dataclass(frozen=True, eq=False)
class TransferPair:
    """What one source's tensors did on one target, image by image.

    Attributes:
        source: name.
        target: name.
        common: bool (n,), images that both models get right without any attack; nothing else counts.
        on_source: bool (n,), broken on the source by its own tensor.
        on_target: bool (n,), broken on the target by the same tensor.
        random_on_source: bool (draws, n), broken on the source by random changes of the same size.
        random_on_target: bool (draws, n), broken on the target by them.
        same_class: bool (n,), broken on both and taken for the same class.
    """

    source: str
    target: str
    common: NDArray[np.bool_]
    on_source: NDArray[np.bool_]
    on_target: NDArray[np.bool_]
    random_on_source: NDArray[np.bool_]
    random_on_target: NDArray[np.bool_]
    same_class: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """Images that count."""
        return int(self.common.sum())


@dataclass(frozen=True)
class TransferRates:
    """Shares of the common images of a pair.

    Attributes:
        count: common images.
        source: success on the source.
        target: success on the target.
        random_source: success of random changes on the source.
        random_target: and on the target.
        same_class: share taken for the same wrong class on both.
        tau: normalised transfer; None where the attack is not 20 points better than chance on its source.
    """

    count: int
    source: float
    target: float
    random_source: float
    random_target: float
    same_class: float
    tau: float | None


def transfer_rates(pair: TransferPair, *, least_common: int = LEAST_COMMON) -> TransferRates:
    """The shares of a pair.

    Raises:
        InputError: fewer common images than ``least_common``: too few for a τ.
    """
    _refuse_few([pair], least_common)
    table, weights = _table([pair]), np.ones((1, len(pair.common)))
    source, target, random_source, random_target = (float(one[0, 0]) for one in _shares(table, weights))
    same = float(pair.same_class[pair.common].mean()) if pair.count else 0.0
    tau = (target - random_target) / (source - random_source) if source - random_source > LEAST_MARGIN else None
    return TransferRates(pair.count, source, target, random_source, random_target, same, tau)


def mean_tau(
    pairs: Sequence[TransferPair],
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    least_common: int = LEAST_COMMON,
) -> tuple[float, Interval, int]:
    """Mean τ over pairs of different models, its bootstrap interval over images and pairs, and the pairs with a τ.

    Both the images (the same draw for all pairs) and the pairs are drawn with replacement; percentiles of the means.
    Pairs that share a model are not independent, so that few models still give an interval that is too narrow.

    Raises:
        InputError: no pair; a pair of a model with itself; too few common images; no pair with a τ.
    """
    if not pairs or any(pair.source == pair.target for pair in pairs):
        raise InputError("a mean off the diagonal takes pairs of two different models, at least one")
    _refuse_few(pairs, least_common)
    table, generator = _table(pairs), np.random.default_rng(seed)
    images, count = len(pairs[0].common), len(pairs)
    value = _taus(table, np.ones((1, images)))[0]
    defined = np.isfinite(value)
    if not defined.any():
        raise InputError(
            f"none of {count} pairs has a source success {LEAST_MARGIN:g} above chance, so there is no transfer "
            f"to measure; make the attack stronger"
        )
    drawn = generator.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)
    taus = _taus(table, drawn)[:, defined]
    chosen = generator.integers(0, taus.shape[1], (resamples, taus.shape[1]))
    drawn_taus = np.take_along_axis(taus, chosen, 1)
    there = np.isfinite(drawn_taus)
    # A draw of images may leave a pair without a τ; it counts nowhere then.
    sums, counts = np.where(there, drawn_taus, 0.0).sum(1), there.sum(1)
    means = sums[counts > 0] / counts[counts > 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(value[defined].mean()), Interval(float(low), float(high)), int(defined.sum())


def _table(pairs: Sequence[TransferPair]) -> tuple[NDArray[np.float64], ...]:
    """Common, and the four outcomes on common images, each (n, pairs)."""
    common = np.stack([pair.common for pair in pairs], 1).astype(np.float64)
    outcomes = [
        np.stack([np.asarray(part, dtype=np.float64) for part in parts], 1) * common
        for parts in (
            [pair.on_source for pair in pairs],
            [pair.on_target for pair in pairs],
            [np.asarray(pair.random_on_source, dtype=np.float64).mean(0) for pair in pairs],
            [np.asarray(pair.random_on_target, dtype=np.float64).mean(0) for pair in pairs],
        )
    ]
    return (common, *outcomes)


def _shares(table: tuple[NDArray[np.float64], ...], weights: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Shares under weights (r, n): four of (r, pairs)."""
    total = np.maximum(weights @ table[0], 1e-12)
    return [weights @ outcome / total for outcome in table[1:]]


def _taus(table: tuple[NDArray[np.float64], ...], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    source, target, random_source, random_target = _shares(table, weights)
    margin = source - random_source
    return np.where(margin > LEAST_MARGIN, (target - random_target) / np.maximum(margin, LEAST_MARGIN), np.nan)


def _refuse_few(pairs: Sequence[TransferPair], least: int) -> None:
    for pair in pairs:
        if pair.count < least:
            raise InputError(
                f"{pair.source} and {pair.target} classify {pair.count} images correctly without an attack, both of "
                f"them; at least {least} are needed to measure transfer. Use more images or better models"
            )
