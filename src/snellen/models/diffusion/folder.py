"""The files of a diffusers folder: which parts it has, in which formats, and how one is loaded without its code.

Nothing is loaded here. Parts are accepted by the name of their class from a list, weights only as safetensors.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from snellen.core.errors import InputError, SnellenError, import_extra
from snellen.models.weights.quiet_loading import first_line, quiet_loading

#: Class → the library that has it. A folder with a part of another class is refused.
DENOISERS = {
    "UNet2DConditionModel": "diffusers",
    "UNet2DModel": "diffusers",
    "PixArtTransformer2DModel": "diffusers",
    "DiTTransformer2DModel": "diffusers",
    "Transformer2DModel": "diffusers",  # the former name of both transformers
}
DECODERS = {"AutoencoderKL": "diffusers"}
TEXT_ENCODERS = {
    "CLIPTextModel": "transformers",
    "CLIPTextModelWithProjection": "transformers",
    "T5EncoderModel": "transformers",
}
IMAGE_ENCODERS = {"CLIPVisionModelWithProjection": "transformers"}
TOKENIZERS = {
    "CLIPTokenizer": "transformers",
    "CLIPTokenizerFast": "transformers",
    "T5Tokenizer": "transformers",
    "T5TokenizerFast": "transformers",
}

#: Name of a part in model_index.json → classes that it may have.
PARTS: dict[str, dict[str, str]] = {
    "unet": DENOISERS,
    "transformer": DENOISERS,
    "vae": DECODERS,
    "text_encoder": TEXT_ENCODERS,
    "text_encoder_2": TEXT_ENCODERS,
    "tokenizer": TOKENIZERS,
    "tokenizer_2": TOKENIZERS,
    "image_encoder": IMAGE_ENCODERS,
}

#: The pipeline whose condition is an image; image encoders of others are an addition that is not loaded.
VARIATIONS = "StableDiffusionImageVariationPipeline"

_WEIGHTS = ("diffusion_pytorch_model", "model")

#: Names of weights in a variant: one file, or the index of several.
_VARIANTS = (
    re.compile(r"(diffusion_pytorch_model|model)\.(?P<variant>\w+)\.safetensors"),
    re.compile(r"(diffusion_pytorch_model|model)\.safetensors\.index\.(?P<variant>\w+)\.json"),
)


@dataclass(frozen=True)
class Part:
    """One part of a folder.

    Args:
        name: as in model_index.json: unet, vae, text_encoder, …
        kind: its class.
        library: diffusers or transformers.
        path: the folder with its configuration and weights.
        variant: what stands before ``.safetensors`` in the names of its weights (``fp16``), None for nothing.
    """

    name: str
    kind: str
    library: str
    path: Path
    variant: str | None = None


@dataclass(frozen=True)
class Folder:
    """The description in a diffusers folder.

    Args:
        path: the folder.
        pipeline: class of the pipeline that wrote it; empty for a bare network.
        parts: by name.
        scheduler: settings of its noise schedule, with only the keys that were written.
        index: all of model_index.json.
    """

    path: Path
    pipeline: str
    parts: Mapping[str, Part]
    scheduler: Mapping[str, Any]
    index: Mapping[str, Any]

    @property
    def denoiser(self) -> Part:
        """The network that removes noise."""
        return self.parts["unet"] if "unet" in self.parts else self.parts["transformer"]


def read_folder(path: str | Path) -> Folder:
    """Read what a folder holds: one with model_index.json, or a bare network (config.json) with a scheduler.

    A bare network has its schedule in ``scheduler_config.json``, beside it or in a folder ``scheduler``.

    Raises:
        InputError: no such folder, a part that is missing, of an unknown class or in pickles, no schedule.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(
            f"diffusers:{folder} is not a folder on this machine. If it is a model of the hub, download it first: "
            f"hf download {folder} --local-dir FOLDER, then diffusers:FOLDER"
        )
    if (folder / "model_index.json").is_file():
        index = read_json(folder / "model_index.json")
        declared = {
            name: entry for name, entry in index.items() if name in PARTS and isinstance(entry, list) and any(entry)
        }
        if index.get("_class_name") != VARIATIONS:
            declared.pop("image_encoder", None)
        parts = {name: read_part(folder / name, name, str(entry[-1])) for name, entry in declared.items()}
    elif (folder / "config.json").is_file():
        index = {}
        kind = str(read_json(folder / "config.json").get("_class_name", ""))
        parts = {"unet": read_part(folder, "unet", kind)}
    else:
        raise InputError(
            f"{folder} has neither model_index.json nor config.json; expected a folder as save_pretrained() writes it"
        )
    if not {"unet", "transformer"} & set(parts):
        raise InputError(f"{folder}/model_index.json names no unet and no transformer; it has: {', '.join(index)}")
    return Folder(folder, str(index.get("_class_name", "")), parts, _scheduler(folder), index)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: the file is missing, or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected a JSON object")
    return content


