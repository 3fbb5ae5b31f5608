"""The protocol of a server: descriptions of models, requests and answers, as JSON or with numbers as bytes behind."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snellen.core.errors import InputError, ModelError
from snellen.core.refused_values import refused_values
from snellen.models.classifiers.model_record import ModelRecord
from snellen.models.classifiers.served.server_reference import ServedModel
from snellen.models.remote.connection import shown

#: What a server calls its ability to take and give numbers as bytes.
BINARY = "binary_tensor_data"

#: What may be half of a character.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


class TensorDescription(BaseModel):
    """An input or output; −1 in a shape stands for any length."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(max_length=1024)
    datatype: str = Field(max_length=64)
    shape: tuple[int, ...] = Field(max_length=32)


class ModelMetadata(BaseModel):
    """The answer to ``GET /v2/models/NAME``, as far as it is used."""

    model_config = ConfigDict(frozen=True)

    name: str
    platform: str = ""
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    parameters: dict[str, Any] | None = None

    def record(self, where: str) -> ModelRecord:
        """What the parameters hold of class names, preparation, normalization, task and output.

        ``snellen`` holds any field of a :class:`~snellen.models.classifiers.model_record.ModelRecord`, ``class_names``
        the names alone; either as JSON, or as a text of JSON.

        Raises:
            InputError: one that cannot be read.
        """
        given = self.parameters or {}
        own = _setting_as_json(given.get("snellen", {}))
        names = _setting_as_json(given.get("class_names"))
        try:
            record = ModelRecord.model_validate(own)
            if record.class_names is None and names is not None:
                record = ModelRecord.model_validate({**record.model_dump(exclude_unset=True), "class_names": names})
        except ValidationError as error:
            raise InputError(
                f"{where}: its parameters describe the model in another form: {refused_values(error)}"
            ) from error
        return record


def read_metadata(body: bytes, model: ServedModel) -> ModelMetadata:
    """Read the description of a model.

    Raises:
        ModelError: something else came.
    """
    try:
        return ModelMetadata.model_validate(json_object(body))
    except (ValueError, RecursionError) as error:
        why = refused_values(error) if isinstance(error, ValidationError) else "no JSON object"
        raise ModelError(
            f"{model.server.url} describes no model ({why}): {shown(body[:400].decode(errors='replace'))}"
        ) from None


def announces_binary(body: bytes) -> bool:
    """Whether the answer to ``GET /v2`` says that numbers may travel as bytes."""
    try:
        extensions = json_object(body).get("extensions")
    except (ValueError, RecursionError):
        return False
    return isinstance(extensions, list) and BINARY in extensions


def choose(tensors: tuple[TensorDescription, ...], name: str | None, what: str, where: str) -> TensorDescription:
    """The tensor of a name, or the first; of inputs there must be one where none is named.

    Raises:
        InputError: none of this name, or several inputs.
    """
    known = ", ".join(tensor.name for tensor in tensors)
    if name is not None:
        for tensor in tensors:
            if tensor.name == name:
                return tensor
        raise InputError(f"{where} has no {what} {name!r}; it has {known or 'none'}")
    if not tensors or (what == "input" and len(tensors) > 1):
        raise InputError(
            f"{where} has {len(tensors)} {what}s ({known or 'none'}); name the one for images: ?input=NAME"
        )
    return tensors[0]


def json_object(body: bytes) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        ValueError: something else.
        RecursionError: one that is nested without end.
    """
    value = _loaded(body)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def _setting_as_json(value: object) -> object:
    """A value, or what a text of JSON says; parameters of the protocol are plain values."""
    if not isinstance(value, str):
        return value
    try:
        return _loaded(value)
    except (ValueError, RecursionError):
        return value


def _loaded(text: bytes | str) -> Any:  # noqa: ANN401 - JSON
    """What JSON says; half a character, which no file can hold, is an error."""
    read = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    value = json.loads(read)
    if _HALF.search(read):
        json.dumps(value, ensure_ascii=False).encode()
    return value


#: The header that says how long the JSON before the bytes is.
JSON_LENGTH = "inference-header-content-length"

#: Types of numbers that scores or labels may come in.
SCORE_TYPES: dict[str, np.dtype[np.generic]] = {
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("u1"),
}


def write_request(
    images: NDArray[np.generic], *, entry: str, datatype: str, output: str, binary: bool
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request for the scores of some images."""
    described: dict[str, Any] = {"name": entry, "shape": list(images.shape), "datatype": datatype}
    wanted: dict[str, Any] = {"name": output}
    if not binary:
        entry_json = f'{json.dumps(described)[:-1]},"data":[{_as_json(images.reshape(-1))}]}}'
        body = f'{{"inputs":[{entry_json}],"outputs":[{json.dumps(wanted)}]}}'
        return body.encode(), {"content-type": "application/json"}
    numbers = images.tobytes()
    described["parameters"] = {"binary_data_size": len(numbers)}
    wanted["parameters"] = {"binary_data": True}
    head = json.dumps({"inputs": [described], "outputs": [wanted]}, separators=(",", ":")).encode()
    return head + numbers, {"content-type": "application/octet-stream", JSON_LENGTH: str(len(head))}


