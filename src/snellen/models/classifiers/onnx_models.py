"""``onnx:FILE``: a model for ONNX Runtime, described by ``FILE.json`` or else by stated assumptions."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, import_extra
from snellen.core.preparation import Preparation
from snellen.models.classifiers.loaded_model import Field, LoadedModel
from snellen.models.classifiers.model_record import ModelRecord, read_record, recorded_preparation
from snellen.models.classifiers.onnx_external_data import hash_with_external_files
from snellen.models.classifiers.onnx_network import FLOAT_TYPES, OnnxNetwork

#: Largest ONNX file that is read, bytes: the limit of its format.
MAX_BYTES = 2**31 - 1


def load(rest: str, device: torch.device) -> LoadedModel:
    """Load an ONNX classifier: one float input (n, C, h, w) with C of 1 or 3, scores (n, k) or labels (n,) as output.

    ``FILE.json`` may hold ``class_names``, ``preparation``, ``normalization``, ``task`` and ``output``. What it does
    not say is assumed, and the assumption stands in ``notes``: RGB in [0, 1] without normalisation; the shorter edge
    scaled (bilinear) to the input size and the centre cut out.

    Raises:
        InputError: no such file, not an ONNX model, or a model of another kind.
    """
    path = Path(rest)
    content = read_model(path)
    identity = hash_with_external_files(path, content)
    session = open_session(import_extra("onnxruntime", "onnx", f"onnx:{rest}"), path, device)
    network, size, notes = wrap_session(session, path)
    sidecar = path.with_name(path.name + ".json")
    record = read_record(sidecar) or ModelRecord()
    assumed: dict[Field, str] = {}
    preparation = recorded_preparation(record, source=sidecar)
    if preparation is not None and preparation.size is None:
        raise InputError(f"{sidecar}: preparation needs a size, [height, width]")
    if preparation is not None and size is not None and preparation.size != size:
        raise InputError(
            f"{sidecar}: preparation.size is {preparation.size}, but the model takes {size} (height, width)"
        )
    if preparation is None and size is not None:
        preparation = _to_size(size)
        assumed["preparation"] = _scaled(size)
    scale = record.normalization
    if scale is None:
        assumed["normalization"] = _UNIT
    return LoadedModel(
        network=network,
        name=f"onnx:{path.name}",
        preparation=preparation,
        normalization=Normalization(scale.mean, scale.std) if scale else None,
        task=record.task or "single",
        output=record.output,
        class_names=record.class_names,
        identity=identity,
        notes=tuple(notes),
        assumed=assumed,
        advice=f'its input size is dynamic; write {sidecar.name} beside it: {{"preparation": {{"size": [224, 224], '
        f'"resize": "shorter", "resize_to": [256, 256]}}}}, or pass preparation=Preparation(...)',
    )


def described(session: Any) -> LoadedModel:  # noqa: ANN401 - an InferenceSession, of an extra
    """A session that the caller opened; what the model does not say is assumed as for a file without a record.

    Raises:
        InputError: a model of another kind.
    """
    network, size, notes = wrap_session(session, Path("the session"))
    assumed: dict[Field, str] = {"normalization": _UNIT}
    if size is not None:
        assumed["preparation"] = _scaled(size)
    return LoadedModel(
        network=network,
        name="onnx session",
        preparation=Preparation() if size is None else _to_size(size),
        notes=tuple(notes),
        assumed=assumed,
    )


_UNIT = "input assumed to be RGB in [0, 1] without normalisation"


def _to_size(size: tuple[int, int]) -> Preparation:
    return Preparation(size=size, resize="shorter", resize_to=size, interpolation="bilinear")


def _scaled(size: tuple[int, int]) -> str:
    return f"preparation assumed: shorter edge to {min(size)} pixels (bilinear), centre crop"


def read_model(path: Path) -> bytes:
    """The bytes of an ONNX file.

    Raises:
        InputError: no such file, or one that is too large.
    """
    if not path.is_file():
        raise InputError(f"no ONNX file at {path}")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InputError(
            f"{path}: {size} bytes is more than an ONNX file can have ({MAX_BYTES}); keep its weights apart"
        )
    return path.read_bytes()


def open_session(onnxruntime: ModuleType, path: Path, device: torch.device) -> Any:  # noqa: ANN401 - of an extra
    """A session of the runtime that gives the same numbers each time.

    Raises:
        InputError: not a model that the runtime can run, or not on this device.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise InputError(f"onnx:{path.name} on {device}: this onnxruntime has no CUDA; install onnxruntime-gpu")
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    elif device.type != "cpu":
        raise InputError(f"onnx:{path.name} runs on cpu or cuda, not on {device}")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise InputError(f"{path} is not an ONNX model that this onnxruntime can run: {error}") from error
    if device.type == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        # The runtime falls back to the CPU without an error when its CUDA libraries are missing.
        raise InputError(f"onnx:{path.name} on {device}: onnxruntime cannot start CUDA; are its CUDA libraries there?")
    return session


def wrap_session(session: Any, path: Path) -> tuple[OnnxNetwork, tuple[int, int] | None, list[str]]:  # noqa: ANN401
    """The model as a callable, its input size if that is fixed, and what to tell about it."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise InputError(
            f"{path} takes {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); expected one, images"
        )
    entry, first = inputs[0], outputs[0]
    shape, kind = list(entry.shape), entry.type
    if kind not in FLOAT_TYPES:
        raise InputError(f"{path}: input {entry.name!r} is {kind}; expected floats: {', '.join(FLOAT_TYPES)}")
    if len(shape) != 4:
        raise InputError(f"{path}: input {entry.name!r} has shape {shape}; expected (n, channels, height, width)")
    channels = shape[1]
    if isinstance(channels, int) and channels not in (1, 3):
        last = (
            " It looks like (n, height, width, channels): export it with channels first." if shape[3] in (1, 3) else ""
        )
        raise InputError(
            f"{path}: input {entry.name!r} has shape {shape}; expected 1 or 3 channels at position 1.{last}"
        )
    if not first.type.startswith("tensor(") or first.type == "tensor(string)":
        raise InputError(f"{path}: its first output {first.name!r} is {first.type}; expected a tensor of numbers")
    notes = []
    if len(outputs) > 1:
        notes.append(f"the model has {len(outputs)} outputs; the first, {first.name!r}, is used")
    if channels == 1:
        notes.append("the model takes one channel: the mean of the three is fed")
    elif channels != 3:
        notes.append("the model does not tell its number of channels; 3 assumed")
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    size = (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None
    network = OnnxNetwork(
        session, input_name=entry.name, output_name=first.name, kind=kind, grey=channels == 1, batch=batch
    )
    return network, size, notes
