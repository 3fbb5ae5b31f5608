from itertools import product

from snellen.data.worlds.optotypes.caption_phrases import CaptionTokens, find_phrases
from snellen.data.worlds.optotypes.described import PLACES, RELATIONS
from snellen.data.worlds.optotypes.factors import (
    BACKGROUNDS,
    COLOURS,
    LIGHTINGS,
    NUISANCES,
    SHAPES,
    SIZES,
    STYLES,
    TEXTURES,
    TILTS,
)
from snellen.data.worlds.optotypes.vocabulary import BLANK, bare_words, forms, phrases, values, vocabulary

FACTORS = {
    "shape": SHAPES,
    "colour": COLOURS,
    "texture": TEXTURES,
    "texture after": TEXTURES,
    "size": SIZES,
    "tilt": TILTS,
    "tilt after": TILTS,
    "place": PLACES,
    "relation": RELATIONS,
    "offset": RELATIONS,
    "background": BACKGROUNDS,
    "lighting": LIGHTINGS,
    "style": ("picture", *STYLES),
    "nuisance": NUISANCES,
}
SLOTS = (
    *FACTORS,
    "object",
    "content",
    "opening",
    "joining",
    "copula",
    "degree",
    "lettering",
    "no lettering",
    "ordinal",
)


def test_every_value_has_two_forms_for_fitting_and_one_held_out():
    for slot, expected in FACTORS.items():
        assert values(slot) == expected
    for slot in SLOTS:
        for value in values(slot):
            assert len(forms(slot, value, "fitting")) >= 2, (slot, value)
            assert len(forms(slot, value, "held out")) >= 1, (slot, value)
            assert forms(slot, value) == forms(slot, value, "fitting") + forms(slot, value, "held out")


def test_every_held_out_form_has_a_word_that_no_form_for_fitting_has():
    known = {
        word
        for slot in (*SLOTS, "before nuisance", "picture before", "picture after", "with")
        for value in values(slot)
        for form in forms(slot, value, "fitting")
        for word in bare_words(form)
    }
    for slot in SLOTS:
        for value in values(slot):
            for form in forms(slot, value, "held out"):
                new = set(bare_words(form)) - known - {BLANK}
                assert new, f"{slot} {value}: {form!r} has no new word"


def test_no_phrase_stands_for_two_objects():
    assert [phrase for phrase, meanings in phrases().items() if len(meanings) > 1] == []


def test_any_two_phrases_in_a_row_are_distinguished():
    # Degrees of nuisances differ in a word that is in no other place, so those without one stand for all.
    plain = {phrase: next(iter(meanings)) for phrase, meanings in phrases().items() if BLANK not in phrase}
    plain = {phrase: meaning for phrase, meaning in plain.items() if meaning.degree in ("", "some")}
    beginnings = {}
    for phrase, meaning in plain.items():
        beginnings.setdefault(phrase[:2], (phrase, meaning))
    for (first, meaning), (second, following) in product(plain.items(), beginnings.values()):
        words = first + second
        found = find_phrases(CaptionTokens(words, ("",) * len(words), frozenset(), {}))
        assert [(one.slot, one.value) for one in found] == [
            (meaning.slot, meaning.value),
            (following.slot, following.value),
        ]


def test_the_vocabulary_is_sorted_and_holds_every_word():
    words = vocabulary()
    assert list(words) == sorted(set(words))
    assert len(words) == 317
    assert {word for phrase in phrases() for word in phrase} - {BLANK} <= set(words)
