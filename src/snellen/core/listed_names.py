"""A few names in a sentence, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence


def listed_names(names: Sequence[str], most: int = 5, *, joined: str = ", ", before_more: str = " ") -> str:
    """The first names, and how many more there are.

    >>> listed_names(["cat", "dog"]), listed_names(["cat", "dog", "owl", "fox"], 2)
    ('cat, dog', 'cat, dog and 2 more')
    >>> listed_names(["cat"] * 1235, 1)
    'cat and 1,234 more'

    Args:
        names: in the order in which they are shown.
        most: names that are shown.
        joined: between two names.
        before_more: before the words for those that are not shown.
    """
    more = len(names) - most
    return joined.join(names[:most]) + (f"{before_more}and {more:,} more" if more > 0 else "")
