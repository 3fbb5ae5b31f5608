"""Searches: the same candidates with and without a cache, who is replaced, failures, costs, and probes that waver."""

import random
from dataclasses import dataclass, field, replace

import pytest

from snellen.core.errors import InputError
from snellen.reproduction.functional_hashing.table_space import KeptSpace
from snellen.systems.functional_hashing.function_cache import Evaluation, FunctionCache
from snellen.systems.functional_hashing.functional_hash import FAILED
from snellen.systems.functional_hashing.record import Account, costs_of
from snellen.systems.functional_hashing.searching import Proposer, Search
from tests.systems.functional_hashing.tiny_cells import tiny_space


@dataclass
class Numbers:
    """Whole numbers; the fitness is a function of the number modulo 10, and so is the probe."""

    worst: float = -1.0
    noisy: bool = False
    fails: tuple[int, ...] = ()
    probed: list = field(default_factory=list)
    evaluated: list = field(default_factory=list)

    def sample(self, rng):
        return rng.randrange(30)

    def mutate(self, candidate, rng):
        return (candidate + rng.choice((-1, 1, 10))) % 30

    def structure(self, candidate):
        return str(candidate)

    def encode(self, candidate):
        return candidate

    def probe(self, candidate, seed):
        self.probed.append((candidate, seed))
        if candidate % 10 in self.fails:
            raise ValueError(f"{candidate} cannot be run\nby anything")
        return [candidate % 10 + (random.random() if self.noisy else 0.0)]

    def evaluate(self, candidate, run):
        self.evaluated.append((candidate, run))
        return Evaluation(float(candidate % 10), test=100.0 + candidate, seconds=2.0)


def searched(space, keys="functional", strategy="evolution", count=120, seed=0, **options):
    search = Search(
        space, Proposer(space, strategy, 12, 4, seed), keys, FunctionCache(seed=seed), hash_seconds=0.5, **options
    )
    return search, list(search.run(count))


@pytest.mark.covers("23.10")
@pytest.mark.parametrize("strategy", ["random", "evolution", "elitism"])
def test_a_cache_changes_neither_candidates_nor_fitnesses(strategy):
    found = {keys: searched(Numbers(), keys, strategy)[1] for keys in ("none", "structural", "functional")}
    sequences = {keys: [(one.candidate, one.valid) for one in trials] for keys, trials in found.items()}
    assert sequences["none"] == sequences["structural"] == sequences["functional"]
    evaluated = {keys: sum(one.evaluation is not None for one in trials) for keys, trials in found.items()}
    assert evaluated["none"] == 120 > evaluated["structural"] > evaluated["functional"] > 0


@pytest.mark.covers("23.10")
def test_neither_does_it_where_cells_are_trained():
    kept = KeptSpace(tiny_space())
    found = {keys: searched(kept, keys, count=24)[1] for keys in ("none", "functional")}
    assert [(one.candidate, one.valid) for one in found["none"]] == [
        (one.candidate, one.valid) for one in found["functional"]
    ]
    assert any(one.kind == "full hit" for one in found["functional"])


def test_forgetting_draws_from_a_stream_of_its_own():
    space = Numbers()
    plain = [one.candidate for one in searched(space)[1]]
    search = Search(space, Proposer(space, "evolution", 12, 4, 0), "functional", FunctionCache(remove_probability=0.5))
    assert [one.candidate for one in search.run(120)] == plain


@pytest.mark.covers("23.9")
def test_every_candidate_is_charged_for_its_hash_and_misses_for_both():
    search, trials = searched(Numbers())
    assert {one.seconds for one in trials if one.kind == "miss"} == {2.5}
    assert {one.seconds for one in trials if one.kind == "full hit"} == {0.5}
    assert search.seconds == sum(one.seconds for one in trials)
    misses = sum(one.kind == "miss" for one in trials)
    assert costs_of(trials) == {
        "evaluating": 2.0 * misses, "hashing": 60.0, "spared": 2.0 * (120 - misses),
        "saved": 2.0 * (120 - misses) - 60.0,
    }  # fmt: skip
    _, without = searched(Numbers(), "none")
    assert {one.seconds for one in without} == {2.0}, "nothing is hashed"


