"""Keeps rendered views on disk, so that no view is rendered twice."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.renaming import rename_over
from snellen.data.files.decoding import pillow_warnings_contained
from snellen.data.worlds.meshes.mesh_renderer import as_tensors
from snellen.data.worlds.viewpoints import COORDINATES, RecordedRenderer

#: Viewpoints are rounded to this many decimals, of a degree or of an object's radius: far less than a pixel.
DECIMALS = 4

#: The last chunk of every PNG: Pillow reads some files that were cut off before it.
_END = b"IEND\xaeB`\x82"

_View = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class CachedViews:
    """A renderer that remembers its views in a folder.

    A view is found again by a hash of the renderer's recipe, the object's content, the image size and the viewpoint,
    rounded to 0.0001; what is rendered is the rounded viewpoint, and what is returned is what the file holds
    (bytes), so that it makes no difference whether a view was there. A file is a PNG with coverage as its
    alpha. Files are written under another name and then renamed, so several processes may share a folder; a damaged one
    is rendered anew.

    Args:
        renderer: draws what is not there.
        folder: holds the views; may be emptied at any time.
        max_bytes: when the folder holds more, the views used longest ago go, until it holds nine tenths of that;
            None: no bound. Each process counts what it writes itself, so several may together exceed it for a while.

    Raises:
        InputError: ``max_bytes`` below 1.
    """

    def __init__(self, renderer: RecordedRenderer, folder: Path, *, max_bytes: int | None = None) -> None:
        if max_bytes is not None and max_bytes < 1:
            raise InputError(f"max_bytes must be at least 1, or None for no bound; got {max_bytes}")
        self.renderer, self.folder, self.max_bytes = renderer, folder, max_bytes
        self._held: int | None = None
        self._lock = threading.Lock()

    @property
    def objects(self) -> tuple[str, ...]:
        """Ids of the objects."""
        return self.renderer.objects

    @property
    def size(self) -> int:
        """Height and width of the images, pixels."""
        return self.renderer.size

    @property
    def recipe(self) -> str:
        """The renderer's recipe, and that viewpoints are rounded."""
        return f"{self.renderer.recipe}; viewpoints rounded to {DECIMALS} decimals"

    def class_of(self, object_id: str) -> str:
        """Name of the class of an object."""
        return self.renderer.class_of(object_id)

    def content_hash(self, object_id: str) -> str:
        """Hash of everything that an object was made from (hex)."""
        return self.renderer.content_hash(object_id)

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Render one object from viewpoints (n, 6); what is not there is rendered in one call.

        Returns:
            Images, float32 (n, 3, size, size) in [0, 1], and coverage, float32 (n, size, size); multiples of 1/255.

        Raises:
            InputError: viewpoints of another shape, or not finite; or the renderer returned other shapes than it
                declared.
        """
        steps = _steps(viewpoints)
        keys = self._keys(object_id, steps)
        views = {key: view for key in dict.fromkeys(keys) if (view := self._read(key)) is not None}
        missing = {key: row for row, key in enumerate(keys) if key not in views}
        if missing:
            rounded = torch.from_numpy(steps[list(missing.values())] / 10.0**DECIMALS).float()
            images, coverage = self.renderer.render(object_id, rounded)
            expected = (len(missing), 3, self.size, self.size), (len(missing), self.size, self.size)
            if (tuple(images.shape), tuple(coverage.shape)) != expected:
                raise InputError(
                    f"the renderer returned images {tuple(images.shape)} and coverage {tuple(coverage.shape)}; its "
                    f"size {self.size} and {len(missing)} viewpoints ask for {expected[0]} and {expected[1]}"
                )
            pixels, covered = _bytes_of(images.permute(0, 2, 3, 1)), _bytes_of(coverage)
            for place, key in enumerate(missing):
                views[key] = pixels[place], covered[place]
                self._write(key, views[key])
        return as_tensors([views[key] for key in keys], self.size)

    def _keys(self, object_id: str, steps: NDArray[np.int64]) -> list[str]:
        parts = (self.recipe, str(self.size), object_id, self.content_hash(object_id))
        common = hashlib.sha256()
        for part in parts:
            encoded = part.encode("utf-8", "backslashreplace")
            common.update(len(encoded).to_bytes(8, "big") + encoded)
        keys = []
        for row in steps:
            digest = common.copy()
            digest.update(row.astype(">i8").tobytes())
            keys.append(digest.hexdigest())
        return keys

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.png"

    def _read(self, key: str) -> _View | None:
        path = self._path(key)
        try:
            content = path.read_bytes()
            if not content.endswith(_END):
                return None
            with pillow_warnings_contained(), Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                # Size and mode come first: a wrong file must not be unpacked.
                if image.size != (self.size, self.size) or image.mode != "RGBA":
                    return None
                image.load()
                if image.info.get("view") != key:
                    return None
                values = np.asarray(image)
        except Exception:  # a damaged file makes Pillow raise anything, and every one of these means: render anew
            return None
        if self.max_bytes is not None:
            try:
                os.utime(path)
            except OSError:  # taken away since it was read, by another process
                self._held = None
        return values[..., :3], values[..., 3]

    def _write(self, key: str, view: _View) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        named = PngImagePlugin.PngInfo()
        named.add_text("view", key)
        handle, name = tempfile.mkstemp(prefix=".snellen-", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                Image.fromarray(np.dstack(view), "RGBA").save(stream, "PNG", pnginfo=named, compress_level=4)
            rename_over(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        if self.max_bytes is not None:
            self._bound(path.stat().st_size)

    def _bound(self, added: int) -> None:
        assert self.max_bytes is not None
        with self._lock:
            if self._held is None:
                self._held = sum(size for _, size, _ in _files(self.folder))
            else:
                self._held += added
            if self._held <= self.max_bytes:
                return
            files = sorted(_files(self.folder))
            self._held = sum(size for _, size, _ in files)
            for _, size, path in files[:-1]:
                if self._held <= self.max_bytes * 9 // 10:
                    break
                path.unlink(missing_ok=True)
                self._held -= size


def _files(folder: Path) -> list[tuple[int, int, Path]]:
    """Time of last use, size and path of every view."""
    found = []
    for path in folder.glob("??/*.png"):
        try:
            status = path.stat()
        except OSError:  # taken away by another process
            continue
        found.append((status.st_mtime_ns, status.st_size, path))
    return found


def _steps(viewpoints: Tensor) -> NDArray[np.int64]:
    """Viewpoints in whole steps, int64 (n, 6)."""
    if viewpoints.ndim != 2 or viewpoints.shape[1] != len(COORDINATES):
        raise InputError(f"viewpoints must be (n, 6): {', '.join(COORDINATES)}; got {tuple(viewpoints.shape)}")
    values = viewpoints.detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise InputError("a viewpoint holds a number that is not finite")
    return np.rint(values * 10.0**DECIMALS).astype(np.int64)


def _bytes_of(values: Tensor) -> NDArray[np.uint8]:
    scaled = (values.detach().cpu().double().clamp(0, 1) * 255).round()
    return np.ascontiguousarray(scaled.to(torch.uint8).numpy())
