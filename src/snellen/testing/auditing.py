"""What every check of an audit promises, as a plain function that raises ``AssertionError``."""

from __future__ import annotations

import json
import math

import numpy as np
from pydantic import ValidationError

from snellen.auditing.audit import audit
from snellen.auditing.checks import build_check
from snellen.auditing.figure_meanings import meaning_of
from snellen.auditing.report import AuditReport
from snellen.checks.check import Check
from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.finding import KINDS
from snellen.core.images import ImageSet
from snellen.data.files.arrays import load_arrays
from snellen.testing.conformance import check_names_what_it_lacks, small_problem

#: The check that every audit runs.
_CLEAN = "clean"


def labelled_images(count: int = 60) -> tuple[Classifier, ImageSet]:
    """The classifier of the small problem, and bytes of its images; every tenth label is wrong."""
    classifier, images, labels = small_problem(count=count, size=12)
    labels[::10] = (labels[::10] + 1) % len(classifier.class_names)
    shown = np.ascontiguousarray((images * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return classifier, load_arrays(shown, labels.numpy(), class_names=classifier.class_names, name="small")


def check_check(
    check: Check,
    *,
    classifier: Classifier | None = None,
    images: ImageSet | None = None,
    train: ImageSet | None = None,
) -> None:
    """What every check of an audit promises.

    A name, a summary, described parameters with defaults, frozen and closed, that a record rebuilds; a cost; a reason
    where it lacks what it needs; figures under its own name, inside their intervals; findings of known kinds; images
    and classifier stay as they are; the same report again, and from other batches and shards.

    >>> from snellen.auditing.checks.group_gap import GroupGap
    >>> from snellen.auditing.checks.selective import Selective
    >>> check_check(Selective())
    >>> check_check(GroupGap())
    Traceback (most recent call last):
    AssertionError: group_gap did not run: needs groups (column group), and small has none

    Args:
        check: registered or of the package, with parameters under which it takes a moment.
        classifier: None takes a small random network, with its own images.
        images: labelled images of the classifier's classes; needed beside a classifier.
        train: training images, for a check that compares with them.
    """
    _check_declared(check)
    if classifier is None:
        classifier, made = labelled_images()
        images = images or made
    assert images is not None, "a classifier comes with images"
    check_names_what_it_lacks(check.needs, lambda model, data: check.missing(model, data, frozenset({"train", "val"})))
    cost = check.resolved(classifier).cost()
    assert math.isfinite(cost), "a cost is finite"
    assert cost >= 0, "a cost is at least 0"
    before = images.fingerprint(), classifier.fingerprint()
    whole = audit(classifier, images, checks=[check], train=train, shards=1, batch_size=64)
    assert (images.fingerprint(), classifier.fingerprint()) == before, "images or classifier were changed"
    (status,) = (one for one in whole.checks if one.name == check.name)
    assert status.status == "done", f"{check.name} did not run: {status.reason}"
    _check_report(check.resolved(classifier), whole)
    cut = audit(classifier, images, checks=[check], train=train, shards=2, batch_size=7)
    _check_same(whole, cut)


def _check_declared(check: Check) -> None:
    """Its class says what it is, and its record makes it again."""
    cls = type(check)
    assert cls.name.strip(), f"{cls.__qualname__} has no name"
    assert (cls.__doc__ or "").strip(), f"{cls.__qualname__} has no docstring"
    assert cls.summary.strip(), f"{cls.__qualname__} has no summary"
    for name, field in cls.model_fields.items():
        assert field.description, f"{cls.__qualname__}: field {name!r} has no description"
        assert not field.is_required(), f"{cls.__qualname__}: field {name!r} has no default"
    record = json.loads(json.dumps(check.record()))
    assert record.pop("check") == check.name, "the record names another check"
    assert build_check(check.name, record) == check, f"{check.name}: record does not rebuild it"
    try:
        cls.model_validate({"no_such_parameter": 1})
    except ValidationError:
        return
    raise AssertionError(f"{cls.__qualname__} accepts unknown parameters")


def _check_report(check: Check, report: AuditReport) -> None:
    """Names, intervals, kinds."""
    own = {name: figure for name, figure in report.metrics.items() if name.split(".")[0] == check.name}
    for name in report.metrics.keys() - own.keys():
        assert name.split(".")[0] == _CLEAN, f"the figure {name!r} does not begin with the check's name"
    allowed = check.figure_names()
    packaged = check.name in index.checks() and index.checks()[check.name].registered is None
    for name, figure in own.items():
        # Where a check of the package is described: checks.toml and figures.toml beside it, or the system's file.
        assert not packaged or meaning_of(name) is not None, f"nothing says what the figure {name!r} is"
        assert allowed is None or name in allowed, f"figure_names() does not list {name!r}"
        # NaN is a figure that could not be measured.
        assert not figure.low > figure.value, f"{name}: the figure lies below its interval"
        assert not figure.high < figure.value, f"{name}: the figure lies above its interval"
        assert figure.n >= 0, f"{name}: a negative number of images"
    for finding in report.findings:
        assert finding.kind in KINDS or finding.kind.startswith("x-"), f"unknown kind of finding {finding.kind!r}"


def _check_same(whole: AuditReport, cut: AuditReport) -> None:
    """Another batch size may change scores by 1e-5, and no more."""
    assert whole.metrics.keys() == cut.metrics.keys(), "other batches give other figures"
    for name, figure in whole.metrics.items():
        other = cut.metrics[name]
        for one, two in ((figure.value, other.value), (figure.low, other.low), (figure.high, other.high)):
            close = math.isclose(one, two, rel_tol=1e-3, abs_tol=1e-3) or (math.isnan(one) and math.isnan(two))
            assert close, f"other batches give another {name}: {one} and {two}"
    keys = [finding.key for finding in whole.findings]
    assert [finding.key for finding in cut.findings] == keys, "other batches give other findings"