@pytest.mark.covers("23.12")
def test_the_test_score_changes_no_key_and_no_candidate():
    class Tested(Numbers):
        def evaluate(self, candidate, run):
            return replace(super().evaluate(candidate, run), test=-7.0)

    one, other = searched(Numbers())[1], searched(Tested())[1]
    assert [(trial.key, trial.candidate) for trial in one] == [(trial.key, trial.candidate) for trial in other]
    assert one[0].test != other[0].test == -7.0


@pytest.mark.covers("23.5")
def test_every_probe_sees_the_same_seed():
    space = Numbers()
    searched(space)
    assert {seed for _, seed in space.probed} == {42}


def test_a_search_ends_with_its_budget():
    space = Numbers()
    search = Search(space, Proposer(space, "random"), hash_seconds=0.5)
    trials = list(search.run(budget=20.0))
    assert 20.0 <= sum(one.seconds for one in trials) < 22.5
    with pytest.raises(InputError, match="give one of them"):
        next(search.run())


def test_evolution_drops_the_oldest_and_elitism_the_worst():
    space = Numbers()
    evolution, elitism = (Proposer(space, strategy, 3, 1) for strategy in ("evolution", "elitism"))
    for proposer in (evolution, elitism):
        for candidate, valid in ((1, 9.0), (2, 1.0), (3, 5.0), (4, 4.0), (5, 0.0)):
            proposer.learn(candidate, valid)
    assert [member[2] for member in evolution._members] == [3, 4, 5]
    assert sorted(member[2] for member in elitism._heap) == [1, 3, 4], "a child that is worse than all is dropped"


def test_the_later_one_of_a_tie_wins_the_tournament():
    class Still(Numbers):
        def mutate(self, candidate, rng):
            return candidate

    proposer = Proposer(Still(), "evolution", 4, 4)
    for candidate, valid in ((1, 2.0), (2, 5.0), (3, 5.0), (4, 1.0)):
        proposer.learn(candidate, valid)
    assert {proposer.propose() for _ in range(5)} == {3}


def test_a_tournament_is_drawn_without_replacement():
    class Still(Numbers):
        def mutate(self, candidate, rng):
            return candidate

    proposer = Proposer(Still(), "evolution", 4, 3)
    for candidate in range(4):
        proposer.learn(candidate, float(candidate))
    winners = [proposer.propose() for _ in range(200)]
    assert set(winners) == {2, 3}, "of three different ones of four, the best is one of the two best"
    assert 0.65 < winners.count(3) / 200 < 0.85


def test_a_candidate_that_cannot_be_run_is_worst_cached_and_counted():
    space = Numbers(fails=(9,))
    _, trials = searched(space)
    failed = [one for one in trials if one.candidate % 10 == 9]
    assert len(failed) > 1
    assert {(one.key, one.valid) for one in failed} == {(FAILED, -1.0)}
    assert {one.problem for one in failed} == {f"ValueError: {one.candidate} cannot be run" for one in failed}
    assert not any(candidate % 10 == 9 for candidate, _ in space.evaluated)
    assert Account.of(trials).failed == len(failed)
    assert max(one.valid for one in trials) == 8.0


def test_a_training_that_fails_is_worst_and_the_search_goes_on():
    class Breaking(Numbers):
        def evaluate(self, candidate, run):
            if candidate % 10 == 9:
                raise ArithmeticError("loss is nan")
            return super().evaluate(candidate, run)

    _, trials = searched(Breaking())
    failed = [one for one in trials if one.candidate % 10 == 9]
    assert {one.valid for one in failed} == {-1.0}
    assert {one.kind for one in failed} == {"miss", "full hit"}
    assert {one.problem for one in failed} == {"ArithmeticError: loss is nan"}, "a hit on a failure is none"
    account = Account.of(trials)
    assert account.failed == len(failed)
    assert account.reason == "ArithmeticError: loss is nan"
    assert account.keys == len({one.candidate % 10 for one in trials}) - 1
    assert account.full_hits == sum(one.kind == "full hit" for one in trials if one.candidate % 10 != 9)
    assert account.candidates == account.full_hits + account.misses + account.failed
    assert len(trials) == 120


