"""``openclip:NAME@FILE.safetensors`` and ``openclip:FOLDER``: text–image models of the open_clip library.

The same weights run with GELU or with QuickGELU (x · sigmoid(1.702 x)), and no file of weights states which they were
trained with: the name of the architecture does (``ViT-B-32`` or ``ViT-B-32-quickgelu``), or ``quick_gelu`` in the
folder's configuration. The activation is among the notes of a loaded model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, import_extra, unknown_name
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.hugging_face_models import same_pixels
from snellen.models.dual_encoders.towers import ImageTower, Tokeniser, Towers, TwoTower
from snellen.models.weights.quiet_loading import first_line, quiet_loading
from snellen.models.weights.state_dict_file import load_strictly, read_state_dict


class OpenClipImageTower(ImageTower):
    """The visual part of an open_clip model: a vision transformer, a residual network, or a network of timm.

    A transformer's patches are its last tokens, normed and projected on the way of the class token. A residual network
    ends in attention over its positions; a patch is what that attention would give if it saw one position only.
    Networks of timm, and transformers with attention pooling, have no patches here.
    """

    def __init__(self, visual: Any) -> None:  # noqa: ANN401 - of an extra
        super().__init__()
        self.visual = visual
        self._transformer = type(visual).__name__ == "VisionTransformer" and visual.attn_pool is None
        self.has_patches = self._transformer or type(visual).__name__ == "ModifiedResNet"
        self.has_tokens = self._transformer and visual.pool_type == "tok"

    def forward(self, images: Tensor) -> Tensor:
        """Encode: (n, 3, h, w) → (n, d)."""
        vectors = self.visual(images)
        # With output_tokens in its configuration, the tower gives its tokens too.
        pooled: Tensor = vectors[0] if isinstance(vectors, tuple) else vectors
        return pooled

    def patches(self, images: Tensor) -> Tensor:
        """Encode patches: (n, 3, h, w) → (n, rows, columns, d)."""
        found = self.visual.forward_intermediates(
            images, indices=1, normalize_intermediates=True, intermediates_only=True
        )
        maps: Tensor = found["image_intermediates"][-1].movedim(1, -1)
        if self._transformer:
            return maps if self.visual.proj is None else maps @ self.visual.proj
        pool = self.visual.attnpool
        positions = pool.positional_embedding[1:].view(1, *maps.shape[1:])
        projected: Tensor = pool.c_proj(pool.v_proj(maps + positions))
        return projected

    def tokens(self, images: Tensor) -> Tensor:
        """What enters the layers of a transformer: (n, 3, h, w) → (n, 1 + patches, width)."""
        if not self.has_tokens:
            return super().tokens(images)
        entering: Tensor = self.visual._embeds(images)
        return entering

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """The layers, the last norm and the projection: (n, t, width) → (n, d)."""
        if not self.has_tokens:
            return super().of_tokens(tokens)
        pooled: Tensor = self.visual._pool(self.visual.transformer(tokens))[0]
        return pooled if self.visual.proj is None else pooled @ self.visual.proj

    def patch_area(self) -> int:
        """Pixels of a patch."""
        if not self.has_tokens:
            return super().patch_area()
        height, width = self.visual.patch_size
        return int(height * width)


_CONFIG = "open_clip_config.json"
_NO_PREPARATION = "preparation: open_clip's default, because a file of weights holds none"
_RESIZES = {"shortest": "shorter", "longest": "longer", "squash": "exact"}


class OpenClipTextTower(nn.Module):
    """The text side of an open_clip model: tokens (n, t) → (n, d). Padding is not masked, as in its training."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - open_clip.CLIP or CustomTextCLIP, of an extra
        super().__init__()
        # The classic class spreads its text side over itself; the image side would be counted twice.
        self.model = model
        if not hasattr(model, "text"):
            model.visual = None

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Encode texts."""
        vectors: Tensor = self.model.text(tokens) if hasattr(self.model, "text") else self.model.encode_text(tokens)
        return vectors


def load(rest: str, device: torch.device, *, name: str | None = None) -> TwoTower:
    """Load an architecture of open_clip with a file of weights, or a folder with ``open_clip_config.json``.

    Nothing is downloaded: architectures whose tokenizer or text tower open_clip would fetch are loaded from a folder
    that has them.

    Raises:
        InputError: an unknown architecture, missing files, weights that do not fit, or something that would be fetched.
    """
    with quiet_loading():
        open_clip = import_extra("open_clip", "vlm", f"openclip:{rest}")
    architecture, at, file = rest.partition("@")
    source = Path(rest)
    notes: tuple[str, ...] = ()
    if at and file and not source.is_dir():
        config, weights, schema = _built_in(open_clip, architecture), Path(file), architecture
        name, notes = name or f"openclip:{architecture}", (_NO_PREPARATION,)
    else:
        config, weights, schema = _read_config(source), _weights_file(source), f"local-dir:{source}"
        name = name or f"openclip:{source.name}"
    model = _model(open_clip, schema, config, weights, name)
    preparation, normalization = _translate(open_clip, model.visual.preprocess_cfg, name)
    bias = model.logit_bias
    image_tower = OpenClipImageTower(model.visual)
    return Towers(
        name=name,
        image_tower=image_tower,
        text_tower=OpenClipTextTower(model),
        tokeniser=_tokeniser(open_clip, schema, config, model, name),
        preparation=preparation,
        normalization=normalization,
        dimension=int(config["embed_dim"]),
        logit_scale=model.logit_scale.detach().exp().item(),
        logit_bias=0.0 if bias is None else bias.item(),
        pairwise=bias is not None,
        notes=(f"activation: {'quick_gelu' if config.get('quick_gelu') else 'gelu'}", *notes),
        device=device,
    )


def _built_in(open_clip: ModuleType, architecture: str) -> dict[str, Any]:
    config: dict[str, Any] | None = open_clip.get_model_config(architecture)
    if config is None:
        raise unknown_name("architecture of open_clip", architecture, open_clip.list_models())
    if config["text_cfg"].get("hf_tokenizer_name"):
        raise InputError(
            f"openclip:{architecture}: its tokenizer is none of open_clip's own, which would fetch it; put it into a "
            f"folder with {_CONFIG} and the weights, and write openclip:FOLDER"
        )
    return config


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    if not path.is_file():
        raise InputError(
            f"openclip:{folder}: expected a folder with {_CONFIG} and open_clip_model.safetensors, or "
            f"openclip:NAME@FILE.safetensors with the name of an architecture of open_clip"
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        if not {"embed_dim", "vision_cfg", "text_cfg"} <= set(config):
            raise KeyError("embed_dim, vision_cfg and text_cfg")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a configuration of open_clip: {error}") from error
    return config


def _weights_file(folder: Path) -> Path:
    named = folder / "open_clip_model.safetensors"
    files = [named] if named.is_file() else sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise InputError(
            f"{folder} has {len(files)} files of weights; expected open_clip_model.safetensors (weights in pickles are "
            f"not read)"
        )
    return files[0]


def _model(open_clip: ModuleType, schema: str, config: Mapping[str, Any], weights: Path, name: str) -> Any:  # noqa: ANN401
    if "multimodal_cfg" in config:
        raise InputError(f"{name} is a CoCa model, whose captioning side is not used here; it is not loaded")
    if "hf_model_name" in config["text_cfg"]:
        raise InputError(
            f"{name}: its text tower is a model of transformers ({config['text_cfg']['hf_model_name']}), which "
            f"open_clip would fetch"
        )
    tensors = read_state_dict(weights)
    try:
        with quiet_loading():
            model = open_clip.create_model(schema, load_weights=False, pretrained_image=False, pretrained_text=False)
    except Exception as error:
        raise InputError(f"{name} cannot be built by open_clip: {first_line(error)}") from error
    load_strictly(model, tensors, source=str(weights))
    return model


def _translate(open_clip: ModuleType, wanted: Mapping[str, Any], name: str) -> tuple[Preprocessing, Normalization]:
    """The preparation and normalisation that open_clip's own transform does, compared with it."""
    size = wanted["size"] if isinstance(wanted["size"], tuple | list) else (wanted["size"],) * 2
    fill = wanted.get("fill_color") or 0
    normalization = Normalization(*(tuple(wanted[key]) for key in ("mean", "std")))
    preparation = Preprocessing.model_validate(
        {
            "size": tuple(size),
            "resize": _RESIZES[wanted["resize_mode"]],
            "resize_to": tuple(size),
            "interpolation": wanted["interpolation"],
            "fill": tuple(fill) if isinstance(fill, tuple | list) else (fill,) * 3,
        }
    )
    fields = open_clip.transform.merge_preprocess_dict(open_clip.transform.PreprocessCfg(), dict(wanted))
    theirs = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**fields), is_train=False)
    if not same_pixels(theirs, preparation, normalization):
        raise InputError(f"{name}: open_clip prepares its images in a way that is not translated here: {fields}")
    return preparation, normalization


