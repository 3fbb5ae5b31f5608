"""Mean transfer of several pairs as figures; what has no value has no figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snellen.core.system import Scale, find_system
from snellen.metrics.transfer_rates import TransferPair, mean_tau, transfer_rates
from snellen.reproduction.representation_transfer.setting import Strength
from snellen.reproduction.sample import Figure
from snellen.reproduction.seed_file import named_figures


def tau_figures(pairs: Sequence[TransferPair], strength: Strength) -> dict[str, float]:
    """Mean τ with its bootstrap interval over images and pairs.

    Returns:
        ``tau``, ``low`` and ``high`` over the pairs that have a τ, and their number ``pairs_with_tau``. Where it is 0,
        the first three are left out: no τ is not a τ of 0.

    Raises:
        InputError: too few images that both models of a pair get right.
    """
    if all(transfer_rates(pair, least_common=strength.least_common).tau is None for pair in pairs):
        return {"pairs_with_tau": 0.0}
    value, interval, defined = mean_tau(pairs, resamples=strength.resamples, least_common=strength.least_common)
    return {"tau": value, "low": interval.low, "high": interval.high, "pairs_with_tau": float(defined)}


def with_missing_taus(figures: Mapping[str, Figure], scale: Scale) -> dict[str, Figure]:
    """Figures, and None for each τ that a claim of the scale names and that no pair has."""
    named = named_figures(find_system("representation_transfer"), scale)
    return {name: None for name in named if name.endswith("tau")} | dict(figures)
