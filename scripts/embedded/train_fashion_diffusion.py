"""Train the embedded class-conditional diffusion on Fashion-MNIST (28-pixel product thumbnails).

    python scripts/embedded/train_fashion_diffusion.py [--resume] [--threads N] [--first-steps]

A UNet2DModel of diffusers in pixel space with eleven class rows: ten classes, and a last one that means "none", which
takes the place of a tenth of all labels. The images are those that scripts/build_fashion_sample.py reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from pixel_diffusion import train_and_write

from runs import options
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.training import ImageStore, TrainingPlan

sys.path.insert(0, str(Path(__file__).parents[1]))
from build_fashion_sample import SOURCE, read_idx

NAME = "fashion-diffusion"

#: Share of labels that are left out, and the row that stands for "none".
EMPTY, NONE = 0.1, len(FASHION_CLASSES)

ARCHITECTURE = {
    "sample_size": 28,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [16, 48, 96],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    "attention_head_dim": 24,
    "norm_num_groups": 8,
    "num_class_embeds": NONE + 1,
}
DESCRIPTION = (
    "Class-conditional diffusion on Fashion-MNIST (28-pixel product thumbnails, grey), in pixels; class 10 is none. "
    "Trained on the 60,000 training images (MIT, Zalando SE)."
)

PLAN = TrainingPlan(
    epochs=2,
    batch_size=64,
    drop_last=True,
    learning_rate=1.5e-3,
    second_momentum=0.99,
    schedule="cosine",
    warmup_steps=200,
    ema_decay=0.998,
    clip_norm=1.0,
    mixed_precision="bf16",
    channels_last=True,
)


def read(source: Path) -> ImageStore:
    """The 60,000 training images, grey."""
    images = torch.from_numpy(read_idx(source / "train-images-idx3-ubyte.gz").copy())
    labels = torch.from_numpy(read_idx(source / "train-labels-idx1-ubyte.gz").copy()).long()
    ids = [f"train-{position:05d}" for position in range(len(images))]
    return ImageStore.of_tensors(images[:, None], labels, ids=ids, split="train")


def main() -> None:
    """Train and write."""
    train_and_write(
        options(__doc__ or ""),
        NAME,
        read(SOURCE),
        architecture=ARCHITECTURE,
        plan=PLAN,
        recipe={"script": "scripts/embedded/train_fashion_diffusion.py", "empty": EMPTY},
        description=DESCRIPTION,
        none=NONE,
        empty=EMPTY,
        index={"id2label": {str(number): name for number, name in enumerate(FASHION_CLASSES)}},
    )


if __name__ == "__main__":
    main()
