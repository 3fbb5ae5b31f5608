"""A run is a directory that is the record: manifest, shards written atomically, results.

The manifest holds the resolved plan and is written before the first shard; it is never changed afterwards. A run that
is opened again with the same plan resumes where it stopped; with another plan it raises. Clock readings live in
``timing.json`` alone, so that everything else is byte-identical however often a run was interrupted. What is written is
flushed to the disk, names included, before it counts.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError, RunConflictError
from snellen.core.evidence import Evidence
from snellen.core.formats import MANIFEST, writer_of
from snellen.core.renaming import rename_over
from snellen.core.unwritable import unwritable
from snellen.version import __version__

#: Times that a shard is put at its place while other processes may do the same.
_ATTEMPTS = 5


def write_atomically(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write a file so that it is either whole or not there, also after a power cut.

    Args:
        path: of the file.
        content: all of it.
        new: whether the file must not be there yet, also if two processes write it at once.

    Raises:
        FileExistsError: it must not, and is.
    """
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if not (new and _linked(temporary, path)):
            rename_over(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _linked(temporary: Path, path: Path) -> bool:
    """Give a file its name if nobody has it; False where the file system has no links, and so no way to do that."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        return False
    temporary.unlink()
    return True


def _flush(path: Path) -> None:
    """Put a file's bytes, or the names in a folder, on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders, and keeps their names by itself
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a folder; a disk that fails is another matter.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each with its name on the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _flush(path.parent)


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and a final newline: equal values give equal bytes. NaN and infinity are refused.

    >>> canonical_json({"b": 1, "a": 0.5}) == canonical_json({"a": 0.5, "b": 1})
    True
    """
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def csv_table(rows: Sequence[Mapping[str, object]]) -> bytes:
    r"""Rows of the same keys as UTF-8 text with commas, their keys as its header; None is an empty cell.

    >>> csv_table([{"id": "a", "score": 0.5}, {"id": "b", "score": None}])
    b'id,score\r\na,0.5\r\nb,\r\n'
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(rows[0] if rows else ())
    table.writerows(row.values() for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The plan of the run in a folder.

    Raises:
        OSError: there is none.
        ValueError: it is not JSON; as an InputError, no manifest, or that of a newer version of Snellen.
    """
    path = folder / "manifest.json"
    return MANIFEST.read(json.loads(path.read_bytes()), path)


class Run:
    """One run directory.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = Run.open(Path(folder) / "r", {"seed": 0, "shards": 2})
    ...     run.write_shard(0, {"clean": Evidence.of(["a"], setting="clean", model="m")}, {"rejected": []})
    ...     again = Run.open(Path(folder) / "r", {"seed": 0, "shards": 2})
    ...     again.done(0), again.done(1)
    (True, False)
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder, self.plan = folder, plan

    @classmethod
    def open(cls, folder: Path, plan: Mapping[str, Any]) -> Run:
        """Start a run, or go on with one of the same plan.

        Raises:
            RunConflictError: the folder holds a run of another plan, and the message names what differs; or a run of
                an older format.
            InputError: the folder cannot be written, holds files that are no run, or a run of a newer format.
        """
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file, not a folder; choose another --out")
        manifest = folder / MANIFEST.file
        plan = json.loads(canonical_json(plan))
        # A start that was killed leaves at most an unfinished manifest behind.
        if not manifest.is_file() and folder.is_dir():
            others = [path.name for path in folder.iterdir() if not path.name.startswith(".manifest.json.")]
            # Another process may have begun the same run since.
            if others and not manifest.is_file():
                raise InputError(f"{folder} is not empty and holds no run; choose another --out")
        if not manifest.is_file():
            try:
                write_atomically(manifest, canonical_json(MANIFEST.stamped(plan)), new=True)
                return cls(folder, plan)
            except OSError as error:
                # Another process was first: what it wrote is compared like any other.
                if not (isinstance(error, FileExistsError) and manifest.is_file()):
                    raise unwritable(error, folder) from error
        try:
            recorded = json.loads(manifest.read_bytes())
        except ValueError as error:
            raise InputError(f"{manifest} is not readable JSON ({error}); choose another --out") from error
        if not isinstance(recorded, dict):
            raise InputError(f"{manifest} is not the manifest of a run; choose another --out")
        # Shards are read as they were written: a run of an older format cannot be continued, only read when finished.
        if (version := MANIFEST.known_version(recorded, manifest)) != MANIFEST.version:
            raise RunConflictError(
                f"{folder} holds a run of format version {version}, written by {writer_of(recorded) or 'Snellen 0.1'}; "
                f"Snellen {__version__} continues runs of version {MANIFEST.version}: finish it with the Snellen that "
                f"began it, or choose another --out"
            )
        recorded = MANIFEST.read(recorded, manifest)
        if recorded != plan:
            absent = object()
            differing = sorted(k for k in {*recorded, *plan} if recorded.get(k, absent) != plan.get(k, absent))
            raise RunConflictError(
                f"{folder} holds another run (differs in: {', '.join(differing)}); choose another --out, or delete it "
                f"first"
            )
        return cls(folder, plan)

    # -- shards --------------------------------------------------------------------------------------------------

    def _shard(self, shard: int) -> Path:
        return self.folder / "shards" / f"{shard:06d}"

    def done(self, shard: int) -> bool:
        """Whether a shard is complete: each of its files is there with the bytes that were written."""
        try:
            files = json.loads((self._shard(shard) / "extra.json").read_bytes())["files"]
            self.shard_timing(shard)  # has no recorded hash, but must be readable
            return all(_hash(self._shard(shard) / name) == recorded for name, recorded in files.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def write_shard(
        self,
        shard: int,
        evidence: Mapping[str, Evidence],
        extra: Mapping[str, Any],
        *,
        timing: Mapping[str, float] | None = None,
    ) -> None:
        """Write all evidence of a shard, pictures and some JSON beside it; it appears whole or not at all.

        ``extra.json`` holds the hash of each file beside it, by which :meth:`done` recognises a damaged shard.
        ``timing`` is a clock reading: it goes to a ``timing.json`` of its own, which nothing is compared with.
        """
        final = self._shard(shard)
        _make_folder(final.parent)
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=".partial-") as partial:
            folder = Path(partial) / "shard"
            folder.mkdir()
            for name, part in evidence.items():
                part.write(folder / f"{name}.parquet")
                for key, blob in part.blobs.items():
                    self.write_blob(key, blob)
            files = {path.name: _hash(path) for path in sorted(folder.iterdir())}
            (folder / "extra.json").write_bytes(canonical_json({"extra": extra, "files": files}))
            (folder / "timing.json").write_bytes(canonical_json(timing or {}))
            for path in (*folder.iterdir(), folder):
                _flush(path)
            self._give_name(folder, final, shard)
            _flush(final.parent)

    def _give_name(self, folder: Path, final: Path, shard: int) -> None:
        """Put a shard at its place. Another process that has just written the same one is as good."""
        for attempt in range(_ATTEMPTS):
            try:
                os.replace(folder, final)
                return
            except OSError:
                if not final.exists() or attempt == _ATTEMPTS - 1:
                    raise
            if self.done(shard) and _hash(final / "extra.json") == _hash(folder / "extra.json"):
                return
            # Moved away before it is deleted: no half of a shard is ever at the place.
            with suppress(FileNotFoundError):
                os.replace(final, folder.with_name(f"earlier-{attempt}"))

    def shard_evidence(self, shard: int, name: str) -> Evidence:
        """Read the evidence of one check in one shard."""
        return Evidence.read(self._shard(shard) / f"{name}.parquet")

    def shard_extra(self, shard: int) -> dict[str, Any]:
        """Read the JSON that was written with a shard."""
        extra: dict[str, Any] = json.loads((self._shard(shard) / "extra.json").read_bytes())["extra"]
        return extra

    def shard_timing(self, shard: int) -> dict[str, float]:
        """Read the clock readings of a shard."""
        timing: dict[str, float] = json.loads((self._shard(shard) / "timing.json").read_bytes())
        return timing

    def merge(self, shards: int, names: tuple[str, ...]) -> dict[str, Evidence]:
        """Merge the shards in order, write ``evidence/NAME.parquet``, and return the evidence by name."""
        merged = {}
        for name in names:
            merged[name] = Evidence.merge(self.shard_evidence(shard, name) for shard in range(shards))
            path = self.folder / "evidence" / f"{name}.parquet"
            _make_folder(path.parent)
            partial = path.with_name(f".{name}.parquet.{secrets.token_hex(6)}")
            try:
                merged[name].write(partial)
                _flush(partial)
                rename_over(partial, path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            _flush(path.parent)
        return merged

    # -- files ---------------------------------------------------------------------------------------------------

    def write_json(self, name: str, value: object) -> Path:
        """Write a JSON file at the top of the run."""
        write_atomically(self.folder / name, canonical_json(value))
        return self.folder / name

    def write_blob(self, key: str, blob: bytes) -> None:
        """Keep bytes under their hash in ``blobs/``."""
        path = self.folder / "blobs" / key
        if not path.is_file():
            write_atomically(path, blob)

    def read_blob(self, key: str) -> bytes:
        """Read bytes kept under their hash."""
        return (self.folder / "blobs" / key).read_bytes()


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
