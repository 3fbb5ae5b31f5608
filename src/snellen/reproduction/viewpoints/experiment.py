"""System 11: cameras that fool a classifier of natural views, and ways to train on other cameras.

One classifier is trained on natural views of solids. Every way continues from it, for as many epochs, on the same
images and on as many added renderings of the same objects in every batch; what differs is where their cameras stand.
One control shows as many random views as searching renders in all. Each result is attacked anew, on objects that nobody
trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.methods.recipes.supervised import Supervised
from snellen.models.classifiers.artifact_models import build_network
from snellen.reproduction.sample import Figure, mean_of
from snellen.reproduction.viewpoints.full import full
from snellen.reproduction.viewpoints.judging import Held, attack_figures, attacked, clean_figures, held_out
from snellen.reproduction.viewpoints.materials import SIDE, Sizes, renderer_of, views_of
from snellen.reproduction.viewpoints.ways import CONTROLS, WAYS, recipe_of
from snellen.systems.viewpoints.method import ViewpointAttack
from snellen.training.fitting.groundwork import initial_network
from snellen.version import __version__

#: Channels of the network, which sees colours.
WIDTHS = (12, 32, 64)


@dataclass(frozen=True)
class Budget:
    """How much is rendered and trained.

    Args:
        sizes: of the world.
        epochs: of the first classifier.
        further: epochs of every way.
        batch: natural views in a batch.
        added: renderings added to a batch.
        search: numbers of the searches inside the training.
        attack: numbers of the attack that judges.
        ways: which are run.
    """

    sizes: Sizes
    epochs: int
    further: int
    batch: int
    added: int
    search: Mapping[str, Any]
    attack: ViewpointAttack
    ways: tuple[str, ...]

    def common(self, added: int | None = None) -> dict[str, Any]:
        """What all ways share; ``added`` renderings to a batch instead of the budget's."""
        plan = {"epochs": self.further, "batch_size": self.batch, "learning_rate": 1e-3}
        return {"added_views": self.added if added is None else added, "plan": plan}

    def added_for(self, renders: int) -> int:
        """Renderings in each batch that are at least so many over all epochs of a way."""
        images = self.sizes.classes * self.sizes.train * self.sizes.views
        steps = -(-images // self.batch) * self.further
        return -(-renders // steps)


SMALL = Budget(
    sizes=Sizes(classes=10, train=9, test=4, views=12, test_views=20),
    epochs=20,
    further=30,
    batch=100,
    added=25,
    search={"components": 5, "popsize": 31, "iterations": 6, "warm_iterations": 3},
    attack=ViewpointAttack(components=5, popsize=31, iterations=10, samples=30),
    ways=(*WAYS, *CONTROLS),
)
SMOKE = Budget(
    sizes=Sizes(classes=2, train=1, test=1, views=6, test_views=2),
    epochs=1,
    further=2,
    batch=6,
    added=2,
    search={"components": 3, "popsize": 5, "iterations": 1, "warm_iterations": 1},
    attack=ViewpointAttack(components=3, popsize=5, iterations=2, samples=4),
    ways=(*WAYS, *CONTROLS),
)


def viewpoint_training(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 11.

    Returns:
        ``WAY.FIGURE``, for WAY ``standard`` (the classifier of natural views), those of :data:`WAYS`: ``natural`` and
        ``random`` (cameras of added views), ``gaussian`` and ``viat`` (searched, with one component and with five),
        ``unshared`` and ``frozen`` (the same as ``viat`` without sharing inside a class, and with the first mixtures
        kept), and :data:`CONTROLS`: ``equal``, as many random views as ``viat`` renders in all; FIGURE ``natural``,
        ``random`` and those of :func:`attack_figures`.
        ``random.lost`` under attack, of its accuracy on random views. ``renders.added`` and ``renders.searched`` of
        ``viat``, ``renders.equal`` of ``equal``.

    Raises:
        InputError: the scale is full, and something that it needs is not there.
    """
    if scale == "full":
        return full(seed, progress)
    budget, prefix = (SMOKE, "smoke.") if scale == "smoke" else (SMALL, "")
    rng, figures = Randomness(seed), dict[str, Figure]()
    trained_on = renderer_of("train", budget.sizes, seed)
    data = views_of(trained_on, "train", "natural", budget.sizes.views, seed)
    held = held_out(renderer_of("test", budget.sizes, seed), budget.sizes.test_views, seed)
    standard = _standard(data, budget, seed, rng, progress)
    figures |= _judged("standard", _classifier(standard), held, budget, rng, progress)
    renders: dict[str, dict[str, int]] = {}
    for way in budget.ways:
        searching = renders["viat"] if way == "equal" else None
        common = budget.common(None if searching is None else budget.added_for(sum(searching.values())))
        made = recipe_of(way, budget.search, common).fit(
            data, base=standard, rng=rng.child("further"), progress=progress
        )
        figures |= _judged(way, _classifier(made), held, budget, rng, progress)
        recipe = made.card.lineage.recipe
        renders[way] = {name: int(recipe[f"views_{name}"]) for name in ("added", "searched")}
    figures |= {f"renders.{name}": float(value) for name, value in renders["viat"].items()}
    figures["renders.equal"] = float(renders["equal"]["added"])
    whole, kept = (mean_of(figures[f"random.{name}"]) for name in ("random", "attacked"))
    figures["random.lost"] = None if whole is None or kept is None else whole - kept
    return {prefix + name: value for name, value in figures.items()}


viewpoint_training.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("two solids of 32 pixels, networks of one epoch, searches of one step",),
    "small": (
        "10 classes of solids made of a few primitives, of 32 pixels and before white, for the 1,000 objects of IM3D",
        "9 objects of each class trained on and 4 judged, for 9 and 1",
        "a residual CNN of 35 thousand weights for ResNet-50, Inception-v3 and ViT-B/16",
        "5 components and 31 views in a step for 15 and 101; 6 and 3 steps in the training for 50 and 10, 10 in the "
        "attack for 50",
        "25 renderings in a batch of 125 for 16 in 528; 30 epochs of AdamW for 120 of SGD",
    ),
    "full": ("a classifier that begins from random weights, unless a base is given; meshes for NeRFs",),
}


def _standard(data: ImageSet, budget: Budget, seed: int, rng: Randomness, progress: Progress) -> Artifact:
    """The classifier of natural views that every way continues from."""
    assert data.class_names is not None
    record = {"name": "fashion_cnn", "widths": list(WIDTHS), "class_count": len(data.class_names), "colours": True}
    card = Card(
        name="first weights",
        kind="classifier",
        architecture=record,
        class_names=data.class_names,
        preparation=Preprocessing(size=(SIDE, SIDE)).model_dump(mode="json"),
        lineage=Lineage(recipe={}, data="", seed=seed, code_version=__version__),
    )
    first = Artifact(initial_network(record, rng.child("first weights")).state_dict(), card)
    recipe = Supervised(plan={"epochs": budget.epochs, "batch_size": budget.batch})
    return recipe.fit(data, base=first, rng=rng.child("standard"), progress=progress)


def _classifier(artifact: Artifact) -> Classifier:
    network = build_network(artifact.card.architecture, "the experiment")
    network.load_state_dict(dict(artifact.tensors))
    return Classifier(network, class_names=artifact.card.class_names, preparation=Preprocessing(size=(SIDE, SIDE)))


def _judged(
    way: str, classifier: Classifier, held: Held, budget: Budget, rng: Randomness, progress: Progress
) -> dict[str, Figure]:
    """Clean and attacked figures of one classifier."""
    found = attacked(classifier, held, budget.attack, rng.child("attack"), progress)
    figures = clean_figures(classifier, held) | attack_figures(found)
    return {f"{way}.{name}": value for name, value in figures.items()}
