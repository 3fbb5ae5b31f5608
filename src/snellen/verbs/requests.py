"""Requests to a generating method, one mapping for each image: images, prompts from a file, or classes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

from snellen.core.errors import InputError, unknown_name
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.data.factors import Columns
from snellen.data.files.held_images import CARRIED
from snellen.data.privacy.nameless import without_names
from snellen.data.privacy.pseudonyms import Pseudonyms
from snellen.data.references import load_images
from snellen.runs.layout import classes_of

#: Files that are lists of requests; what is neither this nor classes is a reference of images.
_LISTS = (".txt", ".json")

#: How references of classes begin: ``classes:star,heart?count=50``.
CLASSES = "classes:"

#: How a number of draws that ask for nothing begins: ``draws:100``.
DRAWS = "draws:"


class Requests(Protocol):
    """Requests that are read one by one; each has an ``id`` that is unique among them."""

    @property
    def name(self) -> str:
        """Shown in reports and messages."""

    @property
    def ids(self) -> list[str]:
        """Stable ids, in order."""

    def read(self, index: int) -> Mapping[str, Any]:
        """One request. Raises RejectedImageError with the reason when its image cannot be read."""

    def fingerprint(self, progress: Progress | None = None) -> str:
        """Hash of all requests (sha256, hex)."""

    def first(self, count: int) -> Self:
        """At most so many of them."""

    def under(self, pseudonyms: Pseudonyms) -> Self:
        """The same under other names; prompts and captions stay what they are."""


@dataclass(frozen=True, eq=False)
class ImageRequests:
    """A request for each image of a set: ``id``, ``image`` (PIL, RGB), and what is known of it.

    That is ``class``, ``caption`` and :data:`snellen.data.files.held_images.CARRIED`.
    An image of a set that is a split as a whole is of that split.
    """

    images: ImageSet

    @property
    def name(self) -> str:
        """The set's name."""
        return self.images.name

    @property
    def ids(self) -> list[str]:
        """The ids of the images."""
        return self.images.ids

    def read(self, index: int) -> Mapping[str, Any]:
        """Decode one image."""
        chosen = self.images.select([index])
        known = {"class": classes_of(chosen)[0], "caption": chosen.column("caption")[0], **self._carried(index)}
        given = {key: value for key, value in known.items() if value is not None}
        return {"id": self.images.ids[index], "image": self.images.read(index), **given}

    def fingerprint(self, progress: Progress | None = None) -> str:
        """That of the set, and of what goes with each request."""
        carried = json.dumps([self._carried(index) for index in range(len(self.images))], sort_keys=True)
        return hashlib.sha256(f"{self.images.fingerprint(progress)}\n{carried}".encode()).hexdigest()

    def first(self, count: int) -> ImageRequests:
        """The first so many."""
        return ImageRequests(self.images.select(range(min(count, len(self.images)))))

    def under(self, pseudonyms: Pseudonyms) -> ImageRequests:
        """The same images under pseudonyms."""
        return ImageRequests(without_names(self.images, pseudonyms))

    @cached_property
    def _columns(self) -> dict[str, list[object]]:
        named = [column for column in CARRIED if column != "labels" or not self.images.hidden]
        found = {column: self.images.column(column) for column in named}
        return {**found, "split": [value or self.images.split for value in found["split"]]}

    def _carried(self, index: int) -> dict[str, object]:
        return {column: values[index] for column, values in self._columns.items()}


