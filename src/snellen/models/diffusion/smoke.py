"""Tiny generators with random weights, as folders in the exact form of the public models.

Classes, block types and numbers of levels are those of the public configurations; only widths, layers and the size of
the pictures are small. They make noise, in seconds, through the code path of the real models: what a test needs.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from snellen.core.errors import import_extra, unknown_name
from snellen.core.randomness import Randomness
from snellen.models.tokens.small_tokenizers import WORDS, clip_tokenizer
from snellen.models.weights.quiet_loading import quiet_loading


def t5_tokenizer(words: Sequence[str] = WORDS, *, context_length: int = 512) -> Any:  # noqa: ANN401 - of an extra
    """A ``T5Tokenizer`` (unigram) with these words and, less likely, all small letters, digits and punctuation.

    >>> tokenizer = t5_tokenizer()
    >>> tokenizer.convert_ids_to_tokens(tokenizer("a star").input_ids)
    ['▁a', '▁star', '</s>']
    """
    transformers = import_extra("transformers", "diffusion", "a T5 tokenizer")
    signs = (*string.ascii_lowercase, *string.digits, *string.punctuation)
    pieces = [(f"▁{word}", -math.log(2 + rank)) for rank, word in enumerate(dict.fromkeys(words))]
    pieces += [(piece, -12.0) for piece in ("▁", *signs)]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces]
    with quiet_loading():
        return transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=context_length)


_LATENT_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def write_smoke_folder(name: str, folder: str | Path, *, seed: int = 0) -> Path:
    """Write the tiny generator ``name``, one of :data:`SMOKE_FOLDERS`, as a diffusers folder.

    The same name and seed give the same bytes of weights. Needs the extra ``diffusion``.

    Raises:
        UnknownNameError: no such name.
        MissingExtraError: diffusers or transformers is not installed.
    """
    if name not in SMOKE_FOLDERS:
        raise unknown_name("smoke folder", name, SMOKE_FOLDERS)
    diffusers = import_extra("diffusers", "diffusion", f"the smoke folder {name}")
    transformers = import_extra("transformers", "diffusion", f"the smoke folder {name}")
    target = Path(folder)
    with quiet_loading():
        pipeline = SMOKE_FOLDERS[name](diffusers, transformers)
        _fill_all(pipeline.components, seed, name)
        pipeline.save_pretrained(target, safe_serialization=True)
    return target


def fill(module: nn.Module, rng: Randomness) -> None:
    """Draw all weights anew, matrices with variance 1 / fan-in, gains near 1 and biases near 0, none exactly.

    Libraries start some layers at zero, which would make a condition or a skip connection invisible to a test.
    """
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            drawn = torch.randn(parameter.shape, generator=rng.generator(name))
            if parameter.ndim > 1:
                parameter.copy_(drawn / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(float(name.endswith("weight")) + 0.05 * drawn)  # gains of norms, and biases


def _vae(diffusers: ModuleType, scaling_factor: float) -> nn.Module:
    vae: nn.Module = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=scaling_factor,
    )
    return vae


def _clip(transformers: ModuleType, tokenizer: Any, *, projected: bool = False, **changes: object) -> nn.Module:  # noqa: ANN401
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "max_position_embeddings": tokenizer.model_max_length,
        "projection_dim": 32,
        "bos_token_id": tokenizer.bos_token_id,
        # The default is the end token of the large vocabulary: all prompts would have the same pooled state.
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = transformers.CLIPTextConfig(**{**settings, **changes})
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    tower: nn.Module = kind(config).eval()
    return tower


def _text_unet(diffusers: ModuleType, **changes: object) -> nn.Module:
    settings = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 2,
        "block_out_channels": (8, 16, 16, 16),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "attention_head_dim": 2,
        "cross_attention_dim": 32,
        "norm_num_groups": 4,
    }
    unet: nn.Module = diffusers.UNet2DConditionModel(**{**settings, **changes})
    return unet


def _stable_diffusion_1(diffusers: ModuleType, transformers: ModuleType) -> Any:  # noqa: ANN401 - of an extra
    tokenizer = clip_tokenizer()
    return diffusers.StableDiffusionPipeline(
        vae=_vae(diffusers, 0.18215),
        text_encoder=_clip(transformers, tokenizer),
        tokenizer=tokenizer,
        unet=_text_unet(diffusers),
        scheduler=diffusers.PNDMScheduler(
            **_LATENT_SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _image_variations(diffusers: ModuleType, transformers: ModuleType) -> Any:  # noqa: ANN401 - of an extra
    config = transformers.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=32,
    )
    return diffusers.StableDiffusionImageVariationPipeline(
        vae=_vae(diffusers, 0.18215),
        image_encoder=transformers.CLIPVisionModelWithProjection(config).eval(),
        unet=_text_unet(diffusers),
        scheduler=diffusers.PNDMScheduler(
            **_LATENT_SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        requires_safety_checker=False,
    )


def _stable_diffusion_2(diffusers: ModuleType, transformers: ModuleType) -> Any:  # noqa: ANN401 - of an extra
    tokenizer = clip_tokenizer()
    return diffusers.StableDiffusionPipeline(
        vae=_vae(diffusers, 0.18215),
        text_encoder=_clip(transformers, tokenizer, hidden_act="gelu"),
        tokenizer=tokenizer,
        unet=_text_unet(diffusers, attention_head_dim=[1, 2, 4, 4], use_linear_projection=True),
        scheduler=diffusers.DDIMScheduler(
            **_LATENT_SCHEDULE,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type="v_prediction",
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _stable_diffusion_xl(diffusers: ModuleType, transformers: ModuleType) -> Any:  # noqa: ANN401 - of an extra
    tokenizer = clip_tokenizer()
    unet = _text_unet(
        diffusers,
        block_out_channels=(8, 16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 2, 2],
        attention_head_dim=[1, 2, 4],
        use_linear_projection=True,
        cross_attention_dim=32 + 48,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=40 + 6 * 8,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=_vae(diffusers, 0.13025),
        text_encoder=_clip(transformers, tokenizer),
        text_encoder_2=_clip(
            transformers, tokenizer, projected=True, hidden_size=48, projection_dim=40, hidden_act="gelu"
        ),
        tokenizer=tokenizer,
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(**_LATENT_SCHEDULE, timestep_spacing="leading", steps_offset=1),
    )


def _pixart(diffusers: ModuleType, transformers: ModuleType) -> Any:  # noqa: ANN401 - of an extra
    tokenizer = t5_tokenizer()
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
    )
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        cross_attention_dim=32,
        sample_size=8,
        caption_channels=32,
    )
    return diffusers.PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=transformers.T5EncoderModel(config).eval(),
        vae=_vae(diffusers, 0.18215),
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )


def _dit(diffusers: ModuleType, _: ModuleType) -> Any:  # noqa: ANN401 - of an extra
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        attention_bias=True,
        sample_size=8,
        num_embeds_ada_norm=1000,
    )
    return diffusers.DiTPipeline(
        transformer=transformer,
        vae=_vae(diffusers, 0.18215),
        scheduler=diffusers.DDIMScheduler(clip_sample=False),
        id2label={index: f"class {index}" for index in range(1000)},
    )


def _unet(diffusers: ModuleType, **changes: object) -> nn.Module:
    settings = {
        "sample_size": 32,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 2,
        "block_out_channels": (8, 16, 16, 16),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": None,
        "norm_num_groups": 4,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
    }
    unet: nn.Module = diffusers.UNet2DModel(**{**settings, **changes})
    return unet


def _class_unet(diffusers: ModuleType, _: ModuleType) -> Any:  # noqa: ANN401 - of an extra
    scheduler = diffusers.DDPMScheduler(variance_type="fixed_large")
    return diffusers.DDPMPipeline(unet=_unet(diffusers, num_class_embeds=11), scheduler=scheduler)


def _unconditional_unet(diffusers: ModuleType, _: ModuleType) -> Any:  # noqa: ANN401 - of an extra
    return diffusers.DDPMPipeline(unet=_unet(diffusers), scheduler=diffusers.DDPMScheduler(variance_type="fixed_large"))


def _adm(diffusers: ModuleType, _: ModuleType) -> Any:  # noqa: ANN401 - of an extra
    """The unconditional model of 256 pixels of Dhariwal and Nichol 2021: six levels, attention in the last three."""
    unet = _unet(
        diffusers,
        sample_size=256,
        out_channels=6,  # noise and a learned variance
        layers_per_block=2,
        block_out_channels=(8, 8, 8, 8, 16, 16),
        down_block_types=("ResnetDownsampleBlock2D",) * 3 + ("AttnDownBlock2D",) * 3,
        up_block_types=("AttnUpBlock2D",) * 3 + ("ResnetUpsampleBlock2D",) * 3,
        attention_head_dim=4,
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
    )
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range")
    return diffusers.DDPMPipeline(unet=unet, scheduler=scheduler)


#: Name → function that builds the pipeline. The class-conditional UNet has ten classes, and a last row for "none".
SMOKE_FOLDERS: dict[str, Callable[[ModuleType, ModuleType], Any]] = {
    "stable-diffusion-1.5": _stable_diffusion_1,
    "stable-diffusion-2.1": _stable_diffusion_2,
    "stable-diffusion-xl": _stable_diffusion_xl,
    "pixart": _pixart,
    "dit": _dit,
    "class-unet": _class_unet,
    "unconditional-unet": _unconditional_unet,
    "adm-256": _adm,
}


def write_variations_smoke_folder(folder: str | Path, *, seed: int = 0) -> Path:
    """Write a tiny generator of image variations: a Stable Diffusion 1 that reads a vision tower of CLIP, and no text.

    The same seed gives the same bytes of weights. Needs the extra ``diffusion``.

    Raises:
        MissingExtraError: diffusers or transformers is not installed.
    """
    diffusers = import_extra("diffusers", "diffusion", "the smoke folder of image variations")
    transformers = import_extra("transformers", "diffusion", "the smoke folder of image variations")
    target = Path(folder)
    with quiet_loading():
        pipeline = _image_variations(diffusers, transformers)
        _fill_all(pipeline.components, seed, "image-variations")
        pipeline.save_pretrained(target, safe_serialization=True)
    return target


def write_inpainting_smoke_folder(folder: str | Path, *, seed: int = 0) -> Path:
    """Write the smoke generator ``stable-diffusion-1.5`` with a network that takes nine channels.

    The same seed gives the same bytes of weights. Needs the extra ``diffusion``.

    Raises:
        MissingExtraError: diffusers or transformers is not installed.
    """
    diffusers = import_extra("diffusers", "diffusion", "the smoke folder of an inpainting model")
    transformers = import_extra("transformers", "diffusion", "the smoke folder of an inpainting model")
    target = Path(folder)
    with quiet_loading():
        # Put back at the end of the block. Libraries draw biases, which are only moved a little below.
        torch.default_generator.manual_seed(0)
        plain = SMOKE_FOLDERS["stable-diffusion-1.5"](diffusers, transformers)
        network = diffusers.UNet2DConditionModel.from_config({**plain.unet.config, "in_channels": 9})
        parts = {**plain.components, "unet": network}
        _fill_all(parts, seed, "inpainting")
        parts.pop("image_encoder", None)
        pipeline = diffusers.StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
        pipeline.save_pretrained(target, safe_serialization=True)
    return target


def write_instructed_smoke_folder(folder: str | Path, *, seed: int = 0) -> Path:
    """Write a tiny InstructPix2Pix: Stable Diffusion 1.5 whose network also takes the latents of an image.

    The same seed gives the same bytes of weights. Needs the extra ``diffusion``.

    Raises:
        MissingExtraError: diffusers or transformers is not installed.
    """
    diffusers = import_extra("diffusers", "diffusion", "the smoke folder of an editor by instruction")
    transformers = import_extra("transformers", "diffusion", "the smoke folder of an editor by instruction")
    with quiet_loading():
        torch.default_generator.manual_seed(0)  # as above
        plain = SMOKE_FOLDERS["stable-diffusion-1.5"](diffusers, transformers)
        network = diffusers.UNet2DConditionModel.from_config({**plain.unet.config, "in_channels": 8})
        parts = {**plain.components, "unet": network}
        parts.pop("image_encoder", None)
        pipeline = diffusers.StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)
        _fill_all(pipeline.components, seed, "instructed")
        pipeline.save_pretrained(folder, safe_serialization=True)
    return Path(folder)


def _fill_all(parts: Mapping[str, object], seed: int, what: str) -> None:
    """Fill every network of a pipeline, in the order of their names."""
    for name, part in sorted(parts.items()):
        if isinstance(part, nn.Module):
            fill(part, Randomness(seed).child("smoke", what, name))
