"""A folder of images: class subfolders, splits of class subfolders, or images alone; or one image, a set of one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.data.files.contained_file import distinguished, is_within, kind_of_file, locate, printable
from snellen.data.files.decoding import DEFAULT_LIMITS, NO_DICOM, SIXTEEN_BIT, DecodingLimits
from snellen.data.files.file_source import FileSource
from snellen.data.files.splits import split_of

#: Endings that are looked for, in any case.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

#: Endings of medical images that must not be left out without a word.
DICOM = (".dcm", ".dicom")

#: Why an image without a class is refused where others have one.
BESIDE = "lies beside the class folders, so its class is unknown; move it into one of them"


@dataclass
class Listing:
    """What a folder holds: paths relative to it (refused ones with their reason), and how many other files."""

    paths: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    skipped: int = 0


def load_folder(
    folder: Path,
    *,
    name: str | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    grey_range: tuple[int, int] = SIXTEEN_BIT,
) -> ImageSet:
    """Read a folder of images.

    - Class subfolders: their sorted names are the class names; files nested deeper belong to the topmost subfolder.
    - Subfolders that are all called like splits (``train``, ``val``, ``validation``, ``test``), at least one of
      them with class subfolders: the split of each image is known, classes are the inner subfolders. A split without
      class subfolders has no labels.
    - No subfolders: no labels.

    Ids are POSIX paths relative to the folder. Hidden files and folders are ignored; files with other endings are
    skipped and counted in ``images.source.skipped``, but DICOM files, which are refused by name. What looks like an
    image but must not be read (a link that leads out of the folder or round in a loop, a pipe, a folder called
    ``x.png``, an image beside class subfolders, whose class is unknown) stays in the set, so that it is reported by
    name: reading it raises with the reason.

    Raises:
        InputError: the folder cannot be listed or holds no images.
    """
    root = folder.resolve()
    listing = list_images(root)
    if not listing.paths:
        endings = f"looked for files ending in {' '.join(SUFFIXES)}, in any case"
        first = "".join(f"; refused {printable(path)!r}: {why}" for path, why in list(listing.refused.items())[:3])
        raise InputError(f"{folder} holds no images: {endings}; {listing.skipped} other files were skipped{first}")
    paths = sorted([*listing.paths, *listing.refused])
    places, class_names, splits = places_of(paths, listing)
    refused = {row: listing.refused[path] for row, path in enumerate(paths) if path in listing.refused}
    refused |= {row: BESIDE for row, place in enumerate(places) if place is None and row not in refused}
    columns: dict[str, list[object]] = {"id": list(distinguished(printable(path) for path in paths))}
    if class_names:
        index = {class_name: number for number, class_name in enumerate(class_names)}
        columns["label"] = [None if place is None or place[1] is None else index[place[1]] for place in places]
    if splits:
        columns["split"] = [None if place is None else place[0] for place in places]
    source = FileSource(root, paths, refused=refused, skipped=listing.skipped, limits=limits, grey_range=grey_range)
    table = pa.table({column: pa.array(values, COLUMNS[column]) for column, values in columns.items()})
    names = tuple(printable(class_name) for class_name in class_names) or None
    return ImageSet(
        source, table, names, name or printable(folder.name or root.name), split=splits[0] if len(splits) == 1 else None
    )


def list_images(root: Path, suffixes: Sequence[str] = SUFFIXES, *, medical: bool = False) -> Listing:
    """Find the images below a folder without opening any file.

    Links to files inside are taken. A link to a folder inside is followed once, unless it leads back up.
    """
    listing, followed = Listing(), set[Path]()
    waiting: list[tuple[str, Path]] = [("", root)]
    while waiting:
        relative, folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not relative:
                raise InputError(f"{root} cannot be listed: {error.strerror or error}") from error
            listing.refused[relative] = f"the folder cannot be listed: {error.strerror or error}"
            continue
        further: list[tuple[str, Path]] = []
        for entry in found:
            path = f"{relative}/{entry.name}" if relative else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                further.extend(_follow(root, path, folder, followed, listing, suffixes))
            elif entry.is_dir(follow_symlinks=False):
                if _is_image_name(entry.name, suffixes) and not medical:
                    listing.refused[path] = "not a file but a folder"
                else:
                    further.append((path, folder / entry.name))
            elif not medical and entry.name.lower().endswith(DICOM):
                listing.refused[path] = NO_DICOM
            elif not _is_image_name(entry.name, suffixes):
                listing.skipped += 1
            elif entry.is_file(follow_symlinks=False):
                listing.paths.append(path)
            else:
                listing.refused[path] = f"not a file but {kind_of_file(entry.stat(follow_symlinks=False).st_mode)}"
        waiting.extend(reversed(further))
    return listing


def _follow(
    root: Path, path: str, folder: Path, followed: set[Path], listing: Listing, suffixes: Sequence[str]
) -> Iterator[tuple[str, Path]]:
    """Take or refuse what a link points to; gives a folder to go on with."""
    looks_like_image = _is_image_name(path, suffixes)
    may_be_folder = not os.path.splitext(path)[1]
    try:
        target = (root / path).resolve(strict=True)
        mode = target.stat().st_mode
    except (OSError, RuntimeError) as error:
        if looks_like_image or may_be_folder:
            words = error.strerror if isinstance(error, OSError) and error.strerror else "a loop of links"
            listing.refused[path] = f"a link that leads nowhere: {words}"
        else:
            listing.skipped += 1
        return
    is_folder = stat.S_ISDIR(mode)
    if not is_folder and not looks_like_image:
        listing.skipped += 1
    elif not is_within(target, root) and target != root:
        listing.refused[path] = "a link that leads out of the folder"
    elif is_folder and looks_like_image:
        listing.refused[path] = "not a file but a folder"
    elif is_folder and (target == folder.resolve() or is_within(folder.resolve(), target)):
        listing.refused[path] = "a link that leads back to a folder above it"
    elif is_folder and target in followed:
        listing.refused[path] = "a link to a folder that another link has led to already"
    elif is_folder:
        followed.add(target)
        yield path, target
    else:
        try:
            locate(root, path)
            listing.paths.append(path)
        except RejectedImageError as error:
            listing.refused[path] = str(error)


def _is_image_name(name: str, suffixes: Sequence[str]) -> bool:
    ending = os.path.splitext(name)[1].lower()
    # Where files without an ending are meant, numbers between points are none: names are often those of DICOM objects.
    return ending in suffixes or ("" in suffixes and ending[1:].isdigit())


Place = tuple[Split | None, str | None]


def places_of(paths: Sequence[str], listing: Listing) -> tuple[list[Place | None], list[str], list[Split]]:
    """Split and class of each path (None: beside the class folders), all class names, all splits."""
    parts = {path: PurePosixPath(path).parts for path in paths}
    images = [parts[path] for path in listing.paths]
    tops = {part[0] for part in images if len(part) > 1}
    if tops and all(split_of(top) for top in tops) and any(len(part) > 2 for part in images):
        labelled = {part[0] for part in images if len(part) > 2}
        places = [_within_split(parts[path], labelled) for path in paths]
    elif tops:
        places = [(None, parts[path][0]) if len(parts[path]) > 1 else None for path in paths]
    else:
        places = [(None, None)] * len(paths)
    # A class with refused files alone has no images.
    kept = [place for path, place in zip(paths, places, strict=True) if place and path not in listing.refused]
    class_names = sorted({class_name for _, class_name in kept if class_name is not None})
    known = set(class_names)
    cleaned = [place and (place[0], place[1] if place[1] in known else None) for place in places]
    return cleaned, class_names, sorted({split for split, _ in kept if split is not None})


def _within_split(parts: tuple[str, ...], labelled: set[str]) -> Place | None:
    split = split_of(parts[0]) if len(parts) > 1 else None
    if split is None:
        return None
    if parts[0] not in labelled:
        return split, None
    return (split, parts[1]) if len(parts) > 2 else None


def is_image_file(path: Path) -> bool:
    """Whether a path names a file that ends like an image."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def load_single_image(path: Path, *, name: str | None = None) -> ImageSet:
    """One image without a label, called after its file. A link is followed: a file that is named is meant.

    Raises:
        InputError: there is no such file.
    """
    try:
        found = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be found: {error}") from error
    shown = printable(path.name)
    table = pa.table({"id": pa.array([shown], COLUMNS["id"])})
    return ImageSet(FileSource(found.parent, [found.name]), table, name=name or shown)
