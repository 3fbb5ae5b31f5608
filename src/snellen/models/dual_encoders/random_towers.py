"""Small text–image models of random weights, in the formats of the public ones: for tests, and first runs.

They have all parts of the public models, and their tokenizers cover every text. What they compute means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file

from snellen.core.errors import import_extra
from snellen.models.tokens.small_tokenizers import WORDS, clip_tokenizer, siglip_tokenizer
from snellen.models.weights.hugging_face_folder import import_transformers
from snellen.models.weights.quiet_loading import quiet_loading
from snellen.models.weights.random_weights import draw_weights

Activation = Literal["gelu", "quick_gelu"]

_CONTEXT = 16


def write_random_clip(
    folder: Path,
    *,
    activation: Activation = "quick_gelu",
    image_size: int = 32,
    words: Sequence[str] = WORDS,
    seed: int = 0,
) -> Path:
    """Write a ``CLIPModel`` with its processor and tokenizer, as ``save_pretrained`` does.

    Args:
        folder: made if it is not there.
        activation: of both towers.
        image_size: height and width that the model takes; a multiple of 8, pixels.
        words: that the tokenizer knows as a whole.
        seed: of the weights.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    transformers = import_transformers("a CLIP")
    tokenizer = clip_tokenizer(words, context_length=_CONTEXT)
    with quiet_loading():
        config = transformers.CLIPConfig(
            text_config=_text_width() | _text_marks(tokenizer) | {"hidden_act": activation, "projection_dim": 24},
            vision_config=_vision(image_size) | {"hidden_act": activation, "projection_dim": 24},
            projection_dim=24,
        )
        model = transformers.CLIPModel(config)
        draw_weights(model, seed=seed)
        model.save_pretrained(folder)
        processor = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": image_size}, crop_size={"height": image_size, "width": image_size}
        )
        transformers.CLIPProcessor(processor, tokenizer).save_pretrained(folder)
    return folder


def write_random_siglip(folder: Path, *, image_size: int = 32, words: Sequence[str] = WORDS, seed: int = 0) -> Path:
    """Write a ``SiglipModel`` with its processor and a tokenizer, as ``save_pretrained`` does; arguments as above."""
    transformers = import_transformers("a SigLIP")
    tokenizer = siglip_tokenizer(words, context_length=_CONTEXT)
    with quiet_loading():
        text = _text_width() | _text_marks(tokenizer) | {"projection_size": 32}
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=_vision(image_size)))
        draw_weights(model, seed=seed)
        model.logit_scale.data.fill_(2.3)
        model.logit_bias.data.fill_(-10.0)
        model.save_pretrained(folder)
        size = {"height": image_size, "width": image_size}
        transformers.SiglipImageProcessorPil(size=size).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def write_random_openclip(
    folder: Path,
    *,
    activation: Activation = "gelu",
    convolutional: bool = False,
    image_size: int = 32,
    words: Sequence[str] = WORDS,
    seed: int = 0,
) -> Path:
    """Write an open_clip model as its ``local-dir:`` takes it: configuration, weights and tokenizer in one folder.

    Args:
        folder: made if it is not there.
        activation: of both towers; a residual network has its own.
        convolutional: a residual network with attention pooling as image tower, instead of a transformer.
        image_size: height and width that the model takes; a multiple of 32, pixels.
        words: that the tokenizer knows as a whole.
        seed: of the weights.

    Raises:
        MissingExtraError: open_clip is not installed.
    """
    with quiet_loading():
        open_clip = import_extra("open_clip", "vlm", "an open_clip model")
    tokenizer = clip_tokenizer(words, context_length=_CONTEXT)
    vision: dict[str, Any] = {"image_size": image_size, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
    if convolutional:
        vision = {"image_size": image_size, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
    text = {"context_length": _CONTEXT, "vocab_size": len(tokenizer), "width": 32, "heads": 4, "layers": 2}
    config = {
        "embed_dim": 24,
        "quick_gelu": activation == "quick_gelu",
        "vision_cfg": vision | ({} if convolutional else {"mlp_ratio": 2.0}),
        "text_cfg": text | {"mlp_ratio": 2.0, "hf_tokenizer_name": "tokenizer.json"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_loading():
        tokenizer.save_pretrained(folder)
        written = {"model_cfg": config, "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"}}
        (folder / "open_clip_config.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        draw_weights(model, seed=seed)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


def _text_width() -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": _CONTEXT,
    }


def _text_marks(tokenizer: Any) -> dict[str, Any]:  # noqa: ANN401 - of an extra
    """Numbers of the marks, whose defaults are those of the public vocabulary, and the size of this one."""
    marks = {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id") for mark in ("bos", "eos", "pad")}
    return {"vocab_size": len(tokenizer)} | {name: number for name, number in marks.items() if number is not None}


def _vision(image_size: int) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": image_size,
        "patch_size": 8,
    }
