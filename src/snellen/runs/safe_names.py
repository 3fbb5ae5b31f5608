"""Names of files and folders made of text that may be hostile: ids, class names."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

#: Longest slug, UTF-8 bytes; with hash and ending a name stays below 200.
MAX_SLUG_BYTES = 140

#: Folder of images without a class, in a set in which others have one.
UNLABELLED = "unlabelled"

#: Words of plain characters; dots within numbers alone, because a dot may begin an ending.
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_=+-]|(?<=[0-9])\.(?=[0-9])| (?=[A-Za-z0-9]))*")
#: What Windows keeps for devices, also with an ending.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_IMAGE_ENDING = re.compile(r"\.(png|jpe?g|bmp|gif|webp|tiff?|p[pg]m)$", re.IGNORECASE)


def slug(text: str) -> str:
    """Letters and digits of a text, the rest as underscores; not unique, and empty where nothing is left.

    >>> slug("../cats/été 1.png"), slug("../..")
    ('cats_été_1_png', '')
    """
    kept = "".join(c if c.isalnum() or c == "-" else "_" for c in unicodedata.normalize("NFC", text))
    short = re.sub("_+", "_", kept).encode()[:MAX_SLUG_BYTES].decode(errors="ignore")
    return short.strip("_-")


def folder_names(texts: Iterable[str]) -> dict[str, str]:
    """A folder name for each text: the text itself where it is plain, else its slug and a hash; all are different.

    Two names that differ only in case get a hash as well, because on some file systems they are one.

    >>> folder_names(["cat", "T-shirt/top", "Bag", "bag"])
    {'cat': 'cat', 'T-shirt/top': 'T-shirt_top-9cc7a421', 'Bag': 'Bag-b053c961', 'bag': 'bag-c018019b'}
    """
    distinct = list(dict.fromkeys(texts))
    times = Counter(text.casefold() for text in distinct)
    times[UNLABELLED] += 1  # taken
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in distinct:
        plain = _PLAIN.fullmatch(text) and not _RESERVED.fullmatch(text) and len(text) <= MAX_SLUG_BYTES
        whole = text if plain and times[text.casefold()] == 1 else None
        names[text] = _free(whole, text, "", taken)
    return names


def file_names(ids: Sequence[str], ending: str) -> list[str]:
    """A file name for each id: its slug, a hash of it, and the ending; all are different.

    >>> file_names(["cats/1.jpg"], ".png")
    ['cats_1-dedaa2dc.png']
    """
    taken: set[str] = set()
    return [_free(None, example_id, ending, taken) for example_id in ids]


def relative_names(ids: Sequence[str], ending: str) -> list[str]:
    """A file for each id that is a path itself: the same path with this ending, where all of its parts are plain.

    Others, and those that would be one file with an earlier one, get a slug and a hash.

    >>> relative_names(["cat/1.jpg", "cat/1.png", "../dog/2.png"], ".png")
    ['cat/1.png', 'cat_1-6a3b843c.png', 'dog_2-e20d89f8.png']
    """
    taken: set[str] = set()
    found = []
    for example_id in ids:
        parts = _IMAGE_ENDING.sub("", example_id).split("/")
        plain = all(_PLAIN.fullmatch(part) and not _RESERVED.fullmatch(part) for part in parts)
        whole = "/".join(parts) if plain and len(example_id) <= MAX_SLUG_BYTES else None
        found.append(_free(whole, example_id, ending, taken))
    return found


def _free(whole: str | None, text: str, ending: str, taken: set[str]) -> str:
    """The first name that is not taken: plain, with a short hash, with a long one."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    stem = slug(_IMAGE_ENDING.sub("", text))
    candidates = [whole] if whole is not None else []
    candidates += [f"{stem}-{digest[:8]}".lstrip("-"), f"{stem[:40]}-{digest}".lstrip("-")]
    name = next(c for c in candidates if f"{c}{ending}".casefold() not in taken)
    taken.add(f"{name}{ending}".casefold())
    return f"{name}{ending}"
