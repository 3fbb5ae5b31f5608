"""Definitions: written strictly, corrected in their text, and one atomic question for each condition."""

import json

import pytest

from snellen.core.budget import Spent
from snellen.core.errors import InputError
from snellen.models.language.listed_answers import ListedAnswers
from snellen.models.language.protocol import Reply, UnusableReplyError, WrongFormError, read_form
from snellen.reproduction.language_model_annotation.materials import RuleInterpreter
from snellen.systems.language_model_annotation.conversation import Conversation
from snellen.systems.language_model_annotation.definition import (
    Definition,
    checked,
    correct,
    read_concept,
    specify,
)
from snellen.systems.language_model_annotation.ledger import Cost, Limits, Store
from snellen.systems.language_model_annotation.questions import write_questions

STAR = Definition(
    name="warm star",
    description="must: shape is star; any: colour is red; any: colour is yellow; never: background is sand",
)


class Scripted:
    """A language model that gives replies in turn, as a server would: parsed, or of no use."""

    name, sees_images, spent = "scripted", False, Spent()

    def __init__(self, *replies):
        self.replies, self.prompts = list(replies), []

    def complete(self, prompt, *, key=None, schema=None, max_tokens=512, temperature=0.0, sample=0):
        self.prompts.append(prompt)
        text = self.replies.pop(0)
        try:
            return Reply(text, read_form(text, schema), prompt_tokens=10, completion_tokens=5)
        except WrongFormError as error:
            raise UnusableReplyError(str(error)) from error


def talk(model=None, store=None):
    return Conversation(model or RuleInterpreter(), store or Store())


def test_a_language_model_turns_name_and_description_into_conditions():
    found = specify(STAR, talk())
    assert found.necessary == ("shape is star",)
    assert found.positive == ("colour is red", "colour is yellow")
    assert found.negative == ("background is sand",)
    assert (found.name, found.description) == (STAR.name, STAR.description)
    assert [one.id for one in found.conditions] == ["necessary 1", "negative 1", "positive 1", "positive 2"]


def test_conditions_that_the_owner_wrote_or_edited_stay_and_cost_nothing(tmp_path):
    written = specify(STAR, talk())
    path = tmp_path / "concept.toml"
    path.write_text(written.to_toml(), encoding="utf-8")
    conversation = talk(Scripted())
    assert specify(read_concept(path), conversation) == written
    assert conversation.spent == Cost()
    path.write_text(written.to_toml().replace("sand", "grass"), encoding="utf-8")
    assert read_concept(path).negative == ("background is grass",)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ('{"necessary": ["a"], "verdict": "yes"}', "verdict"),
        ('{"necessary": "a star"}', "necessary"),
        ('{"necessary": [""]}', "1 to 300 letters"),
        ('{"positive": []}', "neither a necessary condition nor a positive cue"),
        ('{"necessary": ["Red"], "negative": ["red"]}', "contradicts itself"),
        (json.dumps({"necessary": [f"c{n}" for n in range(13)]}), "at most 12"),
    ],
)
def test_a_definition_is_parsed_strictly(reply, fault):
    with pytest.raises(UnusableReplyError, match=fault):
        specify(STAR, talk(Scripted(reply, reply, reply)))


def test_a_reply_that_cannot_be_used_is_repaired_and_both_requests_are_counted():
    model = Scripted('{"necessary": ["red"], "negative": ["red"]}', '{"necessary": ["red"]}')
    conversation = talk(model)
    assert specify(STAR, conversation).necessary == ("red",)
    assert "contradicts itself" in model.prompts[1][-1].text
    assert conversation.spent == Cost(texts=2, tokens=30)


def test_a_reply_that_was_paid_for_is_kept_with_its_cost(tmp_path):
    store = Store(tmp_path / "store.sqlite")
    first = talk(Scripted('{"necessary": ["red"]}'), store)
    specify(STAR, first)
    again = talk(Scripted(), Store(tmp_path / "store.sqlite"))
    assert specify(STAR, again).necessary == ("red",)
    assert again.spent == first.spent == Cost(texts=1, tokens=15)


