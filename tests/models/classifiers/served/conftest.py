"""A server on this machine, no key in the environment, and waits that are noted instead of waited for."""

from collections.abc import Iterator

import pytest

from snellen.models.classifiers.served.loading import KEY_VARIABLE
from snellen.models.remote import retrying
from tests.models.classifiers.served.inference_server import InferenceServer, inference_server


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def server() -> Iterator[InferenceServer]:
    with inference_server() as running:
        yield running


@pytest.fixture
def other() -> Iterator[InferenceServer]:
    with inference_server() as running:
        yield running


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds between attempts."""
    noted: list[float] = []
    monkeypatch.setattr(retrying.time, "sleep", noted.append)
    return noted
