"""Lists in files: three formats, the same answers, and what is wrong with a file."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from snellen.core.budget import Spent
from snellen.core.errors import InputError, UnknownNameError
from snellen.models.language import listed_answers
from snellen.models.language.protocol import Message, Phrases, ask_for_phrases, picture
from snellen.models.language.references import load_language_model

JSON = '{"cat": ["whiskers", "a long tail"], "dog bowl": ["a bowl"]}'
TOML = 'cat = ["whiskers", "a long tail"]\n"dog bowl" = ["a bowl"]\n'
TEXT = "# by hand\n[cat]\nwhiskers\n\n  a long tail  \n[ dog bowl ]\na bowl\n"


def write(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return f"file:{folder / name}"


@pytest.mark.parametrize(("name", "content"), [("a.json", JSON), ("a.toml", TOML), ("a.txt", TEXT), ("A.JSON", JSON)])
def test_lists_by_key(tmp_path: Path, name: str, content: str) -> None:
    model = load_language_model(write(tmp_path, name, content))
    assert model.name == f"file:{name}"
    assert ask_for_phrases(model, "What has it?", key="cat") == ("whiskers", "a long tail")
    assert ask_for_phrases(model, "What has it?", key="dog bowl") == ("a bowl",)
    reply = model.complete("whatever", key="cat", schema=Phrases)
    assert reply.value == Phrases(items=("whiskers", "a long tail"))
    assert model.complete("whatever", key="cat").text == "whiskers\na long tail"
    assert (model.spent, reply.prompt_tokens, reply.cached) == (Spent(), 0, False)
    with pytest.raises(
        UnknownNameError, match=rf"unknown key of file:{name} 'cats'; did you mean 'cat'\? Known: cat, dog"
    ):
        model.complete("whatever", key="cats")
    with pytest.raises(InputError, match="has lists by key; say which: 'cat', 'dog bowl'"):
        model.complete("whatever")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", '["fog", "snow"]'), ("a.txt", "fog\nsnow\n"), ("b.json#all", '{"all": ["fog", "snow"]}')],
)
def test_one_list_for_all(tmp_path: Path, name: str, content: str) -> None:
    write(tmp_path, name.partition("#")[0], content)
    model = load_language_model(f"file:{tmp_path / name}")
    assert ask_for_phrases(model, "Which weather?") == ("fog", "snow")
    with pytest.raises(InputError, match="is one list, without keys; it has none for 'cat'"):
        model.complete("Which weather?", key="cat")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"concepts": {"cat": ["whiskers"]}, "sentences": {"cat": ["A cat has whiskers."]}}'),
        ("a.toml", '[concepts]\ncat = ["whiskers"]\n[sentences]\ncat = ["A cat has whiskers."]\n'),
    ],
)
def test_parts_of_a_file(tmp_path: Path, name: str, content: str) -> None:
    reference = write(tmp_path, name, content)
    model = load_language_model(f"{reference}#sentences")
    assert model.name == f"file:{name}#sentences"
    assert ask_for_phrases(model, "?", key="cat") == ("A cat has whiskers.",)
    with pytest.raises(UnknownNameError, match=rf"unknown part of {name} 'sentence'; did you mean 'sentences'"):
        load_language_model(f"{reference}#sentence")


class Parts(BaseModel):
    legs: int
    fur: bool


def test_texts_and_objects(tmp_path: Path) -> None:
    model = load_language_model(write(tmp_path, "a.json", '{"cat": {"legs": 4, "fur": true}, "dog": "It has a bowl."}'))
    assert model.complete("?", key="cat", schema=Parts).value == Parts(legs=4, fur=True)
    assert model.complete("?", key="cat").text == '{"legs": 4, "fur": true}'
    assert model.complete("?", key="dog").text == "It has a bowl."
    with pytest.raises(InputError, match=r"file:a.json: the answer for 'dog' is not a Parts: there is no JSON object"):
        model.complete("?", key="dog", schema=Parts)
    with pytest.raises(InputError, match=r"the answer for 'cat' is not a Phrases: items: is missing"):
        model.complete("?", key="cat", schema=Phrases)


def test_pictures_are_refused(tmp_path: Path) -> None:
    import torch

    model = load_language_model(write(tmp_path, "a.json", JSON))
    assert not model.sees_images
    with pytest.raises(InputError, match="answers no questions about pictures"):
        model.complete([Message("user", "?", (picture(torch.zeros(3, 2, 2)),))], key="cat")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "cannot be read as JSON"),
        ("a.json", "[" * 100_000, "cannot be read as JSON"),
        ("a.json", '{"a": ["x"], "a": ["y"]}', "the key 'a' stands there twice"),
        ("a.json", "{}", "expected lists by key, or one list; got dict"),
        ("a.json", '"text"', "expected lists by key, or one list; got str 'text'"),
        ("a.json", "[]", "the list is empty"),
        ("a.json", '{"a": []}', "the list for 'a' is empty"),
        ("a.json", '{"a": ["x", 3]}', "the list for 'a' holds 3; expected phrases"),
        ("a.json", '{"a": ["x", " "]}', "the list for 'a' holds ' '; expected phrases"),
        ("a.json", '{"a": 3}', "the list for 'a' is int 3; expected phrases"),
        ("a.json", '{"a": ""}', "the list for 'a' is str ''"),
        ("a.toml", "a = [", "cannot be read as TOML"),
        ("a.toml", 'a = ["x"]\na = ["y"]', "cannot be read as TOML"),
        ("a.txt", "\n# nothing\n", "expected lists by key, or one list; got dict"),
        ("a.txt", "[cat]\n[dog]\nx", "the list for 'cat' is empty"),
        ("a.txt", "[cat]\nx\n[cat]\ny", r"\[cat\] is a key that stands there twice"),
        ("a.txt", "[ ]\nx", r"\[ \] is no key"),
        ("a.txt", "x\n[cat]\ny", r"the line 'x' stands before the first \[key\]"),
        ("a.yaml", "a: [x]", r"lists are read from .json, .toml and .txt; got '.yaml'"),
        ("lists", "a", "got 'no ending'"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_language_model(write(tmp_path, name, content))


def test_files_that_are_not_there_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no file of lists at"):
        load_language_model(f"file:{tmp_path / 'none.json'}")
    monkeypatch.setattr(listed_answers, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="too large for lists of phrases"):
        load_language_model(write(tmp_path, "a.json", JSON))
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read as TXT"):
        load_language_model(f"file:{tmp_path / 'b.txt'}")


@pytest.mark.parametrize("reference", ["", "file", "file:", "gpt-4", "http"])
def test_references_that_are_none(reference: str) -> None:
    with pytest.raises(InputError, match="is not a language model; expected one of: http://127"):
        load_language_model(reference)


def test_unknown_kinds() -> None:
    with pytest.raises(UnknownNameError, match="unknown kind of language model 'files'; did you mean 'file'"):
        load_language_model("files:a.json")
