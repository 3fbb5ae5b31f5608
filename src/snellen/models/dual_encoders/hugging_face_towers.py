"""``hf:FOLDER``: CLIP, SigLIP, and pairs of any two towers (``VisionTextDualEncoderModel``) of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError, UnsupportedError
from snellen.models.classifiers.hugging_face_models import translate
from snellen.models.dual_encoders.towers import ImageTower, Tokeniser, Towers, TwoTower
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
MODELS = {
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "vision-text-dual-encoder": "VisionTextDualEncoderModel",
}

#: An ``eos_token_id`` that old configurations of CLIP carry; transformers then takes the vector at the largest token.
_LEGACY_END = 2


class ClipImageTower(ImageTower):
    """The vision transformer of a CLIP model and its projection."""

    has_patches, has_tokens = True, True

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - CLIPModel, of an extra
        super().__init__()
        self.vision_model, self.projection = model.vision_model, model.visual_projection

    def forward(self, images: Tensor) -> Tensor:
        """The projected class token: (n, 3, h, w) → (n, d)."""
        vectors: Tensor = self.projection(self.vision_model(pixel_values=images).pooler_output)
        return vectors

    def patches(self, images: Tensor) -> Tensor:
        """The patch tokens on the way of the class token, normed and projected → (n, rows, columns, d)."""
        tokens = self.vision_model(pixel_values=images).last_hidden_state[:, 1:]
        return _as_grid(self.projection(self.vision_model.post_layernorm(tokens)))

    def tokens(self, images: Tensor) -> Tensor:
        """What enters the layers: (n, 3, h, w) → (n, 1 + patches, width)."""
        entering: Tensor = self.vision_model.pre_layrnorm(self.vision_model.embeddings(images))
        return entering

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """The layers, the last norm and the projection: (n, t, width) → (n, d)."""
        leaving = self.vision_model.encoder(inputs_embeds=tokens).last_hidden_state
        vectors: Tensor = self.projection(self.vision_model.post_layernorm(leaving[:, 0]))
        return vectors

    def patch_area(self) -> int:
        """Pixels of a patch."""
        return int(self.vision_model.config.patch_size) ** 2


class SiglipImageTower(ImageTower):
    """The vision transformer of a SigLIP model, with its attention pooling."""

    has_patches = True

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - SiglipModel, of an extra
        super().__init__()
        self.vision_model = model.vision_model

    def forward(self, images: Tensor) -> Tensor:
        """The pooled tokens: (n, 3, h, w) → (n, d)."""
        vectors: Tensor = self.vision_model(pixel_values=images).pooler_output
        return vectors

    def patches(self, images: Tensor) -> Tensor:
        """What the pooling would give if it saw one token only: (n, 3, h, w) → (n, rows, columns, d)."""
        tokens = self.vision_model(pixel_values=images).last_hidden_state
        pooled = self.vision_model.head(tokens.flatten(0, 1)[:, None])
        return _as_grid(pooled.view(*tokens.shape[:2], -1))


class PairedImageTower(ImageTower):
    """The image network of a pair, such as a ViT or a ResNet, and its projection."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - VisionTextDualEncoderModel, of an extra
        super().__init__()
        self.vision_model, self.projection = model.vision_model, model.visual_projection

    def forward(self, images: Tensor) -> Tensor:
        """The projected pooled vector: (n, 3, h, w) → (n, d)."""
        vectors: Tensor = self.projection(self.vision_model(pixel_values=images).pooler_output.flatten(1))
        return vectors

    def patches(self, images: Tensor) -> Tensor:
        """Not there: what a patch is depends on the network."""
        raise UnsupportedError("a pair of any two towers has one vector for each image and none for its patches")


class ClipTextTower(nn.Module):
    """The text transformer of a CLIP model, or of a pair (BERT), and its projection: tokens, mask (n, t) → (n, d)."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - CLIPModel or VisionTextDualEncoderModel, of an extra
        super().__init__()
        self.text_model, self.projection = model.text_model, model.text_projection

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Encode texts."""
        vectors: Tensor = self.projection(self.text_model(input_ids=tokens, attention_mask=mask).pooler_output)
        return vectors


