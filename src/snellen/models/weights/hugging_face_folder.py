"""A model of the transformers library in a folder on this machine: no hub, no pickle, no code of the folder."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from snellen.core.errors import InputError, import_extra
from snellen.models.weights.quiet_loading import first_line, quiet_loading

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model")


def import_transformers(purpose: str, *, extra: str = "vlm") -> ModuleType:
    """The library, imported without a word."""
    with quiet_loading():
        return import_extra("transformers", extra, purpose)


def check_folder(folder: Path, *, scheme: str = "hf", processor: bool = True, tokenizer: bool = False) -> None:
    """See that a folder has the files that its model needs.

    Raises:
        InputError: a hub id, or a file that is missing; the message names it.
    """
    if not folder.is_dir():
        raise InputError(
            f"{scheme}:{folder} is not a folder on this machine. If it is a model of the hub, download it first: "
            f"hf download {folder} --local-dir FOLDER, then {scheme}:FOLDER"
        )
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json; expected a folder as save_pretrained() writes it")
    if not _has_any(folder, _WEIGHTS):
        raise InputError(
            f"{folder} has no model.safetensors (weights in pickles are not read); convert it once with "
            f"model.save_pretrained(FOLDER)"
        )
    if processor and not _has_any(folder, _PROCESSORS):
        raise InputError(f"{folder} has no preprocessor_config.json, which says how its images are resized")
    if tokenizer and not _has_any(folder, _TOKENIZERS):
        raise InputError(f"{folder} has no tokenizer.json, which says how its texts are cut into tokens")


def load_config(transformers: ModuleType, folder: Path) -> Any:  # noqa: ANN401 - PreTrainedConfig, of an extra
    """The configuration of a folder.

    Raises:
        InputError: damaged, or of a model that the library does not know.
    """
    try:
        with quiet_loading():
            return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise InputError(f"{folder}: config.json cannot be read: {first_line(error)}") from error


def load_network(
    model_class: Any,  # noqa: ANN401 - of an extra
    folder: Path,
    *,
    what: str,
    unused: tuple[str, ...] = (),
    **options: object,
) -> Any:  # noqa: ANN401 - PreTrainedModel, of an extra
    """Load a model in single precision; every tensor of it must be in the file.

    Args:
        model_class: a model class of transformers, or an Auto class.
        folder: where config.json and the weights are.
        what: what it is to be, for messages: "a classifier".
        unused: beginnings of names of tensors that may be missing, because nothing reads them.
        options: further arguments of the class.

    Raises:
        InputError: files that cannot be read, or tensors that are missing and would be left random.
    """
    try:
        with quiet_loading():
            model, report = model_class.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=torch.float32,
                **options,
            )
    except Exception as error:
        raise InputError(f"{folder} cannot be loaded as {what}: {error}") from error
    lacking = {*map(str, report["missing_keys"]), *map(str, report["mismatched_keys"])}
    missing = sorted(key for key in lacking if not key.startswith(unused))
    if missing:
        raise InputError(
            f"{folder}: the weights lack {len(missing)} tensors of {what} ({', '.join(missing[:4])}), which would be "
            f"left random; is it another kind of model?"
        )
    return model


def load_image_processor(transformers: ModuleType, folder: Path) -> Any:  # noqa: ANN401 - of an extra
    """The image processor of a folder, with the PIL backend, which does not depend on the version of torchvision.

    Raises:
        InputError: damaged, or unknown.
    """
    try:
        with quiet_loading():
            return transformers.AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, backend="pil"
            )
    except Exception as error:
        raise InputError(f"{folder}: preprocessor_config.json cannot be read: {error}") from error


def load_tokenizer(transformers: ModuleType, folder: Path) -> Any:  # noqa: ANN401 - of an extra
    """The tokenizer of a folder.

    Raises:
        InputError: damaged, or unknown.
    """
    try:
        with quiet_loading():
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise InputError(f"{folder}: its tokenizer cannot be read: {first_line(error)}") from error


def check_vocabulary(tokenizer: Any, size: int, *, name: str) -> int:  # noqa: ANN401 - of an extra
    """The largest token of a tokenizer, which a network with ``size`` tokens must know.

    Raises:
        InputError: a larger token than the network knows.
    """
    largest = max(tokenizer.get_vocab().values())
    if largest >= size:
        raise InputError(
            f"{name}: the tokenizer knows tokens up to {largest}, the network up to {size - 1}; they are not of one "
            f"model"
        )
    return int(largest)


def _has_any(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).is_file() for name in names)
