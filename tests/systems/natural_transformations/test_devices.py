"""Inversion, filter and search on a pretended GPU: nothing mixes devices, and values are those of the CPU."""

import copy

import pytest
import torch
from torch import nn

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.systems.natural_transformations.editing import EditSettings, inverted, prepare_editing
from snellen.systems.natural_transformations.inversion import InversionSettings, render
from snellen.training.batches import ImageStore
from tests.pretended_gpu import CPU, GPU, pretended_gpu
from tests.systems.natural_transformations.parts import autoencoder, codes_of, split

COUNT = 12


class Brightness(nn.Module):
    def __init__(self, slope):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([slope]))

    def forward(self, images):
        level = self.slope * (images.mean((1, 2, 3)) - 0.5)
        return torch.stack([-level, level], 1)


def edited(device, store, search):
    settings = EditSettings(
        algorithm="closed_form", count=2, most_changed=1.0, least_visible=0.0, least_psnr=0.0, draws=2, search=search
    )
    made, trained = autoencoder().to(device), Brightness(-1.0)
    coded = inverted(made, store, InversionSettings(codes=2, steps=2, expansion_steps=2), rng=Randomness(0))
    judge = Brightness(20.0).to(device)
    editing = prepare_editing(*coded, store.targets, judge, settings, rng=Randomness(1), trained=trained)
    assert next(trained.parameters()).device == CPU, "the network stays where it is"
    edits, rows = editing.supply(), torch.arange(4)
    labels = store.targets[rows].to(device)
    images = edits.searched(judge, rows, labels, Randomness(2).bind(4), editing.epsilon)
    return images, editing, made.codes(store.images)


@pytest.mark.parametrize("search", ["worst_of_q", "pga"])
def test_edits_on_a_gpu_are_those_of_the_cpu(search):
    pixels = (render(split(), coded()) * 255).round().byte()
    labels = Brightness(20.0)(to_unit(pixels)).argmax(1)
    store = ImageStore.of_tensors(pixels, labels)
    images, editing, codes = edited(CPU, store, search)
    with pretended_gpu():
        there, other, far = edited(GPU, store, search)
        assert there.device == far.device == GPU
        assert torch.allclose(there.cpu(), images, atol=1e-4)
        assert torch.allclose(far.cpu(), codes, atol=1e-5)
        assert other.psnr.device == CPU
        assert torch.allclose(other.psnr, editing.psnr, atol=1e-2)
        assert other.changed == pytest.approx(editing.changed)


def coded():
    from snellen.systems.natural_transformations.inversion import Codes

    return Codes.plain(codes_of(COUNT), split().channels)


def test_an_autoencoder_is_copied_to_another_device_and_not_moved():
    made = autoencoder()
    assert made.to("cpu") is made
    before = copy.deepcopy(made.generator.state_dict())
    with pretended_gpu():
        moved = made.to(GPU)
        assert moved.device == GPU
        assert moved.hashes == made.hashes
    assert made.device == CPU
    assert all(torch.equal(value, before[name]) for name, value in made.generator.state_dict().items())
