"""Low-rank adapters in both towers of a text–image model, and the classifier that they make.

W' = W + (α/r) B A on the query and value projections of every attention block of both towers (Kim et al., *DataDream*,
ECCV 2024, arXiv 2407.10910, after Hu et al., *LoRA*). Class vectors are means of the directions of their texts, and are
encoded anew in each step, because the text tower is adapted too:

    logits = τ · ⟨norm(v(x)), norm(mean_s norm(t(s)))⟩

Projections that a library keeps in one matrix, read without calling it (``torch.nn.MultiheadAttention``), are taken
apart first; the result is the same function.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.low_rank import LowRank, adaptable_layers, chosen_layers
from snellen.models.dual_encoders.towers import Towers, TwoTower
from snellen.models.dual_encoders.zero_shot import scaled_cosines
from snellen.models.references import load_two_tower

#: Query and value, not key, of both towers, as published.
QUERY_AND_VALUE = LowRank(rank=16, alpha=32.0, layers=("*.q_proj", "*.v_proj"), start="gaussian", dropout=0.1)

#: Name of the adapter in both towers.
NAME = "few_shot"

#: What the names of an adapter's tensors hold in a state.
_MARK = f".{NAME}."


class SplitAttention(nn.Module):
    """``torch.nn.MultiheadAttention`` with projections that are layers of their own; the same function.

    Args:
        attention: with one width for query, key and value.

    Raises:
        UnsupportedError: other widths, or options that text–image models do not use.
    """

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        if attention.in_proj_weight is None or attention.bias_k is not None or attention.add_zero_attn:
            raise UnsupportedError("attention with different widths, or with added keys, cannot be adapted")
        width = attention.embed_dim
        self.heads, self.batch_first, self.dropout = attention.num_heads, attention.batch_first, attention.dropout
        biases = None if attention.in_proj_bias is None else attention.in_proj_bias.split(width)
        for place, name in enumerate(("q_proj", "k_proj", "v_proj")):
            layer = nn.Linear(width, width, bias=biases is not None).to(attention.in_proj_weight)
            with torch.no_grad():
                layer.weight.copy_(attention.in_proj_weight.split(width)[place])
                if biases is not None:
                    layer.bias.copy_(biases[place])
            self.add_module(name, layer.requires_grad_(False))
        self.out_proj = attention.out_proj

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        **_: object,
    ) -> tuple[Tensor, None]:
        """Attend; weights are never returned."""
        if key_padding_mask is not None:
            raise UnsupportedError("attention with a mask of padded keys is not adapted")
        parts = [self.q_proj(query), self.k_proj(key), self.v_proj(value)]
        if not self.batch_first:
            parts = [part.transpose(0, 1) for part in parts]
        queries, keys, values = [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts]
        dropped = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=attn_mask, dropout_p=dropped)
        joined = found.transpose(1, 2).flatten(2)
        return self.out_proj(joined if self.batch_first else joined.transpose(0, 1)), None


def split_attention(tower: nn.Module) -> nn.Module:
    """A copy of a tower in which every packed attention is taken apart; all is frozen."""
    own = copy.deepcopy(tower).requires_grad_(False).eval()
    for name, module in list(own.named_modules()):
        if isinstance(module, nn.MultiheadAttention):
            parent, _, child = name.rpartition(".")
            setattr(own.get_submodule(parent), child, SplitAttention(module))
    return own


def adapt(tower: nn.Module, settings: LowRank, rng: Randomness, *, what: str) -> tuple[nn.Module, Adapters]:
    """A copy of a tower with a fresh adapter, which changes nothing until it is trained.

    Raises:
        UnsupportedError: a tower without query and value layers that are called, such as a residual network.
    """
    own = split_attention(tower)
    if type(getattr(tower, "visual", None)).__name__ == "ModifiedResNet":
        raise UnsupportedError(f"{what} is a residual network; adapters need the attention blocks of a transformer")
    adapters = Adapters(own)
    try:
        adapters.add(NAME, settings, rng=rng)
    except InputError as error:
        raise UnsupportedError(f"{what} has no query and value layers to adapt: {error}") from error
    return own, adapters


class AdaptedTowers(nn.Module):
    """Both towers with adapters, for training: images (n, 3, h, w) in [0, 1] → logits (n, k).

    The model that it is made of stays as it is.

    Args:
        towers: the text–image model.
        texts: of each class.
        settings: of the adapters; those of the text tower are the same.
        rng: of their start.

    Raises:
        UnsupportedError: a model without two networks, or towers that cannot be adapted.
    """

    mean: Tensor
    std: Tensor
    tokens: Tensor
    mask: Tensor

    def __init__(
        self, towers: TwoTower, texts: Mapping[str, Sequence[str]], settings: LowRank, rng: Randomness
    ) -> None:
        super().__init__()
        if not isinstance(towers, Towers):
            raise UnsupportedError(f"{towers.name} gives no networks to adapt")
        self.image_tower, self._image = adapt(
            towers.image_tower, settings, rng.child("image"), what=f"the image tower of {towers.name}"
        )
        self.text_tower, self._text = adapt(
            towers.text_tower, settings, rng.child("text"), what=f"the text tower of {towers.name}"
        )
        self.counts = [len(own) for own in texts.values()]
        tokens, mask = towers.tokens([text for own in texts.values() for text in own])
        self.register_buffer("tokens", tokens)
        self.register_buffer("mask", mask)
        for name, values in zip(("mean", "std"), towers.normalization, strict=True):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))
        self.scale, self.bias = towers.logit_scale, towers.logit_bias
        for adapters in (self._image, self._text):
            for parameter in adapters.parameters(NAME):
                parameter.requires_grad_(True)

    def class_vectors(self) -> Tensor:
        """Directions of the classes as the text tower is now, (k, d)."""
        vectors = F.normalize(self.text_tower(self.tokens, self.mask), dim=-1)
        return F.normalize(torch.stack([part.mean(0) for part in vectors.split(self.counts)]), dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        vectors = self.image_tower((images - self.mean) / self.std)
        return scaled_cosines(vectors, self.class_vectors(), scale=self.scale, bias=self.bias)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Let both adapters act inside a ``with`` block."""
        with self._image.on({NAME: 1.0}), self._text.on({NAME: 1.0}):
            yield

    def trained(self) -> dict[str, Tensor]:
        """What an artifact keeps: the factors of the image tower, and the class vectors."""
        with torch.no_grad():
            vectors = self.class_vectors()
        kept = {f"image.{name}": tensor.clone() for name, tensor in self._image.tensors(NAME).items()}
        return {**kept, "vectors": vectors.detach().clone()}


