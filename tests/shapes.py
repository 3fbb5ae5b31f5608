"""Shapes and types of the public tensor functions, checked at every call that the test-suite makes.

The library itself does not depend on jaxtyping: what its docstrings promise is written down here once more, as data,
and laid over the functions for the length of a test session. A letter stands for one number within a call.
"""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import sys
import types
from collections.abc import Callable, Iterator, Mapping

import pytest
from beartype import beartype
from jaxtyping import Bool, Float, Float32, Float64, Int, Shaped, jaxtyped
from torch import Tensor

Scores, Classes, Values = Float[Tensor, "n k"], Int[Tensor, "n"], Float[Tensor, "n"]
Images, Planes = Float[Tensor, "n c h w"], Float[Tensor, "n h w"]
Parameters = Float64[Tensor, "n"]

#: module:function → annotation of each tensor argument and of the result.
SHAPES: dict[str, dict[str, object]] = {
    "snellen.core.criterion:margin": {"scores": Scores, "labels": Classes, "return": Values},
    "snellen.core.criterion:Misclassified.success": {"scores": Scores, "labels": Classes, "return": Bool[Tensor, "n"]},
    "snellen.methods.attacks.perturbation.objectives:cross_entropy": {
        "scores": Scores,
        "labels": Classes | Shaped[Tensor, "n k"],
        "return": Values,
    },
    "snellen.methods.attacks.perturbation.objectives:negative_margin": {
        "scores": Scores,
        "labels": Classes,
        "return": Values,
    },
    "snellen.methods.attacks.perturbation.objectives:difference_of_logits_ratio": {
        "scores": Scores,
        "labels": Classes,
        "return": Values,
    },
    "snellen.methods.attacks.perturbation.projections:l2_norm": {"values": Images, "return": Float[Tensor, "n 1 1 1"]},
    # Functions of ``images`` in the operators' package that give something else back.
    "snellen.methods.corruptions.apply:is_grey": {"images": Images, "return": Bool[Tensor, "n"]},
    "snellen.methods.corruptions.apply:draw_parameters": {"images": Images, "return": dict[str, Parameters]},
    "snellen.methods.corruptions.glass:draw_moves": {"images": Images, "return": Int[Tensor, "n passes 2 h w"]},
    # Its other tensor functions.
    "snellen.methods.corruptions.apply:settle_channels": {"changed": Images, "images": Images, "return": Images},
    "snellen.methods.corruptions.apply:stay_grey": {
        "changed": Images,
        "images": Images,
        "grey": Float[Tensor, "n 1 h w"] | Float[Tensor, "n c h w"],
        "return": Images,
    },
    "snellen.methods.corruptions.filters:pad": {
        "planes": Shaped[Tensor, "*n h w"],
        "return": Shaped[Tensor, "*n tall wide"],
    },
    "snellen.methods.corruptions.blur:disk": {"return": Float64[Tensor, "k k"]},
    "snellen.methods.corruptions.digital:box_resampling": {"return": Float64[Tensor, "target source"]},
    "snellen.methods.corruptions.edges:box": {"planes": Planes, "return": Planes},
    "snellen.methods.corruptions.edges:canny": {"planes": Shaped[Tensor, "n h w"], "return": Bool[Tensor, "n h w"]},
    "snellen.methods.corruptions.edges:distance_to_edge": {
        "edges": Bool[Tensor, "n h w"],
        "return": Float32[Tensor, "n h w"],
    },
    "snellen.methods.corruptions.edges:emboss": {"planes": Planes, "return": Planes},
    "snellen.methods.corruptions.edges:equalise": {
        "planes": Shaped[Tensor, "n h w"],
        "return": Float32[Tensor, "n h w"],
    },
    "snellen.methods.corruptions.filters:filter_matrix": {
        "kernel": Float[Tensor, "taps"],
        "return": Float64[Tensor, "s s"],
    },
    "snellen.methods.corruptions.filters:fourier_filter": {
        "planes": Images,
        "kernel": Float[Tensor, "kh kw"],
        "return": Images,
    },
    "snellen.methods.corruptions.filters:gaussian_filter": {"planes": Images, "return": Images},
    "snellen.methods.corruptions.filters:gaussian_kernel": {"return": Float64[Tensor, "taps"]},
    "snellen.methods.corruptions.filters:separable_filter": {
        "planes": Images,
        "vertical": Float[Tensor, "tall h"],
        "horizontal": Float[Tensor, "wide w"],
        "return": Float[Tensor, "n c tall wide"],
    },
    "snellen.methods.corruptions.weather:plasma_fractal": {
        "draws": Float[Tensor, "n draws"],
        "return": Float[Tensor, "n side side"],
    },
    "snellen.methods.corruptions.glass:shuffle": {
        "moves": Int[Tensor, "n passes 2 h w"],
        "return": Int[Tensor, "n pixels"],
    },
    "snellen.methods.corruptions.blur:motion_filter": {"planes": Images, "angles": Values, "return": Images},
    "snellen.methods.corruptions.blur:motion_kernel": {"return": Float64[Tensor, "taps"]},
    "snellen.methods.corruptions.noise:small_counts": {
        "rates": Float[Tensor, "*draws"],
        "uniforms": Float[Tensor, "*draws"],
        "return": Float32[Tensor, "*draws"],
    },
    "snellen.methods.corruptions.weather:water_relief": {"liquid": Planes, "return": Planes},
    "snellen.methods.corruptions.blur:central_zoom": {"planes": Images, "return": Images},
    "snellen.methods.corruptions.blur:zoom_matrix": {"return": Float64[Tensor, "side side"]},
}

#: Packages whose every public function of ``images``, unless the table says otherwise, gives images of the same shape.
OPERATORS = ("snellen.methods.corruptions",)


def checked(function: Callable, shapes: Mapping[str, object]) -> Callable:
    """The same function with these annotations, each enforced when it is called."""
    twin = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__, twin.__doc__, twin.__module__ = function.__kwdefaults__, function.__doc__, function.__module__
    twin.__annotations__ = dict(shapes)
    return jaxtyped(typechecker=beartype)(twin)


def operators(package: str) -> Iterator[str]:
    """Targets ``module:function`` of a package whose first argument is called ``images``."""
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        module = importlib.import_module(found.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if (
                function.__module__ == module.__name__
                and not name.startswith("_")
                and next(iter(inspect.signature(function).parameters), None) == "images"
            ):
                yield f"{module.__name__}:{name}"


def enforce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay the checks over the functions: where they are defined, and wherever a module of ours holds them by name."""
    same = {target: {"images": Images, "return": Images} for package in OPERATORS for target in operators(package)}
    table = same | SHAPES
    enforced: dict[int, Callable] = {}  # by identity of the function that is replaced
    for target, shapes in table.items():
        module, _, path = target.partition(":")
        *outer, name = path.split(".")
        owner = functools.reduce(getattr, outer, importlib.import_module(module))
        original = getattr(owner, name)
        enforced[id(original)] = checked(original, shapes)
        monkeypatch.setattr(owner, name, enforced[id(original)])
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] in ("snellen", "tests")]:
        for name, value in list(vars(module).items()):
            if id(value) in enforced:
                monkeypatch.setattr(module, name, enforced[id(value)])
            for key, item in list(value.items()) if type(value) is dict else ():  # a table of functions
                if id(item) in enforced:
                    monkeypatch.setitem(value, key, enforced[id(item)])
                elif dataclasses.is_dataclass(item) and id(getattr(item, "function", None)) in enforced:
                    # In the instance's own dictionary: it may be frozen.
                    monkeypatch.setitem(vars(item), "function", enforced[id(item.function)])
