"""What labelling costs, in calls and tokens, and what it may cost; and a store of replies that were paid for once.

A cost belongs to what was bought: a label that is taken from the store counts what it cost when it was made. So the sum
does not depend on how often a run was interrupted.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import weakref
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError, ModelError
from snellen.core.run import canonical_json


class Cost(BaseModel):
    """Calls and tokens; adds up.

    >>> Cost(captions=1, questions=4) + Cost(questions=2)
    Cost(captions=1, questions=6, judgements=0, texts=0, tokens=0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    captions: int = Field(0, ge=0, description="images that were described")
    questions: int = Field(0, ge=0, description="questions that were answered, one image and one question each")
    judgements: int = Field(0, ge=0, description="requests to the language model about one image, repairs included")
    texts: int = Field(0, ge=0, description="requests to the language model about the concept, repairs included")
    tokens: int = Field(0, ge=0, description="of the language model, sent and received")

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{name: value + getattr(other, name) for name, value in self})

    @property
    def calls(self) -> int:
        """Of all models together."""
        return self.captions + self.questions + self.judgements + self.texts

    @classmethod
    def sum(cls, costs: Iterable[Cost]) -> Cost:
        """Of several."""
        total = cls()
        for one in costs:
            total += one
        return total


class Limits(BaseModel):
    """Most calls and tokens of a labelling; None is no limit. The same limits stop at the same image every time.

    >>> Limits(calls=10).allow(Cost(captions=5), Cost(captions=1, questions=4))
    True
    >>> Limits(calls=10).allow(Cost(captions=6), Cost(captions=1, questions=4))
    False
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int | None = Field(None, ge=1, description="calls of all models together")
    tokens: int | None = Field(None, ge=1, description="tokens of the language model, sent and received")

    def allow(self, spent: Cost, next_one: Cost) -> bool:
        """Whether another image, which costs at most ``next_one``, may be labelled.

        How many tokens a reply has is not known before: with a limit of tokens, the last image may pass it.
        """
        if self.calls is not None and spent.calls + next_one.calls > self.calls:
            return False
        return self.tokens is None or spent.tokens < self.tokens


def key_of(*parts: object) -> str:
    """Hash of JSON values (sha256, hex)."""
    return hashlib.sha256(canonical_json(list(parts))).hexdigest()


class PaidError(ModelError):
    """A model that failed after something had been paid for.

    Args:
        message: of the failure.
        cost: of the failed request and of those before it that belong to the same reply.
    """

    def __init__(self, message: str, cost: Cost) -> None:
        super().__init__(message)
        self.cost = cost


_log = logging.getLogger(__name__)


class Store:
    """Labels and replies by key, in one SQLite file or, without a path, in memory.

    Rows of a definition are under its hash, so that a corrected one takes none of the former, which stay.

    Args:
        path: of the file; its folder is made.

    Raises:
        InputError: a file that is none, or a place that cannot be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(path or ":memory:", timeout=60)
            weakref.finalize(self, self._rows.close)
            self._rows.execute(
                "create table if not exists kept (about text, key text, value text, primary key (about, key))"
            )
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"{path} cannot be used to keep labels ({error}); name another file") from error

    def get(self, about: str, key: str) -> str | None:
        """What was kept, or None."""
        found = self._rows.execute("select value from kept where about = ? and key = ?", (about, key)).fetchone()
        return None if found is None else str(found[0])

    def put(self, about: str, key: str, value: str) -> None:
        """Keep a text; a disk that takes none is logged, because the reply is worth more than its copy."""
        try:
            with self._rows:
                self._rows.execute("insert or replace into kept values (?, ?, ?)", (about, key, value))
        except sqlite3.Error as error:
            _log.warning("a label cannot be kept: %s", error)
