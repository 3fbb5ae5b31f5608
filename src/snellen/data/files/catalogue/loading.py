"""Real image sets by name: ``known:fashion-mnist``, or ``known:stamps@/usr/share/tuxpaint/stamps``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Provenance, Split
from snellen.data.files.catalogue.emoji import load_emoji
from snellen.data.files.catalogue.known_set import (
    KnownSet,
    check_sums,
    find_set,
    find_source,
    known_set,
    known_sets_by_name,
    stored_sums,
)
from snellen.data.files.catalogue.photos import load_photos
from snellen.data.files.catalogue.pixel_csv import load_pixel_csv
from snellen.data.files.catalogue.stamps import load_stamps
from snellen.data.files.idx import load_idx

SCHEME = "known:"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A row of the catalogue, and whether it can be loaded on this machine.

    Args:
        known: the row.
        folders: folder of the files of each of its packages; None where it is not installed.
    """

    known: KnownSet
    folders: tuple[Path | None, ...]

    @property
    def installed(self) -> bool:
        """Whether all its packages are."""
        return None not in self.folders


def known_sets() -> tuple[Listed, ...]:
    """All sets of the catalogue, in its order; nothing is read but lists of files.

    >>> [listed.known.name for listed in known_sets()]
    ['fashion-mnist', 'digits', 'mnist-5k', 'photos', 'stamps', 'emoji', 'emoji-noto', 'emoji-fluent']
    """
    return tuple(
        Listed(known=known, folders=tuple(find_source(source) for source in known.sources))
        for known in known_sets_by_name().values()
    )


def load_known(
    name: str, *, path: str | os.PathLike[str] | None = None, verify: bool = True, split: Split | None = None
) -> ImageSet:
    """Load a real image set of the catalogue with its default options.

    The set is the same on every machine: the files that the catalogue lists, by their checksums. Checksums are compared
    when the set is loaded; files that are exchanged afterwards are not noticed here (fingerprints notice).

    Args:
        name: see :func:`known_sets`.
        path: folder of the files, or of the package; None: where the package installs them. Where a set takes files of
            two packages, those that are not there are looked for where they install.
        verify: compare the sha256 of every file; False takes other versions, and all files that are there.
        split: for sets that come in splits; None: test. Others refuse one.

    Raises:
        UnknownNameError: no such set; the message lists the nearest names.
        InputError: not installed (the message has the command), another file than expected, or no such split.
    """
    known = known_set(name)
    if split is not None and split not in known.splits:
        there = f"its splits are {' and '.join(known.splits)}" if known.splits else "it comes in no splits"
        raise InputError(f"{known.title} has no split {split!r}: {there}")
    folders = find_set(known, path=None if path is None else Path(path), verify=verify)
    if verify:
        for source, folder in zip(known.sources, folders, strict=True):
            limit = source.max_file_bytes
            check_sums(folder, stored_sums(source.sums), max_file_bytes=limit, version=source.version)
    return _FORMATS[known.format](known, folders, verify, split)


def load_reference(text: str, *, split: Split | None = None, name: str | None = None, verify: bool = True) -> ImageSet:
    """Load ``known:NAME`` or ``known:NAME@PATH`` (the scheme may be missing).

    >>> load_reference("known:fashion-mist")
    Traceback (most recent call last):
    snellen.core.errors.UnknownNameError: unknown real image set 'fashion-mist'; did you mean 'fashion-mnist'? ...

    Args:
        text: the reference; everything after the first ``@`` is the path.
        split: as :func:`load_known`.
        name: shown in reports.
        verify: as :func:`load_known`.

    Raises:
        InputError: as :func:`load_known`, or an ``@`` without a path.
    """
    which, mark, path = text.removeprefix(SCHEME).partition("@")
    if (mark and not path) or "\0" in text:
        raise InputError(f"{text!r}: write known:NAME, or known:NAME@PATH with the folder of the files")
    images = load_known(which, path=path or None, verify=verify, split=split)
    return images if name is None else replace(images, name=name)


def _idx(known: KnownSet, folders: tuple[Path, ...], verify: bool, split: Split | None) -> ImageSet:
    chosen: Split = split or "test"
    shown = f"{known.title} ({chosen} split)"
    return _real(load_idx(folders[0], split=chosen, class_names=known.class_names, name=shown))


def _pixel_csv(known: KnownSet, folders: tuple[Path, ...], verify: bool, split: Split | None) -> ImageSet:
    assert known.side is not None
    assert known.largest is not None
    assert known.class_names is not None
    file = folders[0] / next(iter(stored_sums(known.sources[0].sums)))
    return _real(
        load_pixel_csv(file, side=known.side, largest=known.largest, class_names=known.class_names, name=known.title)
    )


def _photos(known: KnownSet, folders: tuple[Path, ...], verify: bool, split: Split | None) -> ImageSet:
    packages = [source.package for source in known.sources]
    return load_photos(dict(zip(packages, folders, strict=True)), name=known.title)


def _stamps(known: KnownSet, folders: tuple[Path, ...], verify: bool, split: Split | None) -> ImageSet:
    files = stored_sums(known.sources[0].sums) if verify else None
    return load_stamps(folders[0], files=files, name=known.title)


def _emoji(known: KnownSet, folders: tuple[Path, ...], verify: bool, split: Split | None) -> ImageSet:
    font, folder, files = None, None, None
    for source, found in zip(known.sources, folders, strict=True):
        sums = stored_sums(source.sums)
        if source.registry == "npm":
            folder, files = found, sums if verify else None
        else:
            font = found / next(iter(sums))
    return load_emoji(font=font, folder=folder, files=files, name=known.title)


_FORMATS: dict[str, Callable[[KnownSet, tuple[Path, ...], bool, Split | None], ImageSet]] = {
    "idx": _idx,
    "pixel-csv": _pixel_csv,
    "photos": _photos,
    "stamps": _stamps,
    "emoji": _emoji,
}


def _real(images: ImageSet) -> ImageSet:
    made = Provenance(origin="real").model_dump_json(exclude_none=True)
    column = pa.array([made] * len(images), COLUMNS["provenance"])
    return replace(images, table=images.table.append_column("provenance", column))
