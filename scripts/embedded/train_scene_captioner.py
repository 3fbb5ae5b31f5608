"""Train the embedded captioner: a VisionEncoderDecoderModel of transformers on scenes and their captions.

    python scripts/embedded/train_scene_captioner.py [--resume] [--threads N] [--first-steps]

Needs the towers (train_scene_towers.py): its encoder starts as their image side.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from caption_tokens import VARIANTS, CaptionTokens
from scene_examples import SceneExamples, factor_numbers
from scene_tokenizer import LENGTH
from scene_world import SIZE, WORLD, scenes
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    CLIPTokenizer,
    CLIPVisionModel,
    GPT2Config,
    GPT2LMHeadModel,
    VisionEncoderDecoderModel,
)

from runs import fit, options, write_folder_card, write_record
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.described import Factor
from snellen.training import TrainingPlan
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch

NAME, TOWERS = "scene-captioner", "scene-clip"
COUNT = 24_000

#: What is seldom left out is what the captioner mostly says.
LEFT_OUT: Mapping[Factor, float] = {
    "shape": 0.0,
    "colour": 0.0,
    "texture": 0.05,
    "size": 0.3,
    "place": 0.3,
    "background": 0.05,
    "nuisances": 0.05,
}
DECODER = {"n_embd": 96, "n_layer": 2, "n_head": 4, "n_inner": 192, "n_positions": LENGTH, "add_cross_attention": True}
DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}

DESCRIPTION = (
    "Says what is on scenes of 32 pixels with one object, in the words of scene captions: shape, colour, texture, "
    "size, place, background, fog and blur."
)

PLAN = TrainingPlan(
    epochs=5,
    batch_size=64,
    drop_last=True,
    learning_rate=1.5e-3,
    schedule="cosine",
    warmup_steps=150,
    ema_decay=0.995,
    clip_norm=1.0,
)


class Captioner(nn.Module):
    """An encoder and decoder as one call: images and tokens → scores of the next token."""

    def __init__(self, model: VisionEncoderDecoderModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Images (n, 3, h, w) in [−1, 1], tokens (n, l) → (n, l, vocabulary)."""
        return self.model(pixel_values=images, decoder_input_ids=tokens).logits


class Telling:
    """The objective: cross-entropy of each next token, up to the first end token.

    Args:
        captions: of each example.
        end: id of the end token, which is also the padding.
    """

    def __init__(self, captions: CaptionTokens, end: int) -> None:
        self.captions, self.end = captions, end

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,)."""
        tokens = self.captions(batch.positions, batch.rng)
        following = tokens[:, 1:]
        # The first end token is to be told, those after it are padding.
        told = ((following == self.end).cumsum(1) <= 1).float()
        scores = model(batch.images * 2 - 1, tokens[:, :-1]).float()
        losses = F.cross_entropy(scores.transpose(1, 2), following, reduction="none")
        return (losses * told).sum(1) / told.sum(1)


def main() -> None:
    """Train and write."""
    given = options(__doc__ or "")
    towers = given.assets / TOWERS
    tokenizer = CLIPTokenizer.from_pretrained(towers, local_files_only=True)
    drawn = scenes(WORLD, "train", count=COUNT, seen=True)
    examples = SceneExamples(drawn, SIZE, factor_numbers(drawn, ("shape",)))
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    with seeded(derive_seed(PLAN.seed, NAME), torch.device("cpu")):
        decoder = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **DECODER, **DROPOUT, **ends))
        encoder = CLIPVisionModel.from_pretrained(towers, local_files_only=True, dtype=torch.float32)
        model = Captioner(VisionEncoderDecoderModel(encoder=encoder, decoder=decoder))
    encoder.config._name_or_path = ""  # where it was loaded from
    for config in (model.model.config, model.model.generation_config):
        config.decoder_start_token_id = tokenizer.bos_token_id
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        config.pad_token_id = tokenizer.eos_token_id
    model.model.generation_config.max_length = LENGTH
    recipe = {
        "script": "scripts/embedded/train_scene_captioner.py",
        "decoder": {**DECODER, **DROPOUT},
        "captions": {"variants": VARIANTS, "left out": dict(LEFT_OUT)},
    }
    captions = CaptionTokens(tokenizer, drawn, LEFT_OUT, seed=10)
    objective = Telling(captions, tokenizer.eos_token_id)
    trained, record = fit(given, NAME, "captioner", model, examples, plan=PLAN, objective=objective, recipe=recipe)
    model.load_state_dict(trained.weights)
    folder = given.assets / NAME
    model.model.half().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor.from_pretrained(towers, local_files_only=True).save_pretrained(folder)
    write_record(folder, "captioner", record)
    write_folder_card(folder, kind="captioner", description=DESCRIPTION)


if __name__ == "__main__":
    main()
