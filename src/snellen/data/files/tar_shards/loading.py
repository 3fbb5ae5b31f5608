"""Tar shards as an image set: one pass over their headers, and the small texts beside the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.contained_file import distinguished
from snellen.data.files.decoding import DEFAULT_LIMITS, SIXTEEN_BIT, DecodingLimits
from snellen.data.files.file_source import EncodedSource
from snellen.data.files.folder import BESIDE, Listing, Place, places_of
from snellen.data.files.manifest import meaning
from snellen.data.files.manifest_table import Written
from snellen.data.files.shard_files import ShardFile, find_shards, identity_of
from snellen.data.files.splits import split_of, split_of_file
from snellen.data.files.tar_shards.headers import read_members
from snellen.data.files.tar_shards.samples import MAX_TEXTS_BYTES, Collected, Sample


class TarSource(EncodedSource):
    """Members of archives, by shard, offset and size. Threads may read at once: each reading opens the shard anew.

    Args:
        shards: the archives, indexed already.
        places: int64 (n, 3): shard, offset and size of each row, bytes.
        refused: row → reason, for rows that must not be read.
        skipped: how many other members the archives hold.
        limits: see :class:`~snellen.data.files.decoding.DecodingLimits`.
        grey_range: values of black and white in grey images of more than 8 bits.
    """

    def __init__(
        self,
        shards: Sequence[ShardFile],
        places: NDArray[np.int64],
        *,
        refused: Mapping[int, str] | None = None,
        skipped: int = 0,
        limits: DecodingLimits = DEFAULT_LIMITS,
        grey_range: tuple[int, int] = SIXTEEN_BIT,
    ) -> None:
        super().__init__(refused, limits, grey_range)
        self.shards, self.places, self.skipped = tuple(shards), places, skipped

    def stored(self, index: int) -> bytes:
        """The member, if its shard still is what it was."""
        shard, offset, size = self.places[index].tolist()
        if size > self.limits.max_bytes:
            raise RejectedImageError(f"the file has {size} bytes, more than {self.limits.max_bytes} (max_bytes)")
        try:
            with self.shards[shard].opened() as stream:
                stream.seek(offset)
                content = stream.read(size)
        except OSError as error:
            raise RejectedImageError(f"cannot be read: {error.strerror or error}") from error
        if len(content) != size:
            raise RejectedImageError("the archive ends within this file")
        return content


#: Most members of all shards together, folders aside.
MAX_MEMBERS = 1_000_000


def load_tar(
    place: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    grey_range: tuple[int, int] = SIXTEEN_BIT,
) -> ImageSet:
    """Index tar shards, and give their images, which are read by their places on demand.

    Nothing is unpacked or written. The archives must not be compressed. Ids are SHARD/MEMBER. What is known of an image
    comes from members of the same key (see :mod:`~snellen.data.files.tar_shards.samples`): ``.cls``, a number or name
    of its class; ``.txt``, its caption; ``.json``, an object with columns of :data:`snellen.core.images.COLUMNS` or
    ``text``. Where no member gives labels, folders inside the archives do, as in a folder of images. Where no member
    gives splits, a shard is of the split that its name begins with (``train-0007.tar``).

    In the set stay, to be rejected by name with the reason: images whose texts cannot be used; several of one name or
    key; links, devices and names that lead out; pickles and archives inside; and a shard that is damaged, from the
    damage on. Other members are counted in ``images.source.skipped``.

    Args:
        place: a file, a folder of files ending in .tar, or FOLDER/NAME-{0000..0146}.tar.
        class_names: names of classes that are numbered.
        name: shown in reports.
        limits: what is refused of an image.
        grey_range: values of black and white in grey images of more than 8 bits.

    Raises:
        InputError: nothing there, no usable image in it, or more members than :data:`MAX_MEMBERS`.
    """
    shown_as = str(place)
    index = _Index()
    for shard in find_shards(shown_as, ".tar"):
        index.add(shard)
    used = [sample for _, sample in index.samples if sample.problem is None]
    if not used:
        first = "".join(f"; {index.identity(n)}: {sample.problem}" for n, (_, sample) in enumerate(index.samples[:3]))
        raise InputError(f"{shown_as} holds no usable images{first}; {index.skipped} other members were skipped")
    table, names, split = meaning(shown_as, _written(shown_as, index, class_names), class_names)
    places = [(shard, sample.offset, sample.size) for shard, sample in index.samples]
    refused = {row: sample.problem for row, (_, sample) in enumerate(index.samples) if sample.problem is not None}
    source = TarSource(
        index.shards,
        np.array(places, dtype=np.int64),
        refused=refused,
        skipped=index.skipped,
        limits=limits,
        grey_range=grey_range,
    )
    return ImageSet(source, table, names, name or Path(shown_as).name.removesuffix(".tar"), split=split)


@dataclass
class _Index:
    """All samples, each with the number of its shard."""

    shards: list[ShardFile] = field(default_factory=list)
    samples: list[tuple[int, Sample]] = field(default_factory=list)
    skipped: int = 0
    members: int = 0
    budget: int = MAX_TEXTS_BYTES

    def add(self, shard: ShardFile) -> None:
        """Read the headers of a shard; where they are damaged, a row of its own says so."""
        number, problem, collected = len(self.shards), None, None
        try:
            with shard.opened() as stream:
                shard = replace(shard, identity=identity_of(stream))
                collected = Collected(stream, self.budget)
                try:
                    for member in read_members(stream, identity_of(stream)[2]):
                        self.members += not member.folder
                        if self.members > MAX_MEMBERS:
                            raise InputError(
                                f"{shard.shown_as}: more than {MAX_MEMBERS} members in all; give fewer shards"
                            )
                        collected.add(member)
                except RejectedImageError as error:
                    problem = str(error)
        except RejectedImageError as error:
            problem = str(error)
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
        self.shards.append(shard)
        if problem is not None:
            self.samples.append((number, Sample("", problem=problem)))
        if collected is not None:
            self.samples += [(number, sample) for sample in collected.samples()]
            self.skipped += collected.skipped
            self.budget = collected.budget

    def identity(self, row: int) -> str:
        """Id of a row."""
        number, sample = self.samples[row]
        shown_as = sample.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return f"{self.shards[number].shown_as}/{shown_as}" if shown_as else self.shards[number].shown_as


def _written(shown_as: str, index: _Index, class_names: Sequence[str] | None) -> Written:
    """Columns of the images; rows with impossible values are refused."""
    written = _columns(index)
    try:
        meaning(shown_as, written, class_names)
    except InputError:
        spoilt = dict[int, str]()
        usable = [row for row in range(len(index.samples)) if index.samples[row][1].problem is None]
        for row in usable:
            stated = {c: [values[row]] for c, values in written.columns.items() if values[row] is not None}
            one = Written(stated, {}, ["this image"])
            try:
                # The reason goes into reports, under pseudonyms too, and the value may name a person.
                meaning("the texts beside it", one, class_names, quoting=False)
            except InputError as error:
                spoilt[row] = str(error)
        if len(spoilt) == len(usable):
            raise
        for row, problem in spoilt.items():
            sample = index.samples[row][1]
            sample.stated, sample.problem = {}, problem
        written = _columns(index)
    return written


def _columns(index: _Index) -> Written:
    samples = [sample for _, sample in index.samples]
    ids = distinguished(index.identity(row) for row in range(len(samples)))
    columns: dict[str, list[object]] = {"id": list(ids)}
    stated = {column for sample in samples for column in sample.stated}
    by_folders = {} if stated & {"label", "labels", "bag_label"} else _by_folders(samples)
    for column in sorted(stated):
        columns[column] = [sample.stated.get(column) for sample in samples]
    columns |= by_folders
    by_name = [split_of_file(index.shards[number].name) for number, _ in index.samples]
    if any(by_name):
        given = columns.get("split", [None] * len(samples))
        columns["split"] = [split or of_shard for split, of_shard in zip(given, by_name, strict=True)]
    return Written(columns, {}, ids)


def _by_folders(samples: Sequence[Sample]) -> dict[str, list[object]]:
    """Labels, and splits, by the folders inside the archives, where images lie in folders."""
    usable = [sample for sample in samples if sample.problem is None]
    listing = Listing(paths=_below_the_first_folder([sample.name for sample in usable]))
    places, class_names, splits = places_of(listing.paths, listing)
    by_name = dict[str, Place]()
    for sample, place in zip(usable, places, strict=True):
        if place is None:
            sample.problem, sample.stated = BESIDE, {}
        else:
            by_name[sample.name] = place
    found: dict[str, list[object]] = {}
    if class_names:
        labels = [by_name.get(sample.name, (None, None))[1] for sample in samples]
        found["label"] = [
            None if text is None else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            for text in labels
        ]
    if splits:
        found["split"] = [by_name.get(sample.name, (None, None))[0] for sample in samples]
    return found


def _below_the_first_folder(names: list[str]) -> list[str]:
    """Without the folders that all names begin with: an archive of one folder is read as that folder is."""
    while names and "/" in names[0]:
        first = names[0].partition("/")[0] + "/"
        if split_of(first[:-1]) or not all(name.startswith(first) for name in names):
            break
        names = [name.removeprefix(first) for name in names]
    return names
