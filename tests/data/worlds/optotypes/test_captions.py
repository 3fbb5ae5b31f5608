import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.caption_phrases import caption_words
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import (
    DEGREES,
    DETAILS,
    FACTORS,
    PLACES,
    RELATIONS,
    Described,
    DescribedNuisances,
    DescribedObject,
    DescribedRelation,
    select,
)
from snellen.data.worlds.optotypes.factors import (
    BACKGROUNDS,
    COLOURS,
    LIGHTINGS,
    NUISANCES,
    ROUND,
    SHAPES,
    SIZES,
    STYLES,
    TEXTURES,
    TILTS,
)
from snellen.data.worlds.optotypes.parser import parse
from snellen.data.worlds.optotypes.vocabulary import BLANK, WORDS, bare_words, forms, phrases, values, vocabulary
from tests.data.worlds.optotypes.caption_scenes import descriptions

STAR = DescribedObject(shape="star", colour="red", texture="striped", size="small", tilt="upright", place="top left")
RING = DescribedObject(shape="ring", colour="orange", size="tiny", place="right")
PAIR = Described(
    objects=(STAR, RING),
    relations=(DescribedRelation(first=0, relation="left of", second=1),),
    background="grass",
    lighting="dim",
    style="line",
    nuisances=DescribedNuisances(fog="heavy", noise="absent"),
    lettering="STOP",
)


@pytest.fixture(scope="module")
def many_descriptions():
    return descriptions(10_000, seed=5)


def test_ten_thousand_captions_are_read_as_they_were_meant(many_descriptions):
    draw = random.Random(0)
    for number, said in enumerate(many_descriptions):
        detail = draw.choice([*DETAILS, draw.sample(FACTORS, k=draw.randrange(len(FACTORS) + 1))])
        words = draw.choice(WORDS)
        text = caption(said, seed=draw.choice([None, number]), detail=detail, words=words)
        assert parse(text) == select(said, detail), text


def _objects():
    def maybe(options):
        return st.none() | st.sampled_from(options)

    made = st.builds(
        DescribedObject,
        shape=maybe([shape for shape in SHAPES if shape not in ROUND]),
        colour=maybe(COLOURS),
        texture=maybe(TEXTURES),
        size=maybe(SIZES),
        tilt=maybe(TILTS),
        place=maybe(PLACES),
    )
    return made | st.builds(DescribedObject, shape=st.sampled_from(sorted(ROUND)), size=maybe(SIZES))


@st.composite
def _descriptions(draw):
    objects = draw(st.none() | st.lists(_objects(), max_size=8).map(tuple))
    count = len(objects or ())
    relations = tuple(
        DescribedRelation(first=first, relation=draw(st.sampled_from(RELATIONS)), second=second)
        for first in range(count)
        for second in range(first + 1, count)
        if draw(st.booleans())
    )
    return Described(
        objects=objects,
        relations=relations,
        background=draw(st.none() | st.sampled_from(BACKGROUNDS)),
        lighting=draw(st.none() | st.sampled_from(LIGHTINGS)),
        style=draw(st.none() | st.sampled_from(STYLES)),
        nuisances=DescribedNuisances(**{name: draw(st.none() | st.sampled_from(DEGREES)) for name in NUISANCES}),
        lettering=draw(st.none() | st.text("ABZ019", max_size=12)),
    )


@settings(max_examples=100, deadline=None)
@given(_descriptions(), st.none() | st.integers(0, 2**63), st.sampled_from(WORDS))
def test_whatever_is_described_partly_or_oddly_is_read_again(said, seed, words):
    assert parse(caption(said, seed=seed, detail="complete", words=words)) == said


def test_the_canonical_caption_and_details():
    assert caption(PAIR) == (
        "a line drawing of a small red striped star at the top left, left of a tiny orange ring on the right, "
        'on grass, in dim light, in heavy fog, with the word "STOP"'
    )
    assert caption(PAIR, detail="brief") == "a red star and an orange ring on grass"
    assert caption(PAIR, detail=["shape", "tilt"]) == "an upright star and a ring"
    assert caption(PAIR, detail=["style", "absences"]) == "a line drawing of a scene, without noise"
    assert caption(Described(objects=(), lettering=""), detail="complete") == "nothing, without lettering"
    assert caption(Described(objects=(DescribedObject(shape="hourglass", texture="plain"),)), detail="full") == (
        "a plain hourglass"
    )
    assert caption(Described(objects=(DescribedObject(shape="hourglass"),)), detail="full") == "an hourglass"


def test_alike_objects_are_distinguished_by_their_number():
    alike = DescribedObject(shape="star", colour="red")
    said = Described(objects=(alike,) * 3, relations=(DescribedRelation(first=0, relation="above", second=2),))
    text = caption(said, detail="full")
    assert text == "A red star, a red star and a red star. The first object is above the third object."
    assert parse(text) == said


def test_a_seed_decides_and_many_seeds_give_many_captions():
    texts = [caption(PAIR, seed=seed) for seed in range(200)]
    assert texts == [caption(PAIR, seed=seed) for seed in range(200)]
    assert len(set(texts)) > 190


def _words_of(slots, words):
    return {word for slot in slots for value in values(slot) for form in forms(slot, value, words)
            for word in bare_words(form)}  # fmt: skip


def test_captions_for_fitting_have_no_held_out_words_and_every_word_occurs(many_descriptions):
    slots = {meaning.slot for meanings in phrases().values() for meaning in meanings}
    slots |= {"before nuisance", "picture before", "picture after", "degree"}
    held_out = _words_of(slots, "held out") - _words_of(slots, "fitting") - {BLANK}
    assert len(held_out) > 80
    known = set(vocabulary())
    seen = {words: set() for words in WORDS}
    for number, said in enumerate(many_descriptions[:1500]):
        detail = ("complete", "brief", ("background", "nuisances"), ("relations",))[number % 4]
        for words in WORDS:
            split = caption_words(caption(said, seed=number, detail=detail, words=words))
            assert known.issuperset(split)
            seen[words].update(split)
    # Numbers of five and more objects need larger scenes than these.
    large = {"fifth", "sixth", "seventh", "eighth", "five", "six", "seven", "eight"}
    assert not seen["fitting"] & held_out
    assert held_out - large <= seen["held out"]
    assert known - seen["any"] - set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") <= large


def test_every_form_for_fitting_occurs(many_descriptions):
    texts = " | ".join(
        caption(said, seed=number, detail="full") for number, said in enumerate(many_descriptions[:1200])
    )
    for slot in ("shape", "colour", "texture", "texture after", "size", "tilt", "place", "background", "lighting"):
        for value in values(slot):
            for form in forms(slot, value, "fitting"):
                assert form in texts, (slot, form)


def test_wrong_choices_are_named():
    with pytest.raises(InputError, match="unknown detail of captions 'natura'; did you mean 'natural'"):
        caption(PAIR, detail="natura")
    with pytest.raises(InputError, match="unknown factor of captions 'color'; did you mean 'colour'"):
        caption(PAIR, detail=["color"])
    with pytest.raises(InputError, match="unknown choice of words 'held_out'; did you mean 'held out'"):
        caption(PAIR, words="held_out")
