"""The desk inside a notebook: its pages as texts without addresses, and its answers over the notebook's own channel.

The page runs in a frame of its own without an origin, which may load nothing. Its requests go through the notebook to
the kernel, and are answered here without a port: who sends messages to the kernel can run any code there anyway.
Another page in the place of ours could ask as ours does; ours are given a key, and nothing is carried on without.
"""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from snellen.desk.app import pages
from snellen.desk.desk import Desk
from snellen.desk.gatekeeping import LARGEST_BODY
from snellen.desk.rendering import STATIC, static, style_source

#: Pages that one request may lead to, one after the other; characters of an address.
_LED, _LONGEST = 4, 8_000

_STYLE = re.compile(r'<link rel="stylesheet" href="/static/([a-z.]+)\?[0-9a-f]+">')
_SCRIPT = re.compile(r'<script src="/static/([a-z.]+)\?[0-9a-f]+" defer></script>')

#: The policy that a page brings along, as a report does, and what it calls its own style and script by.
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">\n?')
_SOURCE = r"{} ('sha256-[A-Za-z0-9+/=]+')"


@dataclass(frozen=True)
class Reply:
    """What the desk answered.

    Attributes:
        status: of HTTP.
        kind: content type.
        body: of the answer; a page is complete in itself.
        address: where it comes from in the end.
    """

    status: int
    kind: str
    body: bytes
    address: str


class Embedded:
    """A desk that answers in this process.

    Args:
        desk: runs, decisions and jobs.
    """

    def __init__(self, desk: Desk) -> None:
        self._app = pages(desk)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snellen-desk")
        self._closed = False

    def close(self) -> None:
        """End its thread; later requests are refused."""
        self._closed = True
        self._thread.shutdown(wait=False)

    def ask(self, method: str, address: str, body: str = "", kind: str = "") -> Reply:
        """The answer to one request; where it leads on, that of the place where it ends.

        Args:
            method: GET or POST.
            address: path and query.
            body: of a POST. kind: its content type.
        """
        if self._closed:
            return Reply(410, "text/plain", b"this review was stopped; open another with report.review()", address)
        content = body.encode("utf-8", "replace")
        for _ in range(_LED):
            if method not in ("GET", "POST") or not address.startswith("/") or len(address) > _LONGEST:
                return Reply(400, "text/plain", b"GET and POST of an address of the desk are answered", "/")
            if len(content) > LARGEST_BODY:
                return Reply(413, "text/plain", f"a request holds at most {LARGEST_BODY:,} bytes".encode(), address)
            # A notebook has a loop of its own in this thread.
            status, headers, found = self._thread.submit(
                asyncio.run, self._call(method, address, content, kind)
            ).result()
            if status not in (302, 303, 307):
                break
            method, address, content = "GET", headers.get("location", "/"), b""
        shown = headers.get("content-type", "")
        if shown.startswith("text/html"):
            found = complete(found.decode("utf-8", "replace"), address).encode()
        return Reply(status, shown, found, address)

    async def _call(self, method: str, address: str, body: bytes, kind: str) -> tuple[int, dict[str, str], bytes]:
        path, _, query = address.partition("#")[0].partition("?")
        sent = [(b"host", b"127.0.0.1"), (b"content-type", kind.encode("latin-1", "replace"))]
        sent += [(b"accept", b"application/json")] if kind == "application/json" else []
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode("utf-8", "replace"),
            "root_path": "",
            "query_string": query.encode("utf-8", "replace"),
            "headers": sent,
            "server": ("127.0.0.1", 0),
            "client": ("127.0.0.1", 0),
        }
        messages: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            messages.append(message)

        await self._app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in messages[0]["headers"]}
        return messages[0]["status"], headers, b"".join(one.get("body", b"") for one in messages[1:])


def complete(page: str, address: str) -> str:
    """A page of the desk that needs nothing beside itself, with a policy that lets it load nothing.

    What may run is known by name: files of the desk, and what the policy of a report names. Of two policies both hold,
    and the script of the frame is in none but this one: that of the page is taken out.

    Args:
        page: as the desk serves it. address: where it comes from.
    """
    own = _POLICY.search(page)
    page = _POLICY.sub("", page, count=1)
    scripts = ["embedded.js", *_SCRIPT.findall(page)]
    page = _STYLE.sub(lambda found: f"<style>{_text(found[1])}</style>", _SCRIPT.sub("", page))
    # A script that waits for the page is one at its end; those of a page are few, and none of its words is one.
    page = page.replace("</body>", "".join(f"<script>{_text(one)}</script>" for one in scripts) + "</body>")
    styles = _sources([name for name in STATIC if name.endswith(".css")], "style-src", own)
    sources = _sources(scripts, "script-src", own)
    policy = (
        f"default-src 'none'; img-src data:; style-src {styles}; script-src {sources}; base-uri 'none'; "
        f"form-action 'none'"
    )
    page = page.replace(
        '<meta charset="utf-8">',
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">',
        1,
    )
    return page.replace(
        '<html lang="en">', f'<html lang="en" data-address="{html.escape(address)}" data-reviewer="">', 1
    )


def _sources(names: Sequence[str], directive: str, own: re.Match[str] | None) -> str:
    """What a policy calls files of the desk by, and what a page named in its own."""
    found = [style_source(_text(name)) for name in names]
    found += [] if own is None else re.findall(_SOURCE.format(directive), own[1])
    return " ".join(dict.fromkeys(found))


def _text(name: str) -> str:
    return static(name).decode() if name in STATIC else ""


def heard(embedded: Embedded, send: Callable[[dict[str, Any], list[bytes]], None], message: object) -> None:
    """Answer a message of the notebook; what is no request is left alone.

    Args:
        embedded: the desk. send: takes an answer, and its bytes. message: as it came.
    """
    if not isinstance(message, dict) or not isinstance(message.get("id"), str):
        return
    texts = {name: message.get(name) or "" for name in ("method", "address", "body", "kind")}
    if not all(isinstance(one, str) for one in texts.values()):
        return
    try:
        found = embedded.ask(**texts)
    except Exception as error:
        found = Reply(500, "text/plain", f"the desk has a fault: {type(error).__name__}".encode(), texts["address"])
    answer = {"id": message["id"], "status": found.status, "kind": found.kind, "address": found.address}
    send(answer, [found.body])
