"""The command as a user calls it."""

import importlib

import pytest

from snellen.cli import main


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder; returns exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["snellen", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return call


@pytest.fixture
def unread_images(monkeypatch):
    """Fail where a command reads images."""
    # Imported for the first time under the stand-in, these would keep it for the tests that follow.
    for module in ("snellen.auditing.audit", "snellen.auditing.job", "snellen.runs.given", "snellen.verbs.requests"):
        importlib.import_module(module)
    monkeypatch.setattr("snellen.data.references.load_images", lambda *_, **__: pytest.fail("images were read"))
