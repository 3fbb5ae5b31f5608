"""A server on this machine that speaks the interface of OpenAI, and answers as a test tells it."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """What one request gets: a status, headers, and a body as it is."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    #: Waits before it answers, until the test is over.
    late: bool = False


def chat(
    text: str | None, *, usage: tuple[int, int] | None = (7, 3), finish: str = "stop", **message: object
) -> Answer:
    """A reply in the form of the interface, with the tokens that were used."""
    body: dict = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "small",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        ],
    }
    if usage is not None:
        sent, came = usage
        body["usage"] = {"prompt_tokens": sent, "completion_tokens": came, "total_tokens": sent + came}
    return Answer(json.dumps(body).encode())


def refusal(status: int, message: str = "not now", **headers: str) -> Answer:
    """An error in the form of the interface."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(json.dumps({"error": {"message": message}}).encode(), status, names)


@dataclass
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict


@dataclass
class ChatServer:
    """Answers in order, the last one again and again; keeps what it received."""

    port: int = 0
    answers: list[Answer] = field(default_factory=lambda: [chat("hello")])
    received: list[Received] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def reference(self) -> str:
        return f"{self.url}#small"

    def answer(self, *answers: Answer) -> None:
        self.answers[:] = answers

    def next(self, received: Received) -> Answer:
        self.received.append(received)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer would look its own name up
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up waiting is no error here."""


def _handler(chats: ChatServer) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = chats.next(Received(self.command, self.path, headers, json.loads(content or b"{}")))
            if answer.late:
                chats.over.wait(20)
            self.send_response(answer.status)
            for name, value in {"Content-Type": answer.content_type, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def do_GET(self) -> None:  # what follows a redirect
            self.do_POST()

        def do_CONNECT(self) -> None:  # what asks a proxy
            self.do_POST()

        def log_message(self, *arguments: object) -> None:
            """Nothing on the terminal."""

    return Handler


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    chats = ChatServer()
    with QuietServer(("127.0.0.1", 0), _handler(chats)) as server:
        chats.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield chats
        finally:
            chats.over.set()
            server.shutdown()
            thread.join()
