"""One request to a server: which headers leave, what is logged, how often it is tried again, and what went wrong.

No redirect is followed, no proxy is asked on the way to this machine, and no header but the few in :data:`HEADERS`
leaves. Each request is logged with size and hash, never with its content.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from snellen.errors import InputError, ModelError
from snellen.models.language.reply_form import shown
from snellen.models.language.server_address import ServerAddress

#: The headers that leave. The client would add the system, versions and settings of the environment.
HEADERS = frozenset(
    ("host", "content-type", "content-length", "accept", "accept-encoding", "authorization", "connection")
)
#: Longest time that a server may ask us to wait (``Retry-After``), and longest back-off, seconds.
LONGEST_WAIT = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """What a server said.

    Attributes:
        text: the reply.
        finish: why the model stopped, where the server says so.
        prompt_tokens: tokens sent, as the server counts them; None where it does not tell.
        completion_tokens: tokens that came back; None where it does not tell.
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
        secret: the key that it wants, or an empty text for none.
        key_variable: the environment variable that the key came from, for messages.
        timeout: seconds without a byte after which a request has failed.
        retries: how often a request is sent again.
        backoff: seconds before the first repetition; each further one waits twice as long.
    """

    def __init__(
        self,
        openai: ModuleType,
        address: ServerAddress,
        *,
        secret: str,
        key_variable: str,
        timeout: float,
        retries: int,
        backoff: float,
    ) -> None:
        self._openai, self._address, self._secret, self._key_variable = openai, address, secret, key_variable
        self._timeout, self._retries, self._backoff = timeout, retries, backoff
        self._client = openai.OpenAI(
            base_url=address.url,
            api_key=secret or "none",
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultHttpxClient(
                timeout=timeout,
                follow_redirects=False,
                trust_env=not address.loopback,  # a proxy of the environment is another machine
                event_hooks={"request": [self._strip]},
            ),
        )

    def send(
        self,
        messages: Sequence[Mapping[str, object]],
        parameters: Mapping[str, object],
    ) -> Answered:
        """Send one request and read the answer.

        Raises:
            InputError: the server refuses the request: the key, the model's name, or something in it.
            ModelError: the server cannot be reached, does not recover, or answers with something else.
        """
        body = json.dumps(messages, ensure_ascii=False, sort_keys=True).encode("utf-8", errors="surrogatepass")
        address = self._address
        content = hashlib.sha256(body).hexdigest()
        for attempt in range(self._retries + 1):
            _log.info("sent to %s: %d bytes, sha256 %s, attempt %d", address.url, len(body), content, attempt + 1)
            try:
                answer = self._client.chat.completions.create(model=address.model, messages=messages, **parameters)
            except (self._openai.APIConnectionError, self._openai.APIStatusError) as error:
                if attempt == self._retries or not self._may_pass(error):
                    raise self._told(error) from None
                wait = self._wait(error, attempt)
                _log.info("%s: %s; again in %.1f s", address.url, type(error).__name__, wait)
                time.sleep(wait)
            except (self._openai.OpenAIError, ValueError) as error:
                told = self._hidden(f"{type(error).__name__}: {error}")
                raise ModelError(f"{address.url} answers with something that is no reply: {told}") from None
            else:
                return _read(answer, address)
        raise AssertionError("a loop that always returns or raises")

    def _strip(self, request: Any) -> None:  # noqa: ANN401 - of an extra
        for name in list(request.headers):
            if name.lower() not in HEADERS:
                del request.headers[name]
        # A connection for each request: none is left open, and none has gone stale after a pause.
        request.headers["connection"] = "close"
        if self._secret:
            request.headers["authorization"] = f"Bearer {self._secret}"
        elif "authorization" in request.headers:
            del request.headers["authorization"]

    def _may_pass(self, error: Exception) -> bool:
        status = getattr(error, "status_code", None)
        return status is None or status in (408, 409, 429) or status >= 500

    def _wait(self, error: Exception, attempt: int) -> float:
        """Seconds until the next attempt: what the server asks for, or twice as long each time."""
        asked = math.nan
        if (response := getattr(error, "response", None)) is not None:
            try:
                asked = float(response.headers.get("retry-after", "nan"))
            except ValueError:  # a date, in the calendar of HTTP
                asked = math.nan
        wait = asked if asked >= 0 else self._backoff * 2.0**attempt
        return min(wait, LONGEST_WAIT)

    def _told(self, error: Exception) -> InputError | ModelError:
        """What went wrong, and how to mend it."""
        address = self._address
        tries = f" ({self._retries + 1} attempts)" if self._retries and self._may_pass(error) else ""
        if isinstance(error, self._openai.APITimeoutError):
            return ModelError(f"{address.url} did not answer within {self._timeout:g} s{tries}; raise timeout")
        status = getattr(error, "status_code", None)
        if status is None:
            cause = error.__cause__ or error
            return ModelError(
                f"{address.url} cannot be reached{tries}: {self._hidden(str(cause))}. Is the server running?"
            )
        said = self._hidden(str(error))
        if status in (401, 403):
            return InputError(
                f"{address.url} refuses the key ({said}); it is taken from the environment variable "
                f"{self._key_variable}, which is {'set' if self._secret else 'not set'}"
            )
        if status == 404:
            return InputError(f"{address.url} knows no model {address.model!r}, or no such interface ({said})")
        if 300 <= status < 400:
            return ModelError(
                f"{address.url} sends elsewhere ({status}), which is not followed; give the address itself"
            )
        if self._may_pass(error):
            return ModelError(f"{address.url} does not recover{tries}: {said}")
        return InputError(f"{address.url} refuses the request: {said}")

    def _hidden(self, text: str) -> str:
        """A text of the server, short and without the key."""
        return shown(text.replace(self._secret, "***") if self._secret else text)


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
    told = all(isinstance(count, int) and count >= 0 for count in counts)
    sent, came = counts if told else (None, None)
    return Answered(text, finish if isinstance(finish, str) else None, sent, came)
