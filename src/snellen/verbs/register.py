"""The function ``snellen.register``: a method or check of one's own, by name, without packaging."""

from __future__ import annotations

from typing import TypeVar

from snellen.checks.check import Check
from snellen.core import index
from snellen.core.errors import InputError
from snellen.core.method import VERBS, Method

Own = TypeVar("Own", bound="type[Method] | type[Check]")


def register(own: Own) -> Own:
    """Register a method or a check for the life of this process; also a decorator.

    A method joins the area of its verb, so that verbs, records and facades know it by its name. A check joins the
    audit's checks and runs after the others. Registering a changed class under the same name replaces it. Workers in
    other processes do not know it: for those, package it with an entry point.

    >>> from snellen.attacks import FGSM
    >>> @register
    ... class Twice(FGSM):
    ...     '''FGSM under another name.'''
    ...
    ...     name = "twice_fgsm"
    >>> import snellen.attacks
    >>> snellen.attacks.Twice is Twice
    True

    Args:
        own: a subclass of :class:`snellen.core.method.Method` with one verb, or of :class:`snellen.checks.check.Check`.

    Raises:
        InputError: neither of them, a method without a verb, or a name that is taken.
    """
    if isinstance(own, type) and issubclass(own, Check):
        index.add_check(own.name, own)
    elif isinstance(own, type) and issubclass(own, Method):
        index.add_method(_area(own), own)
    else:
        raise InputError(f"a subclass of Method or of Check is registered; got {own!r}")
    return own


def _area(method: type[Method]) -> str:
    """The area whose verb the class has."""
    for area, verb in index.AREAS.items():
        forms = VERBS[verb] if isinstance(VERBS[verb], tuple) else (VERBS[verb],)
        if area not in ("synthesis",) and any(issubclass(method, form) for form in forms):  # generation has its verb
            return area
    verbs = ", ".join(dict.fromkeys(index.AREAS.values()))
    raise InputError(
        f"{method.__qualname__} has no verb; give it one of {verbs}, as the protocols of core/method.py say"
    )
