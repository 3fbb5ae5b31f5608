"""What a command says that stops before its end."""

from pathlib import Path

import pytest

from snellen.cli.filled_folder import show_how_to_resume
from snellen.core.errors import InputError, UnreachableError, UnwritableError


@pytest.mark.parametrize("error", [KeyboardInterrupt, UnreachableError, UnwritableError])
@pytest.mark.parametrize("given", [True, False])
def test_how_to_go_on(tmp_path, capsys, error, given):
    folder = tmp_path / "my run"
    folder.mkdir()
    with pytest.raises(error), show_how_to_resume(folder, folder if given else None):
        raise error("why")
    again = "the same command resumes" if given else f"the same command with --out '{folder}' resumes"
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"stopped; {folder} is incomplete, and {again} where this stopped\n"


def test_where_nothing_was_begun_there_is_nothing_to_go_on_with(tmp_path, capsys):
    folder = Path(tmp_path, "none")
    for error in (UnwritableError("full"), UnreachableError("away")):
        with pytest.raises(type(error)), show_how_to_resume(folder, None):
            raise error
    assert capsys.readouterr().err == ""
    with pytest.raises(KeyboardInterrupt), show_how_to_resume(folder, None):
        raise KeyboardInterrupt
    assert "stopped;" in capsys.readouterr().err


def test_other_errors_pass_untold(tmp_path, capsys):
    with pytest.raises(InputError), show_how_to_resume(tmp_path, None):
        raise InputError("wrong")
    assert capsys.readouterr().err == ""
