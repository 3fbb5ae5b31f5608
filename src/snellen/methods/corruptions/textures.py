"""Textures that a user supplies in place of our own: the published frost pictures, or ink shapes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.decoding import decode
from snellen.methods.corruptions.published_textures import INK_SIZES, INKS


def load_textures(folder: str) -> tuple[Tensor, ...]:
    """All images of a folder in the order of their names: float tensors (3, h, w) in [0, 1].

    The archive of the published inks, ``inks.npz``, counts as the images that the published code draws from.

    Raises:
        InputError: there is no such folder, it holds no image, or a file in it is none.
    """
    return _read(folder)[0]


def texture_hashes(folder: str) -> tuple[str, ...]:
    """Hashes of the files that :func:`load_textures` reads, in its order (sha256, hex).

    Raises:
        InputError: as :func:`load_textures`.
    """
    return _read(folder)[1]


@lru_cache(maxsize=8)
def _read(folder: str) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """Images and the hashes of their files, of the same bytes."""
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"textures: {folder} is not a folder; give one that holds the images and nothing else")
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise InputError(f"textures: {folder} holds no file")
    loaded: list[Tensor] = []
    hashes = []
    for file in files:
        try:
            content = file.read_bytes()
            found = hashlib.sha256(content).hexdigest()
            loaded += _inks(content) if found in INKS else [_image(content)]
        except (OSError, RejectedImageError) as error:
            raise InputError(f"textures: {file.name} in {folder} cannot be read: {error}") from error
        hashes.append(found)
    return tuple(loaded), tuple(hashes)


def _image(content: bytes) -> Tensor:
    return torch.from_numpy(np.asarray(decode(content)).copy()).permute(2, 0, 1).float() / 255


def _inks(content: bytes) -> list[Tensor]:
    """The shapes of the archive, black on white."""
    shapes: list[NDArray[np.float32]] = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for size in INK_SIZES:
            with archive.open(f"{size}.npy") as member:
                shapes += list(np.lib.format.read_array(member, allow_pickle=False).astype(np.float32))
    return [torch.from_numpy(1 - shape).expand(3, -1, -1) for shape in shapes]
