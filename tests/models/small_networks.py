"""Small networks of the libraries, with random weights, whose layers tests read, change and adapt."""

import collections

import pytest
import torch
from torch import nn

from snellen.core.randomness import Randomness
from snellen.models.weights.quiet_loading import quiet_loading


def noise(*shape, seed=0):
    return Randomness(seed).bind(shape[0]).normal("inputs", shape[1:])


def make_unet():
    diffusers = pytest.importorskip("diffusers")
    with quiet_loading():
        torch.manual_seed(0)
        unet = diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        )
    return unet.eval()


@torch.no_grad()
def run(unet, rows=3, seed=0):
    """What a UNet of :func:`make_unet` predicts of some noise."""
    return unet(noise(rows, 4, 8, 8, seed=seed), 500, noise(rows, 5, 16, seed=seed)).sample


def make_text_encoder(layers):
    transformers = pytest.importorskip("transformers")
    with quiet_loading():
        torch.manual_seed(0)
        config = transformers.CLIPTextConfig(
            vocab_size=100, hidden_size=16, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2
        )
        return transformers.CLIPTextModel(config).eval()


def make_layers():
    """A convolutional network with an activation that works in place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = collections.OrderedDict(
            stem=nn.Conv2d(3, 8, 3),
            act=nn.ReLU(inplace=True),
            body=nn.Sequential(nn.Conv2d(8, 6, 3), nn.ReLU()),
            flat=nn.Flatten(),
            head=nn.Linear(6 * 4 * 4, 5),
        )
        return nn.Sequential(layers).eval().requires_grad_(False)
