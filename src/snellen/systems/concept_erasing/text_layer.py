"""States of texts at one layer of a CLIP text encoder: read once, each different one kept once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError, UnsupportedError
from snellen.core.progress import Progress, Silent
from snellen.models.diffusion.text_encoding import TextEncoding, TextTower
from snellen.models.layers.layer_edits import reading
from snellen.training.batches import ImageStore

#: Of twelve layers the paper takes the one with index 8.
_PUBLISHED_LAYER, _PUBLISHED_DEPTH = 8, 12

#: Prompts that are encoded together.
_TOGETHER = 64


class PromptStates(NamedTuple):
    """States of n prompts: (n, t, d), token ids (n, t), and which tokens are no padding, bool (n, t)."""

    states: Tensor
    ids: Tensor
    real: Tensor

    @property
    def counted(self) -> Tensor:
        """Tokens that belong to the text, bool (n, t): without padding and without the first one, the start mark."""
        return self.real & (torch.arange(self.real.shape[1], device=self.real.device) > 0)


@dataclass(frozen=True, eq=False)
class TextLayer:
    """One layer of one text tower of a generator.

    Args:
        tower: tokenizer and CLIP text model.
        index: number of the layer, from 0: its output (the residual stream) is what is read and edited.
        name: of the layer in the network.
    """

    tower: TextTower
    index: int
    name: str

    @property
    def network(self) -> nn.Module:
        """The text model."""
        return self.tower.network

    @property
    def width(self) -> int:
        """Width of a state."""
        return int(self.network.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def states(self, prompts: Sequence[str]) -> PromptStates:
        """States of prompts, one row each, padded to the length that the generator reads.

        Raises:
            InputError: no prompt, or one with more tokens than are read: cutting it may cut off a concept.
        """
        if not prompts:
            raise InputError("there is no prompt to read states of")
        parts = []
        for start in range(0, len(prompts), _TOGETHER):
            ids, mask = self.tower.tokens(prompts[start : start + _TOGETHER])
            with torch.no_grad(), reading(self.network, self.name) as read:
                self.network(ids)
            parts.append((read[self.name][0], ids, mask.bool()))
        return PromptStates(*(torch.cat(column) for column in zip(*parts, strict=True)))


def text_layer(encoding: TextEncoding, tower: int = 0, index: int | None = None) -> TextLayer:
    """Choose a layer of a generator's text tower.

    Args:
        encoding: of the generator: one CLIP tower, or two.
        tower: number of the tower.
        index: of the layer; None is at two thirds of the depth, as in the paper (8 of 12), or earlier where what the
            denoiser reads would not pass through it.

    Raises:
        InputError: no such tower or layer, or a layer whose output the denoiser does not read through later layers.
        UnsupportedError: a text encoder that is not CLIP's.
    """
    if not 0 <= tower < len(encoding.towers):
        raise InputError(f"this generator has text towers 0 to {len(encoding.towers) - 1}; got {tower}")
    chosen = encoding.towers[tower]
    names = [name for name, _ in chosen.network.named_modules() if fnmatchcase(name, "*encoder.layers.[0-9]*")]
    layers = {int(name.rsplit(".", 1)[1]): name for name in names if name.rsplit(".", 1)[1].isdigit()}
    if encoding.form == "masked" or not layers:
        raise UnsupportedError(
            f"a {type(chosen.network).__name__} has no layers 'encoder.layers.N' of a CLIP text model; others are not "
            f"supported"
        )
    depth = len(layers)
    # Of two towers the states before the last layer are read, and they are taken before an edit there acts.
    last = depth - 3 if encoding.form == "two towers" else depth - 1
    if index is None:
        index = max(min(_PUBLISHED_LAYER * depth // _PUBLISHED_DEPTH, min(last, depth - 2)), 0)
    if not 0 <= index <= last:
        raise InputError(f"layers 0 to {last} of this text encoder can be edited; got {index}")
    return TextLayer(chosen, index, layers[index])


def distinct_states(
    layer: TextLayer, prompts: Sequence[str], *, most: int, seed: int, progress: Progress | None = None
) -> ImageStore:
    """All token positions of prompts as training examples, each different state once.

    Attention is causal, so a state depends on the tokens up to it and on nothing else: equal beginnings of prompts, and
    equal prompts, are kept once. The encoder runs once for each different prompt, not once an epoch.

    Args:
        layer: where.
        prompts: texts to fit to.
        most: states to keep; more are thinned at random, those of padding first.
        seed: of the thinning.
        progress: callback that receives progress updates.
    """
    listener, different = progress or Silent(), list(dict.fromkeys(prompts))
    listener.begin("reading states", len(different))
    beginnings: dict[tuple[int, int], int] = {}  # (number of the beginning before, token) → number of the beginning
    text: list[Tensor] = []
    padding: list[Tensor] = []
    for start in range(0, len(different), _TOGETHER):
        read = layer.states(different[start : start + _TOGETHER])
        new = torch.zeros_like(read.real)
        for row, ids in enumerate(read.ids.tolist()):
            beginning = -1
            for position, token in enumerate(ids):
                known = len(beginnings)
                beginning = beginnings.setdefault((beginning, token), known)
                new[row, position] = beginning == known
        text.append(read.states[new & read.real].float().cpu())
        padding.append(read.states[new & ~read.real].float().cpu())
        listener.advance("reading states", len(read.real))
    listener.finish("reading states")
    draw = torch.Generator().manual_seed(seed)
    of_text = _thinned(torch.cat(text), most, draw)
    states = torch.cat([of_text, _thinned(torch.cat(padding), most - len(of_text), draw)])
    return ImageStore.of_tensors(states, torch.zeros(len(states), dtype=torch.int64), split="train")


def _thinned(states: Tensor, most: int, draw: torch.Generator) -> Tensor:
    """At most so many of states (m, d), in their order."""
    if len(states) <= most:
        return states
    return states[torch.randperm(len(states), generator=draw)[: max(most, 0)].sort().values]
