"""Small captioners of random weights, in the formats of the public ones: for tests, and first runs of every stage.

They have all parts of the public models, and their tokenizers cover every text. What they say means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snellen.models.tokens.small_tokenizers import WORDS, bert_tokenizer, gpt2_tokenizer
from snellen.models.weights.hugging_face_folder import import_transformers
from snellen.models.weights.quiet_loading import quiet_loading
from snellen.models.weights.random_weights import draw_weights

_CONTEXT = 32


def write_random_blip(
    folder: Path, *, image_size: int = 32, words: Sequence[str] = WORDS, seed: int = 0, answering: bool = False
) -> Path:
    """Write a ``BlipForConditionalGeneration`` with its processor, as ``save_pretrained`` does.

    As in the public models, the decoder begins a sentence with a token that the tokenizer does not have.

    Args:
        folder: made if it is not there.
        image_size: height and width that the model takes; a multiple of 8, pixels.
        words: that the tokenizer knows as a whole.
        seed: of the weights.
        answering: a ``BlipForQuestionAnswering`` instead.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    transformers = import_transformers("a BLIP")
    tokenizer = bert_tokenizer(words, context_length=_CONTEXT)
    count = len(tokenizer)
    text = _width() | {
        "vocab_size": count + 2,
        "encoder_hidden_size": 32,
        "max_position_embeddings": _CONTEXT,
        "bos_token_id": count,
        "eos_token_id": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "projection_dim": 32,
    }
    with quiet_loading():
        vision = _width() | {"image_size": image_size, "patch_size": 8, "projection_dim": 32}
        config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=32)
        kind = transformers.BlipForQuestionAnswering if answering else transformers.BlipForConditionalGeneration
        model = kind(config)
        draw_weights(model, seed=seed)
        model.save_pretrained(folder)
        processor = transformers.BlipImageProcessorPil(size={"height": image_size, "width": image_size})
        transformers.BlipProcessor(processor, tokenizer).save_pretrained(folder)
    return folder


def write_random_vit_gpt2(
    folder: Path, *, image_size: int = 32, words: Sequence[str] = WORDS, seed: int = 0, encoder_width: int = 32
) -> Path:
    """Write a ``VisionEncoderDecoderModel`` of ViT and GPT-2 with its processor and tokenizer; arguments as above.

    With an ``encoder_width`` other than 32 the model has a layer that brings states to the width of the decoder.
    """
    transformers = import_transformers("a captioner")
    tokenizer = gpt2_tokenizer(words, context_length=_CONTEXT)
    end = tokenizer.eos_token_id
    with quiet_loading():
        encoder = transformers.ViTConfig(
            **_width(encoder_width), image_size=image_size, patch_size=8, hidden_dropout_prob=0.0
        )
        decoder = transformers.GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=_CONTEXT,
            bos_token_id=end,
            eos_token_id=end,
            is_decoder=True,
            add_cross_attention=True,
        )
        config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
        config.decoder_start_token_id = config.eos_token_id = config.pad_token_id = end
        model = transformers.VisionEncoderDecoderModel(config)
        marks = {"decoder_start_token_id": end, "eos_token_id": end, "pad_token_id": end}
        model.generation_config.update(**marks)
        draw_weights(model, seed=seed)
        # The table of tokens is also the last layer: at unit variance, every token would be followed by itself.
        model.decoder.transformer.wte.weight.data.mul_(0.2)
        model.save_pretrained(folder)
        size = {"height": image_size, "width": image_size}
        transformers.ViTImageProcessorPil(size=size).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def _width(width: int = 32) -> dict[str, Any]:
    return {"hidden_size": width, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
