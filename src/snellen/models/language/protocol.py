"""What a language model must offer, messages to it and from it, and replies in a requested form."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.errors import InputError, ModelError, SnellenError
from snellen.core.preprocessing import to_image
from snellen.core.refused_values import refused_values
from snellen.models.remote.connection import SHOWN

Role = Literal["system", "user", "assistant"]

_PNG = b"\x89PNG\r\n\x1a\n"


class UnusableReplyError(ModelError):
    """A reply that does not have the requested form, even after a request to repair it.

    Args:
        message: for the user.
        requests: that were answered, repairs included.
        tokens: of all these, sent and received; a reply of no use is paid for too.
    """

    def __init__(self, message: str, *, requests: int = 1, tokens: int = 0) -> None:
        super().__init__(message)
        self.requests, self.tokens = requests, tokens


class BudgetSpentError(SnellenError):
    """What may be spent is spent; the message names the limit, as :meth:`snellen.core.budget.Budget.exceeded` does."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        text: of the message.
        images: pictures that belong to it, each a PNG file; only a model that sees images takes them.
    """

    role: Role
    text: str
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Reply:
    """A model's reply.

    Attributes:
        text: the words, as they came.
        value: the reply in the requested form; None when none was requested.
        prompt_tokens: tokens of all that was sent for it, repairs included; 0 where nothing was sent.
        completion_tokens: tokens of all that came back.
        cached: whether it was kept from an earlier call.
        repaired: whether a first reply had another form than requested.
        finish: why the model stopped (``stop``, ``length``), where it says so.
    """

    text: str
    value: BaseModel | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False
    repaired: bool = False
    finish: str | None = None


class LanguageModel(Protocol):
    """Questions → replies. The same question with the same parameters may get the reply of an earlier call."""

    @property
    def name(self) -> str:
        """Shown in reports and messages."""

    @property
    def sees_images(self) -> bool:
        """Whether messages may carry pictures."""

    @property
    def spent(self) -> Spent:
        """Tokens and seconds since it was loaded."""

    def complete(
        self,
        prompt: str | Sequence[Message],
        *,
        key: str | None = None,
        schema: type[BaseModel] | None = None,
        max_tokens: int = 512,
        temperature: float | None = 0.0,
        sample: int = 0,
    ) -> Reply:
        """Ask once.

        Args:
            prompt: the question: a text, or a conversation whose last message is answered.
            key: the subject of the question (a class name). Lists in files are found by it; a model reads it in the
                prompt alone.
            schema: the form of the reply; ``Reply.value`` is then of this type.
            max_tokens: most tokens of the reply.
            temperature: 0 takes the likeliest token each time; None leaves it to the model.
            sample: another number gives another reply to the same question, where the temperature is not 0.

        Raises:
            InputError: a prompt or key that cannot be answered.
            ModelError: the model cannot be reached, or its reply cannot be read.
            UnusableReplyError: the reply does not have the form of ``schema``.
            BudgetSpentError: the budget is used up.
        """


def picture(image: Tensor) -> bytes:
    r"""An image (3, h, w) in [0, 1] as a PNG file, for :attr:`Message.images`.

    >>> import torch
    >>> picture(torch.zeros(3, 4, 4))[:4]
    b'\x89PNG'
    """
    file = io.BytesIO()
    to_image(image).save(file, "PNG")
    return file.getvalue()


def as_messages(prompt: str | Sequence[Message], *, name: str) -> tuple[Message, ...]:
    """A prompt as a conversation.

    >>> as_messages("Name a colour.", name="demo")
    (Message(role='user', text='Name a colour.', images=()),)

    Raises:
        InputError: the question is empty.
    """
    messages = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
    if not messages or not all(isinstance(message, Message) for message in messages):
        raise InputError(f"{name}: a prompt is a text or a sequence of messages; got {prompt!r}")
    if not messages[-1].text.strip() and not messages[-1].images:
        raise InputError(f"{name}: the last message is empty; write a question")
    for message in messages:
        if not all(image.startswith(_PNG) for image in message.images):
            raise InputError(f"{name}: a picture of a message is no PNG file; make it with picture(image)")
        try:
            message.text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{name}: a message holds characters that are none: {error}") from error
    return messages


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
    described = json.dumps(schema.model_json_schema(), sort_keys=True, ensure_ascii=False)
    text_sent = (
        f"{last.text}\n\nReply with JSON alone, without any other text. It must fit this JSON schema:\n{described}"
    )
    return (*before, Message(last.role, text_sent, last.images))


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
        raise WrongFormError(refused_values(error, "the whole", values=False, most=5)) from error


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