def read_part(path: Path, name: str, kind: str, known: Mapping[str, str] | None = None) -> Part:
    """Read which weights a part has.

    Args:
        path: its folder.
        name: as in model_index.json.
        kind: its class.
        known: classes that it may have, with the library of each; None: those of :data:`PARTS`.

    Raises:
        InputError: another class, no such folder, or no weights as safetensors.
    """
    known = PARTS[name] if known is None else known
    if kind not in known:
        raise InputError(
            f"{path}: a {name} of class {kind or '(not given)'} is not supported; expected one of {', '.join(known)}"
        )
    if not path.is_dir():
        raise InputError(f"{path.parent}/model_index.json names a {name}, but there is no folder {path}")
    if known is TOKENIZERS:
        return Part(name, kind, known[kind], path)
    if not (path / "config.json").is_file():
        raise InputError(f"{path} has no config.json")
    return Part(name, kind, known[kind], path, _variant(path))


def _variant(path: Path) -> str | None:
    """The variant of the weights to be read: none if there are plain ones, else the only one there is."""
    found = {file.name for file in path.glob("*.safetensors*")}
    for stem in _WEIGHTS:
        if {f"{stem}.safetensors", f"{stem}.safetensors.index.json"} & found:
            return None
    variants = {match.group("variant") for name in found for form in _VARIANTS if (match := form.fullmatch(name))}
    if len(variants) == 1:
        return variants.pop()
    pickles = sorted(file.name for pattern in ("*.bin", "*.ckpt", "*.pt", "*.pth") for file in path.glob(pattern))
    if pickles:
        raise InputError(
            f"{path} has its weights in {pickles[0]}, a pickle, which is not read; convert it once on a machine where "
            f"you trust it: load the model there and call save_pretrained(FOLDER, safe_serialization=True)"
        )
    raise InputError(f"{path} has no weights: expected {' or '.join(f'{stem}.safetensors' for stem in _WEIGHTS)}")


def _scheduler(folder: Path) -> dict[str, Any]:
    candidates = [folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"]
    for path in candidates:
        if path.is_file():
            return read_json(path)
    raise InputError(f"{folder} has no noise schedule; expected {candidates[0]} or {candidates[1]}")


def load_network(part: Part, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load a network of a folder: in evaluation mode, frozen, its weights as ``dtype`` from any stored type.

    Raises:
        InputError: the weights cannot be read, or some of the network's are missing.
        MissingExtraError: the library is not installed.
    """
    library = _library(part)
    with _quiet(), _readable(part):
        kind = getattr(library, part.kind)
        # diffusers would ask for accelerate, and warn where it is not there; some networks cannot be loaded without.
        plain = part.library == "diffusers" and not kind._keep_in_fp32_modules
        options: dict[str, Any] = {"low_cpu_mem_usage": False} if plain else {}
        network, report = kind.from_pretrained(
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
