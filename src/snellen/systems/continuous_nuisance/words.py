"""Prompts of classes and of shifts, and words that a generator of few words does not know."""

from __future__ import annotations

import re
from collections.abc import Sequence

from snellen.core.errors import InputError, unknown_name
from snellen.data.worlds.optotypes.vocabulary import vocabulary
from snellen.models.diffusion.generator import Generator

#: Stands for the words of a class, or in that of a shift for the prompt and then the words of the shift.
BLANK = "{}"

#: A prompt under a shift, as published: "a star, in fog".
SHIFTED = "{}, {}"

#: Words that a phrase of a shift begins with.
_PREPOSITIONS = (
    *("against", "amid", "among", "as", "at", "before", "behind", "beside", "between", "by", "during", "in", "inside"),
    *("near", "of", "on", "over", "through", "under", "while", "with", "within", "without"),
)

#: Generators of the package with a vocabulary of their own.
_SCENES = "bundled:scene-diffusion"


def class_prompt(template: str, class_name: str) -> str:
    """The prompt of a class.

    >>> class_prompt("a picture of a {}", "star")
    'a picture of a star'

    Raises:
        InputError: a template that does not name the class once.
    """
    return _filled(template, class_name)


def named_phrases(shifts: Sequence[str]) -> dict[str, str]:
    """Shifts as somebody writes them, WORDS or NAME=WORDS, as the name of each and its words in prompts.

    A noun alone gets "in" before it, as in the published prompts ("a star, in heavy snow").

    >>> named_phrases(["fog", "striped=with stripes", "in rain"])
    {'fog': 'in fog', 'striped': 'with stripes', 'in rain': 'in rain'}

    Raises:
        InputError: a shift without words, or two of one name.
    """
    found: dict[str, str] = {}
    for one in shifts:
        name, separator, words = one.partition("=")
        name, words = name.strip(), (words if separator else name).strip()
        if not name or not words:
            raise InputError(f"a shift is its words in prompts, or NAME=WORDS; got {one!r}")
        if name in found:
            raise InputError(f"there are two shifts called {name!r}; write NAME=WORDS with names of their own")
        found[name] = words if words.split()[0].lower() in _PREPOSITIONS else f"in {words}"
    return found


def shifted_prompt(prompt: str, words: str, template: str = SHIFTED) -> str:
    """The prompt of the same object under a shift.

    >>> shifted_prompt("a star", "in fog")
    'a star, in fog'

    Raises:
        InputError: no words, or a template without two places.
    """
    if not words.strip():
        raise InputError("a shift has words, such as 'in fog'; got none")
    return _filled(template, prompt, words)


def check_words(generator: Generator, prompts: Sequence[str]) -> None:
    """Refuse prompts with words that the generator does not know.

    Tokenizers cover every text, so a small generator that does not know a word makes a picture of something else. Only
    of the generators that come with the package it is known which words they know.

    Raises:
        InputError: a word that is not known; the message names it and the likeliest that was meant.
    """
    if generator.name != _SCENES:
        return
    known = vocabulary()
    for prompt in prompts:
        for word in re.findall(r"[a-z0-9]+(?:'[a-z]+)?", prompt.lower()):
            if word not in known:
                raise InputError(
                    f"{unknown_name(f'word of {generator.name} in {prompt!r}', word, known)}; it knows the words of "
                    f"scene captions alone (docs/embedded-models.md): for any other class or shift, give a generator "
                    f"of your own, diffusers:FOLDER"
                )


def _filled(template: str, *values: str) -> str:
    if template.count(BLANK) != len(values):
        raise InputError(f"a template has {BLANK} {len(values)} time{'s' * (len(values) > 1)}; got {template!r}")
    for value in values:
        template = template.replace(BLANK, value.replace(BLANK, ""), 1)
    return template
