"""Which class is guided away from and how far: closed forms, ties, draws, and answers that are not finite."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.gradient_free_guidance.confusion import ReferencePolicy, ScalePolicy, confusion, decide

RULES = ("strongest", "sampled", "even", "least-likely", "fixed")


def policy(rule):
    return ReferencePolicy(rule, 1 if rule == "fixed" else None)


def decided(logits, classes, reference=None, scale=None, seed=0, **options):
    given = torch.as_tensor(logits)
    rng = Randomness(seed).bind(len(given))
    return decide(
        given, torch.as_tensor(classes), reference or ReferencePolicy(), scale or ScalePolicy(), rng, **options
    )


@pytest.mark.covers("38.5")
@pytest.mark.parametrize("rule", RULES)
@given(seed=st.integers(0, 30), classes=st.integers(2, 6), spread=st.sampled_from([0.0, 1.0, 2000.0]))
def test_the_reference_is_never_the_class_itself(rule, seed, classes, spread):
    draws = Randomness(seed).bind(8)
    logits = spread * draws.normal("logits", (classes,))
    own = draws.integers("own", (), 0, classes)
    logits[0, own[0]] = 10_000.0  # as certain as a number can be: nothing is left for the other classes
    found = decided(logits, own, policy(rule), seed=seed)
    assert not bool((found.reference == own).any())
    assert 0 <= int(found.reference.min()) <= int(found.reference.max()) < classes


@pytest.mark.covers("38.5")
def test_ties_go_to_the_first_class():
    found = decided(torch.zeros(3, 4), [0, 1, 3])
    assert found.reference.tolist() == [1, 0, 0]
    assert decided(torch.zeros(3, 4), [0, 1, 3], ReferencePolicy("least-likely")).reference.tolist() == [1, 0, 0]


def test_references_by_hand():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(4, 4)
    own = [0, 1, 2, 3]
    assert decided(logits, own).reference.tolist() == [1, 0, 0, 0]
    assert decided(logits, own, ReferencePolicy("least-likely")).reference.tolist() == [3, 3, 3, 2]
    assert decided(logits, own, ReferencePolicy("fixed", 2)).reference.tolist() == [2, 2, 0, 2]


def test_drawn_references_follow_their_probabilities_and_belong_to_samples():
    count = 4000
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(count, 4)
    own = torch.zeros(count, dtype=torch.int64)
    found = decided(logits, own, ReferencePolicy("sampled")).reference
    shares = torch.bincount(found, minlength=4) / count
    torch.testing.assert_close(shares, torch.tensor([0, 1 / 2, 1 / 3, 1 / 6]), atol=0.03, rtol=0)
    evenly = torch.bincount(decided(logits, own, ReferencePolicy("even")).reference, minlength=4) / count
    torch.testing.assert_close(evenly, torch.tensor([0, 1 / 3, 1 / 3, 1 / 3]), atol=0.03, rtol=0)
    part = [5, 77, 3]
    rng = Randomness(0).bind(count)[part]
    again = decide(logits[part], own[part], ReferencePolicy("sampled"), ScalePolicy(), rng).reference
    assert torch.equal(again, found[part])
    other = decided(logits, own, ReferencePolicy("sampled"), seed=1).reference
    assert not torch.equal(other, found)


@pytest.mark.covers("38.4")
def test_scales_by_hand():
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [1.0, 0.0, 0.0]]).double().log()
    own = [0, 0, 0]
    assert decided(logits, own).scale.tolist() == pytest.approx([1 + 3 * 0.3, 1 + 3 * 0.9, 1])
    by = {"competitor": [0.2, 0.8, 0.0], "margin": [0.25, 0.85, 0.0]}
    for rule, expected in by.items():
        found = decided(logits, own, scale=ScalePolicy(gamma=2.0, confusion=rule))
        assert found.confusion.tolist() == pytest.approx(expected)
        assert found.scale.tolist() == pytest.approx([1 + 2 * u for u in expected])
    assert decided(logits, own, scale=ScalePolicy(gamma=3.0, highest=1.5)).scale.tolist() == [1.5, 1.5, 1]
    linear = ScalePolicy(rule="linear", lowest=1.0, highest=3.0)
    assert decided(logits, own, scale=linear).scale.tolist() == pytest.approx([1.6, 2.8, 1])
    fixed = ScalePolicy(rule="linear", lowest=2.0, highest=2.0)
    assert decided(logits, own, scale=fixed).scale.tolist() == [2, 2, 2]
    assert decided(logits, own, scale=ScalePolicy(gamma=0.0)).scale.tolist() == [1, 1, 1]


def test_a_scale_below_the_threshold_is_no_guidance():
    confused = torch.tensor([0.009, 0.011])
    assert ScalePolicy(gamma=2.0, threshold=0.02)(confused).tolist() == pytest.approx([1.0, 1.022])
    assert ScalePolicy(gamma=2.0, threshold=0.0)(confused).tolist() == pytest.approx([1.018, 1.022])


@given(seed=st.integers(0, 40), rule=st.sampled_from(["doubt", "competitor", "margin"]))
def test_confusion_and_scale_stay_in_their_ranges_and_grow_together(seed, rule):
    draws = Randomness(seed).bind(16)
    own = draws.integers("own", (), 0, 5)
    found = decided(3 * draws.normal("logits", (5,)), own, scale=ScalePolicy(confusion=rule, threshold=0.0))
    assert bool(((found.confusion >= 0) & (found.confusion <= 1)).all())
    assert bool(((found.scale >= 1) & (found.scale <= 5)).all())
    order = found.confusion.argsort()
    assert bool((found.scale[order].diff() >= 0).all())


def test_a_temperature_flattens_the_answer():
    logits = torch.tensor([[4.0, 0.0]])
    sure, torn = decided(logits, [0]), decided(logits, [0], temperature=4.0)
    assert float(sure.confusion) == pytest.approx(1 / (1 + math.e**4))
    assert float(torn.confusion) == pytest.approx(1 / (1 + math.e))


def test_an_answer_that_is_not_finite_guides_nothing():
    logits = torch.tensor([[0.0, math.nan, 1.0], [0.0, 1.0, 2.0], [math.inf, 0.0, 0.0], [0.0, -math.inf, 0.0]])
    found = decided(logits, [0, 0, 1, 0])
    assert found.broken.tolist() == [True, False, True, False]
    assert found.scale[[0, 2]].tolist() == [1, 1]
    assert found.confusion[[0, 2]].tolist() == [0, 0]
    assert bool((found.scale[[1, 3]] > 1).all())
    assert bool((found.reference != torch.tensor([0, 0, 1, 0])).all())
    assert float(confusion(torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([0]), torch.tensor([2]))) == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": -0.5}, "gamma is at least 0"),
        ({"gamma": math.nan}, "finite"),
        ({"highest": 0.5}, "scales are at least 1"),
        ({"lowest": 3.0, "highest": 2.0}, "the lowest not above the highest"),
        ({"threshold": -0.1}, "at least 0"),
    ],
)
def test_scales_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        ScalePolicy(**settings)


def test_what_cannot_be_decided_is_refused():
    with pytest.raises(InputError, match="at least two classes"):
        decided(torch.zeros(2, 1), [0, 0])
    with pytest.raises(InputError, match="class of 0 to 2"):
        decided(torch.zeros(2, 3), [0, 3])
    with pytest.raises(InputError, match="class of 0 to 2"):
        decided(torch.zeros(2, 3), [0, -1])
    with pytest.raises(InputError, match="temperature"):
        decided(torch.zeros(2, 3), [0, 1], temperature=0.0)
    with pytest.raises(InputError, match="goes with the rule 'fixed'"):
        ReferencePolicy("fixed")
    with pytest.raises(InputError, match="goes with the rule 'fixed'"):
        ReferencePolicy("strongest", 1)
    with pytest.raises(InputError, match="classes 0 to 2; got 3"):
        decided(torch.zeros(1, 3), [0], ReferencePolicy("fixed", 3))
