"""Small models of random weights, in the formats of the public ones: for tests, and for a first run of every stage.

They have all parts of the public models, and their tokenizers cover every text. What they compute means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from snellen.core.errors import import_extra
from snellen.core.randomness import Randomness
from snellen.models.tokens.small_tokenizers import (
    WORDS,
    bert_tokenizer,
    clip_tokenizer,
    gpt2_tokenizer,
    siglip_tokenizer,
)
from snellen.models.weights.hugging_face_folder import import_transformers
from snellen.models.weights.quiet_loading import quiet_loading


def draw_weights(model: nn.Module, *, seed: int = 0, gain: float = 1.0) -> None:
    """Draw every matrix of a model, in place, with ``gain`` over the square root of its inputs; biases become zero.

    With unit gain signals neither fade nor explode, so that inputs move outputs, which they hardly do with the small
    weights from which a training starts. Embeddings have unit variance. Weights of norms, and scalars, stay as they
    are. Shared tensors are drawn once.

    >>> first, second = nn.Linear(4, 2), nn.Linear(4, 2)
    >>> draw_weights(first), draw_weights(second)
    (None, None)
    >>> torch.equal(first.weight, second.weight)
    True
    """
    rng = Randomness(seed)
    embeddings = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Embedding)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and name.endswith("bias"):
                parameter.zero_()
            elif id(parameter) in embeddings or ("embed" in name and parameter.ndim):
                parameter.copy_(torch.randn(parameter.shape, generator=rng.generator(name)))
            elif parameter.ndim > 1:
                scale = gain * parameter[0].numel() ** -0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=rng.generator(name)))


_CAPTION_CONTEXT = 32


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
    tokenizer = bert_tokenizer(words, context_length=_CAPTION_CONTEXT)
    count = len(tokenizer)
    text = _width() | {
        "vocab_size": count + 2,
        "encoder_hidden_size": 32,
        "max_position_embeddings": _CAPTION_CONTEXT,
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
    tokenizer = gpt2_tokenizer(words, context_length=_CAPTION_CONTEXT)
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
            n_positions=_CAPTION_CONTEXT,
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


Activation = Literal["gelu", "quick_gelu"]

_TEXT_CONTEXT = 16


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
    tokenizer = clip_tokenizer(words, context_length=_TEXT_CONTEXT)
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
    tokenizer = siglip_tokenizer(words, context_length=_TEXT_CONTEXT)
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
    tokenizer = clip_tokenizer(words, context_length=_TEXT_CONTEXT)
    vision: dict[str, Any] = {"image_size": image_size, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
    if convolutional:
        vision = {"image_size": image_size, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
    text = {"context_length": _TEXT_CONTEXT, "vocab_size": len(tokenizer), "width": 32, "heads": 4, "layers": 2}
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
        "max_position_embeddings": _TEXT_CONTEXT,
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


def small_sam_config(image_size: int = 64) -> dict[str, dict[str, Any]]:
    """The parts of a ``SamConfig`` that differ from the public ViT-B: widths, depth and image size.

    The parts are there as in the public models: windowed attention with a window that does not divide the grid, global
    attention in some layers, relative positions, three candidates and a predicted overlap.

    >>> small_sam_config()["vision_config"]["image_size"]
    64

    Args:
        image_size: height and width that the model takes; a multiple of 8, pixels.
    """
    return {
        "vision_config": {
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "mlp_dim": 64,
            "image_size": image_size,
            "patch_size": 8,
            "window_size": 3,
            "global_attn_indexes": [1, 3],
            "output_channels": 32,
            "num_pos_feats": 16,
        },
        "prompt_encoder_config": {"hidden_size": 32, "image_size": image_size, "patch_size": 8},
        "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32},
    }


def write_random_sam(folder: Path, *, image_size: int = 64, seed: int = 0) -> Path:
    """Write a SAM of random weights as ``save_pretrained`` does: config.json, model.safetensors, processor_config.json.

    The same seed gives the same weights. Masks follow the picture and the prompt, but mean nothing.

    Args:
        folder: made if it is not there.
        image_size: height and width that the model takes; a multiple of 8, pixels.
        seed: of the weights.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    transformers = import_transformers("a SAM")
    with quiet_loading():
        model = transformers.SamModel(transformers.SamConfig(**small_sam_config(image_size)))
        weights = {name: _drawn(name, value, seed) for name, value in model.state_dict().items()}
        model.load_state_dict(weights)
        size, mask = {"height": image_size, "width": image_size}, image_size // 2
        processor = transformers.SamImageProcessorPil(
            size={"longest_edge": image_size},
            pad_size=size,
            mask_size={"longest_edge": mask},
            mask_pad_size={"height": mask, "width": mask},
        )
        model.save_pretrained(folder)
        transformers.SamProcessor(processor).save_pretrained(folder)
    return folder


def _drawn(name: str, value: Tensor, seed: int) -> Tensor:
    """Weights of unit gain, so that pictures and prompts move the masks; biases and norms stay as they are."""
    if value.ndim < 2:
        return value
    gain = 1.0 if value.ndim == 2 and "embed" in name else value[0].numel() ** -0.5
    return gain * torch.randn(value.shape, generator=Randomness(seed).generator(name))


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
