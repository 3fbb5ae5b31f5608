"""Fenced blocks of the documents: what each is, and why some cannot be run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: First words of a line that make a block without a language one of commands.
PROGRAMS = ("snellen", "pip", "python", "docs/", "echo", "#SBATCH")

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A block between fences; ``reason`` says why it is not run, None where it is."""

    language: str
    text: str
    reason: str | None

    @property
    def is_shell(self) -> bool:
        """Whether it holds commands."""
        return not self.language and self.text.startswith(PROGRAMS)

    @property
    def is_run(self) -> bool:
        """Whether a reader may paste it as it stands."""
        return (self.is_shell or self.language == "python") and self.reason is None

    @property
    def commands(self) -> list[list[str]]:
        """Words of each command of a block of commands, without comments."""
        lines = [re.sub(r"(^|\s)# .*", "", line) for line in self.text.replace("\\\n", " ").splitlines()]
        return [words for line in lines if (words := shlex.split(line))]


def blocks_of(page: Path) -> list[Block]:
    """Blocks of a page in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], match["text"], match["reason"]) for match in found]
