"""A check that lacks a setting says which, and not only in words: it is refused where it was requested by name."""

import copy

import pytest

from snellen.auditing.checks import build_check
from snellen.auditing.privacy import Privacy
from snellen.auditing.resolved_audit import ResolvedAudit
from snellen.checks.check import LackedSetting
from snellen.core.errors import InputError
from snellen.testing.auditing import labelled_images


@pytest.fixture(scope="module")
def small():
    return labelled_images(12)


def resolved(small, *checks):
    classifier, images = small
    return ResolvedAudit.of(classifier, images, {}, ["clean", *checks], (), privacy=Privacy(), limit=None, seed=0)


@pytest.mark.parametrize(
    ("check", "setting"),
    [
        ("attributes", "segmenter"), ("background", "segmenter"), ("edits", "detector"), ("motion", "model"),
        ("nuisance", "generator"), ("shortcuts", "captioner"), ("viewpoint", "renderer"), ("group_gap", None),
        ("leakage", None), ("out_of_distribution", None),
    ],
)  # fmt: skip
def test_what_a_check_lacks_is_a_setting_of_it_or_none(small, check, setting):
    found = resolved(small, check)
    reason = found.skipped[check]
    assert reason is not None
    assert getattr(reason, "setting", None) == setting
    assert setting is None or setting in type(build_check(check, {})).model_fields
    assert ("--set " in reason) == (setting is not None), "the words name the option that the setting has"
    if setting is None:
        found.refuse_lacking([check])
    else:
        with pytest.raises(InputError, match=f"{check} was requested by name, and cannot run"):
            found.refuse_lacking([check])


def test_a_copy_has_the_setting():
    again = copy.deepcopy(LackedSetting("needs a detector", "detector"))
    assert (again, again.setting) == ("needs a detector", "detector")
