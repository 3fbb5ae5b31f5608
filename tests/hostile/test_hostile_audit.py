"""An audit of a folder full of hostile files: it ends, names each, counts each good one, and reads nothing outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.auditing.parsed_page import Page
from tests.hostile.folders import CLASSES, NAMES, Corpus, build_folder

ROOT = Path(__file__).parents[2]
LONG_AGO = 1_000_000_000


@dataclass
class Audited:
    corpus: Corpus
    run: Path
    printed: str
    opened: list[Path]
    read_before: int


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """The corpus, audited once by the command, with every opening written down."""
    place = tmp_path_factory.mktemp("hostile")
    corpus = build_folder(place)
    secret = corpus.outside / "secret.png"
    os.utime(secret, (LONG_AGO, LONG_AGO))
    names = place / "names.txt"
    names.write_text("\n".join([*CLASSES, *(f"class {number}" for number in range(8))]) + "\n")
    checks = "clean,calibration,discrimination,label_noise,duplicates,data_quality,slices"
    command = [sys.executable, "-m", "tests.hostile.watched_audit", place / "opened.txt", "audit"]
    command += ["bundled:fashion-cnn", corpus.root, "--classes", names, "--checks", checks, "--out", place / "run"]
    done = subprocess.run(
        [*map(str, command), "--workers", "2", "--allow-rejected"],
        cwd=ROOT, capture_output=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    printed = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, printed
    opened = [Path(os.fsdecode(line)) for line in (place / "opened.txt").read_bytes().splitlines()]
    return Audited(corpus, place / "run", printed, opened, LONG_AGO)


def test_there_are_many(audited: Audited) -> None:
    assert len(audited.corpus.bad) >= 100
    assert len(audited.corpus.good) >= 80


def test_each_bad_file_is_named_with_its_reason_and_no_other(audited: Audited) -> None:
    rejected = {row["id"]: row["reason"] for row in json.loads((audited.run / "rejected.json").read_text())}
    assert rejected.keys() == audited.corpus.bad.keys()
    for name, pattern in audited.corpus.bad.items():
        assert re.search(pattern, rejected[name]), (name, rejected[name])


def test_each_good_file_is_counted(audited: Audited) -> None:
    data = json.loads((audited.run / "report.json").read_text())["data"]
    assert data["used"] == len(audited.corpus.good)
    assert data["rejected"] == len(audited.corpus.bad)


def test_nothing_outside_is_read_or_listed(audited: Audited) -> None:
    assert len(audited.opened) > 100
    assert any(path.is_relative_to(audited.corpus.root) for path in audited.opened), "the watch sees what is read"
    outside = [path for path in audited.opened if path.is_relative_to(audited.corpus.outside)]
    assert not outside
    assert not {Path("/etc/passwd"), Path("/dev/zero")} & set(audited.opened)
    assert (audited.corpus.outside / "secret.png").stat().st_atime == audited.read_before


def test_nothing_is_written_beside_the_run(audited: Audited) -> None:
    place = audited.run.parent
    assert sorted(path.name for path in place.iterdir()) == ["data", "names.txt", "opened.txt", "outside", "run"]
    assert not list(ROOT.glob("pwned"))


def test_names_in_the_page_are_text(audited: Audited) -> None:
    source = (audited.run / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert len(page.all("script")) == source.count("<script") == 1
    for name in [*NAMES, *CLASSES]:
        if "<" in name or '"' in name:
            assert name not in source, name
    for element in page.elements:
        assert not any(name.startswith("on") for name in element.attributes), element
    assert all(image.attributes["src"].startswith("data:") for image in page.all("img"))
    text = " ".join(element.text for element in page.elements)
    assert "<script>alert(1)<" in text, "the name itself is shown"


def test_names_on_the_terminal_are_text(audited: Audited) -> None:
    assert not set("\x1b\x07\x9b\x7f\u202e\u2066") & set(audited.printed)
