"""Replies that were paid for once, by the hash of everything that could change them.

One JSON file for each reply. A file holds the reply and hashes, never the question: neither prompts nor pictures are
written to the disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.cache_folder import cache_folder
from snellen.core.run import canonical_json, write_atomically

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
    text_sha256: str = Field(description="hash of the reply, which tells a damaged file")
    prompt_tokens: int | None = Field(ge=0, description="tokens that were sent for it")
    completion_tokens: int | None = Field(ge=0, description="tokens that came back")
    repaired: bool = Field(description="whether a first reply had another form than asked for")
    finish: str | None = Field(description="why the model stopped")


def question_key(asked: Mapping[str, object]) -> str:
    """Hash (sha256) of everything that is asked: server, model, messages, parameters and schema.

    >>> question_key({"model": "m", "text": "a"}) == question_key({"text": "a", "model": "m"})
    True
    """
    return hashlib.sha256(canonical_json({"format": FORMAT, **asked})).hexdigest()


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
        """The reply to a question, or None: also when its file is damaged, which is logged and asked anew."""
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
