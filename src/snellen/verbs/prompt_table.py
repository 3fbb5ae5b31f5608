"""Prompts with the concept that each names: a table of the user, or a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snellen.core.errors import InputError
from snellen.data.files.manifest_table import read_csv


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


def given_prompts(prompts: str | Path | Sequence[str | Mapping[str, str]]) -> PromptTable:
    """Prompts from a file or from a list.

    >>> given_prompts([{"prompt": "a red star", "concept": "star"}, "a ring"]).concepts
    ('star', None)

    Args:
        prompts: ``FILE.csv`` with the columns ``prompt`` and, to be judged, ``concept``; ``FILE.txt`` with a prompt a
            line; or a list of prompts, or of mappings with these keys.

    Raises:
        InputError: no such file, no column ``prompt``, an empty prompt, or a prompt twice.
    """
    if not isinstance(prompts, str | Path):
        rows = [{"prompt": one} if isinstance(one, str) else one for one in prompts]
        if wrong := [one for one in rows if not isinstance(one, Mapping) or not isinstance(one.get("prompt"), str)]:
            raise InputError(f"a prompt is a string, or a mapping with the key 'prompt'; got {wrong[0]!r}")
        return _table("prompts", [one["prompt"] for one in rows], [one.get("concept") for one in rows])
    path = Path(prompts)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give FILE.csv with a column prompt, or FILE.txt")
    if path.suffix.lower() == ".csv":
        found = read_csv(path, needed="prompt", meant=("prompt", "concept"))
        texts = [None if one is None else str(one) for one in found.columns["prompt"]]
        if None in texts:
            raise InputError(f"{path}, {found.rows[texts.index(None)]}: the prompt is empty")
        named = found.columns.get("concept", [None] * len(texts))
        return _table(path.name, [one or "" for one in texts], [None if one is None else str(one) for one in named])
    if path.suffix.lower() != ".txt":
        raise InputError(f"{path}: prompts stand in FILE.csv with a column prompt, or in FILE.txt with one a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from error
    texts = [line for line in lines if line.strip()]
    return _table(path.name, [one or "" for one in texts], [None] * len(texts))


def _table(name: str, prompts: Sequence[str], concepts: Sequence[str | None]) -> PromptTable:
    return PromptTable(
        name,
        tuple(one.strip() for one in prompts),
        tuple(one.strip() if one and one.strip() else None for one in concepts),
    )
