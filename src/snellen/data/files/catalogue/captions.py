"""English captions of cut-outs, from text files that go on with translations; and which of them only name a thing."""

from __future__ import annotations

import re
from pathlib import Path

from snellen.core.errors import RejectedImageError
from snellen.data.files.contained_file import read_file

#: Largest text file, bytes, and longest caption, characters.
MAX_BYTES = 2**20
MAX_CHARACTERS = 500

_TRANSLATION = re.compile(r"[A-Za-z]{2,3}([_@-]\w+)*\.utf8=")

#: At most so many words are a name; what is longer tells of use or history.
MAX_PLAIN_WORDS = 12

# Words that speak to the reader or of oneself, and verbs that make a sentence of a name.
_TALKING = re.compile(
    r"\b(you|your|yours|we|us|our|ours|i|i'm|me|my|let's|let|please|is|are|was|were|has|have|had|must|means?|"
    r"used|it's|that's|don't|eat|put|enter|drive|go|come|look|listen|remember)\b",
    re.IGNORECASE,
)
_TWO_SENTENCES = re.compile(r"[.!?…][\"”')]*\s+\S")


def read_caption(root: Path, relative: str) -> str | None:
    """First line of a text file below ``root``: the English caption; None where there is none.

    The file is UTF-8, with or without a byte order mark. A first line that is empty or a translation
    ("de.utf8=Eine Krähe.") is no caption.

    Raises:
        RejectedImageError: the file cannot be read, is too large, is not UTF-8, or its first line is too long.
    """
    try:
        content = read_file(root, relative, MAX_BYTES)
    except RejectedImageError as error:
        if not (root / relative).exists():
            return None
        raise RejectedImageError(f"caption {relative}: {error}") from error
    try:
        line = content.partition(b"\n")[0].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RejectedImageError(f"caption {relative}: not UTF-8 at byte {error.start}") from error
    caption = " ".join(line.split())
    if len(caption) > MAX_CHARACTERS:
        raise RejectedImageError(f"caption {relative}: {len(caption)} characters, more than {MAX_CHARACTERS}")
    if not caption or _TRANSLATION.match(caption):
        return None
    return caption


def is_chatty(caption: str) -> bool:
    """Whether a caption does more than name what is seen: it calls out, speaks to the reader or tells a story.

    A rule of thumb: a mark of exclamation or question, several sentences, more than :data:`MAX_PLAIN_WORDS` words, or
    one of a list of words ("you", "is", "used", "eat" …).

    >>> [is_chatty(caption) for caption in ("A crowned crane.", "Eat your broccoli!", "Saturn—it's a gas giant.")]
    [False, True, True]
    """
    several = bool(_TWO_SENTENCES.search(caption)) or any(mark in caption for mark in "!?")
    return several or len(caption.split()) > MAX_PLAIN_WORDS or bool(_TALKING.search(caption))
