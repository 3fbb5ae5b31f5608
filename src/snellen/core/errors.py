"""What can go wrong, in words that say what came, what was expected, and how to fix it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class SnellenError(Exception):
    """Any error that Snellen raises on purpose; the command line prints it without a traceback and exits with 2."""


class InputError(SnellenError, ValueError):
    """A reference, option, file or array that cannot be used as given."""


class UnknownNameError(InputError):
    """A name that is not in the index; the message lists the nearest ones."""


class MissingExtraError(SnellenError, ImportError):
    """An optional package that a feature needs; the message names the extra to install."""


class ModelError(SnellenError):
    """A classifier whose outputs cannot be used: not finite, wrong shape, wrong number of classes."""


class UnreachableError(ModelError):
    """A server that cannot be reached, or does not recover; a run that it stops can be resumed."""


class UnsentError(SnellenError):
    """Something would have left this machine while a call was only planned."""


class NotFiniteError(ModelError):
    """Every search of a batch met scores, or an objective, that are NaN or infinite."""


class UnsupportedError(SnellenError):
    """A method needs something that the classifier does not have (gradients, scores, labels)."""


class LabelsHiddenError(SnellenError):
    """A label-free method touched the labels."""


class RejectedImageError(SnellenError):
    """One image that cannot be used. It is reported by name and skipped: never fatal, never silently counted."""


class UnwritableError(InputError, OSError):
    """A disk that is full, or a place that may not be written; what was written before stays valid."""


class RunConflictError(InputError):
    """A run directory that holds the record of another plan."""


class WorkerError(SnellenError):
    """A worker of an engine that died, or that cannot do the work; the run can be resumed."""


def unknown_name(what: str, name: str, known: Iterable[str], other: Iterable[str] = ()) -> UnknownNameError:
    """Build the error for an unknown name, with the nearest known names; ``other`` spellings are not listed.

    >>> print(unknown_name("attack", "pdg", ["fgsm", "pgd"]))
    unknown attack 'pdg'; did you mean 'pgd'? Known: fgsm, pgd
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(name, sorted({*names, *other}), n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
    return UnknownNameError(f"unknown {what} {name!r}{hint} Known: {shown or 'none'}")


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    >>> import_extra("json", "models", "JSON").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        # An ImportError raised *inside* an installed package is a broken install, not a missing extra.
        if not (isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")):
            raise
        raise MissingExtraError(
            f"{purpose} needs the package {module!r}; install it with: pip install 'snellen[{extra}]'"
        ) from error
