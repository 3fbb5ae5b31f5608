"""Prompts with the concept that each names: a table of the user, or a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError
from snellen.data.files.manifest_table import read_csv
from snellen.verbs.requests import given_requests


@dataclass(frozen=True)
class PromptTable:
    """Prompts of a generator.

    Attributes:
        name: of the table.
        prompts: n of them, each once.
        concepts: what each names, as a judge calls it; None where that is not known.
    """

    name: str
    prompts: tuple[str, ...]
    concepts: tuple[str | None, ...]

    def __post_init__(self) -> None:
        if len(self.prompts) < 2:
            raise InputError(f"{self.name}: a forget set is searched among 2 prompts or more; got {len(self.prompts)}")
        twice = [prompt for prompt, times in Counter(self.prompts).items() if times > 1]
        if twice:
            raise InputError(f"{self.name}: the prompt {twice[0]!r} stands there more than once; give each prompt once")

    def __len__(self) -> int:
        return len(self.prompts)


def given_prompts(prompts: str | Path | Sequence[str | Mapping[str, Any]]) -> PromptTable:
    """Prompts from a file or from a list.

    >>> given_prompts([{"prompt": "a red star", "concept": "star"}, "a ring"]).concepts
    ('star', None)

    Args:
        prompts: ``FILE.csv`` with the columns ``prompt`` and, to be judged, ``concept``; ``FILE.txt`` with a prompt a
            line; ``FILE.json``, a list of objects with these keys; or such a list itself, or one of prompts.

    Raises:
        InputError: no such file, no column ``prompt``, an empty prompt, or a prompt twice.
    """
    path = Path(prompts) if isinstance(prompts, str | Path) else None
    if path is not None and path.suffix.lower() not in (".csv", ".txt", ".json"):
        raise InputError(f"{path}: give FILE.csv with a column prompt, FILE.txt with a prompt a line, or FILE.json")
    if path is not None and not path.is_file():
        raise InputError(f"{path}: there is no such file; give FILE.csv, FILE.txt or FILE.json with prompts")
    if path is not None and path.suffix.lower() == ".csv":
        found = read_csv(path, needed="prompt", meant=("prompt", "concept"))
        texts = [str(one or "").strip() for one in found.columns["prompt"]]
        if "" in texts:
            raise InputError(f"{path}, {found.rows[texts.index('')]}: the prompt is empty")
        return _table(path.name, texts, found.columns.get("concept", [None] * len(texts)))
    listed = given_requests(str(prompts) if isinstance(prompts, Path) else prompts)
    rows = [listed.read(position) for position in range(len(listed.ids))]
    texts = [str(row.get("prompt") or "").strip() for row in rows]
    if "" in texts:
        raise InputError(f"{listed.name}: each has a text 'prompt'; got {rows[texts.index('')]!r}")
    return _table(listed.name, texts, [row.get("concept") for row in rows])


def _table(name: str, prompts: Sequence[str], concepts: Sequence[object]) -> PromptTable:
    named = ("" if one is None else str(one).strip() for one in concepts)
    return PromptTable(name, tuple(one.strip() for one in prompts), tuple(one or None for one in named))
