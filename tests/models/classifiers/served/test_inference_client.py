"""Requests to a server of classifiers: what leaves this machine, what is tried again, and when it is given up."""

import hashlib
import json
import logging
import os
import socket
import sys
from types import SimpleNamespace

import pytest
import torch

from snellen.core.errors import InputError, MissingExtraError, ModelError, UnreachableError
from snellen.models.classifiers.references import load_classifier
from snellen.models.classifiers.served import inference_client
from snellen.models.classifiers.served.loading import KEY_VARIABLE
from snellen.models.classifiers.served.tensor_messages import JSON_LENGTH
from snellen.models.remote.connection import HEADERS
from snellen.models.remote.sent_log import sent_log
from tests.models.classifiers.served.inference_server import InferenceServer, Scripted, linear, refusal
from tests.models.classifiers.served.loaded import IMAGES, load
from tests.models.remote.contacted_hosts import contacted_hosts
from tests.models.remote.timers_by_hand import TimersByHand

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

SECRET = "sk-test-4711-do-not-tell"
EXPECTED = torch.from_numpy(linear(IMAGES.numpy()))


# -- what leaves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", ["true", "false"])
def test_only_these_headers_leave(server: InferenceServer, binary: str) -> None:
    load(server, f"binary={binary}")(IMAGES)
    for one in server.received:
        assert set(one.headers) <= {*HEADERS, JSON_LENGTH} - {"authorization"}
        assert one.headers["accept-encoding"] == "identity"
        assert "python" not in json.dumps(one.headers).lower()
        assert sys.version.split()[0] not in json.dumps(one.headers)


