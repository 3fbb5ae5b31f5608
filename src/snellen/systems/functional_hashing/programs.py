"""Programs of three parts on registers, as AutoML-Zero searches them: setup, predict, learn.

Real, Liang, So and Le, *AutoML-Zero*, ICML 2020. Scalars s0 to s3, vectors v0 to v3, all 0 at the start. ``setup`` runs
once. For each training example v0 is its vector; ``predict`` leaves a prediction in s1; s0 is then the target, and
``learn`` may change any register. On validation examples only ``predict`` runs. Programs are data for the interpreter
here, and nothing of them is executed as code of Python.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.randomness import derive_seed
from snellen.systems.functional_hashing.function_cache import Evaluation

Vectors = NDArray[np.float64]

#: Operations: kinds of the result and of the inputs, s scalar, v vector, c constant.
OPERATIONS: dict[str, tuple[str, str]] = {
    "s_const": ("s", "c"), "s_add": ("s", "ss"), "s_sub": ("s", "ss"), "s_mul": ("s", "ss"), "s_abs": ("s", "s"),
    "s_tanh": ("s", "s"), "s_relu": ("s", "s"), "s_copy": ("s", "s"), "v_add": ("v", "vv"), "v_sub": ("v", "vv"),
    "v_mul": ("v", "vv"), "v_relu": ("v", "v"), "v_copy": ("v", "v"), "v_scale": ("v", "sv"), "dot": ("s", "vv"),
    "mean": ("s", "v"),
}  # fmt: skip

COMMUTATIVE = frozenset({"s_add", "s_mul", "v_add", "v_mul", "dot"})

REGISTERS = 4

#: Instructions of setup, predict and learn at most.
LENGTHS = (3, 4, 6)

TARGET, PREDICTION, FEATURES = "s0", "s1", "v0"

_LINE = re.compile(r"([sv][0-3]) = (\w+)\(([^()]*)\)", re.ASCII)


@dataclass(frozen=True)
class Instruction:
    """``result = operation(inputs)``; a constant stands in ``number``."""

    operation: str
    result: str
    inputs: tuple[str, ...] = ()
    number: float = 0.0

    def __str__(self) -> str:
        given = [repr(self.number)] if self.operation == "s_const" else self.inputs
        return f"{self.result} = {self.operation}({', '.join(given)})"


@dataclass(frozen=True)
class Program:
    """Instructions of the three parts."""

    setup: tuple[Instruction, ...]
    predict: tuple[Instruction, ...]
    learn: tuple[Instruction, ...]

    @property
    def parts(self) -> tuple[tuple[Instruction, ...], ...]:
        """Setup, predict, learn."""
        return self.setup, self.predict, self.learn

    def __str__(self) -> str:
        return " | ".join("; ".join(map(str, part)) for part in self.parts)


def parse(text: str) -> Program:
    """Read a program: parts between ``|``, instructions between ``;``.

    >>> str(parse("s3 = s_const(0.1) | s1 = dot(v0, v1) | "))
    's3 = s_const(0.1) | s1 = dot(v0, v1) | '

    Raises:
        InputError: an operation, a register or a number of parts that does not exist.
    """
    parts = [tuple(_instruction(line.strip()) for line in part.split(";") if line.strip()) for part in text.split("|")]
    if len(parts) != len(LENGTHS):
        raise InputError(f"a program has the parts setup | predict | learn; got {len(parts)}")
    return Program(*parts)


def _instruction(line: str) -> Instruction:
    found = _LINE.fullmatch(line)
    if found is None:
        raise InputError(f"{line!r} is no instruction; expected something like s1 = dot(v0, v1)")
    result, operation, given = found.groups()
    if operation not in OPERATIONS:
        raise InputError(f"unknown operation {operation!r} in {line!r}; known: {', '.join(OPERATIONS)}")
    kind, inputs = OPERATIONS[operation]
    words = tuple(word.strip() for word in given.split(","))
    if operation == "s_const":
        try:
            number = float(words[0])
        except ValueError:
            number = math.nan
        if kind != result[0] or len(words) != 1 or not math.isfinite(number):
            raise InputError(f"{line!r}: s_const takes a finite number into a scalar")
        return Instruction(operation, result, (), number)
    registers = {f"{one}{place}" for one in "sv" for place in range(REGISTERS)}
    if result[0] != kind or not set(words) <= registers or "".join(word[0] for word in words) != inputs:
        raise InputError(f"{line!r}: {operation} takes registers of the kinds {inputs!r} into one of the kind {kind!r}")
    return Instruction(operation, result, words)


class Machine:
    """Registers, and the interpreter."""

    def __init__(self, width: int) -> None:
        self.registers: dict[str, Vectors] = {
            **{f"s{place}": np.zeros(()) for place in range(REGISTERS)},
            **{f"v{place}": np.zeros(width) for place in range(REGISTERS)},
        }

    def run(self, part: Iterable[Instruction]) -> None:
        """Carry out instructions in their order."""
        for one in part:
            values = [self.registers[name] for name in one.inputs]
            self.registers[one.result] = _applied(one, values)


def _applied(one: Instruction, values: list[Vectors]) -> Vectors:
    match one.operation:
        case "s_const":
            return np.asarray(one.number)
        case "s_add" | "v_add":
            return values[0] + values[1]
        case "s_sub" | "v_sub":
            return values[0] - values[1]
        case "s_mul" | "v_mul" | "v_scale":
            return values[0] * values[1]
        case "s_abs":
            return np.abs(values[0])
        case "s_tanh":
            return np.tanh(values[0])
        case "s_relu" | "v_relu":
            return np.maximum(values[0], 0.0)
        case "dot":
            return values[0] @ values[1]
        case "mean":
            return values[0].mean()
        case _:
            return values[0]  # copies


def errors(
    program: Program, train: tuple[Vectors, Vectors], valid: tuple[Vectors, Vectors], *, stop: bool = False
) -> list[float]:
    """Target less prediction of each training example as it comes, then of each validation example.

    Args:
        program: that is run once over the examples.
        train, valid: vectors (n, d) and targets (n,).
        stop: end with the first that is NaN.
    """
    machine, found = Machine(train[0].shape[1]), list[float]()
    with np.errstate(all="ignore"):
        machine.run(program.setup)
        for learning, (vectors, targets) in ((True, train), (False, valid)):
            for vector, target in zip(vectors, targets, strict=True):
                machine.registers[FEATURES] = vector
                if not learning:
                    machine.registers[TARGET] = np.zeros(())  # what is predicted must not be known
                machine.run(program.predict)
                found.append(float(target - machine.registers[PREDICTION]))
                if stop and math.isnan(found[-1]):
                    return found
                if learning:
                    machine.registers[TARGET] = target
                    machine.run(program.learn)
    return found


def live(program: Program) -> Program:
    """The program without instructions whose result nothing reads; ``predict`` and ``learn`` alternate."""
    parts = program.parts
    while True:
        after = {0: (1, 2), 1: (2, 1), 2: (1,)}  # predict is followed by learn, or by itself on validation examples
        kept = [
            [one for place, one in enumerate(part) if _is_read(one.result, place, number, parts, after[number])]
            for number, part in enumerate(parts)
        ]
        shorter = tuple(tuple(part) for part in kept)
        if shorter == parts:
            return Program(*shorter)
        parts = shorter


def _is_read(
    name: str, place: int, number: int, parts: tuple[tuple[Instruction, ...], ...], after: Sequence[int]
) -> bool:
    """Whether a register is read after an instruction before it is written again."""
    read, written = _first_use(name, parts[number][place + 1 :])
    if read or written:
        return read
    if number == 1 and name == PREDICTION:
        return True
    seen, waiting = set[int](), list(after)
    follows = {1: (2, 1), 2: (1,)}
    while waiting:
        part = waiting.pop()
        if part in seen:
            continue
        seen.add(part)
        # Between the parts the features and the target are written anew.
        if (name == FEATURES and part == 1) or (name == TARGET and part == 2):
            continue
        read, written = _first_use(name, parts[part])
        if read or (part == 1 and name == PREDICTION and not written):
            return True
        if not written:
            waiting += follows[part]
    return False


def _first_use(name: str, part: Sequence[Instruction]) -> tuple[bool, bool]:
    """Whether a register is read first, or written first."""
    for one in part:
        if name in one.inputs:
            return True, False
        if one.result == name:
            return False, True
    return False, False


@dataclass(frozen=True, eq=False)
class ProgramSpace:
    """Programs; see :class:`~snellen.systems.functional_hashing.space.Space`.

    The fitness is 1 − 2/π · arctan of the root mean square error on the validation examples, as AutoML-Zero has it.

    Args:
        train, val: vectors (n, d) and targets (n,); the probe takes its examples from ``train``.
        probe_examples: that the probe learns from, and as many others that it only predicts.
    """

    train: tuple[Vectors, Vectors]
    val: tuple[Vectors, Vectors]
    probe_examples: int = 10
    worst: float = 0.0

    def sample(self, rng: random.Random) -> Program:
        """A random program of full length."""
        return Program(*(tuple(_drawn(rng) for _ in range(length)) for length in LENGTHS))

    def mutate(self, candidate: Program, rng: random.Random) -> Program:
        """Put in, take out or replace one instruction."""
        number = rng.randrange(len(LENGTHS))
        part = list(candidate.parts[number])
        action = rng.choice(("put in", "take out", "replace"))
        if action == "put in" and len(part) < LENGTHS[number]:
            part.insert(rng.randrange(len(part) + 1), _drawn(rng))
        elif action == "take out" and part:
            part.pop(rng.randrange(len(part)))
        elif part:
            part[rng.randrange(len(part))] = _drawn(rng)
        name = ("setup", "predict", "learn")[number]
        return replace(candidate, **{name: tuple(part)})

    def structure(self, candidate: Program) -> str:
        """The program without unread results, and with commuted inputs in one order."""
        return str(Program(*(tuple(map(_ordered, part)) for part in live(candidate).parts)))

    def encode(self, candidate: Program) -> str:
        """The program as text."""
        return str(candidate)

    def probe(self, candidate: Program, seed: int) -> Sequence[float]:
        """Errors of a few examples that it learns from, then of others."""
        rows = self._probe_rows(seed)
        half = (len(rows) + 1) // 2
        first, second = ((self.train[0][part], self.train[1][part]) for part in (rows[:half], rows[half:]))
        return errors(candidate, first, second, stop=True)

    def probe_targets(self, seed: int) -> Vectors:
        """Targets of the examples of the probe, in its order."""
        return self.train[1][self._probe_rows(seed)]

    def _probe_rows(self, seed: int) -> NDArray[np.int64]:
        draws = np.random.default_rng(derive_seed(seed, "program probe"))
        return draws.permutation(len(self.train[0]))[: 2 * self.probe_examples]

    def evaluate(self, candidate: Program, run: int) -> Evaluation:
        """Learn from all training examples, in an order of the run, and predict the others."""
        started = time.perf_counter()
        order = np.random.default_rng(derive_seed("program order", run)).permutation(len(self.train[0]))
        found = errors(candidate, (self.train[0][order], self.train[1][order]), self.val)[len(order) :]
        with np.errstate(all="ignore"):
            error = float(np.sqrt(np.mean(np.square(found))))
        valid = self.worst if math.isnan(error) else 1 - 2 / math.pi * math.atan(error)
        return Evaluation(valid, seconds=time.perf_counter() - started)


def _drawn(rng: random.Random) -> Instruction:
    operation = rng.choice(list(OPERATIONS))
    kind, inputs = OPERATIONS[operation]
    result = f"{kind}{rng.randrange(REGISTERS)}"
    if operation == "s_const":
        return Instruction(operation, result, (), rng.choice((-1.0, -0.1, 0.01, 0.1, 1.0)))
    return Instruction(operation, result, tuple(f"{one}{rng.randrange(REGISTERS)}" for one in inputs))


def _ordered(one: Instruction) -> Instruction:
    return replace(one, inputs=tuple(sorted(one.inputs))) if one.operation in COMMUTATIVE else one
