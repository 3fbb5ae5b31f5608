"""Assertions for tests: that an audit meets what is required, and checks that any method must pass.

Our own methods pass the latter in our test-suite; authors of methods and checks run the same on theirs.
"""

from snellen.testing.asserted_audit import assert_audit as assert_audit
from snellen.testing.auditing import check_check as check_check
from snellen.testing.certifying import check_certificate as check_certificate
from snellen.testing.conformance import check_attack as check_attack
from snellen.testing.conformance import check_defect as check_defect
from snellen.testing.conformance import check_edit as check_edit
from snellen.testing.conformance import check_method as check_method
from snellen.testing.conformance import check_scan as check_scan
from snellen.testing.conformance import check_shift as check_shift
from snellen.testing.conformance import check_world as check_world
from snellen.testing.explaining import check_description as check_description
from snellen.testing.explaining import check_explanation as check_explanation
from snellen.testing.fitting import check_recipe as check_recipe
from snellen.testing.generating import check_generator as check_generator
from snellen.testing.treating import check_forgetter as check_forgetter
from snellen.testing.treating import check_treatment as check_treatment
from snellen.testing.viewing import check_view_attack as check_view_attack

__all__ = [
    "assert_audit",
    "check_attack",
    "check_certificate",
    "check_check",
    "check_defect",
    "check_description",
    "check_edit",
    "check_explanation",
    "check_forgetter",
    "check_generator",
    "check_method",
    "check_recipe",
    "check_scan",
    "check_shift",
    "check_treatment",
    "check_view_attack",
    "check_world",
]