def test_a_list_that_was_edited_is_read_again():
    store = Store()
    for colour in ("red", "blue"):
        listed = ListedAnswers({"definition": {"necessary": [colour]}}, name="file:mine.toml")
        assert specify(STAR, talk(listed, store)).necessary == (colour,)


@pytest.mark.parametrize(
    ("concept", "fault"),
    [
        ({"name": "star", "description": " "}, "name and a description"),
        ("", "name and a description"),
        ({"name": "star"}, "description"),
        ({"name": "star", "description": "a star", "never": ["sand"]}, "never"),
    ],
)
def test_a_concept_that_says_nothing_is_refused(concept, fault):
    with pytest.raises(InputError, match=fault):
        read_concept(concept)


@pytest.mark.parametrize("text", ['name = "a', '["name"]', "name = 3"])
def test_files_of_concepts_that_cannot_be_read(tmp_path, text):
    path = tmp_path / "concept.toml"
    with pytest.raises(InputError, match="no file"):
        read_concept(path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"concept\.toml"):
        read_concept(path)


def test_contradicting_cues_of_an_owner_are_refused():
    with pytest.raises(InputError, match="contradicts itself: 'red'"):
        checked(Definition(name="a", description="b", positive=("Red",), negative=("red",)))


# -- corrections ---------------------------------------------------------------------------------------------------


@pytest.mark.covers("18.10")
def test_a_correction_changes_the_text_and_the_hash():
    prior = specify(STAR.model_copy(update={"description": "must: shape is star"}), talk())
    assert prior.negative == ()
    after = correct(prior, "never: background is sand", talk())
    assert after.negative == ("background is sand",)
    assert after.necessary == prior.necessary
    assert after.corrections == ("never: background is sand",)
    assert after.hash != prior.hash
    with pytest.raises(InputError, match="empty one"):
        correct(after, " ", talk())


def test_a_text_without_a_description_behind_its_colon_is_refused():
    for text in ("tuna:", "tuna:  ", ": tuna"):
        with pytest.raises(InputError, match="a name and a description in words, and one of them is empty"):
            read_concept(text)
    assert read_concept("tuna").description == "tuna"


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "store").write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match="cannot be used to keep labels"):
        Store(tmp_path / "store")


def test_limits_count_all_calls():
    spent = Cost(captions=2, questions=6, judgements=1, texts=1, tokens=99)
    assert spent.calls == 10
    assert Limits(calls=13).allow(spent, Cost(captions=1, questions=2))
    assert not Limits(calls=12).allow(spent, Cost(captions=1, questions=2))
    assert Limits(tokens=100).allow(spent, Cost())
    assert not Limits(tokens=99).allow(spent, Cost())


# -- questions -----------------------------------------------------------------------------------------------------


@pytest.mark.covers("18.2")
def test_there_is_one_question_for_each_condition_and_none_about_the_concept():
    definition = specify(STAR, talk())
    questions = write_questions(definition, talk())
    assert [one.condition for one in questions] == [one.id for one in definition.conditions]
    assert [one.question for one in questions] == [
        "Is the shape star?",
        "Is the background sand?",
        "Is the colour red?",
        "Is the colour yellow?",
    ]
    assert not any(definition.name in one.question for one in questions)


@pytest.mark.covers("18.2")
def test_a_list_of_questions_that_leaves_a_condition_out_is_refused():
    definition = specify(STAR, talk())
    two = [{"condition": name, "question": "Is it?"} for name in ("necessary 1", "positive 1")]
    whole = [*two, {"condition": "concept", "question": "Is it a warm star?"}]
    for questions in (two, whole, [*two, *two]):
        listed = ListedAnswers({"questions": {"questions": questions}}, name="file:mine.toml")
        with pytest.raises(UnusableReplyError, match="exactly one question is needed for each of necessary 1"):
            write_questions(definition, talk(listed))
