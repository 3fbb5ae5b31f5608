"""docs/systems/claims.md says what would refute each claim, in words that agree with the judge."""

import importlib
import re
from pathlib import Path

import pytest

from snellen.core.system import Claim, list_systems
from snellen.reproduction.judge import judge_claim

ROOT = Path(__file__).parents[1]
ALL = list_systems()
CLAIMS = [claim for system in ALL for claim in system.claims]

#: Claims with neither a baseline nor a control: a fixed number alone decides. They may only become fewer.
ALONE = frozenset({
    "2.6", "13.7", "15.h", "29.d", "29.e", "29.g", "29.i", "32.j", "32.l", "32.n", "36.11",
    "2.13",  # of the paper, at full scale: it gives no chance level
})  # fmt: skip

OUTCOME = re.compile(r"^it .+: the whole interval lies (below|above) (−?\d\S*)$")


@pytest.fixture(scope="module")
def page():
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(ROOT / "scripts"))
        yield importlib.import_module("claims_page")


def verdict(claim, place):
    """The verdict where ours − baseline lies at ``place``, closely, on six seeds."""
    wide = claim.model_copy(update={"range": None, "gates": ()})
    ours, theirs = place, 0.0
    runs = [
        {claim.metric: ours + 1e-9 * seed, **({claim.baseline: theirs} if claim.baseline else {})} for seed in range(6)
    ]
    return judge_claim(wide, runs).verdict


def test_what_is_said_to_refute_a_claim_makes_the_judge_say_that_it_fails(page):
    for claim in CLAIMS:
        side, number = OUTCOME.match(page.refuted_if(claim)).groups()
        threshold = float(number.replace("−", "-"))
        assert threshold == pytest.approx(claim.threshold, rel=1e-5, abs=1e-12), claim.id
        beyond = 1e-3 if side == "above" else -1e-3
        assert verdict(claim, claim.threshold + beyond) == "fails", claim.id
        assert verdict(claim, claim.threshold - beyond) == "holds", claim.id


@pytest.mark.parametrize(
    ("baseline", "direction", "threshold", "outcome"),
    [
        (None, ">", 0.8, "it is less than 0.8: the whole interval lies below 0.8"),
        (None, "<", 0.05, "it is more than 0.05: the whole interval lies above 0.05"),
        ("b", ">", 0, "it is smaller than the baseline: the whole interval lies below 0"),
        ("b", "<", 0, "it is larger than the baseline: the whole interval lies above 0"),
        ("b", ">", 0.1, "it exceeds the baseline by less than 0.1: the whole interval lies below 0.1"),
        ("b", "<", 0.1, "it exceeds the baseline by more than 0.1: the whole interval lies above 0.1"),
        ("b", ">", -0.02, "it is more than 0.02 below the baseline: the whole interval lies below −0.02"),
        ("b", "<", -0.02, "it is less than 0.02 below the baseline: the whole interval lies above −0.02"),
    ],
)
def test_an_outcome_is_said_in_plain_words(page, baseline, direction, threshold, outcome):
    claim = Claim(
        id="1", statement="", source="", metric="a", baseline=baseline, direction=direction, threshold=threshold
    )
    assert page.refuted_if(claim) == outcome


def test_every_claim_has_a_row_with_all_of_its_parts(page):
    text = page.claims_page(ALL)
    rows = {
        row.split("|")[1].split()[0]: row for row in text.splitlines() if row.startswith("| ") and ": the whole" in row
    }
    assert list(rows) == [claim.id for claim in CLAIMS]
    for claim in CLAIMS:
        row = rows[claim.id]
        assert row.replace("\\|", "/").count("|") == len(page.HEAD) + 1, claim.id
        for part in (claim.metric, claim.baseline or "none", *claim.controls[: page.CONTROLS], *claim.gates):
            assert part in row, (claim.id, part)
    for system in ALL:
        assert f"## {system.number} {system.acronym}\n" in text
        for reason in system.dropped.values():
            assert reason in text


def test_a_claim_is_compared_with_something_or_has_a_control():
    assert {claim.id for claim in CLAIMS if claim.baseline is None and not claim.controls} <= ALONE


def test_a_threshold_lies_where_the_quantity_can_lie():
    """A claim whose threshold is at an end of its range, or beyond it, cannot fail, or cannot hold."""
    for claim in CLAIMS:
        assert claim.metric != claim.baseline, claim.id
        if claim.range is not None:
            assert claim.range[0] < claim.threshold < claim.range[1], claim.id


def test_no_two_claims_of_a_system_are_one():
    for system in ALL:
        asked = [(one.metric, one.baseline, one.direction, one.threshold, one.scales) for one in system.claims]
        assert len(set(asked)) == len(asked), system.name


def test_claims_that_were_struck_out_are_gone_from_the_headlines_and_have_a_reason():
    for system in ALL:
        assert not {claim.id for claim in system.claims} & set(system.dropped), system.name
        assert all(len(reason.split()) >= 5 for reason in system.dropped.values()), system.name
