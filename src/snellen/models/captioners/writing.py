"""A captioner that was trained on, written as a folder that loads like the one it came from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError
from snellen.models.captioners.protocol import Captioner
from snellen.models.weights.quiet_loading import quiet_loading

#: Files that are of the network, and are written anew.
_OF_THE_NETWORK = ("config.json", "generation_config.json", "training.json", "card.json", "README.md")


def write_captioner(captioner: Captioner, source: Path, out: Path) -> Path:
    """Write a network with ``save_pretrained``, and its processor and tokenizer as they are in the source.

    Args:
        captioner: whose weights are written.
        source: the folder it was loaded from.
        out: a new or empty folder.

    Raises:
        InputError: ``out`` is not empty, or a network that is none of the transformers library.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; name a new folder")
    network: Any = captioner.module
    if not hasattr(network, "save_pretrained"):
        raise InputError(f"{captioner.name} is no network of transformers, and cannot be written as one")
    with quiet_loading():
        network.save_pretrained(out)
    for path in sorted(source.iterdir()):
        weights = path.suffix in (".safetensors", ".bin") or path.name.endswith(".index.json")
        if path.is_file() and not weights and path.name not in _OF_THE_NETWORK:
            shutil.copyfile(path, out / path.name)
    return out
