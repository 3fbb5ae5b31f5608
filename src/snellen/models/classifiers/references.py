"""A classifier from a reference: a string ``scheme:rest``, a torch module, or any callable."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization, Task
from snellen.core.errors import InputError, unknown_name
from snellen.core.preprocessing import Preprocessing, Stated
from snellen.models.classifiers.assembly import LoadedModel, assemble, read_class_names
from snellen.models.classifiers.model_options import both_sides, resized
from snellen.models.classifiers.output_kind import OutputKind
from snellen.models.classifiers.own_models import device_of, own_model
from snellen.models.remote.permission import AllowRemote, permitted, permitting
from snellen.models.weights.checkpoint_file import SUFFIXES
from snellen.models.weights.devices import resolve_device

#: Scheme → loader, "module:function"; a loader takes what follows the colon and the device. Imported when used.
SCHEMES: dict[str, str] = {
    "artifact": "snellen.models.classifiers.artifact_models:load",
    "bundled": "snellen.models.classifiers.bundled_models:load",
    "checkpoint": "snellen.models.classifiers.checkpoints:load",
    "hf": "snellen.models.classifiers.hugging_face_models:load",
    "http": "snellen.models.classifiers.served.loading:load_http",
    "https": "snellen.models.classifiers.served.loading:load_https",
    "onnx": "snellen.models.classifiers.onnx_models:load",
    "timm": "snellen.models.classifiers.timm_models:load",
    "torchvision": "snellen.models.classifiers.torchvision_models:load",
}

#: Schemes whose loaders take arguments of the model as well.
_WITH_ARGUMENTS = ("checkpoint", "onnx", "timm", "torchvision")

_FORMS = (
    "bundled:NAME, artifact:FOLDER, timm:NAME[@FILE], torchvision:NAME[@FILE], checkpoint:FILE, hf:FOLDER, "
    "onnx:FILE, http://HOST:PORT/v2/models/NAME, https://HOST/v2/models/NAME"
)


@torch.inference_mode(False)  # weights that are made there carry no gradients
def load_classifier(
    ref: str | Path | nn.Module | Callable[[Any], Any] | object,
    class_names: Sequence[str] | str | Path | None = None,
    *,
    device: str | None = None,
    preparation: Preprocessing | None = None,
    normalization: Normalization | None = None,
    task: Task | Literal["multi_label"] | None = None,
    output: OutputKind | None = None,
    name: str | None = None,
    stated: Stated | None = None,
    model_args: Mapping[str, object] | None = None,
    size: int | tuple[int, int] | None = None,
    allow_remote: AllowRemote = (),
) -> Classifier:
    """Load a classifier, with its own preprocessing and class names, from wherever it lives.

    >>> from torch import nn
    >>> from snellen.core.preprocessing import Preprocessing, Stated
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2), nn.Softmax(1))
    >>> classifier = load_classifier(model, ["cat", "dog"], preparation=Preprocessing(size=(4, 4)), name="pets")
    >>> classifier
    Classifier('pets', 2 classes, 4x4, single, log-probabilities, differentiable)
    >>> classifier.notes
    ('the model returns softmax probabilities; scores are their logarithms',)

    Args:
        ref: ``bundled:NAME``, ``artifact:FOLDER``, ``timm:NAME[@FILE]``, ``torchvision:NAME[@FILE]``,
            ``checkpoint:FILE`` (:func:`~snellen.models.classifiers.checkpoints.load`), ``hf:FOLDER``, ``onnx:FILE``,
            ``http://HOST:PORT/v2/models/NAME`` (:func:`~snellen.models.classifiers.served.loading.load_http`); a path
            ``FILE.onnx``, that of weights with a description beside them, or that of a folder of transformers or of an
            artifact; or a model in memory: a torch module, also of timm or transformers; a
            pipeline of transformers; a session of ONNX Runtime; a model of MAITE; or any callable that takes
            normalised images (n, 3, h, w) as a tensor or array and returns scores (n, k) or labels (n,). ``(model,
            beside)`` is a model with what says how its images are prepared: weights or a transform of torchvision, a
            transform of timm, an image processor of transformers. A module stays as it is: a copy that shares its
            weights is used. One of timm brings its preparation and, where it has them, its class names. Models of one
            channel are fed with the mean of three. A :class:`Classifier` is returned unchanged.
        class_names: of the outputs, or a text file with one name a line; needed where the model brings none.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; None: where a module is already, else ``cpu``.
        preparation: resize and crop, instead of the model's own.
        normalization: mean and std, instead of the model's own.
        task: what the outputs decide, instead of what the model says (else ``single``); ``multi_label``, which is
            ``multilabel``: several labels an image, a sigmoid or a logit for each.
        output: what the model returns, instead of what a probe with a few noise images shows. ``probabilities`` are
            turned into log-probabilities.
        name: shown in reports, instead of the reference.
        stated: what the images say about preprocessing that a model in memory is used on.
        model_args: what the architecture of a checkpoint is built with, such as ``{"num_classes": 10}``, or for an
            ONNX model ``{"run_by": "onnxruntime"}``.
        size: side or (height, width) of the images, pixels: the model's own resize and crop, in proportion.
        allow_remote: other machines that may be reached, each by its exact name: that of a server that images are sent
            to, or that of the hub from which timm or torchvision fetch weights; True allows any.

    Raises:
        InputError: a reference, file, device or list of names that cannot be used, or another machine that is not
            allowed.
        MissingExtraError: the scheme needs a package that is not installed.
        ModelError: a model whose outputs cannot be used.
    """
    task = "multilabel" if task == "multi_label" else task
    if task is not None and task not in get_args(Task):
        raise unknown_name("task", task, get_args(Task))
    overrides = {
        "preparation": preparation,
        "normalization": normalization,
        "task": task,
        "output": output,
        "name": name,
    }
    chosen = {key: value for key, value in overrides.items() if value is not None}
    if size is not None and preparation is not None:
        raise InputError("size and preparation both say how large images are; give one of them")
    if isinstance(ref, Classifier):
        if class_names is not None or chosen or device is not None or model_args or size is not None:
            raise InputError("this is a Classifier already; give its model to change how it is read")
        return ref
    device = device or device_of(ref)
    where = resolve_device(device)
    names = None if class_names is None else read_class_names(class_names)
    with permitting(allow_remote):
        reached = permitted()
        if isinstance(ref, str | Path):
            loaded = _load(str(ref), where, model_args or {})
        elif model_args:
            raise InputError("model_args are for references; a model in memory is built already")
        else:
            loaded = own_model(ref, stated)
    if loaded.task == "segment" and task is None:
        raise InputError(
            f"{loaded.name} decides the class of each pixel and is no classifier of images; to audit it as a segmenter "
            f'say so: --task segment, or load_classifier(..., task="segment")'
        )
    if size is not None:
        chosen["preparation"] = resized(loaded.preparation, both_sides(size))
    given = {*chosen, *(() if class_names is None else ("class_names",))}
    assumed = {field: note for field, note in loaded.assumed.items() if field not in given}
    classifier = assemble(replace(loaded, **chosen, assumed=assumed), classes=names, device=where)  # type: ignore[arg-type]
    if isinstance(ref, str | Path):
        classifier.reference = {
            "ref": str(ref),
            "folder": os.getcwd(),
            "class_names": None if names is None else list(names),
            "device": device,
            "preparation": None if preparation is None else preparation.model_dump(mode="json"),
            "normalization": None if normalization is None else [list(values) for values in normalization],
            "task": task,
            "output": output,
            "name": name,
            "model_args": None if model_args is None else dict(model_args),
            "size": size if size is None else list(both_sides(size)),
            "allow_remote": reached if isinstance(reached, bool) else list(reached),
        }
    return classifier


def load_classifier_again(reference: Mapping[str, Any]) -> Classifier:
    """Load what :func:`load_classifier` recorded in :attr:`Classifier.reference`; errors as there."""
    recorded = dict(reference)
    ref, folder = recorded.pop("ref"), recorded.pop("folder")
    if recorded["preparation"] is not None:
        recorded["preparation"] = Preprocessing.model_validate(recorded["preparation"])
    if recorded["normalization"] is not None:
        recorded["normalization"] = Normalization(*(tuple(values) for values in recorded["normalization"]))
    if recorded["size"] is not None:
        recorded["size"] = tuple(recorded["size"])
    if not os.path.isdir(folder):
        raise InputError(f"{folder}, the folder from which {ref} is read, is not there")
    with chdir(folder):
        return load_classifier(ref, **recorded)


def _load(reference: str, device: torch.device, arguments: Mapping[str, object]) -> LoadedModel:
    reference = (reference and _of_path(Path(reference))) or reference
    scheme, colon, rest = reference.partition(":")
    if scheme not in SCHEMES or not colon:
        raise _not_a_reference(reference, scheme if colon else "")
    if not rest:
        raise InputError(f"{reference!r} names no model; expected one of: {_FORMS}")
    module, _, function = SCHEMES[scheme].partition(":")
    load = getattr(importlib.import_module(module), function)
    if arguments and scheme not in _WITH_ARGUMENTS:
        raise InputError(
            f"{reference!r} takes no arguments of its architecture (--model-args); these are for "
            f"{', '.join(_WITH_ARGUMENTS)}"
        )
    loaded: LoadedModel = load(rest, device, arguments) if arguments else load(rest, device)
    return loaded


def _not_a_reference(reference: str, scheme: str) -> InputError:
    if len(scheme) > 1:  # one letter is a drive
        return unknown_name("kind of model", scheme, SCHEMES)
    path = Path(reference)
    if path.suffix or len(path.parts) > 1:  # it looks like a path
        return InputError(
            f"there is nothing at {reference!r}, and it is not a model reference; expected a path that "
            f"exists, or one of: {_FORMS}"
        )
    return InputError(f"{reference!r} is not a model reference; expected one of: {_FORMS}")


def _of_path(path: Path) -> str:
    """The reference that an existing path means: a file of ONNX or weights, an artifact, a folder of transformers."""
    try:
        if path.suffix == ".onnx" and path.is_file():
            return f"onnx:{path}"
        if path.suffix in (".safetensors", ".pt2", *SUFFIXES) and path.is_file():
            return f"checkpoint:{path}"
        if (path / "card.json").is_file():
            return f"artifact:{path}"
        return f"hf:{path}" if (path / "config.json").is_file() else ""
    except (OSError, ValueError):  # longer than a path can be, or with a NUL in it
        return ""
