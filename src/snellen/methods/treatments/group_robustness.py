"""Groups and images that are served worse than the rest: the worst group's loss, or more weight for mistakes."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import Batch
from snellen.training.fine_tuning import Term

#: Fewer mistakes say nothing about what is served badly, and images that are scored together.
FEWEST, TOGETHER = 10, 250

#: Name under which the weights of groups are saved with a training.
_WEIGHTS = "group_dro"


class GroupDRO(FineTuning):
    """Train on towards a small loss of the worst group: weights of groups grow with their losses.

    Sagawa, Koh, Hashimoto and Liang, "Distributionally robust neural networks for group shifts", ICLR 2020, arXiv
    1911.08731, algorithm 1, with the adjustment of equation 5. Groups are pairs of class and group, where training
    images have groups, else classes; images of a class whose group is not known are a group as well. The paper trains
    from scratch and for longer, with a step of 0.01 and groups drawn equally often; here every image is shown once a
    pass.

    >>> GroupDRO().step
    0.1
    """

    name: ClassVar[str] = "group_dro"
    treats: ClassVar[tuple[str, ...]] = ("group_gap", "worst_class")
    passes: ClassVar[float] = 4.1

    step: float = Field(0.1, gt=0, description="how fast weights of groups follow their losses (η_q)")
    adjustment: float = Field(
        0.0, ge=0, description="what small groups count more: over the root of their size, added to the loss (C)"
    )

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """A gap between groups, and training images whose groups are not known."""
        known = {name for name in _group_names(patient) if name is not None}
        if patient.subjects("group_gap") and not known:
            return "needs to know the groups of the training images (column group)"
        missing = set(patient.subjects("group_gap")) - known
        if missing:
            return f"needs training images of the group {', '.join(sorted(missing))}, and there are none"
        return None

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """Losses weighted by group, and the weights as they change."""
        pairs = list(zip(patient.training.targets.tolist(), map(str, _group_names(patient)), strict=True))
        numbers = {pair: number for number, pair in enumerate(sorted(set(pairs)))}
        groups = torch.tensor([numbers[pair] for pair in pairs])
        margins = self.adjustment / torch.bincount(groups).float().sqrt()

        def weigh(model: nn.Module, batch: Batch, losses: Tensor) -> Tensor:
            weights = getattr(model, "module", model).get_buffer(_WEIGHTS)
            group = groups[batch.positions].to(losses.device)
            sizes = torch.bincount(group, minlength=len(margins))
            with torch.no_grad():
                means = torch.zeros_like(weights).index_add_(0, group, losses.detach().float()) / sizes.clamp_min(1)
                grown = torch.where(sizes > 0, means + margins.to(means.device), 0.0)
                weights.mul_((self.step * grown).exp())
                weights.div_(weights.sum())
                # The mean over the batch of what is returned is Σ_g q_g · mean loss of g.
                factors = weights[group] * len(losses) / sizes[group]
            return losses * factors

        return Term(weigh=weigh, state={_WEIGHTS: torch.full((len(numbers),), 1 / len(numbers))})


class TrainTwice(FineTuning):
    """Train on with more weight for the training images that the audited classifier gets wrong; no group is needed.

    Just Train Twice (Liu, Haghgoo, Chen, Raghunathan, Koh, Sagawa, Liang and Finn, "Just Train Twice: improving group
    robustness without training group information", ICML 2021, arXiv 2107.09044, equation 3). The first training is the
    one that the classifier had, and the second begins from its weights. Wrong labels are mistakes as well, and get as
    much weight.

    >>> TrainTwice().weight
    20.0
    """

    name: ClassVar[str] = "train_twice"
    treats: ClassVar[tuple[str, ...]] = ("group_gap", "slice", "worst_class")
    passes: ClassVar[float] = 4.2

    weight: float = Field(20.0, gt=1, description="of an image that is wrong, beside 1 of the others (λ_up)")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """A classifier that gets nearly all training images right."""
        found = int(_mistakes(patient, enough=FEWEST).sum())
        if found < FEWEST:
            return f"needs {FEWEST} training images or more that the classifier gets wrong, and finds {found}"
        return None

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """Weights of examples, their mean 1."""
        weights = torch.where(_mistakes(patient), self.weight, 1.0)
        return Term(weights=weights / weights.mean())


def _group_names(patient: Patient) -> list[object]:
    """The group of each training image, None where it is not known."""
    return [None] * len(patient.training) if patient.images is None else patient.images.column("group")


@torch.no_grad()
def _mistakes(patient: Patient, *, enough: int | None = None) -> Tensor:
    """Which training images the audited classifier gets wrong, bool (n,); the search ends when there are enough."""
    store, classifier = patient.training, patient.classifier
    wrong = torch.zeros(len(store), dtype=torch.bool)
    for rows in torch.arange(len(store)).split(TOGETHER):
        images, targets = store.read(rows)
        decided = classifier.predict(classifier(to_unit(images).to(classifier.device))).cpu()
        wrong[rows] = decided != targets
        if enough is not None and int(wrong.sum()) >= enough:
            break
    return wrong
