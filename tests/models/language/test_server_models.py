"""A language model on a server: what is sent, what is kept, what it costs, and when it stops."""

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel, Field, model_validator

from snellen.core.budget import Budget, Spent
from snellen.core.errors import InputError, ModelError
from snellen.models.language.protocol import BudgetSpentError, Message, UnusableReplyError, picture
from snellen.models.language.references import load_language_model
from snellen.models.language.server_models import ServerLanguageModel
from snellen.models.language.token_account import Prices
from tests.models.language.chat_server import ChatServer, chat

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


class Colour(BaseModel):
    name: str
    red: int = Field(ge=0, le=255)


RED = '{"name": "red", "red": 255}'


def load(server: ChatServer, **options: object) -> ServerLanguageModel:
    loaded = load_language_model(server.reference, **({"backoff": 0.001} | options))
    assert isinstance(loaded, ServerLanguageModel)
    return loaded


# -- questions and replies ---------------------------------------------------------------------------------------------


def test_a_question_and_its_reply(server: ChatServer) -> None:
    server.answer(chat("A cat."))
    model = load(server)
    reply = model.complete("What is it?", max_tokens=20, temperature=0.5, sample=3)
    (received,) = server.received
    assert (received.method, received.path) == ("POST", "/v1/chat/completions")
    assert received.body == {
        "model": "small",
        "messages": [{"role": "user", "content": "What is it?"}],
        "max_tokens": 20,
        "temperature": 0.5,
        "seed": 3,
    }
    assert (reply.text, reply.value, reply.cached, reply.repaired, reply.finish) == (
        "A cat.",
        None,
        False,
        False,
        "stop",
    )
    assert (reply.prompt_tokens, reply.completion_tokens) == (7, 3)
    assert model.name == server.reference


def test_conversations_pictures_and_names_of_limits(server: ChatServer) -> None:
    image = torch.linspace(0, 1, 48).reshape(3, 4, 4)
    model = load(server, token_limit="max_completion_tokens")
    model.complete(
        [Message("system", "Be short."), Message("user", "What is it?", (picture(image),))], temperature=None
    )
    body = server.received[0].body
    assert "temperature" not in body
    assert body["max_completion_tokens"] == 512
    assert body["messages"][0] == {"role": "system", "content": "Be short."}
    words, pixels = body["messages"][1]["content"]
    assert words == {"type": "text", "text": "What is it?"}
    assert base64.b64decode(pixels["image_url"]["url"].removeprefix("data:image/png;base64,")) == picture(image)


def test_pictures_for_a_model_that_sees_none(server: ChatServer) -> None:
    with pytest.raises(InputError, match="sees no pictures"):
        load(server, sees_images=False).complete([Message("user", "?", (picture(torch.zeros(3, 2, 2)),))])
    with pytest.raises(InputError, match="is no PNG file"):
        load(server).complete([Message("user", "?", (b"GIF89a",))])
    assert not server.received


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (" ", {}, "the last message is empty"),
        ([], {}, "a text or a sequence of messages"),
        (["text"], {}, "a text or a sequence of messages"),
        ("a\ud800", {}, "characters that are none"),
        ("a", {"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
    ],
)
def test_prompts_that_cannot_be_sent(server: ChatServer, prompt: object, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(server).complete(prompt, **options)
    assert not server.received


# -- replies of a given form -------------------------------------------------------------------------------------------


def test_a_reply_of_the_form_that_was_requested(server: ChatServer) -> None:
    server.answer(chat(f"Sure!\n```json\n{RED}\n```"))
    reply = load(server).complete("A colour?", schema=Colour)
    assert reply.value == Colour(name="red", red=255)
    assert not reply.repaired
    asked = server.received[0].body["messages"][0]["content"]
    assert asked.startswith("A colour?\n\nReply with JSON alone")
    assert json.loads(asked.partition("schema:\n")[2]) == Colour.model_json_schema()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('{"name": "red"}', "red: is missing"),
        ('{"name": "red", "red": 256}', "red: expected at most 255"),
        ('{"name": "red", "red": ', "no valid JSON"),
        ("It is red.", "there is no JSON object in it"),
    ],
)
def test_another_form_is_sent_back_once(server: ChatServer, wrong: str, told: str) -> None:
    server.answer(chat(wrong, usage=(10, 1)), chat(RED, usage=(20, 2)))
    model = load(server)
    reply = model.complete("A colour?", schema=Colour)
    assert reply.value == Colour(name="red", red=255)
    assert (reply.text, reply.repaired) == (RED, True)
    assert (reply.prompt_tokens, reply.completion_tokens) == (30, 3)
    first, second = (received.body["messages"] for received in server.received)
    assert second[:1] == first
    assert second[1] == {"role": "assistant", "content": wrong}
    assert told in second[2]["content"]
    assert model.usage.calls == 2


