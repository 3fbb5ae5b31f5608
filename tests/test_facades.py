"""``from snellen.attacks import PGD``: short files that offer what the index holds, typed and lazy."""

import importlib
import subprocess
import sys

import pytest

from snellen.core import index, package

FACADES = [area for area in index.AREAS if (package.root() / f"{area}.py").is_file()]

#: A facade stays a list of names.
MOST_LINES = 60


@pytest.mark.parametrize("area", FACADES)
def test_a_facade_offers_every_method_of_its_area_by_its_class(area):
    module = importlib.import_module(f"snellen.{area}")
    entries = index.methods(area).values()
    assert {entry.class_name for entry in entries} == set(dir(module))
    for entry in entries:
        assert getattr(module, entry.class_name) is entry.load()
    with pytest.raises(AttributeError, match="no_such_method"):
        module.no_such_method  # noqa: B018


@pytest.mark.parametrize("area", FACADES)
def test_a_facade_tells_type_checkers_the_same_names(area):
    text = package.text(f"{area}.py")
    assert len(text.splitlines()) <= MOST_LINES
    written = [entry for entry in index.methods(area).values() if entry.registered is None]
    assert written
    for entry in written:  # what examples register in this process stands in no file
        module, _, name = entry.target.partition(":")
        assert f"    from {module} import {name} as {name}\n" in text


def test_every_area_with_methods_has_a_facade():
    assert set(FACADES) == {area for area in index.AREAS if index.methods(area)}


def test_a_facade_imports_what_is_used_and_nothing_else():
    code = (
        "import sys\n"
        "from snellen.attacks import FGSM\n"
        "import snellen.recipes\n"
        "assert FGSM.name == 'fgsm'\n"
        "assert 'snellen.methods.attacks.square' not in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('snellen.methods.recipes')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
