"""Replies in a given form: JSON that is asked for, read and repaired, and short lists in words for each class."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from snellen.models.language.protocol import LanguageModel, Message, UnusableReplyError
from snellen.models.remote.connection import SHOWN


class Phrases(BaseModel):
    """A list of phrases or sentences."""

    model_config = ConfigDict(frozen=True)

    items: tuple[str, ...] = Field(description="the phrases, in order")


def ask_for_phrases(
    model: LanguageModel,
    question: str,
    *,
    key: str | None = None,
    max_tokens: int = 512,
    temperature: float | None = 0.0,
    sample: int = 0,
) -> tuple[str, ...]:
    """Ask for a list: from a model by the question, from a file by the key.

    Blanks around phrases, empty ones and repetitions are dropped; the order stays.

    Args:
        model: whom to ask.
        question: in words, with all that a model must know.
        key: what it is about: a class name, in a file of lists; None for a file that is one list.
        max_tokens: most tokens of the reply.
        temperature: as in :meth:`LanguageModel.complete`.
        sample: as in :meth:`LanguageModel.complete`.

    Raises:
        InputError: a file has no list of that key.
        UnusableReplyError: the reply is not a list, or an empty one.
        ModelError: the model cannot be reached.
    """
    reply = model.complete(
        question, key=key, schema=Phrases, max_tokens=max_tokens, temperature=temperature, sample=sample
    )
    assert isinstance(reply.value, Phrases)
    phrases = tuple(dict.fromkeys(phrase.strip() for phrase in reply.value.items if phrase.strip()))
    if not phrases:
        raise UnusableReplyError(f"{model.name}: the list{f' for {key!r}' if key is not None else ''} is empty")
    return phrases


class WrongFormError(ValueError):
    """A text that does not have the form of a schema; the message says where."""


def with_form(messages: Sequence[Message], schema: type[BaseModel]) -> tuple[Message, ...]:
    """The conversation, whose last message also says that the reply is JSON of this schema, and nothing else."""
    *before, last = messages
    told = json.dumps(schema.model_json_schema(), sort_keys=True, ensure_ascii=False)
    asked = f"{last.text}\n\nReply with JSON alone, without any other text. It must fit this JSON schema:\n{told}"
    return (*before, Message(last.role, asked, last.images))


def repair(messages: Sequence[Message], reply: str, error: WrongFormError) -> tuple[Message, ...]:
    """The conversation, the reply with another form, and the request to mend it."""
    request = f"That reply does not fit the schema: {error}\nReply again, with the corrected JSON alone."
    return (*messages, Message("assistant", reply), Message("user", request))


def read_form(text: str, schema: type[BaseModel]) -> BaseModel:
    r"""The first JSON object or array in a reply, checked.

    Models put JSON into fences, and words around it; what follows ``</think>`` is the reply of a model that thinks
    aloud.

    >>> class Colour(BaseModel):
    ...     name: str
    >>> read_form('Sure:\n```json\n{"name": "red"}\n```', Colour)
    Colour(name='red')

    Raises:
        WrongFormError: there is no JSON, or it does not fit.
    """
    value = _first_json(text.rpartition("</think>")[2], "{[" if issubclass(schema, RootModel) else "{")
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        places = [
            f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise WrongFormError("; ".join(places[:5])) from error


def _first_json(text: str, openings: str) -> object:
    decoder = json.JSONDecoder(parse_constant=_refuse)
    first: Exception | None = None
    starts = [place for place, letter in enumerate(text) if letter in openings]
    for start in starts[:SHOWN]:
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError) as error:
            first = first or error
    raise WrongFormError(f"no valid JSON: {first}" if first else "there is no JSON object in it")


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
