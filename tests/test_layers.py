"""Imports go down only: the contract in the project file holds for the code as it is, and names all of it."""

import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import snellen

ROOT = Path(__file__).parents[1]

#: Packages that hold data and no code.
DATA = {"systems"}


def contracts():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def lint(folder):
    """Run the contract of one working copy on its sources."""
    pytest.importorskip("importlinter")
    code = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache', '--no-logo'])"
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment)


def test_the_contract_is_kept():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_every_module_has_its_floor():
    layers = [layer for contract in contracts() for layer in contract["layers"]]
    named = {name.strip(" ()") for layer in layers for name in layer.replace(":", "|").split("|")}
    assert {module.name for module in pkgutil.iter_modules(snellen.__path__)} - DATA - named == set()


def test_an_import_that_goes_up_breaks_it(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "src" / "snellen" / "errors.py").open("a", encoding="utf-8") as module:
        module.write("\nfrom snellen.methods.attacks.pgd import PGD  # noqa\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "snellen.core.errors -> snellen.methods.attacks.pgd" in done.stdout
