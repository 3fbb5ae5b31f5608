"""Text from outside (file names, class names, models' words) on a terminal: shown, never obeyed."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    r"""Replace control characters, which could move the cursor or recolour the screen; new lines stay.

    >>> printable("cat\x1b[31m.png\n")
    'cat�[31m.png\n'
    """
    return "".join("�" if unicodedata.category(c) in {"Cc", "Cf"} and c != "\n" else c for c in text)


def markup(text: str) -> str:
    r"""The same, with rich's own markup switched off.

    >>> print(markup("[red]cat[/]"))
    \[red]cat\[/]
    """
    from rich.markup import escape

    return escape(printable(text))
