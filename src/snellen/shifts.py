"""Shifts: ``from snellen.shifts import Corruption``.

Classes are imported on use. The index (:mod:`snellen.core.index`) decides which exist; type checkers see those below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.core.facade import methods_by_class

__getattr__, __dir__ = methods_by_class(__name__, "shifts")

if TYPE_CHECKING:
    from snellen.methods.corruptions.corruption import Corruption as Corruption
    from snellen.systems.attribute_editing.method import AttributeEditing as AttributeEditing
