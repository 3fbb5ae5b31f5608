"""System 18: do labels of a machine that answers atomic questions replace labels of a person.

Five compound concepts with an idiosyncratic clause, each a twentieth of a pool of scenes. The owner labels 100 images,
which validate. Answers are wrong at a known rate; embeddings are those of the embedded CLIP. Each seed draws its own
pool, errors and students. F1 is measured on fresh images that the owner labelled, as the mean over concepts; every
classifier gets its threshold from the same 50 labels, so that baselines have more human labels than their names say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.images import ImageSet, Split
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.core.system import Scale
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.models.encoders.feature_store import frozen_features
from snellen.models.encoders.head_on_encoder import InstanceHead
from snellen.models.encoders.references import load_encoder
from snellen.models.references import load_two_tower
from snellen.reproduction.language_model_annotation.full import full
from snellen.reproduction.language_model_annotation.materials import (
    COMPOUND,
    SINGLE,
    Concept,
    FactorAnswerer,
    FactorCaptioner,
    RuleInterpreter,
    definition,
)
from snellen.reproduction.sample import Figure
from snellen.systems.language_model_annotation.agreement import best_threshold, precision_recall_f1
from snellen.systems.language_model_annotation.annotation import Annotator
from snellen.systems.language_model_annotation.baselines import human_labels, text_similarity, zero_shot
from snellen.systems.language_model_annotation.collaboration import Chosen, Collaboration, Labelled, Schedule, decided
from snellen.systems.language_model_annotation.conversation import Conversation
from snellen.systems.language_model_annotation.definition import Definition, correct, specify
from snellen.systems.language_model_annotation.ledger import Cost, Store
from snellen.systems.language_model_annotation.mining import initial_batch, mine, write_queries
from snellen.systems.language_model_annotation.owner import split_labels
from snellen.systems.language_model_annotation.questions import write_questions
from snellen.systems.language_model_annotation.review import chosen_rows
from snellen.systems.language_model_annotation.student import StudentFit, fit_student, logits
from snellen.systems.language_model_annotation.tools import Answerer, TowerTool

#: Rates of wrong answers, by the ending of an arm's name.
ERRORS = {"0": 0.0, "05": 0.05, "15": 0.15}

#: Simulations of a person who labels, by the number of labels at the scale small.
HUMAN = ("agile_100", "agile_500", "agile_2000")


@dataclass(frozen=True)
class Size:
    """How much of everything; ``human`` are numbers of labels of a person, for :data:`HUMAN`."""

    pool: int
    test: int
    owner: int
    human: tuple[int, ...]
    schedule: Schedule
    fit: StudentFit
    concepts: tuple[Concept, ...] = COMPOUND
    single: tuple[Concept, ...] = SINGLE


SMALL = Size(4000, 2000, 100, (100, 500, 2000), Schedule(), StudentFit(epochs=60))
SMOKE = Size(
    240, 200, 24, (20, 30, 40), Schedule(queries=4, per_query=6, initial=24, rounds=1, batch=8),
    StudentFit(epochs=4, width=16), COMPOUND[:1], SINGLE[:1],
)  # fmt: skip


def language_model_annotation(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 18.

    Returns:
        Of each arm ``f1``, ``precision`` and ``recall``, means over the compound concepts, and missing where one of
        them has none; of ``decomposed``, ``direct`` and ``named`` also ``single_f1``; ``gain`` and ``single_gain``
        between the first two; of arms with machine labels ``teacher``, ``half`` (the student at a threshold of ½) and,
        behind the first batch, ``first`` with the same figures, and ``labels``, ``calls`` and ``undecided``;
        ``paired_precision`` of two first batches, over those concepts where both have a classifier.
    """
    if scale == "full":
        return full(seed, progress)
    return Experiment(SMOKE if scale == "smoke" else SMALL, seed, progress).figures()


