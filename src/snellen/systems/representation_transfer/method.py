"""Attacking the inside of a classifier with tensors that were made inside another one.

"Understanding adversarial transfer: why representation-space attacks fail where data-space attacks succeed", 2025,
arXiv 2510.01494. Of the paper the abstract and the public reviews were read; formulas follow from its setting, and
numbers (steps, sizes, units of a size) are choices made here. See docs/systems/representation_transfer.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Need, missing_needs
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.methods.attacks.norms import Norm, ball, refuse_levels
from snellen.methods.attacks.perturbation.open_balls import OpenL2Ball, OpenLinfBall
from snellen.methods.attacks.perturbation.projections import Projection
from snellen.methods.attacks.perturbation.search import Keep, Search
from snellen.methods.attacks.search_attack import SearchAttack
from snellen.models.classifiers.references import load_classifier
from snellen.models.layers.split_classifier import PIXELS, SplitClassifier
from snellen.systems.representation_transfer.representation_attack import Scope, as_maps, craft, relative_size, summed
from snellen.systems.representation_transfer.representation_maps import ChannelMap, MapKind, fit_channel_map

#: Images of ``fit_on`` that are used, the first ones.
MOST_FIT_IMAGES = 512


@dataclass(frozen=True, eq=False)
class RepresentationAttacked(Attacked):
    """Result of an attack that may have left the images alone; ``changes`` are those after the map.

    Attributes:
        epsilon: size of the allowed set of the search, in the units of the surrogate's representation.
        relative_epsilon: the same in units of the root mean square of its activations.
        channel_map: what the tensors were carried over with.
    """

    epsilon: float = 0.0
    relative_epsilon: float = 0.0
    channel_map: ChannelMap | None = None

    @property
    def facts(self) -> tuple[str, ...]:
        """How large the allowed set was, and how well a map fits."""
        if self.place == PIXELS:
            return ()
        size = f"changes of at most {self.relative_epsilon:.3g} of the root mean square of the activations"
        if self.channel_map is None:
            return (size,)
        return (size, f"map with a held-out residual of {self.channel_map.held_out_residual:.3g}")


class RepresentationTransfer(SearchAttack):
    """Tensors found in the representation of a surrogate, added to that of the classifier, which gives no gradients.

    At the layer ``pixels`` this is the data-space attack: PGD on the surrogate, judged on the classifier. Without a
    ``surrogate`` the classifier attacks itself. A size of a representation is given in units of the root mean square of
    the surrogate's activations there (``l2``: of the length of such a vector); compare transfer at equal success on the
    surrogate, not at equal size (:func:`snellen.methods.attacks.calibrated_strength.calibrate`).

    With a surrogate, all steps are taken and the tensors are added to the classifier once; its gradient is never
    computed. Where the classifier attacks itself, an image leaves with its first success. What comes back is a
    :class:`RepresentationAttacked`.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> classifier = Classifier(model, class_names=["a", "b"])
    >>> images, labels = torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1])
    >>> attack = RepresentationTransfer(layer="2", epsilon=1.0, steps=5)
    >>> attacked = attack.attack(classifier, images, labels)
    >>> attacked.place, bool((attacked.images == images).all())
    ('2, after the nonlinearity ReLU', True)
    """

    name: ClassVar[str] = "representation_transfer"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients"})
    # Random starts in pixels are those of PGD.
    _stream: ClassVar[str | None] = "pgd"

    surrogate: str | None = Field(
        None, description="reference of the classifier that tensors are made in; by default the one under attack"
    )
    layer: str = Field(PIXELS, description="full name of the layer whose output is attacked, in both; or pixels")
    side: Literal["after", "before"] = Field(
        "after", description="add to what the layer gives (after a nonlinearity) or to what it takes (before it)"
    )
    norm: Norm = Field("linf", description="norm of the change")
    epsilon: float = Field(
        8 / 255, ge=0, description="largest change; of pixels in [0, 1] units, else in units of the layer's RMS"
    )
    steps: int = Field(20, ge=1, description="gradient steps on the surrogate")
    step_size: float | None = Field(
        None, gt=0, description="length of a step, in the units of epsilon; by default 2.5 · epsilon / steps"
    )
    random_start: bool = Field(True, description="start from a random point of the ball instead of the clean one")
    scope: Scope = Field("per-image", description="a tensor for each image, or one for all, found on fit_on")
    reachable: bool = Field(
        False, description="keep changed representations at least as large as the smallest clean one (0 after a ReLU)"
    )
    map: MapKind = Field("none", description="carry tensors over as they are, or by a map of channels found on fit_on")
    fit_on: str | None = Field(
        None, description="reference of labelled images, none of them attacked, for a universal tensor or a map"
    )

    @model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        wants = ["scope='universal'"] if self.scope == "universal" else []
        wants += [f"map={self.map!r}"] if self.map != "none" else []
        if wants and self.fit_on is None:
            raise ValueError(f"{' and '.join(wants)} needs fit_on: images that are not attacked")
        if self.layer == PIXELS:
            refuse_levels(self.norm, self.epsilon)
        if self.map != "none" and (self.surrogate is None or self.layer == PIXELS):
            raise ValueError("a map carries tensors between hidden layers of two classifiers: set surrogate and layer")
        return self

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this method cannot run on these inputs; gradients are those of the surrogate, if there is one."""
        needs = self.needs if self.surrogate is None else self.needs - {"gradients"}
        return missing_needs(needs, classifier, images)

    def _allowed(self) -> Projection:
        # Of images. What is done at a layer has an account of its own.
        return ball(self.norm, self.epsilon)

    def _search(self, search: Search, rng: Randomness) -> RepresentationAttacked:
        classifier, images, labels, criterion = search.classifier, search.images, search.labels, search.criterion
        surrogate = classifier if self.surrogate is None else load_classifier(self.surrogate)
        if surrogate.class_names != classifier.class_names:
            raise InputError(
                f"the surrogate {surrogate.name} has other classes ({len(surrogate.class_names)}) than "
                f"{classifier.name} ({len(classifier.class_names)}); transfer needs the same classes in the same order"
            )
        source = self._cut(surrogate, images)
        if surrogate is classifier and self.scope == "per-image":
            found = self._craft(source, images, labels, criterion=criterion, rng=rng, keep="first")
            return _search_account(found.search, images, found.changes, source, found.epsilon, found.relative)
        return self._carried(source, self._cut(classifier, images), images, labels, criterion, rng)

    def _cut(self, classifier: Classifier, images: Tensor) -> SplitClassifier:
        # Nothing can be learnt about a cut from no image, and nothing is attacked then.
        layer = self.layer if len(images) else PIXELS
        return SplitClassifier(classifier, layer, images, where="output" if self.side == "after" else "input")

    def _craft(
        self,
        source: SplitClassifier,
        images: Tensor,
        labels: Tensor,
        *,
        criterion: Criterion,
        rng: Randomness,
        keep: Keep,
    ) -> _Found:
        encoded = source.encode(images)
        unit = 1.0 if source.layer == PIXELS else 1.0 / relative_size(1.0, self.norm, encoded)
        low = float(encoded.min()) if self.reachable and source.layer != PIXELS else None
        crafted = craft(
            source,
            images,
            labels,
            norm=self.norm,
            epsilon=self.epsilon * unit,
            steps=self.steps,
            step_size=None if self.step_size is None else self.step_size * unit,
            random_start=self.random_start,
            scope=self.scope,
            low=low,
            keep=keep,
            criterion=criterion,
            encoded=encoded,
            rng=rng,
        )
        relative = relative_size(crafted.epsilon, self.norm, encoded) if len(encoded) else 0.0
        return _Found(crafted.changes, crafted.search, crafted.epsilon, relative, low)

    def _carried(
        self,
        source: SplitClassifier,
        target: SplitClassifier,
        images: Tensor,
        labels: Tensor,
        criterion: Criterion,
        rng: Randomness,
    ) -> RepresentationAttacked:
        """Make tensors in the source, and add each once in the target."""
        clean = target.encode(images)

        def judge(candidates: Tensor, _labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
            scores = target.decode(candidates.view(-1, *clean.shape[1:]), images[positions])
            return scores, scores.new_zeros(len(scores))

        # What is carried over may be longer than what was found: no limit here.
        anywhere = OpenLinfBall(torch.inf) if self.norm == "linf" else OpenL2Ball(torch.inf)
        search = Search(
            target.classifier, as_maps(clean), labels, evaluate=judge, criterion=criterion, projection=anywhere
        )
        search.judge_clean()
        positions = search.open_positions()
        if not len(positions):
            return _search_account(search.result(), images, torch.zeros_like(clean), target, 0.0, 0.0)
        fit_images, fit_labels = self._fit_images(source)
        if self.scope == "universal":
            assert fit_images is not None
            found = self._craft(
                source, fit_images, fit_labels, criterion=criterion, rng=Randomness(rng.seed), keep="last"
            )
        else:
            found = self._craft(
                source, images[positions], labels[positions], criterion=criterion, rng=rng[positions], keep="last"
            )
        channel_map = None
        if self.map != "none":
            assert fit_images is not None
            channel_map = fit_channel_map(source.encode(fit_images), target.encode(fit_images), kind=self.map)
        candidates = summed(
            target,
            clean[positions],
            found.changes,
            matrix=None if channel_map is None else channel_map.matrix,
            low=found.low,
        )
        search.look(as_maps(candidates), positions)
        result = search.result()
        changes = result.images.view_as(clean) - clean
        return _search_account(result, images, changes, target, found.epsilon, found.relative, channel_map)

    def _fit_images(self, source: SplitClassifier) -> tuple[Tensor | None, Tensor]:
        """Images that are not attacked, prepared, and their labels; none where nothing is fitted."""
        if self.fit_on is None:
            return None, torch.zeros(0, dtype=torch.int64)
        fitted = load_images(self.fit_on).limit(MOST_FIT_IMAGES)
        prepared = torch.stack([source.classifier.prepare(fitted.read(row)) for row in range(len(fitted))])
        return prepared.to(source.classifier.device), torch.from_numpy(fitted.labels).to(source.classifier.device)


@dataclass(frozen=True, eq=False)
class _Found:
    """What was made in a source."""

    changes: Tensor
    search: Attacked
    epsilon: float
    relative: float
    low: float | None


def _search_account(
    found: Attacked,
    images: Tensor,
    changes: Tensor,
    split: SplitClassifier,
    epsilon: float,
    relative: float,
    channel_map: ChannelMap | None = None,
) -> RepresentationAttacked:
    """The account of a search, with the images that were really shown to the classifier."""
    kept = {field.name: getattr(found, field.name) for field in fields(Attacked)}
    kept |= {"changes": changes, "place": split.place}
    if split.layer != PIXELS:
        kept["images"] = images.clone()
        kept["queries"] = found.queries + 1  # each image was encoded once
    return RepresentationAttacked(
        **kept,
        epsilon=epsilon,
        relative_epsilon=relative,
        channel_map=channel_map,
    )
