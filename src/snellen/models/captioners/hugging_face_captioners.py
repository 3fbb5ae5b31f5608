"""``hf:FOLDER``: captioners of the transformers library.

BLIP (Li et al., ICML 2022, ``BlipForConditionalGeneration``), and any image encoder joined to a language model with
cross-attention (``VisionEncoderDecoderModel``, such as ViT with GPT-2).
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.captioners.cross_attention import CrossAttentionDecoder
from snellen.models.captioners.generation_settings import ignored_settings
from snellen.models.captioners.protocol import Captioner
from snellen.models.captioners.word_pieces import WordPieces
from snellen.models.classifiers.hugging_face_models import translate
from snellen.models.weights.hugging_face_folder import (
    check_folder,
    check_vocabulary,
    import_transformers,
    load_config,
    load_image_processor,
    load_network,
    load_tokenizer,
)

#: Model classes of transformers by the ``model_type`` of the configuration.
MODELS = {"blip": "BlipForConditionalGeneration", "vision-encoder-decoder": "VisionEncoderDecoderModel"}


def load(rest: str, device: torch.device, *, name: str | None = None) -> Captioner:
    """Load a folder as ``save_pretrained`` of a captioner, its image processor and its tokenizer writes it.

    Raises:
        InputError: a hub id, missing files, another kind of model, weights that do not fit, or marks that the decoder
            does not know.
    """
    folder = Path(rest)
    check_folder(folder, tokenizer=True)
    transformers = import_transformers(f"hf:{rest}")
    config = load_config(transformers, folder)
    if config.model_type not in MODELS:
        raise InputError(
            f"{folder} holds a model of type {config.model_type!r}, not a captioner ({' or '.join(MODELS)})"
        )
    wanted = MODELS[config.model_type]
    if config.architectures and wanted not in config.architectures:
        raise InputError(f"{folder} holds a {', '.join(config.architectures)}, and a captioner is a {wanted}")
    # Captioners read the states of the image before they are pooled.
    model = load_network(getattr(transformers, wanted), folder, what="a captioner", unused=("encoder.pooler.",))
    preparation, normalization = translate(load_image_processor(transformers, folder), name=folder.name)
    tokenizer = load_tokenizer(transformers, folder)
    build = _blip if config.model_type == "blip" else _encoder_decoder
    return build(
        transformers,
        model,
        tokenizer,
        name=name or f"hf:{folder.name}",
        preparation=preparation,
        normalization=normalization,
        device=device,
    )


def blip_pieces(text_config: Any, tokenizer: Any, *, name: str) -> WordPieces:  # noqa: ANN401 - of an extra
    """Texts and tokens of a BLIP decoder: it begins with a mark of its own, and ends with the tokenizer's separator.

    Raises:
        InputError: a tokenizer of another model, or an end mark that is not the tokenizer's.
    """
    check_vocabulary(tokenizer, text_config.vocab_size, name=name)
    if text_config.sep_token_id != tokenizer.sep_token_id:
        raise InputError(
            f"{name}: the decoder ends a sentence with token {text_config.sep_token_id} (sep_token_id of text_config), "
            f"the tokenizer with {tokenizer.sep_token_id}; set it in config.json"
        )
    return WordPieces(
        tokenizer,
        begin=text_config.bos_token_id,
        end=text_config.sep_token_id,
        filler=text_config.pad_token_id,
        size=text_config.vocab_size,
        context_length=text_config.max_position_embeddings,
        name=name,
    )


def _blip(transformers: ModuleType, model: Any, tokenizer: Any, *, name: str, **rest: Any) -> CrossAttentionCaptioner:  # noqa: ANN401
    def encode(images: Tensor) -> Tensor:
        states: Tensor = model.vision_model(pixel_values=images).last_hidden_state
        return states

    return CrossAttentionCaptioner(
        module=model,
        encoder=encode,
        decoder=CrossAttentionDecoder(transformers, model.text_decoder),
        pieces=blip_pieces(model.config.text_config, tokenizer, name=name),
        name=name,
        notes=ignored_settings(model.text_decoder.generation_config),
        **rest,
    )


def _encoder_decoder(
    transformers: ModuleType,
    model: Any,  # noqa: ANN401 - of an extra
    tokenizer: Any,  # noqa: ANN401 - of an extra
    *,
    name: str,
    **rest: Any,  # noqa: ANN401 - passed on
) -> CrossAttentionCaptioner:
    decoder = model.decoder.config
    if not getattr(decoder, "add_cross_attention", False):
        raise InputError(f"{name}: its decoder has no cross-attention (add_cross_attention), so it cannot see images")
    if getattr(model.encoder, "pooler", None) is not None:
        model.encoder.pooler = None
    joint = (
        model.encoder.config.hidden_size != decoder.hidden_size
        and getattr(decoder, "cross_attention_hidden_size", None) is None
    )

    def encode(images: Tensor) -> Tensor:
        states: Tensor = model.encoder(pixel_values=images).last_hidden_state
        return model.enc_to_dec_proj(states) if joint else states

    check_vocabulary(tokenizer, decoder.vocab_size, name=name)
    settings = model.generation_config
    pieces = WordPieces(
        tokenizer,
        begin=_mark("decoder_start_token_id", name, settings, model.config),
        end=_mark("eos_token_id", name, settings, model.config, decoder),
        filler=_mark("pad_token_id", name, settings, model.config, decoder),
        size=decoder.vocab_size,
        context_length=decoder.max_position_embeddings,
        name=name,
    )
    return CrossAttentionCaptioner(
        module=model,
        encoder=encode,
        decoder=CrossAttentionDecoder(transformers, model.decoder),
        pieces=pieces,
        name=name,
        notes=ignored_settings(settings),
        **rest,
    )


def _mark(field: str, name: str, *configurations: Any) -> int | None:  # noqa: ANN401 - of an extra
    """The first configuration that tells a mark; several end marks are not one."""
    for configuration in configurations:
        value = getattr(configuration, field, None)
        if isinstance(value, list) and len(value) == 1:
            return int(value[0])
        if isinstance(value, list):
            raise InputError(f"{name}: {field} is {value}; one mark is expected")
        if value is not None:
            return int(value)
    return None
