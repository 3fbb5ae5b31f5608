"""``hf:FOLDER``: a detector of the transformers library that takes phrases, from this machine.

Grounding DINO (Liu et al., ECCV 2024, arXiv 2303.05499), OWL-ViT (Minderer et al., ECCV 2022, arXiv 2205.06230) and
OWLv2. The library's own processor prepares images and turns outputs into boxes. The published second threshold of
Grounding DINO, that of words, only names what a box shows; here each prompt is one phrase, which is its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import to_image
from snellen.models.detectors.protocol import Detected, check_requests
from snellen.models.weights.hugging_face_folder import (
    check_folder,
    import_transformers,
    load_config,
    load_image_processor,
    load_network,
    load_tokenizer,
)
from snellen.models.weights.quiet_loading import quiet_loading
from snellen.models.weights.state_dict_file import WeightsIdentity

#: Kind of model → its processor in transformers.
PROCESSORS = {
    "grounding-dino": "GroundingDinoProcessor",
    "owlvit": "OwlViTProcessor",
    "owlv2": "Owlv2Processor",
}


class HuggingFaceDetector:
    """A detector; its network is put into evaluation mode and frozen.

    Args:
        model: an ``AutoModelForZeroShotObjectDetection``.
        processor: the processor of its kind.
        name: shown in reports and messages.
        device: where it runs.
    """

    def __init__(self, model: Any, processor: Any, *, name: str, device: torch.device) -> None:  # noqa: ANN401 - of an extra
        self._model, self._processor = model.to(device).eval().requires_grad_(False), processor
        self.name, self.device = name, device
        self._identity = WeightsIdentity(self._model)

    def identity(self) -> str:
        """Hash of the weights as they are now (sha256)."""
        return self._identity()

    @torch.no_grad()
    def detect(self, images: Sequence[Tensor], phrases: Sequence[str], *, threshold: float = 0.3) -> list[Detected]:
        """Find one phrase in each image, one image at a time: padding to a common size would move boxes.

        Raises:
            InputError: see :class:`snellen.models.detectors.protocol.Detector`.
            ModelError: the model gives boxes or scores that are not finite.
        """
        check_requests(images, phrases, threshold, name=self.name)
        return [self._one(image, phrase, threshold) for image, phrase in zip(images, phrases, strict=True)]

    def _one(self, image: Tensor, phrase: str, threshold: float) -> Detected:
        # A full stop ends a phrase for Grounding DINO, which was trained on lower case.
        words = " ".join(phrase.lower().replace(".", " ").split())
        with quiet_loading():
            given = self._processor(images=to_image(image.cpu()), text=[[words]], return_tensors="pt").to(self.device)
        output = self._model(**given)
        if not bool(torch.isfinite(output.pred_boxes).all()) or bool(torch.isnan(output.logits).any()):
            raise ModelError(f"{self.name} gives boxes or scores that are not finite")
        height, width = image.shape[1:]
        sizes = torch.tensor([[height, width]], device=self.device)
        (found,) = self._processor.post_process_grounded_object_detection(
            output, threshold=threshold, target_sizes=sizes
        )
        boxes, scores = found["boxes"].float().cpu(), found["scores"].float().cpu()
        edges = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes = torch.minimum(boxes.clamp(min=0), edges)
        # Beyond the edge of the image nothing is left of a box.
        shown = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero().flatten()
        order = shown[scores[shown].argsort(descending=True, stable=True)]
        return Detected(boxes[order], scores[order])


def load(rest: str, device: torch.device, *, name: str | None = None) -> HuggingFaceDetector:
    """Load a folder as ``save_pretrained`` of model and processor writes it.

    Nothing is downloaded, no code of the folder is run, and no pickle is read.

    Raises:
        InputError: a folder that is missing, holds another kind of model, or lacks files or weights.
        MissingExtraError: transformers is not installed.
    """
    folder = Path(rest)
    check_folder(folder, tokenizer=True)
    transformers = import_transformers(f"hf:{rest}")
    kind = load_config(transformers, folder).model_type
    if kind not in PROCESSORS:
        raise InputError(
            f"{folder} holds a model of type {kind!r}; expected a detector that takes phrases: {', '.join(PROCESSORS)}"
        )
    model = load_network(transformers.AutoModelForZeroShotObjectDetection, folder, what="a detector")
    processor = getattr(transformers, PROCESSORS[kind])(
        load_image_processor(transformers, folder), load_tokenizer(transformers, folder)
    )
    return HuggingFaceDetector(model, processor, name=name or f"hf:{folder.name}", device=device)
