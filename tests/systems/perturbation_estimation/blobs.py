"""Classifiers of brightness, whose decisions and attacks can be computed by hand."""

import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing


class Brightness(nn.Module):
    """Dark below a threshold, light above; the BatchNorm shows whether the network is in evaluation mode."""

    def __init__(self, threshold=0.5):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.threshold = threshold

    def forward(self, images):
        value = 8 * (images.flatten(1).mean(1) - self.threshold)
        return self.norm(torch.stack([-value, value], 1).reshape(-1, 1)).reshape(-1, 2)


def brightness(threshold=0.5, name="brightness", **changes):
    preparation = Preprocessing(size=(8, 8))
    return Classifier(
        Brightness(threshold), class_names=["dark", "light"], preparation=preparation, name=name, **changes
    )
