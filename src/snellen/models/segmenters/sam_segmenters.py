"""``hf:FOLDER``: a SAM (Segment Anything, Kirillov et al. 2023) of the transformers library, from this machine.

Equal to ``SamImageProcessor`` of transformers (its PIL backend), against which :func:`translate` checks it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import to_image
from snellen.core.randomness import Randomness
from snellen.models.segmenters.protocol import Prompt, Prompts, Segmented, checked_prompts, image_bytes
from snellen.models.weights.hugging_face_folder import (
    check_folder,
    import_transformers,
    load_config,
    load_image_processor,
    load_network,
)
from snellen.models.weights.state_dict_file import WeightsIdentity

#: Widths and heights of the images on which the translation is compared with the processor.
_CHECKED = ((97, 61), (61, 143), (300, 301))


@dataclass(frozen=True)
class SamPreprocessing:
    """Resize, normalisation and padding of a SAM.

    >>> preparation = SamPreprocessing(longest_edge=64, padded=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
    >>> preparation.scaled_size(50, 70)
    (46, 64)
    >>> preparation(torch.zeros(3, 50, 70, dtype=torch.uint8)).shape
    torch.Size([3, 64, 64])

    Attributes:
        longest_edge: what the longer edge of an image is scaled to, pixels.
        padded: height and width after padding at the bottom and on the right, pixels.
        mean: of each channel, in units of bytes times ``factor``.
        std: of each channel, in the same units.
        factor: what bytes are multiplied by.
        resample: filter, as in ``PIL.Image.Resampling``.
    """

    longest_edge: int
    padded: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    factor: float = 1 / 255
    resample: int = Image.Resampling.BILINEAR

    def scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before padding: half pixels are rounded up."""
        scale = self.longest_edge * 1.0 / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Bytes (3, h, w) → normalised float32 (3, *padded). Padding is zero after the normalisation: mid grey."""
        height, width = self.scaled_size(*pixels.shape[-2:])
        resized = to_image(pixels).resize((width, height), Image.Resampling(self.resample))
        values = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() * self.factor
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (self.mean, self.std))
        return F.pad((values - mean) / std, (0, self.padded[1] - width, 0, self.padded[0] - height))

    def coordinates(self, places: Tensor, height: int, width: int) -> Tensor:
        """Points (…, 2) in pixels of an image of that size → pixels of what the model sees."""
        tall, wide = self.scaled_size(height, width)
        return places * torch.tensor([wide / width, tall / height], dtype=places.dtype, device=places.device)

    def to_original(self, masks: Tensor, height: int, width: int) -> Tensor:
        """Mask logits (m, c, s, s) of the model → (m, c, h, w) over the image, bilinear, without the padding."""
        tall, wide = self.scaled_size(height, width)
        whole = F.interpolate(masks, self.padded, mode="bilinear", align_corners=False)[..., :tall, :wide]
        return F.interpolate(whole, (height, width), mode="bilinear", align_corners=False)


def translate(processor: Any, *, name: str) -> SamPreprocessing:  # noqa: ANN401 - of an extra
    """Translate an image processor of transformers, and check the result against it on three images.

    Raises:
        InputError: a processor that is not one of SAM, or does something else.
    """
    if not hasattr(processor, "pad_size") or not getattr(processor.size, "longest_edge", None):
        raise InputError(f"{name}: its {type(processor).__name__} is not the image processor of a SAM")
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    preparation = SamPreprocessing(
        longest_edge=int(processor.size.longest_edge),
        padded=(int(processor.pad_size["height"]), int(processor.pad_size["width"])),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        factor=float(processor.rescale_factor) if processor.do_rescale else 1.0,
        resample=int(processor.resample),
    )
    if preparation.longest_edge > min(preparation.padded) or not _equal(processor, preparation):
        raise InputError(
            f"{name}: its {type(processor).__name__} does something else than scale the longer edge to "
            f"{preparation.longest_edge}, normalise and pad to {preparation.padded}"
        )
    return preparation


def _equal(processor: Any, preparation: SamPreprocessing) -> bool:  # noqa: ANN401 - of an extra
    """Whether both do the same to three images."""
    for index, (width, height) in enumerate(_CHECKED):
        noise = Randomness(0).for_examples([str(index)]).uniform("processor", (3, height, width))[0]
        pixels = noise.mul(255).round().to(torch.uint8)
        theirs = processor(images=to_image(pixels), return_tensors="pt")
        ours, wanted = preparation(pixels), theirs["pixel_values"][0]
        if (
            tuple(theirs["reshaped_input_sizes"][0].tolist()) != preparation.scaled_size(height, width)
            or ours.shape != wanted.shape
            or float((ours - wanted).abs().max()) > 1e-5 * max(1.0, float(wanted.abs().max()))
        ):
            return False
    return True


#: Images whose embeddings are kept; one of the public models takes 4 MiB.
KEPT = 16
#: Images that are encoded, and prompts that are decoded, at a time.
_ENCODED, _DECODED = 8, 32

_RULE = "the highest predicted overlap"


class SamSegmenter:
    """A SAM. An image is encoded once, however many prompts it gets, in one call or in several.

    It gives three candidates for a prompt, which may mean a part, an object or several (section 3 of the paper). The
    mask is the candidate with the best overlap by the model's own prediction; all are kept.

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
        preparation: SamPreprocessing,
        *,
        name: str,
        device: torch.device,
        kept: int = KEPT,
    ) -> None:
        self._model = model.to(device).eval().requires_grad_(False)
        self._preparation, self.name, self.device, self._kept = preparation, name, device, kept
        self.prompts: frozenset[Prompt] = frozenset(("points", "boxes"))
        self._embeddings: OrderedDict[str, Tensor] = OrderedDict()
        self._identity = WeightsIdentity(self._model)

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
        checked = checked_prompts(
            pixels, self.prompts, points=points, point_labels=point_labels, boxes=boxes, name=self.name
        )
        embeddings = self._embedded(pixels)
        height, width = pixels.shape[-2:]
        parts = [
            self._decode(embeddings, checked, slice(start, start + _DECODED), height, width)
            for start in range(0, checked.count, _DECODED)
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
            prepared = torch.stack([self._preparation(missing[key]) for key in chunk]).to(self.device)
            found |= dict(zip(chunk, self._model.get_image_embeddings(prepared), strict=True))
        for key in keys:
            self._embeddings[key] = found[key]
            self._embeddings.move_to_end(key)
        while len(self._embeddings) > self._kept:
            self._embeddings.popitem(last=False)
        return torch.stack([found[key] for key in keys])

    def _decode(
        self, embeddings: Tensor, checked: Prompts, part: slice, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Candidates (m, c, h, w) in [0, 1] and their predicted overlap (m, c), for some of the prompts."""
        single = len(embeddings) == 1
        # Transformers wants (images, prompts of an image, …).
        place = (lambda prompt: prompt[None]) if single else (lambda prompt: prompt[:, None])
        coordinates = torch.float32 if self.device.type == "mps" else torch.float64
        prompts: dict[str, Tensor] = {}
        if checked.points is not None and checked.labels is not None:
            scaled = self._preparation.coordinates(checked.points[part], height, width)
            prompts["input_points"] = place(scaled).to(self.device, coordinates)
            prompts["input_labels"] = place(checked.labels[part]).to(self.device)
        if checked.boxes is not None:
            corners = checked.boxes[part].view(-1, 2, 2)
            scaled = self._preparation.coordinates(corners, height, width).flatten(1)
            prompts["input_boxes"] = place(scaled).to(self.device, coordinates)
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
