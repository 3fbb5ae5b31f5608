"""Files of measured figures."""

from snellen.reproduction.shared.documents import is_measured, measured_path, write_measured


def test_a_file_that_is_there_is_named(tmp_path, capsys):
    path = measured_path(tmp_path, "some/1000")
    path.parent.parent.mkdir(parents=True)
    assert not is_measured(path)
    assert capsys.readouterr().err == ""
    write_measured(path, {"seed": 1000})
    assert is_measured(path)
    said = capsys.readouterr().err
    assert str(path) in said
    assert "left alone" in said
