"""Prompts as conditions: tokenizers and text towers, in the way of each family of models.

- *one tower* (Stable Diffusion): the last hidden states of a CLIP text tower.
- *two towers* (SDXL): the last but one hidden states of both, side by side; the second one's pooled state; sizes.
- *masked* (PixArt): the states of a T5 encoder, of small letters, with a mask of the tokens that count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.diffusion.condition import Condition

Form = Literal["one tower", "two towers", "masked"]

#: (text states (n, tokens, width), mask (n, tokens) of the tokens that are no padding) → states of the same shape
TextEdit = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TextTower:
    """A tokenizer with its text tower.

    Args:
        tokenizer: of the transformers library.
        network: the text tower.
        length: tokens of every prompt, padding and special tokens included.
    """

    tokenizer: Any
    network: nn.Module
    length: int

    def tokens(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask, int64 (n, length) each.

        Raises:
            InputError: a prompt that is longer; it is never cut.
        """
        # While learned tokens act, prompts are read with a tokenizer that knows them.
        network: Any = self.network
        tokenizer: Any = getattr(network.get_input_embeddings(), "tokenizer", self.tokenizer)
        untruncated = tokenizer(list(prompts), add_special_tokens=True, verbose=False).input_ids
        for prompt, ids in zip(prompts, untruncated, strict=True):
            if len(ids) > self.length:
                raise InputError(
                    f"the prompt {prompt!r} has {len(ids)} tokens with its start and end, the text encoder reads "
                    f"{self.length}; shorten it"
                )
        padded = tokenizer(list(prompts), padding="max_length", max_length=self.length, return_tensors="pt")
        device = next(self.network.parameters()).device
        return padded.input_ids.to(device), padded.attention_mask.to(device)


@dataclass(frozen=True, eq=False)
class TextEncoding:
    """How the prompts of one generator become conditions.

    Args:
        form: which family's way.
        towers: one or two.
        zero_null: "no prompt" is zeros instead of the encoding of an empty prompt.
    """

    form: Form
    towers: tuple[TextTower, ...]
    zero_null: bool = False

    def encode(
        self, prompts: Sequence[str], sizes: Tensor | None, edit: TextEdit | None = None, *, gradients: bool = False
    ) -> Condition:
        """One row for each prompt; equal prompts are encoded once.

        ``edit`` changes the text states of the different prompts before they are given to the rows. With ``gradients``
        they are differentiable in what is trained of the towers.

        Raises:
            InputError: no prompt, or one that is too long.
        """
        if not prompts:
            raise InputError("there is no prompt to encode")
        wrong = next((prompt for prompt in prompts if not isinstance(prompt, str)), None)
        if wrong is not None:
            raise InputError(f"a prompt is a string; got {type(wrong).__name__}")
        different = list(dict.fromkeys(prompts))
        with nullcontext() if gradients else torch.no_grad():
            text, mask, pooled = self._states(different)
            if edit is not None:
                changed = edit(text, mask)
                if changed.shape != text.shape:
                    raise InputError(f"an edit turned text states {tuple(text.shape)} into {tuple(changed.shape)}")
                text = changed
        position = {prompt: row for row, prompt in enumerate(different)}
        condition = Condition(
            count=len(different), text=text, mask=mask if self.form == "masked" else None, pooled=pooled
        )
        return _sized(condition.select([position[prompt] for prompt in prompts]), sizes)

    def null(self, count: int, sizes: Tensor | None) -> Condition:
        """No prompt, ``count`` times."""
        with torch.no_grad():
            text, mask, pooled = self._states([""])
        if self.zero_null:
            text, pooled = torch.zeros_like(text), None if pooled is None else torch.zeros_like(pooled)
        condition = Condition(count=1, text=text, mask=mask if self.form == "masked" else None, pooled=pooled)
        return _sized(condition.select([0] * count), sizes)

    def _states(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor | None]:
        if self.form == "masked":
            prompts = [prompt.lower().strip() for prompt in prompts]  # what these models were trained on
        encoded = [(tower.network, *tower.tokens(prompts)) for tower in self.towers]
        mask = encoded[0][2]
        if self.form == "masked":
            network, ids, _ = encoded[0]
            return network(ids, attention_mask=mask)[0], mask, None
        if self.form == "one tower":
            network, ids, _ = encoded[0]
            uses_mask = getattr(network.config, "use_attention_mask", False)
            return network(ids, attention_mask=mask if uses_mask else None)[0], mask, None
        outputs = [network(ids, output_hidden_states=True) for network, ids, _ in encoded]
        # Of the one tower or the two, the last one is the one with a projection.
        return torch.cat([output.hidden_states[-2] for output in outputs], dim=-1), mask, outputs[-1][0]


def _sized(condition: Condition, sizes: Tensor | None) -> Condition:
    if sizes is None:
        return condition
    rows = sizes.expand(condition.count, -1)
    return Condition(count=condition.count, **{**condition.tensors(), "time_ids": rows})
