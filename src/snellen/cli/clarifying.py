"""``snellen label --clarify``: the concept with what its owner answered in the terminal."""

from __future__ import annotations

from pathlib import Path

from snellen.cli.asking import answer_in_words
from snellen.cli.progress import loading
from snellen.core import index
from snellen.core.errors import InputError


def clarified_concept(concept: str, language: str, *, most: int, folder: Path) -> dict[str, str] | None:
    """Name and clarified description, or None where the owner stopped.

    Questions and answers are kept in ``OUT-clarified.json``.

    Args:
        concept: as of :func:`snellen.label`.
        language: reference of the language model that writes the questions.
        most: questions.
        folder: that is filled afterwards.

    Raises:
        InputError: a concept whose conditions are written already, or see
            :func:`snellen.models.language.clarifying.clarify`.
    """
    with loading("loading the language model"):
        from snellen.models.language.clarifying import clarify
        from snellen.models.language.references import load_language_model

        wanted = index.form("label", "definition").load()(concept)
        model = load_language_model(language, cache=False)
    if wanted.conditions:
        raise InputError(
            f"the conditions of {wanted.name!r} are written already, so no answer would change them; leave --clarify "
            f"out, or take the conditions out of the file"
        )
    kept = folder.with_name(f"{folder.name}-clarified.json")
    found = clarify(wanted.name, wanted.description, model, answer_in_words, most=most, kept=kept)
    return None if found is None else {"name": wanted.name, "description": found.clarified}
