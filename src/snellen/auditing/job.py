"""An audit as one file, ``audit.toml``: model, data, columns, checks, requirements, and the run directory."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from snellen.auditing.effort import Effort, Named, named_outright, with_settings
from snellen.auditing.toml_files import tables_of, text_of
from snellen.core.classifier import Classifier, Task
from snellen.core.errors import InputError, unknown_name
from snellen.core.finding import Level
from snellen.core.preprocessing import Normalization
from snellen.core.refused_values import refused_value
from snellen.data.factors import Columns, columns_beside
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.runs.given import given_companion

#: Ending of a file that describes an audit.
ENDING = ".toml"

#: Schemes of references that are followed by a path; those of others are followed by a name or an address.
_PATH_SCHEMES = ("artifact", "checkpoint", "dicom", "diffusers", "file", "hf", "isnet", "meshes", "nifti", "onnx",
                 "openclip", "slides", "tar")  # fmt: skip

#: Schemes in which a path may follow a name: ``NAME@PATH``.
_NAME_SCHEMES = ("known", "openclip", "timm", "torchvision")

#: Characters of a value that a message repeats, and errors that it lists.
_SHOWN, _MOST_ERRORS = 80, 8

#: What is given for all channels, or for each; pixels of a side.
_Mean = Annotated[float, Field(allow_inf_nan=False)]
_Std = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Side = Annotated[int, Field(gt=0, le=65535)]

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(.*)", re.DOTALL)


class Requirements(BaseModel):
    """The table ``[gate]``: what makes the command end with code 3. In Python it is not judged.

    Attributes:
        require: metrics and limits, such as ``clean.accuracy>=0.9``.
        fail_on: level of findings that fails it.
        baseline: run directory of an earlier audit.
        not_worse_than: margins to it, such as ``1pt`` or ``discrimination.auroc=1pt``.
        junit: file for the outcome, as JUnit XML.
        sarif: the same, as SARIF.
        ledger: file or folder in which audits and gates of these images are counted; also in Python.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    require: tuple[str, ...] = ()
    fail_on: Level | None = None
    baseline: str | None = None
    not_worse_than: tuple[str, ...] = ()
    junit: str | None = None
    sarif: str | None = None
    ledger: str | None = None


