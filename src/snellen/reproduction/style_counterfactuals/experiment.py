"""System 32: are the attributes of a style generator the traits that a classifier decides by, where these are known.

Lesions with six independent factors; a classifier learns a rule on two of them, intensity × radius. A generator with
a pyramid encoder and one with a single scale are trained around it, for as many steps. A third one is trained on real
images of two kinds. Everything is measured on images that neither training nor the choice of attributes saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.images import Split
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.metrics.generated_images import frechet_distance
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.style_counterfactuals.arms import mean_flips, moved_by, moved_of_count
from snellen.reproduction.style_counterfactuals.full import full
from snellen.reproduction.style_counterfactuals.garments import KINDS, draw_garments
from snellen.reproduction.style_counterfactuals.lesions import FACTORS, SIDE, draw_lesions
from snellen.reproduction.style_counterfactuals.networks import small_cnn
from snellen.systems.style_counterfactuals.attributes import (
    Attribute,
    attributes_of_classes,
    moved_styles,
)
from snellen.systems.style_counterfactuals.flips import (
    Counterfactuals,
    runners_up,
)
from snellen.systems.style_counterfactuals.foreign import moved_by_foreign
from snellen.systems.style_counterfactuals.networks import EncoderKind
from snellen.systems.style_counterfactuals.plan import SMALL as SMALL_PLAN
from snellen.systems.style_counterfactuals.plan import StylePlan
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.systems.style_counterfactuals.study import (
    Encoded,
    Search,
    Study,
    distances,
    encode,
    followed,
    off_manifold,
    study,
)
from snellen.systems.style_counterfactuals.training import Training, train_explainer

#: What is measured of moved images.
MOVED = ("flipped", "distance", "frechet", "off_manifold")

#: Every coordinate is tried, and a gate judges the agreement. The published θ of 2.5 logits does not reach the other
#: class here: margins are 6 to 8 logits, and a step of 5 for one class is about 10 between two.
SEARCH = Search(agreement=0.0, explained=5.0)

#: Attributes of the published flip study, for real images.
TEN = 10

#: The shift that ends at the bound, a value that some image has; and how many attributes move there, as each moves half
#: as far as at shift 2. Random coordinates are as many.
TO_BOUND, SIX = 1.0, 6

#: Splits of the real images: to train on, and to choose and measure on.
PARTS: tuple[Split, Split] = ("train", "test")

#: The rule is on two factors; an attribute of its classifier must not be about another.
RULE, OTHERS = ("intensity", "radius"), ("sharpness", "gland", "texture", "position")


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        train: images of the trainings.
        test: images to choose attributes and to measure on, half each.
        updates: steps of each classifier; the network that reads factors takes three times as many.
        plan: numbers of the generators.
    """

    train: int
    test: int
    updates: int
    plan: StylePlan


SMALL = Size(train=3000, test=200, updates=300, plan=SMALL_PLAN.lasting(1400))
SMOKE = Size(
    train=24, test=12, updates=4,
    plan=SMALL_PLAN.model_copy(
        update={
            "steps": 2, "batch_size": 2,
            "sizes": SMALL_PLAN.sizes.model_copy(
                update={"capacity": 1, "most": 8, "width": 4, "mixed": 2, "backbone_width": 2, "mapping_layers": 1}
            ),
        }
    ),
)  # fmt: skip


