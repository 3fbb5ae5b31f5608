"""JSON in replies: where it stands, whether it fits, and lists of phrases."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel

from snellen.models.language.protocol import (
    LanguageModel,
    Message,
    UnusableReplyError,
    WrongFormError,
    ask_for_phrases,
    read_form,
    repair,
    with_form,
)
from snellen.models.remote.connection import shown
from tests.models.language.scripted_replies import ScriptedReplies


class Named(BaseModel):
    name: str


class Names(RootModel[list[str]]):
    pass


@given(st.text(alphabet=st.characters(exclude_characters="{[", exclude_categories=["Cs"])), st.text(), st.text())
def test_json_is_found_among_words(before: str, name: str, after: str) -> None:
    for indent in (None, 2):
        text = before + json.dumps({"name": name}, indent=indent) + after
        if "</think>" not in after and "</think>" not in name:
            assert read_form(text, Named) == Named(name=name)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "red"}',
        '```json\n{"name": "red"}\n```',
        '[1] says {it}: {"name": "red"} and {"name": "blue"}',
        '<think>{"name": "blue"} or not?</think>\n{"name": "red"}',
    ],
)
def test_the_first_object_after_the_thoughts_counts(text: str) -> None:
    assert read_form(text, Named) == Named(name="red")


def test_lists_are_read_where_the_form_is_a_list() -> None:
    assert read_form('Here: ["a", "b"].', Names).root == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no JSON object in it"),
        ("red", "there is no JSON object in it"),
        ('["red"]', "there is no JSON object in it"),
        ('{"name": red}', "no valid JSON: Expecting value"),
        ('{"name": NaN}', "NaN is not JSON"),
        ('{"name": 3}', "name: expected text"),
        ('{"nom": "red"}', "name: is missing"),
        ("{" * 5000, "no valid JSON"),
        ('{"name":' * 5000, "no valid JSON"),
    ],
)
def test_what_does_not_fit(text: str, message: str) -> None:
    with pytest.raises(WrongFormError, match=message):
        read_form(text, Named)


def test_only_the_last_message_asks_for_the_form() -> None:
    messages = (Message("system", "Be short."), Message("user", "A name?", (b"png",)))
    asked = with_form(messages, Named)
    assert asked[0] == messages[0]
    assert asked[1].images == (b"png",)
    assert json.loads(asked[1].text.partition("schema:\n")[2]) == Named.model_json_schema()
    mended = repair(asked, "red", WrongFormError("no JSON"))
    assert mended[:3] == (*asked, Message("assistant", "red"))
    assert "no JSON" in mended[3].text


def test_long_replies_are_cut_in_messages() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 5000)) < 310


def test_phrases_are_trimmed_and_listed_once() -> None:
    model: LanguageModel = ScriptedReplies(['{"items": [" a tail ", "", "fur", "a tail"]}'])
    assert ask_for_phrases(model, "What has a cat?", key="cat") == ("a tail", "fur")
    assert model.requested == [(Message("user", "What has a cat?"),)]


def test_empty_lists_are_errors() -> None:
    with pytest.raises(UnusableReplyError, match="scripted: the list for 'cat' is empty"):
        ask_for_phrases(ScriptedReplies(['{"items": [" "]}']), "?", key="cat")
