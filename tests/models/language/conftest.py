"""A server on this machine, and a cache folder of each test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snellen.models.language.references import KEY_VARIABLE
from tests.models.language.chat_server import ChatServer, chat_server


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running
