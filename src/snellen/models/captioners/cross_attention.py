"""A decoder of transformers that reads states of an image, or of a question, through cross-attention."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError


class KeyValueCache:
    """Keys and values that a decoder has computed: of its tokens, and of the states it reads."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - transformers.EncoderDecoderCache
        self.inner = inner

    @property
    def length(self) -> int:
        """Number of tokens it holds for each row."""
        return int(self.inner.get_seq_length())

    def select(self, rows: Tensor) -> KeyValueCache:
        """The rows with these indices (m,), in this order. The cache it is called on must not be used any more."""
        self.inner.batch_select_indices(rows)
        return self


class CrossAttentionDecoder:
    """Logits of the next token, from a prefix and states; with a cache, or for all positions at once.

    Every state is read: there is no mask for padding among them, because the library's BLIP passes over it.

    Args:
        transformers: the library.
        decoder: its language model with cross-attention and a head over the vocabulary.
    """

    def __init__(self, transformers: ModuleType, decoder: nn.Module) -> None:
        # Classes, not the library itself: a module cannot be copied, and a captioner is copied to be fine-tuned.
        self._cache_classes, self._decoder = (transformers.EncoderDecoderCache, transformers.DynamicCache), decoder
        # Newer versions of the library call the argument "cache".
        named = inspect.signature(decoder.forward).parameters
        self._argument = "cache" if "cache" in named else "past_key_values"

    @torch.no_grad()
    def logits(
        self, tokens: Tensor, states: Tensor, cache: KeyValueCache | None = None
    ) -> tuple[Tensor, KeyValueCache]:
        """Whole prefix int64 (n, t), states (n, s, w) → logits of the next token (n, v), and the cache.

        Raises:
            InputError: a cache that holds the whole prefix already.
        """
        if cache is None:
            joint, dynamic = self._cache_classes
            cache = KeyValueCache(joint(dynamic(), dynamic()))
        if cache.length >= tokens.shape[1]:
            raise InputError(
                f"the cache holds {cache.length} tokens, and the prefix has {tokens.shape[1]}: nothing is left to read"
            )
        output = self._decoder(
            input_ids=tokens[:, cache.length :],
            encoder_hidden_states=states,
            use_cache=True,
            **{self._argument: cache.inner},
        )
        return output.logits[:, -1], cache

    def sequence_logits(self, tokens: Tensor, states: Tensor) -> Tensor:
        """Tokens int64 (n, t), states (n, s, w) → logits after each token (n, t, v). Differentiable."""
        logits: Tensor = self._decoder(input_ids=tokens, encoder_hidden_states=states, use_cache=False).logits
        return logits
