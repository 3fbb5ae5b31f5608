"""Checks that any method must pass. Ours do in our test-suite; authors of plugins run the same ones on theirs."""

from snellen.testing.conformance import check_attack as check_attack
from snellen.testing.conformance import check_defect as check_defect
from snellen.testing.conformance import check_method as check_method
from snellen.testing.conformance import check_scan as check_scan
from snellen.testing.conformance import check_shift as check_shift
from snellen.testing.conformance import check_world as check_world
from snellen.testing.editing import check_edit as check_edit
from snellen.testing.explaining import check_explanation as check_explanation

__all__ = [
    "check_attack",
    "check_defect",
    "check_edit",
    "check_explanation",
    "check_method",
    "check_scan",
    "check_shift",
    "check_world",
]
