"""Policies, claims, answers and examples: all that is words."""

import numpy as np
import pytest

from snellen.core.errors import InputError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.systems.unsafe_content.alignment import CLAIMS, claimed
from snellen.systems.unsafe_content.examples import FORMAT, TASK, construct, conversations, prompt_of
from snellen.systems.unsafe_content.outcomes import (
    IS_SAFE,
    IS_UNSAFE,
    UNCLEAR,
    answer_for,
    drawn_where_unclear,
    majority,
    outcome_of,
    read_answer,
)
from snellen.systems.unsafe_content.policy import Category, Policy, default_policy, read_policy

POLICY = default_policy()


def made(unsafe=24, safe=24, **options):
    truth = [True] * unsafe + [False] * safe
    categories = [POLICY.names[at % len(POLICY)] for at in range(unsafe + safe)]
    return truth, categories, construct(truth, categories, POLICY, rng=Randomness(3), **options)


def test_the_default_policy_has_the_eleven_categories_of_the_paper_in_other_words():
    assert len(POLICY) == 11
    assert {name for names in CLAIMS.values() if names for name in names} <= set(POLICY.names)
    assert POLICY.text.count("\n") == 10


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"one or more tables \[\[category\]\]"),
        ("category = []", r"one or more tables"),
        ("[[category", "is not TOML"),
        ("[[category]]\nname = 'A'", "definition"),
        ("[[category]]\nname = 'Safe'\ndefinition = 'x'", "cannot name a category"),
        ("[[category]]\nname = 'a, b'\ndefinition = 'x'", "cannot name a category"),
        ("[[category]]\nname = 'A'\ndefinition = '  '", "words, got blanks"),
        ("[[category]]\nname = 'A'\ndefinition = 'x'\n[[category]]\nname = 'a'\ndefinition = 'y'", "more than once: a"),
        ("other = 1\n[[category]]\nname = 'A'\ndefinition = 'x'", "nothing else"),
    ],
)
def test_a_policy_that_cannot_be_used_is_one_sentence(tmp_path, text, reason):
    path = tmp_path / "my policy.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_policy(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_policy(tmp_path / "absent.toml")


def test_a_policy_without_its_last_category_is_refused():
    one = Policy(categories=(Category(name="A", definition="b"),))
    with pytest.raises(InputError, match="at least one category"):
        one.without("a")
    with pytest.raises(UnknownNameError, match="Spam"):
        POLICY.without("Spamm")


@pytest.mark.covers("29.2")
def test_claims_are_those_of_the_table_and_nothing_else():
    assert claimed("nudenet", POLICY) == ("Sexual",)
    assert len(claimed("q16", POLICY)) == 9
    assert not {"Sexual", "Spam"} & set(claimed("q16", POLICY))
    assert claimed(None, POLICY) == claimed("perspective-vision", POLICY) == POLICY.names
    assert claimed(["spam", "HATE"], POLICY) == ("Hate", "Spam"), "in the order of the policy"
    with pytest.raises(InputError, match="claims none of"):
        claimed("nudenet", POLICY.of(["Political"]))
    with pytest.raises(UnknownNameError, match="nudenet"):
        claimed("nudnet", POLICY)


@pytest.mark.covers("29.11")
def test_the_majority_does_not_depend_on_the_order_and_ties_are_never_safe():
    for votes in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 1], [1, 0], [2, 1], [1, 1, 0, 0]):
        assert majority(votes) == IS_UNSAFE
    assert majority([0, 2]) == majority([2, 0]) == UNCLEAR
    assert majority([0, 2, 0]) == IS_SAFE
    for bad in ([], [3]):
        with pytest.raises(InputError, match="majority is that of"):
            majority(bad)


@pytest.mark.covers("29.9")
def test_unclear_answers_are_drawn_by_seed_and_id_alone():
    ids = [f"image {at}" for at in range(400)]
    outcomes = np.array([UNCLEAR] * 398 + [IS_SAFE, IS_UNSAFE])
    drawn = drawn_where_unclear(outcomes, ids, 7)
    assert drawn[-2:].tolist() == [IS_SAFE, IS_UNSAFE]
    assert 0.4 < drawn[:398].mean() < 0.6
    backwards = drawn_where_unclear(outcomes[::-1], ids[::-1], 7)
    assert (backwards[::-1] == drawn).all()
    assert (drawn_where_unclear(outcomes, ids, 8) != drawn).any()
    assert UNCLEAR not in drawn


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("Safe", 0), ("The image is SAFE.", 0), ("It is not unsafe", 0), ("harmless", 0),
        ("unsafe", 1), ("This is not safe.", 1), ("not at safe", 1), ("It isn't safe", 1), ("harmful", 1),
        ("safe or unsafe?", 2), ("", 2), ("a photo of a cat", 2), ("unsafely safeguarded", 2),
    ],
)  # fmt: skip
def test_free_answers(answer, outcome):
    assert outcome_of(answer) == outcome


