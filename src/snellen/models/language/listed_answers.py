"""``file:FILE``: lists that a person wrote, or a model once gave, which answer questions by their key.

- ``FILE.json``: an object {key: list}, or one list for all.
- ``FILE.toml``: a table of arrays.
- ``FILE.txt``: a phrase a line. Lines below ``[key]`` are the list of that key; without any such line the file is one
  list. Empty lines, and lines that begin with ``#``, are left out.

An answer may also be a text, or an object where a schema requires one. ``FILE.json#concepts`` takes the object that
stands in the file under that name; so does TOML with its tables.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from snellen.core.budget import Spent
from snellen.core.errors import InputError, unknown_name
from snellen.models.language.protocol import Message, Phrases, Reply, WrongFormError, read_form

#: Largest file that is read, bytes.
MAX_BYTES = 16 * 2**20

#: A list, a text, or an object.
Answer = object


class ListedAnswers:
    r"""Answers by key; nothing is sent, nothing is spent, and what the prompt says does not matter.

    >>> answers = ListedAnswers({"cat": ["whiskers", "a tail"]}, name="demo")
    >>> answers.complete("What does a cat have?", key="cat").text
    'whiskers\na tail'

    Args:
        answers: an answer for each key, or one list for all questions.
        name: shown in reports and messages.
    """

    def __init__(self, answers: Mapping[str, Answer] | Sequence[str], *, name: str) -> None:
        self._answers, self._name = answers, name

    @property
    def name(self) -> str:
        """Shown in reports and messages."""
        return self._name

    @property
    def sees_images(self) -> bool:
        """No: pictures are refused."""
        return False

    @property
    def spent(self) -> Spent:
        """Nothing."""
        return Spent()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys with answers; empty for one list."""
        return tuple(self._answers) if isinstance(self._answers, Mapping) else ()

    def complete(
        self,
        prompt: str | Sequence[Message],
        *,
        key: str | None = None,
        schema: type[BaseModel] | None = None,
        max_tokens: int = 512,
        temperature: float | None = 0.0,
        sample: int = 0,
    ) -> Reply:
        """Look the answer up; see :class:`snellen.models.language.protocol.LanguageModel`.

        Raises:
            InputError: no such key, no key for a file of keys, an answer of another form, or pictures.
        """
        if not isinstance(prompt, str) and any(message.images for message in prompt):
            raise InputError(f"{self.name} holds lists in words; it answers no questions about pictures")
        answer = self._answer(key)
        if schema is None:
            return Reply(text=_text(answer))
        if isinstance(answer, Sequence) and not isinstance(answer, str) and issubclass(schema, Phrases):
            answer = {"items": answer}
        text = json.dumps(answer, ensure_ascii=False)
        try:
            return Reply(text=text, value=read_form(text, schema))
        except WrongFormError as error:
            about = "" if key is None else f" for {key!r}"
            raise InputError(f"{self.name}: the answer{about} is not a {schema.__name__}: {error}") from error

    def _answer(self, key: str | None) -> Answer:
        if not isinstance(self._answers, Mapping):
            if key is not None:
                raise InputError(f"{self.name} is one list, without keys; it has none for {key!r}. Give each its own")
            return self._answers
        if key is None:
            raise InputError(f"{self.name} has lists by key; say which: {', '.join(map(repr, self.keys[:20]))}")
        if key not in self._answers:
            raise unknown_name(f"key of {self.name}", key, self.keys)
        return self._answers[key]


def load(rest: str) -> ListedAnswers:
    """Read ``FILE`` or ``FILE#NAME``.

    Raises:
        InputError: no such file, another format, or lists that are empty or not in words.
    """
    given, _, part = rest.partition("#")
    path = Path(given)
    readers = {".json": _json, ".toml": _toml, ".txt": _lines}
    if path.suffix.lower() not in readers:
        raise InputError(f"file:{path}: lists are read from .json, .toml and .txt; got {path.suffix or 'no ending'!r}")
    if not path.is_file():
        raise InputError(f"no file of lists at {path}")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: too large for lists of phrases (at most {MAX_BYTES} bytes)")
    try:
        content = readers[path.suffix.lower()](path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as {path.suffix[1:].upper()}: {error}") from error
    name = f"file:{path.name}"
    if part:
        if not isinstance(content, Mapping) or part not in content:
            raise unknown_name(f"part of {path.name}", part, content if isinstance(content, Mapping) else ())
        content, name = content[part], f"{name}#{part}"
    return ListedAnswers(_checked(content, path), name=name)


def _json(text: str) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key in found if sum(key == other for other, _ in pairs) > 1)
            raise ValueError(f"the key {twice!r} stands there twice")
        return found

    return json.loads(text, object_pairs_hook=once)


def _toml(text: str) -> object:
    return tomllib.loads(text)


def _lines(text: str) -> object:
    lists: dict[str, list[str]] = {}
    key = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            key = line[1:-1].strip()
            if not key or key in lists:
                raise ValueError(f"{line} is {'a key that stands there twice' if key else 'no key'}")
            lists[key] = []
        elif line and not line.startswith("#"):
            lists.setdefault(key, []).append(line)
    if "" in lists and len(lists) > 1:
        raise ValueError(f"the line {lists[''][0]!r} stands before the first [key]")
    return lists.get("", lists)


def _checked(content: object, path: Path) -> Mapping[str, Answer] | Sequence[str]:
    answers = content if isinstance(content, Mapping) else {"": content}
    if not answers or not isinstance(content, Mapping | list):
        raise InputError(f"{path}: expected lists by key, or one list; got {_shown(content)}")
    for key, answer in answers.items():
        where = f"{path}: the list for {key!r}" if key else f"{path}: the list"
        if isinstance(answer, list):
            if not answer:
                raise InputError(f"{where} is empty")
            for phrase in answer:
                if not isinstance(phrase, str) or not phrase.strip():
                    raise InputError(f"{where} holds {phrase!r}; expected phrases")
        elif not (isinstance(answer, str) and answer.strip()) and not isinstance(answer, Mapping):
            raise InputError(f"{where} is {_shown(answer)}; expected phrases")
    return content


def _shown(value: object) -> str:
    return f"{type(value).__name__} {value!r}"[:80]


def _text(answer: Answer) -> str:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, Mapping):
        return json.dumps(answer, ensure_ascii=False)
    return "\n".join(map(str, answer)) if isinstance(answer, Sequence) else str(answer)
