"""A convolutional denoiser that predicts what to take away, and how one that was trained here is read.

Zhang, Zuo, Chen, Meng and Zhang, "Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising"
(DnCNN), IEEE TIP 2017, arXiv 1608.03981; in the form that Gong et al. (ICLR 2022, arXiv 2203.14145) train.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.artifact import Artifact, Card
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.model_record import read_preparation
from snellen.models.weights.state_dict_file import load_strictly

#: What a card calls it.
NAME = "residual_denoiser"

#: How a reference to an artifact begins; a bare folder will do.
ARTIFACT = "artifact:"


class ResidualDenoiser(nn.Module):
    """Images (n, 3, h, w) → images of the same shape, not cut to [0, 1]; untrained, it gives back what it gets.

    First a convolution with ReLU, then ``depth`` − 2 convolutions with BatchNorm and ReLU, then one convolution, whose
    output is subtracted from the image. Weights are orthogonal, the last ones zero. BatchNorm has ε 1e-4 and, as
    published, forgets nearly everything before the last batch (momentum 0.95).

    >>> images = torch.rand(2, 3, 8, 8)
    >>> torch.equal(ResidualDenoiser(depth=3, width=4)(images), images)
    True

    Args:
        depth: convolutions, at least 2.
        width: channels between them.

    Raises:
        InputError: a depth or width that no network has.
    """

    def __init__(self, *, depth: int = 17, width: int = 64) -> None:
        super().__init__()
        if depth < 2 or width < 1:
            raise InputError(f"a residual denoiser has at least 2 layers and 1 channel; got {depth} and {width}")
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width, eps=1e-4, momentum=0.95),
                nn.ReLU(),
            ]
        last = nn.Conv2d(width, 3, 3, padding=1, bias=False)
        self.added = nn.Sequential(*layers, last)
        for layer in self.added:
            if isinstance(layer, nn.Conv2d):
                nn.init.orthogonal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.zeros_(last.weight)

    def forward(self, images: Tensor) -> Tensor:
        """The images without what was added to them."""
        cleaned: Tensor = images - self.added(images)
        return cleaned


def architecture(depth: int, width: int) -> dict[str, Any]:
    """The record in a card, from which the network is built again."""
    return {"name": NAME, "depth": depth, "width": width}


@dataclass(frozen=True, eq=False)
class LoadedDenoiser:
    """A trained denoiser, frozen and in evaluation mode, with its card."""

    network: nn.Module
    card: Card
    preparation: Preprocessing


def load_denoiser(reference: str, device: torch.device | None = None) -> LoadedDenoiser:
    """Load what the recipe ``perturbation_denoiser`` trained.

    Args:
        reference: ``artifact:FOLDER``, or a folder.
        device: where it runs; the CPU by default.

    Raises:
        InputError: no artifact, one of another kind, or weights that do not fit.
    """
    folder = Path(reference.removeprefix(ARTIFACT))
    artifact = Artifact.load(folder)
    built = dict(artifact.card.architecture)
    if artifact.card.kind != "denoiser" or built.pop("name", None) != NAME:
        raise InputError(
            f"{folder} is of the kind {artifact.card.kind!r}; expected a denoiser of perturbations, as "
            f"'snellen train perturbation-denoiser' makes one"
        )
    with torch.random.fork_rng(devices=[]):
        try:
            network = ResidualDenoiser(**built)
        except TypeError as error:
            raise InputError(f"{folder / 'card.json'}: {NAME} cannot be built from {built}: {error}") from error
    load_strictly(network, artifact.tensors, source=str(folder / "weights.safetensors"))
    network.eval().requires_grad_(False)
    preparation = read_preparation(artifact.card.preparation, source=str(folder / "card.json"))
    return LoadedDenoiser(network.to(device or torch.device("cpu")), artifact.card, preparation)
