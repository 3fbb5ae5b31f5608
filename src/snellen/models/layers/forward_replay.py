"""Run a network from one of its layers on: what comes before the layer is not computed again.

What is called before a layer is found by watching one pass. Later, these modules give back what they gave then, so that
only the layers behind cost anything. That is right where everything that reaches the output goes through the layer;
whether it does is for the caller to check, by comparing outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from torch import Tensor, nn


@dataclass(eq=False)
class Prefix:
    """What a network computes before a layer gives its output.

    Attributes:
        outputs: module → what it gave at each call that ended before, of a batch of one; the outermost modules only.
        target: the layer; None, with empty outputs, when it was never called.
        calls: how often the layer was called in the pass.
    """

    outputs: dict[nn.Module, list[Any]] = field(default_factory=dict)
    target: nn.Module | None = None
    calls: int = 0


def watch_prefix(network: nn.Module, layer: nn.Module, run: Callable[[], object], *, computed: bool) -> Prefix:
    """Watch one pass of a batch of one.

    Args:
        network: the whole network.
        layer: one of its modules.
        run: makes the pass.
        computed: whether the layer itself belongs to what need not be computed again (its output will be replaced), or
            not (its input will be).
    """
    prefix, numbers = Prefix(), count()
    stack: list[int] = []
    ended: list[tuple[int, nn.Module, Any]] = []

    def enter(module: nn.Module, _inputs: object) -> None:
        if module is layer and not computed and not prefix.calls:
            keep()
        stack.append(next(numbers))

    def leave(module: nn.Module, _inputs: object, output: Any) -> None:  # noqa: ANN401 - outputs of any layer
        stack.pop()
        if prefix.target is None:
            ended.append((stack[-1] if stack else -1, module, output))
        if module is layer:
            if computed and not prefix.calls:
                keep()
            prefix.calls += 1

    def keep() -> None:
        open_calls, prefix.target = set(stack), layer
        for parent, module, output in ended:
            if parent in open_calls:
                prefix.outputs.setdefault(module, []).append(_detached(output))

    with ExitStack() as hooks:
        for module in network.modules():
            hooks.callback(module.register_forward_pre_hook(enter).remove)
            hooks.callback(module.register_forward_hook(leave).remove)
        run()
    return prefix


@contextmanager
def replayed(prefix: Prefix, rows: int) -> Iterator[None]:
    """Let the modules of a prefix give what they gave, for a batch of ``rows``, inside a ``with`` block.

    A module that is also called behind the layer computes there as usual. Outputs that do not begin with a batch of one
    are given back as they are.
    """
    with ExitStack() as stack:
        for module, outputs in prefix.outputs.items():
            stack.enter_context(_instead(module, [_expanded(output, rows) for output in outputs]))
        yield


@contextmanager
def _instead(module: nn.Module, outputs: list[Any]) -> Iterator[None]:
    computed, calls = module.forward, iter(outputs)
    own = "forward" in vars(module)

    def forward(*inputs: Any, **named: Any) -> Any:  # noqa: ANN401 - as the module's own
        for output in calls:
            return output
        return computed(*inputs, **named)

    # torch types forward as a method; a plain attribute of the instance is found before it.
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]
        if own:
            vars(module)["forward"] = computed


def _detached(value: Any) -> Any:  # noqa: ANN401 - outputs of any layer
    return _each_tensor(value, lambda tensor: tensor.detach().clone())


def _expanded(value: Any, rows: int) -> Any:  # noqa: ANN401
    def expand(tensor: Tensor) -> Tensor:
        return tensor.expand(rows, *tensor.shape[1:]) if tensor.ndim and len(tensor) == 1 else tensor

    return _each_tensor(value, expand)


def _each_tensor(value: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
    """The same structure with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        parts = {name: _each_tensor(part, change) for name, part in value.items()}
        return dataclasses.replace(value, **parts) if dataclasses.is_dataclass(value) else parts
    if isinstance(value, tuple | list):
        changed = [_each_tensor(part, change) for part in value]
        return type(value)(*changed) if hasattr(value, "_fields") else type(value)(changed)
    return value
