"""The ways of deciding that are compared: concepts, in several forms; words that say nothing; black boxes.

Every head is one linear layer, fitted and chosen in the same way
(:mod:`snellen.systems.concept_bottleneck.linear_head`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.reproduction.concept_bottleneck.materials import POOLINGS, Judged, Material, Part
from snellen.reproduction.sample import Figure
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.systems.concept_bottleneck.concept_quality import concept_areas
from snellen.systems.concept_bottleneck.concept_scores import answer_shares, concept_vectors
from snellen.systems.concept_bottleneck.concept_source import Concepts
from snellen.systems.concept_bottleneck.control_phrases import random_phrases, shuffled_phrases
from snellen.systems.concept_bottleneck.corrections import corrected, usual_scores
from snellen.systems.concept_bottleneck.learned_selection import learned_selection
from snellen.systems.concept_bottleneck.linear_head import LinearHead, choose_linear_head
from snellen.systems.concept_bottleneck.residual_head import choose_residual_head
from snellen.systems.concept_bottleneck.shift_figures import ShiftFigures
from snellen.systems.concept_bottleneck.sparse_head import few_concepts
from snellen.training.acceleration import seeded
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: What a part of a task is to a head: numbers (n, m).
Numbers = Callable[[Part], Tensor]

#: Draws of random words, whose figures are averaged.
DRAWS = 5


@dataclass(frozen=True, eq=False)
class Decided:
    """A head with the numbers that it takes."""

    head: LinearHead
    numbers: Numbers


class Arms:
    """All ways of deciding on one task.

    Args:
        material: the task.
        network_plan: of the networks that are trained end to end.
        tuned_plan: of the image tower that is fine-tuned.
        progress: callback that receives progress updates.
        draws: of random words, whose figures are averaged.
    """

    def __init__(
        self,
        material: Material,
        *,
        network_plan: TrainingPlan,
        tuned_plan: TrainingPlan,
        progress: Progress,
        draws: int = DRAWS,
    ) -> None:
        self.material, self.progress, self.draws = material, progress, draws
        self.network_plan, self.tuned_plan = network_plan, tuned_plan
        self.rng = Randomness(material.seed)

    # -- numbers ---------------------------------------------------------------------------------------------------

    def cosines(self, phrases: Sequence[str]) -> Numbers:
        """The paper's scores: cosines of image and phrase."""
        directions = concept_vectors(self.material.tower, phrases).cpu()
        return lambda part: part.vectors @ directions.T

    def answers(self, said: Concepts, phrases: Sequence[str] | None = None) -> Numbers:
        """Scores as answers to questions; other phrases in the place of the concepts keep their questions."""
        found, scale = self.cosines(phrases or said.phrases), self.material.tower.logit_scale
        return lambda part: answer_shares(found(part), said.questions, scale)

    # -- heads -----------------------------------------------------------------------------------------------------

    def decided(self, numbers: Numbers) -> Decided:
        """Fit a head, its penalty chosen on the confounded images that are held back."""
        of = self.material
        found = choose_linear_head(numbers(of.train), of.train.labels, numbers(of.val), of.val.labels, of.class_count)
        return Decided(found.head, numbers)

    def judged(self, decided: Decided) -> Judged:
        """Figures of a head."""
        of = self.material
        return of.judged(*(decided.head.logits(decided.numbers(part)).argmax(1) for part in (of.test, of.reversed)))

    def fitted(self, numbers: Numbers) -> Judged:
        """Figures of a head that is fitted to numbers."""
        return self.judged(self.decided(numbers))

    def averaged(self, draw: Callable[[Randomness], Numbers]) -> ShiftFigures:
        """Mean figures over draws of words; the worst group of each draw is its own."""
        found = [self.fitted(draw(self.rng.child("draw", number))).shift for number in range(self.draws)]
        return ShiftFigures(
            id=float(np.mean([one.id for one in found])),
            ood=float(np.mean([one.ood for one in found])),
            worst=float(np.mean([one.worst for one in found])),
            worst_group="",
        )

    # -- arms ------------------------------------------------------------------------------------------------------

    def main(self) -> dict[str, Figure]:
        """Concepts as answers and as cosines, words that say nothing in the same form, the probe, and a way around."""
        of, said = self.material, self.material.concepts
        answers, cosines = self.answers(said), self.cosines(said.phrases)
        arms: dict[str, Judged | ShiftFigures] = {
            "cbm": self.fitted(answers),
            "cosine": self.fitted(cosines),
            "probe": self.fitted(lambda part: part.vectors),
            "random": self.averaged(lambda rng: self.answers(said, random_phrases(said.phrases, rng))),
            "shuffled": self.averaged(lambda rng: self.answers(said, shuffled_phrases(said.phrases, rng))),
            "random_cosine": self.averaged(lambda rng: self.cosines(random_phrases(said.phrases, rng))),
            "shuffled_cosine": self.averaged(lambda rng: self.cosines(shuffled_phrases(said.phrases, rng))),
            "leak": self.fitted(self.answers(of.leaked)),
            "leak_cosine": self.fitted(self.cosines(of.leaked.phrases)),
            "residual": self.residual(answers),
            **{f"patch_{name}": self.fitted(_pooled(name)) for name in POOLINGS if name in of.train.pooled},
        }
        return {name: value for arm, found in arms.items() for name, value in found.as_figures(arm).items()}

    def black_boxes(self) -> dict[str, Figure]:
        """A small network trained end to end, and the image tower fine-tuned with a new head."""
        with seeded(self.rng.generator("end to end").initial_seed(), torch.device("cpu")):
            network = narrow_network(self.material.class_count)
            tuned = FineTuned(self.material)
        return {
            **self.trained(network, self.network_plan).as_figures("network"),
            **self.trained(tuned, self.tuned_plan).as_figures("fine_tuned"),
        }

    def trained(self, network: nn.Module, plan: TrainingPlan) -> Judged:
        """Figures of a network that is trained on the images, its epoch chosen on the confounded ones held back."""
        of = self.material
        made = train(
            network,
            of.train.examples(),
            plan=plan.model_copy(update={"seed": of.seed}),
            val=of.val.examples(),
            progress=self.progress,
        )
        network.load_state_dict(dict(made.weights))
        network.eval()
        return of.judged(*(_decisions(network, part.images) for part in (of.test, of.reversed)))

    def residual(self, scores: Numbers) -> Judged:
        """PCBM-h: the bottleneck and a way around it."""
        of = self.material

        def shown(part: Part) -> tuple[Tensor, Tensor, Tensor]:
            return scores(part), part.vectors, part.labels

        head = choose_residual_head(self.decided(scores).head, shown(of.train), shown(of.val))
        return of.judged(*(head.logits(scores(part), part.vectors).argmax(1) for part in (of.test, of.reversed)))

    def few(self, counts: Sequence[int]) -> dict[str, Figure]:
        """Heads on few concepts, chosen by an elastic net, or near learned directions."""
        of, scores, figures = self.material, self.answers(self.material.concepts), dict[str, Figure]()
        directions = concept_vectors(of.tower, of.concepts.phrases).cpu()
        for count in counts:
            ways = {
                "sparse": few_concepts(scores(of.train), of.train.labels, of.class_count, count),
                "learned": learned_selection(
                    of.train.vectors, of.train.labels, of.class_count, directions, count, rng=self.rng
                ),
            }
            for name, places in ways.items():
                figures |= self.fitted(_columns(scores, places)).as_figures(f"{name}_{count}")
        return figures

    def many_words(self, count: int) -> dict[str, Figure]:
        """As many random words as hold all that an image's vector says, as cosines."""
        return self.fitted(self.cosines(random_phrases(["word"] * count, self.rng))).as_figures("many_words")

    def quality(self) -> dict[str, float]:
        """How well scores measure what their phrases say, on the test set: mean and least area, of cosines and
        answers.
        """
        of, said = self.material, self.material.concepts
        if of.test.truth is None:
            return {}
        figures = dict[str, float]()
        for name, numbers in {"cosine": self.cosines(said.phrases), "cbm": self.answers(said)}.items():
            areas = concept_areas(of.test.truth, numbers(of.test).numpy())
            figures |= {f"{name}.auroc": areas.value, f"{name}.least_auroc": float(np.nanmin(areas.each))}
        return figures

    def corrections(self) -> dict[str, float]:
        """Accuracy on the reversed set before and after a person answers questions, of the paper's form and of answers.

        The questions that move decisions most (mean size of their concepts' contributions) are answered first.
        """
        of, said = self.material, self.material.concepts
        if of.reversed.truth is None:
            return {}
        figures = dict[str, float]()
        for name, numbers in {"cosine": self.cosines(said.phrases), "cbm": self.answers(said)}.items():
            head, scores = self.decided(numbers).head, numbers(of.reversed)
            absent, present = usual_scores(numbers(of.train))
            size = head.contributions(scores, head.logits(scores).argmax(1)).abs().mean(0)
            questions = dict.fromkeys(said.questions)
            influence = {
                one: sum(float(size[at]) for at, of_one in enumerate(said.questions) if of_one == one)
                for one in questions
            }
            order = sorted(questions, key=lambda one: -influence[one])
            for count in range(1, len(order) + 1):
                asked = torch.tensor([one in order[:count] for one in said.questions])
                told = torch.where(asked, torch.from_numpy(of.reversed.truth), torch.tensor(-1))
                after = corrected(scores, told, absent, present)
                figures[f"{name}.corrected_{count}"] = head.accuracy(after, of.reversed.labels)
            figures[f"{name}.corrected_0"] = head.accuracy(scores, of.reversed.labels)
        return figures


class FineTuned(nn.Module):
    """A copy of the image tower with a new head, all of it trained: images (n, 3, h, w) in [0, 1] → logits (n, k)."""

    mean: Tensor
    std: Tensor

    def __init__(self, material: Material) -> None:
        super().__init__()
        self.tower = copy.deepcopy(material.tower.image_tower).requires_grad_(True)
        self.head = nn.Linear(material.tower.dimension, material.class_count)
        for name, values in zip(("mean", "std"), material.tower.normalization, strict=True):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.head(self.tower((images - self.mean) / self.std))
        return logits


@torch.no_grad()
def _decisions(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([network(to_unit(part)).argmax(1) for part in images.split(250)])


def _columns(numbers: Numbers, places: Sequence[int]) -> Numbers:
    chosen = list(places)
    return lambda part: numbers(part)[:, chosen]


def _pooled(name: str) -> Numbers:
    return lambda part: part.pooled[name]
