"""The hash of an experiment's code knows its syntax, and neither its prose nor its layout."""

import ast
from types import SimpleNamespace

import pytest

from snellen.core.errors import InputError
from snellen.core.system import find_system, list_systems
from snellen.reproduction import experiment_code
from snellen.reproduction.experiment_code import experiment_hash, without_docstrings

CODE = '''"""A module."""

class Thing:
    """A thing."""

    def grow(self, by: int = 1) -> int:
        """More of it."""
        return by + 1  # why


def nothing():
    """Nothing else."""
'''


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment_code, "package", SimpleNamespace(root=lambda: tmp_path))
    system = find_system("smooth-inversion").model_copy(update={"name": "thing", "methods": ()})
    for room in ("systems", "reproduction"):
        (tmp_path / room / "thing").mkdir(parents=True)

    def write(code, room="systems", file="method.py"):
        (tmp_path / room / "thing" / file).write_text(code)
        return experiment_hash(system)

    return write


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""\n', ""),
        ("A thing", "Another thing"),
        ("  # why", ""),
        ("by + 1", "(by\n                + 1)"),
        ('"""Nothing else."""', "pass"),
    ],
)
def test_prose_and_layout_change_nothing(hashed, old, new):
    assert old in CODE
    assert hashed(CODE) == hashed(CODE.replace(old, new))


@pytest.mark.parametrize(("old", "new"), [("by + 1", "by + 2"), ("= 1)", "= 2)"), ("grow", "shrink")])
def test_code_changes_it(hashed, old, new):
    assert old in CODE
    assert hashed(CODE) != hashed(CODE.replace(old, new))


def test_both_folders_and_the_names_of_files_count(hashed):
    first = hashed(CODE)
    second = hashed(CODE, room="reproduction")
    assert len({first, second, hashed(CODE, file="other.py")}) == 3


@pytest.mark.parametrize("file", sorted(experiment_code.BESIDE))
def test_what_shows_a_record_does_not_change_it(hashed, file):
    assert hashed(CODE) == hashed("PICTURE = 1\n", room="reproduction", file=file)


def test_every_system_that_is_built_has_a_hash_of_its_own():
    built = [system for system in list_systems() if system.experiment is not None]
    assert len({experiment_hash(system) for system in built}) == len(built) >= 22


def test_a_textbook_method_that_a_system_is_made_of_counts():
    system = find_system("dual-smoothing")
    assert system.methods
    assert experiment_hash(system) != experiment_hash(system.model_copy(update={"methods": ()}))


def test_a_system_without_code_has_no_hash():
    unbuilt = list_systems()[0].model_copy(update={"name": "nowhere", "methods": ()})
    with pytest.raises(InputError, match="neither code of its own nor an experiment"):
        experiment_hash(unbuilt)


def test_a_text_that_is_no_docstring_stays():
    tree = without_docstrings(ast.parse("x = 'text'\ndef f():\n    y = 1\n    'not first'\n"))
    assert ast.unparse(tree) == "x = 'text'\n\ndef f():\n    y = 1\n    'not first'"