def _as_json(numbers: NDArray[np.generic]) -> str:
    """Numbers (n,) between commas. Images of bytes hold few different ones: each of these is written out once."""
    values, places = np.unique(numbers, return_inverse=True)
    if 4 * len(values) > len(numbers):
        return json.dumps(numbers.tolist(), separators=(",", ":"))[1:-1]
    texts = np.array([json.dumps(value) for value in values.tolist()], dtype=object)
    return ",".join(texts[places].tolist())


def read_answer(
    body: bytes, json_length: str | None, *, output: str, rows: int, where: str
) -> tuple[NDArray[np.generic], str | None]:
    """The numbers of an output, (rows, …), and the version of the model that gave them, where the server states it.

    Args:
        body: of the answer.
        json_length: the header :data:`JSON_LENGTH`, where it came.
        output: name of the output.
        rows: images that were sent.
        where: address, for messages.

    Raises:
        ModelError: something else came; the message says what.
    """

    def wrong(why: str) -> ModelError:
        return ModelError(f"{where} answers with something else than scores: {why}")

    length = len(body)
    if json_length is not None:
        length = int(json_length) if json_length.isascii() and json_length.isdigit() else -1
        if not 0 < length <= len(body):
            raise wrong(f"{JSON_LENGTH} is {shown(json_length)}, and {len(body)} bytes came")
    try:
        answer = json_object(body[:length])
    except (ValueError, RecursionError):
        raise wrong(f"no JSON object came, but {shown(body[:400].decode(errors='replace'))}") from None
    listed = answer.get("outputs")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise wrong(f"no list of outputs, but {shown(json.dumps(answer)[:400])}")
    start = length
    for one in listed:
        size = _binary_size(one)
        if one.get("name") == output:
            numbers = _numbers(one, body[start : start + size] if size is not None else None, wrong)
            if not numbers.ndim or len(numbers) != rows:
                raise wrong(f"{output!r} has the shape {list(numbers.shape)} for {rows} images")
            version = answer.get("model_version")
            return numbers, version if isinstance(version, str) else None
        start += size or 0
    raise wrong(f"no output {output!r}, but {shown(', '.join(str(one.get('name')) for one in listed))}")


def _binary_size(one: Mapping[str, Any]) -> int | None:
    """Bytes of an output behind the JSON, or None where its numbers are in it."""
    parameters = one.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None


def _numbers(one: Mapping[str, Any], content: bytes | None, wrong: Any) -> NDArray[np.generic]:  # noqa: ANN401
    shape, datatype = one.get("shape"), one.get("datatype")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape) or len(shape) > 32:
        raise wrong(f"the shape {shown(str(shape))}")
    if not isinstance(datatype, str) or datatype not in SCORE_TYPES:
        raise wrong(f"the type {shown(str(datatype))}; expected one of {', '.join(SCORE_TYPES)}")
    kind, count = SCORE_TYPES[datatype], math.prod(shape)
    if content is not None:
        if len(content) != count * kind.itemsize:
            raise wrong(f"{len(content)} bytes for {datatype} of the shape {shape}")
        return np.frombuffer(content, dtype=kind).reshape(shape)
    data = one.get("data")
    # Numbers come in one list, or in lists of lists as the shape has them.
    for _ in shape[1:]:
        if isinstance(data, list) and data and all(isinstance(row, list) for row in data):
            data = [number for row in data for number in row]
    if not isinstance(data, list) or len(data) != count:
        raise wrong(f"{len(data) if isinstance(data, list) else 'no'} numbers for the shape {shape}")
    if not all(type(number) in (int, float) for number in data):
        odd = next(number for number in data if type(number) not in (int, float))
        raise wrong(f"{shown(str(odd))} where a number is expected")
    try:
        with np.errstate(over="ignore"):
            return np.array(data, dtype=np.float64 if kind.kind == "f" else np.int64).astype(kind).reshape(shape)
    except (OverflowError, ValueError):
        raise wrong(f"numbers that are too large for {datatype}") from None
