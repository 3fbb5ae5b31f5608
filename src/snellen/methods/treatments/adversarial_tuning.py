"""Fine-tuning for small deliberate changes: on attacked images, or towards answers that an attack does not move.

The inner attack sees the network in evaluation mode, and the attacked images then pass it in training mode, as the
authors of TRADES do it; statistics of BatchNorm are of clean and attacked images. Where several threats were found,
each batch is attacked under one of them, drawn at random.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.randomness import Randomness
from snellen.methods.attacks.in_training import lent
from snellen.methods.attacks.norms import Norm, ball, steepest
from snellen.methods.attacks.perturbation import cross_entropy as climbed_cross_entropy
from snellen.methods.attacks.perturbation import on_scores, perturb
from snellen.methods.attacks.perturbation.objectives import Evaluation
from snellen.methods.attacks.perturbation.projections import GivenStart
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import Batch
from snellen.training.fine_tuning import Term
from snellen.training.objectives import cross_entropy

#: Standard deviation of the noise from which TRADES begins its inner attack, as published.
TRADES_START = 0.001


class Threat(NamedTuple):
    """A ball of changes: norm, and radius in [0, 1] pixel units."""

    norm: Norm
    epsilon: float


class AdversarialTuning(FineTuning):
    """What both fine-tunings share: the threats, and the inner attack."""

    treats: ClassVar[tuple[str, ...]] = ("adversarial",)

    steps: int = Field(5, ge=1, description="steps of the inner attack, each of 2.5 · epsilon / steps")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """A threat that is no ball of a norm."""
        unknown = [subject for subject in patient.subjects("adversarial") if threat_of(subject) is None]
        if unknown:
            return f"knows threats such as linf.8 and l2.0.5, and not {', '.join(unknown)}"
        return None

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """Losses on images that are attacked under the threats that were found."""
        threats = [found for subject in patient.subjects("adversarial") if (found := threat_of(subject)) is not None]
        return self._under(threats, len(patient.classifier.class_names))

    @abstractmethod
    def _under(self, threats: list[Threat], classes: int) -> Term:
        """The term for these threats."""

    def _attacked(self, model: nn.Module, batch: Batch, threats: list[Threat], classes: int, *, trades: bool) -> Tensor:
        """The images of a batch after the inner attack, (n, 3, h, w) without gradients."""
        rng = batch.rng.child("attack")
        # One threat a batch: the draw of its first image decides.
        threat = threats[int(rng.integers("threat", (), 0, len(threats))[0])]
        labels = batch.targets.argmax(1) if batch.targets.ndim == 2 else batch.targets
        allowed = ball(threat.norm, threat.epsilon)
        with lent(model):
            names = [str(number) for number in range(classes)]
            classifier = Classifier(model, class_names=names, device=batch.images.device)
            if trades:
                noise = TRADES_START * rng.normal("start", batch.images.shape[1:], like=batch.images)
                allowed = GivenStart(allowed, (batch.images + noise).clamp(0, 1))
                evaluate = _divergence(classifier, batch.images)
            else:
                evaluate = on_scores(classifier, climbed_cross_entropy)
            return perturb(
                classifier,
                batch.images,
                labels,
                evaluate=evaluate,
                projection=allowed,
                step_rule=steepest(threat.norm, 2.5 * threat.epsilon / self.steps),
                criterion=Misclassified(),
                steps=self.steps,
                rng=rng,
                random_start=True,
                keep="last",
            ).images.clone()


class PGDTuning(AdversarialTuning):
    """Train on with images that PGD attacked, beside clean ones.

    Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards deep learning models resistant to adversarial attacks", ICLR
    2018, arXiv 1706.06083, equation 2.1. The paper trains on attacked images alone (``clean`` 0); half of the loss is
    of clean ones here, as in Kurakin, Goodfellow and Bengio, ICLR 2017, arXiv 1611.01236, so that less clean accuracy
    is lost.

    >>> PGDTuning().clean
    0.5
    """

    name: ClassVar[str] = "pgd_tuning"
    passes: ClassVar[float] = 28.0

    clean: float = Field(0.5, ge=0, lt=1, description="share of clean images in the loss")

    def _under(self, threats: list[Threat], classes: int) -> Term:
        def attacked(model: nn.Module, batch: Batch) -> Tensor:
            images = self._attacked(model, batch, threats, classes, trades=False)
            return (1 - self.clean) * cross_entropy(model(images).float(), batch.targets)

        return Term(weigh=lambda _model, _batch, losses: self.clean * losses, objective=attacked)


class TradesTuning(AdversarialTuning):
    """Train on towards right answers that no change within the threat moves.

    TRADES (Zhang, Yu, Jiao, Xing, El Ghaoui and Jordan, "Theoretically principled trade-off between robustness and
    accuracy", ICML 2019, arXiv 1901.08573, equation 5): cross-entropy of the clean image, and β times the divergence
    KL(answer to it ‖ answer to the image that an attack moved furthest from it). β is 1/λ of the paper.

    >>> TradesTuning().beta
    6.0
    """

    name: ClassVar[str] = "trades_tuning"
    passes: ClassVar[float] = 32.0

    beta: float = Field(6.0, gt=0, description="weight of answers that do not move, beside right ones (1/λ)")

    def _under(self, threats: list[Threat], classes: int) -> Term:
        def moved(model: nn.Module, batch: Batch) -> Tensor:
            images = self._attacked(model, batch, threats, classes, trades=True)
            clean, attacked = model(torch.cat([batch.images, images])).float().chunk(2)
            return self.beta * divergence(clean, attacked)

        return Term(objective=moved)


def threat_of(subject: str) -> Threat | None:
    """The threat that a finding names; None where it is no ball of a norm.

    >>> threat_of("l2.0.5"), threat_of("patch")
    (Threat(norm='l2', epsilon=0.5), None)
    """
    norm, _, size = subject.partition(".")
    known: dict[str, Literal["linf", "l2"]] = {"linf": "linf", "l2": "l2"}
    try:
        radius = float(size)
    except ValueError:
        return None
    if norm not in known or not radius > 0:
        return None
    return Threat(known[norm], radius / 255 if norm == "linf" else radius)


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """KL(softmax(clean) ‖ softmax(attacked)) of each image, in nats: two logits (n, k) → (n,).

    >>> divergence(torch.tensor([[50.0, 0.0]]), torch.zeros(1, 2))
    tensor([0.6931])
    """
    sure = clean.log_softmax(1)
    return (sure.exp() * (sure - attacked.log_softmax(1))).sum(1)


def _divergence(classifier: Classifier, images: Tensor) -> Evaluation:
    """What the inner attack of TRADES climbs: how far answers moved from those to the clean images."""
    with torch.no_grad():
        clean = classifier(images)

    def evaluate(candidates: Tensor, _labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        scores = classifier(candidates)
        return scores, divergence(clean[positions], scores)

    return evaluate
