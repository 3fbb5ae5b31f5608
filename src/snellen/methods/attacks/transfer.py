"""Attacking a classifier with images that were made on another one.

Szegedy et al., "Intriguing properties of neural networks", ICLR 2014, arXiv 1312.6199; Papernot, McDaniel and
Goodfellow, "Transferability in machine learning", 2016, arXiv 1605.07277. A defence that falls to transferred images
and not to an attack on itself masks its gradients (Athalye, Carlini and Wagner 2018, section 3.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion
from snellen.core.errors import InputError
from snellen.core.method import Attack, Method, Need, method_field
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.projections import LinfBall
from snellen.methods.attacks.perturbation.search import start_search
from snellen.models.classifiers.references import load_classifier

if TYPE_CHECKING:
    AnyAttack = Method
else:
    AnyAttack = method_field("attacks", Attack)


class Transfer(Method):
    """Images made on a surrogate classifier, judged on the one under attack, which needs no gradients.

    Without a ``surrogate`` the classifier attacks itself: the bound that no transfer can be expected to pass.

    >>> Transfer(crafted_by={"method": "pgd", "steps": 5}).crafted_by.steps
    5
    """

    name: ClassVar[str] = "transfer"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    finds: ClassVar[tuple[str, ...]] = ("adversarial",)

    surrogate: str | None = Field(
        None, description="reference of the classifier that the images are made on; by default the one under attack"
    )
    crafted_by: AnyAttack = Field("pgd", description="the attack on the surrogate")  # type: ignore[assignment]

    def attack(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        *,
        criterion: Criterion | None = None,
        rng: Randomness | None = None,
    ) -> Attacked:
        """Attack prepared images (n, 3, h, w) in [0, 1] of the size that both classifiers take.

        Raises:
            InputError: the surrogate has other classes.
        """
        surrogate = classifier if self.surrogate is None else load_classifier(self.surrogate)
        attack = self.crafted_by
        assert isinstance(attack, Attack)
        return transferred(attack, surrogate, classifier, images, labels, criterion=criterion, rng=rng)


def transferred(
    attack: Attack,
    surrogate: Classifier,
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    criterion: Criterion | None = None,
    rng: Randomness | None = None,
) -> Attacked:
    """Make images on a surrogate and judge them on a classifier.

    On the surrogate, the criterion is that of the call; only what succeeds there is shown to the classifier. An image
    that the surrogate gets wrong from the start is not changed, and so counts as not found.

    Args:
        attack: makes the images.
        surrogate: what it attacks; same classes in the same order.
        classifier: what the result is judged on.
        images: prepared images (n, 3, h, w) in [0, 1].
        labels: (n,), targets for a targeted criterion.
        criterion: what counts as success, by default misclassification.
        rng: randomness of the attack, per image.

    Returns:
        Success, scores and counts are the classifier's: one query for the clean image and one for the crafted one, no
        gradients. What the surrogate spent, it counts itself. Distances are in the norm of the attack. Where surrogate
        and classifier are one object, the result is that of the attack itself.

    Raises:
        InputError: the surrogate has other classes.
    """
    rng = (rng or Randomness(0)).child("transfer")
    begun = start_search(classifier, images, labels, projection=LinfBall(1.0), criterion=criterion, rng=rng)
    with begun as (search, rng):
        if surrogate.class_names != classifier.class_names:
            raise InputError(
                f"the surrogate {surrogate.name} has the classes {_shown(surrogate)}, {classifier.name} has "
                f"{_shown(classifier)}; transfer needs the same classes in the same order"
            )
        images, labels, criterion = search.images, search.labels, search.criterion
        if surrogate is classifier:
            return attack.attack(classifier, images, labels, criterion=criterion, rng=rng)
        search.judge_clean()
        positions = search.open_positions()
        if not len(positions):
            return search.result()
        crafted = attack.attack(
            surrogate, images[positions], labels[positions], criterion=criterion, rng=rng[positions]
        )
        shown = (crafted.success & (crafted.images != images[positions]).flatten(1).any(1)).nonzero().flatten()
        if len(shown):
            positions = positions[shown]
            scores, _, finite = search.ask(crafted.images[shown], positions)
            met = finite & criterion.success(scores, labels[positions])
            search.not_finite[positions] |= ~finite
            kept, places = shown[met], positions[met]
            search.best[places], search.scores[places] = crafted.images[kept], scores[met].to(search.scores.dtype)
            search.distance[places], search.success[places] = crafted.distance[kept], True
        return search.result()


def _shown(classifier: Classifier) -> str:
    names = ", ".join(classifier.class_names[:4])
    return f"{names}{', …' if len(classifier.class_names) > 4 else ''} ({len(classifier.class_names)})"
