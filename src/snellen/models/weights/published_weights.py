"""Weights that another library fetches: whether its cache has them, and from which host they would come."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from snellen.core.errors import InputError
from snellen.models.remote.address import host_of
from snellen.models.weights.quiet_loading import first_line


def cached_by_torch(url: str) -> bool:
    """Whether a file that ``torch.hub`` loads from an address lies in its cache; then it is not asked for again."""
    return (Path(torch.hub.get_dir()) / "checkpoints" / url.partition("?")[0].rpartition("/")[2]).exists()


def hub_host() -> str:
    """The host that ``huggingface_hub`` asks: ``huggingface.co``, or the mirror of ``$HF_ENDPOINT``."""
    constants: Any = importlib.import_module("huggingface_hub.constants")
    return host_of(constants.ENDPOINT)


def no_weights(reference: str, host: str | None, *, allowed: bool, error: Exception | None = None) -> InputError:
    """The error for published weights that are not to be had.

    Args:
        reference: of the model, without a file.
        host: that has them, if any has.
        allowed: whether it could be asked.
        error: what went wrong.
    """
    why = "" if error is None else f" ({type(error).__name__}: {first_line(error)})"
    give = f"give a file: {reference}@FILE.safetensors"
    if allowed or host is None:
        return InputError(
            f"the weights of {reference} could neither be read from the local cache nor downloaded{why}; {give}"
        )
    return InputError(
        f"the weights of {reference} are not to be had from the local cache{why}, and {host} is not asked for them "
        f"without permission; allow it with --allow-remote {host} (in Python: allow_remote=[{host!r}]), or {give}"
    )
