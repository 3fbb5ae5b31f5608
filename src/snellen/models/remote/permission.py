"""The address of a server, and which other machines may be reached: none, unless the user names them.

A permission is a host by its exact name. It is given to one call (``allow_remote=["models.example"]``), or to all that
happens inside a ``with`` block (:func:`permitting`), which is what the command line does: methods and checks load
models by reference, deep inside a run, and must reach what their user allowed and nothing else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

from snellen.core.errors import InputError

#: What callers may give: names of hosts, or True for any host.
AllowRemote = bool | str | Sequence[str]
#: Names of hosts in normal form, or True.
Permitted = bool | tuple[str, ...]

_permitted: ContextVar[Permitted] = ContextVar("permitted", default=())


@contextmanager
def permitting(allow_remote: AllowRemote) -> Iterator[None]:
    """Inside a ``with`` block, these hosts may be reached, beside those that are allowed already.

    >>> with permitting(["Models.Example"]):
    ...     may_reach("models.example"), may_reach("other.example")
    (True, False)
    >>> may_reach("models.example")
    False

    Raises:
        InputError: a name that is not that of one host.
    """
    token = _permitted.set(_joined(_permitted.get(), hosts_of(allow_remote)))
    try:
        yield
    finally:
        _permitted.reset(token)


def permitted() -> Permitted:
    """What may be reached here: hosts, or True for all."""
    return _permitted.get()


def may_reach(host: str) -> bool:
    """Whether a host, by its name in an address, may be reached."""
    given = _permitted.get()
    return given is True or (isinstance(given, tuple) and host.lower() in given)


def hosts_of(allow_remote: AllowRemote) -> Permitted:
    """Names of hosts in the spelling that addresses have in normal form.

    >>> hosts_of(["Models.Example", "2001:db8::1"])
    ('models.example', '[2001:db8::1]')
    >>> hosts_of("*.example")
    Traceback (most recent call last):
    snellen.core.errors.InputError: '*.example' is not the name of one host; ...

    Raises:
        InputError: an address, a port, a wildcard, or something else that is no name.
    """
    if isinstance(allow_remote, bool):
        return allow_remote or ()
    return tuple(_host(name) for name in ([allow_remote] if isinstance(allow_remote, str) else allow_remote))


def _joined(one: Permitted, other: Permitted) -> Permitted:
    if isinstance(one, bool) or isinstance(other, bool):
        return True  # False has become () before
    return tuple(dict.fromkeys((*one, *other)))


def _host(name: object) -> str:
    wrong = InputError(
        f"{name!r} is not the name of one host; allow each by its name alone, without scheme, port or wildcard: "
        f"models.example"
    )
    # A colon is a port, but for addresses of IPv6, which have at least two.
    if not isinstance(name, str) or not name or set(name) & set("*/@?#\\% \t\r\n") or name.count(":") == 1:
        raise wrong
    written = f"[{name}]" if ":" in name and not name.startswith("[") else name
    try:
        url = TypeAdapter(AnyHttpUrl).validate_python(f"http://{written}/")
    except ValidationError:
        raise wrong from None
    if not url.host or url.port != 80:
        raise wrong
    return url.host


@dataclass(frozen=True)
class ServerUrl:
    """Where requests go.

    Attributes:
        url: in normal form, without a query and without a slash at its end.
        host: its name, in normal form.
        loopback: whether the host is this machine.
        encrypted: whether the connection is.
    """

    url: str
    host: str
    loopback: bool
    encrypted: bool


def read_url(given: str, *, form: str) -> ServerUrl:
    """Read ``http(s)://HOST:PORT/PATH``.

    This machine is ``localhost``, ``127.0.0.0/8`` and ``::1``, in any spelling that means them. A name that only
    resolves to it is another machine: names can be made to resolve elsewhere.

    >>> read_url("HTTP://127.1:8000/v2/", form="http://HOST")
    ServerUrl(url='http://127.0.0.1:8000/v2', host='127.0.0.1', loopback=True, encrypted=False)

    Args:
        given: the address.
        form: how it is written, for messages.

    Raises:
        InputError: not an address, or one with a user, a password, a query or a fragment.
    """
    try:
        url = TypeAdapter(AnyHttpUrl).validate_python(given)
    except ValidationError as error:
        shown = re.sub(r"//.*@", "//***@", given)  # what stands before the host may be a password
        raise InputError(
            f"{shown!r} is not the address of a server: {error.errors()[0]['msg']}; write {form}"
        ) from None
    if url.username or url.password:
        raise InputError("a user or password in the address of a server would be recorded; leave it out")
    if url.query or url.fragment:
        raise InputError(f"the address of a server has no query and no fragment; write {form}")
    host = str(url.host)
    return ServerUrl(str(url).rstrip("/"), host, _is_loopback(host), url.scheme == "https")


def host_of(url: str) -> str:
    """The host of an address that a library knows, in normal form."""
    return str(TypeAdapter(AnyHttpUrl).validate_python(url).host)


def ask_permission(server: ServerUrl, what: str) -> None:
    """See that a server may be reached, before anything is sent.

    Args:
        server: the server.
        what: what would leave this machine, for the message.

    Raises:
        InputError: it is another machine that nobody allowed.
    """
    if not server.loopback and not may_reach(server.host):
        raise InputError(
            f"{server.host} is another machine: {what} would leave this one. If that is meant, allow it with "
            f"--allow-remote {server.host} (in Python: allow_remote=[{server.host!r}])"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
