"""LoRA of a text–image model on real and synthetic images: L = λ · CE of the real ones + (1 − λ) · CE of the synthetic.

Step C of DataDream. The mixture is :mod:`snellen.training.real_and_synthetic`, the towers with their adapters are
:mod:`snellen.models.dual_encoders.adapted`. Whether an image is synthetic is a flag of the data, never read off a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.artifact import Artifact, Card, rounded
from snellen.core.errors import InputError
from snellen.core.method import Need
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.class_balance import first_of_each, synthetic
from snellen.data.files.labels import align_labels
from snellen.data.references import load_images
from snellen.models.dual_encoders.adapted import QUERY_AND_VALUE, AdaptedTowers, architecture
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.dual_encoders.zero_shot import fill_templates
from snellen.models.references import load_two_tower
from snellen.training.batches import ImageStore
from snellen.training.fitting.frame import FittedMethod, Fitting, laid_over
from snellen.training.loop import Trained, train
from snellen.training.plan import TrainingPlan
from snellen.training.real_and_synthetic import REAL_SHARE, by_source, mixed_in_parts, pooled
from snellen.training.transforms import (
    BatchTransform,
    colour_jitter,
    gaussian_blur,
    grey,
    in_sequence,
    rand_augment,
    random_flips,
    random_resized_crops,
)

#: The published demo; the README leaves epochs, rate and decay to a search for each data set.
PLAN = TrainingPlan(epochs=10, batch_size=64, learning_rate=1e-4, weight_decay=1e-4, warmup_steps=3)

#: Share of images that are turned grey, blurred, or solarised.
_SELDOM = 0.2


def published_view(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
    """RandAugment, crops of a quarter at least, flips, jitter, and at times grey, blur or solarise; in this order."""
    return in_sequence(
        rand_augment(),
        random_resized_crops(0.25),
        random_flips,
        colour_jitter(0.4, 0.4, 0.2, 0.1, share=0.8),
        _seldom("grey", lambda found: grey(found).expand_as(found)),
        _seldom("blur", lambda found: gaussian_blur(found, torch.full((len(found),), found.shape[-1] / 224.0))),
        _seldom("solarise", lambda found: torch.where(found >= 0.5, 1 - found, found)),
    )(images, targets, rng)


def _seldom(stream: str, change: Any) -> BatchTransform:  # noqa: ANN401 - images → images
    def apply(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        drawn = rng.uniform(stream, (1, 1, 1), like=images) < _SELDOM
        return torch.where(drawn, change(images), images), targets

    return apply


class AdaptedTower(FittedMethod):
    """Adapt both towers of a text–image model to real and synthetic images of the classes (DataDream, step C).

    The images are real ones; ``synthetic`` names generated ones of the same classes. Images of a split "val" choose
    the epoch; test images are refused.

    >>> AdaptedTower().real_share
    0.8
    """

    name: ClassVar[str] = "adapted_tower"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    tower: str = Field("bundled:scene-clip", description="reference of the text–image model; of transformers")
    synthetic: str | None = Field(None, description="generated images of the same classes, as synthesize writes them")
    real: bool = Field(True, description="train on the real images too; else on synthetic ones alone")
    shots: int | None = Field(None, ge=1, description="real images of each class that are used; left out: all")
    shot_seed: int = Field(0, description="of the choice of shots; the one that few-shot was given")
    real_share: float = Field(REAL_SHARE, ge=0, le=1, description="of the real images in the loss (λ)")
    repeat: bool = Field(True, description="repeat real images until there are about as many as synthetic ones")
    templates: tuple[str, ...] = Field(("a photo of a {}",), description="texts of a class; {} stands for its name")
    words: dict[str, str] = Field(default_factory=dict, description="words of classes, by name, as JSON")
    rank: int = Field(16, ge=1, description="of the change of each layer")
    alpha: float = Field(32.0, gt=0, description="a change is multiplied by alpha / rank")
    dropout: float = Field(0.1, ge=0, lt=1, description="of what enters an adapter")
    augment: bool = Field(True, description="the published changes of training images; mirrors them too")
    mixing: float = Field(
        0.0, ge=0, le=1, description="share of the batches that CutMix or mixup mixes; published: 0.2"
    )
    plan: Annotated[TrainingPlan, laid_over(PLAN)] = Field(
        PLAN, description="numbers of the training; those left out are the paper's"
    )

    @property
    def starts_from(self) -> str:
        """The text–image model."""
        return f"the text–image model ({self.tower})"

    def fitted(self, fitting: Fitting) -> Artifact:
        """Adapt to labelled images.

        Raises:
            InputError: synthetic images of other classes, or neither real nor synthetic ones.
            UnsupportedError: towers without query and value layers.
        """
        tower, names = load_two_tower(self.tower), fitting.data.class_names or ()
        texts = {
            name: tuple(one.replace("{}", self.words.get(name, name)) for one in self.templates)
            for name in fill_templates(names, self.templates)
        }
        examples, flags = self._examples(fitting, tower)
        val = None
        if "val" in fitting.data.column("split"):
            val = ImageStore.of_images(fitting.data.of_split("val"), tower.preparation, progress=fitting.progress)
        settings = QUERY_AND_VALUE.model_copy(update={"rank": self.rank, "alpha": self.alpha, "dropout": self.dropout})
        network = AdaptedTowers(tower, texts, settings, fitting.rng.child("adapters"))
        recipe = {**self.record(), "tower_identity": tower.identity(), "synthetic_images": int(flags.sum())}
        with network.acting():
            trained = adapt_towers(
                network, examples, flags, plan=fitting.seeded(self.plan), real_share=self.real_share,
                class_count=len(names), view=published_view if self.augment else None, mixing=self.mixing, val=val,
                checkpoint=fitting.checkpoint, recipe=recipe, progress=fitting.progress,
            )  # fmt: skip
            weights = network.trained()
        best = next(row for row in trained.history if row["epoch"] == trained.best_epoch)
        card = Card(
            name=self.name.replace("_", "-"),
            kind="classifier",
            architecture=architecture(tower, self.tower, len(names), settings),
            description=f"{tower.name} with adapters; needs the weights of {self.tower}",
            class_names=names,
            preparation=tower.preparation.model_dump(mode="json"),
            normalization={"mean": [0.0] * 3, "std": [1.0] * 3},
            metrics=rounded({key: value for key, value in best.items() if key.startswith("val.")}),
            history=tuple(rounded(row) for row in trained.history),
            lineage=fitting.lineage({**recipe, "rejected": len(trained.rejected)}, trained.data),
        )
        return Artifact(weights, card)

    def _examples(self, fitting: Fitting, tower: TwoTower) -> tuple[ImageStore, Tensor]:
        """What is trained on, and which of it is synthetic."""
        data = fitting.data
        images = data.of_split("train") if "val" in data.column("split") else data
        own = synthetic(images)
        if own.any():
            raise InputError(
                f"{int(own.sum())} images of {data.name} were generated: name them by --synthetic, and real ones here"
            )
        if self.synthetic is None and not self.real:
            raise InputError("there is nothing to train on: name synthetic images (--synthetic), or use the real ones")
        if self.shots is not None:
            images = first_of_each(images, self.shots, seed=self.shot_seed, allow_fewer=True)
        stores = []
        if self.real:
            stores.append(ImageStore.of_images(images, tower.preparation, progress=fitting.progress))
        if self.synthetic is not None:
            made = align_labels(load_images(self.synthetic), data.class_names or ())
            stores.append(ImageStore.of_images(made, tower.preparation, progress=fitting.progress))
        if len(stores) == 2:
            return pooled(*stores, repeat=self.repeat)
        return stores[0], torch.full((len(stores[0]),), not self.real)


def adapt_towers(
    network: AdaptedTowers,
    examples: ImageStore,
    synthetic: Tensor,
    *,
    plan: TrainingPlan,
    class_count: int,
    real_share: float = REAL_SHARE,
    view: BatchTransform | None = None,
    mixing: float = 0.0,
    val: ImageStore | None = None,
    checkpoint: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train the adapters of both towers, in place; call it while they act.

    Where all images are of one kind, every one counts the same: λ weighs two kinds against each other.
    """
    losses = mixed_in_parts(synthetic, class_count, mixing)
    both = bool(synthetic.any()) and not bool(synthetic.all())
    steps = -(-len(examples) // plan.batch_size) * plan.epochs
    trained = train(
        network,
        examples,
        plan=plan.model_copy(update={"warmup_steps": min(plan.warmup_steps, steps // 2)}),
        objective=by_source(synthetic, real_share, losses) if both else losses,
        transform=view,
        val=val,
        checkpoint=checkpoint,
        recipe=recipe,
        progress=progress,
    )
    network.load_state_dict(dict(trained.weights))
    network.eval()
    return trained
