"""A person decides for each case whether it is a failure: the share that people confirm, SSR(H), beside machines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from snellen.core.errors import InputError
from snellen.core.run import write_atomically
from snellen.systems.generator_failure.record import GeneratorFailures, cell, share

#: The table of answers beside the record.
TABLE = "review.csv"

#: Question and picture → y, n, s (skip) or q (stop here).
Ask = Callable[[str, Path], str]


def review_cases(made: GeneratorFailures, ask: Ask) -> GeneratorFailures:
    """Show the picture of each case, write each answer at once, and add what came out to the notes.

    Args:
        made: with its folder; the record in it stays as it is.
        ask: reads an answer.

    Raises:
        InputError: a record without a folder, or an answer that is none.
    """
    if made.folder is None:
        raise InputError("a review shows pictures of the folder, and this record has none")
    table = made.folder / TABLE
    answers = _read(table)
    for place, one in enumerate(made.cases, 1):
        if one.name in answers:
            continue
        asked = f"show {one.label}" if one.mode == 4 else f"fail to show {one.label}"
        question = f"{place} of {len(made.cases)}: do most of these images {asked}? y yes, n no, s skip, q stop"
        answer = ask(question, made.folder / one.files[1])
        if answer == "q":
            break
        if answer not in ("y", "n", "s"):
            raise InputError(f"an answer is y, n, s or q; got {answer!r}. The same command resumes behind the last one")
        answers[one.name] = answer
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("case", "answer"), *answers.items()])
        write_atomically(table, text.getvalue().encode())
    given = [answers[one.name] for one in made.cases if answers.get(one.name) in ("y", "n")]
    note = f"people confirm {cell(share(given.count('y'), len(given)))} of the cases that they answered ({TABLE})"
    return made.model_copy(update={"notes": (*made.notes, note)})


def _read(table: Path) -> dict[str, str]:
    """Answers of an earlier call; empty without one."""
    if not table.is_file():
        return {}
    rows = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"), newline=""))
    return {row["case"]: row["answer"] for row in rows if row.get("case") and row.get("answer")}