class AdaptedClassifier(nn.Module):
    """An adapted image tower and class vectors: images (n, 3, h, w) in [0, 1] → logits (n, k).

    The factors are added to the weights, W + (α/r) B A, when a state is loaded. The state holds factors and class
    vectors alone; the rest is the tower's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, image_tower: nn.Module, normalization: Normalization, settings: LowRank, shape: tuple[int, int],
        *, scale: float, bias: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.image_tower = split_attention(image_tower)
        self.settings, self.scale, self.bias = settings, scale, bias
        self.factors = nn.ParameterDict()
        self._original: dict[str, Tensor] = {}
        for name, layer in chosen_layers(self.image_tower, settings).items():
            weight = layer.weight
            assert isinstance(weight, Tensor)
            self._original[name] = weight.detach().clone()
            for part, size in (("A", (settings.rank, weight.shape[1])), ("B", (weight.shape[0], settings.rank))):
                key = f"image.{name}.lora_{part}.weight".replace(".", "/")
                self.factors[key] = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.vectors = nn.Parameter(torch.zeros(shape), requires_grad=False)
        for name, values in zip(("mean", "std"), normalization, strict=True):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
        self.register_state_dict_post_hook(_only_trained)
        self.register_load_state_dict_pre_hook(_whole)
        self.register_load_state_dict_post_hook(_merge)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        return scaled_cosines(
            self.image_tower((images - self.mean) / self.std), self.vectors, scale=self.scale, bias=self.bias
        )

    def merge(self) -> None:
        """Put W + (α/r) B A into the tower."""
        layers = adaptable_layers(self.image_tower)
        with torch.no_grad():
            for name, original in self._original.items():
                key = f"image.{name}.lora_".replace(".", "/")
                change = self.factors[f"{key}B/weight"] @ self.factors[f"{key}A/weight"]
                weight = layers[name].weight
                assert isinstance(weight, Tensor)
                weight.copy_(original.to(weight) + (self.settings.alpha / self.settings.rank) * change.to(weight))


def architecture(tower: TwoTower, reference: str, class_count: int, settings: LowRank) -> dict[str, Any]:
    """The record in a card, from which :func:`build` makes the network again."""
    return {
        "name": "adapted_tower",
        "tower": reference,
        "identity": tower.identity(),
        "class_count": class_count,
        "rank": settings.rank,
        "alpha": settings.alpha,
        "layers": list(settings.layers),
    }


def build(
    tower: str, identity: str, class_count: int, rank: int, alpha: float, layers: Sequence[str]
) -> AdaptedClassifier:
    """The network of a card: the tower by its reference, factors and class vectors still to be loaded.

    Raises:
        InputError: there is no such tower, or another one under that reference.
    """
    loaded = load_two_tower(tower)
    if loaded.identity() != identity:
        raise InputError(
            f"{tower} has other weights than the tower that this classifier was adapted from (hash "
            f"{loaded.identity()[:12]}… instead of {identity[:12]}…); put the same model there"
        )
    return AdaptedClassifier(
        loaded.image_tower,
        loaded.normalization,
        LowRank(rank=rank, alpha=alpha, layers=tuple(layers)),
        (class_count, loaded.dimension),
        scale=loaded.logit_scale,
        bias=loaded.logit_bias,
    )


def _only_trained(_network: nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    for name in [key for key in state if key.startswith(f"{prefix}image_tower.")]:
        del state[name]
    for name in [key for key in state if key.startswith(f"{prefix}factors.")]:
        state[f"{prefix}{name.removeprefix(f'{prefix}factors.').replace('/', '.')}"] = state.pop(name)


def _whole(network: nn.Module, state: dict[str, Any], prefix: str, *_others: object) -> None:
    assert isinstance(network, AdaptedClassifier)
    for name in [key for key in state if key.startswith(f"{prefix}image.")]:
        state[f"{prefix}factors.{name.removeprefix(prefix).replace('.', '/')}"] = state.pop(name)
    for name, tensor in network.image_tower.state_dict().items():
        state.setdefault(f"{prefix}image_tower.{name}", tensor)


def _merge(network: nn.Module, _incompatible: object) -> None:
    assert isinstance(network, AdaptedClassifier)
    network.merge()
