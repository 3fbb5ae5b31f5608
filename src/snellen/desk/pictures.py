"""Pictures of the audited images: small ones, made once and kept beside the decisions, and large ones on demand."""

from __future__ import annotations

import hashlib
import io
import secrets
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.renaming import rename_over
from snellen.desk.run_folder import RunFolder

if TYPE_CHECKING:
    from snellen.core.images import ImageSet

#: Longer side of a small picture and of a large one, pixels. Smaller images keep their size: a page enlarges them.
SMALL, LARGE = 192, 1_600

#: Up to this side pixels are shown as squares, and are kept without loss.
PIXELS_SHOWN = 64

#: Image sets that stay open.
_OPEN = 4

#: Folder of the small pictures, below the desk's own.
THUMBNAILS = "thumbnails"


@dataclass(eq=False)
class _Opened:
    images: ImageSet | None
    why: str = ""
    reading: threading.Lock = field(default_factory=threading.Lock)
    rows: dict[str, int] = field(default_factory=dict)


class Pictures:
    """Pictures of the images of runs.

    Args:
        store: folder of the desk's own files.
    """

    def __init__(self, store: Path) -> None:
        self.folder = store / THUMBNAILS
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = threading.Lock()

    def small(self, run: RunFolder, example: str) -> bytes:
        """A small picture of an image as WebP. It is kept, unless the audit was to keep no images.

        Raises:
            InputError: the images of the run cannot be opened again, or this one cannot be read.
        """
        name = hashlib.sha256(example.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        file = self.folder / run.key / f"{name}.webp"
        if run.keeps_pictures:
            kept = _kept(file)
            if kept is not None:
                return kept
        content = encoded(self._read(run, example), SMALL)
        if run.keeps_pictures:
            with suppress(OSError):  # a full disk makes the page slower, and not worse
                _keep(file, content)
        return content

    def large(self, run: RunFolder, example: str) -> bytes:
        """An image as WebP, reduced where it is very large; never kept, and never the bytes of its file.

        Raises:
            InputError: as :meth:`small`.
        """
        return encoded(self._read(run, example), LARGE)

    def why_not(self, run: RunFolder) -> str:
        """Why the images of a run cannot be shown; empty where they can."""
        return self._of(run).why

    def _read(self, run: RunFolder, example: str) -> Image.Image:
        opened = self._of(run)
        if opened.images is None:
            raise InputError(opened.why)
        row = opened.rows.get(example)
        if row is None:
            raise InputError("this image is not among those that the run knows")
        try:
            with opened.reading:  # not every source may be read by several threads
                return opened.images.read(row)
        except (RejectedImageError, OSError) as error:
            raise InputError(f"this image cannot be read: {error}") from error

    def _of(self, run: RunFolder) -> _Opened:
        with self._lock:
            if run.key not in self._opened:
                self._opened[run.key] = _open(run)
                while len(self._opened) > _OPEN:
                    self._opened.popitem(last=False)
            self._opened.move_to_end(run.key)
            return self._opened[run.key]


def _open(run: RunFolder) -> _Opened:
    try:
        pseudonyms = run.plan.get("pseudonyms")
    except InputError as error:
        return _Opened(None, str(error))
    if pseudonyms is not None:
        return _Opened(None, "the audit replaced the names of its images by pseudonyms, so none is shown")
    # What reads images loads torch, for seconds: a page without them need not wait.
    from snellen.auditing.subject import audited_images

    try:
        images = audited_images(run.path)
    except InputError as error:
        return _Opened(None, str(error))
    if images is None:
        return _Opened(None, "the images were handed to the audit as objects, and cannot be opened again")
    return _Opened(images, rows={name: row for row, name in enumerate(images.ids)})


def encoded(picture: Image.Image, side: int) -> bytes:
    """A picture as WebP with at most this longer side; without loss where its pixels are to be seen.

    >>> Image.open(io.BytesIO(encoded(Image.new("RGB", (400, 200)), 100))).size
    (100, 50)
    """
    shown = picture.convert("RGB")
    longer = max(shown.size)
    if longer > side:
        size = (max(round(shown.width * side / longer), 1), max(round(shown.height * side / longer), 1))
        shown = shown.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    stream = io.BytesIO()
    sharp = longer <= PIXELS_SHOWN
    shown.save(stream, "WEBP", lossless=sharp, quality=100 if sharp else 78, method=1 if sharp else 3)
    return stream.getvalue()


def _kept(file: Path) -> bytes | None:
    """The picture that was kept, if it is whole: nobody waited for the disk when it was written."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    whole = len(content) >= 12 and content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 == len(content)
    return content if whole else None


def _keep(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    temporary.write_bytes(content)
    rename_over(temporary, file)
