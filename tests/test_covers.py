"""Each acceptance point of a published system is tied to a test, and each tie leads to a point that exists."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from snellen.core.system import System, list_systems
from tests.conftest import (
    COLLECTED,
    Collected,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_make_collect_report,
)


def acceptance_points(known: Iterable[System]) -> set[str]:
    """Points of all systems as marks name them: number of the system, dot, number of the point."""
    return {f"{system.number}.{point}" for system in known for point in system.acceptance}


def uncovered(known: Iterable[System], marks: Mapping[str, Sequence[str]]) -> list[str]:
    """Points that no test names, in order."""
    return sorted(acceptance_points(known) - set(marks))


def unknown(known: Iterable[System], marks: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Marks that name a point which does not exist, with their tests."""
    return {point: sorted(tests) for point, tests in marks.items() if point not in acceptance_points(known)}


def test_every_acceptance_point_is_covered(collected):
    if not collected.whole:
        pytest.skip("only a part of the suite was collected")
    assert uncovered(list_systems(), collected.points) == []


def test_every_mark_names_a_point_that_exists(collected):
    assert unknown(list_systems(), collected.points) == {}


@pytest.fixture
def fake_system():
    texts = {"title": "t", "acronym": "A", "source": "s", "area": "attacks", "command": "c", "summary": "s"}
    return System(name="dual_smoothing", number=13, acceptance={"1": "the vote is exact", "2": "ties abstain"}, **texts)


def test_points_are_compared_by_system_and_number(fake_system):
    assert uncovered([fake_system], {"13.1": ["a"], "14.2": ["b"], "2": ["c"]}) == ["13.2"]
    assert uncovered([fake_system], {"13.1": ["a"], "13.2": ["a"]}) == []
    assert unknown([fake_system], {"13.1": ["a"], "13.3": ["y", "x"], "131": ["z"]}) == {
        "13.3": ["x", "y"],
        "131": ["z"],
    }


@pytest.mark.parametrize(
    ("arguments", "narrowing", "whole"),
    [
        (["tests"], {}, True),
        (["."], {}, True),
        (["src", "tests"], {}, True),
        (["tests/test_covers.py"], {}, False),
        (["tests/models"], {}, False),
        (["tests/test_covers.py::test_every_acceptance_point_is_covered"], {}, False),
        (["tests"], {"ignore": ["tests/models"]}, False),
        (["tests"], {"deselect": ["tests/test_covers.py"]}, False),
    ],
)
def test_a_part_of_the_suite_is_known_as_one(arguments, narrowing, whole):
    invocation = SimpleNamespace(dir=Path(__file__).parents[1])
    config = SimpleNamespace(args=arguments, invocation_params=invocation, getoption=narrowing.get, stash={})
    pytest_configure(config)
    assert config.stash[COLLECTED].whole is whole


def test_a_file_that_could_not_be_collected_makes_it_a_part():
    config = SimpleNamespace(stash={COLLECTED: Collected(whole=True)})
    for skipped, whole in ((False, True), (True, False)):
        report = SimpleNamespace(skipped=skipped)
        hook = pytest_make_collect_report(SimpleNamespace(config=config))
        next(hook)
        with pytest.raises(StopIteration) as returned:
            hook.send(report)
        assert returned.value.value is report
        assert config.stash[COLLECTED].whole is whole


def test_marks_are_read_from_the_items(request):
    for mark in (pytest.mark.covers("13.1", "13.2"), pytest.mark.covers("13.2"), pytest.mark.covers):
        request.node.add_marker(mark)
    config = SimpleNamespace(stash={COLLECTED: Collected()})
    pytest_collection_modifyitems(config, [request.node])
    node = request.node.nodeid
    assert config.stash[COLLECTED].points == {"": [node], "13.1": [node], "13.2": [node, node]}
