"""The record of what was sent: whole lines, at once, in order, from several processes."""

import datetime
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from snellen.models.remote.sent_log import SENT, SentRequest, append, sent_log, tell

REQUEST = SentRequest("http://127.0.0.1/v2/models/a/infer", ["0a", "0b"], 99, 1, 200)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / SENT).read_text().splitlines()]


def test_lines_are_held_back_until_there_is_a_folder(tmp_path: Path) -> None:
    with sent_log() as log:
        tell(REQUEST)
        assert len(log.lines) == 1
        log.into(tmp_path)
        assert [one["images"] for one in lines(tmp_path)] == [2]
        tell(REQUEST)
        assert len(lines(tmp_path)) == 2, "at once, not at the end"
        assert not log.lines
    tell(REQUEST)
    assert len(lines(tmp_path)) == 2


def test_nothing_sent_is_no_file(tmp_path: Path) -> None:
    with sent_log() as log:
        log.into(tmp_path)
    assert not list(tmp_path.iterdir())


def test_whoever_listens_hears_it(tmp_path: Path) -> None:
    with sent_log() as outer, sent_log() as inner:
        tell(REQUEST)
    assert outer.lines == inner.lines
    assert json.loads(outer.lines[0])["sha256"] == ["0a", "0b"]


def test_names_cannot_break_a_line(tmp_path: Path) -> None:
    append(tmp_path, [SentRequest("http://a/\n\u2028", [], 1, 1, None).line(datetime.datetime.now(datetime.UTC))])
    assert len(lines(tmp_path)) == 1


def test_half_a_line_that_a_full_disk_took_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(tmp_path, ["first\n"])
    room, write = [3], os.write

    def full(file: int, content: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content[: room.pop()])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        append(tmp_path, ["second\n"])
    monkeypatch.setattr(os, "write", write)
    append(tmp_path, ["third\n"])
    assert (tmp_path / SENT).read_text() == "first\nthird\n"


def test_several_processes_write_whole_lines(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from snellen.models.remote.sent_log import append\n"
        "for place in range(200):\n"
        "    append(pathlib.Path(sys.argv[1]), [sys.argv[2] * 5000 + chr(10)])\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), letter]) for letter in "ab"]
    assert [one.wait(60) for one in running] == [0, 0]
    written = (tmp_path / SENT).read_text().splitlines()
    assert sorted(written) == ["a" * 5000] * 200 + ["b" * 5000] * 200
