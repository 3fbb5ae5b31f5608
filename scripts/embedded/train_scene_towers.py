"""Train the embedded two-tower model: a CLIPModel of transformers on scenes and their captions.

    python scripts/embedded/train_scene_towers.py [--resume] [--threads N] [--first-steps]

Images and captions of one batch are told apart (Radford et al. 2021), and during training, linear layers that are
thrown away afterwards read the factors of single objects from the image side: contrast alone learns shapes last. Its
text tower is the text encoder of the embedded diffusion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from caption_tokens import VARIANTS, CaptionTokens
from scene_examples import SceneExamples, factor_numbers
from scene_tokenizer import LENGTH, build
from scene_world import LEFT_OUT, PAIRS, SIZE, WORLD, scenes
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from runs import fit, options, write_folder_card, write_record
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.described import Factor
from snellen.data.worlds.optotypes.scene_set import LABELS
from snellen.training import TrainingPlan
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch

NAME = "scene-clip"
SINGLE, PAIRED = 40_000, 8_000

#: Two objects leave little room: places and sizes are hardly told.
LEFT_OUT_OF_PAIRS: Mapping[Factor, float] = {**LEFT_OUT, "place": 1.0, "size": 1.0, "texture": 0.6, "background": 0.5}

#: Factors that the image side is asked for, and how much that counts.
FACTORS, FACTOR_WEIGHT = ("shape", "colour", "texture", "background", "size", "column", "row"), 0.5

DESCRIPTION = (
    "Two towers (CLIP) for scenes of 32 pixels: square, triangle, star, cross, ring and heart in six colours, three "
    "textures and on four backgrounds, one object that is medium or large and upright, or two small ones; at times fog "
    "or blur. It knows the words of scene captions and no others."
)
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

PLAN = TrainingPlan(
    epochs=5,
    batch_size=128,
    drop_last=True,
    learning_rate=1.5e-3,
    second_momentum=0.98,
    weight_decay=0.05,
    schedule="cosine",
    warmup_steps=150,
    clip_norm=1.0,
    ema_decay=0.995,
)


def architecture(tokenizer: CLIPTokenizer) -> dict:
    """The configuration; the ids of the special tokens must be said, or all texts look alike to CLIP."""
    return {
        "projection_dim": 64,
        "logit_scale_init_value": 2.6592,
        "text_config": {
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": LENGTH,
            "hidden_act": "gelu",
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        "vision_config": {
            "image_size": SIZE,
            "patch_size": 4,
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "hidden_act": "gelu",
        },
    }


class Towers(nn.Module):
    """Both towers in one call, and the answers about factors.

    Args:
        model: the two towers.
        answers: number of values of each factor.
    """

    def __init__(self, model: CLIPModel, answers: Sequence[int]) -> None:
        super().__init__()
        self.model, self.answers = model, list(answers)
        self.heads = nn.Linear(model.config.vision_config.hidden_size, sum(answers))

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (n, 3, h, w) in [−1, 1], tokens (n, l) → scores of images with texts (n, n), answers, scale."""
        seen = self.model.vision_model(pixel_values=images).pooler_output
        read = self.model.text_model(input_ids=tokens).pooler_output
        image = F.normalize(self.model.visual_projection(seen).float(), dim=-1)
        text = F.normalize(self.model.text_projection(read).float(), dim=-1)
        scale = self.model.logit_scale.clamp(max=4.6).exp()
        return scale * image @ text.T, self.heads(seen).float(), scale


class Contrast:
    """The objective: each image finds its caption and each caption its image, and factors are told.

    Args:
        captions: of each example.
    """

    def __init__(self, captions: CaptionTokens) -> None:
        self.captions = captions

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,)."""
        scores, answers, _ = model(batch.images * 2 - 1, self.captions(batch.positions, batch.rng))
        own = torch.arange(len(scores))
        contrast = F.cross_entropy(scores, own, reduction="none") + F.cross_entropy(scores.T, own, reduction="none")
        parts = answers.split(self.counts(model), 1)
        asked = zip(parts, batch.targets.unbind(1), strict=True)
        told = sum(F.cross_entropy(part, target, reduction="none", ignore_index=-1) for part, target in asked)
        return contrast / 2 + FACTOR_WEIGHT * told

    @staticmethod
    def counts(model: nn.Module) -> list[int]:
        """Number of values of each factor."""
        found: list[int] = getattr(model, "module", model).answers
        return found


def main() -> None:
    """Train and write."""
    given = options(__doc__ or "")
    tokenizer = build()
    single, paired = (
        scenes(WORLD, "train", count=SINGLE, seen=True),
        scenes(PAIRS, "train", count=PAIRED, seen=True),
    )
    # Of several objects, single factors are not asked for.
    targets = torch.cat([factor_numbers(single, FACTORS), torch.full((PAIRED, len(FACTORS)), -1)])
    examples = SceneExamples([*single, *paired], SIZE, targets)
    with seeded(derive_seed(PLAN.seed, NAME, "towers"), torch.device("cpu")):
        model = Towers(CLIPModel(CLIPConfig(**architecture(tokenizer))), [len(LABELS[name][0]) for name in FACTORS])
    recipe = {
        "script": "scripts/embedded/train_scene_towers.py",
        "architecture": architecture(tokenizer),
        "captions": VARIANTS,
        "factors": {"asked": list(FACTORS), "weight": FACTOR_WEIGHT},
    }
    objective = Contrast(CaptionTokens(tokenizer, single, others=(paired, LEFT_OUT_OF_PAIRS)))
    trained, record = fit(given, NAME, "towers", model, examples, plan=PLAN, objective=objective, recipe=recipe)
    model.load_state_dict(trained.weights)
    write(model.model.eval(), tokenizer, given.assets / NAME)
    write_record(given.assets / NAME, "towers", record)
    write_folder_card(given.assets / NAME, kind="two-tower", description=DESCRIPTION)


def write(model: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the folder in half precision."""
    model.half().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(
        size={"height": SIZE, "width": SIZE},
        do_center_crop=False,
        image_mean=MEAN,
        image_std=STD,
    ).save_pretrained(folder)


if __name__ == "__main__":
    main()