class SiglipTextTower(nn.Module):
    """The text transformer of a SigLIP model, which sees the padding as in its training: tokens (n, t) → (n, d)."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - SiglipModel, of an extra
        super().__init__()
        self.text_model = model.text_model

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Encode texts."""
        vectors: Tensor = self.text_model(input_ids=tokens).pooler_output
        return vectors


def load(rest: str, device: torch.device, *, name: str | None = None) -> TwoTower:
    """Load a folder as ``save_pretrained`` of a model, its processor and its tokenizer writes it.

    The model is a CLIP, a SigLIP, or a pair of an image and a text network with projections, as medical models are: a
    BERT of reports beside a ViT or a ResNet.

    Raises:
        InputError: a hub id, missing files, another kind of model, weights that do not fit, or a configuration whose
            end token is not that of the tokenizer.
    """
    folder = Path(rest)
    check_folder(folder, tokenizer=True)
    transformers = import_transformers(f"hf:{rest}")
    config = load_config(transformers, folder)
    if config.model_type not in MODELS:
        raise InputError(
            f"{folder} holds a model of type {config.model_type!r}, not a text–image model ({' or '.join(MODELS)})"
        )
    name = name or f"hf:{folder.name}"
    model = load_network(getattr(transformers, MODELS[config.model_type]), folder, what="a text–image model")
    preparation, normalization = translate(load_image_processor(transformers, folder), name=folder.name)
    side = getattr(config.vision_config, "image_size", None)  # convolutions take any
    if side is not None and preparation.size != (side,) * 2:
        raise InputError(
            f"{name}: its processor makes images of {preparation.size} pixels, its image tower takes squares of {side}"
        )
    clip, siglip = config.model_type == "clip", config.model_type == "siglip"
    tokenizer = load_tokenizer(transformers, folder)
    largest = check_vocabulary(tokenizer, config.text_config.vocab_size, name=name)
    tokeniser = _tokeniser(tokenizer, config.text_config, name=name, full_length=siglip)
    if clip:
        _check_end(config.text_config, tokeniser.encode([""])[0][-1], largest, name)
    activations = {part.hidden_act for part in (config.text_config, config.vision_config)}
    image_tower = ClipImageTower if clip else SiglipImageTower if siglip else PairedImageTower
    return Towers(
        name=name,
        image_tower=image_tower(model),
        text_tower=SiglipTextTower(model) if siglip else ClipTextTower(model),
        tokeniser=tokeniser,
        preparation=preparation,
        normalization=normalization,
        dimension=config.vision_config.hidden_size if siglip else config.projection_dim,
        logit_scale=model.logit_scale.detach().exp().item(),
        logit_bias=model.logit_bias.item() if siglip else 0.0,
        pairwise=siglip,
        notes=(f"activation: {', '.join(sorted(activations))}",),
        device=device,
    )


def _tokeniser(tokenizer: Any, text_config: Any, *, name: str, full_length: bool) -> Tokeniser:  # noqa: ANN401 - of an extra
    def encode(texts: Sequence[str]) -> list[list[int]]:
        rows: list[list[int]] = tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return rows

    filler = tokenizer.pad_token_id
    if filler is None:
        raise InputError(f"{name}: its tokenizer has no padding token (pad_token)")
    longest = int(text_config.max_position_embeddings)
    if text_config.model_type == "roberta":  # and its like count positions from behind that of the padding
        longest -= int(filler) + 1
    return Tokeniser(encode, int(filler), longest, full_length)


def _check_end(text_config: Any, end: int, largest: int, name: str) -> None:  # noqa: ANN401 - of an extra
    """The text tower must take its vector at the token that ends a text; elsewhere, all texts may have the same."""
    taken = text_config.eos_token_id
    right, where = taken == end, f"token {taken} (text_config.eos_token_id)"
    if taken == _LEGACY_END:
        right, where = end == largest, "its largest token (that is how transformers reads an eos_token_id of 2)"
    if not right:
        raise InputError(
            f"{name}: the text tower takes the vector of a text at {where}, but texts end with token {end}, so that "
            f"different texts would get the same vector; set eos_token_id of text_config in config.json to {end}"
        )


def _as_grid(tokens: Tensor) -> Tensor:
    """Tokens (n, p, d) of a square grid → (n, rows, columns, d)."""
    side = round(tokens.shape[1] ** 0.5)
    return tokens.unflatten(1, (side, side))
