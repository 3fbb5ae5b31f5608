"""Conditions: selecting, concatenating, equality by identity."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition


def condition(count=3, tokens=4, seed=0, **parts):
    draws = Randomness(seed).bind(count)
    return Condition(
        count=count, text=draws.normal("text", (tokens, 5)), mask=torch.ones(count, tokens, dtype=torch.int64), **parts
    )


def test_rows_are_taken_from_every_part():
    given = condition(pooled=torch.arange(6.0).view(3, 2), classes=torch.tensor([4, 5, 6]))
    chosen = given.select([2, 0, 2, 1])
    assert len(chosen) == 4
    assert chosen.classes.tolist() == [6, 4, 6, 5]
    assert torch.equal(chosen.text, given.text[[2, 0, 2, 1]])
    assert torch.equal(chosen.pooled, given.pooled[[2, 0, 2, 1]])
    assert chosen.time_ids is None
    assert len(given.select(torch.tensor([], dtype=torch.int64))) == 0


def test_parts_that_were_selected_come_together_again():
    given = condition()
    joined = Condition.concatenate([given.select([0]), given.select([1, 2])])
    assert torch.equal(joined.text, given.text)
    assert torch.equal(joined.mask, given.mask)
    assert Condition.concatenate([given]) is given
    assert len(Condition.concatenate([Condition(count=2), Condition(count=1)])) == 3


def test_only_the_same_object_is_equal():
    given = condition()
    assert given == given
    assert given != condition()
    assert len({given, given.select([0, 1, 2])}) == 2


def test_text_states_are_replaced_and_nothing_else():
    given = condition(pooled=torch.zeros(3, 2))
    edited = given.with_text(given.text + 1)
    assert torch.equal(edited.text, given.text + 1)
    assert edited.pooled is given.pooled
    assert edited.mask is given.mask
    with pytest.raises(InputError, match=r"\(3, 2, 5\) cannot replace \(3, 4, 5\)"):
        given.with_text(given.text[:, :2])
    with pytest.raises(InputError, match="no text states"):
        Condition(count=1, classes=torch.tensor([0])).with_text(torch.zeros(1))


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(InputError, match=r"of 2 rows has classes of shape \(3,\)"):
        Condition(count=2, classes=torch.arange(3))
    with pytest.raises(InputError, match="different kinds cannot share a batch"):
        Condition.concatenate([condition(tokens=4), condition(tokens=5)])
    with pytest.raises(InputError, match="different kinds"):
        Condition.concatenate([condition(), Condition(count=1, classes=torch.tensor([0]))])
    with pytest.raises(InputError, match="no condition"):
        Condition.concatenate([])
