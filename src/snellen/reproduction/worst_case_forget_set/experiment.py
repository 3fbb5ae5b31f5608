"""System 24: are the images that a search finds harder to unlearn than random ones, and do methods do worse on them.

Every seed divides the bundled Fashion-MNIST images anew into training and test images, gives a few training images
another label (images that a network must learn by heart, as the rare images of a large set), trains a network on them,
searches a forget set, and judges unlearning methods on it, on random sets and on sets of simple selectors. On digits,
which are easy, the same sets are judged by exact retraining alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import ModelError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.data.references import load_images
from snellen.data.worlds.planting.label_noise import RandomLabelNoise
from snellen.methods.forgetting.fine_tuning import FineTuning, SparseFineTuning
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetter, Forgetting, TunedForgetter, fit_network
from snellen.methods.forgetting.judging import ForgettingCase, Judgement, random_rows
from snellen.methods.forgetting.last_layers import CatastrophicLastLayers, ExactLastLayers
from snellen.methods.forgetting.random_labels import RandomLabels
from snellen.methods.forgetting.retraining import Retraining
from snellen.methods.forgetting.scrub import Scrub
from snellen.metrics.unlearning import set_overlap
from snellen.reproduction.sample import Figure
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.reproduction.worst_case_forget_set.full import full
from snellen.systems.worst_case_forget_set.baselines import trivial_sets
from snellen.systems.worst_case_forget_set.search import ForgetSearch, losses_of, search_forget_set
from snellen.training.acceleration import seeded
from snellen.training.evaluation import accuracy

#: The approximate methods of the paper's tables that are built here; boundary unlearning is not.
METHODS: Mapping[str, TunedForgetter] = {
    "ft": FineTuning(batch_size=64),
    "ft_l1": SparseFineTuning(batch_size=64),
    "rl": RandomLabels(batch_size=64),
    "scrub": Scrub(batch_size=64),
    "eu_1": ExactLastLayers(batch_size=64),
    "cf_1": CatastrophicLastLayers(batch_size=64),
}


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        train: training images.
        test: test images.
        epochs: of the training and of every retraining.
        tuned: passes of the approximate methods.
        search: numbers of the search.
        random_sets: random forget sets: on the first, rates are chosen, so that it is in no figure; the last is a
            control; figures of ``random`` are means over the others.
        rates: learning rates that are tried on the first random set.
        noise: share of the training images with another label.
        data: images by reference, divided anew by each seed.
    """

    train: int
    test: int
    epochs: int
    tuned: int
    search: ForgetSearch
    random_sets: int
    rates: tuple[float, ...]
    noise: float = 0.05
    data: str = "bundled:fashion-mnist"


SMALL = Size(
    train=1400, test=600, epochs=40, tuned=10, search=ForgetSearch(batch_size=128), random_sets=5,
    rates=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
)  # fmt: skip
SMOKE = Size(
    train=60, test=40, epochs=2, tuned=1, search=ForgetSearch(upper_steps=1, epochs=1), random_sets=3, rates=(1e-2,)
)


def on_digits(size: Size) -> Size:
    """The same on digits of 8 pixels, as they are labelled; 1,797 are there."""
    return replace(size, data="known:digits", noise=0.0, test=min(size.test, 390))


