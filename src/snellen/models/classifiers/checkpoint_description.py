"""What a description beside a file of weights says, put into the model that was loaded from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from snellen.models.classifiers.assembly import Field, LoadedModel
from snellen.models.classifiers.model_record import ModelRecord, card_path, read_record, recorded_preparation


def described_beside(path: Path) -> ModelRecord:
    """The description beside a file of weights; an empty one where there is none.

    Raises:
        InputError: one that cannot be read.
    """
    return read_record(card_path(path)) or ModelRecord()


def with_description(loaded: LoadedModel, path: Path) -> LoadedModel:
    """A model as the description beside its weights says: class names, preparation, normalisation, task, output.

    Raises:
        InputError: a description that cannot be read.
    """
    record = described_beside(path)
    scale = None if record.normalization is None else record.normalization.as_normalization
    stated: dict[str, Any] = {
        "class_names": record.class_names,
        "preparation": recorded_preparation(record, source=card_path(path)),
        "normalization": scale,
        "task": record.task,
        "output": record.output,
        "thresholds": record.thresholds,
    }
    found = {name: value for name, value in stated.items() if value is not None}
    assumed: dict[Field, str] = {name: note for name, note in loaded.assumed.items() if name not in found}
    return replace(loaded, **found, assumed=assumed)
