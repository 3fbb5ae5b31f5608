"""Atomic questions, one for each condition of a definition, written once for a concept (stage C, step 2).

Not one direct question "is this a NAME?": that is a baseline.
"""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict, Field, model_validator

from snellen.core.errors import InputError
from snellen.systems.language_model_annotation.conversation import Conversation
from snellen.systems.language_model_annotation.definition import Condition, Definition


class Question(BaseModel):
    """A yes/no question about an image; yes means that its condition holds.

    Attributes:
        condition: id of the condition.
        question: for a model that answers questions.
        phrases: what an image may show where the condition holds, for models that compare images with phrases.
        instead: what other images show instead of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    condition: str
    question: str = Field(min_length=3, max_length=300)
    phrases: tuple[str, ...] = Field((), max_length=40)
    instead: tuple[str, ...] = Field((), max_length=40)

    @model_validator(mode="after")
    def _compares(self) -> Question:
        if bool(self.phrases) != bool(self.instead):
            raise ValueError("phrases and instead come together: an image is compared with both")
        return self


class _Questions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: tuple[Question, ...]


def write_questions(definition: Definition, talk: Conversation) -> tuple[Question, ...]:
    """One question for each condition, in the order of the conditions.

    Raises:
        UnusableReplyError: replies without exactly one question for each condition.
    """
    conditions = definition.conditions
    listed = json.dumps([{"condition": one.id, "text": one.text} for one in conditions])
    written = talk.request(
        f"Somebody decides whether images show the concept {json.dumps(definition.name)} by these conditions:\n"
        f"{listed}\nWrite exactly one question for each condition, with its id. Each is about one image, is answered "
        f"by yes or no without knowing the concept, and yes means that the condition holds. For models that compare an "
        f"image with phrases, also give phrases that describe images in which it holds, and, under 'instead', phrases "
        f"of the same form that describe images in which it does not.",
        _Questions,
        key="questions",
        check=lambda found: in_order(found.questions, conditions),
    )
    return in_order(written.questions, conditions)


def in_order(questions: tuple[Question, ...], conditions: tuple[Condition, ...]) -> tuple[Question, ...]:
    """Questions in the order of their conditions.

    Raises:
        InputError: a condition without a question, with two, or a question about no condition.
    """
    wanted, found = [one.id for one in conditions], [one.condition for one in questions]
    if sorted(wanted) != sorted(found):
        raise InputError(
            f"exactly one question is needed for each of {', '.join(wanted)}; got questions for "
            f"{', '.join(found) or 'none'}"
        )
    by_id = {one.condition: one for one in questions}
    return tuple(by_id[one] for one in wanted)
