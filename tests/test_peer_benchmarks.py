"""Comparisons with peers: how calls are timed and compared, and what the table shows of them."""

import importlib
import json
from itertools import count
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def contest(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("beside.contest")


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("peer_tables")


def same(mine, theirs):
    return mine == theirs, f"{mine} and {theirs}"


def row(**changed):
    return {
        "what": "blur, 8 photos", "peer": "other", "package": "other", "version": "1.0", "equal": True,
        "result": "same",
        "ours": 0.5, "theirs": 1.0, "ratio": 0.5, "low": 0.4, "high": 0.6, "repeats": 3, "part": False, **changed,
    }  # fmt: skip


def test_calls_take_turns_and_results_are_compared(contest):
    ticks, order = count(), []

    def call(name, result):
        def done():
            order.append(name)
            return result

        return done

    peers = {
        "same": contest.Peer("torch", call("same", 1)),
        "other": contest.Peer("torch", call("other", 2)),
        "less": contest.Peer("torch", call("less", 1), note="fewer steps", version="9"),
    }
    one = contest.Contest("task", call("ours", 1), peers, same, repeats=4, clock=lambda: float(next(ticks)))
    found = {row["peer"]: row for row in contest.rows(one)}
    assert {name: row["equal"] for name, row in found.items()} == {"same": True, "other": False, "less": False}
    assert found["less"]["result"] == "1 and 1; fewer steps"
    assert found["less"]["version"] == "9"
    assert all((row["ratio"], row["repeats"]) == (1.0, 4) for row in found.values())
    rounds = [order[start : start + 4] for start in range(4, 20, 4)]
    assert [turn[0] for turn in rounds] == ["ours", "same", "other", "less"]
    assert all(set(turn) == {"ours", *peers} for turn in rounds)


def test_a_first_run_that_takes_long_is_a_round(contest):
    hours = count(step=3600)
    calls = []
    one = contest.Contest(
        "task",
        lambda: calls.append("ours"),
        {"peer": contest.Peer("torch", lambda: calls.append("peer"))},
        same,
        repeats=2,
        clock=lambda: float(next(hours)),
    )
    (only,) = contest.rows(one)
    assert only["repeats"] == 2
    assert sorted(calls) == ["ours", "ours", "peer", "peer"]


def test_a_peer_that_fails_is_skipped_and_ours_is_not(contest):
    def fails():
        raise ValueError("no such thing\nmore")

    one = contest.Contest("task", lambda: 1, {"bad": contest.Peer("bad", fails)}, same, repeats=1)
    assert list(contest.rows(one)) == [{"what": "task", "package": "bad", "skipped": "ValueError: no such thing"}]
    ours = contest.Contest("task", fails, {}, same)
    with pytest.raises(ValueError, match="no such thing"):
        list(contest.rows(ours))


def test_ratios_are_of_rounds(contest):
    # The machine was three times as slow in the second round, for both.
    found = contest.figures([1.0, 3.0, 1.0], [2.0, 6.0, 1.0])
    assert (found["ratio"], found["low"], found["high"]) == (0.5, 0.5, 1.0)


def test_missing_modules_have_a_reason(contest):
    assert contest.why_missing("json") is None
    assert "No module named" in contest.why_missing("no_such_module_at_all")


def test_parts_are_summed_and_shown_where_they_are_slower_or_differ(tables):
    parts = [
        row(part=True),
        row(part=True, what="noise, 8 photos", ours=1.5, ratio=1.5, low=1.4, high=1.6),
        row(part=True, what="fog, 8 photos", equal=False, result="other"),
    ]
    skipped = {"what": "", "package": "absent", "skipped": "ImportError: no"}
    found = {"comparisons": {"corruptions": {"rows": [*parts, skipped]}}}
    lines = tables.peers_table(found).splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["all 3 kinds, 8 photos", "noise, 8 photos", "fog, 8 photos"]
    total, noise, fog = lines
    assert "**no**: 2 of 3 kinds" in total
    assert "| 2.50 | 3.00 | 0.83 (0.40 – 1.60) |" in total
    assert "**1.50**" in noise
    assert "**no**: other" in fog
    assert "absent" not in "".join(lines)
    assert "| ImageNet-C | all | absent | ImportError: no |" in tables.skipped_table(found)


def test_the_record_holds_every_comparison_and_a_reason_for_each_gap(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    comparisons = importlib.import_module("all").COMPARISONS
    record = json.loads((ROOT / "docs" / "measured" / "peers.json").read_text(encoding="utf-8"))["comparisons"]
    assert list(record) == list(comparisons)
    for name, one in record.items():
        assert (ROOT / "benchmarks" / "beside" / f"{name}.py").is_file()
        assert any("skipped" not in row for row in one["rows"]), name
        assert all(row["skipped"] if "skipped" in row else row["ratio"] > 0 for row in one["rows"])
