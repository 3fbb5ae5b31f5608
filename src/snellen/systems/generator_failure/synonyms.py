"""Words that name other classes, which a prompt of a class must not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snellen.core.errors import InputError, unknown_name
from snellen.models.language import listed_answers
from snellen.systems.generator_failure.language_prior import caption_synonyms, words_of


def read_synonyms(reference: str | None, classes: Sequence[str], *, world: bool) -> dict[str, tuple[str, ...]]:
    """For each class, words that name the others.

    Args:
        reference: ``file:FILE`` with a list of words for each class; None: no list.
        classes: by name.
        world: also leave out what captions of the small world call other shapes.

    Raises:
        InputError: another reference, a file that cannot be read, or a class that was not named.
    """
    given: dict[str, set[str]] = {name: set() for name in classes}
    if reference is not None:
        scheme, _, rest = reference.partition(":")
        if scheme != "file" or not rest:
            raise InputError(f"synonyms are file:FILE, with a list of words for each class; got {reference!r}")
        answers = listed_answers.load(rest)
        for key in answers.keys:
            if key not in given:
                raise unknown_name("class of the synonyms", key, classes)
            given[key] = set(words_of(answers.complete("", key=key).text))
    return {
        name: tuple(sorted(_of_others(given, name) | (caption_synonyms(name) if world else set()))) for name in classes
    }


def _of_others(given: Mapping[str, set[str]], name: str) -> set[str]:
    return (
        {word for other, words in given.items() if other != name for word in words} - set(words_of(name)) - given[name]
    )
