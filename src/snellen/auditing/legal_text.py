"""Text that a file for other programs may hold: nothing that controls them, and no halves of characters."""

from __future__ import annotations


def legal_text(text: str) -> str:
    r"""Replace what is no character of XML 1.0 (section 2.2), escaped or not, and what turns the order of letters.

    >>> legal_text("a\x00b\x1b[31m\ud800\tc\u202e")
    'a�b�[31m�\tc�'
    """
    return "".join(c if c in "\t\n\r" or (c >= " " and not _illegal(ord(c))) else "�" for c in text)


def _illegal(code: int) -> bool:
    turns = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return turns or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF)
