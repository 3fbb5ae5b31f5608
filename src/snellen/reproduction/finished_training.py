"""Trainings that an earlier run finished: taken as they are if they are what would be fitted now, else refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.training.batches import ImageStore
from snellen.training.fitting.frame import Fitting
from snellen.training.fitting.recipe import ClassifierRecipe


@dataclass(frozen=True, eq=False)
class FinishedTrainings:
    """Checks of finished folders against what would be fitted to the same images.

    Args:
        train: images, prepared and hashed once, when the first finished folder is met.
    """

    train: ImageSet
    _prints: dict[str, str] = field(default_factory=dict)

    def check(self, folder: Path, recipe: ClassifierRecipe, *, base: Artifact | None, rng: Randomness) -> None:
        """Refuse a folder that another call of ``fit`` made.

        Compared are the recipe, the images as they were prepared, the base, the seed and the version of Snellen. Facts
        that a training adds to its recipe are not.

        Args:
            folder: of an artifact.
            recipe: that would be fitted.
            base: that it would start from.
            rng: of the fitting.

        Raises:
            InputError: another training made it, or the folder is no artifact.
        """
        card = Artifact.load(folder).card
        found = card.lineage
        wanted = Fitting(self.train, rng, base).lineage(recipe.recipe(), self._print(card.preparation))
        differs = [
            f"{name} {found.recipe.get(name)!r}, not {value!r}"
            for name, value in wanted.recipe.items()
            if found.recipe.get(name) != value
        ]
        differs += [
            f"{words} {getattr(found, name)!r}, not {getattr(wanted, name)!r}"
            for name, words in (
                ("data", "images of hash"), ("parent", "a base of hash"), ("seed", "the seed"),
                ("code_version", "version"),
            )
            if getattr(found, name) != getattr(wanted, name)
        ]  # fmt: skip
        if base is not None and _network(card.architecture) != _network(base.card.architecture):
            differs.append(f"the network {_network(card.architecture)}, not {_network(base.card.architecture)}")
        if differs:
            raise InputError(f"{folder} holds a training with {'; '.join(differs)}: name a new folder for this one")

    def _print(self, preparation: Mapping[str, Any]) -> str:
        """Hash of the train split, prepared: as a card holds it."""
        how = Preprocessing.model_validate(preparation)
        key = how.model_dump_json()
        if key not in self._prints:
            has_val = "val" in self.train.column("split")
            images = self.train.of_split("train") if has_val else self.train
            self._prints[key] = ImageStore.of_images(images, how).fingerprint()
        return self._prints[key]


def _network(architecture: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of a classifier's network, without the noise that it was trained on."""
    inner: Mapping[str, Any] = architecture["network"] if architecture.get("name") == "smoothed" else architecture
    return inner
