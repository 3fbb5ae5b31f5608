"""The full size by reference, on solids: every way at 224 pixels, judged on objects that nobody trained on."""

from dataclasses import replace

import pytest

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.data.references import load_images
from snellen.methods.recipes.supervised import Supervised
from snellen.reproduction.viewpoints import full
from snellen.reproduction.viewpoints.experiment import viewpoint_training
from snellen.reproduction.viewpoints.ways import WAYS
from snellen.systems.viewpoints.method import ViewpointAttack
from snellen.training.fitting.frame import FittedMethod

pytest.importorskip("timm")

VARIABLES = (full.TRAIN, full.TEST, full.FOLDER)
SOLIDS = "optotypes:solids?classes=mug,chair&objects=1&views=2&size=24"
TINY = replace(
    full.FULL,
    architecture="timm:test_resnet",
    plan={"epochs": 1, "batch_size": 4},
    added=1,
    search={"components": 3, "popsize": 3, "iterations": 1, "warm_iterations": 1},
    attack=ViewpointAttack(components=3, popsize=3, iterations=1, samples=2),
    test_views=2,
)


def test_full_names_what_it_lacks(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="SNELLEN_VIEWPOINTS_TRAIN, SNELLEN_VIEWPOINTS_TEST"):
        viewpoint_training("full", 0, Silent())


def test_full_measures_what_claims_name_and_trains_once(monkeypatch, tmp_path):
    monkeypatch.setenv(full.TRAIN, f"{SOLIDS}#train")
    monkeypatch.setenv(full.TEST, f"{SOLIDS}#test")
    monkeypatch.setenv(full.FOLDER, str(tmp_path))
    found = full.full(0, Silent(), size=TINY)
    for claim in find_system("11").claims:
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or "full" not in claim.scales or name in found, name
    assert {gate.metric for gate in find_system("11").gates if "full" in gate.scales} <= set(found)
    assert len(found["viat.natural"].values) == 4, "two test objects from two natural cameras"
    assert all(0 <= found[f"{way}.attacked"].mean <= 1 for way in ("standard", *WAYS))
    assert found["renders.searched"] > 0
    assert {path.name for path in (tmp_path / "seed-0").iterdir() if path.is_dir()} == {"standard", *WAYS}
    fit = FittedMethod.fit
    monkeypatch.setattr(FittedMethod, "fit", None)
    assert full.full(0, Silent(), size=TINY) == found, "trained ways are read and not made anew"
    with pytest.raises(InputError, match=r"standard holds a training with plan .*: name a new folder"):
        full.full(0, Silent(), size=replace(TINY, plan={"epochs": 2, "batch_size": 4}))
    with pytest.raises(InputError, match=r"natural holds a training with added_views 1, not 2: name a new folder"):
        full.full(0, Silent(), size=replace(TINY, added=2))
    monkeypatch.setenv(full.TRAIN, "optotypes:solids?classes=mug,chair&objects=1&views=3&size=24#train")
    with pytest.raises(InputError, match=r"standard holds a training with images of hash '\w+', not '\w+': name a new"):
        full.full(0, Silent(), size=TINY)
    monkeypatch.setenv(full.TRAIN, f"{SOLIDS}#train")
    monkeypatch.setattr(FittedMethod, "fit", fit)
    other = Supervised(architecture=TINY.architecture, side=TINY.side, plan={"epochs": 1, "batch_size": 2})
    other.fit(load_images(f"{SOLIDS}#train"), rng=Randomness(5)).save(tmp_path / "other")
    monkeypatch.setenv(full.BASE, str(tmp_path / "other"))
    with pytest.raises(InputError, match=r"natural holds a training with a base of hash '\w+', not '\w+': name a new"):
        full.full(0, Silent(), size=TINY)


def test_full_refuses_what_does_not_fit(monkeypatch, tmp_path):
    monkeypatch.setenv(full.FOLDER, str(tmp_path))
    monkeypatch.setenv(full.TRAIN, f"{SOLIDS}#train")
    monkeypatch.setenv(full.TEST, f"{SOLIDS}#train")
    with pytest.raises(InputError, match="is among the objects of"):
        full.full(0, Silent(), size=TINY)
    monkeypatch.setenv(full.TEST, "optotypes:solids?classes=mug,table&objects=1&views=2&size=24#test")
    with pytest.raises(InputError, match="different classes"):
        full.full(0, Silent(), size=TINY)
    monkeypatch.setenv(full.TRAIN, "optotypes:scenes?count=2")
    with pytest.raises(InputError, match="is no set of views"):
        full.full(0, Silent(), size=TINY)
