"""``hf:FOLDER``: captioners of the transformers library, read and written.

BLIP (Li et al., ICML 2022, ``BlipForConditionalGeneration``), and any image encoder joined to a language model with
cross-attention (``VisionEncoderDecoderModel``, such as ViT with GPT-2).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.captioners.captioner import CrossAttentionCaptioner, CrossAttentionDecoder, WordPieces
from snellen.models.captioners.greedy import ignored_settings
from snellen.models.captioners.protocol import Captioner
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
from snellen.models.weights.quiet_loading import quiet_loading

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
    """The first configuration that holds a mark; several end marks are not one."""
    for configuration in configurations:
        value = getattr(configuration, field, None)
        if isinstance(value, list) and len(value) == 1:
            return int(value[0])
        if isinstance(value, list):
            raise InputError(f"{name}: {field} is {value}; one mark is expected")
        if value is not None:
            return int(value)
    return None


#: Files that are of the network, and are written anew.
_OF_THE_NETWORK = ("config.json", "generation_config.json", "training.json", "card.json", "README.md")


def write_captioner(captioner: Captioner, source: Path, out: Path) -> Path:
    """Write a network with ``save_pretrained``, and its processor and tokenizer as they are in the source.

    Args:
        captioner: whose weights are written.
        source: the folder it was loaded from.
        out: a new or empty folder.

    Raises:
        InputError: ``out`` is not empty, or a network that is none of the transformers library.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; name a new folder")
    network: Any = captioner.module
    if not hasattr(network, "save_pretrained"):
        raise InputError(f"{captioner.name} is no network of transformers, and cannot be written as one")
    with quiet_loading():
        network.save_pretrained(out)
    for path in sorted(source.iterdir()):
        weights = path.suffix in (".safetensors", ".bin") or path.name.endswith(".index.json")
        if path.is_file() and not weights and path.name not in _OF_THE_NETWORK:
            shutil.copyfile(path, out / path.name)
    return out
