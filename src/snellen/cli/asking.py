"""A person's answer in the terminal: one key, or a line of words."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import typer

from snellen.cli.text import harmless


def answer_by_key(question: str, image: Path) -> str:
    """y, n, s or q; other keys are read over, and the end of the input stops."""
    typer.echo(f"{harmless(str(image))}\n{harmless(question)}", err=True)
    while True:
        try:
            key = (typer.getchar() if sys.stdin.isatty() else sys.stdin.read(1)).lower()
        except EOFError:
            return "q"
        if key in ("y", "n", "s", "q"):
            return key
        if key in ("", "\x03", "\x04"):
            return "q"


def answer_in_words(question: str) -> str | None:
    """A line; an empty one leaves the question open. None stops: the line "q", or the end of the input."""
    typer.echo(f"{harmless(question)} (Enter leaves it open, q stops)", err=True)
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.errors == "strict":
        # A byte that is not UTF-8 would end the command; so it arrives as a surrogate, and the answer is refused.
        sys.stdin.reconfigure(errors="surrogateescape")
    line = sys.stdin.readline()
    return None if not line or line.strip().lower() == "q" else line.strip()
