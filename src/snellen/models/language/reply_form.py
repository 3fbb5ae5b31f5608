"""Ask for JSON of a given form, read it out of a reply, and say what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import BaseModel, RootModel, ValidationError

from snellen.models.language.protocol import Message
from snellen.models.remote.key import SHOWN


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
