"""Detectors of random weights: the exact classes of transformers, as ``save_pretrained`` writes them."""

from pathlib import Path
from typing import Any

import transformers

from snellen.models.random_folders import draw_weights
from snellen.models.tokens.small_tokenizers import bert_tokenizer, clip_tokenizer
from snellen.models.weights.quiet_loading import quiet_loading

_MARKS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}


def grounding_dino(folder: Path) -> Path:
    """Swin, BERT, and an encoder and decoder with deformable attention; 256 tokens a text, as published."""
    tokenizer = bert_tokenizer()
    config = transformers.GroundingDinoConfig(
        backbone_config=transformers.SwinConfig(
            image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
            out_indices=[2, 3, 4],
        ),
        text_config=transformers.BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        ),
        d_model=32, num_queries=12, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, disable_custom_kernels=True,
    )  # fmt: skip
    model = transformers.GroundingDinoForObjectDetection(config)
    images = transformers.GroundingDinoImageProcessorPil(size={"shortest_edge": 48, "longest_edge": 80})
    return _written(model, transformers.GroundingDinoProcessor(images, tokenizer), folder)


def owl(folder: Path, *, version: str = "Owlv2") -> Path:
    """A CLIP with a box for each patch: ``OwlViT``, which stretches images, or ``Owlv2``, which pads them."""
    tokenizer = clip_tokenizer(context_length=16)
    width = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    end = tokenizer.eos_token_id
    config = getattr(transformers, f"{version}Config")(
        text_config={
            **width, "vocab_size": len(tokenizer), "max_position_embeddings": 16,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": end, "pad_token_id": end,
        },
        vision_config={**width, "image_size": 48, "patch_size": 12},
        projection_dim=16,
    )  # fmt: skip
    model = getattr(transformers, f"{version}ForObjectDetection")(config)
    images = getattr(transformers, f"{version}ImageProcessorPil")(size={"height": 48, "width": 48})
    return _written(model, getattr(transformers, f"{version}Processor")(images, tokenizer), folder)


def _written(model: Any, processor: Any, folder: Path) -> Path:
    draw_weights(model, seed=1)
    for name, parameter in model.named_parameters():
        if "bbox_embed" in name and parameter.ndim > 1:
            parameter.data.mul_(0.2)  # steps that leave boxes an area
    with quiet_loading():
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder
