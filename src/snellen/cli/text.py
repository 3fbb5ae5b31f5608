"""Text from outside (file names, class names, models' words) on a terminal: shown, never obeyed."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Width, in characters, of a line that goes into a file or another program.
_UNBROKEN = 10_000


def harmless(text: str) -> str:
    r"""Replace what could move the cursor, recolour the screen or stop the encoder; new lines stay.

    >>> harmless("cat\x1b[31m.png\n")
    'cat�[31m.png\n'
    """
    return "".join("�" if unicodedata.category(c) in {"Cc", "Cf", "Cs"} and c != "\n" else c for c in text)


def terminal() -> Console:
    """Where a summary is printed: as wide as the terminal or as COLUMNS says, else as wide as its lines."""
    from rich.console import Console

    # ":star:" in a key of a finding is the name of a class, and no emoji.
    console = Console(highlight=False, emoji=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(highlight=False, emoji=False, width=_UNBROKEN)


def markup(text: str) -> str:
    r"""The same, with rich's own markup switched off.

    >>> print(markup("[red]cat[/]"))
    \[red]cat\[/]
    """
    from rich.markup import escape

    return escape(harmless(text))


def dashed(name: str) -> str:
    """The spelling of a name on the command line.

    >>> dashed("fast_gradient_sign")
    'fast-gradient-sign'
    """
    return name.replace("_", "-")