def test_the_key_leaves_in_one_header_and_is_reported_nowhere(
    server: InferenceServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, waits: list[float]
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    with sent_log() as log:
        classifier = load(server)
        classifier(IMAGES)
        for one in server.received:
            assert one.headers["authorization"] == f"Bearer {SECRET}"
            assert set(one.headers) <= {*HEADERS, JSON_LENGTH}
            assert SECRET.encode() not in one.body
        for status in (401, 403, 400, 500, 500, 500):
            server.script.append(refusal(status, f"wrong key {SECRET}"))
        for _ in range(4):
            with pytest.raises((InputError, ModelError), match=r"wrong key \*\*\*") as caught:
                classifier(IMAGES)
            assert SECRET not in str(caught.value)
            assert caught.value.__cause__ is None
    assert len(log.lines) > 6
    assert SECRET not in "".join(log.lines)
    assert SECRET not in caplog.text
    assert SECRET not in f"{classifier!r} {classifier.notes} {classifier.reference}"


def test_a_refused_key_is_reported(server: InferenceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.described = [refusal(401, "no")] * 2
    with pytest.raises(InputError, match=f"refuses the key .*{KEY_VARIABLE}, which is not set"):
        load(server)
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    with pytest.raises(InputError, match=f"{KEY_VARIABLE}, which is set"):
        load(server)


def test_a_key_does_not_travel_without_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    with pytest.raises(
        InputError, match=f"the key in {KEY_VARIABLE} would travel to http://models.example/v2/models/a "
    ):
        load_classifier("http://models.example/v2/models/a", allow_remote=["models.example"])


@pytest.mark.parametrize("key", ["line\n4711", "schlüssel4711", "tab\t4711", "nul\x004711"])
def test_a_key_that_no_header_holds_is_refused_and_not_reported(
    server: InferenceServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr("os.environ", {**os.environ, KEY_VARIABLE: key})
    with pytest.raises(InputError, match=f"the key in {KEY_VARIABLE} holds characters other than") as caught:
        load(server)
    assert "4711" not in str(caught.value)
    assert not server.received


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: InferenceServer, other: InferenceServer, status: int) -> None:
    classifier = load(server)
    server.script = [Scripted(b"{}", status, {"Location": f"{other.reference}/infer"})]
    with pytest.raises(ModelError, match=rf"sends elsewhere \({status}\), which is not followed"):
        classifier(IMAGES)
    server.described = [Scripted(b"{}", status, {"Location": other.reference})]
    with pytest.raises(ModelError, match="sends elsewhere"):
        load(server)
    assert not other.received


def test_no_proxy_is_queried_on_the_way_to_this_machine(
    server: InferenceServer, other: InferenceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert torch.equal(load(server)(IMAGES), EXPECTED)
    assert not other.received


@pytest.mark.parametrize(
    "host", ["models.example", "0.0.0.0", "192.168.1.7", "[2001:db8::1]", "localhost.", "127.0.0.1.models.example"]
)
def test_another_machine_is_refused_before_a_socket_is_opened(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with contacted_hosts() as asked, pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", lambda *arguments, **_options: opened.append(arguments))
        for scheme in ("http", "https"):
            with pytest.raises(InputError, match=r"is another machine: images would leave this one.* --allow-remote"):
                load_classifier(f"{scheme}://{host}:8000/v2/models/pets", allow_remote=["models.other", "2001:db8::2"])
    assert not asked
    assert not opened


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:8000", "is not the address of a model; write http://127.0.0.1:8000/v2/models/NAME"),
        ("http://127.0.0.1:8000/v1/models/a", "is not the address of a model"),
        ("http://127.0.0.1:8000/v2/models/", "is not the address of a model"),
        ("http://127.0.0.1:8000/v2/models/a/infer", "is not the address of a model"),
        ("http://127.0.0.1:8000/v2/models/a#b", "has no query and no fragment"),
        ("http://127.0.0.1:8000/#/v2/models/a", "has no query and no fragment"),
        ("http://me:secret@127.0.0.1/v2/models/a", "a user or password in the address of a server would be recorded"),
        (
            "http://me:secret@127.0.0.1:99999/v2/models/a",
            "'http://\\*\\*\\*@127.0.0.1:99999/v2/models/a' is not the address",
        ),
        ("http://127.0.0.1:99999/v2/models/a", "is not the address of a server"),
        ("http:", "names no model"),
    ],
)
def test_addresses_that_are_none(address: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_classifier(address)
    assert "secret" not in str(caught.value)


# -- what is tried again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_failures_that_may_pass_are_tried_again(server: InferenceServer, status: int, waits: list[float]) -> None:
    classifier = load(server, "", name="pets")
    server.script = [refusal(status), refusal(status)]
    before = len(server.requested)
    assert torch.equal(classifier(IMAGES), EXPECTED)
    assert server.requested[before].body == server.requested[before + 2].body
    assert waits == [0.001, 0.002]


def test_a_server_may_ask_for_patience(server: InferenceServer, waits: list[float]) -> None:
    classifier = load_classifier(f"{server.reference}?retries=9&backoff=0.5")
    asked = ("3", "0.25", "100000", "-1", "nan", "Wed, 21 Oct 2015 07:28:00 GMT")
    server.script = [refusal(503 if place % 2 else 429, retry_after=after) for place, after in enumerate(asked)]
    assert torch.equal(classifier(IMAGES), EXPECTED)
    assert waits == [3.0, 0.25, 60.0, 4.0, 8.0, 16.0]


def test_it_ends(server: InferenceServer, waits: list[float]) -> None:
    classifier = load(server)
    server.script = [refusal(503, "too busy")] * 3
    with pytest.raises(UnreachableError, match=r"does not recover \(3 attempts\): .*503 too busy"):
        classifier(IMAGES)
    assert not server.script
    assert len(waits) == 2
    assert torch.equal(classifier(IMAGES), EXPECTED)


def test_refusals_are_reported_at_once(server: InferenceServer, waits: list[float]) -> None:
    classifier = load(server)
    for status in (400, 404, 413, 422):
        server.script = [refusal(status, "no such thing")]
        with pytest.raises(InputError, match="no such thing"):
            classifier(IMAGES)
    assert not waits


@pytest.mark.parametrize("status", [201, 204, 206])
def test_a_success_without_scores_is_an_error(server: InferenceServer, status: int, waits: list[float]) -> None:
    classifier = load(server)
    server.script = [Scripted(b"", status)]
    with pytest.raises(ModelError, match=f"answers with status {status}, where 200 is expected"):
        classifier(IMAGES)
    assert not waits


def test_many_attempts(waits: list[float]) -> None:
    """After a thousand doublings, a power is no number any more."""
    with pytest.raises(UnreachableError, match="2001 attempts"):
        load_classifier("http://127.0.0.1:1/v2/models/pets?retries=2000")
    assert waits[-1] == 60.0


def test_an_answer_that_is_cut_off_is_requested_again(server: InferenceServer, waits: list[float]) -> None:
    classifier = load(server)
    server.script = [Scripted(b'{"outputs": ', cut=True)] * 2
    with sent_log() as log:
        assert torch.equal(classifier(IMAGES), EXPECTED)
    assert len(waits) == 2
    assert len(log.lines) == 4, "three attempts, and the question whether the model is the same"


def test_a_slow_answer_is_given_up(server: InferenceServer) -> None:
    classifier = load(server, "timeout=0.3")
    server.script = [Scripted(b"{}", late=True)] * 3
    with (
        sent_log() as log,
        pytest.raises(ModelError, match=r"did not answer within 0.3 s \(3 attempts\); raise timeout"),
    ):
        classifier(IMAGES)
    assert [json.loads(line)["status"] for line in log.lines] == [None] * 3


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" "),
        (b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n", b" "),
    ],
)
def test_an_answer_that_trickles_in_is_given_up(
    server: InferenceServer, monkeypatch: pytest.MonkeyPatch, head: bytes, piece: bytes
) -> None:
    """Each piece comes in time; the whole answer does not."""
    classifier = load_classifier(f"{server.reference}?retries=0&timeout=20")
    timers, left = TimersByHand(monkeypatch), iter([head, *[piece] * 2000, b""] if head else [*[piece] * 2000, b""])
    sent: list[bytes] = []

    def trickle() -> bytes:
        sent.append(next(left))
        if len(sent) == 4:
            timers.fire()
            server.over.wait(20)  # whatever comes after would tell the client that something is wrong
        return sent[-1]

    server.script = [Scripted(before=trickle)]
    with pytest.raises(UnreachableError, match="did not answer within 20 s; raise timeout"):
        classifier(IMAGES)
    assert timers.seconds == [20]
    assert torch.equal(classifier(IMAGES), EXPECTED), "over another connection"


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UnreachableError, match=r"cannot be reached \(2 attempts\): .*refused.* Is the server running"):
        load_classifier(f"http://127.0.0.1:{port}/v2/models/pets?retries=1&backoff=0.001")


