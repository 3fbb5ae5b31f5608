"""The address of a server, and whether it lies on this machine."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

from snellen.core.errors import InputError
from snellen.models.remote.permission import may_reach


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
        told = re.sub(r"//.*@", "//***@", given)  # what stands before the host may be a password
        raise InputError(f"{told!r} is not the address of a server: {error.errors()[0]['msg']}; write {form}") from None
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
