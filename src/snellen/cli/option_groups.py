"""One parameter of a command that stands for a group of options, which many commands have in the same words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from snellen.cli.engine_options import placement, running
from snellen.cli.on_images import model_choice
from snellen.cli.run_options import model_options, reading

#: Parameters that stand for a group of options, by name: the function whose parameters these are.
GROUPS: dict[str, Callable[..., Any]] = {
    "reading": reading,
    "model_choice": model_choice,
    "built": model_options,
    "placement": placement,
    "running": running,
}

#: What annotations of a command name without importing it.
NAMES: dict[str, Any] = {
    "Running": dict, "ReadingOptions": dict, "ModelChoice": dict, "ModelOptions": dict, "Setting": object,
    "Method": object,
}  # fmt: skip


@dataclass(frozen=True)
class Grouped:
    """The parameters of a command, with those of its groups in their place.

    Attributes:
        parameters: of the command line.
        groups: for each group that the command takes: names of its options.
    """

    parameters: tuple[inspect.Parameter, ...]
    groups: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, run: Callable[..., Any], names: Mapping[str, Any] = NAMES) -> Grouped:
        """Read a function whose annotations may name what it imports for types alone."""
        found: list[inspect.Parameter] = []
        groups: dict[str, tuple[str, ...]] = {}
        for one in inspect.signature(run, eval_str=True, locals=dict(names)).parameters.values():
            if one.name not in GROUPS:
                found.append(one)
                continue
            own = inspect.signature(GROUPS[one.name], eval_str=True, locals=dict(names)).parameters
            groups[one.name] = tuple(own)
            found += own.values()
        return cls(tuple(one.replace(kind=one.KEYWORD_ONLY) for one in found), groups)

    def gathered(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values by option, with those of each group made into its one value."""
        left = dict(values)
        made = {name: GROUPS[name](**{one: left.pop(one) for one in own}) for name, own in self.groups.items()}
        return {**left, **made}


def with_groups(run: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters named in :data:`GROUPS` are options on the command line."""
    grouped = Grouped.of(run)

    def command(**values: Any) -> None:  # noqa: ANN401 - what was given for each option
        run(**grouped.gathered(values))

    command.__name__, command.__doc__, command.__module__ = run.__name__, run.__doc__, run.__module__
    command.__signature__ = inspect.Signature(list(grouped.parameters))  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in grouped.parameters}
    return command
