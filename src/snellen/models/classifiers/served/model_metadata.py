"""What a server tells of a model: its tensors, and in ``parameters`` what Snellen or others put there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snellen.core.errors import InputError, ModelError
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
        """What the parameters tell of class names, preparation, normalization, task and output.

        ``snellen`` holds any field of a :class:`~snellen.models.classifiers.model_record.ModelRecord`, ``class_names``
        the names alone; either as JSON, or as a text of JSON.

        Raises:
            InputError: one that cannot be read.
        """
        given = self.parameters or {}
        own = _as_json(given.get("snellen", {}))
        names = _as_json(given.get("class_names"))
        try:
            record = ModelRecord.model_validate(own)
            if record.class_names is None and names is not None:
                record = ModelRecord.model_validate({**record.model_dump(exclude_unset=True), "class_names": names})
        except ValidationError as error:
            raise InputError(f"{where}: its parameters describe the model in another form: {error}") from error
        return record


def read_metadata(body: bytes, model: ServedModel) -> ModelMetadata:
    """Read the description of a model.

    Raises:
        ModelError: something else came.
    """
    try:
        return ModelMetadata.model_validate(json_object(body))
    except (ValueError, RecursionError) as error:
        why = (
            "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
            if isinstance(error, ValidationError)
            else "no JSON object"
        )
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


def _as_json(value: object) -> object:
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
