"""Training of a describer: the captioner on regions and sentences, the sentence model on the same sentences alone.

Hernandez et al., ICLR 2022 (arXiv 2201.11114), section 3.2 and appendix. Units are split, never sentences: no sentence
of a unit that is held out is seen by either model. The regions are encoded once, by a network that is never trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.metrics.caption_measures import bleu
from snellen.systems.neuron_descriptions.captioner import RegionCaptioner, Regions, caption_losses, word_losses
from snellen.systems.neuron_descriptions.describer import Describer, scaled_like
from snellen.systems.neuron_descriptions.describing import describe_regions
from snellen.systems.neuron_descriptions.region_encoder import RegionEncoder
from snellen.systems.neuron_descriptions.sentence_model import SentenceModel
from snellen.systems.neuron_descriptions.vocabulary import Vocabulary
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, Examples, ImageStore
from snellen.training.loop import Trained, train
from snellen.training.plan import TrainingPlan

#: Longest sequence of words that BLEU counts on the held-out units: sentences of three words have no more.
_BLEU = 2


@dataclass(frozen=True)
class Sizes:
    """Widths of both networks; see :class:`RegionCaptioner` and :class:`SentenceModel`. The defaults are published."""

    embedding: int = 128
    hidden: int = 512
    language_hidden: int = 512
    dropout: float = 0.5


@dataclass(frozen=True, eq=False)
class UnitSentences:
    """Units with the same number of sentences each.

    Attributes:
        regions: of n units.
        sentences: s for each unit.
    """

    regions: Regions
    sentences: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if len({len(told) for told in self.sentences}) != 1 or len(self.sentences) != len(self.regions.vectors):
            raise InputError("every unit takes the same number of sentences, at least one, and there are units")
        if not bool(self.regions.present.any(1).all()):
            raise InputError("a unit without a region cannot be learnt from; leave it out")

    def of(self, rows: Tensor) -> UnitSentences:
        """Some of the units."""
        return UnitSentences(self.regions.of(rows), tuple(self.sentences[row] for row in rows.tolist()))


def split_units(units: UnitSentences, share: float, rng: Randomness) -> tuple[UnitSentences, UnitSentences]:
    """Units to train on, and a share of them that is held out: every sentence stays with its unit."""
    count = len(units.sentences)
    held = min(max(1, round(share * count)), count - 1)
    order = torch.randperm(count, generator=rng.generator("held-out units"))
    return units.of(order[held:].sort().values), units.of(order[:held].sort().values)


def fit_describer(
    units: UnitSentences,
    held_out: UnitSentences,
    encoder: RegionEncoder,
    *,
    sizes: Sizes,
    plan: TrainingPlan,
    language_plan: TrainingPlan,
    length: int = 15,
    attention_weight: float = 1.0,
    rng: Randomness,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Describer, Trained, Trained]:
    """Train captioner and sentence model; both are returned with the weights of their best epoch.

    Args:
        units: to learn from.
        held_out: choose the epoch: of the captioner by BLEU of greedy sentences, of the sentence model by its loss.
        encoder: that the regions were encoded with.
        sizes: of both networks.
        plan: of the captioner; what it selects by is replaced.
        language_plan: of the sentence model, likewise.
        length: most words of a sentence.
        attention_weight: of the doubly stochastic attention.
        rng: seeds initial weights, order and dropout.
        checkpoint: file to save the captioner's training to, and to go on from; the other is STEM-language.SUFFIX.
        progress: callback that receives progress updates.
    """
    vocabulary = Vocabulary.of(sentence for told in units.sentences for sentence in told)
    rows, held_rows = (_rows(part, vocabulary, length) for part in (units, held_out))
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        captioner = RegionCaptioner(
            units.regions.vectors.shape[2],
            len(vocabulary),
            embedding=sizes.embedding,
            hidden=sizes.hidden,
            dropout=sizes.dropout,
        )
        language = SentenceModel(
            len(vocabulary), embedding=sizes.embedding, hidden=sizes.language_hidden, dropout=sizes.dropout
        )
    scaled_like(captioner, units.regions)
    told = len(units.sentences[0])

    def captions(model: nn.Module, batch: Batch) -> Tensor:
        seen, wanted = units.regions.of(batch.positions // told), rows[batch.positions]
        scores, attention = model(seen, wanted)
        return caption_losses(scores, attention, wanted, seen.present, pad=vocabulary.pad, weight=attention_weight)

    def words(model: nn.Module, batch: Batch) -> Tensor:
        wanted = rows[batch.positions]
        return word_losses(model(wanted), wanted, pad=vocabulary.pad)

    def by_bleu(model: nn.Module, _: Examples) -> Mapping[str, float]:
        assert isinstance(model, RegionCaptioner)
        said = describe_regions(
            model, language, vocabulary, held_out.regions, objective="likelihood", width=1, length=length
        )
        return {"bleu": bleu([one.text for one in said], held_out.sentences, n=_BLEU)}

    def by_loss(model: nn.Module, _: Examples) -> Mapping[str, float]:
        with torch.no_grad():
            return {"loss": float(word_losses(model(held_rows), held_rows, pad=vocabulary.pad).mean())}

    beside = None if checkpoint is None else checkpoint.with_stem(f"{checkpoint.stem}-language")
    trained = _fit(
        captioner, rows, captions, by_bleu, held_rows, plan, "bleu", rng.child("captioner"), checkpoint, progress
    )
    alone = _fit(
        language, rows, words, by_loss, held_rows, language_plan, "loss", rng.child("language"), beside, progress
    )
    return Describer(encoder, captioner, language, vocabulary), trained, alone


def _rows(units: UnitSentences, vocabulary: Vocabulary, length: int) -> Tensor:
    """Each sentence of each unit is a sample: (n · s, t)."""
    return vocabulary.rows([sentence for told in units.sentences for sentence in told], length=length)


def _fit(
    model: nn.Module,
    rows: Tensor,
    objective: Callable[[nn.Module, Batch], Tensor],
    evaluate: Callable[[nn.Module, Examples], Mapping[str, float]],
    held_rows: Tensor,
    plan: TrainingPlan,
    select: str,
    rng: Randomness,
    checkpoint: Path | None,
    progress: Progress | None,
) -> Trained:
    """Train in place. The loop keeps copies of the best weights, not references to those that go on changing."""
    settled = plan.model_copy(
        update={
            "seed": rng.generator("training").initial_seed() % 2**31,
            "select": select,
            "select_highest": select != "loss",
        }
    )
    examples, val = (ImageStore.of_tensors(torch.zeros(len(part), 1), part) for part in (rows, held_rows))
    trained = train(
        model,
        examples,
        plan=settled,
        objective=objective,
        val=val,
        evaluate=evaluate,
        checkpoint=checkpoint,
        progress=progress,
    )
    model.load_state_dict(dict(trained.weights))
    return trained


def said_by(sentences: Sequence[Sequence[str]]) -> str:
    """The sentence that is most frequent, the first of several: what a describer without any image would say."""
    counts: dict[str, int] = {}
    for told in sentences:
        for sentence in told:
            counts[sentence] = counts.get(sentence, 0) + 1
    return max(counts, key=counts.__getitem__)
