"""Requests to a language model on a server: its address, which headers leave, how often one is tried again.

No redirect is followed, no proxy is used on the way to this machine, and no header but the few of
:data:`snellen.models.remote.connection.HEADERS` leaves. Each request is logged with size and hash, never with its
content.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from snellen.core.errors import InputError, ModelError
from snellen.core.rehearsal import check_may_send
from snellen.models.remote.connection import Key, client_options, shown
from snellen.models.remote.permission import AllowRemote, ServerUrl, ask_permission, permitting, read_url
from snellen.models.remote.retrying import FailedRequestError, Failure, Patience, answered, explained
from snellen.models.remote.sent_log import SentRequest, tell

_FORM = "http://127.0.0.1:8000/v1#MODEL"


@dataclass(frozen=True)
class ServerAddress:
    """Where requests go.

    Attributes:
        server: base of the interface, without the model.
        model: the model's name at the server.
    """

    server: ServerUrl
    model: str

    @property
    def url(self) -> str:
        """Base of the interface, in normal form."""
        return self.server.url

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine."""
        return self.server.loopback

    @property
    def encrypted(self) -> bool:
        """Whether the connection is."""
        return self.server.encrypted


def read_address(reference: str, *, allow_remote: AllowRemote = False) -> ServerAddress:
    """Read ``http(s)://HOST:PORT/v1#MODEL``.

    >>> address = read_address("http://127.0.0.1:8000/v1#llama")
    >>> address.url, address.model, address.loopback
    ('http://127.0.0.1:8000/v1', 'llama', True)

    Raises:
        InputError: not an address with a model; a user, password or query in it; another machine that is not allowed.
    """
    given, _, model = reference.partition("#")
    server = read_url(given, form=_FORM)
    if not model.strip():
        raise InputError(f"{given} names no model; write {given}#MODEL, with the name that the server knows it by")
    with permitting(allow_remote):
        ask_permission(server, "prompts and pictures")
    return ServerAddress(server, model)


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """The reply of a server.

    Attributes:
        text: the reply.
        finish: why the model stopped, where the server says so.
        prompt_tokens: tokens sent, as the server counts them; None where it does not.
        completion_tokens: tokens that came back; None where it does not count.
    """

    text: str
    finish: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


class Requests:
    """Sends requests to one server, each again after a failure that may pass: 408, 409, 429, 5xx, no connection.

    Args:
        openai: the module.
        address: the server.
        key: what it wants.
        patience: how long it is waited for; its time is that without a byte.
    """

    def __init__(self, openai: ModuleType, address: ServerAddress, *, key: Key, patience: Patience) -> None:
        self._openai, self._address, self._key, self._patience = openai, address, key, patience
        self._client = openai.OpenAI(
            base_url=address.url,
            api_key=key.secret or "none",
            max_retries=0,
            timeout=patience.timeout,
            http_client=openai.DefaultHttpxClient(**client_options(address.server, key, timeout=patience.timeout)),
        )

    def send(
        self,
        messages: Sequence[Mapping[str, object]],
        parameters: Mapping[str, object],
        *,
        image_hashes: Sequence[str] = (),
    ) -> Answered:
        """Send one request and read the answer.

        Args:
            messages: as the interface wants them.
            parameters: of the call.
            image_hashes: sha256 of each picture in the messages, for the record of what was sent.

        Raises:
            InputError: the server refuses the request: the key, the model's name, or something in it.
            ModelError: the server cannot be reached, does not recover, or answers with something else.
        """
        body = json.dumps(messages, ensure_ascii=False, sort_keys=True).encode("utf-8", errors="surrogatepass")
        address = self._address
        content = hashlib.sha256(body).hexdigest()
        check_may_send(address.url)

        def attempt(number: int) -> Answered:
            _log.info("sent to %s: %d bytes, sha256 %s, attempt %d", address.url, len(body), content, number)
            status = None
            try:
                answer = self._client.chat.completions.create(model=address.model, messages=messages, **parameters)
                status = 200
            except (self._openai.APIConnectionError, self._openai.APIStatusError) as error:
                status = getattr(error, "status_code", None)
                raise FailedRequestError(self._failure(error)) from None
            except (self._openai.OpenAIError, ValueError) as error:
                status = 200
                reason = self._key.hidden(f"{type(error).__name__}: {error}")
                raise ModelError(f"{address.url} answers with something that is no reply: {reason}") from None
            finally:
                tell(SentRequest(f"{address.url}/chat/completions", image_hashes, len(body), number, status))
            return _read(answer, address)

        return answered(
            attempt,
            patience=self._patience,
            url=address.url,
            explain=lambda failure: explained(
                failure, url=address.url, model=address.model, key=self._key, patience=self._patience
            ),
        )

    def _failure(self, error: Exception) -> Failure:
        status, response = getattr(error, "status_code", None), getattr(error, "response", None)
        reason_given = str(error if status is not None else error.__cause__ or error)
        return Failure(
            reason_given=self._key.hidden(reason_given),
            status=status,
            timed_out=isinstance(error, self._openai.APITimeoutError),
            retry_after=None if response is None else response.headers.get("retry-after"),
        )


def _read(answer: Any, address: ServerAddress) -> Answered:  # noqa: ANN401 - ChatCompletion, of an extra, not validated
    try:
        choice = answer.choices[0]
        text, finish = choice.message.content, choice.finish_reason
    except (AttributeError, IndexError, TypeError):
        raise ModelError(f"{address.url} answers with something that is no reply: {shown(str(answer))}") from None
    if not isinstance(text, str):
        refusal = getattr(choice.message, "refusal", None)
        why = f"it refuses: {shown(str(refusal))}" if refusal else f"its content is {text!r}"
        raise ModelError(f"{address.url}#{address.model} gives no text: {why}")
    usage = getattr(answer, "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    counted = all(isinstance(count, int) and count >= 0 for count in counts)
    sent, came = counts if counted else (None, None)
    return Answered(text, finish if isinstance(finish, str) else None, sent, came)
