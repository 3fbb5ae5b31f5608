"""Checks that any method must pass. Ours do in our test-suite; authors of plugins run the same ones on theirs."""

from snellen.testing.conformance import check_attack as check_attack
from snellen.testing.conformance import check_defect as check_defect
from snellen.testing.conformance import check_method as check_method
from snellen.testing.conformance import check_shift as check_shift
from snellen.testing.conformance import check_world as check_world

__all__ = ["check_attack", "check_defect", "check_method", "check_shift", "check_world"]