def worst_case_forget_set(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 24.

    Returns:
        For each of the sets ``worst``, ``easiest``, ``lowest``, ``moderate`` and ``random`` (mean over random sets on
        which nothing was chosen): ``SET.exact_NAME``, figures of retraining without it (``ua``, ``mia``, ``ra``,
        ``ta``, ``loss`` of the forget images); for each method ``SET.METHOD_gap`` on ``worst``, ``random`` and
        ``held_out``, one more random set; ``SET.gap``, their mean; None where a method diverged; ``fit``, the accuracy
        of the network on its training images; what the search moved, and overlaps. ``digits.…``: of exact retraining
        on digits.
    """
    if scale == "full":
        return full(seed, progress)
    size = SMOKE if scale == "smoke" else SMALL
    digits = Experiment(on_digits(size), seed, progress)
    found = Experiment(size, seed, progress).figures()
    return found | {f"digits.{name}": value for name, value in digits.exact_figures()[0].items()}


worst_case_forget_set.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with 60 training images and one or two passes of everything",),
    "small": (
        "1,400 bundled images of Fashion-MNIST, 5 % of them with another label, for CIFAR-10",
        "a network of five layers with BatchNorm for ResNet-18, 40 passes of Adam for 182 of SGD",
        "1,400 digits of scikit-learn beside them, for exact retraining alone",
        "140 images of a forget set for 4,500; boundary unlearning, class-wise and prompt-wise sets are left out",
    ),
    "full": ("the paper's numbers, with a classifier and images by reference",),
}


class Experiment:
    """One seed, which decides images, labels, networks and sets."""

    def __init__(self, size: Size, seed: int, progress: Progress) -> None:
        self.size, self.rng, self.progress = size, Randomness(seed).child("worst-case forget set"), progress
        self.exact = Retraining.model_validate(
            {
                "plan": {
                    "epochs": size.epochs, "batch_size": 64, "optimizer": "adamw", "learning_rate": 3e-3,
                    "weight_decay": 1e-4,
                }
            }
        )  # fmt: skip
        self.case = self.trained()
        self.network = self.case.network()
        self.count = size.train // 10

    def trained(self) -> ForgettingCase:
        """Images with some wrong labels, and a network that was trained on them."""
        images = load_images(self.size.data)
        order = torch.randperm(len(images), generator=self.rng.generator("division")).numpy()
        train = as_unsplit(images.select(order[: self.size.train]))
        test = as_unsplit(images.select(order[self.size.train : self.size.train + self.size.test]))
        if self.size.noise:
            train = RandomLabelNoise(rate=self.size.noise).plant(train, rng=self.rng)
        names = images.class_names or ()
        with seeded(self.rng.generator("initial weights").initial_seed(), torch.device("cpu")):
            untrained = Classifier(narrow_network(10), class_names=names, name="narrow")
        case = ForgettingCase.of(untrained, train, test)
        network = fit_network(
            case.network(), case.store, self.exact.plan, Forgetting(self.rng.child("original")), recipe={}
        )
        classifier = Classifier(network.network.eval(), class_names=names, name="narrow")
        return ForgettingCase.of(classifier, train, test)

    def exact_figures(self) -> tuple[dict[str, Figure], dict[str, torch.Tensor], dict[str, tuple[Judgement, float]]]:
        """Figures of exact retraining, the rows of every set, and what was judged of them."""
        found: dict[str, Figure] = {"fit": accuracy(self.network.eval(), self.case.store)["accuracy"]}
        sets = self.sets(found)
        exact = {name: self.forgotten(self.exact, rows, "exact") for name, rows in sets.items()}
        _, *randoms, _ = [name for name in sets if name.startswith("random")]
        for name, (judgement, loss) in exact.items():
            if not name.startswith("random"):
                found |= {f"{name}.exact_{key}": value for key, value in _four(judgement, loss).items()}
        means = [_four(*exact[name]) for name in randoms]
        found |= {f"random.exact_{key}": float(np.mean([one[key] for one in means])) for key in means[0]}
        return found, sets, exact

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        found, sets, exact = self.exact_figures()
        tuning, *randoms, held_out = [name for name in sets if name.startswith("random")]
        compared = {"worst": ["worst"], "random": randoms, "held_out": [held_out]}
        gaps: dict[str, list[float | None]] = {name: [] for name in compared}
        for name, method in METHODS.items():
            tuned = self.tuned(name, method, sets[tuning], exact[tuning][0])
            found[f"{name}.rate"] = tuned.learning_rate
            for one, names in compared.items():
                gap = mean_of([self.gap(tuned, sets[each], exact[each][0], name) for each in names])
                found[f"{one}.{name}_gap"] = gap
                gaps[one].append(gap)
        return found | {f"{name}.gap": mean_of(each) for name, each in gaps.items()}

    def sets(self, found: dict[str, Figure]) -> dict[str, torch.Tensor]:
        """Rows of every forget set; overlaps are added to the figures."""
        searches = {
            "worst": self.size.search,
            "easiest": self.size.search.model_copy(update={"reverse": True}),
        }
        made: dict[str, torch.Tensor] = {}
        for name, search in searches.items():
            selection = search_forget_set(
                self.network, self.case.store, self.count, search=search, rng=self.rng.child("search"),
                progress=self.progress,
            )  # fmt: skip
            found[f"{name}.moved"] = selection.moved
            made[name] = torch.from_numpy(selection.rows)
        trivial = trivial_sets(self.network, self.case.store, self.count)
        made |= {"lowest": torch.from_numpy(trivial["lowest loss"])}
        made |= {"moderate": torch.from_numpy(trivial["moderate coreset"])}
        found["worst.overlap_with_lowest"] = set_overlap(made["worst"].tolist(), made["lowest"].tolist())
        for number in range(self.size.random_sets):
            made[f"random {number}"] = random_rows(self.count, len(self.case.store), self.rng.child("set", number))
        return made

    def forgotten(self, method: Forgetter, rows: torch.Tensor, stream: str) -> tuple[Judgement, float]:
        """Figures of a network that forgot, and its mean loss on the forget images."""
        split = ForgetSplit(self.case.store, rows)
        made = method.forget(self.network, split, rng=self.rng.child(stream))
        return self.case.judge(made, split), float(losses_of(made, split.forgotten).mean())

    def tuned(self, name: str, method: TunedForgetter, rows: torch.Tensor, exact: Judgement) -> TunedForgetter:
        """The method at the rate with the smallest gap on the first random set."""
        tried = [
            method.model_copy(update={"learning_rate": rate, "epochs": self.size.tuned}) for rate in self.size.rates
        ]
        gaps = [self.gap(one, rows, exact, name) for one in tried]
        return tried[int(np.argmin([float("inf") if gap is None else gap for gap in gaps]))]

    def gap(self, method: Forgetter, rows: torch.Tensor, exact: Judgement, name: str) -> float | None:
        """Mean gap to retraining; None where the method diverges."""
        try:
            return self.forgotten(method, rows, name)[0].gap(exact)
        except ModelError:
            return None


def mean_of(gaps: Sequence[float | None]) -> float | None:
    """Mean of gaps; None where one of them is missing, or all are.

    >>> mean_of([0.5, 0.25]), mean_of([0.5, None])
    (0.375, None)
    """
    known = [gap for gap in gaps if gap is not None]
    return float(np.mean(known)) if known and len(known) == len(gaps) else None


def _four(judgement: Judgement, loss: float) -> dict[str, float]:
    shares = judgement.shares()
    names = {"unlearning": "ua", "membership": "mia", "remaining": "ra", "test": "ta"}
    return {short: shares[name] for name, short in names.items()} | {"loss": loss}


def as_unsplit(images: ImageSet) -> ImageSet:
    """Images without the split that they were published in: which are trained on is decided here."""
    held = [name for name in ("split",) if name in images.table.column_names]
    return replace(images, table=images.table.drop_columns(held), split=None)
