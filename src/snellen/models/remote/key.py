"""The key that a server wants: from one environment variable, into one header, and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from snellen.core.errors import InputError
from snellen.models.remote.address import ServerUrl

#: How much of a text of a server a message shows, characters.
SHOWN = 300


@dataclass(frozen=True)
class Key:
    """A secret, and the environment variable that it came from; an empty text is none."""

    variable: str
    secret: str = field(default="", repr=False)

    @property
    def told(self) -> str:
        """Where it comes from, for messages."""
        state = "set" if self.secret else "not set"
        return f"it is taken from the environment variable {self.variable}, which is {state}"

    def hidden(self, text: str) -> str:
        """A text of the server, short and without the key."""
        return shown(text.replace(self.secret, "***") if self.secret else text)


def read_key(variable: str, server: ServerUrl) -> Key:
    """Take the key from the environment; where the variable is not set, there is none.

    Raises:
        InputError: it would travel to another machine without encryption, or holds what no header can.
    """
    secret = os.environ.get(variable, "").strip()
    if secret and not (secret.isascii() and secret.isprintable()):
        # A client would say what it cannot send, in a spelling in which the key is not found to be hidden.
        raise InputError(f"the key in {variable} holds characters other than printable ones of ASCII; set it anew")
    if secret and not (server.loopback or server.encrypted):
        raise InputError(
            f"the key in {variable} would travel to {server.url} without encryption; use https, or unset it"
        )
    return Key(variable, secret)


def shown(text: str) -> str:
    """A text as an error message shows it: its beginning, in one line."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
