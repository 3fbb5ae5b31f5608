"""A language model from a reference: ``http://HOST:PORT/v1#MODEL`` or ``file:FILE``."""

from __future__ import annotations

from pathlib import Path

from snellen.core.budget import Budget
from snellen.core.errors import InputError, import_extra, unknown_name
from snellen.models.language import listed_answers
from snellen.models.language.protocol import LanguageModel
from snellen.models.language.server_models import ServerLanguageModel, TokenLimit
from snellen.models.language.server_requests import Requests, read_address
from snellen.models.language.token_account import ReplyCache, TokenAccount
from snellen.models.remote.connection import read_key
from snellen.models.remote.permission import AllowRemote
from snellen.models.remote.retrying import Patience

#: The environment variable that a server's key is taken from. Not that of another program: its key is not ours to send.
KEY_VARIABLE = "SNELLEN_LANGUAGE_MODEL_KEY"

_FORMS = "http://127.0.0.1:8000/v1#MODEL, https://HOST/v1#MODEL, file:FILE.json, file:FILE.toml, file:FILE.txt"


def load_language_model(
    reference: str,
    *,
    allow_remote: AllowRemote = False,
    budget: Budget | None = None,
    cache: bool | Path = True,
    sees_images: bool = True,
    timeout: float = 60.0,
    retries: int = 4,
    backoff: float = 0.5,
    key_variable: str = KEY_VARIABLE,
    token_limit: TokenLimit = "max_tokens",  # noqa: S107 - a name, not a secret
) -> LanguageModel:
    """Load a language model; nothing is sent before the first question.

    >>> load_language_model("https://models.example/v1#large")
    Traceback (most recent call last):
    snellen.core.errors.InputError: models.example is another machine: prompts and pictures would leave this one. ...

    Args:
        reference: ``http://127.0.0.1:8000/v1#MODEL`` or ``https://…``, a server with the interface of OpenAI;
            ``file:FILE.json``, ``file:FILE.toml`` or ``file:FILE.txt``, lists that answer by key.
        allow_remote: other machines that prompts and pictures may be sent to, each by its exact name; True allows any.
        budget: most tokens and seconds; reached, the next request raises instead of being sent.
        cache: keep replies in the cache folder, or in this folder; False sends every time.
        sees_images: whether the model takes pictures.
        timeout: seconds without a byte from the server after which a request has failed.
        retries: how often a request is sent again after 408, 409, 429, 5xx or a lost connection.
        backoff: seconds before the first repetition; each further one waits twice as long.
        key_variable: environment variable with the key of the server; where it is not set, none is sent.
        token_limit: what the server calls the limit of a reply's tokens; newer models of OpenAI want
            ``max_completion_tokens``.

    Raises:
        InputError: a reference that cannot be used, another machine without ``allow_remote``, a key that would travel
            without encryption.
        MissingExtraError: the client is not installed.
    """
    scheme, colon, rest = reference.partition(":")
    if not colon or not rest:
        raise InputError(f"{reference!r} is not a language model; expected one of: {_FORMS}")
    if scheme == "file":
        return listed_answers.load(rest)
    if scheme not in ("http", "https"):
        raise unknown_name("kind of language model", scheme, ["http", "https", "file"])
    address = read_address(reference, allow_remote=allow_remote)
    patience = Patience(timeout=timeout, retries=retries, backoff=backoff)
    key = read_key(key_variable, address.server)
    requests = Requests(import_extra("openai", "llm", reference), address, key=key, patience=patience)
    kept = ReplyCache(cache if isinstance(cache, Path) else None) if cache else None
    return ServerLanguageModel(
        requests,
        address,
        account=TokenAccount(budget),
        cache=kept,
        token_limit=token_limit,
        sees_images=sees_images,
    )
