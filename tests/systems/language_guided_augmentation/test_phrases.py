"""Captions as phrases: of any parser, nothing that denotes the class is left, and backgrounds get an alternative."""

import json

import pytest

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.language.listed_answers import ListedAnswers
from snellen.models.language.references import load_language_model
from snellen.systems.language_guided_augmentation.phrases import (
    ImagePhrases,
    LanguageParser,
    RuleParser,
    SceneParser,
    class_words,
    image_phrases,
    with_alternatives,
)
from snellen.systems.language_guided_augmentation.words import cosine, denotes, merged


@pytest.mark.parametrize(
    ("caption", "foreground", "background"),
    [
        ("a small bird standing on a branch in front of a lake", ("small bird",), ("branch",)),
        ("A photo of a dog and two boys, holding a ball, on the beach.", ("dog", "two boys", "ball"), ("beach",)),
        ("there is a man with mountains in the background", ("man",), ("mountains",)),
        ("a cow on the left with a tree", ("cow", "tree"), ()),
        ("a sandwich", ("sandwich",), ()),
        # Captioners repeat themselves, and name a background twice.
        ("a cow with a mountain in the background in the background in the background", ("cow",), ("mountain",)),
        ("a cow on grass in the background", ("cow",), ("grass",)),
        ("in the background", (), ()),
    ],
)  # fmt: skip
def test_rules_read_plain_english(caption, foreground, background):
    said = RuleParser().parse(caption, "x", key="0")
    assert (said.foreground, said.background) == (foreground, background)


@pytest.mark.covers("4.4")
def test_what_denotes_the_class_is_left_out_whoever_parsed():
    """By stem, as a part of a compound, by its head, and by the synonyms that were given."""
    (names,) = class_words(["waterbird"], {"waterbird": ["gull", "duck"]})
    said = {"foreground": ["two birds", "a gull", "ducks", "a wooden boat", "the boats", "Wooden boats"],
            "background": ["a lake"], "alternative": ["a forest"]}  # fmt: skip
    parser = LanguageParser(ListedAnswers({"a": said}, name="answers"))
    found = image_phrases("a", "whatever", names, parser)
    assert found.foreground == ("a wooden boat", "the boats")
    assert (found.background, found.alternative) == ("a lake", "a forest")
    assert image_phrases("b", "a duck on a bird", names, RuleParser()).reason == "no phrase"
    assert not denotes("water", names)
    assert denotes("a large retriever", ("golden retriever",))
    assert not denotes("a hip", ("ship",))
    with pytest.raises(InputError, match="'landbird', which is no class"):
        class_words(["waterbird"], {"landbird": ["owl"]})


def test_a_scene_leaves_out_its_first_object_where_the_class_is_one_of_objects():
    caption = 'a red star on grass, with a small blue ring to its right, with the text "AB"'
    by_shape, by_ground = (SceneParser().parse(caption, label, key="0") for label in ("star", "grass"))
    assert by_shape.foreground == ("blue ring", "text AB")
    assert by_ground.foreground == ("red star", "blue ring", "text AB")
    assert image_phrases("0", caption, ("grass",), SceneParser()).background is None, "the background is the class"


def test_answers_in_a_file_are_found_by_id_and_others_are_recorded(tmp_path):
    answers = {"a": {"foreground": ["a boat"], "background": ["a lake"]}, "b": {"background": ["a lake", "a sky"]}}
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    parser = LanguageParser(load_language_model(f"file:{tmp_path / 'answers.json'}"))
    assert image_phrases("a", "x", ("gull",), parser).foreground == ("a boat",)
    assert image_phrases("b", "x", ("gull",), parser).reason.startswith("no phrase: ")
    assert "'c'" in image_phrases("c", "x", ("gull",), parser).reason
    assert image_phrases("a", " ", ("gull",), parser).reason == "no caption"
    assert image_phrases("a", "sdf sdf", ("star",), SceneParser()).reason.startswith("no phrase: the word 'sdf'")


@pytest.mark.covers("4.5")
def test_a_background_without_an_alternative_gets_that_of_another_image_or_none():
    """One that is spelled in another way is no other background, and one that is the same is no alternative."""
    shown = [ImagePhrases(f"{number}", "x", background="grass") for number in range(20)]
    assert {one.alternative for one in with_alternatives(shown, Randomness(0))} == {None}
    spelled = [*shown, ImagePhrases("s", "x", background="green grass")]
    assert {one.alternative for one in with_alternatives(spelled, Randomness(0))} == {None}
    more = [*spelled, ImagePhrases("w", "x", background="water"), ImagePhrases("n", "x", background="the night")]
    more.append(ImagePhrases("k", "x", background="grass", alternative="a desert"))
    more.append(ImagePhrases("no", "x", foreground=("a boat",)))
    found = with_alternatives(more, Randomness(0))
    assert {one.alternative for one in found[:20]} == {"water", "the night"}
    assert [one.alternative for one in found[-2:]] == ["a desert", None]
    assert with_alternatives(more[:23], Randomness(0))[:20] == found[:20], "drawn by ids"
    said = {"background": ["grass"], "alternative": ["the grass"]}
    parser = LanguageParser(ListedAnswers({"a": said}, name="answers"))
    assert image_phrases("a", "x", ("cow",), parser).alternative is None


def test_phrases_that_are_alike_are_merged_with_the_most_frequent_one():
    phrases = ["red ring", "ring", "ring", "blue rings", "the sea", "sea"]
    assert merged(phrases) == {
        "blue rings": "ring", "red ring": "ring", "ring": "ring", "sea": "sea", "the sea": "sea"
    }  # fmt: skip
    assert merged(["red ring", "blue ring"]) == {"blue ring": "blue ring", "red ring": "red ring"}
    assert cosine("", "ring") == 0.0
    assert cosine("rings of fire", "fire ring") == pytest.approx(1.0)
