"""A folder with every hostile file beside good ones, and what must become of each."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.pictures import ODD, REJECTED, cuts, encode, noise

#: Ends of names that are data, and must stay data: markup, quotes, controls, directions, commands, templates.
NAMES = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)<",
    "\"onmouseover=alert(1) '",
    "&lt;b&gt; & <b>",
    "<!--",
    "]]>",
    "{{7*7}} {% raw %}",
    "new\nline",
    "return\rline",
    "tab\there",
    "\x1b[2J\x1b]0;title\x07",
    "\x01\x7f\x9b31m",
    "right\u202egnp.left",
    "\u2066isolated\u2069\u200b\ufeff",
    "e\u0301 and \u00e9",
    "\U0001f9ea",
    "-rf",
    "--help",
    "$(touch pwned) `touch pwned` ; touch pwned",
    "%2e%2e%2fetc%2fpasswd",
    "x\\..\\..\\etc\\passwd",
    "x..",
    "CON",
    " leading and trailing ",
    "[red]rich[/red]",
    "=cmd()",
    "n" * 251,
    "é" * 125,
)

#: Names that are not UTF-8.
RAW_NAMES = (b"caf\xe9.png", b"\xff\xfe.png", b"\xed\xa0\x80.png")

#: Class folders; the first is a name that is markup.
CLASSES = ("<b onclick=alert(2)>cat & dog", "dog")


@dataclass
class Corpus:
    """What was written.

    Attributes:
        root: the folder.
        outside: a folder beside it, of which nothing may be read.
        good: ids that must be counted.
        bad: id → pattern of the reason.
    """

    root: Path
    outside: Path
    good: set[str] = field(default_factory=set)
    bad: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, content: bytes, reason: str | None = None) -> None:
        """Write one file; ``reason`` is that of its rejection."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        if reason is None:
            self.good.add(shown)
        else:
            self.bad[shown] = reason


def picture(number: int, side: int = 12) -> bytes:
    """A good picture, none like another."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3)).astype(np.uint8)
    return encode(Image.fromarray(pixels), "PNG")


def build_folder(place: Path) -> Corpus:
    """Write the corpus below ``place``: the folder ``data``, and ``outside``."""
    corpus = Corpus(place / "data", place / "outside")
    cat, dog = CLASSES
    corpus.outside.mkdir(parents=True)
    (corpus.outside / "secret.png").write_bytes(picture(999))
    for number in range(30):
        corpus.put(f"{CLASSES[number % 2]}/good {number:02d}.png", picture(number))
    for name, (make, reason) in REJECTED.items():
        corpus.put(f"{dog}/bad {_safe(name)}.png", make(), reason)
    for name, make_odd in ODD.items():
        corpus.put(f"{dog}/odd {_safe(name)}.jpg", make_odd())  # the suffix lies about most
    for kind in ("PNG", "JPEG", "GIF"):
        for name, content in cuts(kind):
            corpus.put(f"{cat}/{name}.png", content, ".")
    for number, name in enumerate(NAMES):
        corpus.put(f"{cat}/{name}.png"[: len(cat) + 256], picture(100 + number))
        if len(os.fsencode(name)) < 240:
            corpus.put(f"{cat}/bad {name}.png", b"\x89PNG\r\n\x1a\n", "damaged|not a readable")
    for raw in RAW_NAMES:
        corpus.put(os.fsdecode(os.fsencode(f"{dog}/") + raw), noise("PNG"))
    corpus.put(f"{dog}/.hidden.png", b"x")
    corpus.good.discard(f"{dog}/.hidden.png")
    for name, (make_special, reason) in SPECIAL.items():
        make_special(corpus.root / dog / name, corpus.outside)
        corpus.bad[f"{dog}/{name}"] = reason
    (corpus.root / "way out").symlink_to(corpus.outside, target_is_directory=True)
    corpus.bad["way out"] = "leads out of the folder"
    (corpus.root / dog / "up").symlink_to(corpus.root, target_is_directory=True)
    corpus.bad[f"{dog}/up"] = "leads back"
    corpus.put("beside.png", picture(500), "lies beside the class folders")
    return corpus


def _folder(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "inside.png").write_bytes(picture(600))


def _socket(path: Path, outside: Path) -> None:
    # The path of a socket may have 107 bytes: it is made where it is, by a relative name.
    back = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(back)
        os.close(back)


OUT, NOWHERE = "leads out of the folder", "leads nowhere"

#: What is no file, by name: how it is made, and the reason.
SPECIAL: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "pipe.png": (lambda path, outside: os.mkfifo(path), "not a file but a named pipe"),
    "folder.png": (_folder, "not a file but a folder"),
    "socket.png": (_socket, "not a file but a socket"),
    "link out.png": (lambda path, outside: path.symlink_to(outside / "secret.png"), OUT),
    "link up.png": (lambda path, outside: path.symlink_to("../../outside/secret.png"), OUT),
    "link to passwords.png": (lambda path, outside: path.symlink_to("/etc/passwd"), OUT),
    "link to zeros.png": (lambda path, outside: path.symlink_to("/dev/zero"), OUT),
    "link to memory.png": (lambda path, outside: path.symlink_to("/proc/self/mem"), OUT),
    "link to itself.png": (lambda path, outside: path.symlink_to(path.name), NOWHERE),
    "link to nothing.png": (lambda path, outside: path.symlink_to("nothing here"), NOWHERE),
    "link to a pipe.png": (lambda path, outside: path.symlink_to("pipe.png"), "not a file but a named pipe"),
    "loop a.png": (lambda path, outside: path.symlink_to("loop b.png"), NOWHERE),
    "loop b.png": (lambda path, outside: path.symlink_to("loop a.png"), NOWHERE),
}


def _safe(name: str) -> str:
    return name.replace("/", " ")
