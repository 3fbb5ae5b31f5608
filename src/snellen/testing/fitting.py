"""What every recipe promises, as a plain function that raises ``AssertionError``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Method, Recipe
from snellen.core.randomness import Randomness
from snellen.data.files.splits import as_split
from snellen.models.classifiers.references import load_classifier

#: Images that a trained classifier must be able to score.
_SCORED = 3


def check_recipe(recipe: Recipe, data: ImageSet, *, base: Artifact | None = None) -> None:
    """What every recipe promises.

    Finite tensors and a card that names the recipe, its parameters and the seed; images and base stay as they are; the
    same weights again, under any global random state, and with a checkpoint; the artifact survives being saved, and a
    classifier scores the images that it was trained on; test images are refused.

    >>> from snellen.recipes import Supervised
    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(torch.zeros(4, 28, 28, dtype=torch.uint8).numpy(), [0, 1, 0, 1], class_names=["a", "b"])
    >>> plan = {"epochs": 1, "batch_size": 2}
    >>> check_recipe(Supervised(architecture="fashion_cnn", side=28, plan=plan), images)

    Args:
        recipe: with parameters under which it takes a moment: it is fitted twice.
        data: a few images that it can be fitted to, none of them of the split ``test``.
        base: artifact to start from, for a recipe that needs one.
    """
    before = data.fingerprint()
    weights = None if base is None else {name: tensor.clone() for name, tensor in base.tensors.items()}
    torch.manual_seed(1)
    made = recipe.fit(data, base=base, rng=Randomness(0))
    assert data.fingerprint() == before, "the recipe changed its data"
    if base is not None and weights is not None:
        same = all(torch.equal(tensor, base.tensors[name]) for name, tensor in weights.items())
        assert same, "the recipe changed its base in place"
    _check_card(recipe, made)
    torch.manual_seed(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        again = recipe.fit(data, base=base, rng=Randomness(0), checkpoint=folder / "training.safetensors")
        _check_same(made, again, "the same seed gives other weights")
        assert again.card.history == made.card.history, "the same seed gives another history"
        made.save(folder / "made")
        _check_same(made, Artifact.load(folder / "made"), "the artifact is another one after it was saved")
        if made.card.kind == "classifier":
            _check_classifier(folder / "made", data)
    try:
        recipe.fit(as_split(data, "test"), base=base, rng=Randomness(0))
    except InputError:
        return
    raise AssertionError("the recipe learns from test images")


def _check_card(recipe: Recipe, made: Artifact) -> None:
    """What was made, how, and from what."""
    assert made.tensors, "an artifact without tensors"
    for name, tensor in made.tensors.items():
        assert bool(tensor.isfinite().all()), f"tensor {name!r} is not finite"
    card = made.card
    assert card.name.strip(), "the card has no name"
    assert card.lineage.seed == 0, "the lineage holds another seed"
    assert card.lineage.data, "the lineage does not name the data"
    assert isinstance(recipe, Method)
    recorded = card.lineage.recipe
    for name, value in recipe.record().items():
        assert name in recorded, f"the lineage does not hold the parameter {name!r}"
        # None stands for what the data decide, or for a place on disk, which does not matter to what was learnt.
        assert value is None or recorded[name] in (value, None), f"the lineage holds another {name!r}"
    assert all(value == value for value in card.metrics.values()), "a metric that is unknown is left out"


def _check_same(one: Artifact, other: Artifact, message: str) -> None:
    assert one.tensors.keys() == other.tensors.keys(), message
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items()), message


def _check_classifier(folder: Path, data: ImageSet) -> None:
    """The saved classifier scores images of the training set."""
    classifier = load_classifier(f"artifact:{folder}")
    shown = [classifier.prepare(data.read(row)) for row in range(min(_SCORED, len(data)))]
    with torch.no_grad():
        scores = classifier(torch.stack(shown))
    assert scores.shape == (len(shown), len(classifier.class_names)), "scores are not (images, classes)"
    assert bool(scores.isfinite().all()), "scores of training images are not finite"
