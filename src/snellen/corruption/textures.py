"""Textures that a user supplies in place of our own: the published frost pictures, or ink shapes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snellen.data.decoding import decode
from snellen.errors import InputError, RejectedImageError


@lru_cache(maxsize=8)
def load_textures(folder: str) -> tuple[Tensor, ...]:
    """All images of a folder in the order of their names: float tensors (3, h, w) in [0, 1].

    Raises:
        InputError: there is no such folder, it holds no image, or a file in it is none.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"textures: {folder} is not a folder; give one that holds the images and nothing else")
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise InputError(f"textures: {folder} holds no file")
    loaded = []
    for file in files:
        try:
            image = decode(file.read_bytes())
        except (OSError, RejectedImageError) as error:
            raise InputError(f"textures: {file.name} in {folder} cannot be read: {error}") from error
        loaded.append(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255)
    return tuple(loaded)
