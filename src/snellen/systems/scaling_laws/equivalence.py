"""What generated images are worth: where synthetic equals real, and how many real images a mixture stands for.

Both answers stay within what was measured; outside it there is no answer, unless extrapolation is requested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from snellen.core.errors import InputError
from snellen.systems.scaling_laws.power_law import PowerLaw

#: ln of the largest size that is computed. Where the exponent is nearly zero, the size is beyond any number.
_LARGEST = 700.0


@dataclass(frozen=True)
class Equivalent:
    """How many synthetic images give the loss of some real ones.

    Attributes:
        real: number of real images, D_r.
        synthetic: number of synthetic images, D_s; None where there is none in range.
        why_not: the reason.
    """

    real: int
    synthetic: float | None
    why_not: str | None = None


def crossover(
    synthetic: PowerLaw, real: PowerLaw, real_sizes: Sequence[int], *, extrapolate: bool = False
) -> list[Equivalent]:
    """Solve a_s D_s^(−k_s) = a_r D_r^(−k_r) for D_s.

    Args:
        synthetic: law of the synthetic images.
        real: law of the real ones.
        real_sizes: D_r to answer for.
        extrapolate: answer also beyond the measured sizes.

    Returns:
        An answer for each size.
    """
    found = []
    for size in real_sizes:
        if not extrapolate and not real.range[0] <= size <= real.range[1]:
            found.append(Equivalent(size, None, "none in range: no real set of this size was measured"))
            continue
        if synthetic.k <= 0:
            found.append(Equivalent(size, None, "none: the loss does not fall with more synthetic images"))
            continue
        loss = real.loss(size)
        needed = math.inf if _beyond(synthetic, loss) else float((synthetic.a / loss) ** (1 / synthetic.k))
        low, high = synthetic.range
        if not extrapolate and needed > high:
            found.append(Equivalent(size, None, f"none in range: more than {high} synthetic images"))
        elif not extrapolate and needed < low:
            found.append(Equivalent(size, None, f"none in range: fewer than {low} synthetic images"))
        elif math.isinf(needed):
            found.append(Equivalent(size, None, "none: the loss hardly falls with more synthetic images"))
        else:
            found.append(Equivalent(size, needed))
    return found


def _beyond(law: PowerLaw, loss: float) -> bool:
    """Whether (a / L)^(1/k) is larger than any number."""
    return math.log(law.a / loss) / law.k > _LARGEST


@dataclass(frozen=True)
class EffectiveSize:
    """How many real images have the loss of a mixture.

    Attributes:
        real: real images in the mixture, D_r.
        synthetic: synthetic images in it, D_s.
        size: real images alone with the same loss, D_eff; None outside the measured sizes.
        value: of one synthetic image in real ones, (D_eff − D_r) / D_s; None likewise.
    """

    real: int
    synthetic: int
    size: float | None
    value: float | None


def effective_size(
    loss: float, real: PowerLaw, real_size: int, synthetic_size: int, *, extrapolate: bool = False
) -> EffectiveSize:
    """D_eff = (L_mix / a_r)^(−1/k_r), by the law of real images.

    Raises:
        InputError: a loss that is not positive, or no synthetic images.
    """
    if not loss > 0 or synthetic_size < 1:
        raise InputError(
            f"an effective size takes a positive loss and synthetic images; got {loss} and {synthetic_size}"
        )
    size = None if real.k <= 0 or _beyond(real, loss) else float((loss / real.a) ** (-1 / real.k))
    if size is None or (not extrapolate and not real.range[0] <= size <= real.range[1]):
        return EffectiveSize(real_size, synthetic_size, None, None)
    return EffectiveSize(real_size, synthetic_size, size, (size - real_size) / synthetic_size)
