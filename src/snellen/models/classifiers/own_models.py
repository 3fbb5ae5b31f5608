"""A model that the caller holds in memory, of whichever library, with what it says about itself."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from snellen.core.errors import InputError, import_extra
from snellen.core.preprocessing import Preprocessing, Stated
from snellen.core.shared_copy import shared_copy
from snellen.models.classifiers.assembly import LoadedModel
from snellen.models.classifiers.foreign_calls import (
    AnyArrays,
    MaiteModel,
    is_maite_model,
    maite_class_names,
    maite_takes_bytes,
)


def own_model(model: Any, stated: Stated | None = None) -> LoadedModel:  # noqa: ANN401 - of any library
    """What a model in memory is, and what it says about its preprocessing and classes.

    Args:
        model: a torch module, also of timm or transformers; a pipeline of transformers; a session of ONNX Runtime; a
            model of MAITE; any callable; or a pair of one of these and what stands beside it (see
            :func:`~snellen.models.classifiers.stated_preprocessing.stated_by`). A module stays as it is: a copy that
            shares its weights is used.
        stated: what the images say that the model is used on.

    Raises:
        InputError: no model, or one whose preprocessing must be known and is not given.
    """
    if isinstance(model, tuple):
        return _with_what_stands_beside(model, stated)
    if _is_pipeline(model):
        return _with_what_stands_beside((model.model, model.image_processor), stated)
    loaded = _loaded(model, stated is not None and stated.whole_bytes)
    if stated is None or stated.whole_bytes:
        return loaded
    return _as_the_images_say(loaded, stated)


def device_of(model: object) -> str:
    """Where a model in memory is; ``cpu`` for what is no module."""
    if isinstance(model, tuple) and model:
        return device_of(model[0])
    if _is_pipeline(model):
        return device_of(model.model)  # type: ignore[attr-defined]
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return "cpu" if first is None else str(first.device)


def _with_what_stands_beside(pair: tuple[Any, ...], images: Stated | None) -> LoadedModel:
    """A model with its weights, transform or image processor."""
    from snellen.models.classifiers.stated_preprocessing import stated_by

    if len(pair) != 2:
        raise InputError(f"a tuple is (model, what says how its images are prepared); got {len(pair)} values")
    statement = stated_by(pair[1])
    loaded = _loaded(pair[0], whole_bytes=False, processor=True)
    loaded = replace(
        loaded,
        preparation=statement.preparation,
        normalization=loaded.normalization if statement.normalization is None else statement.normalization,
        class_names=statement.class_names or loaded.class_names,
        assumed={} if statement.normalization is not None else loaded.assumed,
    )
    return loaded if images is None or images.whole_bytes else _as_the_images_say(loaded, images)


def _as_the_images_say(loaded: LoadedModel, stated: Stated) -> LoadedModel:
    """The model as it is used on images that were prepared for it."""
    notes, assumed = list(loaded.notes), dict(loaded.assumed)
    preparation, normalization = loaded.preparation, loaded.normalization
    if stated.normalization is not None:
        if normalization is not None and normalization != stated.normalization:
            notes.append(f"images are normalised as {stated.source} says, not as the model's own configuration does")
        normalization = stated.normalization
        assumed.pop("normalization", None)
    if stated.preparation is not None and stated.preparation.size is not None:
        own = None if preparation is None else preparation.size
        if own is None or own == stated.preparation.size or stated.normalization is not None:
            if own is not None and preparation != stated.preparation:
                height, width = stated.preparation.size
                notes.append(f"images are of {height}x{width} pixels by {stated.source}, and are not resized again")
            preparation = stated.preparation
            assumed.pop("preparation", None)
    return replace(loaded, preparation=preparation, normalization=normalization, notes=tuple(notes), assumed=assumed)


def _loaded(model: Any, whole_bytes: bool, *, processor: bool = False) -> LoadedModel:  # noqa: ANN401
    """The model alone."""
    name = type(model).__name__
    if all(hasattr(model, part) for part in ("get_inputs", "get_outputs", "run")):
        onnx = importlib.import_module("snellen.models.classifiers.onnx_models")
        of_session: LoadedModel = onnx.described(model)
        return of_session
    if is_maite_model(model):
        declared = maite_takes_bytes(model)
        taken = whole_bytes if declared is None else declared
        found = "as the images hold them" if whole_bytes else "as nothing else is given"
        why = found if declared is None else "as its metadata say"
        return LoadedModel(
            network=MaiteModel(model, whole_bytes=taken),
            notes=(f"the model is given {'bytes from 0 to 255' if taken else 'values in [0, 1]'}, {why}",),
            name=str(model.metadata["id"]),
            preparation=Preprocessing(),
            class_names=maite_class_names(model),
        )
    if isinstance(model, nn.Module):
        network = shared_copy(model, name)
        if isinstance(getattr(model, "pretrained_cfg", None), Mapping):
            timm = importlib.import_module("snellen.models.classifiers.timm_models")
            of_timm: LoadedModel = timm.described(network, name)
            return of_timm
        if _is_of_transformers(model):
            return _of_transformers(model, network, processor)
        return LoadedModel(network=network, name=name, preparation=Preprocessing())
    if not callable(model):
        raise InputError(
            f"a model is a reference, a path, a torch module, a pipeline, an ONNX session, a callable, or one of these "
            f"with its preprocessing as (model, weights or transform); got {name}"
        )
    return LoadedModel(network=AnyArrays(model), name=getattr(model, "__name__", name), preparation=Preprocessing())


def _is_of_transformers(model: nn.Module) -> bool:
    """Whether a model is one of transformers, or of a class that somebody made of one."""
    packages = {one.__module__.split(".")[0] for one in type(model).__mro__}
    return "transformers" in packages and hasattr(model, "config")


def _is_pipeline(model: object) -> bool:
    return isinstance(getattr(model, "model", None), nn.Module) and hasattr(model, "image_processor")


def _of_transformers(model: Any, network: nn.Module, processor: bool) -> LoadedModel:  # noqa: ANN401
    """A classifier of transformers; its processor is a file of the folder that it came from, or was given beside it."""
    own = importlib.import_module("snellen.models.classifiers.hugging_face_models")
    name = type(model).__name__
    folder = Path(str(getattr(model, "name_or_path", "")) or "/nowhere")
    beside: Any = None
    if not processor:
        if not (folder / "preprocessor_config.json").is_file():
            raise InputError(
                f"{name} does not say how its images are prepared: give it with its image processor, "
                f"(model, processor), or as transformers.pipeline('image-classification')"
            )
        beside = own.load_image_processor(import_extra("transformers", "vlm", name), folder)
    loaded: LoadedModel = own.described(model, own.Logits(network), name=name, folder=folder)
    if beside is None:
        return loaded
    preparation, normalization = own.translate(beside, name=folder.name)
    return replace(loaded, preparation=preparation, normalization=normalization)
