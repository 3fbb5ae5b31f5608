"""Train the embedded promptable segmenter: a SamModel of transformers that cuts out what a point lies on.

    python scripts/embedded/train_scene_segmenter.py [--resume] [--threads N] [--first-steps]

Scenes of one object and of two, at 64 pixels; the point is a random one inside the object that is asked for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scene_examples import SceneExamples
from scene_world import PAIRS, WORLD, scenes
from torch import Tensor, nn
from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

from runs import fit, options, write_folder_card, write_record
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.rendering import visible
from snellen.data.worlds.optotypes.scene import Scene
from snellen.training import TrainingPlan
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch

NAME = "scene-sam"
SIZE, SINGLE, PAIRED = 64, 9_000, 7_000
ARCHITECTURE = {
    "vision_config": {
        "image_size": SIZE,
        "patch_size": 8,
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "mlp_dim": 128,
        "output_channels": 32,
        "num_pos_feats": 16,
        "window_size": 0,
        "global_attn_indexes": [0, 1, 2],
    },
    "prompt_encoder_config": {
        "hidden_size": 32,
        "image_size": SIZE,
        "patch_size": 8,
        "image_embedding_size": SIZE // 8,
        "mask_input_channels": 8,
    },
    "mask_decoder_config": {
        "hidden_size": 32,
        "mlp_dim": 64,
        "num_attention_heads": 4,
        "iou_head_hidden_dim": 32,
    },
}
DESCRIPTION = (
    "Segment Anything for scenes of 64 pixels: cuts out the object that a point lies on, one object or one of two. "
    "Trained with one point inside the object; boxes were never shown."
)
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

PLAN = TrainingPlan(
    epochs=4,
    batch_size=32,
    drop_last=True,
    learning_rate=2e-3,
    schedule="cosine",
    warmup_steps=100,
    ema_decay=0.995,
    clip_norm=1.0,
)


class Segmenter(nn.Module):
    """A SAM as one call: images and points → logits and estimated overlaps of three candidates and of the one mask."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, 3, h, w), points (n, 2) in pixels → logits (n, 4, h, w) and estimated overlap (n, 4)."""
        seen = self.model.vision_encoder(images)[0]
        asked = {
            "image_embeddings": seen,
            "input_points": points[:, None, None],
            "input_labels": torch.ones(len(points), 1, 1, dtype=torch.long),
        }
        found = [self.model(**asked, multimask_output=several) for several in (True, False)]
        masks = torch.cat([one.pred_masks[:, 0] for one in found], 1).float()
        return (
            F.interpolate(masks, images.shape[2:], mode="bilinear", align_corners=False),
            torch.cat([one.iou_scores[:, 0] for one in found], 1).float(),
        )


def objective(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy and one minus the Dice coefficient, and the squared error of the estimated overlaps.

    Of three candidates only the best learns the mask (Kirillov et al. 2023, section 3); the single mask always does.
    """
    truth = batch.targets[:, 0].float() / 255
    logits, estimate = model((batch.images - MEAN[0]) / STD[0], inside(truth, batch.rng.uniform("point", (1,))[:, 0]))
    wanted = truth[:, None].expand_as(logits)
    chances = logits.sigmoid()
    dice = 1 - (2 * (chances * wanted).sum((2, 3)) + 1) / (chances.sum((2, 3)) + wanted.sum((2, 3)) + 1)
    errors = dice + F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean((2, 3))
    guesses = (estimate - overlap(logits, wanted)).square().mean(1)
    return errors[:, :3].amin(1) + errors[:, 3] + guesses


def inside(masks: Tensor, draws: Tensor) -> Tensor:
    """One pixel of each mask (n, h, w), the one that a draw in [0, 1) falls on: x and y, float (n, 2)."""
    covered = (masks >= 0.5).flatten(1)
    wanted = (draws * covered.sum(1)).long() + 1
    place = (covered.cumsum(1) >= wanted[:, None]).double().argmax(1)
    width = masks.shape[2]
    return torch.stack([place % width, place // width], 1).float()


def overlap(logits: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of masks (n, k, h, w) cut at one half, (n, k)."""
    found, real = logits > 0, truth >= 0.5
    return (found & real).sum((2, 3)) / (found | real).sum((2, 3)).clamp(min=1)


def first_masks(drawn: list[Scene]) -> Tensor:
    """Mask of the first object of each scene, uint8 (n, 1, SIZE, SIZE)."""
    parts = [visible(drawn[start : start + 128], SIZE)[:, :1] for start in range(0, len(drawn), 128)]
    return (torch.cat(parts) * 255).round().to(torch.uint8)


def main() -> None:
    """Train and write."""
    given = options(__doc__ or "")
    drawn = [*scenes(WORLD, "train", count=SINGLE, seen=True), *scenes(PAIRS, "train", count=PAIRED, seen=True)]
    examples = SceneExamples(drawn, SIZE, first_masks(drawn))
    with seeded(derive_seed(PLAN.seed, NAME), torch.device("cpu")):
        model = Segmenter(SamModel(SamConfig(**ARCHITECTURE)))
    recipe = {"script": "scripts/embedded/train_scene_segmenter.py", "architecture": ARCHITECTURE}
    trained, record = fit(given, NAME, "segmenter", model, examples, plan=PLAN, objective=objective, recipe=recipe)
    model.load_state_dict(trained.weights)
    folder = given.assets / NAME
    model.model.half().save_pretrained(folder, safe_serialization=True)
    processor = SamImageProcessor(
        size={"longest_edge": SIZE},
        pad_size={"height": SIZE, "width": SIZE},
        mask_size={"longest_edge": SIZE // 4},
        mask_pad_size={"height": SIZE // 4, "width": SIZE // 4},
        image_mean=MEAN,
        image_std=STD,
    )
    SamProcessor(processor).save_pretrained(folder)
    write_record(folder, "segmenter", record)
    write_folder_card(folder, kind="segmenter", description=DESCRIPTION)


if __name__ == "__main__":
    main()
