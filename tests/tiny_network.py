"""A network with everything that evaluation mode changes, for images of 4 x 4 pixels."""

import torch
from torch import nn

NAMES = ["cat", "dog", "owl"]


def make_network(seed: int = 0) -> nn.Sequential:
    """Three scores an image; convolution, batch norm, ReLU (layer "2"), dropout, linear (layer "5")."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)
    )
