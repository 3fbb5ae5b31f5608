"""Who may speak to the desk: this machine, by its own name, with the token, from the desk's own pages."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Bytes of a request's body: a form, or a decision.
LARGEST_BODY = 65_536

#: What the first link carries.
TOKEN = "token"  # noqa: S105 - the name of a parameter

#: Headers of every answer. Pages that need more name their own policy.
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)

#: A page of the desk itself leads on: a cookie that is sent to its own site alone is not sent after a link elsewhere.
_ENTERED = (
    "<!doctype html><html lang='en'><meta charset='utf-8'><link rel='icon' href='data:,'>"
    "<meta http-equiv='refresh' content='0;url=/'>"
    "<title>Snellen</title><p><a href='/'>Open the desk</a></p></html>"
)


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused.

    Attributes:
        status: of HTTP.
        words: for the person who reads the page.
    """

    status: int
    words: str


@dataclass(frozen=True)
class Gatekeeper:
    """Lets through what comes from the desk's own pages, and puts the headers of safety on every answer.

    Attributes:
        app: the pages.
        token: secret of this start.
        port: that the desk listens at.
    """

    app: App
    token: str
    port: int

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names by which the desk is called. Another name that leads here is one that somebody else controls."""
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    @property
    def cookie(self) -> str:
        """Name of the cookie: several desks share the name of the machine."""
        return f"snellen-desk-{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _headers(scope)
        found = self.refusal(scope["method"], scope["path"], scope.get("query_string", b""), headers)
        if found is not None:
            await self._answer(send, found.status, found.words.encode(), b"text/plain; charset=utf-8")
        elif scope["path"] == "/" and self._given(scope.get("query_string", b"")):
            await self._enter(send)
        else:
            await self.app(scope, _limited(receive), _with_headers(send))

    def refusal(self, method: str, path: str, query: bytes, headers: Mapping[str, tuple[str, ...]]) -> Refusal | None:
        """Why a request is refused; None where it is let through.

        Args:
            method: of HTTP.
            path: without the query.
            query: as it came.
            headers: values by lower-case name, all of them.
        """
        host = headers.get("host", ())
        if len(host) != 1 or host[0] not in self.hosts:
            return Refusal(421, "this desk answers to 127.0.0.1 and localhost with its own port alone")
        if method not in ("GET", "HEAD", "POST"):
            return Refusal(405, "GET, HEAD and POST are answered")
        length = headers.get("content-length", ("0",))[0]
        if not (length.isascii() and length.isdigit() and int(length[:12]) <= LARGEST_BODY):
            return Refusal(413, f"a request holds at most {LARGEST_BODY:,} bytes")
        # The first link may stand on another page, such as that of a notebook: it knows the token.
        if path == "/" and method == "GET" and self._given(query):
            return None
        if headers.get("sec-fetch-site", ("same-origin",))[0] not in ("same-origin", "none"):
            return Refusal(403, "requests from other sites are refused")
        if method == "POST" and headers.get("origin", ()) != (f"http://{host[0]}",):
            return Refusal(403, "decisions and jobs are taken from the desk's own pages alone")
        if not self._known(headers.get("cookie", ())):
            return Refusal(401, "open the link that snellen ui printed: it holds the token of this desk")
        return None

    def _known(self, cookies: tuple[str, ...]) -> bool:
        pairs = (part.strip().partition("=") for line in cookies for part in line.split(";"))
        given = [value for name, _, value in pairs if name == self.cookie]
        return any(hmac.compare_digest(value.encode("utf-8", "replace"), self.token.encode()) for value in given)

    def _given(self, query: bytes) -> bool:
        found = QueryParams(query.decode("latin-1")).getlist(TOKEN)
        return len(found) == 1 and hmac.compare_digest(found[0].encode("utf-8", "replace"), self.token.encode())

    async def _enter(self, send: Send) -> None:
        """Put the token into a cookie, and lead on to a place without it in its address."""
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict".encode()
        await self._answer(send, 200, _ENTERED.encode(), b"text/html; charset=utf-8", (b"set-cookie", cookie))

    async def _answer(self, send: Send, status: int, body: bytes, kind: bytes, *more: tuple[bytes, bytes]) -> None:
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
        checked = _with_headers(send)
        await checked({"type": "http.response.start", "status": status, "headers": headers})
        await checked({"type": "http.response.body", "body": body})


def _headers(scope: Scope) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        found[key] = (*found.get(key, ()), value.decode("latin-1"))
    return found


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", ())}
            added = [one for one in HEADERS if one[0] not in present]
            if b"content-security-policy" not in present:
                added.append((b"content-security-policy", POLICY.encode()))
            if b"cache-control" not in present:
                added.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sending


def _limited(receive: Receive) -> Receive:
    """A body that is longer than its header states is refused."""
    seen = 0

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > LARGEST_BODY:
            raise HTTPException(413, f"a request holds at most {LARGEST_BODY:,} bytes")
        return message

    return receiving
