"""Errors say what came, what was expected, and how to fix it."""

import sys

import pytest

from snellen.core import errors
from snellen.core.errors import (
    InputError,
    MissingExtraError,
    SnellenError,
    UnknownNameError,
    import_extra,
    unknown_name,
)


def test_every_error_is_one_of_ours_and_fits_pythons():
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(ours) == 14
    assert all(issubclass(kind, SnellenError) for kind in ours)
    assert issubclass(InputError, ValueError)
    assert issubclass(UnknownNameError, InputError)
    assert issubclass(MissingExtraError, ImportError)


def test_an_unknown_name_lists_near_ones_and_all_known_ones_once():
    error = unknown_name("attack", "pdg", ["pgd", "fgsm", "pgd"])
    assert isinstance(error, UnknownNameError)
    assert str(error) == "unknown attack 'pdg'; did you mean 'pgd'? Known: fgsm, pgd"
    assert str(unknown_name("attack", "zzz", ["pgd"])) == "unknown attack 'zzz'. Known: pgd"
    assert str(unknown_name("attack", "zzz", [])) == "unknown attack 'zzz'. Known: none"
    assert "'gradcam' or 'gradcam_plus'" in str(unknown_name("x", "gradcams", ["gradcam_plus", "gradcam", "q"]))


def test_a_long_list_is_cut_with_its_length():
    message = str(unknown_name("layer", "zzz", [f"block{n:03d}" for n in range(1000)]))
    assert message.endswith("block019, … (1000 in all)")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_extra.py").write_text("import broken\n")
    (tmp_path / "broken_name.py").write_text("from json import no_such_thing\n")
    (tmp_path / "parent_only").mkdir()
    (tmp_path / "parent_only" / "__init__.py").write_text("")
    yield
    for name in ("broken_extra", "broken_name", "parent_only"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.models", "parent_only.models"])
def test_a_missing_package_names_the_extra(packages, module):
    with pytest.raises(MissingExtraError) as raised:
        import_extra(module, "models", "loading timm:resnet18")
    told = f"loading timm:resnet18 needs the package {module!r}; install it with: pip install 'snellen[models]'"
    assert str(raised.value) == told


@pytest.mark.parametrize(("module", "message"), [("broken_extra", "named 'broken'"), ("broken_name", "no_such_thing")])
def test_a_package_that_is_installed_but_broken_is_not_called_missing(packages, module, message):
    """The first one imports a package whose name begins its own, as onnxruntime and onnx."""
    with pytest.raises(ImportError, match=message) as raised:
        import_extra(module, "models", "loading")
    assert not isinstance(raised.value, MissingExtraError)


def test_an_installed_package_is_imported():
    assert import_extra("json.decoder", "models", "JSON").JSONDecoder
