"""Replace the upsampling layers of a model: a copy with the same shapes everywhere, and a list of what was changed.

What is found: transposed convolutions of stride 2; ``PixelShuffle(2)``, together with the convolution before it where
both stand in one ``nn.Sequential``; ``nn.Upsample`` by 2. Encoder, skips, losses: everything else is kept to the bit.
Models that call ``F.interpolate`` in their code have no layer there; an example shows how often that happens.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import derive_seed
from snellen.methods.attacks.in_training import lent
from snellen.systems.context_upsampling.upsampling import (
    Initial,
    Kind,
    LargeContextUpsampling,
    margins,
    upsampling,
)
from snellen.training.acceleration import seeded

_UPSAMPLING = (nn.ConvTranspose2d, nn.PixelShuffle, nn.Upsample, nn.ConvTranspose1d, nn.ConvTranspose3d)


@dataclass(frozen=True, kw_only=True)
class SwapRule:
    """What upsampling becomes.

    Attributes:
        kind: of the new layers, see :func:`snellen.systems.context_upsampling.upsampling.upsampling`.
        kernel: side K of their kernels, 7 or 11 as published.
        small_kernel: side of the parallel path; None: no small path.
        kernels: K of single layers, by name: a kernel should not be much larger than the map that it reads.
        initial: weights of ``lctc``.
        seed: of the initial weights, for each layer by its name.
    """

    kind: Kind = "lctc"
    kernel: int = 7
    small_kernel: int | None = 3
    kernels: Mapping[str, int] = field(default_factory=dict)
    initial: Initial = "default"
    seed: int = 0

    def __post_init__(self) -> None:
        for kernel in (self.kernel, *self.kernels.values(), *([self.small_kernel] if self.small_kernel else [])):
            margins(kernel)
        for name, kernel in {"every layer": self.kernel, **self.kernels}.items():
            if self.kind == "lctc" and self.small_kernel is not None and self.small_kernel > kernel:
                raise InputError(
                    f"the small path of side {self.small_kernel} is larger than the kernel of {name}, of side "
                    f"{kernel}; use a larger kernel, or small_kernel=None"
                )


@dataclass(frozen=True)
class Swap:
    """One replaced layer: its name, and what it was and is, in words."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class SwapReport:
    """What was changed, and what was not.

    Attributes:
        swaps: layers that were replaced.
        kept: upsampling that was found and not replaced, by name, with the reason.
        parameters: of the model before and afterwards.
        checked: whether an example went through both and its outputs had the same shapes.
    """

    swaps: tuple[Swap, ...]
    kept: Mapping[str, str]
    parameters: tuple[int, int]
    checked: bool

    def __str__(self) -> str:
        before, after = self.parameters
        lines = [f"{len(self.swaps)} layers replaced, {before} parameters before and {after} afterwards"]
        lines += [f"{one.name}: {one.before} → {one.after}" for one in self.swaps]
        lines += [f"{name}: not replaced, {why}" for name, why in self.kept.items()]
        if not self.checked:
            lines.append("Shapes were not compared: no example was given.")
        return "\n".join(lines)


def swap_upsampling(
    model: nn.Module, rule: SwapRule | None = None, example: Tensor | None = None
) -> tuple[nn.Module, SwapReport]:
    """Replace a model's upsampling layers; the given model stays as it is.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 4, 2, 2))
    >>> swapped, report = swap_upsampling(model, SwapRule(kernel=7), torch.zeros(1, 3, 16, 16))
    >>> print(report)
    1 layers replaced, 356 parameters before and 696 afterwards
    1: transposed convolution 2 × 2, 8 → 4 → large context 7 × 7 + 3 × 3, 8 → 4

    New layers have new weights: train the model further. Their modes, device and type are those of the old ones.

    Args:
        model: any module.
        rule: what upsampling becomes; by default LCTC of 7 and 3.
        example: what the model takes, such as images (1, 3, h, w). Without it, layers without channels of their own
            are kept, functional interpolation is not seen, and shapes are not compared.

    Raises:
        InputError: the rule names layers that are not replaced, or the model does not take the example.
        ModelError: with its new layers the model gives other shapes.
    """
    rule = rule or SwapRule()
    found = _Found() if example is None else _seen(model, example)
    swapped = copy.deepcopy(model)
    swaps: list[Swap] = []
    kept: dict[str, str] = {}
    for name, layer in list(swapped.named_modules()):
        if not isinstance(layer, _UPSAMPLING):
            continue
        plan = _planned(swapped, name, layer, found)
        if isinstance(plan, str):
            kept[name] = plan
            continue
        channels_in, channels_out, words, beginning = plan
        side = rule.kernels.get(name, rule.kernel)
        with seeded(_seed_of(rule.seed, name), torch.device("cpu")):
            new = upsampling(
                rule.kind, channels_in, channels_out, kernel=side, small_kernel=rule.small_kernel, initial=rule.initial
            )
        new.to(_like(layer, beginning, swapped)).train(layer.training)
        swapped = _put(swapped, layer, new)
        if beginning is not None:
            swapped = _put(swapped, swapped.get_submodule(beginning), nn.Identity())
        after = _words(new, rule, channels_in, channels_out)
        swaps.append(Swap(name, f"{words}, {channels_in} → {channels_out}", after))
    unknown = sorted(set(rule.kernels) - {one.name for one in swaps})
    if unknown:
        raise InputError(f"the rule has kernels for {', '.join(unknown)}, and {_listed(swaps)} are replaced")
    for where, sizes in found.functional.items():
        kept[f"F.interpolate in {where or 'the model itself'}"] = (
            f"code and not a layer scales {', '.join(sizes)}; where that is by 2, an nn.Upsample module is replaced"
        )
    if example is not None:
        _compare(found.outputs, swapped, example)
    counts = tuple(sum(weight.numel() for weight in one.parameters()) for one in (model, swapped))
    return swapped, SwapReport(tuple(swaps), kept, (counts[0], counts[1]), example is not None)


