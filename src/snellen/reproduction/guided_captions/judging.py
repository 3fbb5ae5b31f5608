"""Captions of a test split under both families of measures: against references, and against the images alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from snellen.core.errors import ModelError
from snellen.metrics.caption_measures import bleu, caption_words, cider_scores, meteor_scores, repetition, rouge_l
from snellen.metrics.caption_retrieval import clip_scores, ranks, ref_clip_scores, reference_scores
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.captioners.greedy import sequence_log_probabilities
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.tokens.token_rows import pad
from snellen.reproduction.guided_captions.vague_world import fact_vectors, read_back
from snellen.reproduction.sample import Figure, Sample


@dataclass(frozen=True, eq=False)
class Judge:
    """What is known of the test split, computed once.

    Args:
        towers: judges images and texts; another model than the captioner.
        images: vectors of all test images, of length one, on the CPU (n, d).
        vague: references of each image, as in training.
        synonyms: sets of words that METEOR counts as one.
        full: references of each image with all facts; None where there are none.
        facts: true facts of each image; None where none are known.
    """

    towers: TwoTower
    images: Tensor
    vague: Sequence[Sequence[str]]
    synonyms: Sequence[Sequence[str]] = ()
    full: Sequence[Sequence[str]] | None = None
    facts: Sequence[frozenset[str]] | None = None

    @property
    def main_recall(self) -> str:
        """Where facts are known, retrieval by them: no network judges, so none can share its origin with another."""
        return "recall_1" if self.facts is None else "facts_recall_1"

    @cached_property
    def reference_vectors(self) -> list[Tensor]:
        """Vectors of the references of each image."""
        return [self._vectors(row) for row in self.vague]

    def figures(self, captions: Sequence[str]) -> dict[str, Figure]:
        """Figures of one caption for each test image: recall, scores, lengths, facts; a value for each where it can."""
        # Towers take no empty text; a caption of no words is as good as any single word.
        texts = torch.cat([self._vectors(part) for part in _parts(captions)])
        places = ranks(texts, self.images)
        found: dict[str, Figure] = {f"recall_{k}": _sample(places <= k) for k in (1, 5, 10)}
        found |= {
            "clip_score": _sample(clip_scores(texts, self.images)),
            "reference_score": _sample(reference_scores(texts, self.reference_vectors)),
            "ref_clip_score": _sample(ref_clip_scores(texts, self.images, self.reference_vectors)),
            "bleu_4": bleu(captions, self.vague),
            "meteor": Sample.of(meteor_scores(captions, self.vague, self.synonyms)),
            "rouge_l": rouge_l(captions, self.vague),
            "cider": Sample.of(cider_scores(captions, self.vague)),
            **_lengths(captions),
        }
        if self.full is not None:
            found["cider_full"] = Sample.of(cider_scores(captions, self.full))
        return found | ({} if self.facts is None else self._facts(captions, self.facts))

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, beside those of the images: on the CPU (n, d)."""
        return self.towers.encode_texts(list(texts), truncate=True).cpu()

    def _facts(self, captions: Sequence[str], facts: Sequence[frozenset[str]]) -> dict[str, Figure]:
        """What the parser reads in the captions, and whether it finds the image: a judge without any weights."""
        said = [read_back(one) for one in captions]
        names = sorted(set().union(*facts))
        mine, true = fact_vectors(said, names), fact_vectors(facts, names)
        count, right = float(mine.sum()), float((mine * true).sum())
        return {
            "facts": _sample(mine.sum(1)),
            "facts_right": right / count if count else 0.0,
            "facts_recall_1": _sample(ranks(mine, true) <= 1),
            "unreadable": Sample.of([one is None for one in said]),
        }


def _sample(values: Tensor) -> Sample:
    return Sample.of(values.double().tolist())


def _parts(captions: Sequence[str], together: int = 256) -> list[list[str]]:
    """Texts that towers read at a time; they take no empty one."""
    shown = [one or "." for one in captions]
    return [shown[start : start + together] for start in range(0, len(shown), together)]


def _lengths(captions: Sequence[str]) -> dict[str, Figure]:
    words = [caption_words(one) for one in captions]
    lengths = torch.tensor([len(one) for one in words], dtype=torch.float64)
    return {
        "words": _sample(lengths),
        "words_spread": float(lengths.std(correction=0)),
        "repetition": sum(repetition(one) for one in words) / len(words),
    }


def self_recall(captioner: CrossAttentionCaptioner, states: Tensor, captions: Sequence[str]) -> float:
    """R@1 by the captioner's own log p(caption | image), beside that of the towers.

    Args:
        captioner: that made the captions.
        states: of n images (n, s, w).
        captions: one of each; of long ones the first words count, as many as surely fit into the context.

    Raises:
        ModelError: log probabilities that are not finite.
    """
    short = [" ".join(one.split()[: captioner.context_length // 2]) for one in captions]
    rows = [row.tolist() for row in captioner.tokenise(short)]
    tokens, mask = (part.to(captioner.device) for part in pad(rows, filler=captioner.end_token))
    columns = []
    with torch.no_grad():
        for one in states.to(captioner.device):
            logits = captioner.sequence_logits(tokens, one.repeat(len(tokens), 1, 1))
            columns.append(sequence_log_probabilities(logits, tokens, mask))
    likely = torch.stack(columns, 1)
    if not bool(likely.isfinite().all()):
        # NaN is as large as nothing, so its caption would count as found.
        raise ModelError(f"{captioner.name} gives log probabilities that are not finite")
    own = likely.diagonal()[:, None]
    return float(((likely >= own).sum(1) <= 1).double().mean())


def named(prefix: str, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """The figures with a name before theirs."""
    return {f"{prefix}.{name}": value for name, value in figures.items()}