def style_counterfactuals(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 32.

    Returns:
        ``classifier.accuracy``; ``reader.rule``, the lesser R² of the two factors of the rule that a network reads off
        reconstructions; for each encoder, ``pyramid`` and ``single``: ``agreement``, ``l1`` of each image, and
        ``frechet``, the distance of reconstructions in features of that network (``real.frechet``: of two halves of the
        images); ``permuted.agreement`` and ``permuted.l1``, where each code of the pyramid takes the logits of another
        image; ``mean.l1`` of the mean image, and ``pyramid.gain`` over it. For the pyramid's attributes (``top``),
        as many random coordinates (``random``) and as many of a classifier of other factors (``other``; None where it
        has fewer): ``flipped``, ``distance``, ``frechet``, ``off_manifold``; ``top.followed`` by a second classifier;
        ``merged.flipped`` by the merged list of both classes; ``bound.flipped``, ``bound.random_flipped`` and
        ``bound.off_manifold``, where six (``bound.four_…``: four) move to their bounds only, at shift 1, and flips
        ``bound.toward_CLASS`` of those six.
        ``foreign.accuracy`` and ``foreign.agreement`` of the other classifier. ``top.changes`` and ``random.changes``:
        by how much the factor of the rule has a larger share of what an attribute changes in the image than the largest
        factor outside of the rule, for the better pair of two attributes, one for each factor, and the lesser of the
        two, among the four strongest of both classes; ``changes.FACTOR``, the largest share that any of them has of it.
        Of garments ``accuracy``, ``agreement`` and ``gain`` as above, ``flipped`` and ``off_manifold`` by attributes,
        ``random_flipped`` by random coordinates, of four each and (``ten_…``) of ten.
    """
    if scale == "full":
        return full(seed, progress)
    return Experiment(SMOKE if scale == "smoke" else SMALL, seed, progress).figures()


style_counterfactuals.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with two steps of everything",),
    "small": (
        "procedural lesions of 32 pixels with known factors, for PI-CAI",
        "a small CNN on a rule of two factors, for a ResNet-18 on cancer",
        "a frozen random backbone, 64 channels for 512, 296 style coordinates for 2,464, 1,400 steps of 16 images",
        "the perceptual distance in the classifier's own maps, for LPIPS",
        "the Fréchet distance in features of a small CNN, for FID",
        "T-shirts and pullovers of Fashion-MNIST as the real images",
    ),
    "full": (
        "the paper's sizes and steps, with a classifier and images by reference",
        "a frozen random backbone with strides 2 to 16, unless a pretrained one is named, for one with 4 to 32",
        "the perceptual distance in the classifier's own maps, without learned weights, for LPIPS",
        "the Fréchet distance on the 250 images held back, in features of an encoder by reference: too few for a claim",
    ),
}


class Experiment:
    """One seed, which decides images, classifiers, generators and halves."""

    def __init__(self, size: Size, seed: int, progress: Progress) -> None:
        self.size, self.progress = size, progress
        self.rng = Randomness(seed).child("style counterfactuals")
        self.train = draw_lesions(size.train, self.rng.generator("train"))
        self.test = draw_lesions(size.test, self.rng.generator("test"))
        self.classifier = self.trained("classifier", self.train.images, self.train.labels)
        self.seen = Seen(self.classifier, (SIDE, SIDE))
        self.images = to_unit(self.test.images)
        #: Reads the six factors, and gives the features of the Fréchet distance.
        self.reader = small_cnn("reader", self.train.images, self.train.factors, 3 * size.updates, self.rng)

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        garments = self.garments()  # first: a set that is not installed is refused before the other trainings
        with torch.no_grad():
            decided = self.classifier(self.images).argmax(1)
        mean = to_unit(self.train.images).mean(0)
        halves = self.images[: len(self.images) // 2], self.images[len(self.images) // 2 :]
        figures: dict[str, Figure] = {
            "classifier.accuracy": Sample.of((decided == self.test.labels).numpy()),
            "mean.l1": Sample.of((self.images - mean).abs().mean((1, 2, 3)).numpy()),
            "real.frechet": frechet_distance(*map(self.features, halves)),
        }
        pyramid = self.generator("pyramid")
        rebuilt = encode(pyramid.explainer, self.seen, self.images)[1]
        figures |= self.rebuilt("pyramid", rebuilt)
        figures["reader.rule"] = min(self._read_well(rebuilt.remade)[FACTORS.index(factor)] for factor in RULE)
        figures |= self.permuted(pyramid)
        figures |= self.attributes(pyramid)
        single = self.generator("single")
        figures |= self.rebuilt("single", encode(single.explainer, self.seen, self.images)[1])
        own, flat = figures["pyramid.l1"], figures["mean.l1"]
        assert isinstance(own, Sample)
        assert isinstance(flat, Sample)
        figures["pyramid.gain"] = Sample.of(np.subtract(flat.values, own.values))
        return figures | garments

    # -- networks -------------------------------------------------------------------------------------------------

    def trained(
        self, name: str, images: Tensor, labels: Tensor, names: Sequence[str] = ("small", "large")
    ) -> Classifier:
        """A classifier of two classes."""
        network = small_cnn(name, images, labels, self.size.updates, self.rng)
        return Classifier(network, class_names=list(names), preparation=Preprocessing(size=(SIDE, SIDE)), name=name)

    def generator(self, kind: EncoderKind) -> Training:
        """A generator around the classifier; both kinds have the same numbers, steps and randomness."""
        sizes = self.size.plan.sizes.model_copy(update={"encoder": kind})
        plan = self.size.plan.model_copy(update={"sizes": sizes})
        return train_explainer(
            self.classifier, self.train.images, plan, self.rng.child("generator"), progress=self.progress
        )

    def features(self, images: Tensor) -> Tensor:
        """Features of the small CNN in front of its last layer."""
        with torch.no_grad():
            found: Tensor = self.reader[:-1](images).mean((2, 3))
        return found

    # -- figures --------------------------------------------------------------------------------------------------

    def rebuilt(self, kind: EncoderKind, encoded: Encoded) -> dict[str, Figure]:
        """How well test images are rebuilt."""
        return {
            f"{kind}.agreement": Sample.of(encoded.agreed.numpy()),
            f"{kind}.l1": Sample.of((encoded.remade - encoded.images).abs().mean((1, 2, 3)).numpy()),
            f"{kind}.frechet": frechet_distance(self.features(encoded.images), self.features(encoded.remade)),
        }

    def permuted(self, training: Training) -> dict[str, Figure]:
        """The control of the agreement: each code takes the logits of another image."""
        order = torch.arange(len(self.images)).roll(1)
        other = encode(training.explainer, self.seen, self.images, order=order)[1]
        return {
            "permuted.agreement": Sample.of(other.agreed.numpy()),
            "permuted.l1": Sample.of((other.remade - other.images).abs().mean((1, 2, 3)).numpy()),
        }

    def attributes(self, training: Training) -> dict[str, Figure]:
        """Attributes of one generator: what they flip, change and cost, beside random and foreign coordinates."""
        found = study(training.explainer, self.seen, self.images, SEARCH, self.rng, progress=self.progress)
        judge = self.trained("judge", self.train.images, self.train.labels)
        figures = self._moved("top", found, [found.top], training)
        figures |= self._moved("random", found, found.random, training)
        figures |= self.foreign(found, SEARCH, training)
        figures |= self.to_bounds(found, training)
        decided = found.chosen_on.base.argmax(1)
        most = max(map(len, found.lists.values()))
        merged = attributes_of_classes(found.effects, decided, most, explained=SEARCH.explained, merge=True)
        figures["merged.flipped"] = Sample.of(moved_by(found, self.seen, merged, SEARCH.shift).flipped.numpy())
        share = followed(judge, None, found.measured_on.remade, found.top)
        figures["top.followed"] = share if np.isfinite(share) else None
        shares = self._shares(found, merged[1])
        figures |= {f"changes.{factor}": max(row[at] for row in shares) for at, factor in enumerate(FACTORS)}
        figures["top.changes"] = _margin(shares)
        drawn = [_margin(self._shares(found, max(one.values(), key=len))) for one in found.drawn]
        figures["random.changes"] = None if None in drawn else float(np.mean([one for one in drawn if one is not None]))
        return figures

    def _moved(
        self, name: str, found: Study, moved: Sequence[Counterfactuals], training: Training
    ) -> dict[str, Figure]:
        """Flips of each image and what they cost, means over the draws."""
        remade = found.measured_on.remade
        cost = torch.stack([distances(self.seen, remade, one.images) for one in moved]).mean(0)
        real = self.features(found.measured_on.images)
        return {
            f"{name}.flipped": mean_flips(moved),
            f"{name}.distance": Sample.of(cost.numpy()),
            f"{name}.frechet": float(np.mean([frechet_distance(real, self.features(one.images)) for one in moved])),
            f"{name}.off_manifold": float(
                np.mean([off_manifold(training.explainer, remade, one.images) for one in moved])
            ),
        }

    def to_bounds(self, found: Study, training: Training) -> dict[str, Figure]:
        """Flips of four and of six attributes, and of random coordinates, that move to their bounds and no further."""
        figures, remade = dict[str, Figure](), found.measured_on.remade
        for name, count in (("bound.four_", SEARCH.attributes), ("bound.", SIX)):
            top, drawn = moved_of_count(found, self.seen, self.rng, SEARCH, count, TO_BOUND)
            figures |= {
                f"{name}flipped": Sample.of(top.flipped.numpy()),
                f"{name}random_flipped": mean_flips(drawn),
                f"{name}off_manifold": off_manifold(training.explainer, remade, top.images),
            }
        toward = runners_up(found.measured_on.base)
        for at, name in enumerate(self.classifier.class_names):
            own = top.flipped[toward == at]
            figures[f"bound.toward_{name}"] = float(own.float().mean()) if len(own) else None
        return figures

    def foreign(self, found: Study, search: Search, training: Training) -> dict[str, Figure]:
        """As many coordinates of a classifier of texture and gland, in the directions that move *this* classifier."""
        foreign = self.trained("foreign", self.train.images, self.train.other_labels)
        with torch.no_grad():
            given, remade = (foreign(one).argmax(1) for one in (self.images, found.chosen_on.remade))
            agreed = foreign(found.chosen_on.images).argmax(1) == remade
        figures: dict[str, Figure] = {
            "foreign.accuracy": Sample.of((given == self.test.other_labels).numpy()),
            "foreign.agreement": Sample.of(agreed.numpy()),
        }
        others = moved_by_foreign(found, self.seen, foreign, search)
        if others is None:
            return {**figures, **dict.fromkeys(f"other.{name}" for name in MOVED)}
        return figures | self._moved("other", found, [others], training)

    def garments(self) -> dict[str, Figure]:
        """The same on real images: a classifier of two kinds, its generator, attributes, and random coordinates."""
        rng, size = self.rng.child("garments"), self.size
        train, test = (
            draw_garments(split, count, rng.generator(split))
            for split, count in zip(PARTS, (size.train, size.test), strict=True)
        )
        classifier = self.trained("garments", train.images, train.labels, KINDS)
        training = train_explainer(classifier, train.images, size.plan, rng.child("generator"), progress=self.progress)
        seen, images, mean = Seen(classifier, (SIDE, SIDE)), to_unit(test.images), to_unit(train.images).mean(0)
        whole = encode(training.explainer, seen, images)[1]
        found = study(training.explainer, seen, images, SEARCH, rng, progress=self.progress)
        gain = (images - mean).abs() - (images - whole.remade).abs()
        figures: dict[str, Figure] = {
            "garments.accuracy": Sample.of((whole.scores.argmax(1) == test.labels).numpy()),
            "garments.agreement": Sample.of(whole.agreed.numpy()),
            "garments.gain": Sample.of(gain.mean((1, 2, 3)).numpy()),
        }
        for name, count in (("garments.", SEARCH.attributes), ("garments.ten_", TEN)):
            top, drawn = moved_of_count(found, seen, rng, SEARCH, count, SEARCH.shift)
            figures |= {
                f"{name}flipped": Sample.of(top.flipped.numpy()),
                f"{name}random_flipped": mean_flips(drawn),
                f"{name}off_manifold": off_manifold(training.explainer, found.measured_on.remade, top.images),
            }
        return figures

    def _read_well(self, images: Tensor) -> list[float]:
        """R² of each factor, read off images that were made of the test images."""
        with torch.no_grad():
            off = (self.reader(images) - self.test.factors).square().mean(0)
        return (1 - off / self.test.factors.var(0, correction=0)).tolist()

    def _shares(self, found: Study, chosen: Sequence[Attribute]) -> list[list[float]]:
        """Of each attribute, the share that each factor has of what moving it to its bound changes in the images.

        A change is the size of the mean difference of the factor read off the moved image and the reconstruction.
        """
        measured, shares = found.measured_on, list[list[float]]()
        with torch.no_grad():
            before = self.reader(measured.remade)
            for one in chosen:
                moved = found.renderer.images(moved_styles(measured.styles, [one], found.bounds, 1.0))
                change = (self.reader(moved) - before).mean(0).abs()
                shares.append((change / change.sum().clamp(min=1e-9)).tolist())
        return shares


def _margin(shares: Sequence[Sequence[float]]) -> float | None:
    """How far the factors of the rule lead in the better pair of two attributes; None of fewer than two.

    Args:
        shares: of each attribute, the share of each factor.
    """
    if len(shares) < 2:
        return None
    first, second = (FACTORS.index(factor) for factor in RULE)
    outside = [max(row[FACTORS.index(factor)] for factor in OTHERS) for row in shares]
    return max(
        min(shares[one][first] - outside[one], shares[other][second] - outside[other])
        for one, other in permutations(range(len(shares)), 2)
    )
