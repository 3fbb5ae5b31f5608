"""Members of an archive, put together to images and their columns: the layout of WebDataset.

Members belong together when their names are equal up to the first dot of the last part: ``cat/17.jpg``, ``cat/17.cls``
and ``cat/17.json`` have the key ``cat/17``. Of what lies beside an image, only small texts of known endings are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS
from snellen.data.files.folder import SUFFIXES
from snellen.data.files.tar_shards.headers import Member

#: Endings that are read as text: a label, a caption, a JSON object.
TEXTS = ("cls", "txt", "json")

#: Endings of files that Python, PyTorch and NumPy may read by running what is in them. They are never read.
PICKLES = ("pyd", "pkl", "pickle", "pth", "pt", "ckpt", "npy", "npz", "joblib")

#: Endings of archives and packed files, which are not opened inside an archive.
ARCHIVES = ("tar", "tgz", "zip", "gz", "bz2", "xz", "zst", "7z", "rar")

#: Largest text beside an image, and all such texts of a set together, bytes.
MAX_TEXT_BYTES, MAX_TEXTS_BYTES = 1024 * 1024, 1024**3

#: What a JSON object may say about an image. Its id is its name; no text may name a file.
KNOWN = frozenset(COLUMNS) - {"id", "mask"}


@dataclass(slots=True)
class Sample:
    """One image and its columns.

    Attributes:
        name: of its member.
        offset: of its content in the archive, bytes.
        size: of its content, bytes.
        stated: values by column.
        problem: why the image cannot be used, or None.
    """

    name: str
    offset: int = -1
    size: int = 0
    stated: dict[str, object] = field(default_factory=dict)
    problem: str | None = None


@dataclass(slots=True)
class _Together:
    """Members of one key."""

    images: list[Member] = field(default_factory=list)
    further: list[Member] = field(default_factory=list)  # images of endings in two parts, such as .seg.png
    stated: dict[str, object] = field(default_factory=dict)
    problem: str | None = None


class Collected:
    """What was found in one archive.

    Args:
        stream: the archive.
        budget: bytes of texts that may still be read.
    """

    def __init__(self, stream: BinaryIO, budget: int = MAX_TEXTS_BYTES) -> None:
        self.stream, self.budget = stream, budget
        self.refused: dict[str, str] = {}
        self.skipped = 0
        self._keys: dict[str, _Together] = {}
        self._seen: set[str] = set()

    def add(self, member: Member) -> None:
        """Sort one member in: an image, a text beside one, or something that is named or counted and not read."""
        last = member.name.rpartition("/")[2]
        if member.folder:
            return
        if member.problem is None and any(part.startswith(".") for part in member.name.split("/")):
            self.skipped += 1
            return
        stem, _, endings = last.partition(".")
        key = member.name[: len(member.name) - len(last)] + stem
        ending = endings.lower().rpartition(".")[2]
        if member.name in self._seen:
            self.refused[member.name] = "several members have this name"
            if endings.lower() in TEXTS and key in self._keys:
                self._keys[key].problem = f"several members are the .{endings.lower()} beside it"
            return
        self._seen.add(member.name)
        if member.problem is not None:
            self.refused[member.name] = member.problem
        elif f".{ending}" in SUFFIXES:
            together = self._keys.setdefault(key, _Together())
            (together.further if "." in endings else together.images).append(member)
        elif endings.lower() in TEXTS:
            self._read(key, endings.lower(), member)
        elif ending in PICKLES:
            self.refused[member.name] = f"not read: a file ending in .{ending} may run code when it is"
        elif ending in ARCHIVES:
            self.refused[member.name] = "not read: an archive, or a packed file, inside the archive"
        else:
            self.skipped += 1

    def samples(self) -> Iterable[Sample]:
        """Every image, and every member that is refused by name."""
        for together in self._keys.values():
            images = together.images or together.further
            self.skipped += len(together.further) if together.images else 0
            several = f"{len(images)} images have its key, its name up to the first dot"
            for member in images:
                problem = self.refused.pop(member.name, None) or (several if len(images) > 1 else together.problem)
                stated = {} if problem else together.stated
                yield Sample(member.name, member.offset, member.size, stated, problem)
            self.skipped += not images
        for name, problem in self.refused.items():
            yield Sample(name, problem=problem)

    def _read(self, key: str, ending: str, member: Member) -> None:
        together = self._keys.setdefault(key, _Together())
        described = f"the .{ending} beside it"
        if member.size > MAX_TEXT_BYTES:
            together.problem = f"{described} has {member.size} bytes, more than {MAX_TEXT_BYTES}"
            return
        self.budget -= member.size
        if self.budget < 0:
            raise InputError(f"texts beside the images have more than {MAX_TEXTS_BYTES} bytes; split the set")
        self.stream.seek(member.offset)
        content = self.stream.read(member.size)
        try:
            text = content.decode("utf-8-sig").strip()
            stated = _object(text) if ending == "json" else {"label" if ending == "cls" else "caption": text}
        except (ValueError, RecursionError) as error:
            reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)[:200]
            together.problem = f"{described} cannot be used: {reason}"
            return
        for column, value in stated.items():
            before = together.stated.setdefault(column, value)
            if str(before) != str(value):
                together.problem = f"texts beside it differ in {column}"


def _object(text: str) -> dict[str, object]:
    """What a JSON object says in columns that are known; anything else in it is left alone."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    stated = {name: found for name, found in value.items() if name in KNOWN and found is not None}
    if isinstance(value.get("text"), str):
        stated.setdefault("caption", value["text"])
    for name in ("attributes", "provenance"):
        if isinstance(stated.get(name), dict):
            stated[name] = json.dumps(stated[name])
    return stated