class AuditJob(BaseModel):
    """What ``audit.toml`` holds. Relative paths are relative to the folder of the file.

    Attributes:
        model: reference of the classifier.
        data: reference of the images.
        classes: file with the class names, one a line.
        model_args: what the architecture of a checkpoint is built with.
        task: what the outputs decide, where the model does not say; ``segment``: the class of each pixel;
            ``multi_label``: several labels an image.
        output: what the model returns, where a probe does not show it.
        size: of the images for the model, pixels, or height and width.
        mean, std: that images are normalised with, for all channels or for each; finite, and std positive.
        columns: what columns mean: ``{unit = "patient", group = "hospital"}``; ``group`` may name several.
        masks: folder of masks that are called like the images.
        table: CSV or Parquet file that names the images and says more of them.
        costs: CSV file of what errors cost, rows true classes and columns decisions.
        prevalence: of the positive class where the model will be used.
        train: images the model was trained on.
        val: images that something may be fitted to.
        out: run directory.
        effort: which checks run.
        checks: names, or ``+name`` and ``-name`` to change the effort's.
        settings: parameters of checks, by check.
        threats: what the model must withstand.
        domain: what the images are: photos, products, documents, satellite, industrial, medical:KIND, or all.
        gate: requirements.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    data: str
    classes: str | None = None
    model_args: dict[str, Any] = Field(default_factory=dict)
    task: Literal["single", "ordinal", "segment", "multi_label"] | None = None
    output: Literal["logits", "probabilities"] | None = None
    size: _Side | tuple[_Side, _Side] | None = None
    mean: _Mean | tuple[_Mean, ...] | None = None
    std: _Std | tuple[_Std, ...] | None = None
    columns: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    masks: str | None = None
    table: str | None = None
    costs: str | None = None
    prevalence: float | None = Field(None, gt=0, lt=1)
    train: str | None = None
    val: str | None = None
    out: str | None = None
    effort: Effort | None = None
    checks: str | tuple[str, ...] | None = None
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    threats: tuple[str, ...] = ()
    domain: str | None = None
    gate: Requirements = Requirements()
    device: str = "cpu"
    limit: int | None = Field(None, ge=1)
    budget: str | None = None
    batch_size: int = Field(64, ge=1)
    workers: int = Field(0, ge=0)
    seed: int = 0
    save_images: bool = True
    pseudonyms: str | None = None
    allow_rejected: bool = False

    @model_validator(mode="after")
    def _whole_normalization(self) -> AuditJob:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both, or none for the model's own")
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, tuple) and len(value) not in (1, 3):
                raise ValueError(f"{name}: expected one number, or three, got {len(value)}")
        return self

    def under(self, folder: Path) -> AuditJob:
        """The same job with paths that hold where ``folder`` does."""
        if folder == Path():  # all paths hold here as they stand
            return self
        paths = ("model", "data", "classes", "masks", "table", "costs", "train", "val", "out", "pseudonyms")
        moved: dict[str, Any] = {
            name: placed(value, folder) for name in paths if isinstance(value := getattr(self, name), str)
        }
        gate = {
            name: placed(value, folder)
            for name in ("baseline", "junit", "sarif", "ledger")
            if (value := getattr(self.gate, name))
        }
        settings = {check: _placed_fields(fields, folder) for check, fields in self.settings.items()}
        return self.model_copy(update={**moved, "gate": self.gate.model_copy(update=gate), "settings": settings})

    def named_checks(self) -> Named | None:
        """The checks as :func:`snellen.audit` takes them, with their settings."""
        return with_settings(self.checks, self.effort, self.settings, self.decides)

    @property
    def decides(self) -> Task:
        """The task, as a classifier has it."""
        return "multilabel" if self.task == "multi_label" else self.task or "single"

    def _normalization(self) -> Normalization | None:
        if self.mean is None or self.std is None:
            return None
        return Normalization(_each(self.mean), _each(self.std))

    def arguments(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Keyword arguments of :func:`snellen.audit`, model and images loaded; only what the file says.

        Args:
            given: arguments of the call, which win. What they replace is not loaded; ``class_names`` and ``columns``,
                which loading uses up, are not returned.
        """
        beside = dict(given or {})
        names = beside.pop("class_names", self.classes)
        data, columns, groups = self.data, dict(self.columns), None
        if isinstance(beside.get("images", data), str | os.PathLike):  # images in memory are taken as they come
            data = beside.pop("images", data)
            columns |= beside.pop("columns", {})
            groups = beside.pop("groups", None)
            if groups is not None:
                columns.pop("group", None)
        meant: Columns | None = columns or None
        if "images" not in beside:
            beside["images"] = load_images(data, columns=meant, groups=groups, masks=self.masks, table=self.table)
            meant = columns_beside(beside["images"], meant, groups)
        loading: dict[str, Callable[[], Any]] = {
            "classifier": lambda: self._classifier(names),
            "train": lambda: None if self.train is None else given_companion(self.train, meant),
            "val": lambda: None if self.val is None else given_companion(self.val, meant),
            "checks": self.named_checks,
        }
        plain = (
            "out",
            "effort",
            "threats",
            "domain",
            "limit",
            "budget",
            "batch_size",
            "workers",
            "seed",
            "save_images",
        )
        found = {
            name: getattr(self, name)
            for name in (*plain, "costs", "prevalence", "pseudonyms", "allow_rejected")
            if name in self.model_fields_set
        }
        if self.gate.ledger is not None:
            found["ledger"] = self.gate.ledger
        return {**found, **{name: load() for name, load in loading.items() if name not in beside}, **beside}

    def _classifier(self, names: Sequence[str] | str | None) -> Classifier:
        return load_classifier(
            self.model,
            names,
            device=self.device,
            model_args=self.model_args or None,
            task=None if self.task is None else self.decides,
            output=self.output,
            size=self.size,
            normalization=self._normalization(),
        )


