"""The state that a recorded result gives a system."""

import json

import pytest

from snellen.core import system as system_module
from snellen.core.errors import InputError
from snellen.core.system import JUDGE, read_record, recorded
from tests.core.test_system import headline, make_claim, make_system


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Write a result for system 7 and look for results there only."""
    monkeypatch.setattr(system_module.package, "results_folders", lambda: [tmp_path])

    def write(system, scale, *, holds=(True, True), **changes):
        verdicts = ["holds" if held else "fails" for held in holds]
        claims = [{"id": claim.id, "verdict": found} for claim, found in zip(system.claims, verdicts, strict=True)]
        result = {
            "judge": JUDGE,
            "scale": scale,
            "seeds": 5,
            "seed_ids": [100, 101, 102, 103, 104],
            "claims": claims,
            "claims_hash": system.claims_hash,
            "plan_hash": system.plan_hash(scale),
            "code_hash": "0" * 16,
            "claim_hashes": {claim.id: claim.hash for claim in system.claims},
            "amendments": {},
            **changes,
        }
        (tmp_path / "seventh.json").write_text(json.dumps(result), encoding="utf-8")

    return write


def test_without_a_result_it_is_not_run(record):
    assert recorded("seventh") is None
    assert make_system().state == "not run"


@pytest.mark.parametrize(
    ("scale", "state"),
    [
        ("smoke", "not run"),
        ("small", "2 of 2 claims hold (small)"),
        ("full", "2 of 2 claims hold (full)"),
        ("huge", "not run"),
    ],
)
def test_a_result_that_holds_gives_the_state_of_its_scale(record, scale, state):
    record(make_system(), scale)
    assert make_system().state == state
    assert make_system(name="eighth").state == "not run", "the result of another system"


@pytest.mark.parametrize("scale", ["small", "full"])
def test_claims_that_hold_are_counted(record, scale):
    record(make_system(), scale, holds=(True, False))
    assert make_system().state == f"1 of 2 claims hold ({scale})"
    record(make_system(), scale, holds=(False, False))
    assert make_system().state == f"0 of 2 claims hold ({scale})"


def test_a_headline_is_shown_when_all_of_its_claims_hold(record):
    headlines = (headline("c1"), headline("c1", "c2"), headline(untested="Needs people."))
    system = make_system(headlines=headlines)
    for holds, shown in (((True, True), 2), ((True, False), 1), ((False, True), 0)):
        record(system, "small", holds=holds)
        assert system.state == f"{sum(holds)} of 2 claims hold, {shown} of 3 headline claims of the paper (small)"
    assert system.plan_hash("small") == make_system().plan_hash("small"), (
        "a reading of the paper is nothing that is decided before a record"
    )


def test_a_claim_that_was_struck_out_counts_no_more_in_a_record_of_the_earlier_judge(record):
    before = make_system()
    after = make_system(claims=(make_claim(),), dropped={"c2": "It holds by construction."})
    record(before, "small", judge=1, seeds=3, holds=(True, True))
    assert after.state == "1 of 1 claims hold (small, earlier judge)"
    assert make_system(claims=(make_claim(),)).state == "not run", "gone without a reason"
    changed = make_system(claims=(make_claim(threshold=0.5),), dropped={"c2": "It holds by construction."})
    assert changed.state == "not run", "the claim that is left is another one"
    record(before, "small", holds=(True, True))
    assert after.state == "not run", "today's judge needs the plan as it was"


def test_the_earlier_judge_is_named_and_needed_three_seeds(record):
    record(make_system(), "small", judge=1, seeds=3)
    assert make_system().state == "2 of 2 claims hold (small, earlier judge)"
    record(make_system(), "small", judge=1, seeds=2)
    assert make_system().state == "not run"


def test_behind_a_closed_gate_nothing_was_run(record):
    shut = [{"id": claim.id, "verdict": "not run"} for claim in make_system().claims]
    record(make_system(), "small", claims=shut)
    assert make_system().state == "not run (a gate is closed)"


def test_a_result_of_other_claims_does_not_count(record):
    record(make_system(claims=(make_claim(threshold=0.5),)), "full", holds=(True,))
    assert make_system().state == "not run"
    record(make_system(), "full", claims_hash=None)
    assert make_system().state == "not run"
    amended = make_system(claims=(make_claim(amended="typing error"), make_claim(id="c2")))
    record(make_system(), "full")
    assert amended.state == "2 of 2 claims hold (full)", "the reason alone changes no claim"


@pytest.mark.parametrize(("seeds", "state"), [(1, "not run"), (4, "not run"), (5, "2 of 2 claims hold (full)")])
def test_a_few_seeds_earn_no_state(record, seeds, state):
    record(make_system(), "full", seeds=seeds)
    assert make_system().state == state


def test_a_result_without_all_claims_of_its_scale_earns_no_state(record):
    system = make_system(claims=(make_claim(), make_claim(id="c2"), make_claim(id="c3", scales=("full",))))
    judged = [{"id": name, "verdict": "holds"} for name in ("c1", "c2")]
    for scale, claims, state in (
        ("full", judged, "not run"),
        ("small", judged[:1], "not run"),
        ("small", [], "not run"),
        ("small", judged, "2 of 2 claims hold (small)"),
    ):
        record(system, scale, holds=(True, True, True), claims=claims)
        assert system.state == state


def test_a_claim_or_gate_of_another_scale_leaves_a_record_as_it_is(record):
    gate = {"id": "g", "statement": "It learns.", "metric": "m", "direction": ">", "threshold": 0.9}
    before = make_system()
    small = make_system(claims=(make_claim(scales=("small",)), make_claim(id="c2", scales=("small",))))
    more = (*small.claims, make_claim(id="c3", scales=("full",)))
    record(small, "small")
    for later, state in (
        (make_system(claims=more), "2 of 2 claims hold (small)"),
        (make_system(claims=more, gates=({**gate, "scales": ("full",)},)), "2 of 2 claims hold (small)"),
        (make_system(claims=more, gates=(gate,)), "not run"),
        (make_system(claims=small.claims, budget={"seeds": 7}), "not run"),
        (before, "not run"),
    ):
        assert later.state == state
    whole = make_system(claims=more).plans("small")[1]
    record(small, "small", plan_hash=whole)
    assert make_system(claims=more).state == "2 of 2 claims hold (small)", "as records held it before"
    assert small.state == "not run", "a record of other claims at another scale, as records held it before"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"{}", b'{"scale": "full"}', b""])
def test_a_file_that_is_no_result_is_not_run_and_is_named_when_it_is_read(record, tmp_path, content):
    path = tmp_path / "seventh.json"
    path.write_bytes(content)
    assert make_system().state == "not run"
    with pytest.raises(
        InputError, match="not a result that this version of 'snellen reproduce --record' wrote"
    ) as raised:
        read_record(path)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "changes", [{"seeds": "3"}, {"claims": [{"id": "c1"}]}, {"claims": [{"id": "c1", "verdict": "yes"}]}]
)
def test_a_result_with_a_wrong_value_is_not_run(record, changes):
    record(make_system(), "full", **changes)
    assert make_system().state == "not run"


def test_a_file_that_is_no_result_hides_none_behind_it(record, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    (here / "seventh.json").write_text("no result")
    monkeypatch.setattr(system_module.package, "results_folders", lambda: [here, tmp_path])
    record(make_system(), "full")
    assert make_system().state == "2 of 2 claims hold (full)"
