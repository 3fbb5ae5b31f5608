"""Levels of effort choose checks, and signed names change them."""

import subprocess
import sys

import pytest

import snellen
from snellen.auditing.checks import CHECKS, default_checks
from snellen.auditing.effort import checks_at, chosen_checks, left_out
from snellen.core import index
from snellen.core.errors import InputError, UnknownNameError

MODEL, IMAGES = "bundled:fashion-cnn", "bundled:fashion-mnist"


def test_a_level_holds_the_one_below():
    assert checks_at("standard") == default_checks()
    assert checks_at("full") == [name for name in CHECKS if name not in ("segmentation", "labels")]
    assert set(checks_at("quick")) < set(checks_at("standard"))
    for name in checks_at("quick"):
        assert CHECKS[name]().cost() < 1.0, f"{name} asks the model again"
        assert not CHECKS[name]().measures


def test_signed_names_change_a_level():
    assert chosen_checks("+backdoor,-nuisance", None) == [
        *(name for name in default_checks() if name != "nuisance"), "backdoor"
    ]  # fmt: skip
    assert chosen_checks(["+corruption"], "quick") == [*checks_at("quick"), "corruption"]
    record = {"check": "+corruption", "severities": (1,)}
    assert chosen_checks([record], "quick")[-1] == {"check": "corruption", "severities": (1,)}


@pytest.mark.parametrize(
    ("checks", "effort", "told"),
    [
        ("clean", "quick", "leave one of them out"),
        ("+backdoor,slices", None, "'slices' has neither"),
        ("-clean", None, "always runs"),
        ("-backdoor", None, "takes nothing away"),
        ("+backdor", None, "did you mean 'backdoor'"),
        (" , ", None, "names no check"),
    ],
)
def test_what_cannot_be_meant_is_refused(checks, effort, told):
    with pytest.raises(InputError, match=told):
        chosen_checks(checks, effort)


def test_an_unknown_effort_names_those_there_are():
    with pytest.raises(UnknownNameError, match="quick"):
        snellen.audit(MODEL, IMAGES, effort="quik")


def test_a_quick_audit_says_what_it_leaves_out_and_a_standard_one_says_nothing_more():
    images = snellen.load_images(IMAGES).limit(40)
    quick = snellen.audit(MODEL, images, effort="quick")
    assert [check.name for check in quick.checks] == checks_at("quick")
    assert left_out("quick", checks_at("quick")) in quick.notes
    some = "-adversarial,-corruption,-masking,-background,-attributes,-nuisance,-viewpoint,-explanations"
    named = snellen.audit(MODEL, images, checks=some)
    assert named.to_json() == snellen.audit(MODEL, images, effort="standard", checks=some).to_json()
    assert not any("leaves out" in note for note in named.notes)


def test_predictions_take_an_effort_too():
    images = snellen.load_images(IMAGES).limit(30)
    report = snellen.audit(predictions=images.labels, images=images, effort="quick", checks="-slices")
    assert "slices" not in [check.name for check in report.checks]
    assert "adversarial" not in [check.name for check in report.checks]


@pytest.mark.parametrize("name", list(CHECKS))
def test_the_index_says_which_checks_do_not_run_by_default(name):
    assert (index.checks()[name].effort == "full") == (not CHECKS[name].by_default)


def test_checks_that_do_not_run_by_default_are_not_imported():
    modules = sorted({entry.target.partition(":")[0] for entry in index.checks().values() if entry.effort == "full"})
    chosen = "import sys; from snellen.auditing.checks import resolve_checks; resolve_checks(None)"
    program = f"{chosen}; print(*[one for one in {modules} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(modules) > 3
    assert done.stdout.split() == []