def _each(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def is_job(reference: object) -> bool:
    """Whether a model is named by a file that describes a whole audit.

    >>> is_job("audit.toml"), is_job("bundled:fashion-cnn")
    (True, False)
    """
    return isinstance(reference, str | Path) and str(reference).lower().endswith(ENDING)


def read_job(path: Path | str) -> AuditJob:
    """Read ``audit.toml``.

    Returns:
        The job, with paths as they hold from here.

    Raises:
        InputError: there is no such file, or as :func:`parse_job`.
    """
    place = Path(path)
    return parse_job(text_of(place, "snellen init MODEL DATA writes such a file"), place).under(place.parent)


def parse_job(text: str, place: Path) -> AuditJob:
    """The job that a text describes, with paths as they stand in it.

    Args:
        text: of the file.
        place: of the file, for messages.

    Raises:
        InputError: the text is too long or not TOML, or a key is unknown or holds what it may not; the message names
            file, line and key.
    """
    written = tables_of(text, place)
    try:
        return AuditJob.model_validate(written)
    except ValidationError as error:
        raise InputError("\n".join(_explained(place, text, one) for one in error.errors()[:_MOST_ERRORS])) from error


def arguments_of(path: str, given: Mapping[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    """Keyword arguments of an audit that a file describes.

    Args:
        path: of the file, which came as the classifier.
        given: all arguments of the call by name; those that are not their default win over the file.
        signature: of the call.
    """
    job = read_job(path)
    beside = {
        name: value
        for name, value in given.items()
        if name != "classifier" and value is not signature.parameters[name].default
    }
    if named_outright(beside.get("checks")):
        job = job.model_copy(update={"effort": None})
    elif "effort" in beside and named_outright(job.checks):
        job = job.model_copy(update={"checks": None})
    return job.arguments(beside)


def placed(reference: str, folder: Path) -> str:
    """A path or reference that was written in a file of a folder, as it holds from here.

    >>> [placed(one, Path("sub")) for one in ("images#test", "onnx:net.onnx", "bundled:fashion-cnn")]
    ['sub/images#test', 'onnx:sub/net.onnx', 'bundled:fashion-cnn']
    """
    return moved(reference, lambda path: str(folder / path))


def moved(reference: str, move: Callable[[str], str]) -> str:
    """A reference whose path, where it holds one, was put through a function."""
    found = _SCHEME.fullmatch(reference)
    if found is None or len(found[1]) == 1:  # one letter is a drive
        return move(reference)
    scheme, rest = found.groups()
    name, at, file = rest.partition("@")
    if at and scheme in _NAME_SCHEMES:
        return f"{scheme}:{name}@{move(file)}"
    return f"{scheme}:{move(rest)}" if scheme in _PATH_SCHEMES else reference


def _placed_fields(fields: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Settings of a check, in which a text may be a reference that holds a path."""
    schemes = {*_PATH_SCHEMES, *_NAME_SCHEMES}
    return {
        name: placed(value, folder) if isinstance(value, str) and value.partition(":")[0] in schemes else value
        for name, value in fields.items()
    }


def _explained(place: Path, text: str, error: Mapping[str, Any]) -> str:
    """What is wrong with one key, in a line."""
    where = [str(part) for part in error["loc"] if isinstance(part, str)]
    if not where:  # of several keys together
        return f"{place}: {refused_value(error)}"
    known = Requirements if where[0] == "gate" and len(where) > 1 else AuditJob
    where = where[: 2 if known is Requirements else 1]
    line = _line(text, where)
    begin = f"{place}{f', line {line}' if line else ''}"
    key = ".".join(where)
    if error["type"] == "extra_forbidden":
        return f"{begin}: {unknown_name('key', where[-1][:_SHOWN], known.model_fields)}"
    if error["type"] == "missing":
        return f'{begin}: the key {key!r} is missing; write {key} = "..."'
    return f"{begin}: {key}: {refused_value(error)}"


def _line(text: str, where: Sequence[str]) -> int | None:
    """Number of the line that a key stands in; None where it stands in none of its own."""
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
        if header:
            table = header[1]
            if table.split(".") == list(where):
                return number
        elif re.match(rf"\s*[\"']?{re.escape(where[-1])}[\"']?\s*=", line) and table == ".".join(where[:-1]):
            return number
    return None
