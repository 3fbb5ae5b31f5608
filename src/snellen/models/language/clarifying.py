"""Clarifying questions: what the description of a concept leaves open, put to the person who wrote it.

A language model writes the questions once, and the person answers them in words. Questions and answers become a part of
the description, so the definition that is made of it reads them. Toubal et al., *Modeling Collaborator*, CVPR 2024,
arXiv 2403.02626, specify a concept in such a conversation; the wording is our own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snellen.core.errors import InputError
from snellen.core.refused_values import refused_values
from snellen.core.run import canonical_json, write_atomically
from snellen.models.language.protocol import LanguageModel, UnusableReplyError, ask_for_phrases

#: Questions at most, and letters of an answer.
MOST_QUESTIONS, MOST_LETTERS = 10, 500

#: What lists in files hold the questions under.
KEY = "clarifying"

#: Reads an answer to a question: words, "" to leave it open, or None to stop here.
Answer = Callable[[str], str | None]


class Exchange(BaseModel):
    """A question and its answer.

    Attributes:
        question: in words.
        answer: of the owner; "" where it was left open, None where there is none yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(min_length=1)
    answer: str | None = None


class Clarification(BaseModel):
    """Questions about one concept, and what its owner answered.

    >>> exchanges = (Exchange(question="Does sand count?", answer="no"), Exchange(question="And toys?", answer=""))
    >>> print(Clarification(name="star", description="a star", model="demo", exchanges=exchanges).clarified)
    a star
    To "Does sand count?" its owner answers "no".

    Attributes:
        name: of the concept.
        description: as it was before.
        model: that wrote the questions.
        tokens: of its reply and of what was sent; 0 for lists in a file.
        exchanges: the questions with their answers, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    model: str
    tokens: int = Field(0, ge=0)
    exchanges: tuple[Exchange, ...]

    @property
    def clarified(self) -> str:
        """The description, with every question that was answered."""
        lines = [
            f"To {json.dumps(one.question, ensure_ascii=False)} "
            f"its owner answers {json.dumps(one.answer, ensure_ascii=False)}."
            for one in self.exchanges
            if one.answer
        ]
        return "\n".join([self.description, *lines])


def unusable_answer(answer: str) -> str | None:
    r"""Why an answer cannot be kept, in a sentence; None where it can.

    >>> unusable_answer("only red ones") is None
    True
    >>> unusable_answer("\udcff")
    'an answer is text in UTF-8, and this one holds bytes that are not; type it again'
    """
    if not _is_text(answer):
        return "an answer is text in UTF-8, and this one holds bytes that are not; type it again"
    length = len(answer.strip())
    if length > MOST_LETTERS:
        return f"an answer has at most {MOST_LETTERS} letters, got {length}; say it in fewer"
    return None


def clarify(
    name: str, description: str, model: LanguageModel, answer: Answer, *, most: int, kept: Path
) -> Clarification | None:
    """Put questions about what a description leaves open, and write down each answer at once.

    Args:
        name: of the concept.
        description: in its owner's words.
        model: writes the questions; a list in a file has them under the key "clarifying".
        answer: reads an answer.
        most: questions, 1 to 10.
        kept: JSON file with questions and answers. One that is there is resumed behind the last answer, and its
            questions are not written again.

    Returns:
        All questions with their answers; None where the owner stopped before the last one.

    Raises:
        InputError: a number of questions that cannot be, an answer that is too long or not text, a name or description
            that is not text, a file of another concept, a place where no file can be, or lists without questions.
        UnusableReplyError: the model writes no question, or one that is not text.
        ModelError: the model cannot be reached.
    """
    if not 1 <= most <= MOST_QUESTIONS:
        raise InputError(f"a concept is clarified by 1 to {MOST_QUESTIONS} questions; got {most}")
    if not _is_text(name + description):
        raise InputError("name and description of a concept are text in UTF-8, and these hold bytes that are not")
    found = kept_questions(kept, name, description) or _written(name, description, model, most)
    write_atomically(kept, canonical_json(found.model_dump(mode="json")))
    for place, one in enumerate(found.exchanges):
        if one.answer is not None:
            continue
        given = answer(f"{place + 1} of {len(found.exchanges)}: {one.question}")
        if given is None:
            return None
        fault = unusable_answer(given)
        if fault is not None:
            raise InputError(f"{fault}. The same command resumes with this question")
        answered = one.model_copy(update={"answer": given.strip()})
        found = found.model_copy(
            update={"exchanges": (*found.exchanges[:place], answered, *found.exchanges[place + 1 :])}
        )
        write_atomically(kept, canonical_json(found.model_dump(mode="json")))
    return found


def _written(name: str, description: str, model: LanguageModel, most: int) -> Clarification:
    before = model.spent.tokens
    questions = ask_for_phrases(
        model,
        f"A person wants to find images of the concept {json.dumps(name)}, described as {json.dumps(description)}. The "
        f"concept will be defined by conditions on what can be seen. Ask the person at most {most} questions about "
        f"what the description leaves open: kinds of images that it neither includes nor excludes. Begin with what "
        f"decides about most images. Each question is one short sentence that can be answered in a few words. Ask "
        f"nothing that the description answers.",
        key=KEY,
    )
    if not _is_text("".join(questions)):
        raise UnusableReplyError(f"{model.name}: a question holds characters that are none in UTF-8; ask again")
    return Clarification(
        name=name,
        description=description,
        model=model.name,
        tokens=model.spent.tokens - before,
        exchanges=tuple(Exchange(question=one) for one in questions[:most]),
    )


def _is_text(text: str) -> bool:
    """Whether it can be written; bytes that a terminal could not decode cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def kept_questions(kept: Path, name: str, description: str) -> Clarification | None:
    """Questions of an earlier call, with the answers so far; None without a file.

    Args:
        kept: the JSON file.
        name, description: of the concept that they must be about.

    Raises:
        InputError: a file of something else or of another concept, a folder, or a place below a file.
    """
    if kept.exists() and not kept.is_file():
        raise InputError(f"{kept} is no file, and questions and answers are kept there; name another folder with --out")
    above = next((folder for folder in kept.absolute().parents if folder.exists()), kept)
    if not above.is_dir():
        raise InputError(
            f"{above} is a file, so {kept.name} for questions and answers cannot be below it; name another folder "
            f"with --out"
        )
    if not kept.is_file():
        return None
    try:
        found = Clarification.model_validate_json(kept.read_bytes())
    except ValidationError as error:
        raise InputError(f"{kept} holds no questions about a concept: {refused_values(error)}; remove it") from error
    if (found.name, found.description) != (name, description):
        raise InputError(
            f"{kept} holds questions about another concept ({found.name}: {found.description[:100]}); name another "
            f"folder with --out, or remove the file"
        )
    return found
