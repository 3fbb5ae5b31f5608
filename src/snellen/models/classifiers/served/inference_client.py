"""One request to a server of classifiers: its rate, its time, the size of its answer, how often it is repeated."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snellen.core.errors import ModelError
from snellen.core.rehearsal import check_may_send
from snellen.models.classifiers.served.server_reference import ServedModel
from snellen.models.classifiers.served.tensor_messages import JSON_LENGTH
from snellen.models.remote.connection import HEADERS, Deadline, Key, client_options
from snellen.models.remote.retrying import FailedRequestError, Failure, Patience, answered, explained
from snellen.models.remote.sent_log import SentRequest, tell

#: Largest answer that is read, bytes.
LARGEST_ANSWER = 64 * 2**20

#: As much is read of an answer that only reports an error, bytes.
_SHOWN = 4096


@dataclass(frozen=True)
class InferenceAnswer:
    """An answer: its body, and its headers by names in small letters."""

    body: bytes
    headers: Mapping[str, str]


class InferenceClient:
    """Sends requests to the server of one model, one after another.

    Args:
        httpx: the module of the client.
        model: where it is served, and how requests look.
        key: what the server wants.
    """

    def __init__(self, httpx: Any, model: ServedModel, key: Key) -> None:  # noqa: ANN401 - an extra
        self._httpx, self._model, self._key = httpx, model, key
        settings = model.settings
        self._patience = Patience(settings.timeout, settings.retries, settings.backoff)
        timeout = httpx.Timeout(settings.timeout, connect=settings.connect)
        options = client_options(model.server, key, timeout=timeout, headers={*HEADERS, JSON_LENGTH}, keep_open=True)
        self._client = httpx.Client(**options)
        weakref.finalize(self, self._client.close)
        self._deadline = Deadline()
        self._earliest = 0.0
        #: Whether the server was gone, or out of order, since somebody last set this to False.
        self.interrupted = False

    def get(self, url: str) -> InferenceAnswer:
        """Ask for a description; errors as :meth:`post`."""
        return self._answered("GET", url, None, {}, ())

    def post(self, url: str, body: bytes, headers: Mapping[str, str], image_hashes: Sequence[str]) -> InferenceAnswer:
        """Send images.

        Args:
            url: where to.
            body: of the request.
            headers: that it needs.
            image_hashes: sha256 of each image, for the record of what was sent.

        Raises:
            InputError: the server refuses the request: the key, the model's name, or something in it.
            ModelError: the server cannot be reached, does not recover, or its answer is too large.
        """
        return self._answered("POST", url, body, headers, image_hashes)

    def _answered(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], image_hashes: Sequence[str]
    ) -> InferenceAnswer:
        check_may_send(url)

        def attempt(number: int) -> InferenceAnswer:
            self._wait_for_turn()
            status: list[int] = []
            try:
                return self._attempt(method, url, body, headers, status)
            except FailedRequestError as error:
                self.interrupted |= error.failure.status is None or error.failure.status >= 500
                raise
            finally:
                if body is not None:
                    tell(SentRequest(url, image_hashes, len(body), number, status[0] if status else None))

        return answered(
            attempt,
            patience=self._patience,
            url=url,
            explain=lambda failure: explained(
                failure, url=self._model.server.url, model=self._model.name, key=self._key, patience=self._patience
            ),
        )

    def _attempt(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], status: list[int]
    ) -> InferenceAnswer:
        sent = {**headers, "accept": "application/json", "accept-encoding": "identity"}
        traced = {"trace": self._deadline.seen}
        with self._deadline.within(self._patience.timeout) as over:
            try:
                with self._client.stream(method, url, content=body, headers=sent, extensions=traced) as response:
                    status.append(response.status_code)
                    whole = response.status_code == 200
                    content = self._read(response, LARGEST_ANSWER if whole else _SHOWN, cut=not whole)
                    came = {name.lower(): value for name, value in response.headers.items()}
            except self._httpx.TransportError as error:
                timed_out = over.is_set() or isinstance(error, self._httpx.TimeoutException)
                reason = self._key.hidden(str(error) or type(error).__name__)
                raise FailedRequestError(Failure(reason, timed_out=timed_out)) from None
            if over.is_set():  # the end of a body without a length may be that of the time
                raise FailedRequestError(Failure("the answer trickles in", timed_out=True))
        if not whole:
            reason = self._key.hidden(f"{status[0]} {_error_in(content)}")
            raise FailedRequestError(Failure(reason, status=status[0], retry_after=came.get("retry-after")))
        return InferenceAnswer(content, came)

    def _read(self, response: Any, limit: int, *, cut: bool) -> bytes:  # noqa: ANN401 - an extra
        """The body, as it came."""
        if response.headers.get("content-encoding", "identity") != "identity" and not cut:
            raise ModelError(f"{self._model.server.url} answers in a packed form, which was not requested")
        parts, size = [], 0
        for part in response.iter_raw():
            parts.append(part)
            size += len(part)
            if size > limit:
                if cut:
                    break
                raise ModelError(
                    f"{self._model.server.url} answers with more than {limit} bytes, which is too much for scores"
                )
        return b"".join(parts)[:limit]

    def _wait_for_turn(self) -> None:
        """Keep to the rate."""
        if not self._model.settings.rate:
            return
        now = time.monotonic()
        if now < self._earliest:
            time.sleep(self._earliest - now)
        self._earliest = max(now, self._earliest) + 1 / self._model.settings.rate


def _error_in(content: bytes) -> str:
    """What an answer says is wrong, in the form of the protocol or in any other."""
    text = content.decode(errors="replace").strip()
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return str(answer["error"]) if isinstance(answer, dict) and "error" in answer else text
