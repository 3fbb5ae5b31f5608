"""A vision transformer with learned tokens beside its patches, and a classifier on it that is trained by little.

The visual prompts of Imam et al. (NoLA, arXiv 2411.19346), section on DINO-assisted prompt tuning, after Jia et al.
(Visual Prompt Tuning, ECCV 2022, arXiv 2203.12119), shallow: M tokens enter between the class token and the patches,
behind the positions and the first norm, and have no positions of their own. What is trained are these tokens, the
matrix of class vectors, and the scales and shifts of the tower's layer norms. All else is the tower's, named by its
reference, and no part of the state.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, UnsupportedError
from snellen.models.dual_encoders.towers import ImageTower, TwoTower
from snellen.models.references import load_two_tower


class PromptedTower(nn.Module):
    """A copy of an image tower with M learned tokens: normalised images (n, 3, h, w) → raw vectors (n, d).

    Tokens are drawn uniformly in ±√(6 / (3 p² + width)), with p the side of a patch, from torch's global generator.
    The tower always stays in evaluation mode: nothing in it is dropped at random.

    Args:
        image_tower: a transformer that can be run in two halves (``has_tokens``); it stays as it is.
        prompts: number M of learned tokens; 0 leaves the tower's own vectors.

    Raises:
        UnsupportedError: an image tower without tokens, such as a residual network.
        InputError: a negative number.
    """

    def __init__(self, image_tower: nn.Module, prompts: int) -> None:
        super().__init__()
        if prompts < 0:
            raise InputError(f"the number of learned tokens is at least 0; got {prompts}")
        if not isinstance(image_tower, ImageTower) or not image_tower.has_tokens:
            raise UnsupportedError(
                "learned tokens enter a vision transformer whose vector is that of its class token (CLIP's ViT-B/32, "
                "ViT-B/16, ViT-L/14); this image tower is a residual network, or pools its tokens otherwise"
            )
        self.image_tower: ImageTower = copy.deepcopy(image_tower).requires_grad_(False).eval()
        norms = [module for module in self.image_tower.modules() if isinstance(module, nn.LayerNorm)]
        for norm in norms:
            norm.requires_grad_(True)
        width = norms[0].normalized_shape[0]
        bound = math.sqrt(6 / (3 * image_tower.patch_area() + width))
        self.prompts = nn.Parameter(torch.empty(1, prompts, width).uniform_(-bound, bound)) if prompts else None

    def forward(self, images: Tensor) -> Tensor:
        """Encode."""
        tokens = self.image_tower.tokens(images)
        if self.prompts is not None:
            between = self.prompts.expand(tokens.shape[0], -1, -1).to(tokens.dtype)
            tokens = torch.cat([tokens[:, :1], between, tokens[:, 1:]], 1)
        return self.image_tower.of_tokens(tokens)

    def train(self, mode: bool = True) -> PromptedTower:
        """Set the mode; the tower inside stays in evaluation mode."""
        super().train(mode)
        self.image_tower.eval()
        return self


class PromptedClassifier(nn.Module):
    """A prompted tower and class vectors: images (n, 3, h, w) in [0, 1] → logits (n, k), z · w without scale or norm.

    Its state holds what is trained and nothing else; loading one leaves the rest as the tower has it.

    Args:
        image_tower: see :class:`PromptedTower`.
        normalization: of the tower, applied here.
        vectors: initial class vectors (k, d).
        prompts: number M of learned tokens.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, image_tower: nn.Module, normalization: Normalization, vectors: Tensor, prompts: int) -> None:
        super().__init__()
        self.tower = PromptedTower(image_tower, prompts)
        self.head = nn.Linear(vectors.shape[1], len(vectors), bias=False)
        with torch.no_grad():
            self.head.weight.copy_(vectors)
        for name, values in zip(("mean", "std"), normalization, strict=True):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
        self.register_state_dict_post_hook(_leave_out_the_tower)
        self.register_load_state_dict_pre_hook(_put_in_the_tower)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.head(self.tower((images - self.mean) / self.std))
        return logits

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Learned tokens, class vectors, and scales and shifts of the tower's layer norms, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


def prompted_classifier(tower: TwoTower, vectors: Tensor, *, prompts: int) -> PromptedClassifier:
    """A prompted classifier on the image side of a text–image model; the model stays as it is.

    Raises:
        UnsupportedError: an image tower without tokens; the message names the model.
    """
    try:
        return PromptedClassifier(tower.image_tower, tower.normalization, vectors.detach(), prompts)
    except UnsupportedError as error:
        raise UnsupportedError(f"{tower.name}: {error}") from error


def architecture(tower: TwoTower, reference: str, class_count: int, prompts: int) -> dict[str, Any]:
    """The record in a card, from which :func:`build` makes the network again."""
    return {
        "name": "prompted_tower",
        "tower": reference,
        "identity": tower.identity(),
        "class_count": class_count,
        "prompts": prompts,
    }


def build(tower: str, identity: str, class_count: int, prompts: int) -> PromptedClassifier:
    """The network of a card: the tower by its reference, its layer norms and class vectors still to be loaded.

    Raises:
        InputError: there is no such tower, or another one under that reference.
    """
    loaded = load_two_tower(tower)
    if loaded.identity() != identity:
        raise InputError(
            f"{tower} has other weights than the tower that this classifier was tuned on (hash "
            f"{loaded.identity()[:12]}… instead of {identity[:12]}…); put the same model there"
        )
    return prompted_classifier(loaded, torch.zeros(class_count, loaded.dimension), prompts=prompts)


def _frozen(network: nn.Module) -> dict[str, Tensor]:
    """All that the state of the tower has but its layer norms; whether gradients are on does not say it."""
    assert isinstance(network, PromptedClassifier)
    inner = network.tower.image_tower
    norms = {name for name, module in inner.named_modules() if isinstance(module, nn.LayerNorm)}
    return {
        f"tower.image_tower.{name}": tensor
        for name, tensor in inner.state_dict().items()
        if name.rpartition(".")[0] not in norms
    }


def _leave_out_the_tower(network: nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    for name in _frozen(network):
        state.pop(f"{prefix}{name}", None)


def _put_in_the_tower(network: nn.Module, state: dict[str, Any], prefix: str, *_others: object) -> None:
    for name, tensor in _frozen(network).items():
        state.setdefault(f"{prefix}{name}", tensor)
