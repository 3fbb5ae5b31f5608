"""The tree: bounds, widening, virtual loss, counts, and what is exhausted."""

import math

import numpy as np
import pytest

from snellen.systems.feature_guided_search.tree import Choice, Rules, State, close, enter, game_value, leave


def state(**values):
    return State(np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int8), queried=True, **values)


@pytest.mark.covers("15.4")
def test_bonus_falls_with_the_childs_visits_and_grows_with_the_parents():
    rules = Rules(exploration=0.7)
    by_child = [rules.bound(Choice(0, visits=n), state(visits=50), 1.0) for n in (1, 5, 20, 50)]
    by_parent = [rules.bound(Choice(0, visits=5), state(visits=n), 1.0) for n in (5, 20, 50, 500)]
    assert by_child == sorted(by_child, reverse=True)
    assert by_parent == sorted(by_parent)
    assert len({*by_child}) == len({*by_parent}) == 4
    # Mean 0.3 at scale 2, and the bonus of the formula.
    child = Choice(0, visits=10, total=3.0)
    assert rules.bound(child, state(visits=40), 2.0) == pytest.approx(0.6 + 0.7 * math.sqrt(2 * math.log(40) / 10))


@pytest.mark.covers("15.4")
def test_the_first_player_takes_the_highest_bound_and_does_not_draw_from_it():
    rules = Rules(exploration=0.0)
    root = state(visits=30, children=[Choice(n, visits=10, total=float(n)) for n in range(3)])
    assert rules.first_player(root, 1.0).feature == 2


@pytest.mark.covers("15.7")
def test_second_players_want_what_they_should():
    choice = Choice(0, visits=40, children=[state(visits=10, total=total) for total in (1.0, 4.0, 2.0, 3.0)])
    rng = np.random.default_rng(0)
    pick = {mode: Rules(mode, exploration=0.0).second(choice, 1.0, rng) for mode in ("cooperative", "adversarial")}
    assert pick["cooperative"] is choice.children[1]
    assert pick["adversarial"] is choice.children[0]
    chance = [Rules("random").second(choice, 1.0, rng) for _ in range(400)]
    counts = [sum(one is child for one in chance) for child in choice.children]
    assert min(counts) > 60, "chance does not look at rewards"
    # Both explore: a child that was hardly visited is tried by either.
    choice.children.append(state(visits=1, total=0.5))
    for mode in ("cooperative", "adversarial"):
        assert Rules(mode, exploration=5.0).second(choice, 1.0, rng) is choice.children[-1]


def test_visits_under_way_count_as_lost_for_who_chooses():
    parent, child = state(visits=20), state(visits=4, total=2.0)
    for lowest in (False, True):
        rules = Rules(exploration=0.0)
        alone = rules.bound(child, parent, 1.0, lowest=lowest)
        child.under_way = 4
        assert rules.bound(child, parent, 1.0, lowest=lowest) < alone
        child.under_way = 0


@pytest.mark.covers("15.4")
def test_a_visit_counts_at_every_node_of_its_path_and_leaves_no_trace_of_being_under_way():
    path = [state(), Choice(3), state()]
    enter(path)
    assert [node.under_way for node in path] == [1, 1, 1]
    leave(path, 0.25)
    assert [(node.visits, node.under_way, node.total) for node in path] == [(1, 0, 0.25)] * 3


def test_children_grow_with_the_root_of_visits_unless_nobody_can_be_entered():
    rules = Rules(widening=1.0)
    choice = Choice(0, children=[state() for _ in range(3)])
    grown = []
    for visits in range(30):
        choice.visits = visits
        grown.append(rules.may_widen(choice))
    assert grown == [math.ceil(math.sqrt(visits + 1)) > 3 for visits in range(30)]
    for child in choice.children:
        child.exhausted = True
    choice.visits = 0
    assert rules.may_widen(choice)


def test_exhausted_is_what_was_tried_to_the_end():
    leaf, open_ = state(terminal=True), state()
    choice = Choice(0, closed=True, children=[leaf, open_])
    root = state(children=[choice])
    close([root, choice, leaf], features=1)
    assert leaf.exhausted
    assert not choice.exhausted
    open_.exhausted = True
    close([root, choice], features=2)
    assert choice.exhausted
    assert not root.exhausted, "the second feature was not tried"
    close([root, choice], features=1)
    assert root.exhausted


def test_the_value_follows_the_moves_that_were_visited_most():
    ends = [state(terminal=True, visits=8, total=8 * 0.5), state(terminal=True, visits=2, total=2 * 0.1)]
    often, seldom = Choice(0, visits=10, children=ends), Choice(1, visits=3, children=[])
    root = state(visits=13, children=[seldom, often])
    assert game_value(root, "adversarial") == 0.5
    assert game_value(root, "random") == pytest.approx(0.3)
    assert game_value(state(), "adversarial") == 0
