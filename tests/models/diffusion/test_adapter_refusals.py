"""Adapters that cannot be made, named or merged, and layers that are none."""

import sys

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError, MissingExtraError, UnknownNameError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.low_rank import SLIDER, LowRank, adaptable_layers
from tests.models.small_networks import make_unet, run

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def unet():
    return make_unet().requires_grad_(False)


@pytest.fixture
def adapters(unet):
    made = Adapters(unet)
    for seed, name in enumerate(["snow", "fog"]):
        made.add(name, SLIDER, rng=Randomness(seed))
    yield made
    made.unload()


def test_names_and_strengths_are_checked(adapters, unet):
    with pytest.raises(UnknownNameError, match="unknown adapter 'snoww'; did you mean 'snow'"):
        adapters.parameters("snoww")
    with pytest.raises(UnknownNameError), adapters.on({"rain": 1.0}):
        pass
    with pytest.raises(InputError, match="there is an adapter 'snow' already"):
        adapters.add("snow", SLIDER, rng=Randomness(0))
    with pytest.raises(InputError, match=r"letters, digits, - and _; got 'a\.b'"):
        adapters.add("a.b", SLIDER, rng=Randomness(0))
    for wrong in (torch.ones(2, 2), float("nan"), torch.tensor([1.0, float("inf")])):
        with (
            pytest.raises(InputError, match="'snow' is a number or one for each row, finite"),
            adapters.on({"snow": wrong}),
        ):
            pass
    message = r"one value for each of the 3 rows .* got \(2,\)"
    with pytest.raises(InputError, match=message), adapters.on({"snow": torch.ones(2)}):
        run(unet)
    with adapters.on({"snow": 1.0}), pytest.raises(InputError, match="'snow' is in use"):
        adapters.remove("snow")
    with pytest.raises(InputError, match=r"carries adapters already \(snow, fog\)"):
        Adapters(unet)


def test_layers_are_checked(unet):
    adapters = Adapters(unet)
    with pytest.raises(
        InputError, match=r"no Linear or Conv2d layer of the UNet2DConditionModel is called '\*\.norm1'"
    ):
        adapters.add("snow", LowRank(layers=("*.to_q", "*.norm1")), rng=Randomness(0))
    with pytest.raises(InputError, match=r"no layer of the UNet2DConditionModel is left: .* within \['Atention'\]"):
        adapters.add("snow", LowRank(within=("Atention",)), rng=Randomness(0))
    grouped = Adapters(nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 4, 3, groups=2)))
    before = repr(grouped.network)
    with pytest.raises(InputError, match=r"peft cannot put the adapter 'snow' on these layers: .*groups=2 and rank 3"):
        grouped.add("snow", LowRank(rank=3), rng=Randomness(0))
    assert grouped.names == ()
    assert repr(grouped.network) == before


def test_adapters_of_grouped_convolutions_are_not_merged():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))
    adapters = Adapters(network)
    adapters.add("snow", LowRank(rank=2), rng=Randomness(0))
    with pytest.raises(UnsupportedError, match="layer '0' is a grouped convolution"), adapters.merged({"snow": 1.0}):
        pass


def test_projections_that_torch_never_calls_are_no_layers():
    network = nn.Sequential(nn.MultiheadAttention(8, 2), nn.Linear(8, 8))
    assert list(adaptable_layers(network)) == ["1"]


def test_without_peft(monkeypatch):
    network = nn.Sequential(nn.Linear(4, 4))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"an adapter needs the package 'peft'.*snellen\[diffusion\]"):
        Adapters(network).add("snow", LowRank(rank=2), rng=Randomness(0))
    assert repr(network) == repr(nn.Sequential(nn.Linear(4, 4)))
