"""The address of a language model on a server, and whether it lies on this machine."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

from snellen.errors import InputError

_FORM = "http://127.0.0.1:8000/v1#MODEL"


@dataclass(frozen=True)
class ServerAddress:
    """Where requests go.

    Attributes:
        url: base of the interface, without the model, in normal form.
        model: the model's name at the server.
        loopback: whether the host is this machine.
        encrypted: whether the connection is.
    """

    url: str
    model: str
    loopback: bool
    encrypted: bool


def read_address(reference: str, *, allow_remote: bool = False) -> ServerAddress:
    """Read ``http(s)://HOST:PORT/v1#MODEL``.

    This machine is ``localhost``, ``127.0.0.0/8`` and ``::1``, in any spelling that means them. A name that only
    resolves to it is another machine: names can be made to resolve elsewhere.

    >>> read_address("http://127.0.0.1:8000/v1#llama")
    ServerAddress(url='http://127.0.0.1:8000/v1', model='llama', loopback=True, encrypted=False)

    Raises:
        InputError: not an address with a model; a user, password or query in it; another machine without
            ``allow_remote``.
    """
    given, _, model = reference.partition("#")
    try:
        url = TypeAdapter(AnyHttpUrl).validate_python(given)
    except ValidationError as error:
        raise InputError(
            f"{given!r} is not the address of a server: {error.errors()[0]['msg']}; write {_FORM}"
        ) from error
    if url.username or url.password:
        raise InputError("a user or password in the address of a server would be recorded; leave it out")
    if url.query:
        raise InputError(f"the address of a server has no query; write {_FORM}")
    if not model.strip():
        raise InputError(f"{given} names no model; write {given}#MODEL, with the name that the server knows it by")
    host = str(url.host)
    loopback = _is_loopback(host)
    if not loopback and not allow_remote:
        raise InputError(
            f"{host} is another machine: prompts and pictures would leave this one. If that is meant, allow it with "
            f"allow_remote=True (--allow-remote)"
        )
    return ServerAddress(url=str(url).rstrip("/"), model=model, loopback=loopback, encrypted=url.scheme == "https")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
