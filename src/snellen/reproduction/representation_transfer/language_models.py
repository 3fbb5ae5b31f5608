"""Small causal transformers that continue captions of scenes, cut at a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.images import Split
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.models.layers.layer_edits import edited, reading
from snellen.models.weights.hugging_face_folder import import_transformers
from snellen.models.weights.quiet_loading import quiet_loading
from snellen.reproduction.representation_transfer.token_targets import as_classifier, target_scores, teacher_forced
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Marks the end of a caption, and fills short rows.
END = "."
#: The benign sentence that attacks try to produce.
TARGET = ("-", "pointed", "star")
PLAN = TrainingPlan(epochs=8, batch_size=64, learning_rate=6e-3, schedule="one-cycle", warmup_steps=30)


@dataclass(frozen=True)
class Vocabulary:
    """Whole words, in alphabetical order; the end mark is 0."""

    words: tuple[str, ...]

    def tokens(self, words: Sequence[str]) -> list[int]:
        """Places of the words.

        Raises:
            ValueError: a word that does not occur in the captions.
        """
        return [self.words.index(word) for word in words]


def caption_words(count: int, seed: int, split: Split) -> list[list[str]]:
    """Captions of scenes as words and commas."""
    images = Scenes(count=count, seed=seed).images(split=split)
    return [str(caption).replace(",", " ,").replace("-", " - ").split() for caption in images.column("caption")]


def rows_of(captions: Sequence[Sequence[str]], vocabulary: Vocabulary) -> Tensor:
    """Tokens of captions with the end mark, filled up with it: int64 (n, t)."""
    longest = max(map(len, captions)) + 1
    return torch.tensor([vocabulary.tokens([*words, *[END] * (longest - len(words))]) for words in captions])


def causal_transformer(size: int, *, width: int = 48, blocks: int = 2, context: int = 48) -> nn.Module:
    """A GPT-2 of the transformers library with initial weights from torch's global generator."""
    transformers = import_transformers("the language part of system 16", extra="vlm")
    with quiet_loading():
        config = transformers.GPT2Config(
            vocab_size=size, n_embd=width, n_layer=blocks, n_head=4, n_positions=context, bos_token_id=0,
            eos_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
        model: nn.Module = transformers.GPT2LMHeadModel(config)
    return model


def next_token_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy of the tokens of each row, its first end mark included: (n,)."""
    tokens: Any = batch.images
    logits = model(input_ids=tokens).logits[:, :-1]
    wanted = tokens[:, 1:]
    losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
    # A token counts unless the one before it was an end mark already.
    counts = (tokens[:, :-1] != 0).to(losses.dtype)
    return (losses * counts).sum(1) / counts.sum(1).clamp(min=1)


def trained_language_model(
    name: str, rows: Tensor, size: int, rng: Randomness, progress: Progress, plan: TrainingPlan = PLAN
) -> nn.Module:
    """Train on captions from initial weights of its own; frozen afterwards."""
    with seeded(rng.child(name).generator("initial weights").initial_seed(), torch.device("cpu")):
        model = causal_transformer(size)
    store = ImageStore.of_tensors(rows, torch.zeros(len(rows), dtype=torch.int64), split="train")
    seed = rng.child(name).generator("training").initial_seed() % 2**31
    chosen = plan.model_copy(update={"seed": seed})
    weights = train(model, store, plan=chosen, objective=next_token_losses, progress=progress).weights
    model.load_state_dict(dict(weights))
    return model.eval().requires_grad_(False)


class LanguageSplit:
    """A causal transformer cut behind a block, at the tokens of the prompt: prompts → states → "says the target".

    Args:
        name: for messages.
        model: a causal transformer of transformers' GPT-2 class.
        layer: full name of a layer whose output is the residual stream; ``transformer.drop`` for the embeddings, whose
            change makes soft tokens.
        target: int64 (t,), the tokens to produce.
    """

    def __init__(self, name: str, model: nn.Module, layer: str, target: Tensor) -> None:
        self.model, self.layer, self.target = model, layer, target
        self.classifier = as_classifier(name, self.scores)
        self.place = f"{layer}, states of the prompt"

    def scores(self, prompts: Tensor) -> Tensor:
        """Prompts int64 (n, p) → scores of :data:`~snellen.reproduction.representation_transfer.token_targets.SAID`."""
        logits = self.model(input_ids=teacher_forced(prompts, self.target)).logits
        return target_scores(logits[:, prompts.shape[1] - 1 :], self.target)

    def encode(self, images: Tensor) -> Tensor:
        """States (n, p, d) of the prompts' tokens."""
        with reading(self.model, self.layer) as states:
            self.model(input_ids=images)
        return states[self.layer][0]

    def decode(self, representations: Tensor, images: Tensor | None = None) -> Tensor:
        """Scores with these states in the place of the prompts' own. The blocks before run too: a prompt is short."""
        assert images is not None, "the states of a prompt are decoded together with its tokens"
        count = images.shape[1]

        def replace(states: Tensor) -> Tensor:
            return torch.cat([representations.to(states.dtype), states[:, count:]], 1)

        with edited(self.model, self.layer, replace):
            return self.scores(images)
