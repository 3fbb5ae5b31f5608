"""A generator from a reference: ``diffusers:FOLDER`` or ``bundled:NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snellen.core.errors import InputError, unknown_name
from snellen.models.diffusion.denoiser import CALLS, Denoiser, check_prediction
from snellen.models.diffusion.folder import Folder, load_network, load_tokenizer, read_folder, read_json
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.image_encoding import DEVIATION, MEAN, ImageEncoding
from snellen.models.diffusion.solver import alphas_cumprod
from snellen.models.diffusion.text_encoding import Form, TextEncoding, TextTower
from snellen.models.weights.bundled_folders import bundled_folder
from snellen.models.weights.devices import resolve_device

_FORMS = "diffusers:FOLDER or bundled:NAME"

#: Tokens that the text encoder of a pipeline reads where its tokenizer reads more.
_MASKED_LENGTH = {"PixArtSigmaPipeline": 300}


def load_generator(
    ref: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Generator:
    """Load a diffusion model: Stable Diffusion, its image variations, SDXL, PixArt, DiT, a UNet, also with classes.

    Nothing is downloaded, no code of the folder is run, and no pickle is read. Weights that are stored in half
    precision are turned into ``dtype``. Safety checkers of a folder are not loaded: what is made is not filtered.

    Args:
        ref: ``diffusers:FOLDER``, with model_index.json or a bare network with its scheduler; or ``bundled:NAME``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: of the weights; latents stay in float32.

    Raises:
        InputError: a folder that is missing, incomplete, in another format or of a class that is not supported; a
            network that takes more than noisy latents, of an inpainting model for instance.
        MissingExtraError: diffusers or transformers is not installed.
    """
    generator = load_unchecked(ref, device=device, dtype=dtype)
    made = _made_channels(generator)
    if generator.denoiser.channels != made:
        raise InputError(
            f"{generator.name}: its network takes {generator.denoiser.channels} channels, but its latents have {made}, "
            f"so it needs more than noise. An inpainting model ({2 * made + 1} channels) is loaded by "
            f"snellen.models.diffusion.editor_inpainting.load_inpainting_generator(); others are not supported"
        )
    return generator


def load_unchecked(
    ref: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Generator:
    """:func:`load_generator` for those who give a network the further channels that it takes: an inpainting editor.

    Raises:
        InputError: a folder that is missing, incomplete, in another format or of a class that is not supported.
        MissingExtraError: diffusers or transformers is not installed.
    """
    scheme, colon, rest = str(ref).partition(":")
    if not colon:
        hint = f"; write diffusers:{ref}" if Path(ref).is_dir() else ""
        raise InputError(f"{str(ref)!r} is not a reference of a generator{hint}; expected {_FORMS}")
    if scheme not in ("diffusers", "bundled"):
        raise unknown_name("kind of generator", scheme, ["diffusers", "bundled"])
    if not rest:
        raise InputError(f"{str(ref)!r} names no generator; expected {_FORMS}")
    where = resolve_device(device)
    path = bundled_folder(rest) if scheme == "bundled" else Path(rest)
    folder = read_folder(path)
    name = f"bundled:{rest}" if scheme == "bundled" else f"diffusers:{path.name or path.resolve().name}"
    return assemble(folder, name=name, device=where, dtype=dtype)


def assemble(folder: Folder, *, name: str, device: torch.device, dtype: torch.dtype) -> Generator:
    """Load the parts of a folder and put them together.

    Raises:
        InputError: parts that do not make a generator.
    """
    prediction = check_prediction(str(folder.scheduler.get("prediction_type", "epsilon")))
    kept = alphas_cumprod(folder.scheduler)
    if float(kept[-1]) == 0 and prediction == "epsilon":
        raise InputError(
            f"{folder.path}: its schedule ends in pure noise, where a prediction of noise holds no information"
        )
    network = load_network(folder.denoiser, device, dtype)
    kind = type(network).__name__
    if kind not in CALLS:
        raise InputError(f"{folder.denoiser.path}: a {kind} is not supported; expected one of {', '.join(CALLS)}")
    config: Mapping[str, Any] = network.config  # type: ignore[assignment]
    denoiser = Denoiser(
        network=network,
        prediction=prediction,
        alphas_cumprod=kept,
        channels=int(config["in_channels"]),
        size=_size(config, folder),
        size_multiple=_multiple(config),
    )
    image = _image(folder, device, dtype)
    text = None if image is not None else _text(folder, kind, device, dtype)
    conditioned = text is not None or image is not None
    classes, null_class, names = (0, None, None) if conditioned else _classes(folder, config)
    sized = config.get("addition_embed_type") == "text_time" or bool(getattr(network, "use_additional_conditions", 0))
    return Generator(
        name=name,
        denoiser=denoiser,
        schedule=folder.scheduler,
        text=text,
        image=image,
        classes=classes,
        null_class=null_class,
        class_names=names,
        vae=_vae(folder, device, dtype),
        sized=sized,
    )


def _image(folder: Folder, device: torch.device, dtype: torch.dtype) -> ImageEncoding | None:
    """The vision tower of a generator of image variations, with the normalisation that the folder gives."""
    if "image_encoder" not in folder.parts:
        return None
    network = load_network(folder.parts["image_encoder"], device, dtype)
    path = folder.path / "feature_extractor" / "preprocessor_config.json"
    given = read_json(path) if path.is_file() else {}
    mean, deviation = (
        tuple(float(value) for value in given.get(key, default))
        for key, default in (("image_mean", MEAN), ("image_std", DEVIATION))
    )
    if len(mean) != 3 or len(deviation) != 3 or min(deviation) <= 0:
        raise InputError(f"{path}: three means and deviations of colours are expected; got {mean} and {deviation}")
    return ImageEncoding(network, int(network.config.image_size), mean, deviation)  # type: ignore[union-attr, arg-type]


def _made_channels(generator: Generator) -> int:
    """Channels of what the network makes: of its decoder's latents, else its own output without a learned variance."""
    if generator.vae is not None:
        return int(generator.vae.config.latent_channels)
    out = int(generator.denoiser.network.config["out_channels"])  # type: ignore[index]
    return min(out, generator.denoiser.channels)


