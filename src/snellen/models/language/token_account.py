"""Requests to a language model and their cost, and replies that were paid for once, kept by their hash.

One JSON file for each reply. A file holds the reply and hashes, never the question: neither prompts nor pictures are
written to the disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.budget import Budget, Spent
from snellen.core.cache_folder import cache_folder
from snellen.core.run import canonical_json, write_atomically
from snellen.models.language.protocol import BudgetSpentError


class Prices(BaseModel):
    """What a million tokens cost, in a currency of the caller's.

    >>> Prices(prompt=0.5, completion=1.5).of(prompt_tokens=2_000_000, completion_tokens=1000)
    1.0015
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0, description="of a million tokens sent")
    completion: float = Field(ge=0, description="of a million tokens that came back")

    def of(self, *, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of these tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


@dataclass(frozen=True)
class Usage:
    """What was used so far; a record for reports.

    Attributes:
        calls: requests that were answered; a repair is one more.
        cache_hits: replies that were kept from earlier calls, and cost nothing now.
        prompt_tokens: tokens sent, as the server counts them.
        completion_tokens: tokens that came back.
        uncounted: answered requests whose tokens the server did not count.
        seconds: wall clock from sending to reply, waiting between retries included.
    """

    calls: int = 0
    cache_hits: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    seconds: float = 0.0

    @property
    def spent(self) -> Spent:
        """The same as what every verb spends."""
        return Spent(tokens=self.prompt_tokens + self.completion_tokens, seconds=self.seconds)

    def cost(self, prices: Prices) -> float:
        """What it cost at these prices."""
        return prices.of(prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens)


class TokenAccount:
    """Adds up what is used, from any thread, and stops when a budget is used up.

    >>> account = TokenAccount(Budget(tokens=100))
    >>> account.add(prompt_tokens=90, completion_tokens=10, seconds=0.5)
    >>> account.check()
    Traceback (most recent call last):
    snellen.models.language.protocol.BudgetSpentError: the budget is used up (tokens: 100 spent, 100 allowed)

    Args:
        budget: limits of tokens and seconds; what a language model does not use (queries, gradients) limits nothing.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self._usage, self._lock = Usage(), threading.Lock()

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        return self._usage

    def add(self, *, prompt_tokens: int | None, completion_tokens: int | None, seconds: float) -> None:
        """Count an answered request; None where the server counts no tokens."""
        counted = prompt_tokens is not None and completion_tokens is not None
        with self._lock:
            before = self._usage
            self._usage = replace(
                before,
                calls=before.calls + 1,
                prompt_tokens=before.prompt_tokens + (prompt_tokens or 0),
                completion_tokens=before.completion_tokens + (completion_tokens or 0),
                uncounted=before.uncounted + (not counted),
                seconds=before.seconds + seconds,
            )

    def add_hit(self) -> None:
        """Count a reply that was kept."""
        with self._lock:
            self._usage = replace(self._usage, cache_hits=self._usage.cache_hits + 1)

    def check(self) -> None:
        """Stop before a request when nothing is left for it.

        How many tokens a reply will have is not known before, so the last request may pass the limit.

        Raises:
            BudgetSpentError: a limit is reached, or passed.
        """
        spent, limits = self.usage.spent, self.budget
        reached = limits.exceeded(spent)
        if not reached and limits.tokens is not None and spent.tokens == limits.tokens:
            reached = [f"tokens: {spent.tokens} spent, {limits.tokens} allowed"]
        if not reached and limits.seconds is not None and spent.seconds == limits.seconds:
            reached = [f"seconds: {spent.seconds} spent, {limits.seconds} allowed"]
        if reached:
            raise BudgetSpentError(f"the budget is used up ({'; '.join(reached)})")


#: Largest entry that is read, bytes.
MAX_BYTES = 16 * 2**20
#: Counted up when entries of older versions must not be used any more.
FORMAT = 1

_log = logging.getLogger(__name__)


class KeptReply(BaseModel):
    """The content of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    key: str = Field(description="hash of the question")
    text: str = Field(description="the reply")
    text_sha256: str = Field(description="hash of the reply, which reveals a damaged file")
    prompt_tokens: int | None = Field(ge=0, description="tokens that were sent for it")
    completion_tokens: int | None = Field(ge=0, description="tokens that came back")
    repaired: bool = Field(description="whether a first reply had another form than requested")
    finish: str | None = Field(description="why the model stopped")


def question_key(question: Mapping[str, object]) -> str:
    """Hash (sha256) of the whole request: server, model, messages, parameters and schema.

    >>> question_key({"model": "m", "text": "a"}) == question_key({"text": "a", "model": "m"})
    True
    """
    return hashlib.sha256(canonical_json({"format": FORMAT, **question})).hexdigest()


def text_hash(text: str) -> str:
    """Hash (sha256) of a text."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


class ReplyCache:
    """Replies under a folder, by default ``language`` in the cache folder; it need not exist."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "language"

    def path(self, key: str) -> Path:
        """Where the reply to a question is kept."""
        return self.folder / key[:2] / f"{key}.json"

    def get(self, key: str) -> KeptReply | None:
        """The reply to a question, or None: also when its file is damaged, which is logged and requested anew."""
        path = self.path(key)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes")
            kept = KeptReply.model_validate(json.loads(path.read_text(encoding="utf-8")))
            if (kept.format, kept.key, kept.text_sha256) != (FORMAT, key, text_hash(kept.text)):
                raise ValueError("not the reply to this question")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            _log.warning("%s is not used: %s", path, str(error).splitlines()[0])
            return None
        return kept

    def put(self, kept: KeptReply) -> None:
        """Keep a reply; a disk that takes no file is logged, because the reply is worth more than its copy."""
        try:
            write_atomically(self.path(kept.key), canonical_json(kept.model_dump()))
        except (OSError, ValueError) as error:
            _log.warning("a reply cannot be kept in %s: %s", self.folder, error)