def _tokeniser(open_clip: ModuleType, schema: str, config: Mapping[str, Any], model: Any, name: str) -> Tokeniser:  # noqa: ANN401
    text_config = config["text_cfg"]
    if text_config.get("tokenizer_mode") or "reduction_mask" in (text_config.get("tokenizer_kwargs") or {}):
        raise InputError(
            f"{name}: its way of cutting texts into tokens (tokenizer_mode, reduction_mask) is not supported"
        )
    try:
        with quiet_loading():
            tokenizer = open_clip.get_tokenizer(schema)
    except Exception as error:
        raise InputError(f"{name}: its tokenizer cannot be read: {first_line(error)}") from error
    inner = getattr(tokenizer, "tokenizer", None)  # of transformers, or open_clip's own

    def encode(texts: Sequence[str]) -> list[list[int]]:
        if inner is None:
            return [[tokenizer.sot_token_id, *tokenizer.encode(text), tokenizer.eot_token_id] for text in texts]
        cleaned = [tokenizer.clean_fn(text) for text in texts]
        rows: list[list[int]] = inner(cleaned, truncation=False, padding=False, verbose=False)["input_ids"]
        return [
            [0 if tokenizer.strip_sep_token and token == inner.sep_token_id else token for token in row] for row in rows
        ]

    vocabulary = tokenizer.encoder if inner is None else inner.get_vocab()
    largest, end = max(vocabulary.values()), encode([""])[0][-1]
    if largest >= model.vocab_size:
        raise InputError(
            f"{name}: the tokenizer knows tokens up to {largest}, the text tower up to {model.vocab_size - 1}; they "
            f"are not of one model"
        )
    _check_end(model, end, largest, name)
    filler = 0 if inner is None else int(inner.pad_token_id)
    return Tokeniser(encode, filler, int(model.context_length), full_length=True)


def _check_end(model: Any, end: int, largest: int, name: str) -> None:  # noqa: ANN401 - of an extra
    """The text tower must take its vector at the token that ends a text; elsewhere, all texts may have the same."""
    text = getattr(model, "text", None)
    pool = model.text_pool_type if text is None else text.pool_type
    taken = {"argmax": largest, "eos": model.text_eos_id if text is None else text.eos_id}.get(pool, end)
    if taken != end:
        raise InputError(
            f"{name}: the text tower takes the vector of a text at token {taken} (pool_type {pool!r}), but texts end "
            f"with token {end}, so that different texts would get the same vector; give the end mark the largest "
            f"number in the tokenizer, or set pool_type to 'eos' and eos_id to {end} in text_cfg"
        )
