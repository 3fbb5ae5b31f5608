"""The full size by reference: a residual network, and ADM of 256 pixels before a classifier of 1,000 classes."""

from dataclasses import replace

import pytest
import torch
import torchvision
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.methods.smoothing.bounds import largest_radius
from snellen.models.classifiers.cifar_resnet import CifarResNet
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.reproduction.dual_smoothing import full
from snellen.reproduction.dual_smoothing.experiment import dual_smoothing
from snellen.training.fitting.frame import FittedMethod

VARIABLES = (full.TRAIN, full.TEST, full.IMAGENET, full.CLASSIFIER, full.DENOISER, full.FOLDER)
PLAN = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
TINY = replace(
    full.FULL, depth=8, plan=PLAN, further=PLAN, every=2, samples=100, imagenet=1, imagenet_samples=2, selection=1
)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    place = tmp_path_factory.mktemp("full")
    draws = torch.Generator().manual_seed(0)
    for part, count, side, names in (
        ("train", 6, 32, ("cat", "dog")),
        ("test", 4, 32, ("cat", "dog")),
        ("imagenet", 1, 256, ("tench",)),
    ):
        for at in range(count):
            folder = place / part / names[at % len(names)]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = torch.randint(256, (side, side, 3), generator=draws).byte().numpy()
            Image.fromarray(pixels).save(folder / f"{at}.png")
    torch.manual_seed(0)
    torch.save(torchvision.models.get_model("mobilenet_v3_small").state_dict(), place / "model.pth")
    return {
        full.TRAIN: str(place / "train"),
        full.TEST: str(place / "test"),
        full.IMAGENET: str(place / "imagenet"),
        full.CLASSIFIER: f"torchvision:mobilenet_v3_small@{place / 'model.pth'}",
        full.DENOISER: f"diffusers:{write_smoke_folder('adm-256', place / 'adm-256')}",
        full.FOLDER: str(place / "kept"),
    }


def test_full_names_what_it_lacks(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="SNELLEN_SMOOTHING_TRAIN, SNELLEN_SMOOTHING_TEST"):
        dual_smoothing("full", 0, Silent())


def test_full_measures_what_claims_name_and_trains_once(monkeypatch, references):
    for name, value in references.items():
        monkeypatch.setenv(name, value)
    found = full.full(0, Silent(), size=TINY)
    for claim in find_system("13").claims:
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or "full" not in claim.scales or name in found, name
    assert {gate.metric for gate in find_system("13").gates if "full" in gate.scales} <= set(found)
    assert len(found["cifar.gaussian.25.plain.acr"].values) == len(found["cifar.gaussian.25.dual.acr"].values) == 2
    # No radius is larger than so many samples can prove.
    most = largest_radius(1, TINY.samples, full.ALPHA, 0.5) + 1e-9
    assert 0 <= max(found["cifar.gaussian.50.plain.acr"].values) <= most
    dual, published = (found[f"cifar.gaussian.50.{way}.acr"].values for way in ("dual", "published"))
    assert all(one <= other + 1e-9 for one, other in zip(dual, published, strict=True))
    monkeypatch.setattr(FittedMethod, "fit", None)
    monkeypatch.setattr(full, "_denoised", lambda *given: {})
    again = full.full(0, Silent(), size=TINY)
    assert all(found[name] == value for name, value in again.items()), "trained networks are read and not made anew"
    for changed, words in (
        ({"depth": 14}, "whole holds a training with the network .*'depth': 8.*, not .*'depth': 14"),
        ({"plan": {**PLAN, "epochs": 2}}, "whole holds a training with plan "),
        ({"further": {**PLAN, "learning_rate": 1e-2}}, "halves holds a training with plan "),
    ):
        with pytest.raises(InputError, match=f"{words}.*: name a new folder"):
            full.full(0, Silent(), size=replace(TINY, **changed))
    monkeypatch.setenv(full.TRAIN, references[full.TEST])
    with pytest.raises(InputError, match=r"whole holds a training with images of hash '\w+', not '\w+': name a new"):
        full.full(0, Silent(), size=TINY)


def test_the_published_network_has_110_layers():
    network = CifarResNet()
    layers = [one for one in network.modules() if isinstance(one, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 110
    assert sum(one.numel() for one in network.parameters()) == 1_727_962
    assert full.FULL.depth == 110
    with pytest.raises(InputError, match="6 n"):
        CifarResNet(depth=18)
    with torch.no_grad():
        assert CifarResNet(depth=8, class_count=5).eval()(torch.rand(2, 3, 32, 32)).shape == (2, 5)


def test_the_published_numbers():
    assert (full.FULL.samples, full.FULL.every, full.FULL.imagenet_samples) == (100_000, 20, 10_000)
    assert full.ALPHA == 0.001
    assert list(full.FULL.arms) == [("gaussian", 0.25), ("gaussian", 0.5), ("consistency", 0.5)]
