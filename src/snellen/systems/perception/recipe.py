"""A perceptual autoencoder before a classifier: training and test images are iterated until they settle, then learnt.

Kupeev and Nitzany, "Semiotics Networks Representing Perceptual Inference" (CONN), arXiv 2310.05212: an autoencoder is
overfitted on few training images, so that these become attractors; every image, of training and of test, goes through
the perceptual layer; an ordinary classifier learns and decides about what is seen, and no gradient leaves it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.artifact import Artifact, rounded
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.systems.perception.attractors import found_again, reconstruction_errors, spectral_radius
from snellen.systems.perception.autoencoder import Kind, PerceptualAutoencoder, build
from snellen.systems.perception.layer import PerceptualLayer, perceive
from snellen.systems.perception.perceptualized import architecture, as_shown, observed
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, Examples, ImageStore
from snellen.training.fitting.frame import FittedMethod, Fitting, laid_over
from snellen.training.fitting.groundwork import Groundwork, lay_groundwork
from snellen.training.fitting.recipe import Course, lacking_architecture
from snellen.training.loop import Trained, train
from snellen.training.plan import TrainingPlan

#: Of the paper's autoencoder: days for the convolutions of 256 channels.
PAPER_PLAN = TrainingPlan(
    epochs=100_000, batch_size=4, learning_rate=1e-5, weight_decay=0.0, schedule="constant", seed=3
)

#: Whole batches at a high learning rate that falls: minutes, to a lower error.
AUTOENCODER_PLAN = TrainingPlan(epochs=4000, batch_size=512, learning_rate=1e-3, weight_decay=0.0)

#: Of the paper's classifier.
CLASSIFIER_PLAN = TrainingPlan(epochs=200, batch_size=4, learning_rate=1e-3, weight_decay=0.0, schedule="constant")

#: Share of the first stage's epochs that the second one takes, and images whose Jacobian is measured.
_SECOND_STAGE, _LOOKED_AT = 0.1, 3


class NotOverfittedWarning(UserWarning):
    """The autoencoder does not reproduce its training images, so that they attract nothing."""


class PerceptualAutoencoderRecipe(FittedMethod):
    """Train an autoencoder that remembers the images, and a classifier of what it sees.

    ``copies=1`` and ``strength=0`` make the vanilla layer, which the paper finds to hurt. The artifact's card says how
    well training images are remembered, how many attract what is near them, and the largest eigenvalue at a few.

    >>> PerceptualAutoencoderRecipe(copies=64, steps=12).layer(7).copies
    64
    """

    name: ClassVar[str] = "perceptual_autoencoder"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    autoencoder: Kind = Field(
        "convolution", description="convolution as published; perceptron trains in a minute on a processor"
    )
    width: int = Field(256, ge=1, description="channels, or units, of every layer of the autoencoder")
    channels: Literal[1, 3] = Field(
        1, description="1: it sees the mean of the colour channels; 3: colours, which a perceptron after it does not"
    )
    copies: int = Field(1000, ge=1, description="copies of an image that are looked at (J)")
    steps: int = Field(30, ge=1, description="times that an image is seen (K)")
    strength: float = Field(1.0, ge=0, le=1, description="of the first step's augmentation (alpha); 0: none")
    decay: float = Field(2.6, ge=1, description="by which the strength falls with every step (beta)")
    architecture: str = Field("perceptron", description="of the classifier: perceptron, fashion_cnn or timm:NAME")
    side: int = Field(28, ge=8, description="height and width of the images, pixels")
    largest_error: float = Field(
        1.0, gt=0, description="mean Euclidean distance of training images from what is seen of them; above, a warning"
    )
    tolerance: float = Field(
        1.0, gt=0, description="Euclidean distance within which an image counts as found again from itself under noise"
    )
    autoencoder_plan: Annotated[TrainingPlan, laid_over(AUTOENCODER_PLAN)] = Field(
        AUTOENCODER_PLAN,
        description="numbers of the autoencoder's training; a tenth as many epochs follow and are chosen among",
    )
    plan: Annotated[TrainingPlan, laid_over(CLASSIFIER_PLAN)] = Field(
        CLASSIFIER_PLAN, description="numbers of the classifier's training"
    )

    def layer(self, seed: int) -> PerceptualLayer:
        """The perceptual layer, whose draws follow from a seed."""
        return PerceptualLayer(self.copies, self.steps, self.strength, self.decay, seed)

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: an architecture that does not exist."""
        return lacking_architecture(self.architecture, images) or super().missing(classifier, images)

    @property
    def starts_from(self) -> str:
        """An autoencoder of other images does not remember these."""
        return "an autoencoder that remembers the images it is given"

    def fitted(self, fitting: Fitting) -> Artifact:
        """Train both on a few images of each class; "val" chooses the classifier's epoch.

        Checkpoints of the autoencoder lie beside the classifier's.

        Raises:
            InputError: a class without images, or images without one label each.
        """
        rng, progress = fitting.rng, fitting.progress
        ground = lay_groundwork(fitting, architecture=self.architecture, side=self.side, plan=self.plan)
        _check_classes(ground)
        layer = self.layer(rng.generator("perception").initial_seed() % 2**31)
        remembered = self._seen_by(ground.examples)
        autoencoder = fit_autoencoder(
            self.network(rng),
            remembered,
            plan=self.autoencoder_plan,
            rng=rng,
            checkpoint=fitting.checkpoint,
            progress=progress,
        )
        figures = memory_figures(autoencoder, remembered.images, steps=self.steps, tolerance=self.tolerance, rng=rng)
        if not figures["reconstruction_error"] <= self.largest_error:
            warnings.warn(
                f"what is seen of training images is {figures['reconstruction_error']:.3g} away from them on average "
                f"(Euclidean), and {self.largest_error:g} was asked for: they are hardly remembered; train longer "
                f"(autoencoder_plan.epochs), at another learning_rate, or wider",
                NotOverfittedWarning,
                stacklevel=3,
            )

        def finish(trained: Trained) -> tuple[dict[str, Tensor], dict[str, Any]]:
            weights = {f"autoencoder.{name}": tensor for name, tensor in autoencoder.state_dict().items()}
            return weights | {f"classifier.{name}": tensor for name, tensor in trained.weights.items()}, {}

        whole = replace(
            ground,
            architecture=architecture(self._autoencoder_record(), layer, ground.architecture),
            examples=self._perceived(autoencoder, ground.examples, layer, progress),
            val=None if ground.val is None else self._perceived(autoencoder, ground.val, layer, progress),
        )
        course = Course(whole, {**self.record(), "memory": rounded(figures)}, finish=finish)
        return course.run("perceptual-autoencoder")

    def network(self, rng: Randomness) -> PerceptualAutoencoder:
        """The autoencoder with initial weights that follow from ``rng``."""
        with seeded(rng.generator("initial autoencoder").initial_seed(), torch.device("cpu")):
            return build(**self._autoencoder_record())

    def _autoencoder_record(self) -> dict[str, Any]:
        return {"kind": self.autoencoder, "width": self.width, "side": self.side, "channels": self.channels}

    def _seen_by(self, examples: ImageStore) -> ImageStore:
        """Training images as the autoencoder is shown them."""
        return replace(examples, images=observed(to_unit(examples.images), self.channels))

    def _perceived(
        self,
        autoencoder: PerceptualAutoencoder,
        examples: ImageStore,
        layer: PerceptualLayer,
        progress: Progress | None,
    ) -> ImageStore:
        """The same examples, each as it is seen."""
        return perceived(autoencoder, self._seen_by(examples), layer, progress)


