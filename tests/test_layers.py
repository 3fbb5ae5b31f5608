"""Imports go down only: the contracts in the project file hold for the code as it is, and name all of it."""

import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import snellen
from snellen.core import index, package

ROOT = Path(__file__).parents[1]

#: Files that offer the methods of an area under their class names.
FACADES = set(index.AREAS) - {"architecture_search"}

#: More rooms than this, and nobody finds one in a minute.
MOST_ROOMS = 16


def lint(folder):
    """Check the contracts of one working copy on its sources."""
    pytest.importorskip("importlinter")
    code = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache', '--no-logo'])"
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A working copy that may be spoilt."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_contracts_are_kept():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_there_are_few_rooms_and_the_contract_names_each():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (top,) = [one for one in contracts if one["type"] == "layers" and one["containers"] == ["snellen"]]
    assert top["exhaustive"] is True
    rooms = {module.name for module in pkgutil.iter_modules(snellen.__path__) if module.ispkg}
    assert len(rooms) <= MOST_ROOMS
    named = {name.strip() for layer in top["layers"] for name in layer.split("|")}
    assert named == rooms | FACADES | {"version", "__main__"}


def test_no_room_has_the_name_of_a_public_function():
    rooms = {module.name for module in pkgutil.iter_modules(snellen.__path__)}
    assert rooms & set(snellen.__all__) == set()


@pytest.mark.parametrize(
    ("path", "line", "broken"),
    [
        (
            "core/errors.py",
            "from snellen.methods.attacks.pgd import PGD",
            "snellen.core.errors -> snellen.methods.attacks.pgd",
        ),
        (
            "systems/viewpoints/search.py",
            "from snellen.systems.perception.layer import PerceptualLayer",
            "snellen.systems.viewpoints.search -> snellen.systems.perception.layer",
        ),
        (
            "auditing/audit.py",
            "from snellen.systems.smooth_inversion.method import Backdoor",
            "snellen.auditing.audit -> snellen.systems.smooth_inversion.method",
        ),
        (
            "methods/attacks/fgsm.py",
            "from snellen.methods.recipes.cutmix import CutMix",
            "snellen.methods.attacks.fgsm -> snellen.methods.recipes.cutmix",
        ),
    ],
)
def test_an_import_that_goes_up_or_across_breaks_them(copied, path, line, broken):
    spoilt = copied / "src" / "snellen" / path
    before = spoilt.read_text(encoding="utf-8")
    spoilt.write_text(f"{before}\n{line}  # noqa\n", encoding="utf-8")
    try:
        done = lint(copied)
    finally:
        spoilt.write_text(before, encoding="utf-8")
    assert done.returncode == 1
    assert broken in " ".join(done.stdout.split())


def test_a_room_that_no_contract_names_breaks_them(copied):
    (copied / "src" / "snellen" / "attic").mkdir()
    (copied / "src" / "snellen" / "attic" / "__init__.py").write_text('"""Things."""\n')
    try:
        done = lint(copied)
    finally:
        shutil.rmtree(copied / "src" / "snellen" / "attic")
    assert done.returncode == 1
    assert "attic" in done.stdout


@pytest.mark.parametrize("room", ["auditing", "verbs", "cli"])
def test_no_system_is_named_above_its_room(room):
    """Not by an import, and not by a dotted path in a text either: that is an import which no contract sees."""
    named = re.compile(r"snellen\.systems\.(\w+)")
    for path in sorted((package.root() / room).rglob("*.py")):
        assert named.findall(path.read_text(encoding="utf-8")) == [], path


@pytest.mark.parametrize("room", ["core", "data", "metrics", "models", "training", "runs", "checks", "methods"])
def test_what_lies_below_names_no_system_in_a_text(room):
    named = re.compile(r"[\"']snellen\.systems\.\w+")
    for path in sorted((package.root() / room).rglob("*.py")):
        assert named.findall(path.read_text(encoding="utf-8")) == [], path


def test_every_system_has_one_name_everywhere():
    names = set(index.system_tables())
    folders = {path.name for path in (package.root() / "systems").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == names
    for place in (package.root() / "reproduction", ROOT / "tests" / "systems", ROOT / "tests" / "reproduction"):
        found = {path.name for path in place.iterdir() if path.is_dir() and path.name[0] != "_"} - {"shared"}
        assert found <= names, place
    assert {path.stem for path in (ROOT / "docs" / "systems").glob("*.md")} - {"README", "claims"} <= names
    assert {path.stem for path in (ROOT / "results").glob("*.json")} <= names
