"""Text from outside (file names, class names, models' words) on a terminal: shown, never obeyed."""

from __future__ import annotations

import unicodedata


def harmless(text: str) -> str:
    r"""Replace what could move the cursor, recolour the screen or stop the encoder; new lines stay.

    >>> harmless("cat\x1b[31m.png\n")
    'cat�[31m.png\n'
    """
    return "".join("�" if unicodedata.category(c) in {"Cc", "Cf", "Cs"} and c != "\n" else c for c in text)


def markup(text: str) -> str:
    r"""The same, with rich's own markup switched off.

    >>> print(markup("[red]cat[/]"))
    \[red]cat\[/]
    """
    from rich.markup import escape

    return escape(harmless(text))
