"""Codes of training images in one file, each under a hash of generator, encoder, settings and image.

Nothing is inverted inside the training loop. A changed generator, encoder, setting or image has another hash, and is
inverted anew; all others are read. Images that are missing are inverted in batches, in their order: the moments of the
shifting are those of such a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.core.run import canonical_json, write_atomically
from snellen.systems.natural_transformations.inversion import Codes, InversionSettings

#: Batches between two writings of the file.
_EVERY = 16

#: Inverts the images of some rows, int64 (m,).
Invert = Callable[[Tensor], Codes]


def code_keys(images: Tensor, generator: str, encoder: str, settings: InversionSettings) -> list[str]:
    """A key of each image: sha256 of the hashes of both networks, the settings, the size and the pixels.

    >>> images = torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)]).byte()
    >>> one, two = code_keys(images, "g", "e", InversionSettings())
    >>> one != two, len(one)
    (True, 64)

    Args:
        images: uint8 (n, 3, h, w).
        generator: hash of G.
        encoder: hash of E.
        settings: of the inversion.
    """
    stem = canonical_json([generator, encoder, settings.model_dump(mode="json"), list(images.shape[1:])])
    return [hashlib.sha256(stem + image.contiguous().cpu().numpy().tobytes()).hexdigest() for image in images]


def kept_codes(
    path: Path | None, keys: list[str], invert: Invert, *, batch: int, progress: Progress | None = None
) -> Codes:
    """Codes of all keys: those of the file, and for the others inverted ones, which the file then also holds.

    Args:
        path: file; None: nothing is kept. A damaged file is refused, not overwritten.
        keys: of n images.
        invert: inverts rows.
        batch: rows that are inverted together.
        progress: callback that receives progress updates.

    Raises:
        InputError: the file holds something else.
    """
    known = {} if path is None or not path.exists() else _read(path)
    missing = [row for row, key in enumerate(keys) if key not in known]
    listener = progress or Silent()
    listener.begin("invert images", len(missing))
    for number, rows in enumerate(torch.tensor(missing, dtype=torch.int64).split(batch) if missing else ()):
        found = invert(rows)
        for place, row in enumerate(rows.tolist()):
            known[keys[row]] = (found.values[place].cpu(), found.weights[place].cpu())
        if path is not None and (number + 1) % _EVERY == 0:
            _write(path, known)
        listener.advance("invert images", len(rows))
    listener.finish("invert images")
    if path is not None and missing:
        _write(path, known)
    values, weights = zip(*(known[key] for key in keys), strict=True)
    return Codes(torch.stack(values), torch.stack(weights))


def _write(path: Path, known: dict[str, tuple[Tensor, Tensor]]) -> None:
    flat = {f"{key}.{name}": one for key, pair in known.items() for name, one in zip("va", pair, strict=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save({name: one.contiguous() for name, one in flat.items()}))


def _read(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    try:
        tensors = load(path.read_bytes())
        return {name[:-2]: (one, tensors[f"{name[:-2]}.a"]) for name, one in tensors.items() if name.endswith(".v")}
    except (SafetensorError, KeyError, OSError) as error:
        raise InputError(
            f"{path} holds no latent codes ({error}); delete it, and the images are inverted anew"
        ) from error
