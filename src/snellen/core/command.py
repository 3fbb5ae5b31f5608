"""A system's description of its command, so that the command line offers it without importing it.

A command is a function. Its first parameter takes methods; every parameter with an :class:`Option` in its annotation is
an option, and one with an :class:`Argument` an argument. The command line adds what all such commands have, and hands
over ``out``, ``device``, ``seed`` and ``progress``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Argument:
    """What a command is run on, in front of its options.

    Attributes:
        help: what it is, in one sentence.
    """

    help: str


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        help: what it does, in one sentence.
        flag: how it is spelled, where that is not the parameter's name; ``--no-…`` is added to switches.
        metavar: what a value looks like.
        default: what help shows as default, where that is not the parameter's own.
        minimum: least value of a number.
    """

    help: str
    flag: str | None = None
    metavar: str | None = None
    default: str | None = None
    minimum: int | None = None
