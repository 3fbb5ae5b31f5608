"""What a lineage says about the machine and the versions."""

from __future__ import annotations

import platform
from importlib import metadata

import torch


def record_environment(device: str | torch.device = "cpu") -> dict[str, str]:
    """Versions, intra-op threads and device of this process, for :class:`snellen.core.artifact.Lineage`.

    >>> sorted(record_environment())
    ['accelerate', 'device', 'python', 'threads', 'torch']
    """
    try:
        accelerate = metadata.version("accelerate")
    except metadata.PackageNotFoundError:
        accelerate = "not installed"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "accelerate": accelerate,
        "threads": str(torch.get_num_threads()),
        "device": str(device),
    }
