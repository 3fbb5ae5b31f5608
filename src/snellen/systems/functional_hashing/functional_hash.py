"""The functional hash: mix = H(H(mix, sign and exponent of o), top mantissa bits of o) over the outputs o of a probe.

Gillard, Jonany, Miao, Munn, de Souza, Dungay, Liang, So, Le and Real, *Unified Functional Hashing in Automatic Machine
Learning*, arXiv 2302.05433. H is SHA-256 of the text of a pair, little-endian, mod 2^63. Graphs, programs and formulas
differ in how they are run on the probe; this one function hashes what comes out. Unlike the official code, which hashes
accuracies alone, the sign counts here.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence

from snellen.core.errors import InputError

#: Key of every candidate that cannot be run on the probe; no hash is negative.
FAILED = -1

#: Mantissa bits that count by default: outputs that differ by less than about 1e-7 of themselves are equal.
MANTISSA_BITS = 24

_MANTISSA, _EXPONENT = 52, 11


def functional_key(outputs: Sequence[float], mantissa_bits: int = MANTISSA_BITS) -> int:
    """Hash the outputs of a probe, in their order: the same number on every machine, in [0, 2^63).

    >>> functional_key([0.1 + 0.2, 1.0]) == functional_key([0.3, 1.0])
    True
    >>> functional_key([0.1, 0.2]) == functional_key([0.2, 0.1])
    False

    Args:
        outputs: at least one number. Every NaN is one code, infinities are one each, and −0 is 0.
        mantissa_bits: bits of the mantissa that count, 1 to 52; the others are cut off, not rounded.

    Raises:
        InputError: no outputs, or so many bits.
    """
    check_mantissa_bits(mantissa_bits)
    if not len(outputs):
        raise InputError("a probe gave no outputs; a functional hash needs at least one number")
    mix = 0
    for output in outputs:
        head, mantissa = _parts(float(output), mantissa_bits)
        mix = _mixed(_mixed(mix, head), mantissa)
    return mix


def check_mantissa_bits(mantissa_bits: int) -> None:
    """Refuse a number of bits that no float has.

    Raises:
        InputError: not a whole number from 1 to 52.
    """
    if isinstance(mantissa_bits, bool) or not isinstance(mantissa_bits, int) or not 1 <= mantissa_bits <= _MANTISSA:
        raise InputError(f"mantissa bits: expected a whole number from 1 to {_MANTISSA}, got {mantissa_bits!r}")


def structural_key(structure: str) -> int:
    """Hash of a canonical structure, for the baseline that compares structures: in [0, 2^63).

    >>> structural_key("a") != structural_key("b")
    True
    """
    return int.from_bytes(hashlib.sha256(structure.encode()).digest(), "little") % 2**63


def _parts(value: float, mantissa_bits: int) -> tuple[int, int]:
    """Sign with exponent, and the mantissa bits that count."""
    if math.isnan(value):
        return 2**_EXPONENT - 1, 1
    (bits,) = struct.unpack("<Q", struct.pack("<d", value + 0.0))  # −0.0 + 0.0 is 0.0
    return bits >> _MANTISSA, (bits & (2**_MANTISSA - 1)) >> (_MANTISSA - mantissa_bits)


def _mixed(first: int, second: int) -> int:
    return structural_key(f"{first},{second}")
