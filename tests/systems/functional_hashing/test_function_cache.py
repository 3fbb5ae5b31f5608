"""The cache: how often a key is evaluated, what a look-up costs, and what is forgotten and dropped."""

import threading
import time

import pytest

from snellen.core.errors import InputError
from snellen.systems.functional_hashing.function_cache import Evaluation, FunctionCache

SCORES = (0.5, 0.7, 0.9, 0.1)


def evaluating(asked, seconds=2.0):
    def evaluate(run):
        asked.append(run)
        return Evaluation(SCORES[run % 4], test=SCORES[run % 4] / 2, seconds=seconds)

    return evaluate


@pytest.mark.covers("23.7")
@pytest.mark.parametrize("most", [1, 2, 4])
def test_a_key_is_evaluated_as_often_as_set_and_its_mean_is_arithmetic(most):
    cache, asked = FunctionCache(max_num_evals=most), []
    found = [cache.look_up(5, 0.1, evaluating(asked)) for _ in range(7)]
    assert asked == list(range(most))
    assert [one.kind for one in found] == ["miss", *["partial hit"] * (most - 1), *["full hit"] * (7 - most)]
    assert cache.counts == {"miss": 1, "partial hit": most - 1, "full hit": 7 - most}
    for count in range(1, most + 1):
        assert found[count - 1].valid == pytest.approx(sum(SCORES[:count]) / count)
        assert found[count - 1].test == pytest.approx(sum(SCORES[:count]) / count / 2)
    assert found[-1].valid == found[most - 1].valid


@pytest.mark.covers("23.8")
def test_a_key_that_is_always_forgotten_never_has_two_full_hits_in_a_row():
    cache, asked = FunctionCache(remove_probability=1.0), []
    kinds = [cache.look_up(5, 0.1, evaluating(asked)).kind for _ in range(8)]
    assert kinds == ["miss", "full hit"] * 4
    assert asked == [0, 1, 2, 3], "a key that comes back has a new run"


@pytest.mark.covers("23.8")
def test_without_forgetting_no_key_is_ever_removed():
    cache, asked = FunctionCache(remove_probability=0.0), []
    kinds = [cache.look_up(5, 0.1, evaluating(asked)).kind for _ in range(200)]
    assert kinds == ["miss", *["full hit"] * 199]


def test_forgetting_happens_about_as_often_as_set_and_follows_from_the_seed():
    def kinds(seed):
        cache = FunctionCache(remove_probability=0.25, seed=seed)
        return [cache.look_up(5, 0.0, evaluating([])).kind for _ in range(2000)]

    misses = kinds(0).count("miss")
    assert 0.15 < misses / (2000 - misses) < 0.35
    assert kinds(0) == kinds(0) != kinds(1)


@pytest.mark.covers("23.9")
def test_a_hit_costs_the_hash_and_a_miss_both():
    cache = FunctionCache(max_num_evals=2)
    costs = [cache.look_up(5, 0.25, evaluating([], seconds)).seconds for seconds in (2.0, 4.0, 8.0)]
    assert costs == [2.25, 4.25, 0.25], "a partial hit is charged for its own evaluation"
    assert cache.look_up(5, 0.25, evaluating([])).saved == 3.0


@pytest.mark.covers("23.11")
def test_a_bounded_cache_drops_the_key_that_was_read_longest_ago():
    cache = FunctionCache(capacity=2)
    for key in (1, 2, 1, 3):
        cache.look_up(key, 0.0, evaluating([]))
    assert list(cache.entries) == [1, 3], "2 was looked up longest ago, although 1 came first"
    assert cache.look_up(1, 0.0, evaluating([])).kind == "full hit"
    assert cache.look_up(2, 0.0, evaluating([])).kind == "miss"
    assert list(cache.entries) == [1, 2]


def test_a_key_remembers_that_an_evaluation_failed():
    cache = FunctionCache(max_num_evals=2)
    found = [cache.look_up(5, 0.0, lambda run: Evaluation(0.5, problem="" if run else "nan")) for _ in range(3)]
    assert [one.problem for one in found] == ["nan"] * 3
    assert cache.look_up(6, 0.0, evaluating([])).problem == ""


def test_what_a_bounded_cache_remembers_of_forgotten_keys_is_bounded():
    cache = FunctionCache(capacity=3, remove_probability=0.5)
    for number in range(200):
        cache.look_up(number % 50, 0.0, evaluating([]))
    assert len(cache.entries) <= 3
    assert len(cache._runs) <= 3
    asked = []
    small = FunctionCache(capacity=1)
    for key in (1, 2, 1):
        small.look_up(key, 0.0, evaluating(asked))
    assert asked == [0, 0, 1], "a key that was dropped and comes back has a new run"


def test_an_evaluation_that_raises_leaves_the_key_as_it_was():
    cache, asked = FunctionCache(), []

    def fails(run):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.look_up(5, 0.1, fails)
    assert cache.counts == {"miss": 0, "partial hit": 0, "full hit": 0}
    assert cache.look_up(5, 0.1, evaluating(asked)).kind == "miss"
    assert asked == [0]


def test_two_threads_with_one_key_evaluate_it_once():
    cache, asked, found = FunctionCache(), [], []
    started = threading.Event()

    def slow(run):
        started.set()
        time.sleep(0.1)
        return evaluating(asked)(run)

    first = threading.Thread(target=lambda: found.append(cache.look_up(5, 0.0, slow).kind))
    first.start()
    assert started.wait(5)
    found.append(cache.look_up(5, 0.0, slow).kind)
    first.join()
    assert sorted(found) == ["full hit", "miss"]
    assert asked == [0]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"max_num_evals": 0}, "expected at least 1, got 0"),
        ({"max_num_evals": 1.5}, "expected a whole number"),
        ({"remove_probability": 1.01}, r"lies in \[0, 1\]; got 1.01"),
        ({"remove_probability": -0.1}, r"lies in \[0, 1\]"),
        ({"remove_probability": float("nan")}, r"lies in \[0, 1\]"),
        ({"remove_probability": "often"}, r"lies in \[0, 1\]; got 'often'"),
        ({"capacity": 0}, "expected at least 1, got 0"),
        ({"capacity": 2.5}, "expected a whole number, got 2.5"),
        ({"max_num_evals": "2"}, "expected a whole number, got '2'"),
        ({"max_num_evals": float("nan")}, "expected a whole number, got nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings, fault):
    with pytest.raises(InputError, match=fault):
        FunctionCache(**settings)
