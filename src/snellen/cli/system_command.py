"""The command of a published system: a function of that system, dressed as a command of this program."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_args, get_origin

import typer

from snellen.cli.asking import answer_by_key
from snellen.cli.engine_options import DryRunOption
from snellen.cli.filled_folder import carry_out, free_folder
from snellen.cli.privacy_options import AllowRemoteOption, PseudonymsOption
from snellen.cli.run_options import DeviceOption, SeedOption
from snellen.core.command import Argument, Option
from snellen.core.index import CommandEntry


def system_command(entry: CommandEntry) -> Callable[..., None]:
    """What runs the command: its first parameter takes methods, the others are options.

    The options are those of the system's function (see :mod:`snellen.core.command`), and those that all such commands
    have: the folder, the device, the seed, hosts that may be reached, and the form of what is printed.
    """
    function = entry.load()
    stem = f"snellen-{entry.name}"
    signature = inspect.signature(function, eval_str=True, locals=_names())

    def run(
        methods: list[Any],
        *,
        out: Path | None,
        allow_remote: list[str] | None,
        as_json: bool,
        dry_run: bool,
        **values: Any,  # noqa: ANN401 - options of the function
    ) -> None:
        folder = out or free_folder(stem)
        values = {name: value.value if isinstance(value, StrEnum) else value for name, value in values.items()}
        # What only some commands need, and none can import: a person at the terminal, and hosts of single models.
        values |= {"ask": answer_by_key} if "ask" in signature.parameters else {}
        values |= {"allow_remote": allow_remote} if "allow_remote" in signature.parameters else {}
        carry_out(function, methods, folder=folder, given=out, as_json=as_json, dry_run=dry_run, **values)

    own = [_parameter(one) for one in list(signature.parameters.values())[1:] if _option(one) is not None]
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [next(iter(signature.parameters.values())), *own, *_shared(stem)]
    )
    run.__doc__ = function.__doc__
    return run


def _names() -> dict[str, Any]:
    """What annotations of a command may name without importing it."""
    from snellen.core.method import Method
    from snellen.core.progress import Progress

    return {"Method": Method, "Progress": Progress, "Running": dict, "RunResult": object}


def _shared(stem: str) -> list[inspect.Parameter]:
    folder = typer.Option(help="New folder; the same command resumes where it stopped.", show_default=f"{stem}-N")
    shown = typer.Option("--json", help="Print the record as JSON instead of the summary.")
    rows: tuple[tuple[str, object, object], ...] = (
        ("out", None, Annotated[Path | None, folder]),
        ("device", "cpu", DeviceOption),
        ("allow_remote", None, AllowRemoteOption),
        ("seed", 0, SeedOption),
        ("pseudonyms", None, PseudonymsOption),
        ("running", inspect.Parameter.empty, dict),
        ("dry_run", False, DryRunOption),
        ("as_json", False, Annotated[bool, shown]),
    )
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, default, annotation in rows
    ]


def _option(parameter: inspect.Parameter) -> Option | Argument | None:
    return next((one for one in get_args(parameter.annotation)[1:] if isinstance(one, Option | Argument)), None)


def _parameter(parameter: inspect.Parameter) -> inspect.Parameter:
    option = _option(parameter)
    kind: Any = get_args(parameter.annotation)[0]
    assert option is not None, "parameters without an option are handed over by the command line"
    if isinstance(option, Argument):
        return parameter.replace(annotation=Annotated[kind, typer.Argument(help=option.help)])
    flag = option.flag or f"--{parameter.name.replace('_', '-')}"
    declared = (f"{flag}/{flag.replace('--', '--no-', 1)}",) if kind is bool else (flag,)
    shown: dict[str, Any] = {"help": option.help, "metavar": option.metavar, "min": option.minimum}
    if option.default is not None:
        shown["show_default"] = option.default
    choices = [value for part in (kind, *get_args(kind)) if get_origin(part) is Literal for value in get_args(part)]
    if choices:
        shown["metavar"] = f"<{'|'.join(choices)}>"
        kind = Optional[StrEnum(parameter.name, {str(value): str(value) for value in choices})]  # noqa: UP045 - made here
    return parameter.replace(annotation=Annotated[kind, typer.Option(*declared, **shown)])
