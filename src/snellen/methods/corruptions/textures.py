"""Textures that a user supplies in place of our own: the published frost pictures, or ink shapes.

``FROST``: the six photographs of ImageNet-C (github.com/hendrycks/robustness, Apache-2.0), as the pip package
imagecorruptions-imaug 1.1.5 ships them in its folder ``imagecorruptions/frost``. ``INKS``: the ink shapes of MedMNIST-C
(Apache-2.0), one file ``inks.npz`` in the folder ``medmnistc/assets`` of the pip package medmnistc 0.1.0.
"""

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

#: frost1.png, frost2.png, frost3.png, frost4.jpg, frost5.jpg, frost6.jpg.
FROST = (
    "ff9f907860bd7a835d459e32f9d588062b7f61ee267343cc7222b56753a14755",
    "fe211a89b336999c207a852ce05818d4545d0b57c5beadd824b4cc9d9a9b6137",
    "2d0d50b4a9bb213f38b024ef7768731bb83cc08d2f26b5766bbc167cdfa0e504",
    "3f8b91ca1a9fa7167b09e773da53f5ae60d0a1fd88f02a783f6e328a72887f6e",
    "5fc6a19df4a429ba68abdcc8f8a4278d4c9f81c9ccafd2c92ab0c8cf8992ebd2",
    "1f92b2f48408748085b68dd81d816ef239f42cef3029c25d041fcb6760fb4f25",
)

#: inks.npz.
INKS = ("76a895e8f4ba6f98cc13fffd6060e1b2ef037e7baee6c5393732346a40eecf0f",)

#: Arrays of ``inks.npz`` that the published code uses: ten shapes of 24 pixels, and for severity 5 ten of 32; 1 is ink.
INK_SIZES = ("3", "4")


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
