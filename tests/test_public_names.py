"""The public surface is what is written down, and looking at it costs next to nothing."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from snellen.core import index

HERE = Path(__file__).parent
PACKAGES = (
    "snellen",
    "snellen.methods.attacks.perturbation",
    "snellen.metrics.sweep",
    "snellen.testing",
    "snellen.training",
)
REMEDY = "see 'Stability' in CONTRIBUTING.md, then run: python scripts/write_public_lists.py"


def exported():
    named = {f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(package).__all__}
    facades = [f"snellen.{area}" for area in index.AREAS if index.methods(area)]
    return sorted(named | {f"{facade}.{name}" for facade in facades for name in dir(importlib.import_module(facade))})


def run(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


@pytest.mark.usefixtures("registry")
def test_the_list_is_what_the_packages_export():
    assert (HERE / "public_names.txt").read_text(encoding="utf-8").split() == exported(), REMEDY


def test_the_earlier_name_of_preprocessing_warns_and_gives_the_same():
    snellen = importlib.import_module("snellen")
    with pytest.warns(DeprecationWarning, match=r"snellen.Preparation is snellen.Preprocessing now, and goes in 0.2"):
        earlier = snellen.Preparation
    assert earlier is snellen.Preprocessing
    assert "Preparation" not in dir(snellen)


@pytest.mark.usefixtures("registry")
def test_the_list_is_what_the_commands_take(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE.parent / "scripts"))
    lists = importlib.import_module("write_public_lists")
    assert lists.PACKAGES == PACKAGES
    found = lists.public_options()
    assert any(line.startswith("snellen audit: MODEL DATA --address ") for line in found)
    assert any(line.startswith("snellen attack pgd: ") and " --step-size " in line for line in found)
    assert (HERE / "public_options.txt").read_text(encoding="utf-8").splitlines() == found, REMEDY


@pytest.mark.parametrize("name", exported())
def test_every_name_is_there(name):
    package, _, attribute = name.rpartition(".")
    module = importlib.import_module(package)
    assert getattr(module, attribute) is not None
    assert attribute in dir(module)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_there_raises_as_usual(package):
    with pytest.raises(AttributeError, match="no_such_name"):
        importlib.import_module(package).no_such_name  # noqa: B018


def test_every_public_name_can_be_called_after_every_submodule_was_imported():
    """A submodule becomes an attribute of its package: it must never hide a function."""
    code = (
        "import importlib, pkgutil, types, snellen\n"
        "for module in pkgutil.walk_packages(snellen.__path__, 'snellen.'):\n"
        "    importlib.import_module(module.name)\n"
        "for name in snellen.__all__:\n"
        "    found = getattr(snellen, name)\n"
        "    if name == '__version__':\n"
        "        continue\n"
        "    assert not isinstance(found, types.ModuleType), name\n"
        "    try:\n"
        "        found(no_such_argument=None)\n"
        "    except (TypeError, snellen.core.errors.SnellenError, ValueError) as error:\n"
        "        assert 'not callable' not in str(error), name\n"
        "    else:\n"
        "        raise AssertionError(f'{name} took an argument that it does not have')\n"
        "assert len(snellen.list_systems()) == 39\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_verbs_are_functions_whatever_was_imported_first():
    code = (
        "import snellen.checks.check, snellen.core.system, snellen\n"
        "assert len(snellen.list_systems()) == 39 and snellen.audit.__name__ == 'audit' and callable(snellen.audit)\n"
        "from snellen.auditing.report import AuditReport\n"
        "assert callable(snellen.audit)"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_bare_import_loads_nothing_heavy():
    code = (
        "import sys, snellen\n"
        "assert snellen.__version__ and dir(snellen)\n"
        "print(*sorted({'torch', 'numpy', 'PIL', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    )
    done = run(code)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["audit", "--help"], ["systems"], ["reproduce", "-h"]]
)
def test_the_command_line_shows_without_loading_what_computes(arguments):
    code = (
        "import sys\n"
        "from snellen.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'pyarrow', 'jinja2', 'torchvision', 'timm'}\n"
        "    heavy |= {'pydantic'} if sys.argv[1:] == ['--help'] else set()\n"
        "    print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = run(code, *arguments)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout.strip()
