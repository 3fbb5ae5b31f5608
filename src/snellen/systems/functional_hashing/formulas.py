"""Loss functions as formulas in a small language: parsed into a tree, never executed as code.

``y`` is 1 for the class of an image and 0 for the others, ``p`` the probability that a network gives it. The operations
are + − · /, and neg, log, exp, sqrt, square, abs, tanh, max, min. Where one is not defined it is continued: log and
sqrt of the absolute value, a division by at least 1e-6, exp up to e^20.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: Operations by the number of their arguments.
UNARY = ("neg", "log", "exp", "sqrt", "square", "abs", "tanh")
BINARY = ("add", "sub", "mul", "div", "max", "min")
COMMUTATIVE = frozenset({"add", "mul", "max", "min"})

VARIABLES = ("y", "p")
CONSTANTS = (0.5, 1.0, 2.0)

#: Nodes of a formula, and letters of its text, at most.
MOST_NODES, MOST_LETTERS = 15, 500

_SMALL = 1e-6
_SIGNS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}


@dataclass(frozen=True)
class Formula:
    """A node of a formula.

    Attributes:
        name: of an operation, a variable, or ``number``.
        arguments: of an operation.
        value: of a number.
    """

    name: str
    arguments: tuple[Formula, ...] = ()
    value: float = 0.0

    def __str__(self) -> str:
        if self.name == "number":
            return repr(self.value)
        return f"{self.name}({', '.join(map(str, self.arguments))})" if self.arguments else self.name

    def nodes(self) -> Iterator[Formula]:
        """This node and all below it."""
        yield self
        for argument in self.arguments:
            yield from argument.nodes()

    def sorted(self) -> Formula:
        """The same with the arguments of commutative operations in one order."""
        arguments = tuple(argument.sorted() for argument in self.arguments)
        if self.name in COMMUTATIVE:
            arguments = tuple(sorted(arguments, key=str))
        return Formula(self.name, arguments, self.value)

    def at(self, y: Tensor, p: Tensor) -> Tensor:
        """Values of the formula; broadcasts as the arguments do."""
        if self.name == "number":
            return torch.full_like(p, self.value)
        if self.name in VARIABLES:
            return y if self.name == "y" else p
        return _applied(self.name, [argument.at(y, p) for argument in self.arguments])


def parse(text: str) -> Formula:
    """Read a formula, such as ``-y * log(p)`` or ``neg(mul(y, log(p)))``.

    >>> str(parse("-y * log(p)"))
    'mul(neg(y), log(p))'

    Raises:
        InputError: anything but numbers, y, p and the operations, or too long.
    """
    if len(text) > MOST_LETTERS:
        raise InputError(f"a formula has at most {MOST_LETTERS} letters; got {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{text!r} is no formula: {error}") from error
    found = _read(tree, text)
    if (count := sum(1 for _ in found.nodes())) > MOST_NODES:
        raise InputError(f"a formula has at most {MOST_NODES} operations, variables and numbers; got {count}")
    return found


def _read(node: ast.expr, text: str) -> Formula:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return Formula("number", value=float(value))
        case ast.Name(id=name) if name in VARIABLES:
            return Formula(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Formula("neg", (_read(operand, text),))
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _SIGNS:
            return Formula(_SIGNS[type(operation)], (_read(left, text), _read(right, text)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in (*UNARY, *BINARY):
            expected = 1 if name in UNARY else 2
            if len(arguments) == expected:
                return Formula(name, tuple(_read(one, text) for one in arguments))
            raise InputError(f"{name} takes {expected} arguments in {text!r}; got {len(arguments)}")
    raise InputError(
        f"{ast.unparse(node)!r} in {text!r}: a formula has numbers, y, p, + - * / and {', '.join((*UNARY, *BINARY))}"
    )


def _applied(name: str, values: list[Tensor]) -> Tensor:
    first, second = values[0], values[-1]
    match name:
        case "add":
            return first + second
        case "sub":
            return first - second
        case "mul":
            return first * second
        case "div":
            return first / torch.where(second.abs() < _SMALL, torch.full_like(second, _SMALL), second)
        case "max":
            return torch.maximum(first, second)
        case "min":
            return torch.minimum(first, second)
        case "neg":
            return -first
        case "log":
            return first.abs().clamp_min(_SMALL).log()
        case "exp":
            return first.clamp_max(20.0).exp()
        case "sqrt":
            return first.abs().clamp_min(_SMALL).sqrt()
        case "square":
            return first * first
        case "abs":
            return first.abs()
        case "tanh":
            return first.tanh()
    raise InputError(f"unknown operation {name!r}")


def sample(rng: random.Random, depth: int = 3) -> Formula:
    """A random formula in which p occurs."""
    while not _depends(found := _grown(rng, depth)):
        pass
    return found


def mutate(formula: Formula, rng: random.Random) -> Formula:
    """Put a random formula in the place of a random node; drawn until p occurs and the size allows it."""
    while True:
        place = rng.randrange(sum(1 for _ in formula.nodes()))
        found, _ = _replaced(formula, place, _grown(rng, 2))
        if _depends(found) and sum(1 for _ in found.nodes()) <= MOST_NODES:
            return found


def _depends(formula: Formula) -> bool:
    return any(node.name == "p" for node in formula.nodes())


def _grown(rng: random.Random, depth: int) -> Formula:
    kind = rng.randrange(4) if depth else 3
    if kind < 2:
        return Formula(rng.choice(BINARY), (_grown(rng, depth - 1), _grown(rng, depth - 1)))
    if kind == 2:
        return Formula(rng.choice(UNARY), (_grown(rng, depth - 1),))
    if rng.randrange(4):
        return Formula(rng.choice(VARIABLES))
    return Formula("number", value=rng.choice(CONSTANTS))


def _replaced(formula: Formula, place: int, new: Formula) -> tuple[Formula, int]:
    """The formula with its node at a place, counted from the top, replaced; and how far the counting is."""
    if place == 0:
        return new, -1
    place -= 1
    arguments = list(formula.arguments)
    for number, argument in enumerate(arguments):
        if place < 0:
            break
        arguments[number], place = _replaced(argument, place, new)
    return Formula(formula.name, tuple(arguments), formula.value), place