# -- what the model does with an example ---------------------------------------------------------------------------


@dataclass
class _Found:
    calls: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    results: dict[str, tuple[int, ...]] = field(default_factory=dict)
    functional: dict[str, list[str]] = field(default_factory=dict)
    outputs: Any = None


class _Watched(TorchFunctionMode):
    """Counts calls of ``F.interpolate`` outside of layers, by the innermost module that runs."""

    def __init__(self, running: list[tuple[str, nn.Module]], found: _Found) -> None:
        super().__init__()
        self.running, self.found = running, found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        made = func(*args, **(kwargs or {}))
        name, layer = self.running[-1] if self.running else ("", None)
        if func is F.interpolate and not isinstance(layer, nn.Upsample):
            given = args[0] if args else (kwargs or {})["input"]
            sizes = (" × ".join(map(str, one.shape[2:])) for one in (given, made))
            self.found.functional.setdefault(name, []).append(" to ".join(sizes))
        return made


def _seen(model: nn.Module, example: Tensor) -> _Found:
    """Shapes of upsampling layers, functional interpolation, and shapes of the outputs; modes stay as they are."""
    found, running = _Found(), list[tuple[str, nn.Module]]()
    handles = []
    for name, layer in model.named_modules():

        def enter(layer: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
            running.append((name, layer))
            found.calls[name] = found.calls.get(name, 0) + 1
            if inputs and isinstance(inputs[0], Tensor):
                found.inputs[name] = tuple(inputs[0].shape)

        def leave(layer: nn.Module, inputs: object, output: object, name: str = name) -> None:
            running.pop()
            if isinstance(output, Tensor):
                found.results[name] = tuple(output.shape)

        handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
    try:
        with lent(model), torch.no_grad(), _Watched(running, found):
            found.outputs = _shapes(model(example))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"the model does not take the example {tuple(example.shape)}: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    return found


def _shapes(output: Any) -> Any:  # noqa: ANN401 - of any model
    """Shapes of all tensors of an output, in its own structure."""
    if isinstance(output, Tensor):
        return tuple(output.shape)
    if isinstance(output, Mapping):
        return {str(key): _shapes(value) for key, value in output.items()}
    if isinstance(output, list | tuple):
        return [_shapes(value) for value in output]
    return None


def _compare(expected: Any, swapped: nn.Module, example: Tensor) -> None:  # noqa: ANN401
    with lent(swapped), torch.no_grad():
        try:
            given = _shapes(swapped(example))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise ModelError(f"with its new upsampling layers the model fails on the example: {error}") from error
    if given != expected:
        raise ModelError(f"with its new upsampling layers the model gives {given}; it gave {expected}")


# -- which layers ----------------------------------------------------------------------------------------------------


def _planned(model: nn.Module, name: str, layer: nn.Module, found: _Found) -> tuple[int, int, str, str | None] | str:
    """Channels of the new layer, words for the old one, and a convolution that goes with it; or why it is kept."""
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose3d):
        return "it works on another number of axes"
    if (why := _shared(model, layer, "it")) is not None:
        return why
    seen, made = found.inputs.get(name), found.results.get(name)
    if found.outputs is not None and (seen is None or made is None):
        return "the example did not pass through it"
    if found.calls.get(name, 0) > 1:
        return f"it is called {found.calls[name]} times, and one new layer would stand in all of these places"
    if isinstance(layer, nn.ConvTranspose2d):
        if not _doubles(layer):
            return f"stride {layer.stride} and padding {layer.padding} do not give exactly twice the size"
        side = " × ".join(map(str, layer.kernel_size))
        return layer.in_channels, layer.out_channels, f"transposed convolution {side}", None
    if isinstance(layer, nn.PixelShuffle):
        if layer.upscale_factor != 2:
            return f"it upsamples by {layer.upscale_factor}"
        before = _before(model, name)
        if before is not None:
            convolution = model.get_submodule(before)
            assert isinstance(convolution, nn.Conv2d)
            if (why := _shared(model, convolution, "the convolution before it")) is not None:
                return why
            if found.calls.get(before, 0) > 1:
                return f"the convolution before it is called {found.calls[before]} times, also for something else"
            return convolution.in_channels, convolution.out_channels // 4, "convolution and pixel shuffle", before
        if seen is None:
            return "no convolution before it has its channels; give an example"
        return seen[1], seen[1] // 4, "pixel shuffle", None
    assert isinstance(layer, nn.Upsample)
    if seen is None or made is None:
        return "an interpolation has no channels of its own; give an example"
    if made[2:] != (2 * seen[2], 2 * seen[3]):
        return f"it scales {seen[2:]} to {made[2:]}, which is not by 2"
    return seen[1], seen[1], f"{layer.mode} interpolation", None


