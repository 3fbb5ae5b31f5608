"""Small causal language models in the format of GPT-2: to train on captions, or of random weights for first runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from snellen.models.weights.hugging_face_folder import import_transformers
from snellen.models.weights.quiet_loading import quiet_loading
from snellen.models.weights.random_weights import draw_weights

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
