"""``isnet:FILE.onnx``: the salient object by IS-Net.

Qin et al. 2022, "Highly Accurate Dichotomous Image Segmentation". Preprocessing and the last step are those of the
authors' ``Inference.py``: bytes are scaled bilinearly, without antialiasing, and cut off to whole bytes; b / 255 − 0.5
is fed; the map is scaled back bilinearly and stretched to [0, 1].

Other tools feed other numbers to the same file (another filter, another mean) and get other masks.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError, ModelError, import_extra
from snellen.models.classifiers.onnx_external_data import hash_with_external_files
from snellen.models.classifiers.onnx_models import read_model
from snellen.models.classifiers.onnx_sessions import OnnxNetwork, open_session, wrap_session
from snellen.models.segmenters.protocol import Prompt, Segmented, checked_prompts, image_bytes

#: Height and width of the published model, for files that do not state a size.
PUBLISHED_SIZE = (1024, 1024)


class IsnetSegmenter:
    """An IS-Net. It takes no prompts and gives one mask for each image; it predicts no overlap.

    Args:
        network: normalised images (n, 3, *size) → maps (n, 1, s, s) or (n, s, s).
        size: height and width that the network takes, pixels.
        name: shown in reports and messages.
        device: where the runtime runs the network; masks are there too.
        identity: hash of the file.
    """

    def __init__(
        self, network: OnnxNetwork, *, size: tuple[int, int], name: str, device: torch.device, identity: str
    ) -> None:
        self._network, self._size, self.name, self.device = network, size, name, device
        self._identity, self.prompts = identity, frozenset[Prompt]()

    def identity(self) -> str:
        """Hash of the file and of the weights beside it (sha256)."""
        return self._identity

    def segment(
        self,
        images: Tensor,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> Segmented:
        """Find the salient object of each image; see :class:`snellen.models.segmenters.protocol.Segmenter`.

        The map of an image is stretched so that its least value is 0 and its greatest 1: some pixel always counts as
        the object, also where there is none. Only a map that is constant gives an empty mask.

        Raises:
            InputError: images that cannot be used, or prompts.
            ModelError: the model does not give one finite map for each image.
        """
        pixels = image_bytes(images, name=self.name)
        checked_prompts(pixels, self.prompts, points=points, point_labels=point_labels, boxes=boxes, name=self.name)
        scaled = F.interpolate(pixels.float(), self._size, mode="bilinear", align_corners=False).floor()
        maps = self._network(scaled / 255 - 0.5).float()
        if maps.ndim == 3:
            maps = maps[:, None]
        if maps.ndim != 4 or maps.shape[:2] != (len(pixels), 1):
            raise ModelError(
                f"{self.name} gives {tuple(maps.shape)} for {len(pixels)} images; expected maps (n, 1, h, w)"
            )
        if not bool(torch.isfinite(maps).all()):
            raise ModelError(f"{self.name} gives maps that are not finite")
        whole = F.interpolate(maps, pixels.shape[-2:], mode="bilinear", align_corners=False)
        low, high = whole.amin((1, 2, 3), keepdim=True), whole.amax((1, 2, 3), keepdim=True)
        # A constant map comes out of interpolations with differences in its last digits, which are not stretched.
        even = high - low <= 1e-6 * high.abs().clamp(min=1)
        stretched = torch.where(even, torch.zeros(()), (whole - low) / (high - low))
        count = len(pixels)
        return Segmented(
            candidates=stretched.to(self.device),
            predicted=torch.full((count, 1), float("nan"), device=self.device),
            chosen=torch.zeros(count, dtype=torch.int64, device=self.device),
            rule="the only one",
        )


def load(rest: str, device: torch.device, *, name: str | None = None) -> IsnetSegmenter:
    """Load an IS-Net exported to ONNX: one float input (n, 3, h, w), the finest map as the first output.

    Raises:
        InputError: no such file, not an ONNX model, or a model of another kind.
        MissingExtraError: onnxruntime is not installed.
    """
    path = Path(rest)
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        raise InputError(
            f"isnet:{path} is a pickle of torch, which is not read; export it once with torch.onnx.export()"
        )
    content = read_model(path)
    identity = hash_with_external_files(path, content)
    session = open_session(import_extra("onnxruntime", "onnx", f"isnet:{rest}"), path, device)
    outputs = session.get_outputs()
    shape = list(outputs[0].shape or ())
    if shape and (len(shape) not in (3, 4) or (len(shape) == 4 and isinstance(shape[1], int) and shape[1] != 1)):
        raise InputError(
            f"{path}: its first output {outputs[0].name!r} has shape {shape}; expected one map for each image, "
            f"(n, 1, h, w). Is it a classifier?"
        )
    wrapped = wrap_session(session, path)
    return IsnetSegmenter(
        wrapped.network,
        size=wrapped.size or PUBLISHED_SIZE,
        name=name or f"isnet:{path.name}",
        device=device,
        identity=identity,
    )