def _shared(model: nn.Module, layer: nn.Module, words: str) -> str | None:
    """Why a layer is kept that the model holds in several places, or whose weights another layer holds too."""
    places = [name for name, one in model.named_modules(remove_duplicate=False) if one is layer]
    if len(places) > 1:
        return f"{words} stands in {len(places)} places of the model ({', '.join(places)})"
    own = {id(weight) for weight in layer.parameters()}
    others = [
        name
        for name, one in model.named_modules()
        if one is not layer and own & {id(weight) for weight in one.parameters(recurse=False)}
    ]
    return f"{words} shares its weights with {', '.join(others)}" if others else None


def _doubles(layer: nn.ConvTranspose2d) -> bool:
    """(h − 1) · 2 − 2p + d(K − 1) + o + 1 = 2h on both axes."""
    return all(
        stride == 2 and dilation * (side - 1) + 1 + int(str(more)) - 2 * int(str(less)) == 2
        for stride, side, less, more, dilation in zip(
            layer.stride, layer.kernel_size, layer.padding, layer.output_padding, layer.dilation, strict=True
        )
    )


def _before(model: nn.Module, name: str) -> str | None:
    """Name of the convolution that stands directly before a layer in one ``nn.Sequential`` and keeps the size."""
    parent, _, child = name.rpartition(".")
    row = model.get_submodule(parent)
    if not isinstance(row, nn.Sequential):
        return None
    names = list(dict(row.named_children()))
    place = names.index(child)
    before = row.get_submodule(names[place - 1]) if place else None
    if not isinstance(before, nn.Conv2d) or before.out_channels % 4 or set(before.stride) != {1}:
        return None
    if before.padding == "valid":
        return None
    if not isinstance(before.padding, str):
        sides = zip(before.kernel_size, before.dilation, before.padding, strict=True)
        if any(2 * pad != dilation * (side - 1) for side, dilation, pad in sides):
            return None
    return f"{parent}.{names[place - 1]}" if parent else names[place - 1]


def _like(layer: nn.Module, beginning: str | None, model: nn.Module) -> Tensor:
    """A weight whose device and type the new layer takes."""
    near = (layer, *(() if beginning is None else (model.get_submodule(beginning),)), model)
    for one in near:
        for weight in one.parameters():
            if weight.is_floating_point():
                return weight
    return torch.zeros(())


def _put(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """The model with another layer in every place of an old one."""
    if model is old:
        return new
    for name, layer in list(model.named_modules(remove_duplicate=False)):
        if layer is old:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, new)
    return model


def _seed_of(seed: int, name: str) -> int:
    return derive_seed(seed, "upsampling", name)


def _words(new: nn.Module, rule: SwapRule, channels_in: int, channels_out: int) -> str:
    channels = f"{channels_in} → {channels_out}"
    if isinstance(new, LargeContextUpsampling):
        sides = [new.large.kernel_size[0], *([] if new.small is None else [new.small.kernel_size[0]])]
        return f"large context {' + '.join(f'{side} × {side}' for side in sides)}, {channels}"
    if isinstance(new, nn.ConvTranspose2d):
        return f"transposed convolution {new.kernel_size[0]} × {new.kernel_size[0]}, {channels}"
    return f"{rule.kind.replace('_', ' ')}, {channels}"


def _listed(swaps: list[Swap]) -> str:
    return ", ".join(one.name for one in swaps) or "no layers"
