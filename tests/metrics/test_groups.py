"""Groups: against a plain count, merged in any order, the worst of many by simulation, and where there are none."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.groups import GroupCounts, GroupGap, GroupShare
from snellen.metrics.intervals import clopper_pearson, newcombe_difference, wilson

rows = st.lists(st.tuples(st.sampled_from(["a", "b", "B", "ä", ""]), st.booleans()), max_size=40)


def counted(case: list[tuple[str, bool]]) -> GroupCounts:
    return GroupCounts.of([name for name, _ in case], np.array([won for _, won in case], dtype=bool))


@given(rows)
def test_against_a_plain_count(case: list[tuple[str, bool]]) -> None:
    counts = counted(case)
    members = {name: [won for other, won in case if other == name] for name, _ in case}
    assert counts.names == tuple(sorted(members))
    assert counts.share.tolist() == [sum(won) / len(won) for _, won in sorted(members.items())]
    assert counts.intervals(0.9) == [wilson(sum(won), len(won), 0.9) for _, won in sorted(members.items())]
    assert counts.n == len(case)
    if not members:
        return
    name = min(members, key=lambda one: (sum(members[one]) / len(members[one]), -len(members[one]), one))
    won = members[name]
    single = wilson(sum(won), len(won))
    expected = GroupShare(name, sum(won), len(won), sum(won) / len(won), single)
    assert counts.worst(simultaneous=False) == expected
    several = counts.worst()
    assert several is not None
    assert several.interval == clopper_pearson(sum(won), len(won), 1 - 0.05 / len(members))
    shares = [sum(one) / len(one) for one in members.values()]
    assert counts.spread == max(shares) - min(shares)
    gaps = counts.gaps(simultaneous=False)
    assert len(gaps) == (len(members) if len(members) > 1 else 0)
    for gap in gaps:
        rest = [won for other, won in case if other != gap.name]
        inside = members[gap.name]
        assert gap.difference == pytest.approx(float(np.mean(inside) - np.mean(rest)), abs=1e-12)
        assert gap.interval == newcombe_difference(sum(inside), len(inside), sum(rest), len(rest))
        assert gap.interval.low <= gap.difference <= gap.interval.high
    assert [abs(gap.difference) for gap in gaps] == sorted((abs(gap.difference) for gap in gaps), reverse=True)
    assert counts.largest_gap(simultaneous=False) == (gaps[0] if gaps else None)


@given(rows, st.lists(st.integers(0, 40), max_size=4), st.integers(0, 100))
def test_shards_in_any_order_give_the_whole(case: list[tuple[str, bool]], cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    merged = counted([])
    for shard in np.split(rng.permutation(len(case)), sorted(min(cut, len(case)) for cut in cuts)):
        piece = counted([case[one] for one in shard])
        merged = merged + piece if rng.random() < 0.5 else piece + merged
    whole = counted(case)
    assert merged.names == whole.names
    assert merged.successes.tobytes() == whole.successes.tobytes()
    assert merged.images.tobytes() == whole.images.tobytes()
    assert (merged.worst(), merged.gaps()) == (whole.worst(), whole.gaps())


def test_small_groups_are_left_out_but_belong_to_the_rest() -> None:
    counts = GroupCounts.of(["big"] * 10 + ["mid"] * 5 + ["one"], [1] * 9 + [0] + [1, 1, 1, 0, 0] + [0])
    assert counts.worst().name == "one"
    assert counts.worst(least=2).name == "mid"
    assert counts.worst(least=2, confidence=0.9).interval == clopper_pearson(3, 5, 0.95)
    assert counts.worst(least=11) is None
    assert [gap.name for gap in counts.gaps(least=2)] == ["big", "mid"]
    assert counts.largest_gap(least=2) == GroupGap("big", 9 / 10 - 3 / 6, newcombe_difference(9, 10, 3, 6, 0.975))
    assert counts.largest_gap(least=11) is None


@pytest.mark.parametrize(("share", "size", "groups"), [(0.8, 60, 20), (0.95, 20, 20), (0.99, 20, 50)])
def test_the_interval_of_the_worst_holds_though_it_was_picked(share: float, size: int, groups: int) -> None:
    # Equal groups: the worst looks bad by luck. Over all outcomes of the least of so many binomials, how often does its
    # interval hold the common share? One group with so many successes, the others perfect, has that worst group.
    chance = [math.comb(size, won) * share**won * (1 - share) ** (size - won) for won in range(size + 1)]
    beyond = [math.fsum(chance[won:]) ** groups for won in range(size + 1)] + [0.0]
    names = (f"group {one:02}" for one in range(groups))
    held = {True: 0.0, False: 0.0}
    counts = GroupCounts(tuple(names), np.full(groups, size), np.full(groups, size))
    for won in range(size + 1):
        others = counts.successes.copy()
        others[0] = won
        for simultaneous in held:
            worst = GroupCounts(counts.names, others, counts.images).worst(simultaneous=simultaneous)
            inside = worst.interval.low <= share <= worst.interval.high
            held[simultaneous] += (beyond[won] - beyond[won + 1]) * inside
    assert held[True] >= 0.95
    assert held[False] < 0.8


def test_one_group_and_none() -> None:
    one = GroupCounts.of(["a", "a"], [1, 0])
    assert (one.spread, one.gaps(), one.largest_gap()) == (0, [], None)
    assert one.worst() == GroupShare("a", 1, 2, 0.5, clopper_pearson(1, 2))
    none = GroupCounts.of([], [])
    assert (none.n, none.worst(), none.gaps(), none.largest_gap(), none.intervals()) == (0, None, [], None, [])
    assert math.isnan(none.spread)
    assert (none + one).names == ("a",)


def test_names_of_an_array_are_plain_text() -> None:
    counts = GroupCounts.of(np.array(["x", "y"]), [True, False])
    assert [type(name) for name in counts.names] == [str, str]


SOME = GroupCounts.of(["a", "b"], [1, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GroupCounts.of(["a"], [1, 0]), r"1 groups came with successes \(2,\)"),
        (lambda: GroupCounts.of(["a"], [[1]]), r"successes \(1, 1\)"),
        (lambda: GroupCounts.of("ab", [1, 0]), "the one text 'ab'"),
        (lambda: GroupCounts.of(["a", None], [1, 0]), "named by text, got None; leave images without a group out"),
        (lambda: GroupCounts.of(["a", 2], [1, 0]), "named by text, got 2"),
        (lambda: GroupCounts.of(["a"], [0.5]), "true or false"),
        (lambda: GroupCounts.of(["a"], [3]), "true or false"),
        (lambda: SOME.worst(least=0), "at least one image, got least=0"),
        (lambda: SOME.worst(confidence=95), "confidence lies strictly between 0 and 1, got 95"),
        (lambda: SOME.gaps(confidence=0), "confidence"),
        (lambda: SOME.largest_gap(least=-1), "least=-1"),
    ],
)
def test_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
