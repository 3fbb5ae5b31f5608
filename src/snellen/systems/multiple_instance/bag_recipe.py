"""The frame of recipes that learn from labels of bags: images become vectors once, and a head on them is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.artifact import Artifact, Card, rounded
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet, Split
from snellen.core.method import Need
from snellen.models.encoders.feature_store import frozen_features
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.head_on_encoder import Standardise, architecture, build_head, encoder_at
from snellen.systems.multiple_instance.bag_instances import BagInstances
from snellen.training.acceleration import check_one_process, seeded
from snellen.training.fitting.frame import FittedMethod, Fitting


@dataclass(frozen=True, eq=False)
class BagGround:
    """What a training on bags starts from.

    Args:
        class_names: of the negative and the positive class.
        encoder: made the vectors.
        instances: standardised vectors of the train split.
        val: of the validation split, by the figures of the train split; None where there is none.
        standardise: those figures, as the head will hold them.
        fitting: the call of ``fit``.
    """

    class_names: tuple[str, ...]
    encoder: FrozenEncoder
    instances: BagInstances
    val: BagInstances | None
    standardise: Standardise
    fitting: Fitting

    @property
    def rejected(self) -> int:
        """Images that cannot be used."""
        return len(self.instances.rejected) + (len(self.val.rejected) if self.val is not None else 0)


class BagRecipe(FittedMethod):
    """Encoder and head; subclasses say how the head is trained.

    Labels of images are never read, only those of bags (columns ``bag_id`` and ``bag_label``). The first class is
    negative, the second positive. Images of a split named val choose the epoch, by their bags.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"bags"})

    encoder: str = Field(
        "bundled:efficientnet-lite0",
        description="reference of the encoder that makes vectors of images and is not trained; best one of the same "
        "kind of images, such as hf:FOLDER of a pathology model",
    )
    encoder_layer: str | None = Field(
        None, description="layer of a classifier whose output is taken, instead of what its last layer takes"
    )
    encoder_side: int | None = Field(
        None, ge=8, description="height and width at which the encoder sees images, pixels; by default its own"
    )
    width: int = Field(512, ge=1, description="of the hidden layer behind the vectors")
    keep: Path | None = Field(None, description="folder in which vectors are kept for further runs")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no bags, or not two classes."""
        if images is not None and len(images.class_names or ()) != 2:
            return f"needs two classes, negative and positive, and {images.name} has {len(images.class_names or ())}"
        return super().missing(classifier, images)

    @property
    def starts_from(self) -> str:
        """The encoder."""
        return f"an encoder ({self.encoder})"

    def lay_ground(self, fitting: Fitting) -> BagGround:
        """Check the bags, and encode every image once.

        Raises:
            InputError: bags without labels, of one class, or without a usable image; several processes.
        """
        check_one_process(f"training on bags ({self.name})")
        images = fitting.data.unlabelled()
        encoder = encoder_at(self.encoder, layer=self.encoder_layer, side=self.encoder_side)
        parted = "val" in images.column("split")

        def encoded(split: Split, shown: ImageSet) -> BagInstances:
            folder = self.keep and self.keep / split
            return BagInstances.of(shown, frozen_features(shown, encoder, folder=folder, progress=fitting.progress))

        instances = encoded("train", images.of_split("train") if parted else images)
        val = encoded("val", images.of_split("val")) if parted else None
        standardise = Standardise(encoder.dim)
        standardise.fit(instances.inputs)
        assert images.class_names is not None
        return BagGround(
            class_names=images.class_names,
            encoder=encoder,
            instances=instances.standardised(standardise.mean, standardise.deviation),
            val=val and val.standardised(standardise.mean, standardise.deviation),
            standardise=standardise,
            fitting=fitting,
        )

    def initial_head(self, ground: BagGround, name: str, **arguments: object) -> nn.Module:
        """A head whose weights follow from the seed alone; it takes vectors that are standardised already."""
        with seeded(ground.fitting.rng.generator("initial weights").initial_seed(), torch.device("cpu")):
            return build_head(name, ground.encoder.dim, self.width, **arguments)

    def artifact(
        self,
        ground: BagGround,
        head: nn.Module,
        *,
        of_head: Mapping[str, Any],
        history: tuple[Mapping[str, float], ...],
        best_epoch: int,
        bag_decision: Mapping[str, Any],
    ) -> Artifact:
        """The trained head with its card, for raw vectors of the encoder.

        Args:
            ground: what the training started from.
            head: trained.
            of_head: its name and further arguments, as ``head`` and so on.
            history: one row for each epoch.
            best_epoch: the chosen one.
            bag_decision: pooling and threshold; empty where a bag is decided in another way.
        """
        tensors: dict[str, Tensor] = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
        tensors |= {f"head.standardise.{name}": tensor for name, tensor in ground.standardise.state_dict().items()}
        best = next(row for row in history if row["epoch"] == best_epoch)
        # Where vectors are kept does not matter to what is trained.
        recipe = {**self.record(), "keep": None, "rejected": ground.rejected, "best_epoch": best_epoch}
        card = Card(
            name=self.name.replace("_", "-"),
            kind="classifier",
            architecture=architecture(
                ground.encoder, layer=self.encoder_layer, side=self.encoder_side, width=self.width, **of_head
            ),
            class_names=ground.class_names,
            preparation=ground.encoder.preparation.model_dump(mode="json"),
            normalization=ground.encoder.normalization._asdict(),
            metrics=rounded({name: value for name, value in best.items() if name.startswith("val.")}),
            history=tuple(rounded(row) for row in history),
            bag_decision=dict(bag_decision),
            lineage=ground.fitting.lineage(recipe, ground.instances.fingerprint()),
        )
        return Artifact(tensors, card)


def part_of(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
