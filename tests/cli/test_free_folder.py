"""The folder that is written to when none is named."""

from pathlib import Path

from snellen.cli.filled_folder import free_folder


def test_the_first_number_that_is_free(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert free_folder("run") == Path("run-1")
    for name in ("run-1", "run-3", "other-2"):
        Path(name).mkdir()
    assert free_folder("run") == Path("run-2")
    Path("run-2").touch()
    assert free_folder("run") == Path("run-4")
    assert free_folder("other") == Path("other-1")
