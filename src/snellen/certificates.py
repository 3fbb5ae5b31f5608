"""Certificates: ``from snellen.certificates import Smoothing``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "certificates")

if TYPE_CHECKING:
    from snellen.methods.smoothing.dual_smoothing import DualSmoothing as DualSmoothing
    from snellen.methods.smoothing.smoothing import Smoothing as Smoothing