def test_memory_that_is_lacking_ends_the_search():
    class Large(Numbers):
        def probe(self, candidate, seed):
            raise MemoryError

    with pytest.raises(MemoryError):
        searched(Large())


def test_a_probe_that_is_not_deterministic_is_reported():
    _, trials = searched(Numbers(noisy=True))
    account = Account.of(trials)
    assert (account.hashed_twice, account.unstable) == (5, 5)
    assert "the probe is not deterministic: 5 of 5 candidates" in account.warnings()[0]
    assert account.full_hits == 0
    steady = Account.of(searched(Numbers())[1])
    assert (steady.hashed_twice, steady.unstable, steady.warnings()) == (5, 0, ())


def test_the_account_counts_structures_and_keys():
    _, trials = searched(Numbers())
    account = Account.of(trials)
    assert account.keys == len({one.candidate % 10 for one in trials})
    assert account.structures == len({one.candidate for one in trials})
    assert account.shared_keys == sum(
        len({one.candidate for one in trials if one.candidate % 10 == digit}) > 1 for digit in range(10)
    )
    assert account.evaluated == account.misses == account.keys
    assert account.candidates == account.misses + account.full_hits
    noisy = Account.of(searched(Numbers(noisy=True))[1])
    assert noisy.split_structures > 0
    assert any("have several keys" in line for line in noisy.warnings())


def test_steps_that_are_known_are_repeated_without_probe_and_evaluation():
    whole_search, whole = searched(Numbers(), count=60)
    space = Numbers()
    search = Search(space, Proposer(space, "evolution", 12, 4, 0), "functional", FunctionCache(), hash_seconds=0.5)
    for trial in whole[:40]:
        search.repeat(trial)
    assert not space.probed
    assert not space.evaluated
    assert list(search.run(60)) == whole[40:]
    assert search.cache.counts == whole_search.cache.counts
    assert search.seconds == whole_search.seconds
    other = Search(space, Proposer(space, "evolution", 12, 4, 1))
    different = next(trial for trial in whole if trial.candidate != other.proposer.propose())
    with pytest.raises(InputError, match="not what this search proposes"):
        other.repeat(different)


def test_without_a_cache_noise_is_drawn_anew_where_that_is_wanted():
    kept = KeptSpace(Numbers(), deviation=0.5, seed=3)
    fixed, anew = (searched(kept, "none", redraw=redraw)[1] for redraw in (False, True))
    assert len({(one.candidate, one.valid) for one in fixed}) == len({one.candidate for one in fixed})
    assert len({(one.candidate, one.valid) for one in anew}) > len({one.candidate for one in anew})


def test_averages_of_noise_come_nearer_to_the_true_score():
    kept = KeptSpace(Numbers(), deviation=1.0, seed=3)
    runs = [kept.evaluate(4, run).valid for run in range(400)]
    assert sum(runs) / 400 == pytest.approx(4.0, abs=0.2)
    assert 0.8 < (sum((one - 4.0) ** 2 for one in runs) / 400) ** 0.5 < 1.2
    assert kept.evaluate(4, 0) == kept.evaluate(4, 0)
    with pytest.raises(InputError, match="at least 0"):
        KeptSpace(Numbers(), deviation=-1.0).evaluate(4, 0)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"population": 0}, "a population of 0"),
        ({"population": 5, "tournament": 6}, "a tournament of 6"),
        ({"tournament": 0}, "a tournament of 0"),
        ({"tournament": 1.5}, "tournament: expected a whole number, got 1.5"),
        ({"population": "many"}, "population: expected a whole number"),
        ({"strategy": "annealing"}, "strategy"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, fault):
    with pytest.raises(InputError, match=fault):
        Proposer(Numbers(), **options)