language_model_annotation.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with one concept, 240 images and a round of 8",),
    "small": (
        "scenes of 32 pixels with five hidden concepts for 15 concepts on web images",
        "an interpreter of rules for PaLM 2, a look-up of factors with a known error for PaLI-X, a partial listing for "
        "its captions; the embedded scene-clip for CLIP and ALIGN, and for the comparison with a direct question",
        "an owner who never errs for users; 4,000 images for a web-scale index",
    ),
    "full": ("language model, captioner, answers, towers, pool and labels of an owner, all by reference",),
}


class Experiment:
    """One seed, which decides scenes, errors of tools, queries and students."""

    def __init__(self, size: Size, seed: int, progress: Progress) -> None:
        self.size, self.seed, self.progress = size, seed, progress
        self.towers, encoder = load_two_tower("bundled:scene-clip"), load_encoder("bundled:scene-clip")
        self.pool, self.test = self._scenes("train", size.pool), self._scenes("val", size.test)
        self.embeddings = frozen_features(self.pool, encoder).features
        self.test_embeddings = frozen_features(self.test, encoder).features

    def _scenes(self, split: Split, count: int) -> ImageSet:
        return WORLD.model_copy(update={"count": count, "seed": self.seed}).images(split=split)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Texts → vectors."""
        with torch.no_grad():
            return self.towers.encode_texts(list(texts), truncate=True)

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed: means over concepts."""
        found: dict[str, list[float | None]] = {}
        task = "concepts of the experiment"
        self.progress.begin(task, len(self.size.concepts) + len(self.size.single))
        for concept in self.size.concepts:
            for name, value in Trial(self, concept).figures().items():
                found.setdefault(name, []).append(value)
            self.progress.advance(task, 1)
        for concept in self.size.single:
            for name, value in Trial(self, concept).questions().items():
                if name.endswith(".f1"):
                    found.setdefault(f"{name.removesuffix('f1')}single_f1", []).append(value)
            self.progress.advance(task, 1)
        self.progress.finish(task)
        means = {name: _mean(values) for name, values in found.items()}
        gains = {
            f"{kind}gain": _less(means[f"decomposed.{kind}f1"], means[f"direct.{kind}f1"]) for kind in ("", "single_")
        }
        gains["teacher_gain"] = _less(means["mc_05.teacher.f1"], means["always.f1"])
        return {**means, **gains, **paired_precision(found)}


def paired_precision(found: Mapping[str, Sequence[float | None]]) -> dict[str, float | None]:
    """Precision of the first batches' classifiers, over the concepts where both batches hold both classes."""
    arms = ("no_near_misses.first", "mc_05.first")
    both = [pair for pair in zip(*(found[f"{arm}.precision"] for arm in arms), strict=True) if None not in pair]
    means = {f"{arm}.paired_precision": _mean([pair[at] for pair in both]) for at, arm in enumerate(arms)}
    return {**means, "first.pairs": float(len(both))}


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None, where there is no value or one is missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