# -- limits ------------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_too_large_is_not_read(server: InferenceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = load(server)
    monkeypatch.setattr(inference_client, "LARGEST_ANSWER", 100_000)
    server.script = [Scripted(b" " * 100_001)]
    with pytest.raises(ModelError, match="answers with more than 100000 bytes, which is too much for scores"):
        classifier(IMAGES)
    assert torch.equal(classifier(IMAGES), EXPECTED)
    server.script = [Scripted(b"x" * 10_000_000, 400)]
    with pytest.raises(InputError, match="refuses the request") as caught:
        classifier(IMAGES)
    assert len(str(caught.value)) < 600


def test_a_packed_answer_is_refused(server: InferenceServer) -> None:
    classifier = load(server)
    server.script = [Scripted(b"x", headers={"Content-Encoding": "gzip"})]
    with pytest.raises(ModelError, match="in a packed form, which was not requested"):
        classifier(IMAGES)


def test_requests_keep_to_the_rate(server: InferenceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slept = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(inference_client, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    classifier = load(server, "rate=2&batch=1")
    assert slept == [0.5] * (len(server.received) - 1)
    slept.clear()
    clock[0] += 10
    classifier(IMAGES)
    assert slept == [0.5] * 4
    clock[0] += 10
    classifier(IMAGES[:2])
    assert slept == [0.5] * 5


def test_without_the_client(server: InferenceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'snellen\[http\]'"):
        load(server)


# -- the record of what was sent ---------------------------------------------------------------------------------------


def test_each_request_is_reported_with_hashes_and_without_content(server: InferenceServer, waits: list[float]) -> None:
    classifier = load(server, "batch=3")
    server.script = [refusal(429, retry_after="1")]
    with sent_log() as log:
        classifier(IMAGES)
    told = [json.loads(line) for line in log.lines]
    assert [one["status"] for one in told] == [429, 200, 200]
    assert [one["attempt"] for one in told] == [1, 2, 1]
    assert [one["images"] for one in told] == [3, 3, 2]
    assert {one["address"] for one in told} == {f"{server.reference}/infer"}
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in IMAGES.numpy()]
    assert told[1]["sha256"] == told[0]["sha256"] == hashes[:3]
    assert told[2]["sha256"] == hashes[3:]
    assert [one["bytes"] for one in told] == [len(one.body) for one in server.requested[-3:]]
    assert all(set(one) == {"time", "address", "images", "sha256", "bytes", "attempt", "status"} for one in told)
