"""``onnx:FILE``: a model for ONNX Runtime, described by ``FILE.json`` or else by stated assumptions."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, import_extra
from snellen.core.preparation import Preparation
from snellen.models.classifiers.assembly import Field, LoadedModel
from snellen.models.classifiers.model_record import ModelRecord, read_record, recorded_preparation

#: An ``external_data`` entry of a tensor: StringStringEntryProto with key "location" (fields 1 and 2 of the message).
_LOCATION = b"\x0a\x08location\x12"


def external_files(content: bytes) -> tuple[str, ...]:
    r"""Names of the files that hold tensors of a serialised ONNX model, in order of first mention.

    >>> external_files(b"..." + _LOCATION + b"\x06w.data" + b"...")
    ('w.data',)

    Raises:
        InputError: a name that leaves the folder of the model.
    """
    names: list[str] = []
    start = content.find(_LOCATION)
    while start >= 0:
        length, begin = _varint(content, start + len(_LOCATION))
        name = content[begin : begin + length].decode("utf-8", errors="replace")
        if name not in names:
            names.append(name)
        start = content.find(_LOCATION, begin)
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name or not name:
            raise InputError(f"the ONNX file keeps weights in {name!r}, which is outside of its folder; not read")
    return tuple(names)


def hash_with_external_files(path: Path, content: bytes) -> str:
    """The sha256 of a model's content; with external weight files, of its hash and theirs, in order.

    Raises:
        InputError: a weight file is missing.
    """
    own = hashlib.sha256(content).hexdigest()
    names = external_files(content)
    if not names:
        return own
    digest = hashlib.sha256(own.encode())
    for name in names:
        part = path.parent / name
        if not part.is_file():
            raise InputError(f"{path} keeps weights in {name}, which is missing beside it; copy both files")
        with part.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").hexdigest().encode())
    return digest.hexdigest()


def _varint(content: bytes, start: int) -> tuple[int, int]:
    """A protobuf varint: its value, and the position after it."""
    value = shift = 0
    for position in range(start, min(start + 5, len(content))):
        value |= (content[position] & 0x7F) << shift
        if content[position] < 0x80:
            return value, position + 1
        shift += 7
    return 0, start


#: Input types that images are cast to.
FLOAT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxNetwork:
    """A session as a callable: normalised images (n, 3, h, w) → outputs (n, k), or labels (n,). No gradients.

    A session with a fixed batch size is called as often as needed; its last batch is filled with copies of the last
    image, whose outputs are dropped.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        input_name: name of the input.
        output_name: name of the output that is used.
        kind: type of the input, one of :data:`FLOAT_TYPES`.
        grey: feed the mean of the channels, (n, 1, h, w).
        batch: the batch size that the session insists on, or None.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - an InferenceSession, of an extra
        *,
        input_name: str,
        output_name: str,
        kind: str,
        grey: bool,
        batch: int | None,
    ) -> None:
        self._session, self._input, self._output = session, input_name, output_name
        self._dtype, self._grey, self._batch = FLOAT_TYPES[kind], grey, batch

    def __call__(self, images: Tensor) -> Tensor:
        """Run the model; the result is on the device of the images."""
        fed = images.detach().mean(1, keepdim=True) if self._grey else images.detach()
        array = np.ascontiguousarray(fed.cpu().numpy().astype(self._dtype))
        step = self._batch or len(array)
        parts = [self._run(array[start : start + step], step) for start in range(0, len(array), step)]
        outputs = torch.from_numpy(np.concatenate(parts))
        # (n, k, 1, 1) is what a pooled convolution gives.
        while outputs.ndim > 2 and outputs.shape[-1] == 1:
            outputs = outputs.squeeze(-1)
        return outputs.to(images.device)

    def _run(self, images: NDArray[np.floating[Any]], step: int) -> NDArray[Any]:
        missing = step - len(images)
        if missing:
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        outputs: NDArray[Any] = self._session.run([self._output], {self._input: images})[0]
        return outputs[: step - missing] if missing else outputs


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