def test_a_second_reply_of_another_form_is_an_error_that_shows_both(server: ChatServer, own_cache: Path) -> None:
    server.answer(chat("red"), chat('{"name": 1}' + " " * 400, finish="length"))
    model = load(server)
    with pytest.raises(UnusableReplyError, match="twice no Colour") as caught:
        model.complete("A colour?", schema=Colour)
    for part in ("First came 'red'", """then '{"name": 1}""", "…'", "red: is missing", "raise max_tokens"):
        assert part in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert isinstance(caught.value, ModelError)
    assert len(server.received) == 2
    assert not list(own_cache.rglob("*.json")), "a reply that is of no use is not kept"


# -- replies that are kept ---------------------------------------------------------------------------------------------


def test_the_same_question_is_sent_once(server: ChatServer) -> None:
    server.answer(chat(RED, usage=(40, 2)))
    model = load(server)
    first = model.complete("A colour?", schema=Colour)
    again, anew = model.complete("A colour?", schema=Colour), load(server).complete("A colour?", schema=Colour)
    assert len(server.received) == 1
    for kept in (again, anew):
        assert (kept.text, kept.value, kept.finish, kept.cached) == (first.text, first.value, first.finish, True)
        assert (kept.prompt_tokens, kept.completion_tokens) == (0, 0), "nothing was sent for it"
    assert (model.usage.calls, model.usage.cache_hits) == (1, 1)
    assert model.spent.tokens == 42


class Shade(Colour):
    """The same form, under another name."""


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.complete("Two colours?", schema=Colour),
        lambda model: model.complete("A colour?"),
        lambda model: model.complete("A colour?", schema=Shade),
        lambda model: model.complete("A colour?", schema=Colour, max_tokens=99),
        lambda model: model.complete("A colour?", schema=Colour, temperature=1.0),
        lambda model: model.complete("A colour?", schema=Colour, temperature=None),
        lambda model: model.complete("A colour?", schema=Colour, sample=1),
        lambda model: model.complete([Message("system", "A colour?")], schema=Colour),
        lambda model: model.complete([Message("user", "A colour?", (picture(torch.zeros(3, 2, 2)),))], schema=Colour),
    ],
)
def test_whatever_could_change_the_reply_asks_anew(server: ChatServer, change: Callable) -> None:
    server.answer(chat(RED))
    model = load(server)
    model.complete("A colour?", schema=Colour)
    assert not change(model).cached
    assert change(model).cached
    assert len(server.received) == 2


def test_other_models_and_servers_ask_anew(server: ChatServer) -> None:
    load(server).complete("A colour?")
    for reference in (f"{server.url}#large", f"{server.url}/more#small"):
        assert not load_language_model(reference).complete("A colour?").cached


def test_pictures_ask_anew_when_a_pixel_changes(server: ChatServer) -> None:
    model = load(server)
    for value, cached in ((0.0, False), (0.0, True), (0.1, False)):
        image = torch.zeros(3, 2, 2)
        image[0, 0, 0] = value
        assert model.complete([Message("user", "?", (picture(image),))]).cached is cached


def entry(folder: Path) -> Path:
    (path,) = (folder / "language").rglob("*.json")
    return path


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:40]),
        lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
        lambda path: path.write_text("[1]"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text(path.read_text().replace("hello", "hallo")),
        lambda path: path.write_text(path.read_text().replace(path.stem, "0" * 64)),
        lambda path: path.write_text(path.read_text().replace('"format": 1', '"format": 0')),
    ],
)
def test_damaged_entries_are_requested_anew_and_mended(
    server: ChatServer, own_cache: Path, damage: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    load(server).complete("A colour?")
    whole = entry(own_cache).read_bytes()
    damage(entry(own_cache))
    again = load(server).complete("A colour?")
    assert (again.text, again.cached) == ("hello", False)
    assert f"{entry(own_cache)} is not used" in caplog.text
    assert entry(own_cache).read_bytes() == whole
    assert load(server).complete("A colour?").cached


def test_a_kept_reply_that_fails_a_check_of_the_schema_is_requested_anew(server: ChatServer) -> None:
    class Strict(BaseModel):
        name: str

        @model_validator(mode="after")
        def _checked(self) -> "Strict":
            if refused:
                raise ValueError("not this one")
            return self

    refused: list[bool] = []
    server.answer(chat('{"name": "a"}'))
    model = load(server)
    model.complete("?", schema=Strict)
    refused.append(True)
    with pytest.raises(UnusableReplyError, match="not this one"):
        model.complete("?", schema=Strict)
    assert len(server.received) == 3


def test_files_hold_neither_questions_nor_pictures(server: ChatServer, own_cache: Path) -> None:
    image = picture(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)))
    load(server).complete([Message("system", "Patient Zebulon"), Message("user", "findings?", (image,))])
    files = [path for path in own_cache.rglob("*") if path.is_file()]
    assert files == [entry(own_cache)], "no file is left half written"
    content = files[0].read_text()
    for secret in ("Zebulon", "findings", base64.b64encode(image).decode()[:20]):
        assert secret not in content
    assert json.loads(content)["text"] == "hello"


