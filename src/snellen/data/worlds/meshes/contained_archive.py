"""Takes one folder out of a zip archive: nothing outside it, and no more than is plausible."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError, RejectedImageError

_CHUNK = 2**20

#: Bytes of the longest name that common file systems take.
_LONGEST_NAME = 255


class ArchiveLimits(BaseModel):
    """What an archive may ask of the machine.

    >>> ArchiveLimits(max_members=10).max_members
    10
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_archive_bytes: int = Field(2**30, ge=1, description="largest archive, bytes")
    max_entries: int = Field(100_000, ge=1, description="most entries of an archive")
    max_members: int = Field(512, ge=1, description="most files taken out at once")
    max_bytes: int = Field(256 * 2**20, ge=1, description="most bytes taken out at once, unpacked")
    max_ratio: float = Field(
        200.0, ge=1, description="largest ratio of unpacked to packed size of a member of more than a mebibyte"
    )


DEFAULT_LIMITS = ArchiveLimits()


def opened_archive(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> zipfile.ZipFile:
    """Open a zip archive for reading.

    Raises:
        InputError: no such file, no zip archive, too large, or too many entries.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the path of a zip archive")
    if path.stat().st_size > limits.max_archive_bytes:
        raise InputError(f"{path.name} is larger than {limits.max_archive_bytes} bytes (max_archive_bytes)")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path.name} is not a zip archive that can be read: {error}") from error
    if len(archive.infolist()) > limits.max_entries:
        archive.close()
        raise InputError(f"{path.name} has more than {limits.max_entries} entries (max_entries)")
    return archive


def read_member(archive: zipfile.ZipFile, name: str, *, max_bytes: int) -> bytes:
    """Read a member, at most ``max_bytes``, without trust in the size that the archive declares.

    Raises:
        RejectedImageError: no such member, encrypted, damaged or too large.
    """
    try:
        with archive.open(_member(archive, name)) as stream:
            content = stream.read(max_bytes + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, NotImplementedError) as error:
        raise RejectedImageError(f"{name!r} cannot be unpacked: {str(error)[:120]}") from error
    if len(content) > max_bytes:
        raise RejectedImageError(f"{name!r} has more than {max_bytes} bytes (max_bytes)")
    return content


def extract_folder(
    archive: zipfile.ZipFile, folder: str, destination: Path, *, limits: ArchiveLimits = DEFAULT_LIMITS
) -> Path:
    """Write the files of one folder of an archive to ``destination``, all or nothing.

    What was taken out before is taken as it is when the size and the checksum of every file are those of the archive;
    else it is written anew. ``destination`` appears by one renaming, so that it is never half there.

    Args:
        archive: opened.
        folder: a folder in it ("chairs/armchair"); the empty name is the top, without what lies in its folders.
        destination: becomes a folder with the same files at the same places.
        limits: what is refused.

    Raises:
        RejectedImageError: nothing there, or a member that leads outside, is a link, hides another, is encrypted or
            damaged, or breaks a limit. Nothing has been written then.
    """
    members = _members(archive, folder.strip("/"), limits)
    if _is_whole(destination, members):
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".snellen-", dir=destination.parent))
    try:
        left = limits.max_bytes
        for relative, info in members.items():
            content = read_member(archive, info.filename, max_bytes=left)
            left -= len(content)
            target = building / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        building.chmod(0o755)
        _put_in_place(building, destination, members)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return destination


def _put_in_place(building: Path, destination: Path, members: dict[str, zipfile.ZipInfo]) -> None:
    try:
        os.replace(building, destination)
    except OSError:
        # Something is there: whole, by another process just now, or damaged.
        if not _is_whole(destination, members):
            aside = Path(tempfile.mkdtemp(prefix=".snellen-", dir=destination.parent))
            os.replace(destination, aside / "damaged")
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(building, destination)


def _members(archive: zipfile.ZipFile, folder: str, limits: ArchiveLimits) -> dict[str, zipfile.ZipInfo]:
    """Files of a folder by their path in it."""
    prefix = f"{folder}/" if folder else ""
    members: dict[str, zipfile.ZipInfo] = {}
    known: set[str] = set()
    for info in archive.infolist():
        if info.is_dir() or not info.filename.startswith(prefix):
            continue
        relative = info.filename[len(prefix) :]
        if not folder and "/" in relative:
            continue
        _check(info, relative, limits)
        if relative.lower() in known:
            raise RejectedImageError(f"{info.filename!r} is in the archive twice")
        known.add(relative.lower())
        members[relative] = info
    if not members:
        raise RejectedImageError(f"the archive has no file in the folder {folder!r}")
    folders = {str(parent).lower() for relative in members for parent in PurePosixPath(relative).parents}
    both = next((relative for relative in members if relative.lower() in folders), None)
    if both is not None:
        raise RejectedImageError(f"{prefix + both!r} is in the archive as a file and as a folder")
    if len(members) > limits.max_members:
        raise RejectedImageError(f"folder {folder!r} has more than {limits.max_members} files (max_members)")
    if sum(info.file_size for info in members.values()) > limits.max_bytes:
        raise RejectedImageError(f"folder {folder!r} has more than {limits.max_bytes} bytes unpacked (max_bytes)")
    return members


def _check(info: zipfile.ZipInfo, relative: str, limits: ArchiveLimits) -> None:
    parts = PurePosixPath(relative).parts
    # "./a" and "a//b" are other names of "a" and "a/b", which would hide behind them.
    outside = ".." in parts or not parts or PurePosixPath(relative).as_posix() != relative or relative.startswith("/")
    if outside or "\\" in relative or "\0" in relative or PureWindowsPath(relative).drive or ":" in relative:
        raise RejectedImageError(f"{info.filename!r} in the archive leads out of its folder")
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise RejectedImageError(f"{info.filename[:80]!r}… in the archive has too long a name")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise RejectedImageError(f"{info.filename!r} in the archive is not a plain file")
    if info.flag_bits & 1:
        raise RejectedImageError(f"{info.filename!r} in the archive is encrypted")
    if info.file_size > _CHUNK and info.file_size > limits.max_ratio * max(info.compress_size, 1):
        raise RejectedImageError(f"{info.filename!r} in the archive unpacks to more than is plausible (max_ratio)")


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(name)
    except KeyError as error:
        raise RejectedImageError(f"the archive has no {name!r}") from error


def _is_whole(destination: Path, members: dict[str, zipfile.ZipInfo]) -> bool:
    """Whether a folder holds just these files, by size and checksum."""
    if not destination.is_dir():
        return False
    there = {path.relative_to(destination).as_posix() for path in destination.rglob("*") if not path.is_dir()}
    if there != set(members):
        return False
    for relative, info in members.items():
        path = destination / relative
        if path.is_symlink() or path.stat().st_size != info.file_size or zlib.crc32(path.read_bytes()) != info.CRC:
            return False
    return True
