"""The paper's segmentation on a GPU: PASCAL VOC 2012, a U-Net on ConvNeXt-tiny, ways of upsampling under attack.

Data come by path from an environment variable, and nothing is downloaded; images are read batch by batch. Estimated and
not measured, for each of seven variants: 14 GB of GPU memory at batches of 8 crops of 512 pixels, 50 epochs of the
1,464 training images (3 hours), attacks of 20 steps on 1,449 images (4 hours). AdamW with a rate and a decay of 1e-4,
as in the published code; NAFNet and Restormer on GoPro, and STTR on FlyingThings3D, are not part of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.criterion import VOID
from snellen.core.errors import InputError, import_extra
from snellen.core.images import Split
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.metrics.segmentation import mean_overlap
from snellen.reproduction.sample import Figure
from snellen.systems.context_upsampling.examining import examine, shares_left, standard_attacks
from snellen.systems.context_upsampling.method import pixel_cross_entropy
from snellen.systems.context_upsampling.unet import double_convolution, large_kernel_blocks
from snellen.systems.context_upsampling.upsampling import upsampling
from snellen.training.acceleration import seeded
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: A folder VOC2012 with JPEGImages, SegmentationClass and ImageSets; optional: weights of ConvNeXt-tiny (safetensors).
DATA, WEIGHTS, DEVICE = (f"SNELLEN_UPSAMPLING_{name}" for name in ("VOC", "WEIGHTS", "DEVICE"))

CLASSES: tuple[str, ...] = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table",
    "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "monitor",
)  # fmt: skip

#: Mean and deviation of the images that ConvNeXt was trained on.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "transposed": {"kind": "transposed", "kernel": 2},
    "pixel_shuffle": {"kind": "pixel_shuffle"},
    "bilinear": {"kind": "bilinear"},
    "lctc7": {"kind": "lctc", "kernel": 7},
    "lctc11": {"kind": "lctc", "kernel": 11},
    "lctc11_alone": {"kind": "lctc", "kernel": 11, "small_kernel": None},
    "h2": {"kind": "transposed", "kernel": 2, "decoder_kernel": 7},
}


class ConvNextUNet(nn.Module):
    """(n, 3, h, w) in [0, 1] → (n, k, h, w), sides multiples of 32: ConvNeXt-tiny of timm, a decoder of five steps.

    Args:
        outputs: classes k.
        seed: of all weights but those of the encoder.
        decoder_kernel: side of large kernels in the decoder (H2); None: two 3 × 3 convolutions.
        way: options of :func:`snellen.systems.context_upsampling.upsampling.upsampling`.
    """

    def __init__(self, outputs: int, *, seed: int, decoder_kernel: int | None = None, **way: Any) -> None:  # noqa: ANN401
        super().__init__()
        timm = import_extra("timm", "models", "ConvNeXt")
        with seeded(derive_seed(seed, "encoder"), torch.device("cpu")):
            self.encoder = timm.create_model("convnext_tiny", pretrained=False, features_only=True)
        widths: list[int] = [*self.encoder.feature_info.channels()]
        # Behind the last skip two more doublings lead from a quarter of the size to the whole.
        steps = [(widths[3], widths[2], True), (widths[2], widths[1], True), (widths[1], widths[0], True)]
        steps += [(widths[0], widths[0] // 2, False), (widths[0] // 2, widths[0] // 4, False)]
        self.upsampling, self.decoder = nn.ModuleList(), nn.ModuleList()
        for step, (wide, narrow, skips) in enumerate(steps):
            with seeded(derive_seed(seed, "upsampling", step), torch.device("cpu")):
                self.upsampling.append(upsampling(channels_in=wide, channels_out=narrow, **way))
            given = 2 * narrow if skips else narrow
            with seeded(derive_seed(seed, "decoder", step), torch.device("cpu")):
                self.decoder.append(
                    double_convolution(given, narrow)
                    if decoder_kernel is None
                    else large_kernel_blocks(given, narrow, decoder_kernel, expansion=4)
                )
        with seeded(derive_seed(seed, "head"), torch.device("cpu")):
            self.head = nn.Conv2d(steps[-1][1], outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of every pixel."""
        mean, deviation = (images.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        skips: Sequence[Tensor] = self.encoder((images - mean) / deviation)
        maps = skips[-1]
        for step, (larger, block) in enumerate(zip(self.upsampling, self.decoder, strict=True)):
            maps = larger(maps)
            if step < 3:
                maps = torch.cat([maps, skips[2 - step]], 1)
            maps = block(maps)
        scores: Tensor = self.head(maps)
        return scores


class VocExamples:
    """Images of a list of VOC 2012, read when wanted: the middle ``side`` × ``side`` pixels, padded with void.

    Raises:
        InputError: the folder has no such list.
    """

    def __init__(self, folder: Path, split: Split, side: int) -> None:
        listed = folder / "ImageSets" / "Segmentation" / f"{'train' if split == 'train' else 'val'}.txt"
        if not listed.is_file():
            raise InputError(f"{listed} is missing; name the folder VOC2012 of the VOC devkit in {DATA}")
        self.folder, self.side, self.split = folder, side, split
        self.ids = tuple(listed.read_text(encoding="utf-8").split())
        self.weights = torch.ones(len(self.ids))
        self.rejected: Mapping[str, str] = {}

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 (m, 3, side, side), and classes int64 (m, side, side)."""
        pixels = torch.zeros(len(positions), 3, self.side, self.side, dtype=torch.uint8)
        classes = torch.full((len(positions), self.side, self.side), VOID)
        for row, position in enumerate(positions.tolist()):
            name = self.ids[position]
            with Image.open(self.folder / "JPEGImages" / f"{name}.jpg") as opened:
                picture = np.array(opened.convert("RGB"))
            with Image.open(self.folder / "SegmentationClass" / f"{name}.png") as opened:
                mask = np.array(opened)  # a palette file: its values are the classes
            top, left = (max((length - self.side) // 2, 0) for length in mask.shape)
            part = (slice(top, top + self.side), slice(left, left + self.side))
            height, width = mask[part].shape
            pixels[row, :, :height, :width] = torch.from_numpy(picture[part]).permute(2, 0, 1)
            found = torch.from_numpy(mask[part].astype(np.int64))
            classes[row, :height, :width] = torch.where(found == 255, VOID, found)
        return pixels, classes

    def fingerprint(self) -> str:
        """Hash of the names, the side and the masks of the first images."""
        names = torch.frombuffer(bytearray("\0".join(self.ids).encode()), dtype=torch.uint8)
        return hash_tensors({"names": names, "side": torch.tensor(self.side), "first": self.read(torch.arange(1))[1]})


def full(
    seed: int,
    progress: Progress,
    *,
    side: int = 512,
    variants: Sequence[str] = tuple(VARIANTS),
    steps: int = 20,
    plan: TrainingPlan | None = None,
) -> Mapping[str, Figure]:
    """MIoU of each variant, clean and under FGSM, PGD, SegPGD and CosPGD of 2 and 8 levels, and the shares left.

    Args:
        seed: of weights, order and starts.
        progress: callback that receives progress updates.
        side: of the crops.
        variants: of :data:`VARIANTS`.
        steps: of the attacks.
        plan: numbers of the training, in place of the published ones.

    Raises:
        InputError: the variable that names the data is not set.
    """
    if not os.environ.get(DATA):
        raise InputError(f"the full experiment needs {DATA}: the folder VOC2012 of the VOC devkit")
    folder = Path(os.environ[DATA])
    device = torch.device(os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu"))
    examples, held = VocExamples(folder, "train", side), VocExamples(folder, "tune", side)  # type: ignore[arg-type]
    plan = plan or TrainingPlan(epochs=50, batch_size=8, learning_rate=1e-4, weight_decay=1e-4, mixed_precision="bf16")
    figures: dict[str, float] = {}
    for name in variants:
        network = ConvNextUNet(len(CLASSES), seed=seed, **VARIANTS[name])
        if weights := os.environ.get(WEIGHTS):
            _load_encoder(network, Path(weights))
        made = train(
            network, examples, plan=plan.model_copy(update={"seed": seed}), objective=pixel_cross_entropy,
            progress=progress,
        )  # fmt: skip
        network.load_state_dict(made.weights)
        classifier = Classifier(network, class_names=CLASSES, task="segment", name=name, device=device)
        totals: dict[str, Any] = {}
        rng = Randomness(seed).for_examples(held.ids)
        for rows in torch.arange(len(held.ids)).split(8):
            pixels, classes = held.read(rows)
            counts = examine(classifier, to_unit(pixels), classes, standard_attacks(steps), rng=rng[rows])
            for one, count in counts.items():
                totals[one] = totals.get(one, 0) + count.sum(0)
        figures |= {f"{name}.{one}": float(mean_overlap(total)) for one, total in totals.items()}
    if {"transposed", "h2"} <= set(variants):
        figures["h2.behind"] = figures["transposed.clean"] - figures["h2.clean"]
    return {**figures, **shares_left(figures)}


def _load_encoder(network: ConvNextUNet, path: Path) -> None:
    """Weights of timm's ConvNeXt-tiny into the encoder; its names have underscores where those of timm have dots.

    Raises:
        InputError: weights that do not fit.
    """
    from safetensors.torch import load_file

    given = load_file(path)
    own = network.encoder.state_dict()
    renamed = {
        name.replace(".", "_", 1) if name.startswith(("stem.", "stages.")) else name: value
        for name, value in given.items()
    }
    missing = sorted(set(own) - set(renamed))
    if missing:
        raise InputError(f"{path}: {len(missing)} weights of ConvNeXt-tiny are missing, the first is {missing[0]!r}")
    network.encoder.load_state_dict({name: renamed[name] for name in own})
