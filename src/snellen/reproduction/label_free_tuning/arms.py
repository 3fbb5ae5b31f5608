"""All that is measured on one collection: the classifiers in words, the teacher, the students, and the references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.models.dual_encoders.prompted import PromptedClassifier, prompted_classifier
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.dual_encoders.zero_shot import fill_templates
from snellen.reproduction.label_free_tuning.references import (
    SHOTS,
    cross_validated,
    few_of_each,
    linear_probe,
    select_globally,
)
from snellen.systems.label_free_tuning.descriptions import class_matrix
from snellen.systems.label_free_tuning.teaching import Teaching, class_probabilities, fit_label_head, hard_labels, teach
from snellen.systems.label_free_tuning.tuning import LABEL_SMOOTHING, StrongView, agreement, tune_network
from snellen.training.acceleration import seeded
from snellen.training.batches import Examples, ImageStore
from snellen.training.loop import train
from snellen.training.objectives import cross_entropy, on_scores
from snellen.training.plan import TrainingPlan


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """A collection, the models, and the numbers.

    Attributes:
        tower: text–image model.
        texts: of each class.
        images: of the collection, plain views; its targets are not read.
        features: of the collection by the teacher's encoder, (n, d).
        tested: bytes (m, 3, h, w).
        tested_features: of the tested images, (m, d).
        truth: classes of the tested images, only to judge by, int64 (m,).
        known: classes of the collection, for references with labels and for the truth of pseudo-labels, int64 (n,).
        view: of the student.
        plan: of the student.
        prompts: learned tokens.
        least: images of each class that a teacher learns, at least.
        seed: of the run.
    """

    tower: TwoTower
    texts: Mapping[str, tuple[str, ...]]
    images: ImageStore
    features: Tensor
    tested: Tensor
    tested_features: Tensor
    truth: Tensor
    known: Tensor
    view: StrongView
    plan: TrainingPlan
    prompts: int
    least: int
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return tuple(self.texts)

    @property
    def judges_itself(self) -> bool:
        """Whether the tested images are the collection."""
        return self.tested is self.images.images

    def accuracy(self, scores: Tensor) -> float:
        """Share of right decisions on the tested images."""
        return float((scores.argmax(1).cpu() == self.truth).double().mean())


class Study:
    """The arms of one setting; what several of them need is made once."""

    def __init__(self, setting: Setting, progress: Progress) -> None:
        self.setting, self.progress = setting, progress
        self.vectors = class_matrix(setting.tower, setting.texts)
        self.probabilities = class_probabilities(setting.tower, setting.images.images, self.vectors)

    def main_arms(self) -> dict[str, float]:
        """The model as it is, the method, the model as its own teacher, and the references with labels."""
        taught = self.teaching()
        return {
            **self.in_words(),
            **self.judged(taught),
            **{f"nola.{name}": value for name, value in self.followed(taught.labels).items()},
            "clip_teacher.accuracy": self.student(self.probabilities.argmax(1)),
            **self.with_labels(),
        }

    def in_words(self) -> dict[str, float]:
        """``names.accuracy`` and ``description.accuracy``: the model as it is, by names and by descriptions."""
        of = self.setting
        by_name = class_matrix(of.tower, fill_templates(of.names))
        return {
            "names.accuracy": of.accuracy(class_probabilities(of.tower, of.tested, by_name)),
            "description.accuracy": of.accuracy(class_probabilities(of.tower, of.tested, self.vectors)),
            "description.on_collection": _share(self.probabilities.argmax(1), of.known),
        }

    def teaching(self, share: float = 0.2) -> Teaching:
        """The first two steps of the method."""
        of = self.setting
        return teach(self.probabilities, of.features, of.names, rng=Randomness(of.seed), share=share, least=of.least)

    def judged(self, taught: Teaching) -> dict[str, float]:
        """``selected.precision``, ``selected.images``, ``teacher.accuracy``, ``teacher.on_collection``."""
        of, chosen = self.setting, taught.selected
        return {
            "selected.precision": _share(chosen.labels, of.known[chosen.positions]),
            "selected.images": float(len(chosen.positions)),
            "teacher.accuracy": of.accuracy(taught.head(of.tested_features)),
            "teacher.on_collection": _share(taught.labels, of.known),
        }

    def global_labels(self, taught: Teaching) -> Tensor:
        """Labels by a teacher that learned the same number of images, the surest of all classes together."""
        of = self.setting
        positions, labels = select_globally(self.probabilities, len(taught.selected.positions))
        head = fit_label_head(of.features[positions], labels, len(of.names), rng=Randomness(of.seed))
        return hard_labels(head, of.features)

    def student(self, labels: Tensor, *, prompts: int | None = None, norms: bool = True) -> float:
        """Accuracy of a student at its last epoch.

        Args:
            labels: of the collection's plain views.
            prompts: another number of learned tokens than the setting's.
            norms: whether the layer norms of the tower are trained.
        """
        of = self.setting
        network = self._network(prompts)
        if not norms:
            network.tower.image_tower.requires_grad_(False)
        trained = tune_network(
            network, replace(of.images, targets=labels), plan=of.plan, view=of.view, progress=self.progress
        )
        network.load_state_dict(dict(trained.weights))
        return self._tested(network)

    def followed(self, labels: Tensor) -> dict[str, float]:
        """The method's student, measured after each epoch, which changes nothing.

        Returns:
            ``accuracy`` of the last epoch, ``agreeing`` of the epoch that agrees most with the teacher, and ``oracle``
            of the best epoch by the labels that it is judged by, which no method without labels can choose.
        """
        of = self.setting
        network = self._network(None)

        def looked_at(model: nn.Module, examples: Examples) -> Mapping[str, float]:
            return {**agreement(model, examples), "accuracy": self._tested(model)}

        examples = replace(of.images, targets=labels)
        trained = train(
            network,
            examples,
            plan=of.plan.model_copy(update={"select": "agreement"}),
            objective=on_scores(partial(cross_entropy, label_smoothing=LABEL_SMOOTHING)),
            transform=of.view.transform(),
            val=examples,
            evaluate=looked_at,
            progress=self.progress,
        )
        accuracies = [row["val.accuracy"] for row in trained.history]
        return {
            "accuracy": accuracies[-1],
            "agreeing": accuracies[trained.best_epoch - 1],
            "oracle": max(accuracies),
            "agreement": trained.history[-1]["val.agreement"],
        }

    def with_labels(self) -> dict[str, float]:
        """Probes that are given labels: all of the collection's, or :data:`SHOTS` of each class.

        Where the collection is judged itself, nothing is judged that the probe was given: five folds, or the rest.
        """
        of = self.setting
        shown, tested = self._encoded(of.images.images), self._encoded(of.tested)
        few, count = few_of_each(of.known, SHOTS, Randomness(of.seed)), len(of.names)
        rest = torch.ones(len(of.truth), dtype=torch.bool)
        if of.judges_itself:
            rest[few] = False

        def probed(given: Tensor, requested: Tensor) -> float:
            if of.judges_itself:
                return of.accuracy(cross_validated(given, of.known, count, Randomness(of.seed)))
            return of.accuracy(linear_probe(given, of.known, count)(requested))

        by_few = linear_probe(shown[few], of.known[few], count)(tested[rest])
        return {
            "linear_probe.accuracy": probed(shown, tested),
            "few_shot.accuracy": _share(by_few.argmax(1), of.truth[rest]),
            "features_probe.accuracy": probed(of.features, of.tested_features),
        }

    def _network(self, prompts: int | None) -> PromptedClassifier:
        of = self.setting
        count = of.prompts if prompts is None else prompts
        with seeded(Randomness(of.seed).generator("prompts").initial_seed(), torch.device("cpu")):
            return prompted_classifier(of.tower, self.vectors, prompts=count)

    @torch.no_grad()
    def _tested(self, network: nn.Module) -> float:
        network.eval()
        return self.setting.accuracy(torch.cat([network(to_unit(part)) for part in self.setting.tested.split(250)]))

    @torch.no_grad()
    def _encoded(self, pixels: Tensor) -> Tensor:
        return torch.cat([self.setting.tower.encode_images(to_unit(part)).cpu() for part in pixels.split(250)])


def _share(found: Tensor, truth: Tensor) -> float:
    return float((found == truth).double().mean())
