"""Clarifying questions: asked once, answered one by one, resumed, and read by whatever defines the concept."""

import json

import pytest

from snellen.core.errors import InputError
from snellen.models.language.clarifying import Clarification, clarify
from snellen.models.language.listed_answers import ListedAnswers
from snellen.models.language.protocol import UnusableReplyError
from tests.models.language.scripted_replies import ScriptedReplies

REPLY = json.dumps({"items": ["Does sand count?", "And toys?", "And drawings?"]})


def asking(answers):
    left = list(answers)
    seen = []

    def answer(question):
        seen.append(question)
        return left.pop(0)

    return answer, seen


def test_answers_join_the_description_and_open_questions_do_not(tmp_path):
    model = ScriptedReplies([REPLY])
    answer, seen = asking(["no, never", "", " only red ones "])
    found = clarify("star", "a star", model, answer, most=5, kept=tmp_path / "kept.json")
    assert seen == ["1 of 3: Does sand count?", "2 of 3: And toys?", "3 of 3: And drawings?"]
    assert found.clarified.splitlines() == [
        "a star",
        'To "Does sand count?" its owner answers "no, never".',
        'To "And drawings?" its owner answers "only red ones".',
    ]
    (prompt,) = model.requested
    assert "'star'" not in prompt[0].text
    assert '"star", described as "a star"' in prompt[0].text
    assert "at most 5 questions" in prompt[0].text


def test_no_more_questions_are_asked_than_wanted(tmp_path):
    answer, seen = asking(["no", "no"])
    clarify("star", "a star", ScriptedReplies([REPLY]), answer, most=2, kept=tmp_path / "kept.json")
    assert len(seen) == 2


def test_it_resumes_behind_the_last_answer_without_asking_the_model_again(tmp_path):
    model, kept = ScriptedReplies([REPLY]), tmp_path / "kept.json"
    answer, _ = asking(["no", None])
    assert clarify("star", "a star", model, answer, most=3, kept=kept) is None
    assert [one.answer for one in Clarification.model_validate_json(kept.read_bytes()).exchanges] == ["no", None, None]
    answer, seen = asking(["yes", "no"])
    found = clarify("star", "a star", model, answer, most=3, kept=kept)
    assert seen == ["2 of 3: And toys?", "3 of 3: And drawings?"]
    answer, seen = asking([])
    assert clarify("star", "a star", model, answer, most=3, kept=kept) == found
    assert (seen, len(model.requested)) == ([], 1)


@pytest.mark.parametrize(
    ("refused", "fault"), [("x" * 501, "at most 500 letters, got 501"), ("sand \udcff", "text in UTF-8")]
)
def test_an_answer_that_cannot_be_kept_is_refused_and_those_before_it_stay(tmp_path, refused, fault):
    kept = tmp_path / "kept.json"
    answer, _ = asking(["no", refused])
    with pytest.raises(InputError, match=fault):
        clarify("star", "a star", ScriptedReplies([REPLY]), answer, most=3, kept=kept)
    assert [one.answer for one in Clarification.model_validate_json(kept.read_bytes()).exchanges] == ["no", None, None]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "questions about another concept"),
        (b"{}", "holds no questions about a concept"),
        (b"\xff", "holds no questions about a concept"),
    ],
)
def test_a_file_of_something_else_is_neither_used_nor_overwritten(tmp_path, content, fault):
    kept = tmp_path / "kept.json"
    if content is None:
        clarify("heart", "a heart", ScriptedReplies([REPLY]), lambda _: "", most=3, kept=kept)
    else:
        kept.write_bytes(content)
    before = kept.read_bytes()
    with pytest.raises(InputError, match=fault):
        clarify("star", "a star", ScriptedReplies([REPLY]), lambda _: "", most=3, kept=kept)
    assert kept.read_bytes() == before


@pytest.mark.parametrize("place", ["folder", "file/kept.json", "file/below/kept.json"])
def test_a_place_where_no_file_can_be_is_refused_before_the_model_is_asked(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"mine")
    model = ScriptedReplies([REPLY])
    with pytest.raises(InputError, match=r"is no file|is a file"):
        clarify("star", "a star", model, lambda _: "", most=3, kept=tmp_path / place)
    assert model.requested == []


def test_a_description_or_a_question_that_is_not_text_is_refused(tmp_path):
    kept, model = tmp_path / "kept.json", ScriptedReplies([REPLY])
    with pytest.raises(InputError, match="text in UTF-8"):
        clarify("star", "a star \udcff", model, lambda _: "", most=3, kept=kept)
    assert model.requested == []
    with pytest.raises(UnusableReplyError, match="characters that are none"):
        clarify("star", "a star", ListedAnswers({"clarifying": ["\udcff?"]}, name="x"), lambda _: "", most=3, kept=kept)
    assert not kept.exists()


@pytest.mark.parametrize("most", [0, 11])
def test_a_number_of_questions_that_cannot_be(tmp_path, most):
    with pytest.raises(InputError, match="1 to 10 questions"):
        clarify("star", "a star", ScriptedReplies([]), lambda _: "", most=most, kept=tmp_path / "kept.json")


def test_a_list_in_a_file_has_its_own_questions(tmp_path):
    lists = ListedAnswers({"clarifying": ["Does sand count?"]}, name="file:lists.toml")
    found = clarify("star", "a star", lists, lambda _: "no", most=3, kept=tmp_path / "kept.json")
    assert (found.model, found.tokens, len(found.exchanges)) == ("file:lists.toml", 0, 1)
