"""A causal language model of the transformers library on this machine: log p(next token | prefix), with a cache.

Other models of this room answer; this one gives what decoding needs. It is read from ``hf:FOLDER``, so that a small
model trained here and a public one take the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.captioners.captioner import KeyValueCache, WordPieces
from snellen.models.random_folders import draw_weights
from snellen.models.weights.devices import resolve_device
from snellen.models.weights.hugging_face_folder import (
    check_folder,
    check_vocabulary,
    import_transformers,
    load_config,
    load_network,
    load_tokenizer,
)
from snellen.models.weights.quiet_loading import quiet_loading
from snellen.models.weights.state_dict_file import WeightsIdentity


class CausalLanguageModel:
    """p(text) by its tokens; the network is put into evaluation mode and frozen.

    Args:
        module: an ``AutoModelForCausalLM``.
        pieces: texts to tokens and back.
        make_cache: makes an empty cache of the library.
        name: shown in reports and messages.
        device: where it runs.
    """

    def __init__(
        self,
        module: nn.Module,
        pieces: WordPieces,
        make_cache: Any,  # noqa: ANN401 - transformers.DynamicCache
        *,
        name: str,
        device: str | torch.device = "cpu",
    ) -> None:
        self.name, self.device = name, torch.device(device)
        self.module = module.eval().requires_grad_(False).to(device)
        self.begin_token, self.end_token, self.context_length = pieces.begin, pieces.end, pieces.context_length
        self.vocabulary = pieces.vocabulary()
        self._pieces, self._make_cache = pieces, make_cache
        self._identity = WeightsIdentity(self.module)
        # Newer versions of the library call the argument "cache".
        self._argument = "cache" if "cache" in inspect.signature(module.forward).parameters else "past_key_values"

    def __repr__(self) -> str:
        return f"CausalLanguageModel({self.name!r}, {len(self.vocabulary)} tokens, context {self.context_length})"

    def identity(self) -> str:
        """Hash of the weights as they are now (sha256)."""
        return self._identity()

    def tokenise(self, texts: Sequence[str], *, ended: bool = True) -> list[Tensor]:
        """Texts → tokens (t,) of each: beginning, words, and the end mark where ``ended``.

        Raises:
            InputError: a text that is longer than the context.
        """
        return self._pieces.tokenise(texts, ended=ended)

    @torch.no_grad()
    def logits(self, tokens: Tensor, cache: KeyValueCache | None = None) -> tuple[Tensor, KeyValueCache]:
        """Whole prefix int64 (n, t) → logits of the next token (n, v), and the cache, which is used up.

        Raises:
            InputError: a cache that holds the whole prefix already, or a prefix beyond the context.
        """
        if tokens.shape[1] > self.context_length:
            raise InputError(
                f"{self.name} reads at most {self.context_length} tokens, and the prefix has {tokens.shape[1]}; "
                f"shorten the prompt or max_tokens"
            )
        if cache is None:
            cache = KeyValueCache(self._make_cache())
        if cache.length >= tokens.shape[1]:
            raise InputError(f"the cache holds {cache.length} tokens, and the prefix has {tokens.shape[1]}")
        new = tokens[:, cache.length :].to(self.device)
        output = self.module(input_ids=new, use_cache=True, **{self._argument: cache.inner})
        return output.logits[:, -1], cache

    def sequence_logits(self, tokens: Tensor) -> Tensor:
        """Logits after each token: int64 (n, t) → (n, t, v). Differentiable, for training."""
        logits: Tensor = self.module(input_ids=tokens, use_cache=False).logits
        return logits


def load_causal_language_model(reference: str, *, device: str = "cpu") -> CausalLanguageModel:
    """Load a causal language model.

    Args:
        reference: ``hf:FOLDER``, as ``save_pretrained`` of an ``AutoModelForCausalLM`` and its tokenizer writes it.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: a reference, folder or device that cannot be used, or a folder whose configuration names no marks.
        MissingExtraError: transformers is not installed.
    """
    scheme, colon, rest = reference.partition(":")
    if scheme != "hf" or not colon or not rest:
        raise InputError(f"{reference!r} is not a causal language model; expected hf:FOLDER")
    folder = Path(rest)
    check_folder(folder, processor=False, tokenizer=True)
    transformers = import_transformers(reference)
    config = load_config(transformers, folder)
    model = load_network(transformers.AutoModelForCausalLM, folder, what="a causal language model")
    tokenizer = load_tokenizer(transformers, folder)
    check_vocabulary(tokenizer, config.vocab_size, name=folder.name)
    end = config.eos_token_id
    pieces = WordPieces(
        tokenizer,
        begin=config.bos_token_id,
        end=end,
        filler=end if config.pad_token_id is None else config.pad_token_id,
        size=config.vocab_size,
        context_length=config.max_position_embeddings,
        name=f"hf:{folder.name}",
    )
    return CausalLanguageModel(
        model, pieces, transformers.DynamicCache, name=f"hf:{folder.name}", device=resolve_device(device)
    )


_PURPOSE = "a small language model"


def small_causal_model(
    size: int, *, begin: int, end: int, context_length: int, width: int = 96, layers: int = 1, heads: int = 4
) -> nn.Module:
    """A ``GPT2LMHeadModel`` without dropout, with initial weights from torch's global generator.

    Args:
        size: number of tokens.
        begin: the token before a text.
        end: the token after it.
        context_length: most tokens of a text.
        width: of the states.
        layers: number of blocks.
        heads: of the attention; a divisor of the width.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    transformers = import_transformers(_PURPOSE)
    with quiet_loading():
        config = transformers.GPT2Config(
            vocab_size=size,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            n_inner=2 * width,
            n_positions=context_length,
            bos_token_id=begin,
            eos_token_id=end,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
        model: nn.Module = transformers.GPT2LMHeadModel(config)
    return model


def write_causal_model(model: Any, tokenizer: Any, folder: Path) -> Path:  # noqa: ANN401 - of an extra
    """Write a model and its tokenizer as ``save_pretrained`` does; ``hf:FOLDER`` reads them."""
    with quiet_loading():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def write_random_causal_model(folder: Path, tokenizer: Any, *, context_length: int = 64, seed: int = 0) -> Path:  # noqa: ANN401
    """Write a small model of random weights for a tokenizer that has an end mark.

    Args:
        folder: made if it is not there.
        tokenizer: of transformers; its beginning mark, or else its end mark, begins a text.
        context_length: most tokens of a text.
        seed: of the weights.
    """
    end = tokenizer.eos_token_id
    begin = end if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    model: Any = small_causal_model(
        len(tokenizer), begin=begin, end=end, context_length=context_length, width=32, layers=2
    )
    draw_weights(model, seed=seed)
    # The table of tokens is also the last layer: at unit variance, every token would be followed by itself.
    model.transformer.wte.weight.data.mul_(0.2)
    return write_causal_model(model, tokenizer, folder)
