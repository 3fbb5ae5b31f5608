"""System 11: cameras that fool a classifier of natural views, and five ways to train on other cameras.

One classifier is trained on natural views of solids. Every way continues from it, for as many epochs, on the same
images and on as many added renderings of the same objects in every batch; what differs is where their cameras stand.
Each result is attacked anew, on objects that nobody trained on.
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
from snellen.reproduction.sample import Figure
from snellen.reproduction.viewpoints.full import full
from snellen.reproduction.viewpoints.judging import Held, attack_figures, attacked, clean_figures, held_out
from snellen.reproduction.viewpoints.materials import SIDE, Sizes, renderer_of, views_of
from snellen.reproduction.viewpoints.ways import WAYS, recipe_of
from snellen.systems.viewpoints.method import ViewpointAttack
from snellen.training.fitting.groundwork import initial_network
from snellen.version import __version__

#: Channels of the network.
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

    @property
    def common(self) -> dict[str, Any]:
        """What all ways share."""
        plan = {"epochs": self.further, "batch_size": self.batch, "learning_rate": 1e-3}
        return {"added_views": self.added, "plan": plan}


SMALL = Budget(
    sizes=Sizes(classes=10, train=4, test=2, views=30, test_views=20),
    epochs=20,
    further=8,
    batch=100,
    added=25,
    search={"components": 5, "popsize": 31, "iterations": 8, "warm_iterations": 3},
    attack=ViewpointAttack(components=5, popsize=31, iterations=12, samples=40),
    ways=WAYS,
)
SMOKE = Budget(
    sizes=Sizes(classes=2, train=1, test=1, views=6, test_views=2),
    epochs=1,
    further=2,
    batch=6,
    added=2,
    search={"components": 3, "popsize": 5, "iterations": 1, "warm_iterations": 1},
    attack=ViewpointAttack(components=3, popsize=5, iterations=2, samples=4),
    ways=WAYS,
)


def viewpoint_training(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 11.

    Returns:
        ``WAY.FIGURE``, for WAY ``standard`` (the classifier of natural views) and those of :data:`WAYS`: ``natural``
        and ``random`` (cameras of added views), ``gaussian`` and ``viat`` (searched, with one component and with five),
        ``unshared`` and ``frozen`` (the same as ``viat`` without sharing inside a class, and with the first mixtures
        kept); FIGURE ``natural``, ``random`` and those of :func:`attack_figures`. Of the standard classifier also
        ``single.FIGURE``, attacked with one Gaussian at as many renderings, and ``narrow.FIGURE``, without entropy.
        ``renders.added`` and ``renders.searched`` of ``viat``.

    Raises:
        InputError: the scale is full, and something that it needs is not there.
    """
    if scale == "full":
        return full(seed, progress)
    budget, prefix = (SMOKE, "smoke.") if scale == "smoke" else (SMALL, "")
    rng, figures = Randomness(seed), dict[str, float]()
    trained_on = renderer_of("train", budget.sizes, seed)
    data = views_of(trained_on, "train", "natural", budget.sizes.views, seed)
    held = held_out(renderer_of("test", budget.sizes, seed), budget.sizes.test_views, seed)
    standard = _standard(data, budget, seed, rng, progress)
    figures |= _judged("standard", _classifier(standard), held, budget, rng, progress)
    figures |= _controls(_classifier(standard), held, budget, rng, progress)
    for way in budget.ways:
        made = recipe_of(way, budget.search, budget.common).fit(
            data, base=standard, rng=rng.child("further"), progress=progress
        )
        figures |= _judged(way, _classifier(made), held, budget, rng, progress)
        if way == "viat":
            told = made.card.lineage.recipe
            figures |= {"renders.added": told["views_added"], "renders.searched": told["views_searched"]}
    return {prefix + name: float(value) for name, value in figures.items()}


viewpoint_training.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("two solids of 32 pixels, networks of one epoch, searches of one step",),
    "small": (
        "10 classes of solids made of a few primitives, of 32 pixels and before white, for the 1,000 objects of IM3D",
        "4 objects of each class trained on and 2 judged, for 9 and 1",
        "a residual CNN of 60 thousand weights, which sees grey, for ResNet-50, Inception-v3 and ViT-B/16",
        "5 components and 31 views in a step for 15 and 101; 8 and 3 steps in the training for 50 and 10, 12 in the "
        "attack for 50",
        "25 renderings in a batch of 125 for 16 in 528; 8 epochs of AdamW for 120 of SGD",
    ),
    "full": ("a classifier that begins from random weights, unless a base is given; meshes for NeRFs",),
}


def _standard(data: ImageSet, budget: Budget, seed: int, rng: Randomness, progress: Progress) -> Artifact:
    """The classifier of natural views that every way continues from."""
    assert data.class_names is not None
    record = {"name": "fashion_cnn", "widths": list(WIDTHS), "class_count": len(data.class_names)}
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
) -> dict[str, float]:
    """Clean and attacked figures of one classifier."""
    found = attacked(classifier, held, budget.attack, rng.child("attack"), progress)
    figures = clean_figures(classifier, held) | attack_figures(found)
    return {f"{way}.{name}": value for name, value in figures.items()}


def _controls(
    classifier: Classifier, held: Held, budget: Budget, rng: Randomness, progress: Progress
) -> dict[str, float]:
    """One Gaussian at as many renderings, and a mixture without entropy."""
    attack = budget.attack
    many = attack.popsize + attack.components - 1
    controls = {
        "single": replace_fields(attack, components=1, popsize=many),
        "narrow": replace_fields(attack, entropy_weight=0.0),
    }
    return {
        f"standard.{control}.{name}": value
        for control, method in controls.items()
        for name, value in attack_figures(attacked(classifier, held, method, rng.child("attack"), progress)).items()
    }


def replace_fields(attack: ViewpointAttack, **fields: object) -> ViewpointAttack:
    """The same attack with other numbers."""
    return ViewpointAttack(**{**attack.model_dump(), **fields})
