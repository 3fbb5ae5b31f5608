"""Play by chance finds the first adversarial image of a path; what is put back leaves an adversarial image."""

import numpy as np
import pytest

from snellen.systems.feature_guided_search.paths import Answer, play_on, put_back


def run(asking, met, limit=np.inf):
    """Answer what a generator asks: its result, and how many changed pixels each question had."""
    asked = []
    try:
        told = next(asking)
        while True:
            count = int(np.count_nonzero(told))
            outside = count > limit
            asked.append(count)
            told = asking.send(Answer(met(told) and not outside, outside, float(count), np.nan))
    except StopIteration as stopped:
        return stopped.value, asked


def moves_of(width):
    """Moves that change one pixel after the other, from the left."""

    def moves(told, count):
        first, path, current = int(np.count_nonzero(told)), [], told
        for pixel in range(first, min(first + count, width)):
            current = current.copy()
            current[pixel] = 1
            path.append(current)
        return path

    return moves


@pytest.mark.parametrize("needed", [1, 2, 3, 7, 20, 64])
@pytest.mark.parametrize("every_move", [False, True])
def test_the_first_adversarial_image_of_the_path(needed, every_move):
    start = np.zeros(64, dtype=np.int8)
    reached, asked = run(
        play_on(start, moves_of(64), every_move=every_move, most_moves=100),
        lambda told: np.count_nonzero(told) >= needed,
    )
    assert np.count_nonzero(reached) == needed
    assert asked == list(range(1, needed + 1)) if every_move else len(asked) <= 2 * np.log2(needed + 1) + 2


def test_paths_end_where_they_leave_the_neighbourhood_or_run_out():
    start = np.zeros(64, dtype=np.int8)
    for every_move in (True, False):
        playing = play_on(start, moves_of(64), every_move=every_move, most_moves=100)
        reached, asked = run(playing, lambda told: np.count_nonzero(told) > 11, limit=11)
        assert reached is None
        assert max(count for count in asked if count <= 11) == 11, "up to the border, not less"
    assert run(play_on(start, moves_of(4), every_move=False, most_moves=100), lambda told: False)[0] is None
    assert max(run(play_on(start, moves_of(64), every_move=False, most_moves=9), lambda told: False)[1]) == 9


def test_what_is_put_back_leaves_only_what_is_needed():
    needed = {3, 17, 40}
    met = np.zeros(64, dtype=np.int8)
    met[:50] = 1

    def meets(told):
        return needed <= set(np.flatnonzero(told))

    reduced, asked = run(put_back(met, 64, np.random.default_rng(0)), meets)
    assert set(np.flatnonzero(reduced)) == needed
    assert len(asked) < 50, "clusters save questions"
    assert met.sum() == 50, "the image that was given is left alone"


def test_every_trial_is_of_the_image_as_it_is_by_then():
    # Two pixels of which one is needed, whichever: a stale image would put both back.
    met = np.ones(2, dtype=np.int8)
    reduced, _ = run(put_back(met, 2, np.random.default_rng(0)), lambda told: told.any())
    assert reduced.sum() == 1


def test_nothing_is_put_back_when_that_is_not_wanted():
    met = np.ones(5, dtype=np.int8)
    reduced, asked = run(put_back(met, 0, np.random.default_rng(0)), lambda told: True)
    assert reduced.tolist() == [1] * 5
    assert asked == []
