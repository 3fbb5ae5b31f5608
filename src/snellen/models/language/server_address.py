"""The address of a language model on a server."""

from __future__ import annotations

from dataclasses import dataclass

from snellen.core.errors import InputError
from snellen.models.remote.address import ServerUrl, ask_permission, read_url
from snellen.models.remote.permission import AllowRemote, permitting

_FORM = "http://127.0.0.1:8000/v1#MODEL"


@dataclass(frozen=True)
class ServerAddress:
    """Where requests go.

    Attributes:
        server: base of the interface, without the model.
        model: the model's name at the server.
    """

    server: ServerUrl
    model: str

    @property
    def url(self) -> str:
        """Base of the interface, in normal form."""
        return self.server.url

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine."""
        return self.server.loopback

    @property
    def encrypted(self) -> bool:
        """Whether the connection is."""
        return self.server.encrypted


def read_address(reference: str, *, allow_remote: AllowRemote = False) -> ServerAddress:
    """Read ``http(s)://HOST:PORT/v1#MODEL``.

    >>> address = read_address("http://127.0.0.1:8000/v1#llama")
    >>> address.url, address.model, address.loopback
    ('http://127.0.0.1:8000/v1', 'llama', True)

    Raises:
        InputError: not an address with a model; a user, password or query in it; another machine that is not allowed.
    """
    given, _, model = reference.partition("#")
    server = read_url(given, form=_FORM)
    if not model.strip():
        raise InputError(f"{given} names no model; write {given}#MODEL, with the name that the server knows it by")
    with permitting(allow_remote):
        ask_permission(server, "prompts and pictures")
    return ServerAddress(server, model)
