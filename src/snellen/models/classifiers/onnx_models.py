"""``onnx:FILE``: an ONNX model, described by ``FILE.json`` or ``FILE.toml`` or else by stated assumptions.

Torch runs it, with gradients and layers, where it can; ONNX Runtime does otherwise: see
:mod:`snellen.models.classifiers.onnx_graph.running`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, UnsupportedError, import_extra
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.assembly import Field, LoadedModel, Network
from snellen.models.classifiers.model_record import ModelRecord, card_path, read_record, recorded_preparation
from snellen.models.classifiers.onnx_external_data import external_files, hash_with_external_files
from snellen.models.classifiers.onnx_graph.running import Running, run_by_torch
from snellen.models.classifiers.onnx_sessions import WrappedSession, open_session, wrap_session

#: Largest ONNX file that is read, bytes: the limit of its format.
MAX_BYTES = 2**31 - 1


def load(rest: str, device: torch.device, arguments: Mapping[str, object] | None = None) -> LoadedModel:
    """Load an ONNX classifier: one float input (n, C, h, w) with C of 1 or 3, scores (n, k) or labels (n,) as output.

    ``FILE.json`` or ``FILE.toml`` may hold ``class_names``, ``preparation``, ``normalization``, ``task`` and
    ``output``. What it does not say is assumed, and the assumption stands in ``notes``: RGB in [0, 1] without
    normalisation; the shorter edge scaled (bilinear) to the input size and the centre cut out.

    Args:
        rest: path of the file.
        device: where it runs.
        arguments: ``run_by``: ``torch`` refuses a model that torch cannot run, ``onnxruntime`` leaves gradients out;
            by default torch runs the model where it can.

    Raises:
        InputError: no such file, not an ONNX model, or a model of another kind.
        UnsupportedError: ``run_by`` is torch, and it cannot.
    """
    path = Path(rest)
    run_by = _run_by(arguments or {})
    content = read_model(path)
    import_extra("onnxruntime", "onnx", f"onnx:{path}")  # raised before any error of the file
    identity = hash_with_external_files(path, content)
    sidecar = card_path(path)
    record = read_record(sidecar) or ModelRecord()
    if record.architecture is not None or record.arguments is not None:
        raise InputError(f"{sidecar}: architecture and arguments are for checkpoints; an ONNX file has its own graph")
    preparation = recorded_preparation(record, source=sidecar)
    scale = None if record.normalization is None else record.normalization.as_normalization
    wanted = None if preparation is None else preparation.size
    opened = _open(path, content, device, run_by, scale, wanted)
    assumed: dict[Field, str] = {}
    if preparation is not None and wanted is None:
        raise InputError(f"{sidecar}: preparation needs a size, [height, width]")
    if wanted is not None and opened.size is not None and wanted != opened.size:
        raise InputError(f"{sidecar}: preparation.size is {wanted}, but the model takes {opened.size} (height, width)")
    if preparation is None and opened.size is not None:
        preparation = _to_size(opened.size)
        assumed["preparation"] = _scaled(opened.size)
    if scale is None:
        assumed["normalization"] = _UNIT
    return LoadedModel(
        network=opened.network,
        name=f"onnx:{path.name}",
        preparation=preparation,
        normalization=scale,
        task=record.task or "single",
        output=record.output,
        thresholds=record.thresholds or {},
        class_names=record.class_names,
        identity=identity,
        differentiable=opened.differentiable,
        feature_layer=opened.feature_layer,
        notes=opened.notes,
        assumed=assumed,
        advice=f'its input size is dynamic; write {sidecar.name} beside it: {{"preparation": {{"size": [224, 224], '
        f'"resize": "shorter", "resize_to": [256, 256]}}}}, or pass preparation=Preprocessing(...)',
    )


def described(session: Any) -> LoadedModel:  # noqa: ANN401 - an InferenceSession, of an extra
    """A session that the caller opened; what the model does not say is assumed as for a file without a record.

    A session knows the file or the bytes that it was made of. Torch runs these where it can; a session whose file is
    gone, or was changed so that it gives other scores, runs itself, without gradients. The identity is the hash of what
    torch runs, or of the bytes; a session that runs itself may differ from its file by now, and has none.

    Raises:
        InputError: a model of another kind.
    """
    runtime = wrap_session(session, Path("the session"))
    path, content = getattr(session, "_model_path", None), getattr(session, "_model_bytes", None)
    file = Path(path) if isinstance(path, str) and path else None
    if content is None and file is not None and file.is_file():
        content = read_model(file)
    identity = None
    if not isinstance(content, bytes) or content[4:8] == b"ORTM":  # the runtime's own format, which holds no ONNX
        opened = _by_runtime(runtime, "onnxruntime runs the session, whose file is not known: no gradients and layers")
    elif file is None and external_files(content):
        opened = _by_runtime(runtime, "onnxruntime runs the session, whose weights lie in files that are not known")
    else:
        opened = _by_torch(runtime, content, None if file is None else file.parent, None, None)
        if file is None or opened.differentiable:
            identity = hash_with_external_files(file or Path("the session"), content)
    assumed: dict[Field, str] = {"normalization": _UNIT}
    if opened.size is not None:
        assumed["preparation"] = _scaled(opened.size)
    return LoadedModel(
        network=opened.network,
        name="onnx session",
        preparation=Preprocessing() if opened.size is None else _to_size(opened.size),
        identity=identity,
        differentiable=opened.differentiable,
        feature_layer=opened.feature_layer,
        notes=opened.notes,
        assumed=assumed,
    )


@dataclass(frozen=True, eq=False)
class _Opened:
    """What runs a model, the size of its images if that is fixed, and notes about it."""

    network: Network
    size: tuple[int, int] | None
    notes: tuple[str, ...]
    differentiable: bool
    feature_layer: str | None = None


def _run_by(arguments: Mapping[str, object]) -> str | None:
    unknown = [name for name in arguments if name != "run_by"]
    run_by = arguments.get("run_by")
    if unknown or run_by not in (None, "torch", "onnxruntime"):
        raise InputError(
            f"an ONNX model takes one argument, run_by=torch or run_by=onnxruntime; got {dict(arguments)} "
            f"(--model-args)"
        )
    return None if run_by is None else str(run_by)


def _open(
    path: Path,
    content: bytes,
    device: torch.device,
    run_by: str | None,
    scale: Normalization | None,
    size: tuple[int, int] | None,
) -> _Opened:
    """What runs a file: torch where it can, else ONNX Runtime on the device."""
    onnxruntime = import_extra("onnxruntime", "onnx", f"onnx:{path}")
    if run_by == "onnxruntime":
        runtime = wrap_session(open_session(onnxruntime, path, device), path)
        return _by_runtime(runtime, "onnxruntime runs the model, as requested: no gradients and layers")
    opened = _by_torch(wrap_session(open_session(onnxruntime, path, _CPU), path), content, path.parent, scale, size)
    if run_by == "torch" and not opened.differentiable:
        raise UnsupportedError(f"{path}: {opened.notes[-1]} (run_by=torch)")
    if opened.differentiable or device.type == "cpu":
        return opened
    return _by_runtime(wrap_session(open_session(onnxruntime, path, device), path), opened.notes[-1])


def _by_runtime(runtime: WrappedSession, note: str) -> _Opened:
    return _Opened(runtime.network, runtime.size, (*runtime.notes, note), differentiable=False)


def _by_torch(
    runtime: WrappedSession,
    content: bytes,
    folder: Path | None,
    scale: Normalization | None,
    size: tuple[int, int] | None,
) -> _Opened:
    """Torch, where its scores are those of the runtime; else the runtime."""
    if runtime.labels:
        return _by_runtime(runtime, "onnxruntime runs the model: an output of labels has no gradients")
    found: Running = run_by_torch(
        content,
        folder,
        runtime.network,
        result=runtime.output,
        size=runtime.size or size,
        normalization=scale,
        dtype=runtime.dtype,
        grey=runtime.grey,
        batch=runtime.batch,
    )
    if found.network is None:
        return _by_runtime(runtime, found.note)
    notes = (*runtime.notes, found.note)
    return _Opened(found.network, runtime.size, notes, differentiable=True, feature_layer=found.feature_layer)


_CPU = torch.device("cpu")
_UNIT = "input assumed to be RGB in [0, 1] without normalisation"


def _to_size(size: tuple[int, int]) -> Preprocessing:
    return Preprocessing(size=size, resize="shorter", resize_to=size, interpolation="bilinear")


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