def perceived(
    autoencoder: PerceptualAutoencoder, examples: ImageStore, layer: PerceptualLayer, progress: Progress | None = None
) -> ImageStore:
    """Examples whose images (n, c, s, s) were replaced by what is seen of them, (n, 3, s, s).

    Raises:
        InputError: an image ran away: what is seen of it is not made of finite numbers.
    """
    task = f"look at {'val' if examples.split == 'val' else 'training'} images"
    if progress is not None:
        progress.begin(task, len(examples))
    seen = []
    with torch.no_grad():
        for images in examples.images.split(8):
            seen.append(as_shown(perceive(autoencoder, images, layer)))
            if progress is not None:
                progress.advance(task, len(images))
    if progress is not None:
        progress.finish(task)
    shown = torch.cat(seen)
    lost = (~shown.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
    if lost:
        raise InputError(
            f"{len(lost)} of {len(shown)} images run away when they are seen again and again (first: "
            f"{examples.ids[lost[0]]}); train the autoencoder longer, or take fewer steps"
        )
    return replace(examples, images=shown)


def fit_autoencoder(
    network: PerceptualAutoencoder,
    remembered: ImageStore,
    *,
    plan: TrainingPlan,
    rng: Randomness,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> PerceptualAutoencoder:
    """Overfit an autoencoder to images (n, c, s, s): a long stage, then a tenth of it whose best epoch is kept.

    What is minimised is the mean of ‖x − PR(x)‖, not squared. The best epoch is that of the lowest error on the
    training images themselves: they are to be remembered.
    """
    second = plan.model_copy(
        update={
            "epochs": max(round(plan.epochs * _SECOND_STAGE), 1),
            "learning_rate": plan.learning_rate * (1.0 if plan.schedule == "constant" else _SECOND_STAGE),
            "select": "reconstruction",
            "select_highest": False,
        }
    )
    for number, stage in enumerate((plan, second)):
        trained: Trained = train(
            network,
            remembered,
            plan=stage.model_copy(update={"seed": rng.generator(f"autoencoder {number}").initial_seed() % 2**31}),
            objective=reconstruction,
            val=remembered if number else None,
            evaluate=_error,
            checkpoint=None if checkpoint is None else checkpoint.with_stem(f"{checkpoint.stem}-autoencoder{number}"),
            recipe={"stage": number},
            progress=progress,
        )
        network.load_state_dict(dict(trained.weights))
    return network.eval().requires_grad_(False)


def reconstruction(model: nn.Module, batch: Batch) -> Tensor:
    """‖x − PR(x)‖ of each image, not squared."""
    return (batch.images - model(batch.images)).flatten(1).norm(dim=1)


def _error(model: nn.Module, examples: Examples) -> Mapping[str, float]:
    images, _ = examples.read(torch.arange(len(examples.ids)))
    return {"reconstruction": float(reconstruction_errors(model, images).mean())}


def memory_figures(
    autoencoder: PerceptualAutoencoder, images: Tensor, *, steps: int, tolerance: float, rng: Randomness
) -> dict[str, float]:
    """How well images (n, c, s, s) are remembered.

    Returns:
        ``reconstruction_error``, the mean of ‖x − PR(x)‖; ``attractors``, the share of images that are found again from
        themselves under noise; ``spectral_radius``, the largest of a few images, below 1 where they attract.
    """
    again = found_again(autoencoder, images, steps=steps, tolerance=tolerance, rng=rng.bind(len(images)))
    return {
        "reconstruction_error": float(reconstruction_errors(autoencoder, images).mean()),
        "attractors": float(again.double().mean()),
        "spectral_radius": max(spectral_radius(autoencoder, image) for image in images[:_LOOKED_AT]),
    }


def _check_classes(ground: Groundwork) -> None:
    counts = torch.bincount(ground.examples.targets, minlength=len(ground.class_names))
    empty = [name for name, count in zip(ground.class_names, counts.tolist(), strict=True) if not count]
    if empty:
        raise InputError(f"no image to remember of {', '.join(repr(name) for name in empty)}; every class needs some")
