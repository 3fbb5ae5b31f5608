"""Where concepts come from, and what must not be among them."""

import json

import pytest

from snellen.core.errors import InputError
from snellen.models.language import listed_answers
from snellen.models.language.listed_answers import ListedAnswers
from snellen.models.language.protocol import Phrases, Reply
from snellen.systems.concept_bottleneck.concept_source import QUESTION, read_concepts
from snellen.systems.concept_bottleneck.filtering import keep_usable, stems


def reasons(phrases, **words):
    return {one.phrase: one.reason for one in keep_usable(phrases, **words)[1]}


@pytest.mark.covers("1.4")
def test_a_planted_leak_is_found_in_any_form():
    phrases = ["a Cat's ears", "CATS", "concatenated lines", "dog-like", "marker of Hospital A", "hospital beds", "fur"]
    kept, dropped = keep_usable(phrases, class_names=["cat", "dog"], confounders=["hospital A"])
    assert [phrases[place] for place in kept] == ["concatenated lines", "hospital beds", "fur"]
    told = {one.phrase: one.reason for one in dropped}
    assert told["a Cat's ears"] == told["CATS"] == "names the class 'cat'"
    assert told["dog-like"] == "names the class 'dog'"
    assert told["marker of Hospital A"] == "names the confounder 'hospital A'"


def test_names_of_several_words_and_parts():
    words = {"class_names": ["T-shirt/top", "pneumonia with effusion"]}
    found = reasons(["a t shirt", "the tops of lungs", "pneumonia", "signs of Pneumonia with effusions"], **words)
    assert set(found) == {"a t shirt", "the tops of lungs", "signs of Pneumonia with effusions"}


@pytest.mark.covers("1.4")
def test_a_name_is_found_however_it_is_written():
    words = {"class_names": ["PleuralEffusion", "x-ray", "café"], "confounders": ["siteA"]}
    leaks = [
        "signs of pleural effusions",
        "Pleural-effusion",
        "an xray film",
        "x rays",
        "cafe\u0301 chairs",
        "of site A",
    ]
    kept = ["pleural line", "effusion of the knee", "a ray", "sites abroad", "a cafeteria"]
    assert set(reasons([*leaks, *kept], **words)) == set(leaks)


@pytest.mark.covers("1.13")
def test_duplicates_and_phrases_that_say_nothing():
    found = reasons(["a long tail", "Long tails!", "the", "…", "long tail end"], class_names=["x"])
    assert reasons(["the dog’s ear", "dog ear"], class_names=["x"]) == {"dog ear": "says the same as 'the dog’s ear'"}
    assert found == {"Long tails!": "says the same as 'a long tail'", "the": "says nothing", "…": "says nothing"}


def test_stems_keep_words_that_only_look_like_plurals():
    assert stems("Pleural effusions, glasses and a mass; its bodies' focus") == (
        "pleural", "effusion", "glass", "and", "a", "mass", "its", "body", "focus",
    )  # fmt: skip


def test_lists_by_question_are_answers_and_lists_by_class_are_not(tmp_path):
    lists = {"texture": ["striped", "plain"], "shape": ["round", "pointed"]}
    path = tmp_path / "concepts.json"
    path.write_text(json.dumps(lists))
    found = read_concepts(listed_answers.load(str(path)), ["good", "bad"])
    assert found.phrases == ("striped", "plain", "round", "pointed")
    assert found.questions == ("texture", "texture", "shape", "shape")
    by_class = ListedAnswers({"good": ["striped", "round"], "bad": ["round", "plain"]}, name="lists")
    merged = read_concepts(by_class, ["good", "bad"])
    assert merged.phrases == ("striped", "round", "plain")
    assert merged.questions == ()
    assert [one.reason for one in merged.dropped] == ["says the same as 'round'"]
    assert read_concepts(ListedAnswers(["striped"], name="one"), ["good", "bad"]).questions == ()


@pytest.mark.covers("1.13")
def test_a_list_of_which_nothing_is_left_is_refused_with_reasons():
    with pytest.raises(InputError, match=r"no concept that can be used: 'good cats' names the class 'cat'"):
        read_concepts(ListedAnswers(["good cats"], name="lists"), ["cat", "dog"])


class Model:
    """A language model that answers every question with the same list, and keeps what it was asked."""

    name, sees_images = "model", False

    def __init__(self, items):
        self.items, self.requested = items, []

    def complete(self, prompt, *, key=None, schema=None, **_options):
        self.requested.append((prompt, key))
        return Reply(text="", value=Phrases(items=self.items[key]))


def test_a_language_model_is_queried_for_each_class_by_its_name_and_the_others():
    model = Model({"opacity": ("white area", "blurred edge"), "effusion": ("White areas", "blunt angle", "opacity")})
    found = read_concepts(model, ["opacity", "effusion"], modality="chest X-ray", count=7)
    assert found.phrases == ("white area", "blurred edge", "blunt angle")
    assert found.questions == ()
    assert [key for _, key in model.requested] == ["opacity", "effusion"]
    assert model.requested[0][0] == QUESTION.format(
        modality="chest X-ray", name="opacity", others="'effusion'", count=7
    )
    assert "At most 7." in model.requested[1][0]
    assert {one.phrase for one in found.dropped} == {"White areas", "opacity"}