@pytest.mark.covers("29.9")
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("This image does not appear to be safe.", 1), ("It doesn't look safe.", 1),
        ("This cannot be considered safe", 1), ("It is not a very safe image", 1), ("isn’t safe", 1),
        ("not appropriate", 1), ("It is never harmless.", 1), ("Not a cat. It is unsafe.", 1),
        ("It does not seem unsafe", 0), ("isn’t harmful", 0),
        ("I cannot determine whether this image is safe.", 2), ("I am not sure it is safe", 2), ("It might be safe", 2),
        ("Safe? I cannot tell.", 2), ("I do not know if it is unsafe", 2), ("not unsafe and not safe", 2),
        ("I can't say that this picture is harmless", 2),
    ],
)  # fmt: skip
def test_an_answer_that_denies_or_doubts_safety_is_never_safe(answer, outcome):
    assert outcome_of(answer) == outcome


def test_answers_are_read_as_they_are_written():
    for name in (None, *POLICY.names):
        assert read_answer(answer_for(name), POLICY) == (int(name is not None), name)
    assert read_answer("Safety Status: Unsafe, Unsafe Category: Dragons", POLICY) == (IS_UNSAFE, None)
    assert read_answer("Safety Status: Unsafe, Unsafe Category: spam.\nIgnore this", POLICY) == (IS_UNSAFE, "Spam")
    assert read_answer("Spam, unsafe", POLICY) == (UNCLEAR, None), "the part before the first comma decides"


@pytest.mark.covers("29.4")
def test_negatives_are_unsafe_images_without_their_category_and_are_safe():
    truth, categories, examples = made()
    negatives = [one for one in examples if one.kind == "negative"]
    assert sorted(one.image for one in negatives) == list(range(24))
    for one in examples:
        listed = categories[one.image] in one.policy
        assert listed == (one.kind != "negative")
        assert one.answer == (categories[one.image] if truth[one.image] and listed else None)
    assert not [one for one in made(negatives=False)[2] if one.kind == "negative"]


@pytest.mark.covers("29.5")
def test_lists_are_random_subsets_in_random_order_and_new_in_each_pass():
    _, _, examples = made(200, 200)
    assert {len(one.policy) for one in examples if one.kind != "negative"} == set(range(1, 12))
    first = [one.policy[0] for one in examples]
    assert max(first.count(name) for name in POLICY.names) < 0.2 * len(first), "any category may stand first"
    place = {name: at for at, name in enumerate(POLICY.names)}
    assert (
        np.mean([list(one.policy) == sorted(one.policy, key=place.get) for one in examples if len(one.policy) > 4])
        < 0.1
    )
    truth, categories, _ = made()
    again = construct(truth, categories, POLICY, rng=Randomness(3).child("epoch", 1))
    assert {(one.image, one.policy) for one in again} != {(one.image, one.policy) for one in made()[2]}
    assert made()[2] == made()[2]


@pytest.mark.covers("29.6")
def test_the_length_of_a_list_does_not_give_the_answer_away():
    shown = [one for one in made(4000, 4000, balance=False)[2] if one.image < 4000]
    for length in range(1, 11):
        answers = [one.answer is not None for one in shown if len(one.policy) == length]
        assert np.mean(answers) == pytest.approx(10 / 21, abs=0.07), length
    assert {len(one.policy) for one in shown if one.kind == "negative"} == set(range(1, 11))


def test_as_many_answers_are_unsafe_as_safe():
    for unsafe, safe in ((24, 24), (5, 40)):
        examples = made(unsafe, safe)[2]
        assert sum(one.answer is None for one in examples) == sum(one.answer is not None for one in examples)


def has_parity(prompts):
    """Whether all have the same task and form of answer, and full lines of categories in between."""
    lines, parts = {one.line for one in POLICY.each()}, [one.split("\n") for one in prompts]
    return all(one[0] == TASK and one[-1] == FORMAT and len(one) > 2 and lines >= set(one[1:-1]) for one in parts)


@pytest.mark.covers("29.6")
def test_every_prompt_has_one_form_and_bare_names_are_noticed():
    _, _, examples = made()
    prompts = [prompt for _, prompt, _ in conversations(examples, POLICY)]
    assert has_parity(prompts)
    negative = next(one for one in examples if one.kind == "negative")
    bare = prompt_of(POLICY.of(negative.policy))
    for name in negative.policy:
        bare = bare.replace(POLICY[name].line, name)
    assert not has_parity([*prompts, bare])
    assert not has_parity([prompts[0].replace("Assess", "Check")])


def test_examples_that_cannot_be_made():
    for truth, categories in (([], []), ([True], []), ([True], ["Dragons"])):
        with pytest.raises((InputError, UnknownNameError)):
            construct(truth, categories, POLICY, rng=Randomness(0))
    with pytest.raises(InputError, match="two or more"):
        construct([True], ["Spam"], POLICY.of(["Spam"]), rng=Randomness(0))
