"""Margins and widths as people write them: ``1pt`` for a hundredth, or the number itself."""

from __future__ import annotations

import re

from snellen.core.errors import InputError

_FORM = re.compile(r"\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>pts?|points?)?\s*")


def parse_points(given: str | float, what: str) -> float:
    """Read ``1pt`` or ``0.01``.

    >>> parse_points("1pt", "margin"), parse_points("0.5 points", "margin"), parse_points(0.02, "margin")
    (0.01, 0.005, 0.02)

    Args:
        given: a number, or a text.
        what: it is, for messages.

    Returns:
        A number between 0 and 1.

    Raises:
        InputError: another form, zero or less, or one or more, which is mostly meant as points.
    """
    if isinstance(given, str):
        form = _FORM.fullmatch(given)
        if form is None:
            hint = "; a percentage may be of the figure or of all images" if "%" in given else ""
            raise InputError(f"{what} {given!r}: expected points such as 1pt, or a number such as 0.01{hint}")
        value = float(form["number"]) / (100 if form["unit"] else 1)
    else:
        value = float(given)
    if not value > 0:  # nor NaN
        raise InputError(f"{what} {given!r}: expected more than zero, such as 1pt (which is 0.01)")
    if value >= 1:
        raise InputError(f"{what} {given!r} is {value:g}: write 1pt for one point, or a number below 1 such as 0.01")
    return value
