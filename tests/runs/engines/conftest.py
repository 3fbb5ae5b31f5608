"""Work that workers find by its name."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _piecework(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