def test_without_a_cache_each_question_is_sent(server: ChatServer, own_cache: Path, tmp_path: Path) -> None:
    model = load(server, cache=False)
    assert not model.complete("?").cached
    assert not model.complete("?").cached
    assert not own_cache.exists()
    load(server, cache=tmp_path / "mine").complete("?")
    assert list((tmp_path / "mine").rglob("*.json"))
    assert not own_cache.exists()


def test_a_disk_that_takes_nothing_costs_no_reply(
    server: ChatServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert load(server, cache=tmp_path / "file").complete("?").text == "hello"
    assert "a reply cannot be kept" in caplog.text


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_tokens_calls_and_prices_add_up(server: ChatServer) -> None:
    server.answer(chat("a", usage=(100, 10)), chat("b", usage=(200, 20)), chat("c", usage=(300, 30)))
    model = load(server)
    for question in ("1", "2", "3", "2"):
        model.complete(question)
    usage = model.usage
    assert (usage.calls, usage.cache_hits, usage.prompt_tokens, usage.completion_tokens) == (3, 1, 600, 60)
    assert usage.uncounted == 0
    assert usage.seconds > 0
    assert model.spent == Spent(tokens=660, seconds=usage.seconds)
    assert usage.cost(Prices(prompt=2.0, completion=10.0)) == pytest.approx((600 * 2 + 60 * 10) / 1e6)


def test_a_budget_of_tokens_stops_the_next_request(server: ChatServer) -> None:
    server.answer(chat("a", usage=(50, 10)))
    model = load(server, budget=Budget(tokens=100))
    model.complete("1")
    model.complete("2")  # what a reply costs is not known before: 120 now
    with pytest.raises(BudgetSpentError, match=r"the budget is used up \(tokens: 120 spent, 100 allowed\)"):
        model.complete("3")
    assert len(server.received) == 2
    assert model.complete("1").cached, "what is kept costs nothing"
    exact = load(server, budget=Budget(tokens=60), cache=False)
    exact.complete("1")
    with pytest.raises(BudgetSpentError, match="tokens: 60 spent, 60 allowed"):
        exact.complete("2")
    with pytest.raises(BudgetSpentError, match="tokens: 0 spent, 0 allowed"):
        load(server, budget=Budget(tokens=0), cache=False).complete("1")
    with pytest.raises(BudgetSpentError, match=r"seconds: 0\.0 spent, 0\.0 allowed"):
        load(server, budget=Budget(seconds=0), cache=False).complete("1")
    assert load(server, budget=Budget(queries=0), cache=False).complete("1").text == "a"


def test_a_budget_stops_repairs_too(server: ChatServer) -> None:
    server.answer(chat("no JSON", usage=(50, 10)), chat(RED))
    with pytest.raises(BudgetSpentError, match="60 spent, 30 allowed"):
        load(server, budget=Budget(tokens=30)).complete("?", schema=Colour)
    assert len(server.received) == 1


def test_servers_that_count_no_tokens(server: ChatServer) -> None:
    server.answer(chat("a", usage=None))
    model = load(server)
    reply = model.complete("?")
    assert (reply.prompt_tokens, reply.completion_tokens) == (0, 0)
    assert (model.usage.calls, model.usage.uncounted) == (1, 1)
    with pytest.raises(ModelError, match="does not count the tokens it used, so that a budget of tokens cannot"):
        load(server, cache=False, budget=Budget(tokens=10)).complete("?")


# -- what is logged ----------------------------------------------------------------------------------------------------


def test_each_request_is_logged_without_its_content(server: ChatServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.answer(chat("Leonid"), chat(RED))
    load(server).complete("Patient Zebulon", schema=Colour)
    lines = [record for record in caplog.records if record.name == "snellen.models.language.server_requests"]
    assert len(lines) == 2
    for line in lines:
        assert line.levelno == logging.INFO
        assert f"sent to {server.url}: " in line.getMessage()
        assert " bytes, sha256 " in line.getMessage()
    assert "Zebulon" not in caplog.text
    assert "Leonid" not in caplog.text
