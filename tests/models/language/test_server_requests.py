"""Requests: what leaves this machine, what is tried again, and what each failure says."""

import json
import logging
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from snellen.core.errors import InputError, MissingExtraError, ModelError
from snellen.models.language.protocol import LanguageModel
from snellen.models.language.references import KEY_VARIABLE, load_language_model
from snellen.models.remote import retrying
from snellen.models.remote.connection import HEADERS
from tests.models.language.chat_server import Answer, ChatServer, chat, chat_server, refusal

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

SECRET = "sk-test-4711-do-not-tell"


def load(server: ChatServer, **options: object) -> LanguageModel:
    return load_language_model(server.reference, **({"backoff": 0.001, "retries": 2, "cache": False} | options))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds between attempts, which are noted instead of waited for."""
    noted: list[float] = []
    monkeypatch.setattr(retrying.time, "sleep", noted.append)
    return noted


@pytest.fixture
def other() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


# -- what leaves -------------------------------------------------------------------------------------------------------


def test_only_these_headers_leave(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://models.example/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {SECRET}\nX-Own: {SECRET}")
    load(server).complete("?")
    headers = server.received[0].headers
    assert set(headers) <= HEADERS - {"authorization"}
    assert SECRET not in json.dumps(headers)
    assert sys.version.split()[0] not in json.dumps(headers)


def test_the_key_leaves_in_one_header_and_is_reported_nowhere(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    model = load(server, cache=True)
    assert model.complete("?").text == "hello"
    headers = server.received[0].headers
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert set(headers) <= HEADERS
    assert SECRET not in json.dumps(server.received[0].body)
    for status in (401, 400, 500):
        server.answer(refusal(status, f"wrong key {SECRET}"))
        with pytest.raises((InputError, ModelError), match=r"wrong key \*\*\*") as caught:
            model.complete(str(status))
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
    files = [path for path in own_cache.rglob("*") if path.is_file()]
    assert files
    assert SECRET not in "".join(path.read_text() for path in files)
    assert SECRET not in caplog.text
    assert SECRET not in f"{model.name} {model!r} {model.spent!r}"


def test_a_variable_of_ones_own(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    load(server, key_variable="MY_KEY").complete("?")
    assert server.received[0].headers["authorization"] == f"Bearer {SECRET}"


def test_redirects_are_not_followed(server: ChatServer, other: ChatServer) -> None:
    for status in (301, 302, 307, 308):
        server.answer(Answer(b"{}", status, {"Location": f"{other.url}/chat/completions"}))
        with pytest.raises(ModelError, match=rf"sends elsewhere \({status}\), which is not followed"):
            load(server).complete("?")
    assert not other.received


def test_no_proxy_is_queried_on_the_way_to_this_machine(
    server: ChatServer, other: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert load(server).complete("?").text == "hello"
    assert not other.received


def test_a_key_does_not_travel_without_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    with pytest.raises(InputError, match=f"the key in {KEY_VARIABLE} would travel to http://models.example/v1 without"):
        load_language_model("http://models.example/v1#large", allow_remote=True)
    assert load_language_model("https://models.example/v1#large", allow_remote=True).name.endswith("#large")


def test_another_machine_is_not_reached_without_permission(server: ChatServer) -> None:
    """The address of the test's own server, behind a name that is not this machine's."""
    for host in ("models.example", "0.0.0.0", "192.168.1.7", "[2001:db8::1]"):
        with pytest.raises(InputError, match="is another machine: prompts and pictures would leave"):
            load_language_model(f"http://{host}:{server.port}/v1#small")
    assert not server.received


# -- what is tried again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_failures_that_may_pass_are_tried_again(server: ChatServer, status: int, waits: list[float]) -> None:
    server.answer(refusal(status), refusal(status), chat("at last"))
    assert load(server, backoff=0.5).complete("?").text == "at last"
    assert len(server.received) == 3
    assert waits == [0.5, 1.0]
    assert server.received[0].body == server.received[2].body


def test_a_server_may_ask_for_patience(server: ChatServer, waits: list[float]) -> None:
    asked = ("3", "0.25", "100000", "-1", "nan", "Wed, 21 Oct 2015 07:28:00 GMT")
    server.answer(*(refusal(429, retry_after=seconds) for seconds in asked), chat("at last"))
    assert load(server, backoff=0.5, retries=6).complete("?").text == "at last"
    assert waits == [3.0, 0.25, 60.0, 4.0, 8.0, 16.0]


def test_it_ends(server: ChatServer, waits: list[float]) -> None:
    server.answer(refusal(429, "too many requests"))
    with pytest.raises(ModelError, match=r"does not recover \(3 attempts\): .*too many requests"):
        load(server).complete("?")
    assert len(server.received) == 3
    with pytest.raises(ModelError, match="does not recover: "):
        load(server, retries=0).complete("?")
    assert len(server.received) == 4
    assert len(waits) == 2


def test_a_slow_reply_is_given_up(server: ChatServer) -> None:
    server.answer(Answer(b"{}", late=True))
    with pytest.raises(ModelError, match=r"did not answer within 0.3 s \(2 attempts\); raise timeout"):
        load(server, timeout=0.3, retries=1).complete("?")
    assert len(server.received) <= 2


def test_a_slow_reply_may_be_followed_by_a_quick_one(server: ChatServer) -> None:
    server.answer(Answer(b"{}", late=True), chat("quick"))
    assert load(server, timeout=1.0, retries=9).complete("?").text == "quick"


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = load_language_model(f"http://127.0.0.1:{port}/v1#small", retries=1, backoff=0.001)
    with pytest.raises(ModelError, match=r"cannot be reached \(2 attempts\): .*refused.* Is the server running\?"):
        model.complete("?")


def test_no_draw_is_taken_from_the_global_generator(server: ChatServer) -> None:
    state = random.getstate()
    server.answer(refusal(500), refusal(429), chat("at last"))
    load(server).complete("?")
    assert random.getstate() == state


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (400, InputError, "refuses the request: .*no such thing"),
        (401, InputError, f"refuses the key .*no such thing.* variable {KEY_VARIABLE}, which is not set"),
        (403, InputError, "refuses the key"),
        (404, InputError, "knows no model 'small', or no such interface"),
        (413, InputError, "refuses the request"),
        (422, InputError, "refuses the request"),
    ],
)
def test_refusals_are_reported_at_once(server: ChatServer, status: int, kind: type[Exception], message: str) -> None:
    server.answer(refusal(status, "no such thing"))
    with pytest.raises(kind, match=message):
        load(server).complete("?")
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(b"{"), "something that is no reply"),
        (Answer(b""), "something that is no reply"),
        (Answer(b"<html>Welcome</html>", content_type="text/html"), "something that is no reply: .*Welcome"),
        (Answer(b"{}"), "something that is no reply"),
        (Answer(b"[]"), "something that is no reply"),
        (Answer(b"null"), "something that is no reply"),
        (Answer(b'{"choices": []}'), "something that is no reply"),
        (Answer(b'{"choices": [{}]}'), "something that is no reply"),
        (Answer(b'{"choices": [{"message": "text"}]}'), "something that is no reply"),
        (Answer(b'{"choices": 5}'), "something that is no reply"),
        (chat(None), "gives no text: its content is None"),
        (chat(None, refusal="I may not"), "gives no text: it refuses: 'I may not'"),
    ],
)
def test_answers_that_are_no_replies(server: ChatServer, answer: Answer, message: str) -> None:
    server.answer(answer)
    with pytest.raises(ModelError, match=message):
        load(server).complete("?")
    assert len(server.received) == 1


def test_counts_that_are_none(server: ChatServer) -> None:
    body = json.loads(chat("a").body) | {"usage": {"prompt_tokens": "many", "completion_tokens": -3}}
    server.answer(Answer(json.dumps(body).encode()))
    model = load(server)
    assert model.complete("?").prompt_tokens == 0
    assert model.spent.tokens == 0


def test_errors_that_are_no_json(server: ChatServer) -> None:
    server.answer(Answer(b"<html>" + b"x" * 5000, 400, content_type="text/html"))
    with pytest.raises(InputError, match="refuses the request") as caught:
        load(server).complete("?")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": float("nan")}, {"retries": -1}, {"backoff": -0.1}])
def test_options_that_make_no_sense(server: ChatServer, options: dict) -> None:
    with pytest.raises(InputError, match="timeout > 0, retries ≥ 0 and backoff ≥ 0 are needed"):
        load(server, **options)


def test_without_the_client(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'snellen\[llm\]'"):
        load(server)
