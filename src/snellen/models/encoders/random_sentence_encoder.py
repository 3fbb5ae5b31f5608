"""A small sentence encoder of random weights, in the format of the public ones: for tests, and first runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snellen.models.tokens.small_tokenizers import WORDS, bert_tokenizer
from snellen.models.weights.hugging_face_folder import import_transformers
from snellen.models.weights.quiet_loading import quiet_loading
from snellen.models.weights.random_weights import draw_weights


def write_random_bert(
    folder: Path, *, words: Sequence[str] = WORDS, context_length: int = 32, seed: int = 0, pooling_layer: bool = False
) -> Path:
    """Write a ``BertModel`` and its tokenizer, as ``save_pretrained`` does.

    Args:
        folder: made if it is not there.
        words: that the tokenizer knows as a whole.
        context_length: most tokens of a text.
        seed: of the weights.
        pooling_layer: whether the file has BERT's own pooling layer, which sentence encoders do not use.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    transformers = import_transformers("a BERT")
    tokenizer = bert_tokenizer(words, context_length=context_length)
    with quiet_loading():
        config = transformers.BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=context_length,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = transformers.BertModel(config, add_pooling_layer=pooling_layer)
        draw_weights(model, seed=seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder
