"""``http://HOST:PORT/v1#MODEL``: a language model behind the interface of OpenAI, as many servers have it.

What is sent is the model's name, the messages with their pictures, and the parameters of one call, in one request to
one host; :mod:`snellen.models.language.server_requests` sees to that.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from snellen.core.budget import Spent
from snellen.core.errors import InputError, ModelError
from snellen.models.language.protocol import (
    Message,
    Reply,
    UnusableReplyError,
    WrongFormError,
    as_messages,
    read_form,
    repair,
    with_form,
)
from snellen.models.language.server_requests import Answered, Requests, ServerAddress
from snellen.models.language.token_account import KeptReply, ReplyCache, TokenAccount, Usage, question_key, text_hash
from snellen.models.remote.connection import shown

_log = logging.getLogger(__name__)

TokenLimit = Literal["max_tokens", "max_completion_tokens"]


class ServerLanguageModel:
    """A language model on a server.

    Args:
        requests: sends one request, with retries.
        address: where to, and the model's name there.
        account: counts tokens and keeps the budget.
        cache: replies of earlier calls; None sends every time.
        token_limit: what the server calls the limit of a reply's tokens.
        sees_images: whether the model takes pictures.
    """

    def __init__(
        self,
        requests: Requests,
        address: ServerAddress,
        *,
        account: TokenAccount,
        cache: ReplyCache | None,
        token_limit: TokenLimit = "max_tokens",  # noqa: S107 - a name, not a secret
        sees_images: bool = True,
    ) -> None:
        self._requests, self._address, self._account, self._cache = requests, address, account, cache
        self._token_limit, self._sees_images = token_limit, sees_images

    @property
    def name(self) -> str:
        """Address and model; never the key."""
        return f"{self._address.url}#{self._address.model}"

    @property
    def sees_images(self) -> bool:
        """Whether messages may carry pictures: as declared at loading, since a server does not say."""
        return self._sees_images

    @property
    def usage(self) -> Usage:
        """Calls, kept replies and tokens so far."""
        return self._account.usage

    @property
    def spent(self) -> Spent:
        """Tokens and seconds so far."""
        return self._account.usage.spent

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
        """Ask once, or take the reply of an earlier call; see :class:`snellen.models.language.protocol.LanguageModel`.

        A reply of another form than ``schema`` is sent back once, with what is wrong in it.

        Raises:
            InputError: an empty prompt, pictures for a model that sees none, a request that the server refuses.
            ModelError: the server cannot be reached, or answers with something else than a reply.
            UnusableReplyError: the second reply has another form too.
            BudgetSpentError: the budget is used up.
        """
        messages = as_messages(prompt, name=self.name)
        if not self.sees_images and any(message.images for message in messages):
            raise InputError(f"{self.name} was loaded as a model that sees no pictures")
        if max_tokens < 1:
            raise InputError(f"{self.name}: max_tokens must be at least 1, got {max_tokens}")
        if schema is not None:
            messages = with_form(messages, schema)
        parameters: dict[str, object] = {self._token_limit: max_tokens, "seed": sample}
        if temperature is not None:
            parameters["temperature"] = temperature
        question = question_key(
            {
                "server": self._address.url,
                "model": self._address.model,
                "messages": [_hashed(message) for message in messages],
                "parameters": parameters,
                "schema": None if schema is None else schema.model_json_schema(),
            }
        )
        kept = self._kept(question, schema)
        if kept is not None:
            self._account.add_hit()
            return kept
        reply = self._ask(messages, schema, parameters)
        if self._cache is not None:
            fields = {
                name: getattr(reply, name)
                for name in ("text", "prompt_tokens", "completion_tokens", "repaired", "finish")
            }
            self._cache.put(KeptReply(key=question, text_sha256=text_hash(reply.text), **fields))
        return reply

    def _kept(self, question: str, schema: type[BaseModel] | None) -> Reply | None:
        kept = self._cache.get(question) if self._cache is not None else None
        if kept is None:
            return None
        try:
            value = None if schema is None else read_form(kept.text, schema)
        except WrongFormError:
            return None  # the same schema in words, with another check behind it
        return Reply(kept.text, value, cached=True, repaired=kept.repaired, finish=kept.finish)

    def _ask(
        self,
        messages: tuple[Message, ...],
        schema: type[BaseModel] | None,
        parameters: dict[str, object],
    ) -> Reply:
        first = self._send(messages, parameters)
        if schema is None:
            return _reply(first)
        try:
            return _reply(first, value=read_form(first.text, schema))
        except WrongFormError as error:
            _log.info("%s: a reply of another form is sent back: %s", self.name, error)
            second = self._send(repair(messages, first.text, error), parameters)
        try:
            return _reply(second, value=read_form(second.text, schema), before=first)
        except WrongFormError as error:
            cut = " (cut off at the limit of tokens: raise max_tokens)" if second.finish == "length" else ""
            raise UnusableReplyError(
                f"{self.name}: twice no {schema.__name__}: {error}{cut}. First came {shown(first.text)}, then "
                f"{shown(second.text)}",
                requests=2,
                tokens=sum((part.prompt_tokens or 0) + (part.completion_tokens or 0) for part in (first, second)),
            ) from error

    def _send(self, messages: Sequence[Message], parameters: dict[str, object]) -> Answered:
        self._account.check()
        started = time.monotonic()
        pictures = [hashlib.sha256(image).hexdigest() for message in messages for image in message.images]
        answered = self._requests.send([_as_sent(message) for message in messages], parameters, image_hashes=pictures)
        seconds = time.monotonic() - started
        self._account.add(
            prompt_tokens=answered.prompt_tokens, completion_tokens=answered.completion_tokens, seconds=seconds
        )
        if answered.prompt_tokens is None and self._account.budget.tokens is not None:
            raise ModelError(
                f"{self.name} does not count the tokens it used, so that a budget of tokens cannot be kept; leave "
                f"the budget out, or take another server"
            )
        return answered


def _reply(answered: Answered, *, value: BaseModel | None = None, before: Answered | None = None) -> Reply:
    parts = [part for part in (before, answered) if part is not None]
    return Reply(
        text=answered.text,
        value=value,
        prompt_tokens=sum(part.prompt_tokens or 0 for part in parts),
        completion_tokens=sum(part.completion_tokens or 0 for part in parts),
        repaired=before is not None,
        finish=answered.finish,
    )


def _hashed(message: Message) -> dict[str, object]:
    """What stands for a message in the hash of a question."""
    return {"role": message.role, "text": message.text, "images": [text_hash(image.hex()) for image in message.images]}


def _as_sent(message: Message) -> dict[str, object]:
    """A message as the interface wants it: pictures are data URLs."""
    if not message.images:
        return {"role": message.role, "content": message.text}
    pictures = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(image).decode()}"}}
        for image in message.images
    ]
    return {"role": message.role, "content": [{"type": "text", "text": message.text}, *pictures]}
