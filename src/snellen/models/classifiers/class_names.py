"""Class names that a user gives: a list, or a text file with one name a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from snellen.core.errors import InputError

#: Largest file of class names that is read, bytes.
MAX_BYTES = 16 * 2**20

#: From so many names on, one may occur twice.
MANY = 1000


def read_class_names(classes: Sequence[str] | str | Path) -> tuple[str, ...]:
    """Read class names from a list, or from a UTF-8 text file with one name a line (empty lines at the end ignored).

    Among many, names may occur twice: ImageNet has two kinds of crane.

    >>> read_class_names(["cat", "dog"])
    ('cat', 'dog')

    Raises:
        InputError: no such file, not text, no names, an empty name in between, or a name that occurs twice among fewer
            than :data:`MANY`.
    """
    if not isinstance(classes, str | Path):
        names, source = list(classes), "the list of class names"
        if not all(isinstance(name, str) for name in names):
            odd = next(name for name in names if not isinstance(name, str))
            raise InputError(f"class names are strings; got {odd!r} ({type(odd).__name__})")
    else:
        names, source = _lines(Path(classes)), str(classes)
    if not names:
        raise InputError(f"{source} is empty; expected one name for each output of the model")
    stripped = tuple(name.strip() for name in names)
    if "" in stripped:
        raise InputError(f"{source}: name {stripped.index('') + 1} is empty; expected one name a line")
    twice = next((name for name, times in Counter(stripped).items() if times > 1), None)
    if twice is not None and len(stripped) < MANY:
        raise InputError(f"{source}: {twice!r} occurs twice; classes of one name cannot be told apart")
    return stripped


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"no file of class names at {path}; expected a text file with one name a line")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InputError(f"{path}: {size} bytes is too large for a file of class names (at most {MAX_BYTES})")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text with one class name a line: {error}") from error
    return text.rstrip().splitlines()
