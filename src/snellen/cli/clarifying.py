"""``snellen label --clarify``: the concept with what its owner answered in the terminal."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from snellen.cli.asking import answer_in_words
from snellen.cli.engine_options import ended_like_ctrl_c
from snellen.cli.progress import loading
from snellen.cli.text import harmless
from snellen.core import index
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel


def clarified_concept(
    concept: str, pool: str, language: str, *, most: int, folder: Path, given: Path | None
) -> BaseModel | None:
    """The concept with its clarified description, or None where the owner stopped.

    Questions and answers are kept in ``OUT-clarified.json``. What can be refused at once is refused before the first
    question: nobody answers in vain.

    Args:
        concept: as of :func:`snellen.label`.
        pool: reference of the images that are labelled afterwards.
        language: reference of the language model that writes the questions.
        most: questions.
        folder: that is filled afterwards.
        given: the folder that was named on the command line; None where it was chosen.

    Raises:
        InputError: a concept whose conditions are written already, a pool that cannot be labelled, or see
            :func:`snellen.models.language.clarifying.clarify`.
    """
    with loading("loading the language model"):
        from snellen.data.references import load_images
        from snellen.models.language.clarifying import clarify, kept_questions
        from snellen.models.language.references import load_language_model

        wanted = index.form("label", "definition").load()(concept)
        model = load_language_model(language, cache=False)
        load_images(pool).for_fitting()
    if wanted.conditions:
        raise InputError(
            f"the conditions of {wanted.name!r} are written already, so no answer would change them; leave --clarify "
            f"out, or take the conditions out of the file"
        )
    kept = folder.with_name(f"{folder.name}-clarified.json")
    before = kept_questions(kept, wanted.name, wanted.description)
    if before is not None:
        answered = sum(one.answer is not None for one in before.exchanges)
        typer.echo(
            f"{kept} keeps {len(before.exchanges)} questions of {harmless(before.model)}, {answered} of them answered; "
            f"remove it for other questions",
            err=True,
        )
    try:
        with ended_like_ctrl_c():
            found = clarify(wanted.name, wanted.description, model, _usable_answer, most=most, kept=kept)
    except KeyboardInterrupt:
        again = "the same command" if given else f"the same command with --out {shlex.quote(str(folder))}"
        typer.echo(f"stopped; {again} resumes the questions ({kept})", err=True)
        raise
    return None if found is None else wanted.model_copy(update={"description": found.clarified})


def _usable_answer(question: str) -> str | None:
    """The owner's answer; after one that cannot be kept, the question comes again."""
    from snellen.models.language.clarifying import unusable_answer

    while True:
        answer = answer_in_words(question)
        fault = None if answer is None else unusable_answer(answer)
        if fault is None:
            return answer
        typer.echo(fault, err=True)
