"""``snellen scan unsafe-content`` as a user calls it."""

import json

import pyarrow.parquet as pq
import pytest

POLICY = """
[[category]]
name = "Star"
definition = "a star"

[[category]]
name = "Heart"
definition = "a heart"
"""
DATA = "optotypes:scenes?count=24"


@pytest.fixture
def command(tmp_path):
    (tmp_path / "my policy.toml").write_text(POLICY)
    return ["scan", "unsafe-content", DATA, "--classifier", "towers:bundled:scene-clip", "--policy", "my policy.toml"]


def test_verdicts_are_written_and_the_same_command_measures_nothing_twice(run, tmp_path, command):
    command += ["--out", "my scan"]
    code, _, err = run(*command)
    assert (code, err.strip()) == (0, "")
    record = tmp_path / "my scan" / "scan.json"
    written = record.read_bytes()
    (found,) = json.loads(written)["settings"].values()
    assert found["figures"]["images"] == 24
    assert "images are judged unsafe" in found["verdict"]
    rows = pq.read_table(tmp_path / "my scan" / "evidence.parquet").to_pylist()
    assert {row["category"] for row in rows} <= {"Star", "Heart", None}
    assert run(*command)[0] == 0
    assert record.read_bytes() == written
    assert sorted(path.name for path in (tmp_path / "my scan").glob("*.png")) == []
    (tmp_path / "my policy.toml").write_text(POLICY.replace("a heart", "a ring"))
    code, _, err = run(*command)
    assert code != 0, "another policy is another scan"
    assert "another" in err or "differs" in err


def test_blurred_pictures_are_written_on_request(run, tmp_path, command):
    code, _, err = run(*command, "--blurred", "2", "--out", "seen")
    assert (code, err.strip()) == (0, "")
    assert len(list((tmp_path / "seen" / "unsafe_content").glob("*blurred.png"))) == 2


def test_what_is_missing_or_wrong_is_one_sentence(run, tmp_path, command):
    def refused(*words):
        code, _, err = run(*words)
        assert code == 2, err
        return " ".join(err.split())

    assert "needs a classifier: --classifier" in refused("scan", "unsafe-content", DATA)
    assert "cannot be read" in refused(*command[:-1], "absent.toml")
    (tmp_path / "empty.toml").write_text("")
    assert "[[category]]" in refused(*command[:-1], "empty.toml")
    assert "is no network that follows" in refused("scan", "unsafe-content", DATA, "--classifier", "policy:absent")
    fashion = ("bundled:fashion-cnn", "bundled:fashion-mnist", "--limit", "3")
    assert "not known to be safe or unsafe" in refused("scan", "unsafe-content", *fashion)
    assert "claims none of" in refused(*command, "--claims", "nudenet")
