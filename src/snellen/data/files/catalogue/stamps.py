"""Captioned cut-outs in a tree of folders, as Tux Paint's stamps: on any background, each with its exact mask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import COLUMNS, ImageSet, Provenance
from snellen.data.files.catalogue.cutout_source import (
    CUTOUT_LIMITS,
    Background,
    CutoutSource,
    Placement,
    plain_background,
    survey,
)
from snellen.data.files.contained_file import printable, read_file
from snellen.data.files.decoding import DecodingLimits
from snellen.data.files.folder import list_images

#: Largest text file, bytes, and longest caption, characters.
MAX_BYTES = 2**20
MAX_CHARACTERS = 500

_TRANSLATION = re.compile(r"[A-Za-z]{2,3}([_@-]\w+)*\.utf8=")

#: At most so many words are a name; a longer caption describes use or history.
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
    """Whether a caption does more than name what is seen: it calls out, speaks to the reader or narrates.

    A rule of thumb: a mark of exclamation or question, several sentences, more than :data:`MAX_PLAIN_WORDS` words, or
    one of a list of words ("you", "is", "used", "eat" …).

    >>> [is_chatty(caption) for caption in ("A crowned crane.", "Eat your broccoli!", "Saturn—it's a gas giant.")]
    [False, True, True]
    """
    several = bool(_TWO_SENTENCES.search(caption)) or any(mark in caption for mark in "!?")
    return several or len(caption.split()) > MAX_PLAIN_WORDS or bool(_TALKING.search(caption))


#: Folders that hold no pictures of objects: letters and signs, and drawings.
WITHOUT = ("symbols", "cartoon")

_PREPARED_TURNS = ("_mirror", "_flip", "_mirror_flip")


def load_stamps(
    folder: Path,
    *,
    files: Iterable[str] | None = None,
    without: Sequence[str] = WITHOUT,
    depth: int = 1,
    placement: Placement | None = None,
    backgrounds: Mapping[str, Background] | None = None,
    limits: DecodingLimits = CUTOUT_LIMITS,
    name: str = "stamps",
) -> ImageSet:
    """Read a tree of PNG cut-outs with alpha, and put each on each background.

    Cut-outs are numbered in the order of their paths; those that one turns over come once (``crow_mirror.png`` beside
    ``crow.png`` is left out). Size and position depend on the cut-out alone, so that its pictures on several
    backgrounds differ in nothing but the background: pairs have the same ``unit_id``, and ``group`` is the background.

    Columns: id ("animals/birds/crow/white"), label (folder), unit_id (path of the cut-out without its ending), group,
    caption (first line of ``crow.txt``; may be missing), mask (coverage), boxes, attributes (JSON: folders, chatty,
    enlarged), provenance (source_id is the file; a plain background is not called an edit).
    A cut-out that cannot be used stays in the set and is reported by name: reading it raises with the reason.

    Args:
        folder: the top of the tree.
        files: which ``.png`` files, relative to it; None: all.
        without: names of folders, at any depth, that are left out.
        depth: how many folders make the class: 1 for "animals", 2 for "animals/birds".
        placement: size of the pictures, size and position of the objects; None: 224 pixels, 85 %, in the middle.
        backgrounds: name → function from the number of the cut-out to a picture; None: white alone.
        limits: what is refused.
        name: shown in reports.

    Raises:
        InputError: no cut-outs, no backgrounds, or a name of one that ids cannot hold.
    """
    chosen = placement or Placement()
    behind = dict(backgrounds) if backgrounds is not None else {"white": plain_background()}
    _check(behind, depth)
    root = folder.resolve()
    paths, refused = _paths(root, None if files is None else set(files), frozenset(without))
    units = [printable(path.removesuffix(PurePosixPath(path).suffix)) for path in paths]
    captions: list[str | None] = []
    for path in paths:
        try:
            captions.append(read_caption(root, str(PurePosixPath(path).with_suffix(".txt"))))
        except RejectedImageError as error:
            captions.append(None)
            refused.setdefault(path, str(error))

    def content(number: int) -> bytes:
        if paths[number] in refused:
            raise RejectedImageError(refused[paths[number]])
        return read_file(root, paths[number], limits.max_bytes)

    surveyed = survey(content, units, chosen, limits=limits)
    folders = [tuple(printable(part) for part in PurePosixPath(path).parts[:-1]) for path in paths]
    classes = ["/".join(parts[:depth]) for parts in folders]
    class_names = tuple(sorted({one for one in classes if one}))
    columns: dict[str, list[object]] = {column: [] for column in _COLUMNS}
    for number, unit in enumerate(units):
        place, caption = surveyed.places[number], captions[number]
        attributes = {
            "folders": folders[number],
            "chatty": caption is not None and is_chatty(caption),
            "enlarged": None if place is None else round(place.frame.width / place.crop.width, 4),
        }
        made = Provenance(origin="real" if backgrounds is None else "edited", source_id=printable(paths[number]))
        for which in behind:
            values: dict[str, object] = {
                "id": f"{unit}/{which}",
                "label": class_names.index(classes[number]) if classes[number] else None,
                "unit_id": unit,
                "group": which,
                "mask": f"masks/{unit}/{which}.png",
                "boxes": [list(place.box)] if place is not None and place.box is not None else [],
                "caption": caption,
                "attributes": json.dumps(attributes, ensure_ascii=False),
                "provenance": made.model_dump_json(exclude_none=True),
            }
            for column, value in values.items():
                columns[column].append(value)
    table = pa.table({column: pa.array(listed, COLUMNS[column]) for column, listed in columns.items()})
    source = CutoutSource(
        content=content, surveyed=surveyed, backgrounds=tuple(behind.values()), size=chosen.size, limits=limits
    )
    return ImageSet(source, table, class_names, name)


_COLUMNS = ("id", "label", "unit_id", "group", "mask", "boxes", "caption", "attributes", "provenance")


def _check(backgrounds: Mapping[str, Background], depth: int) -> None:
    if not backgrounds:
        raise InputError("cut-outs need at least one background; pass None for white")
    odd = next((name for name in backgrounds if not name.strip() or "/" in name or "\0" in name), None)
    if odd is not None:
        raise InputError(f"the name of a background becomes part of ids and paths; got {odd!r}, expected no '/' in it")
    if depth < 1:
        raise InputError(f"depth is the number of folders that make the class, at least 1; got {depth}")


def _paths(root: Path, files: set[str] | None, without: frozenset[str]) -> tuple[list[str], dict[str, str]]:
    """Cut-outs of the tree in order, and those among them that must not be read, with the reason."""
    listing = list_images(root)
    found = {path for path in (*listing.paths, *listing.refused) if PurePosixPath(path).suffix.lower() == ".png"}
    found = {path for path in found if not without.intersection(PurePosixPath(path).parts[:-1])}
    turned = {path for path in found if any(_straight(path, ending) in found for ending in _PREPARED_TURNS)}
    chosen = sorted(found - turned if files is None else (found - turned) & files)
    if not chosen:
        raise InputError(f"{root} holds no cut-outs: expected .png files in folders that name what they show")
    refused = {path: listing.refused[path] for path in chosen if path in listing.refused}
    refused |= {path: "lies beside the folders that name the classes" for path in chosen if "/" not in path}
    return chosen, refused


def _straight(path: str, ending: str) -> str | None:
    """The path that this one is a prepared turn of."""
    stem = path[: -len(".png")]
    return f"{stem.removesuffix(ending)}{path[-len('.png') :]}" if stem.endswith(ending) else None
