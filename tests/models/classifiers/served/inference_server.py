"""A server on this machine that speaks the Open Inference Protocol, version 2, and misbehaves as a test tells it."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import numpy as np

from tests.models.language.chat_server import QuietServer

WEIGHT = np.array([[4.0, 1.0, -1.0], [-2.0, 3.0, 1.0], [0.5, -1.0, 2.0]], dtype=np.float32)
TYPES = {"FP32": "<f4", "FP64": "<f8", "UINT8": "u1", "INT64": "<i8", "FP16": "<f2"}


def linear(images: np.ndarray) -> np.ndarray:
    """Images (n, 3, h, w) → logits (n, 3)."""
    return (images.astype(np.float32).mean((2, 3)) @ WEIGHT).astype(np.float32)


@dataclass(frozen=True)
class Scripted:
    """What one request gets instead of scores."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Waits before it answers, until the test is over.
    late: bool = False
    #: Promises more bytes than it sends, and hangs up.
    cut: bool = False
    #: Written before the answer, again and again, until this says that it is enough.
    before: Callable[[], bytes] | None = None


def refusal(status: int, message: str = "not now", **headers: str) -> Scripted:
    """An error in the form of the protocol."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Scripted(json.dumps({"error": message}).encode(), status, names)


@dataclass
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> dict:
        """The JSON of it."""
        return json.loads(self.body[: int(self.headers.get("inference-header-content-length", len(self.body)))])


@dataclass
class InferenceServer:
    """One model; keeps what it received."""

    network: Callable[[np.ndarray], np.ndarray] = linear
    description: dict = field(
        default_factory=lambda: {
            "name": "pets",
            "versions": ["1"],
            "platform": "test",
            "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 4, 6]}],
            "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
            "parameters": {"class_names": '["cat", "dog", "bird"]'},
        }
    )
    extensions: list[str] = field(default_factory=list)
    version: str | None = "1"
    #: Answers to requests for scores, in order; when none is left, scores.
    script: list[Scripted] = field(default_factory=list)
    #: Answers to questions for the description, likewise.
    described: list[Scripted] = field(default_factory=list)
    #: Changes each answer of scores before it is written.
    change: Callable[[dict], dict] = lambda told: told
    received: list[Received] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def reference(self) -> str:
        return f"{self.host}/v2/models/pets"

    @property
    def requested(self) -> list[Received]:
        """The requests for scores."""
        return [one for one in self.received if one.method == "POST"]

    def get(self, path: str) -> Scripted:
        if path == "/v2":
            return Scripted(json.dumps({"name": "test", "extensions": self.extensions}).encode())
        if not path.startswith("/v2/models/pets"):
            return refusal(404, f"no {path}")
        return self.described.pop(0) if self.described else Scripted(json.dumps(self.description).encode())

    def post(self, received: Received) -> Scripted:
        if self.script:
            return self.script.pop(0)
        entry = received.content["inputs"][0]
        if "data" in entry:
            array = np.array(entry["data"], dtype=TYPES[entry["datatype"]])
        else:
            content = received.body[int(received.headers["inference-header-content-length"]) :]
            assert len(content) == entry["parameters"]["binary_data_size"]
            array = np.frombuffer(content, dtype=TYPES[entry["datatype"]])
        scores = self.network(array.reshape(entry["shape"]))
        output = {**self.description["outputs"][0], "shape": list(scores.shape)}
        told = {"model_name": "pets", "outputs": [output], **({"model_version": self.version} if self.version else {})}
        if not received.content["outputs"][0].get("parameters", {}).get("binary_data"):
            output["data"] = scores.flatten().tolist()
            return Scripted(json.dumps(self.change(told)).encode())
        numbers = scores.astype(TYPES[output["datatype"]]).tobytes()
        output["parameters"] = {"binary_data_size": len(numbers)}
        head = json.dumps(self.change(told)).encode()
        return Scripted(head + numbers, headers={"Inference-Header-Content-Length": str(len(head))})


def _handler(server: InferenceServer) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # headers and body are written one after the other

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = Received(self.command, self.path, headers, body)
            server.received.append(received)
            answer = server.post(received) if self.command == "POST" else server.get(self.path)
            if answer.late:
                server.over.wait(20)
            while answer.before is not None and (line := answer.before()):
                self.wfile.write(line)
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", "Set-Cookie": "a=b", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) + 99 * answer.cut))
            self.end_headers()
            self.wfile.write(answer.body)
            self.close_connection |= answer.cut

        def do_GET(self) -> None:
            self.do_POST()

        def do_CONNECT(self) -> None:  # what asks a proxy
            self.do_POST()

        def log_message(self, *arguments: object) -> None:
            """Nothing on the terminal."""

    return Handler


@contextmanager
def inference_server(**fields: object) -> Iterator[InferenceServer]:
    server = InferenceServer(**fields)
    with QuietServer(("127.0.0.1", server.port), _handler(server)) as running:
        server.port = running.server_port
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            running.shutdown()
            thread.join()
