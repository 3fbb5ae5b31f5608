"""What a file beside a model may say about it: class names, preparation, normalization, task, output, architecture."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from snellen.core.classifier import Normalization, Task
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.refused_values import refused_values
from snellen.models.classifiers.output_kind import OutputKind

#: Largest record that is read, bytes.
MAX_BYTES = 16 * 2**20


class MeanAndStd(BaseModel):
    """Mean and std for each channel, or one for all, in [0, 1] units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, float, float] | tuple[float] = (0.0, 0.0, 0.0)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | tuple[PositiveFloat] = (1.0, 1.0, 1.0)

    @property
    def as_normalization(self) -> Normalization:
        """The same numbers as a classifier takes them."""
        return Normalization(self.mean, self.std)


class ModelRecord(BaseModel):
    """The content of ``FILE.json`` or ``FILE.toml`` beside an ONNX file or a checkpoint; every field may be left out.

    >>> ModelRecord.model_validate({"class_names": ["cat", "dog"], "output": "probabilities"}).task is None
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_names: tuple[str, ...] | None = Field(None, description="one name for each output")
    preparation: dict[str, object] | None = Field(None, description="fields of Preprocessing")
    normalization: MeanAndStd | None = Field(None, description="mean and std in [0, 1] units")
    task: Task | None = Field(None, description="what the outputs decide")
    output: OutputKind | None = Field(None, description="what the model returns")
    thresholds: dict[str, float] | None = Field(
        None, description="of several labels: probability above which each is given; others: 0.5"
    )
    architecture: str | None = Field(
        None, description="of a checkpoint: timm:NAME, torchvision:NAME, or an architecture of Snellen"
    )
    arguments: dict[str, object] | None = Field(
        None, description="of a checkpoint: what its architecture is built with"
    )


def card_path(path: Path) -> Path:
    """The record beside a model: ``FILE.toml`` where there is one, else ``FILE.json``, which need not exist.

    Raises:
        InputError: both exist.
    """
    as_json, as_toml = (path.with_name(path.name + suffix) for suffix in (".json", ".toml"))
    if as_json.is_file() and as_toml.is_file():
        raise InputError(f"{path.name} has two descriptions, {as_json.name} and {as_toml.name}; keep one of them")
    return as_toml if as_toml.is_file() else as_json


def read_record(path: Path) -> ModelRecord | None:
    """Read a record, or None when there is no such file.

    Raises:
        InputError: a file that is not a record.
    """
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: too large for a description of a model (at most {MAX_BYTES} bytes)")
    known = ", ".join(ModelRecord.model_fields)
    form, parse = ("TOML", tomllib.loads) if path.suffix == ".toml" else ("JSON", json.loads)
    try:
        return ModelRecord.model_validate(parse(path.read_text(encoding="utf-8")))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(
            f"{path}: not a description of a model; expected {form} with any of {known}: {error}"
        ) from error


def recorded_preparation(record: ModelRecord | None, *, source: Path) -> Preprocessing | None:
    """The preparation in a record, if it holds one."""
    if record is None or record.preparation is None:
        return None
    return read_preparation(record.preparation, source=str(source))


def read_preparation(values: Mapping[str, object], *, source: str) -> Preprocessing:
    """A preparation from its stored fields.

    Raises:
        InputError: unknown fields or values.
    """
    try:
        return Preprocessing.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(f"{source}: not a preparation: {refused_values(error)}") from error


def recorded_normalization(values: Mapping[str, object], *, source: Path) -> Normalization:
    """Mean and std from stored fields.

    Raises:
        InputError: unknown fields or values.
    """
    try:
        scale = MeanAndStd.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(f"{source}: not a normalization: {refused_values(error)}") from error
    return scale.as_normalization
