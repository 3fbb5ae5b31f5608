"""Mixtures of many objects that follow a classifier."""

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.systems.viewpoints.pool import LabelledObjects, MixturePool
from snellen.systems.viewpoints.search import SearchSettings
from snellen.systems.viewpoints.views import Views

OBJECTS = LabelledObjects(("cup 1", "cup 2", "cup 3", "pot 1", "pot 2"), (0, 0, 0, 4, 4))
SETTINGS = SearchSettings(components=2, popsize=5, iterations=2)


def look_at(seen):
    def look(name):
        def views(viewpoints):
            seen.append(name)
            return Views(viewpoints, torch.zeros(len(viewpoints), dtype=torch.bool))

        return views

    return look


def score(viewpoints):
    return torch.nn.functional.pad(viewpoints[:, :1].float(), (0, 4))


def pool(**fields):
    return MixturePool(OBJECTS, SETTINGS, **{"warm_iterations": 1, **fields})


@pytest.mark.covers("11.6", "11.7")
def test_all_objects_are_searched_at_first_and_later_one_of_each_class_goes_on():
    seen, found = [], pool()
    found.follow(1, look_at(seen), score, Randomness(0))
    assert seen == [name for name in OBJECTS.ids for _ in range(2)]
    first = found.means.clone(), found.deviations.clone()
    found.follow(1, look_at(seen), score, Randomness(0))
    assert len(seen) == 10
    later = set()
    for epoch in range(2, 8):
        del seen[:]
        before = found.means.clone()
        found.follow(epoch, look_at(seen), score, Randomness(0))
        assert [name[:3] for name in seen] == ["cup", "pot"]
        moved = (found.means != before).any(2).any(1)
        assert {OBJECTS.ids[n] for n in moved.nonzero()[:, 0].tolist()} == set(seen)
        # A step from where it stood, not from the start.
        assert float((found.means - before).abs().max()) < 0.25
        later |= set(seen)
    assert len(later) >= 4
    assert int(found.renders) == (10 + 12) * 6
    assert not torch.equal(found.deviations, first[1])


@pytest.mark.covers("11.6")
def test_a_frozen_pool_is_searched_once():
    seen, found = [], pool(refresh=False)
    for epoch in (3, 4, 5):
        found.follow(epoch, look_at(seen), score, Randomness(0))
    assert len(seen) == 10


@pytest.mark.covers("11.8")
def test_mixtures_are_shared_inside_a_class_alone_and_at_the_rate_that_was_requested():
    def drawn(rate):
        found = pool(share_rate=rate)
        # The mixture of object n stands at roll 30 tanh(n − 2), without any width.
        found.means[:] = (torch.arange(5) - 2.0).double()[:, None, None]
        found.deviations[:] = 1e-6
        shown, viewpoints = found.draw(Randomness(1).for_examples([str(n) for n in range(400)]))
        source = torch.atanh(viewpoints[:, 0] / 30).round().long() + 2
        return shown, source

    shown, source = drawn(0.0)
    assert torch.equal(shown, source)
    # A class is as likely as the other, however many objects it has.
    assert float((shown < 3).double().mean()) == pytest.approx(0.5, abs=0.08)
    shown, source = drawn(0.5)
    labels = torch.tensor(OBJECTS.labels)
    assert torch.equal(labels[shown], labels[source])
    # Half are shared, and of those a third or a half are the object's own.
    other = float((shown != source).double().mean())
    assert other == pytest.approx(0.5 * (0.5 * 2 / 3 + 0.5 * 1 / 2), abs=0.08)


def test_a_listener_hears_of_every_object_between_begin_and_end():
    heard = []

    class Listener:
        def begin(self, task, total=None):
            heard.append(("begin", task, total))

        def advance(self, task, amount=1, note=""):
            heard.append(("advance", task, note))

        def finish(self, task):
            heard.append(("finish", task))

    found = pool()
    for epoch in (1, 2):
        found.follow(epoch, look_at([]), score, Randomness(0), Listener())
    assert [one[0] for one in heard] == ["begin", *["advance"] * 5, "finish", "begin", "advance", "advance", "finish"]
    assert [one[2] for one in heard if one[0] == "begin"] == [5, 2]


def test_a_pool_that_was_saved_goes_on_where_it_stood():
    one, two = pool(), pool()
    one.follow(1, look_at([]), score, Randomness(0))
    two.load_state_dict(one.state_dict())
    for each in (one, two):
        each.follow(2, look_at([]), score, Randomness(0))
    assert torch.equal(one.means, two.means)
    assert int(two.renders) == 10 * 6 + 2 * 6