def _vae(folder: Folder, device: torch.device, dtype: torch.dtype) -> nn.Module | None:
    if "vae" not in folder.parts:
        return None
    part = folder.parts["vae"]
    overflows = bool(read_json(part.path / "config.json").get("force_upcast"))  # in half precision
    return load_network(part, device, torch.float32 if overflows else dtype)


def _size(config: Mapping[str, Any], folder: Folder) -> tuple[int, int]:
    size = config.get("sample_size")
    if size is None:
        raise InputError(f"{folder.denoiser.path}/config.json gives no sample_size")
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _multiple(config: Mapping[str, Any]) -> int:
    """Networks that halve their input must come out where they went in; transformers cut it into patches."""
    if "down_block_types" in config:
        return int(2 ** (len(config["down_block_types"]) - 1)) if config["_class_name"] == "UNet2DModel" else 1
    return int(config.get("patch_size") or 1)


def _text(folder: Folder, kind: str, device: torch.device, dtype: torch.dtype) -> TextEncoding | None:
    names = [name for name in ("text_encoder", "text_encoder_2") if name in folder.parts]
    if not names:
        if kind in ("UNet2DConditionModel", "PixArtTransformer2DModel"):
            raise InputError(f"{folder.path}: a {kind} reads text, but the folder has no text_encoder")
        return None
    kinds = [folder.parts[name].kind for name in names]
    projected = kinds[-1] == "CLIPTextModelWithProjection"
    form: Form = "masked" if kinds == ["T5EncoderModel"] else "two towers" if projected else "one tower"
    if ("T5EncoderModel" in kinds and form != "masked") or (len(kinds) == 2 and form != "two towers"):
        raise InputError(f"{folder.path}: text encoders {' and '.join(kinds)} are not read together")
    if (form == "masked") != (kind == "PixArtTransformer2DModel"):
        raise InputError(f"{folder.path}: a {kind} with the text encoder {' and '.join(kinds)} is not supported")
    if folder.index.get("requires_aesthetics_score"):
        raise InputError(f"{folder.path}: a refiner, which takes an aesthetic score, is not supported")
    return TextEncoding(
        form=form,
        towers=tuple(_tower(folder, name, form, device, dtype) for name in names),
        zero_null=form == "two towers" and bool(folder.index.get("force_zeros_for_empty_prompt", True)),
    )


def _tower(folder: Folder, name: str, form: Form, device: torch.device, dtype: torch.dtype) -> TextTower:
    partner = name.replace("text_encoder", "tokenizer")
    if partner not in folder.parts:
        raise InputError(f"{folder.path} has a {name} but no {partner}")
    tokenizer = load_tokenizer(folder.parts[partner])
    network: nn.Module = load_network(folder.parts[name], device, dtype)
    length = int(tokenizer.model_max_length)  # 1e30 where the files do not say
    if form == "masked":
        length = min(length, _MASKED_LENGTH.get(folder.pipeline, 120))
    else:
        length = min(length, int(network.config.max_position_embeddings))  # type: ignore[union-attr, arg-type]
    return TextTower(tokenizer, network, length)


def _classes(folder: Folder, config: Mapping[str, Any]) -> tuple[int, int | None, tuple[str, ...] | None]:
    """Number of classes, the id of "none", and names."""
    named = folder.index.get("id2label") or {}
    names = tuple(str(named[key]) for key in sorted(named, key=int)) or None
    if config["_class_name"] in ("DiTTransformer2DModel", "Transformer2DModel"):
        count = int(config["num_embeds_ada_norm"])
        return count, count, names
    rows = int(config.get("num_class_embeds") or 0)
    if not rows:
        return 0, None, None
    # One row for each class: nothing was trained to mean "none". Otherwise it is the last row, as in DiT.
    if names is not None and len(names) == rows:
        return rows, None, names
    return rows - 1, rows - 1, names
