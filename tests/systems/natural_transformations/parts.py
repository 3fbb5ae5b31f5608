"""A style generator of random weights, cut in the middle, and images that it did not make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.artifact import Lineage
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.preprocessing import Preprocessing
from snellen.methods.treatments.treatment import Patient
from snellen.models.latent_generators.style_network import StyleNetwork, StyleShape
from snellen.systems.natural_transformations.autoencoder import (
    Autoencoder,
    AutoencoderSettings,
    encoder_of,
    split_style,
)
from snellen.systems.natural_transformations.inversion import SplitGenerator
from snellen.testing.treating import small_patient
from snellen.training.batches import ImageStore

LATENT, SIDE, BLOCKS = 6, 16, 3
SHAPE = StyleShape(latent=LATENT, widths=(12, 8, 8), mapping_layers=0, bounded=True)


def style_generator(seed: int = 0) -> StyleNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = StyleNetwork(SHAPE)
        for block in network.blocks:  # first weights hardly depend on the code
            for part in (block.style1, block.style2, block.to_colours):
                torch.nn.init.normal_(part.weight, std=0.5)
    return network.eval().requires_grad_(False)


def split(seed: int = 0) -> SplitGenerator:
    return split_style(style_generator(seed), 1)


def autoencoder(seed: int = 0) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = encoder_of(SHAPE)
    return Autoencoder(style_generator(seed), encoder, {"held_out_psnr": 10.0}, "-", AutoencoderSettings(latent=LATENT))


def save_pair(folder: Path) -> None:
    """Write generator and encoder of random weights."""
    settings = AutoencoderSettings(latent=LATENT).model_dump(mode="json")
    lineage = Lineage(recipe={"method": "none", "settings": settings}, data="-", seed=0, code_version="0")
    autoencoder().save(folder, lineage)


def patient_of(*findings: Finding) -> Patient:
    """The small patient with a margin around its images, so that they have a size that a generator makes."""
    small = small_patient(*findings)
    assert small.classifier.module is not None
    classifier = Classifier(
        small.classifier.module,
        class_names=small.classifier.class_names,
        preparation=Preprocessing(size=(SIDE, SIDE)),
        name="small",
    )

    def padded(store: ImageStore) -> ImageStore:
        margin = (SIDE - store.images.shape[-1]) // 2
        images = torch.nn.functional.pad(store.images, (margin,) * 4, value=128)
        return replace(store, images=images)

    return replace(small, classifier=classifier, val=padded(small.val), train=padded(small.training))


def codes_of(count: int, seed: int = 1) -> Tensor:
    """Codes of the prior: (count, blocks, d)."""
    drawn = torch.randn(count, BLOCKS, LATENT, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=2) * LATENT**0.5


def pictures(count: int, seed: int = 2) -> Tensor:
    """Blurred noise, (count, 3, 16, 16) in [0, 1]."""
    drawn = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(drawn, size=(SIDE, SIDE), mode="bilinear")
