"""A command group with a subcommand for each method of an area, made from the index and the fields of the method.

Methods are listed without importing any; a method is imported when its subcommand is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import OptionInfo

from snellen.cli.option_groups import NAMES, Grouped
from snellen.cli.system_command import system_command
from snellen.cli.text import dashed, markup
from snellen.core import index

if TYPE_CHECKING:
    from snellen.cli.method_options import FieldOption
    from snellen.core.method import Method


def method_commands(
    area: str,
    run: Callable[..., None],
    verb: str = "",
    without: Callable[[type[Method]], Sequence[str]] = lambda method: (),
) -> typer.Typer:
    """A command group with a subcommand for each method of an area.

    Args:
        area: of the index.
        run: what a subcommand does. Its first parameter takes the methods; the others are arguments and options of
            every subcommand, declared as for any command. Its docstring is the help text of the group.
        verb: name of the group, to which systems may add subcommands of their own.
        without: parameters of ``run`` that mean nothing to a method, by name: its subcommand has no such option.
    """
    own = {"area": area, "run": staticmethod(run), "verb": verb, "without": staticmethod(without)}
    group = type(f"{area.title()}Group", (_MethodGroup,), own)
    return typer.Typer(
        cls=group, help=inspect.cleandoc(run.__doc__ or ""), no_args_is_help=True, subcommand_metavar="METHOD ..."
    )


class _MethodGroup(TyperGroup):
    """Lists methods from the index, and makes the subcommand of a method when it is used."""

    area: ClassVar[str]
    run: ClassVar[Callable[..., None]]
    verb: ClassVar[str]
    without: ClassVar[Callable[[type[Method]], Sequence[str]]]

    def list_commands(self, ctx: object) -> list[str]:
        return [*(dashed(name) for name in index.methods(self.area)), *index.commands(self.verb)]

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand:
        """What help texts and completion show: name and summary."""
        if (other := index.commands(self.verb).get(cmd_name)) is not None:
            return TyperCommand(cmd_name, help=markup(inspect.cleandoc(other.load().__doc__ or "")))
        found = index.entry(self.area, cmd_name)
        return TyperCommand(dashed(found.name), help=markup(found.summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's types are private
        if ctx.resilient_parsing or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        if (other := index.commands(self.verb).get(args[0])) is not None:
            run = system_command(other)
            about = inspect.cleandoc(run.__doc__ or "")
            borrowed = index.entry(*other.method.split("."))
            return args[0], _command(borrowed, run, args[0], about, other.hidden), args[1:]
        found = index.entry(self.area, args[0])
        name, left_out = dashed(found.name), type(self).without(found.load())
        return name, _command(found, self.run, name, found.summary, left_out=left_out), args[1:]


def _command(
    entry: index.MethodEntry,
    run: Callable[..., None],
    name: str,
    about: str,
    hidden: Sequence[str] = (),
    left_out: Sequence[str] = (),
) -> object:
    """The subcommand of one method: a function with its fields as parameters, beside those of ``run``."""
    from snellen.cli.method_options import field_options, methods_of
    from snellen.core.method import Method

    grouped = Grouped.of(run, NAMES | {"Method": Method})
    shared = [one for one in grouped.parameters[1:] if one.name not in left_out]  # the first takes the methods
    taken = [flag for one in shared for flag in _flags(one)]
    options = [option for option in field_options(entry.load(), taken, name) if option.field not in hidden]
    own = [_parameter(option) for option in options]

    def command(**values: Any) -> None:  # noqa: ANN401 - what was given for each parameter
        given = {option.field: values.pop(parameter.name) for option, parameter in zip(options, own, strict=True)}
        run(methods_of(entry, options, given), **grouped.gathered(values))

    parameters = [*own, *shared]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name, help=markup(about))(command)
    return typer.main.get_command(single)


def _parameter(option: FieldOption) -> inspect.Parameter:
    shown: dict[str, Any] = {
        "help": markup(option.help),
        "show_default": False if option.default is None else option.default,
        "rich_help_panel": "Parameters of the method",
    }
    if option.form == "flag":
        declared = typer.Option(f"{option.flag}/{option.flag.replace('--', '--no-', 1)}", **shown)
        kind: object = bool if option.required else bool | None
    else:
        declared = typer.Option(option.flag, metavar=f"<{option.expected}>", **shown)
        kind = list[str] if option.required else list[str] | None
    return inspect.Parameter(
        f"field_{option.field}",
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if option.required else None,
        annotation=Annotated[kind, declared],
    )


def _flags(parameter: inspect.Parameter) -> list[str]:
    """How the option of a parameter is spelled."""
    declared = [info for info in get_args(parameter.annotation)[1:] if isinstance(info, OptionInfo)]
    spellings = [s for info in declared for s in (info.default, *(info.param_decls or ())) if isinstance(s, str)]
    return [flag for s in spellings or [f"--{dashed(parameter.name)}"] for flag in s.split("/")]
