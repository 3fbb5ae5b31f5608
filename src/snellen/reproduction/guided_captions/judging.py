"""Captions of a test split under both families of measures: against references, and against the images alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import ModelError
from snellen.metrics.caption_measures import bleu, caption_words, cider, meteor, repetition, rouge_l
from snellen.metrics.caption_retrieval import clip_scores, ranks, ref_clip_scores, reference_scores
from snellen.metrics.intervals import wilson
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.captioners.greedy import sequence_log_probabilities
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.tokens.token_rows import pad
from snellen.reproduction.guided_captions.vague_world import fact_vectors, read_back


@dataclass(frozen=True, eq=False)
class Judge:
    """What is known of the test split, computed once.

    Args:
        towers: judges images and texts; another model than the captioner.
        images: vectors of all test images, of length one (n, d).
        vague: references of each image, as in training.
        full: references of each image with all facts.
        facts: true facts of each image.
    """

    towers: TwoTower
    images: Tensor
    vague: Sequence[Sequence[str]]
    full: Sequence[Sequence[str]]
    facts: Sequence[frozenset[str]]

    def figures(self, captions: Sequence[str]) -> dict[str, float]:
        """Figures of one caption for each test image: recall with its interval, scores, lengths, facts."""
        # Towers take no empty text; a caption of no words is as good as any single word.
        texts = self.towers.encode_texts([one or "." for one in captions], truncate=True)
        told = [self.towers.encode_texts(list(row), truncate=True) for row in self.vague]
        places = ranks(texts, self.images)
        found = {f"recall_{k}": float((places <= k).double().mean()) for k in (1, 5, 10)}
        low, high = wilson(int((places <= 1).sum()), len(captions))
        return {
            **found,
            "recall_1_low": low,
            "recall_1_high": high,
            "clip_score": float(clip_scores(texts, self.images).mean()),
            "reference_score": float(reference_scores(texts, told).mean()),
            "ref_clip_score": float(ref_clip_scores(texts, self.images, told).mean()),
            "bleu_4": bleu(captions, self.vague),
            "meteor": meteor(captions, self.vague),
            "rouge_l": rouge_l(captions, self.vague),
            "cider": cider(captions, self.vague),
            "cider_full": cider(captions, self.full),
            **_lengths(captions),
            **self._facts(captions),
        }

    def _facts(self, captions: Sequence[str]) -> dict[str, float]:
        """What the parser reads in the captions, and whether it finds the image: a judge without any weights."""
        said = [read_back(one) for one in captions]
        names = sorted(set().union(*self.facts))
        mine, true = fact_vectors(said, names), fact_vectors(self.facts, names)
        count, right = float(mine.sum()), float((mine * true).sum())
        return {
            "facts": count / len(captions),
            "facts_right": right / count if count else 0.0,
            "facts_recall_1": float((ranks(mine, true) <= 1).double().mean()),
            "unreadable": sum(one is None for one in said) / len(said),
        }


def _lengths(captions: Sequence[str]) -> dict[str, float]:
    words = [caption_words(one) for one in captions]
    lengths = torch.tensor([len(one) for one in words], dtype=torch.float64)
    return {
        "words": float(lengths.mean()),
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
    tokens, mask = pad([row.tolist() for row in captioner.tokenise(short)], filler=captioner.end_token)
    columns = []
    with torch.no_grad():
        for one in states:
            logits = captioner.sequence_logits(tokens, one.repeat(len(tokens), 1, 1))
            columns.append(sequence_log_probabilities(logits, tokens, mask))
    likely = torch.stack(columns, 1)
    if not bool(likely.isfinite().all()):
        # NaN is as large as nothing, so its caption would count as found.
        raise ModelError(f"{captioner.name} gives log probabilities that are not finite")
    own = likely.diagonal()[:, None]
    return float(((likely >= own).sum(1) <= 1).double().mean())


def named(prefix: str, figures: Mapping[str, float]) -> dict[str, float]:
    """The figures with a name before theirs."""
    return {f"{prefix}.{name}": value for name, value in figures.items()}