class Trial:
    """One concept of a seed."""

    def __init__(self, of: Experiment, concept: Concept) -> None:
        self.of, self.concept, self.size, self.seed = of, concept, of.size, derive_seed(of.seed, concept.name) % 2**31
        self.truth, self.test_truth = concept.truth(of.pool), concept.truth(of.test)
        self.definition = self.defined(clause=True)
        # The owner reviews images as the command shows them: half from queries, half at random.
        rows = chosen_rows(self.mined(self.definition), len(of.pool), of.size.owner, self.seed)
        self.owner = split_labels({row: int(self.truth[row]) for row in rows}, of.pool.ids, self.seed)

    def talk(self, *, near_misses: bool = True) -> Conversation:
        """With the language model."""
        return Conversation(RuleInterpreter(near_misses=near_misses), Store())

    def defined(self, *, clause: bool) -> Definition:
        """The definition that the language model makes of the owner's description."""
        return specify(definition(self.concept, clause=clause), self.talk())

    def mined(self, what: Definition, without: Sequence[int] = (), *, near_misses: bool = True):
        """What queries for a definition bring."""
        queries = write_queries(what, self.talk(near_misses=near_misses), each=self.size.schedule.queries)
        vectors = self.of.encode([text for _, text in queries.all])
        return mine(queries, vectors, self.of.embeddings, k=self.size.schedule.per_query, without=without)

    @cached_property
    def barred(self) -> frozenset[int]:
        """Images of the owner."""
        return frozenset(self.owner.rows)

    def figures(self) -> dict[str, float | None]:
        """All arms."""
        size, whole = self.size, self.definition
        prior = self.defined(clause=False)
        corrected = correct(prior, f"never: {self.concept.clause}", self.talk())
        found = self._decided("prior", self.concept_of(prior).tolist())
        found |= self._decided("always", [1] * len(self.test_truth))
        for ending, error in ERRORS.items():
            found |= self.collaborate(f"mc_{ending}", whole, error)
        found |= self.collaborate("random", whole, ERRORS["05"], active=False)
        found |= self.collaborate("no_near_misses", whole, ERRORS["05"], near_misses=False)
        found |= self.collaborate("missing", prior, ERRORS["0"])
        found |= self.collaborate("corrected", corrected, ERRORS["0"])
        first = initial_batch(self.mined(whole, self.owner.rows), size.schedule.initial)
        free = [row for row in range(len(self.truth)) if row not in self.barred]
        for name, count in zip(HUMAN, size.human, strict=True):
            head = human_labels(
                lambda row: int(self.truth[row]), self.of.embeddings, free, start=first, count=count,
                each=size.schedule.batch, fit=size.fit, seed=self.seed,
            )  # fmt: skip
            found |= self._student(name, head)
        labels = {**self.owner.val, **self.owner.report}
        both = len(set(labels.values())) == 2
        supervised = fit_student(self.of.embeddings, labels, owner=(), fit=size.fit, seed=self.seed) if both else None
        found |= self._student("supervised", supervised)
        queries = write_queries(whole, self.talk(), each=size.schedule.queries)
        found |= self._scored("zero_shot", lambda rows: zero_shot(self.of.encode, whole, rows))
        found |= self._scored("descriptions", lambda rows: text_similarity(self.of.encode, queries.positive, rows))
        return {**found, **self.questions()}

    def concept_of(self, what: Definition) -> NDArray[np.int64]:
        """Labels of the test images by a definition, if every answer is right."""
        never = "; ".join(f"never: {text}" for text in what.negative)
        must, some = (
            "; ".join(f"{word}: {text}" for text in texts)
            for word, texts in (("must", what.necessary), ("any", what.positive))
        )
        described = "; ".join(part for part in (must, some, never) if part)
        return Concept(what.name, described, "").truth(self.of.test)

    def collaborate(
        self, arm: str, what: Definition, error: float, *, active: bool = True, near_misses: bool = True
    ) -> dict[str, float | None]:
        """The whole loop, and figures of student and teacher."""
        of, schedule = self.of, self.size.schedule
        mined = self.mined(what, self.owner.rows, near_misses=near_misses)
        annotator = self.annotator(what, FactorAnswerer(self.seed, error), judged=True)
        loop = Collaboration(of.embeddings, mined, self.barred, schedule, self.size.fit, self.seed)
        labels: list[Labelled] = []
        first: InstanceHead | None = None
        for number in range(schedule.rounds + 1):
            # Labels of one class train nothing that could choose.
            learns = len(set(decided(labels).values())) == 2
            chosen = (
                loop.batch(number, labels) if number == 0 or (active and learns) else self._at_random(number, labels)
            )
            labels += loop.labelled(number, chosen, annotator.annotate(of.pool.select(chosen.rows)))
            if number == 0 and len(set(decided(labels).values())) == 2:
                first = loop.student(labels)
        teacher = [one.label for one in annotator.annotate(of.test)]
        last = loop.student(labels) if len(set(decided(labels).values())) == 2 else None
        figures = self._student(arm, last)
        figures |= self._student(f"{arm}.first", first)
        at_half = [None] * len(teacher) if last is None else (logits(last, of.test_embeddings) > 0).astype(int).tolist()
        figures |= self._decided(f"{arm}.half", at_half)
        figures |= self._decided(f"{arm}.teacher", teacher)
        cost = Cost.sum(one.annotation.cost for one in labels)
        return {
            **figures,
            f"{arm}.labels": float(len(labels)),
            f"{arm}.calls": float(cost.calls),
            f"{arm}.teacher.undecided": float(np.mean([one is None for one in teacher])),
            f"{arm}.undecided": float(np.mean([one.annotation.label is None for one in labels])),
        }

    def _at_random(self, number: int, labels: Sequence[Labelled]) -> Chosen:
        seen = {*self.barred, *(one.row for one in labels)}
        order = np.random.default_rng(derive_seed(self.seed, "round", number)).permutation(len(self.truth)).tolist()
        rows = [row for row in order if row not in seen][: self.size.schedule.batch]
        return Chosen(rows, dict.fromkeys(rows, 0.0))

    def annotator(self, what: Definition, answerer: Answerer, *, judged: bool) -> Annotator:
        """Tools with a definition and its questions."""
        talk = self.talk()
        model = talk.model if judged else None
        return Annotator(what, write_questions(what, talk), FactorCaptioner(self.seed), answerer, model, Store())

    def questions(self) -> dict[str, float | None]:
        """Atomic questions with explicit logic against one direct question, both by the embedded towers.

        All are measured on the images that the logic decides, so that undecided ones favour neither.
        """
        annotator = self.annotator(self.definition, TowerTool(self.of.towers), judged=False)
        by_parts = [one.label for one in annotator.annotate(self.of.test)]
        among = np.array([one is not None for one in by_parts])
        of_kind = {"necessary": "", "positive": "perhaps ", "negative": "not "}
        whole = ", ".join(f"{of_kind[one.kind]}{one.text.split(' is ', 1)[1]}" for one in self.definition.conditions)
        named = self._scored("named", lambda rows: text_similarity(self.of.encode, [whole], rows), among)
        # One question with all the owner knows: captions of the concept against captions of near misses.
        queries = write_queries(self.definition, self.talk(), each=self.size.schedule.queries)
        texts = self.of.encode([text for _, text in queries.all])

        def sure(rows: Tensor) -> NDArray[np.float64]:
            cosines = functional.normalize(rows.float(), dim=1) @ texts.T
            whole = (self.of.towers.logit_scale * cosines).softmax(1)
            return whole[:, : len(queries.positive)].sum(1).double().numpy()

        return {
            **self._decided("decomposed", by_parts),
            "decomposed.undecided": float(1 - among.mean()),
            **named,
            **self._scored("direct", sure, among),
        }

    def _student(self, arm: str, head: InstanceHead | None) -> dict[str, float | None]:
        if head is None:  # labels of one class: there is no classifier
            return self._decided(arm, [None] * len(self.test_truth))
        return self._scored(arm, lambda rows: logits(head, rows), middle=0.0)

    def _scored(
        self,
        arm: str,
        score: Callable[[Tensor], NDArray[np.float64]],
        among: NDArray[np.bool_] | None = None,
        *,
        middle: float = 0.5,
    ) -> dict[str, float | None]:
        """Figures of scores, with the threshold that the owner's half for tuning chooses, on some test images."""
        chosen = best_threshold(dict(enumerate(score(self.of.embeddings))), self.owner.val, middle=middle)
        found = (score(self.of.test_embeddings) >= chosen).astype(int).tolist()
        among = np.ones(len(found), dtype=bool) if among is None else among
        return self._decided(arm, [one if kept else None for one, kept in zip(found, among, strict=True)])

    def _decided(self, arm: str, labels: Sequence[int | None]) -> dict[str, float | None]:
        return figures_of(arm, self.test_truth, labels)


def figures_of(arm: str, truth: NDArray[np.int64], labels: Sequence[int | None]) -> dict[str, float | None]:
    """Precision, recall and F1 of decided images; None where a denominator is empty, which is neither 0 nor 1."""
    known = np.array([one is not None for one in labels], dtype=bool)
    positive = np.array([one == 1 for one in labels], dtype=bool)[known]
    found = precision_recall_f1((truth == 1)[known], positive, np.ones(int(known.sum())))
    return {
        f"{arm}.{name}": None if np.isnan(value) else float(value)
        for name, value in zip(("precision", "recall", "f1"), found, strict=True)
    }
