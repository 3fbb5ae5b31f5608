"""``hf:FOLDER``: a SAM (Segment Anything, Kirillov et al. 2023) of the transformers library, from this machine."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.models.segmenters.prompts import Prompts, checked_prompts, image_bytes
from snellen.models.segmenters.protocol import Prompt, Segmented
from snellen.models.segmenters.sam_preparation import SamPreparation, translate
from snellen.models.weights.hugging_face_folder import (
    check_folder,
    import_transformers,
    load_config,
    load_image_processor,
    load_network,
)
from snellen.models.weights.weights_identity import WeightsIdentity

#: Images whose embeddings are kept; one of the public models takes 4 MiB.
KEPT = 16
#: Images that are encoded, and prompts that are decoded, at a time.
_ENCODED, _DECODED = 8, 32

_RULE = "the highest predicted overlap"


class SamSegmenter:
    """A SAM. An image is encoded once, however many prompts it gets, in one call or in several.

    It gives three candidates for a prompt, which may mean a part, an object or several (section 3 of the paper). The
    mask is the candidate of which the model predicts the best overlap; all are kept.

    Args:
        model: a ``SamModel`` of transformers; it is put into evaluation mode and frozen, in place.
        preparation: its resize, normalisation and padding.
        name: shown in reports and messages.
        device: where it runs.
        kept: how many images' embeddings are kept, the last used ones.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a SamModel, of an extra
        preparation: SamPreparation,
        *,
        name: str,
        device: torch.device,
        kept: int = KEPT,
    ) -> None:
        self._model = model.to(device).eval().requires_grad_(False)
        self._preparation, self._name, self._device, self._kept = preparation, name, device, kept
        self._embeddings: OrderedDict[str, Tensor] = OrderedDict()
        self._identity = WeightsIdentity(self._model)

    @property
    def name(self) -> str:
        """Shown in reports and messages."""
        return self._name

    @property
    def prompts(self) -> frozenset[Prompt]:
        """Points, boxes, or both together."""
        return frozenset(("points", "boxes"))

    @property
    def device(self) -> torch.device:
        """Where the model runs, and where masks are."""
        return self._device

    def identity(self) -> str:
        """Hash of the weights as they are now (sha256)."""
        return self._identity()

    @torch.no_grad()
    def segment(
        self,
        images: Tensor,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> Segmented:
        """Find one mask for each prompt; see :class:`snellen.models.segmenters.protocol.Segmenter`.

        Raises:
            InputError: images or prompts that cannot be used.
            ModelError: the model gives masks or qualities that are not finite.
        """
        pixels = image_bytes(images, name=self.name)
        asked = checked_prompts(
            pixels, self.prompts, points=points, point_labels=point_labels, boxes=boxes, name=self.name
        )
        embeddings = self._embedded(pixels)
        height, width = pixels.shape[-2:]
        parts = [
            self._decode(embeddings, asked, slice(start, start + _DECODED), height, width)
            for start in range(0, asked.count, _DECODED)
        ]
        candidates, predicted = (torch.cat(kind) for kind in zip(*parts, strict=True))
        if not bool(torch.isfinite(candidates).all() and torch.isfinite(predicted).all()):
            raise ModelError(f"{self.name} gives masks or qualities that are not finite")
        return Segmented(candidates=candidates, predicted=predicted, chosen=predicted.argmax(1), rule=_RULE)

    def _embedded(self, pixels: Tensor) -> Tensor:
        """Embeddings (n, d, s, s) of images: known ones are not computed again, as long as the weights stay."""
        made_by = f"{self.identity()} {tuple(pixels.shape[1:])}".encode()
        keys = [hashlib.sha256(made_by + image.numpy().tobytes()).hexdigest() for image in pixels]
        found = {key: self._embeddings[key] for key in keys if key in self._embeddings}
        missing = {key: image for key, image in zip(keys, pixels, strict=True) if key not in found}
        names = list(missing)
        for start in range(0, len(names), _ENCODED):
            chunk = names[start : start + _ENCODED]
            prepared = torch.stack([self._preparation(missing[key]) for key in chunk]).to(self._device)
            found |= dict(zip(chunk, self._model.get_image_embeddings(prepared), strict=True))
        for key in keys:
            self._embeddings[key] = found[key]
            self._embeddings.move_to_end(key)
        while len(self._embeddings) > self._kept:
            self._embeddings.popitem(last=False)
        return torch.stack([found[key] for key in keys])

    def _decode(
        self, embeddings: Tensor, asked: Prompts, part: slice, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Candidates (m, c, h, w) in [0, 1] and their predicted overlap (m, c), for some of the prompts."""
        single = len(embeddings) == 1
        # Transformers wants (images, prompts of an image, …).
        place = (lambda prompt: prompt[None]) if single else (lambda prompt: prompt[:, None])
        coordinates = torch.float32 if self._device.type == "mps" else torch.float64
        prompts: dict[str, Tensor] = {}
        if asked.points is not None and asked.labels is not None:
            scaled = self._preparation.coordinates(asked.points[part], height, width)
            prompts["input_points"] = place(scaled).to(self._device, coordinates)
            prompts["input_labels"] = place(asked.labels[part]).to(self._device)
        if asked.boxes is not None:
            corners = asked.boxes[part].view(-1, 2, 2)
            scaled = self._preparation.coordinates(corners, height, width).flatten(1)
            prompts["input_boxes"] = place(scaled).to(self._device, coordinates)
        output = self._model(
            image_embeddings=embeddings if single else embeddings[part], multimask_output=True, **prompts
        )
        logits = self._preparation.to_original(output.pred_masks.flatten(0, 1).float(), height, width)
        return logits.sigmoid(), output.iou_scores.flatten(0, 1).float()


def load(rest: str, device: torch.device, *, name: str | None = None) -> SamSegmenter:
    """Load a folder as ``save_pretrained`` writes it; weights of half precision are run in single precision.

    Nothing is downloaded, no code of the folder is run, and no pickle is read.

    Raises:
        InputError: a folder that is missing, is not a SAM, or lacks files or weights.
        MissingExtraError: transformers is not installed.
    """
    folder = Path(rest)
    check_folder(folder)
    transformers = import_transformers(f"hf:{rest}")
    kind = load_config(transformers, folder).model_type
    if kind != "sam":
        raise InputError(
            f"{folder} holds a model of type {kind!r}; expected 'sam', as SamModel.save_pretrained() writes"
        )
    model = load_network(transformers.SamModel, folder, what="a SAM")
    preparation = translate(load_image_processor(transformers, folder), name=name or f"hf:{folder.name}")
    seen = model.config.prompt_encoder_config.image_size
    if preparation.padded != (seen, seen):
        raise InputError(f"{folder}: its processor pads to {preparation.padded}, but the model takes ({seen}, {seen})")
    return SamSegmenter(model, preparation, name=name or f"hf:{folder.name}", device=device)
