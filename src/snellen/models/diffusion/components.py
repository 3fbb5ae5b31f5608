"""Load one part of a diffusers folder, a network or a tokenizer: from this machine, and without code of the folder."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import nn

from snellen.core.errors import InputError, SnellenError, import_extra
from snellen.models.diffusion.folder import Part
from snellen.models.weights.quiet_loading import first_line, quiet_loading


def load_network(part: Part, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load a network of a folder: in evaluation mode, frozen, its weights as ``dtype`` whatever they are stored as.

    Raises:
        InputError: the weights cannot be read, or some of the network's are missing.
        MissingExtraError: the library is not installed.
    """
    library = _library(part)
    # diffusers would ask for accelerate, and warn where it is not there.
    options: dict[str, Any] = {"low_cpu_mem_usage": False} if part.library == "diffusers" else {}
    with _quiet(), _readable(part):
        network, report = getattr(library, part.kind).from_pretrained(
            part.path,
            variant=part.variant,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=dtype,
            **options,
        )
    missing = sorted({str(name) for key in ("missing_keys", "mismatched_keys") for name in report[key]})
    if missing:
        raise InputError(
            f"{part.path}: the weights lack {len(missing)} tensors of a {part.kind} ({', '.join(missing[:4])}), which "
            f"would be left random"
        )
    return frozen(network).to(device=device)


def load_tokenizer(part: Part) -> Any:  # noqa: ANN401 - of an extra
    """Load a tokenizer of a folder.

    Raises:
        InputError: its files cannot be read.
        MissingExtraError: the library is not installed.
    """
    library = _library(part)
    with _quiet(), _readable(part):
        return getattr(library, part.kind).from_pretrained(part.path, local_files_only=True)


def frozen(network: nn.Module) -> nn.Module:
    """The network in evaluation mode and without parameter gradients, changed in place."""
    return network.eval().requires_grad_(False)


def _library(part: Part) -> ModuleType:
    with _quiet():
        return import_extra(part.library, "diffusion", f"the {part.name} of diffusers:{part.path.parent}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """As other libraries are silenced, with diffusers' own log and its bar over the files of a network."""
    logger = logging.getLogger("diffusers")
    level = logger.level
    with quiet_loading():
        logger.setLevel(logging.CRITICAL)
        bars = sys.modules.get("diffusers.utils.logging")
        shown = bars is not None and bars.is_progress_bar_enabled()
        if bars is not None:
            bars.disable_progress_bar()
        try:
            yield
        finally:
            logger.setLevel(level)
            if bars is not None and shown:
                bars.enable_progress_bar()


@contextlib.contextmanager
def _readable(part: Part) -> Iterator[None]:
    try:
        yield
    except SnellenError:
        raise
    except Exception as error:
        raise InputError(f"{part.path} cannot be loaded as a {part.kind}: {first_line(error)}") from error
