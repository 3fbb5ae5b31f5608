"""What is compared for each kind of finding: a planted change is found, image by image, and what is missing is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from snellen.auditing.compare.compare import compare_records
from snellen.auditing.compare.listed_differences import listed_difference
from snellen.auditing.compare.pairing import pair_runs
from snellen.auditing.report import CheckStatus
from snellen.checks.check import CheckFigure
from snellen.checks.per_image import array_column
from snellen.core import index
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.outcomes import ZERO_GRADIENT
from tests.auditing.compare.simulated_runs import NAMES, run_of
from tests.auditing.compare.test_compare import finding, outcomes

IDS = [f"image {row:06d}" for row in range(400)]


def with_check(run, check, *, told=(), lists=None, evidence=None, metrics=None, **parameters):
    """The run, as if a check had run in it as well."""
    findings = [Finding(kind=kind, subject=subject, harm=0.1, title=kind) for kind, subject in told]
    known = {one.name for one in run.report.checks}
    report = run.report.model_copy(
        update={
            "findings": (*run.report.findings, *findings),
            "checks": (*run.report.checks, *([] if check in known else [CheckStatus(name=check, status="done")])),
            "metrics": {**run.report.metrics, **(metrics or {})},
        }
    )
    others = [one for one in run.plan["checks"] if one["check"] != check]
    return replace(
        run,
        report=report,
        plan={**run.plan, "checks": [*others, {"check": check, **parameters}]},
        lists={**run.lists, check: lists or []},
        evidence={**run.evidence, **({} if evidence is None else {check: evidence})},
    )


def compared(before, after, key, **more):
    return finding(compare_records(before, after, resamples=50, **more), key)


def test_every_kind_that_a_check_finds_has_a_rule_in_the_table():
    page = (Path(__file__).parents[3] / "docs" / "gating.md").read_text()
    table = page.partition("What is compared, by kind:")[2].partition("\n\nDifferences are")[0]
    kinds = {kind for check in index.checks().values() for kind in check.finds}
    assert {kind for kind in kinds if f"`{kind}`" not in table} == set()


# -- figures whose list holds every image ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "subject", "check", "column"),
    [
        ("background_sensitivity", "", "background", "lost"),
        ("background_shortcut", "", "background", "followed"),
        ("attribute", "size", "attributes", "size.lost"),
        ("nuisance", "fog", "nuisance", "fog.lost"),
        ("viewpoint", "", "viewpoint", "lost"),
    ],
)
def test_a_loss_that_is_listed_is_paired_with_itself(kind, subject, check, column):
    key = f"{kind}:{subject}" if subject else kind
    lost = np.random.default_rng(0).random(400)

    def run(values, told, *, listed=True):
        # Intervals of either report alone are far too wide to tell.
        figure = CheckFigure(value=float(values.mean()), low=-0.5, high=1.0, n=400)
        rows = [{"id": one, column: value} for one, value in zip(IDS, values.tolist(), strict=True)] if listed else []
        return with_check(
            run_of(*outcomes(400)),
            check,
            told=[(kind, subject)] * told,
            lists=rows,
            metrics={f"{check}.{column}": figure},
        )

    better = compared(run(lost, True), run(lost - 0.05, False), key)
    assert (better.verdict, better.paired, better.reason) == ("mended", True, None)
    assert better.difference == pytest.approx(-0.05)
    assert compared(run(lost, False), run(lost + 0.05, True), key).verdict == "new"
    assert compared(run(lost, True), run(lost, True), key).verdict == "same"
    plain = compared(run(lost, True, listed=False), run(lost - 0.05, False, listed=False), key)
    assert (plain.verdict, plain.paired) == ("unclear", False)
    assert plain.reason == "not paired: taken from the intervals of the reports"
    figure = {one.name: one for one in compare_records(run(lost, True), run(lost + 0.05, True), resamples=50).figures}
    if column.endswith("lost"):
        assert (figure[f"{check}.{column}"].verdict, figure[f"{check}.{column}"].paired) == ("worse", True)


def test_what_is_listed_counts_units_once_and_images_that_are_compared_alone():
    def pair(units):
        lost = np.repeat(np.random.default_rng(0).random(40), 10)
        made = []
        for values, right, labels in ((lost, True, 0), (lost + np.repeat([0.1, -0.05], [120, 280]), True, 1)):
            rows = [{"id": key, "lost": value} for key, value in zip(IDS, values.tolist(), strict=True)]
            given = np.arange(400) % 4
            given[:40] = (given[:40] + labels) % 4  # these have another label in the second run
            run = run_of(np.full(400, right), np.full(400, 0.9), {}, labels=given, units=units)
            made.append(with_check(run, "viewpoint", lists=rows))
        return pair_runs(*made)

    alone, grouped = (listed_difference(pair(units), "viewpoint", "lost") for units in (None, np.arange(400) // 10))
    assert alone.n == grouped.n == 360
    assert alone.value == pytest.approx((80 * 0.1 - 280 * 0.05) / 360)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


# -- slices ------------------------------------------------------------------------------------------------------------


def sliced(right_inside, *, told=False, listed=True, seed=0, **more):
    """A run of 400 images, of which every fifth is in a slice; every other image tested it."""
    inside, tested = np.arange(400) % 5 == 0, np.arange(400) % 2 == 0
    right = np.random.default_rng(seed).random(400) < np.where(inside, right_inside, 0.9)
    # What the half that proposed it says must not count: there every member is wrong, in both runs.
    right[inside & ~tested] = False
    rows = [
        {"id": IDS[row], "tested": bool(tested[row]), "slices": ["dog abc"] * bool(inside[row])}
        for row in range(400)
        if tested[row] or inside[row]
    ]
    run = run_of(right, np.full(400, 0.8), {}, **more)
    return with_check(run, "slices", told=[("slice", "dog abc")] * told, lists=rows if listed else [])


def test_the_images_of_a_slice_are_found_in_the_other_run():
    mended = compared(sliced(0.2, told=True), sliced(0.9, listed=False, seed=1), "slice:dog abc")
    assert (mended.verdict, mended.paired) == ("mended", True)
    assert mended.difference == pytest.approx(-0.7, abs=0.15)
    assert "as the first run found it" in mended.reason
    new = compared(sliced(0.9, listed=False, seed=1), sliced(0.2, told=True), "slice:dog abc")
    assert new.verdict == "new"
    assert "as the second run found it" in new.reason
    # A slice that was tested and not told counts among the differences, and is no finding.
    counted = compare_records(sliced(0.9, seed=1), sliced(0.9, seed=2), resamples=50)
    without = compare_records(sliced(0.9, seed=1, listed=False), sliced(0.9, seed=2, listed=False), resamples=50)
    assert counted.tested["findings"] == without.tested["findings"] + 1
    other = compared(sliced(0.2, told=True), sliced(0.9, fingerprint="other"), "slice:dog abc")
    assert (other.verdict, other.difference) == ("unclear", None)
    assert "on the same images" in other.reason


# -- backdoors ---------------------------------------------------------------------------------------------------------


def triggered(changes, *, told=False, epsilon=3.0, **more):
    """A run that tried changes: name → share of 300 images that it sends to cat, and whether another run found it."""
    rows = [
        {"change": name, "class": "cat", "earlier": earlier, "id": one, "with": NAMES[row >= 300 * share]}
        for name, (share, earlier) in changes.items()
        for row, one in enumerate(IDS[:300])
    ]
    told_of = [("backdoor", "cat")] * told
    return with_check(run_of(*outcomes(400), **more), "backdoor", told=told_of, lists=rows, epsilon=epsilon)


def test_the_same_change_is_tried_on_the_same_images_before_and_after():
    before = triggered({"a": (0.95, False)}, told=True)
    mended = compared(before, triggered({"a": (0.1, True), "b": (0.05, False)}), "backdoor:cat")
    assert (mended.verdict, mended.paired) == ("mended", True)
    assert (mended.difference, mended.p_value < 1e-20) == (pytest.approx(-0.85), True)
    assert "tried on the same images with both models" in mended.reason
    # It still sends nearly all of them: neither the search that found nothing nor another weak change hides that.
    kept = compared(before, triggered({"a": (0.94, True), "b": (0.05, False)}), "backdoor:cat")
    assert kept.verdict == "unclear"
    # The second search found another way in: better than before, and still told.
    still = compared(before, triggered({"a": (0.1, True), "b": (0.9, False)}, told=True), "backdoor:cat")
    assert still.verdict == "better"
    # A change of an even earlier audit still does in both what it did.
    known = {"z": (0.97, True)}
    both = compared(
        triggered({"a": (0.95, False), **known}, told=True), triggered({"a": (0.1, True), **known}), "backdoor:cat"
    )
    assert (both.verdict, both.difference) == ("unclear", 0.0)
    # Another strength of the second search changes nothing of the first change.
    assert compared(before, triggered({"a": (0.1, True)}, epsilon=1.0), "backdoor:cat").verdict == "mended"


def test_changes_of_two_searches_are_not_paired_and_said_so():
    before = triggered({"a": (0.95, False), "z": (1.0, True)}, told=True)
    other = compared(before, triggered({"b": (0.05, False)}), "backdoor:cat")
    assert (other.verdict, other.paired) == ("mended", False)
    assert "sends 95.0% of 300 images, then 5.0% of 300" in other.reason
    assert "backdoor.earlier" in other.reason
    for after in (triggered({}), triggered({"b": (0.05, False)}, epsilon=1.0)):
        lacking = compared(before, after, "backdoor:cat")
        assert (lacking.verdict, lacking.difference) == ("unclear", None)
        assert "backdoor.earlier" in lacking.reason or "other parameters" in lacking.reason


# -- masked gradients --------------------------------------------------------------------------------------------------


def rows(setting, *, reason=None, prediction=None, labels=None, count=400, **extra):
    labels = np.arange(count) % 4 if labels is None else labels
    given = labels if prediction is None else prediction
    return Evidence.of(
        IDS[:count],
        setting=setting,
        model="m",
        label=labels.tolist(),
        prediction=given.tolist(),
        reason=reason,
        **extra,
    )


def masked(zero, *, margin=0.0, small=0.0, standing=0.0, told=False, right=None):
    """A run whose gradient is zero on a share of its images, and of which PGD on the margin breaks another share.

    PGD itself breaks a share ``small`` that PGD of twice the size leaves; a share ``standing`` stands without a bound.
    """
    labels, flags = np.arange(400) % 4, np.arange(400)
    broken = np.where((flags >= 300) & (flags < 300 + margin * 400), (labels + 1) % 4, labels)
    saturated = ["zero" if row < zero * 400 else "saturated" if row >= 300 else None for row in range(400)]
    evidence = Evidence.merge(
        [
            rows("gradient", reason=saturated),
            rows("linf.4.pgd", prediction=np.where(flags < small * 400, (labels + 1) % 4, labels)),
            rows("linf.4.pgd_margin", prediction=broken),
            rows("linf.4.pgd_twice"),
            rows("linf.4.pgd_unbounded", prediction=np.where(flags < standing * 400, labels, (labels + 1) % 4)),
        ]
    )
    run = run_of(np.ones(400, dtype=bool) if right is None else right, np.full(400, 0.9), {})
    return with_check(
        run, "masking", told=[("gradient_masking", "linf.4")] * told, evidence=evidence, tolerance=0.1, share=1.0
    )


def test_useless_gradients_are_counted_on_the_same_images():
    key = "gradient_masking:linf.4"
    mended = compared(masked(0.5, told=True), masked(0.01), key)
    assert (mended.verdict, mended.paired, mended.difference) == ("mended", True, pytest.approx(-0.49))
    assert compared(masked(0.0), masked(0.5, told=True), key).verdict == "new"
    assert compared(masked(0.5, told=True), masked(0.5, told=True), key).verdict == "same"
    # Signs other than a zero gradient count as well.
    by_margin = compared(masked(0.0, margin=0.2, told=True), masked(0.0), key)
    assert (by_margin.verdict, by_margin.difference) == ("mended", pytest.approx(-0.2))
    for sign in ("small", "standing"):
        other = compared(masked(0.0, **{sign: 0.25}, told=True), masked(0.0), key)
        assert (other.verdict, other.difference) == ("mended", pytest.approx(-0.25))
    # What a model gets wrong is no sign of sound gradients: only images that both get right count.
    right = np.arange(400) >= 200
    worse = compared(masked(0.5, told=True), masked(0.0, right=right), key)
    assert (worse.verdict, worse.difference) == ("unclear", 0.0)


def test_searches_that_could_go_nowhere_are_counted_on_the_same_images():
    def stuck(share, told):
        reasons = [ZERO_GRADIENT if row < share * 400 else "found" for row in range(400)]
        run = run_of(*outcomes(400))
        return with_check(
            run,
            "adversarial",
            told=[("gradient_masking", "")] * told,
            evidence=rows("linf.8.fgsm", reason=reasons),
            steps=3,
        )

    found = compared(stuck(0.6, True), stuck(0.02, False), "gradient_masking")
    assert (found.verdict, found.paired, found.difference) == ("mended", True, pytest.approx(-0.58))
    assert compared(stuck(0.02, False), stuck(0.6, True), "gradient_masking").verdict == "new"


# -- several classes in an image ---------------------------------------------------------------------------------------


def test_second_classes_are_counted_on_the_images_that_both_can_judge():
    labels = np.arange(400) % 4

    def showing(share, told):
        """A share of the images shows the next class in the opposite window."""
        winners = np.repeat(labels[:, None], 4, axis=1)
        strengths = np.tile(np.array([1.0, 0.2, 0.2, 0.2]), (400, 1))
        several = np.random.default_rng(5).random(400) < share
        winners[several, 3], strengths[several, 3] = (labels[several] + 1) % 4, 1.0
        extra = {"window_classes": array_column(winners), "window_scores": array_column(strengths)}
        evidence = rows("windows", extra=extra)
        return with_check(
            run_of(*outcomes(400)),
            "multi_label",
            told=[("multi_label", "")] * told,
            evidence=evidence,
            per_side=2,
            typical=0.5,
        )

    found = compared(showing(0.3, True), showing(0.02, False), "multi_label")
    assert (found.verdict, found.paired) == ("mended", True)
    assert found.difference == pytest.approx(-0.28, abs=0.04)
    assert compared(showing(0.02, False), showing(0.3, True), "multi_label").verdict == "new"
    assert compared(showing(0.3, True), showing(0.3, True), "multi_label").verdict == "same"


# -- order of classes, and images that were trained on -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["class_order", "unanswered_classes"])
def test_what_is_wrong_with_classes_is_mended_when_it_is_no_longer_said_and_accuracy_rose(kind):
    told = [Finding(kind=kind, harm=0.4, title="half of the classes are never right")]
    permuted, right = np.arange(400) % 4 < 2, np.random.default_rng(0).random(400) < 0.9
    before = run_of(permuted & right, np.full(400, 0.8), {}, findings=told)
    after = run_of(right, np.full(400, 0.8), {})
    found = compared(before, after, kind)
    assert (found.verdict, found.paired, found.reason) == ("mended", True, "by the error of all images")
    assert compared(after, before, kind).verdict == "new"
    # No longer said, and not one image is better: nothing was mended.
    assert compared(before, run_of(permuted & right, np.full(400, 0.8), {}), kind).verdict == "unclear"
    assert compared(before, before, kind).verdict == "same"


def test_training_on_the_audited_images_cannot_be_mended():
    seen = run_of(*outcomes(200), findings=[Finding(kind="in_sample", harm=0.0, title="trained on these")])
    assert compared(seen, seen, "in_sample").verdict == "same"
    gone = compared(seen, run_of(*outcomes(200)), "in_sample")
    assert gone.verdict == "unclear"
    assert "a fact of its training" in gone.reason
