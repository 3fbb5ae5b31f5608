"""A small LLaVA of random weights, in the format of the public one: for tests, and for a first run of every stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snellen.models.random_folders import draw_weights
from snellen.models.tokens.small_tokenizers import WORDS, gpt2_tokenizer
from snellen.models.weights.hugging_face_folder import import_transformers
from snellen.models.weights.quiet_loading import quiet_loading

#: Sizes of both towers.
WIDTH = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def write_random_llava(folder: Path, *, image_size: int = 32, words: Sequence[str] = WORDS, seed: int = 0) -> Path:
    """A small ``LlavaForConditionalGeneration`` with drawn weights, its processor and its tokenizer."""
    transformers = import_transformers("a small LLaVA")
    tokenizer = gpt2_tokenizer(words)
    with quiet_loading():
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
        end = tokenizer.eos_token_id
        vision = WIDTH | {"image_size": image_size, "patch_size": 8, "num_hidden_layers": 3}
        text = WIDTH | {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 2048,
            "num_key_value_heads": 2,
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
        }
        config = transformers.LlavaConfig(
            vision_config=transformers.CLIPVisionConfig(**vision),
            text_config=transformers.LlamaConfig(**text),
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
            vision_feature_layer=-2,
        )
        model = transformers.LlavaForConditionalGeneration(config)
        draw_weights(model, seed=seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        square = {"height": image_size, "width": image_size}
        transformers.CLIPImageProcessorPil(size={"shortest_edge": image_size}, crop_size=square).save_pretrained(folder)
    return folder
