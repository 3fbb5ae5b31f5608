"""Options that every command that runs a model over images has, in the same words and the same groups of its help."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from snellen.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snellen.core.images import ImageSet
    from snellen.core.preprocessing import Normalization
    from snellen.core.progress import Progress

#: Groups of options in help texts, in their order; what matters first stands in none.
DATA_PANEL = "How model and images are read"
RUN_PANEL = "Where and how long it runs"
PRIVACY_PANEL = "What is kept, and who may be reached"
GATE_PANEL = "Requirements (exit code 3)"

ClassesOption = Annotated[
    Path | None, typer.Option(help="File with the class names, one a line.", rich_help_panel=DATA_PANEL)
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.", rich_help_panel=RUN_PANEL)]
WorkersOption = Annotated[
    int,
    typer.Option(min=0, help="Threads that read images ahead. 0: the main thread reads.", rich_help_panel=RUN_PANEL),
]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.", rich_help_panel=RUN_PANEL)]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MEANING=NAME",
        help="What a column of a table means, repeatable: --column image=file --column label=dx --column unit=patient "
        "--column group=hospital. Several groups: --column group=hospital --column group=scanner --column "
        "group=age:40,60 (bands of numbers).",
        rich_help_panel=DATA_PANEL,
    ),
]
MasksOption = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Masks of the objects, called like the images.", rich_help_panel=DATA_PANEL),
]
TableOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="CSV or Parquet with a column of file names; --column says what its other columns mean.",
        rich_help_panel=DATA_PANEL,
    ),
]
AllowRejectedOption = Annotated[
    bool,
    typer.Option(
        "--allow-rejected",
        help="Give a result also where more than 5 % of the images cannot be used.",
        rich_help_panel=DATA_PANEL,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of the summary.")]


class ReadingOptions(TypedDict):
    """How images are read: arguments of :func:`snellen.load_images`."""

    columns: Mapping[str, str | Sequence[str]] | None
    masks: Path | None
    table: Path | None


def reading(column: ColumnOption = None, masks: MasksOption = None, table: TableOption = None) -> ReadingOptions:
    """The options that say how images are read, as arguments of :func:`snellen.load_images`."""
    return {"columns": read_columns(column), "masks": masks, "table": table}


def read_columns(options: list[str] | None) -> dict[str, str | list[str]] | None:
    """``MEANING=NAME`` of each option as a mapping; None where there are none. Groups and labels may be several.

    >>> read_columns(["labels=edema", "labels=mass", "group=age:40,60"])
    {'labels': ['edema', 'mass'], 'group': 'age:40,60'}
    """
    found: dict[str, str | list[str]] = {}
    for option in options or ():
        meaning, equals, name = option.partition("=")
        if not (meaning and equals and name) or (meaning in found and meaning not in ("group", "labels")):
            raise InputError(
                f"--column {option!r}: expected MEANING=NAME, each meaning but group and labels once, such as label=dx"
            )
        before = found.get(meaning)
        found[meaning] = name if before is None else [*([before] if isinstance(before, str) else before), name]
    return found or None


def read_images(data: str, how: ReadingOptions, progress: Progress | None) -> ImageSet:
    """The images of a command."""
    from snellen.data.references import load_images

    return load_images(data, progress=progress, **how)


ModelArgsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="What the architecture of a checkpoint is built with, repeatable, or a JSON object: num_classes=7, "
        "img_size=96. For an ONNX file: run_by=onnxruntime.",
        rich_help_panel=DATA_PANEL,
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|HxW",
        help="Size of the images for the model, pixels: 224 or 224x160.",
        show_default="the model's own",
        rich_help_panel=DATA_PANEL,
    ),
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        metavar="R,G,B",
        help="Mean that images are normalised with, in [0, 1]; with --std.",
        show_default="the model's own",
        rich_help_panel=DATA_PANEL,
    ),
]
StdOption = Annotated[
    str | None,
    typer.Option(
        metavar="R,G,B",
        help="Standard deviation, likewise.",
        show_default="the model's own",
        rich_help_panel=DATA_PANEL,
    ),
]


class ModelOptions(TypedDict, total=False):
    """Options of a model beside its reference: keyword arguments of ``snellen.load_classifier``."""

    model_args: dict[str, object] | None
    size: tuple[int, int] | None
    normalization: Normalization | None


def model_options(
    model_args: ModelArgsOption = None, size: SizeOption = None, mean: MeanOption = None, std: StdOption = None
) -> ModelOptions:
    """The options that say how a model is built and fed, as arguments of its loader.

    Raises:
        InputError: one that cannot be read, or mean without std.
    """
    if (mean is None) != (std is None):
        raise InputError("--mean and --std go together: give both, or none for the model's own")
    scale = None
    if mean is not None and std is not None:
        from snellen.core.preprocessing import Normalization

        scale = Normalization(_numbers("--mean", mean, least=None), _numbers("--std", std, least=0.0))
    return {"model_args": _arguments(model_args), "size": _size(size), "normalization": scale}


def _arguments(options: list[str] | None) -> dict[str, object] | None:
    """``KEY=VALUE`` of each option, or JSON objects, as one mapping.

    >>> _arguments(["num_classes=7", '{"img_size": 96}'])
    {'num_classes': 7, 'img_size': 96}
    """
    found: dict[str, object] = {}
    for option in options or ():
        whole = _json(option)
        key, equals, text = option.partition("=")
        given = whole if isinstance(whole, dict) else {key: _json(text)} if key and equals else None
        if given is None or set(given) & set(found):
            raise InputError(
                f"--model-args {option!r}: expected KEY=VALUE or a JSON object, each key once, such as num_classes=7"
            )
        found.update(given)
    return found or None


def _json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return value


def _size(text: str | None) -> tuple[int, int] | None:
    """A side, or height and width.

    >>> _size("96"), _size("96x64")
    ((96, 96), (96, 64))
    """
    if text is None:
        return None
    sides = text.split("x") if "x" in text else [text, text]
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) <= 65535 for side in sides):
        raise InputError(f"--size {text!r}: expected pixels, such as 224, or height and width, such as 224x160")
    return int(sides[0]), int(sides[1])


def _numbers(flag: str, text: str, *, least: float | None) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    low = -math.inf if least is None else least
    if len(values) not in (1, 3) or not all(low < value < math.inf for value in values):
        kind = "numbers" if least is None else "positive numbers"
        raise InputError(f"{flag} {text!r}: expected three {kind} with commas between them, or one for all channels")
    return values
