"""What the experiments at full scale read: every variable is listed, and refused in a line of its own."""

import importlib
import tomllib
from pathlib import Path

import pytest

import snellen.reproduction
from snellen.core.errors import InputError
from snellen.core.system import find_system
from snellen.reproduction import full_inputs as checked
from snellen.reproduction.full_inputs import check_full_inputs, full_inputs
from snellen.reproduction.runner import reproduce

ROOM = Path(snellen.reproduction.__file__).parent
LISTED = tomllib.loads((ROOM / "full_inputs.toml").read_text(encoding="utf-8"))

#: Variables of other scales, and what names only begin with.
OTHERS = {"SNELLEN_STAMPS", "SNELLEN_FASHION_MNIST", "SNELLEN_PROMPTGEN"}


def named_in(value):
    """Names of variables in a value of a module."""
    if isinstance(value, str):
        return {value} if value.startswith("SNELLEN_") and value.replace("_", "").isalnum() else set()
    if isinstance(value, dict):
        return named_in([*value.keys(), *value.values()])
    return set().union(*map(named_in, value)) if isinstance(value, list | tuple) else set()


def read_by(system):
    """Variables that the modules of an experiment name."""
    found = set()
    for path in (ROOM / system).glob("*.py"):
        if "SNELLEN_" in path.read_text(encoding="utf-8"):
            module = importlib.import_module(f"snellen.reproduction.{system}.{path.stem}")
            found |= named_in(list(vars(module).values()))
            if system == "language_guided_augmentation":  # it makes the names where it reads them
                found |= {f"SNELLEN_SHORTCUTS_{name}" for name in (*module.NEEDED, *module.OPTIONAL)}
    return found - OTHERS


@pytest.mark.parametrize("system", [path.parent.name for path in sorted(ROOM.glob("*/claims.toml"))])
def test_every_variable_of_an_experiment_at_full_scale_is_listed(system):
    if any("full" in claim.scales for claim in find_system(system).claims):
        assert set(full_inputs(system)) == read_by(system)
    else:
        assert system not in LISTED, "nothing runs at full scale"


def test_a_line_for_each_variable_that_is_not_set(monkeypatch):
    with pytest.raises(InputError) as refused:
        check_full_inputs("guided_captions", {})
    head, *lines = str(refused.value).splitlines()
    assert head.startswith("the full experiment of guided_captions needs 7 environment variables")
    assert lines[0] == (
        "  SNELLEN_CAPTIONS_COCO is not set: the folder of MS-COCO with train2014 and val2014, for example "
        "SNELLEN_CAPTIONS_COCO='coco'"
    )
    assert len(lines) == 7, "optional ones are not asked for"


def test_what_is_not_there_is_refused_before_the_experiment_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    monkeypatch.setenv("SNELLEN_MIXUP_TRAIN", str(tmp_path / "train"))
    monkeypatch.setenv("SNELLEN_MIXUP_TEST", f"{tmp_path}/test#val")
    monkeypatch.setattr("snellen.reproduction.runner.load_experiment", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(InputError) as refused:
        reproduce("adversarial_mixup", scale="full")
    (line,) = str(refused.value).splitlines()[1:]
    assert f"SNELLEN_MIXUP_TEST={tmp_path}/test#val: there is no file or folder {tmp_path}/test;" in line
    assert "SNELLEN_MIXUP_TEST='cifar100/test'" in line


def test_each_of_several_references_must_be_there(tmp_path):
    (tmp_path / "one.pth").touch()
    victims = full_inputs("perturbation_estimation")["SNELLEN_PERTURBATION_VICTIMS"]
    one, two = (f"torchvision:vgg19@{tmp_path}/{name}.pth" for name in ("one", "two"))
    assert victims.missing_path(one) is None
    assert victims.missing_path(f"{one}, {two}") == f"{tmp_path}/two.pth"
    assert victims.missing_path("bundled:fashion-cnn") is None


@pytest.mark.parametrize("system", LISTED)
def test_examples_are_of_their_form(system, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, one in full_inputs(system).items():
        assert name.startswith("SNELLEN_")
        if one.form in ("reference", "path"):
            assert checked.FullInput(**one.model_dump()).missing_path(one.example) is not None, name
