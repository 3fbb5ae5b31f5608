"""What all attacks on images share: how a call begins, what is refused, and the norm ball of most of them.

An attack is its parameters, its mathematics and one method, ``_search``. Success, failure and counts mean the same for
all, because all keep their account in a :class:`~snellen.methods.attacks.perturbation.search.Search`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion
from snellen.core.errors import UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import Norm, ball, refuse_levels
from snellen.methods.attacks.perturbation.inputs import gives_maps
from snellen.methods.attacks.perturbation.projections import Projection
from snellen.methods.attacks.perturbation.search import Search, start_search
from snellen.methods.attacks.pixel_search import default_criterion, refuse_criterion


class SearchAttack(Method):
    """A search for a changed image, one for each image of a batch.

    >>> import torch
    >>> from snellen.methods.attacks.perturbation import LinfBall
    >>> class Darker(SearchAttack):
    ...     name = "darker"
    ...     def _allowed(self):
    ...         return LinfBall(0.1)
    ...     def _search(self, search, rng):
    ...         positions = search.open_positions()
    ...         search.look((search.images[positions] - 0.1).clamp(0, 1), positions)
    ...         return search.result()
    >>> def model(images):
    ...     brightness = images.mean((1, 2, 3))
    ...     return torch.stack([0.45 - brightness, brightness - 0.45], 1)
    >>> classifier = Classifier(model, class_names=["dark", "bright"])
    >>> Darker().attack(classifier, torch.full((1, 3, 4, 4), 0.5), torch.tensor([1])).status
    ('found',)
    """

    finds: ClassVar[tuple[str, ...]] = ("adversarial",)

    #: Stream of the draws, where it is not the attack's name.
    _stream: ClassVar[str | None] = None

    #: Whether it also attacks models that decide each pixel.
    takes_maps: ClassVar[bool] = False

    #: Whether it attacks models that decide once for an image.
    takes_classifiers: ClassVar[bool] = True

    def attack(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        *,
        criterion: Criterion | None = None,
        rng: Randomness | None = None,
    ) -> Attacked:
        """Attack prepared images.

        Args:
            classifier: the model under attack; its query and gradient counts go up.
            images: float32 or float64 (n, 3, h, w) in [0, 1]; n may be 0.
            labels: integers (n,), or 0/1 (n, k) for a multilabel classifier, on the device of the images; targets for a
                targeted criterion. For models that decide each pixel see :mod:`snellen.methods.attacks.pixel_search`.
            criterion: what counts as success, by default misclassification.
            rng: randomness of each image, by default that of seed 0.

        Raises:
            InputError: a bare model in place of a classifier, images or labels that do not fit, a criterion that is
                not made for what the model gives, or probabilities where logits are needed.
            UnsupportedError: the classifier lacks what the attack needs, such as gradients; or it gives maps, and the
                attack takes none; or the attack takes maps alone.
            NotFiniteError: at the first look, no image of the batch has finite scores and a finite objective.
        """
        maps = self.takes_maps and isinstance(classifier, Classifier) and gives_maps(classifier)
        if isinstance(classifier, Classifier):
            self._refuse(classifier, criterion)
        begun = start_search(
            classifier,
            images,
            labels,
            projection=self._allowed(),
            criterion=criterion or (default_criterion(classifier) if maps else None),
            rng=(rng or Randomness(0)).child(self._stream or self.name),
            keep="last" if maps else "first",
        )
        with begun as (search, rng):
            if (why := self.missing(classifier)) is not None:
                raise UnsupportedError(f"{self.name} {why}; hop_skip_jump attacks by decisions alone")
            return self._search(search, rng)

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """What is lacking, in words; a model that decides once for an image, where the attack weighs pixels."""
        once = None if classifier is None else self._once(classifier)
        return once or super().missing(classifier, images)

    def _once(self, classifier: Classifier) -> str | None:
        if self.takes_classifiers or gives_maps(classifier):
            return None
        return (
            f"weighs the pixels of models that decide each of them, and {classifier.name} decides once for an image, "
            f"where it would be pgd; use pgd"
        )

    def _refuse(self, classifier: Classifier, criterion: Criterion | None) -> None:
        """Refuse what the attack, or its criterion, is not made for."""
        if (why := self._once(classifier)) is not None:
            raise UnsupportedError(f"{self.name} {why}")
        refuse_criterion(classifier, criterion)

    @abstractmethod
    def _allowed(self) -> Projection:
        """Where a success must lie, and the norm of its distance."""

    @abstractmethod
    def _search(self, search: Search, rng: Randomness) -> Attacked:
        """Search for all images. Runs without gradients; no image was scored yet.

        Args:
            search: the account to keep, on checked images and labels; by default its evaluation gives scores alone.
            rng: of this attack, bound to the images.
        """


class BallAttack(SearchAttack):
    """A search inside a norm ball."""

    epsilon: float = Field(8 / 255, ge=0, description="largest change, in [0, 1] pixel units of the norm")
    norm: Norm = Field("linf", description="norm of the change")

    @model_validator(mode="after")
    def _epsilon_is_in_pixel_units(self) -> Self:
        refuse_levels(self.norm, self.epsilon)
        return self

    def _allowed(self) -> Projection:
        return ball(self.norm, self.epsilon)
