"""What a language model must offer, and what is said to it and by it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.errors import InputError, ModelError, SnellenError
from snellen.core.preparation import to_image

Role = Literal["system", "user", "assistant"]

_PNG = b"\x89PNG\r\n\x1a\n"


class UnusableReplyError(ModelError):
    """A reply that does not have the form that was asked for, after the model was told so."""


class BudgetSpentError(SnellenError):
    """What may be spent is spent; the message names the limit, as :meth:`snellen.core.budget.Budget.exceeded` does."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        text: what is said.
        images: pictures that belong to it, each a PNG file; only a model that sees images takes them.
    """

    role: Role
    text: str
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Reply:
    """What a model said.

    Attributes:
        text: the words, as they came.
        value: the reply in the form that was asked for; None when none was.
        prompt_tokens: tokens of all that was sent for it, repairs included; 0 where nothing was sent.
        completion_tokens: tokens of all that came back.
        cached: whether it was kept from an earlier call.
        repaired: whether a first reply had another form than asked for.
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
            prompt: what is asked: a text, or a conversation whose last message is answered.
            key: what it is asked about (a class name). Lists in files are looked up by it; a model reads
                it in the prompt alone.
            schema: the form of the reply; ``Reply.value`` is then of this type.
            max_tokens: most tokens of the reply.
            temperature: 0 takes the likeliest token each time; None leaves it to the model.
            sample: another number asks for another reply to the same question, where the temperature is not 0.

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
        InputError: nothing is asked.
    """
    messages = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
    if not messages or not all(isinstance(message, Message) for message in messages):
        raise InputError(f"{name}: a prompt is a text or a sequence of messages; got {prompt!r}")
    if not messages[-1].text.strip() and not messages[-1].images:
        raise InputError(f"{name}: the last message is empty; nothing is asked")
    for message in messages:
        if not all(image.startswith(_PNG) for image in message.images):
            raise InputError(f"{name}: a picture of a message is no PNG file; make it with picture(image)")
        try:
            message.text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{name}: a message holds characters that are none: {error}") from error
    return messages