@dataclass(frozen=True, eq=False)
class ListedRequests:
    """Requests as a file lists them.

    Args:
        name: of the list.
        rows: each with a text ``id``.

    Raises:
        InputError: no request, one without an id, or an id that occurs twice.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        if not self.rows:
            raise InputError(f"{self.name} holds no requests")
        seen = set[str]()
        for row in self.rows:
            key = row.get("id")
            if not isinstance(key, str) or not key or key in seen:
                raise InputError(f"{self.name}: each request has a text 'id' of its own; got {key!r}")
            seen.add(key)

    @property
    def ids(self) -> list[str]:
        """Ids, in order."""
        return [row["id"] for row in self.rows]

    def read(self, index: int) -> Mapping[str, Any]:
        """One request as it was listed."""
        return self.rows[index]

    def fingerprint(self, progress: Progress | None = None) -> str:
        """Hash of the rows as JSON."""
        return hashlib.sha256(json.dumps([*self.rows], sort_keys=True).encode()).hexdigest()

    def first(self, count: int) -> ListedRequests:
        """The first so many."""
        return ListedRequests(self.name, self.rows[:count])

    def under(self, pseudonyms: Pseudonyms) -> ListedRequests:
        """The same requests with a pseudonym for each id, and for the name of the list."""
        ids = pseudonyms.all_of(self.ids)
        rows = [{**row, "id": key} for row, key in zip(self.rows, ids, strict=True)]
        return ListedRequests(pseudonyms.of(self.name), rows)


def given_requests(
    requests: Requests | ImageSet | str | Sequence[str | Mapping[str, Any]],
    classes: Sequence[str] = (),
    columns: Columns | None = None,
) -> Requests:
    """Requests from a reference or an object that holds them.

    >>> given_requests(["a red star", {"prompt": "a ring", "seed": 3}]).ids
    ['000001', '000002']

    Args:
        requests: themselves; a reference (:func:`load_requests`); images; or a list of prompts, or of mappings.
        classes: names of the classes that the method knows.
        columns: what the columns of a manifest mean, where the reference is one.

    Raises:
        InputError: an entry of another kind, or nothing at all.
    """
    if isinstance(requests, str):
        return load_requests(requests, classes, columns)
    if columns is not None:
        raise InputError("columns say what those of a manifest mean, FILE.csv or FILE.parquet; these requests are none")
    if isinstance(requests, ImageSet):
        return ImageRequests(requests)
    if not isinstance(requests, Sequence):
        return requests
    rows = [{"prompt": one} if isinstance(one, str) else one for one in requests]
    wrong = next((one for one in rows if not isinstance(one, Mapping)), None)
    if wrong is not None:
        raise InputError(f"a request is a prompt, or a mapping such as {{'class': 'star'}}; got {wrong!r}")
    return ListedRequests("requests", [{"id": f"{number:06d}", **row} for number, row in enumerate(rows, start=1)])


def load_requests(reference: str, classes: Sequence[str] = (), columns: Columns | None = None) -> Requests:
    """Read requests: ``FILE.txt``, a prompt a line; ``FILE.json``, a list of objects; classes; draws; else images.

    Prompts become ``{"id": "000001", "prompt": …}``, empty lines left out. Objects without an id get one in the same
    way. ``classes:star,heart?count=50`` requests 50 images of each of these classes, in turns, so that a call that was
    stopped has as many of each; ``classes:?count=50`` for 50 of every class that is known. ``draws:100`` requests 100
    images and nothing of them, from a generator that needs no condition.

    Args:
        reference: as above.
        classes: names of the classes that the method knows; empty where it takes any words.
        columns: what the columns of a manifest mean, where the reference is one.

    Raises:
        InputError: nothing there, or not usable.
    """
    path = Path(reference)
    listed = reference.startswith((CLASSES, DRAWS)) or path.suffix.lower() in _LISTS
    if listed and columns is not None:
        raise InputError(f"columns say what those of a manifest mean, FILE.csv or FILE.parquet; {reference} is none")
    if reference.startswith(CLASSES):
        return _of_classes(reference, classes)
    if reference.startswith(DRAWS):
        return _of_draws(reference)
    if not listed:
        return ImageRequests(load_images(reference, columns=columns))
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix.lower() == ".json" else _prompts(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a list of requests: {error}") from error
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InputError(f'{path} must hold a list of objects, such as [{{"prompt": "a red star"}}]')
    return ListedRequests(path.name, [{"id": f"{number:06d}", **row} for number, row in enumerate(found, start=1)])


def _of_classes(reference: str, known: Sequence[str]) -> ListedRequests:
    """``classes:NAMES?count=N`` as requests with ids such as ``star-0001``."""
    names, mark, query = reference.removeprefix(CLASSES).rpartition("?")
    if not mark:
        names, query = query, "count=1"
    key, _, number = query.partition("=")
    if key != "count" or not number.isdecimal() or not int(number):
        raise InputError(f"{reference!r}: write {CLASSES}NAME,NAME?count=N with N images of each class, at least 1")
    wanted = _named(reference, names, known) if names.strip() else _every(reference, known)
    turns = range(1, int(number) + 1)
    rows = [{"id": f"{key}-{turn:04d}", "class": one} for turn in turns for key, one in wanted.items()]
    return ListedRequests(reference, rows)


def _of_draws(reference: str) -> ListedRequests:
    """``draws:N`` as requests that name nothing, with ids such as ``000001``."""
    number = reference.removeprefix(DRAWS)
    if not number.isdecimal() or not int(number):
        raise InputError(f"{reference!r}: write {DRAWS}N with the number of images, at least 1")
    return ListedRequests(reference, [{"id": f"{turn:06d}"} for turn in range(1, int(number) + 1)])


def _named(reference: str, text: str, known: Sequence[str]) -> dict[str, str | int]:
    """The classes that a text names, with commas between: what their ids begin with → the class."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise InputError(f"{reference!r}: name each class once, with commas between")
    unknown = next((name for name in names if known and name not in known), None)
    if unknown is not None:
        raise unknown_name("class", unknown, known)
    return {name: name for name in names}


def _every(reference: str, known: Sequence[str]) -> dict[str, str | int]:
    """All classes; those that share a name, as ImageNet's two cranes do, by number."""
    if not known:
        raise InputError(f"{reference!r}: this method takes any words, so name the classes: {CLASSES}star,heart")
    times = Counter(known)
    return {
        name if times[name] == 1 else f"{name} {index}": name if times[name] == 1 else index
        for index, name in enumerate(known)
    }


def _prompts(text: str) -> list[dict[str, Any]]:
    return [{"prompt": line.strip()} for line in text.splitlines() if line.strip()]
