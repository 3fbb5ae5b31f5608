"""Class vectors of texts, kept on the disk under everything that could change them: the tower's weights and the texts.

W = [w_1 … w_k], w_c = norm(mean of norm(t(s)) over the texts s of class c): NoLA (arXiv 2411.19346), step 1, which is
:func:`snellen.models.dual_encoders.zero_shot.class_vectors`. A file named after a data set alone would serve one
model's vectors to another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from snellen.core.run import canonical_json, write_atomically
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.dual_encoders.zero_shot import class_vectors


def matrix_key(identity: str, texts: Mapping[str, Sequence[str]]) -> str:
    """Hash (sha256) of a tower's identity and of the texts of every class, in order.

    >>> matrix_key("tower", {"cat": ["a cat"]}) == matrix_key("tower", {"cat": ["a tabby"]})
    False
    """
    return hashlib.sha256(
        canonical_json({"tower": identity, "texts": [[name, *of] for name, of in texts.items()]})
    ).hexdigest()


def class_matrix(tower: TwoTower, texts: Mapping[str, Sequence[str]], *, folder: Path | None = None) -> Tensor:
    """Vectors of classes (k, d), each of length one, in the order of ``texts``.

    Args:
        tower: whose text side encodes.
        texts: of each class.
        folder: where vectors are kept; None keeps none. A damaged file is made again.

    Raises:
        InputError: no classes, a class without texts, or a text that is too long.
    """
    if folder is None:
        return class_vectors(tower, texts)
    path = folder / f"{matrix_key(tower.identity(), texts)}.safetensors"
    if path.is_file():
        try:
            kept = load(path.read_bytes())["vectors"]
            if kept.shape == (len(texts), tower.dimension):
                return kept.to(tower.device)
        except (OSError, SafetensorError, KeyError):
            pass
    vectors = class_vectors(tower, texts)
    write_atomically(path, save({"vectors": vectors.cpu().contiguous()}))
    return vectors
