"""Train a classifier on edits of its training images along natural directions of a generator, after NaTra.

Wang, Lyu, Nepal, Rudolph, Grobler and Moore, "Robust training using natural transformation", arXiv 2105.04070. The text
of the paper was not at hand: the pipeline is that of its abstract, each step is a reconstruction (see the page).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.systems.natural_transformations.autoencoder import Autoencoder, AutoencoderSettings, fit_autoencoder
from snellen.systems.natural_transformations.editing import Editing, EditSettings, inverted, prepare_editing
from snellen.systems.natural_transformations.edits import with_extra
from snellen.systems.natural_transformations.inversion import InversionSettings
from snellen.training.acceleration import start_accelerator
from snellen.training.batches import ImageStore, cut_steps, epoch_order
from snellen.training.fitting.frame import Fitting
from snellen.training.fitting.groundwork import Groundwork, initial_network, lay_groundwork
from snellen.training.fitting.recipe import ClassifierRecipe, Course
from snellen.training.loop import Trained, train
from snellen.training.transforms import colour_jitter

#: Changes of colours under which the default judge learns, so that it decides less by them.
JUDGE_VIEW = colour_jitter(0.5, 0.5, 0.8, 0.5)


class NaturalTransformations(ClassifierRecipe):
    """Train on images and on edits of them that are hard and keep the class: light, colours and more.

    Without a generator, one is trained first: on ``generator_images``, which need no labels, or else on the training
    images. Directions are found in the codes of the same images: what varies together there, they change together.
    Without a judge, a second network of the same architecture is trained under changes of colours, and decides which
    directions keep the class.

    >>> NaturalTransformations().edits.search
    'worst_of_q'
    """

    name: ClassVar[str] = "natural_transformations"
    treats: ClassVar[tuple[str, ...]] = ("group_gap",)

    side: int = Field(32, ge=8, description="height and width of the images, pixels: 8, 16, 32, 64, …")
    generator: Path | None = Field(None, description="folder of a trained generator with its encoder; none: train one")
    generator_images: str | None = Field(
        None,
        description="reference of unlabelled images of the domain: a generator is trained on them where none is given, "
        "and principal directions are found in their codes; none: the training images",
    )
    autoencoder: AutoencoderSettings = Field(AutoencoderSettings(), description="numbers of the generator's training")
    block: int | None = Field(None, ge=1, description="the generator is cut before this block; none: in the middle")
    inversion: InversionSettings = Field(InversionSettings(), description="numbers of the inversion")
    edits: EditSettings = Field(EditSettings(), description="numbers of directions, filter and edits")
    judge: str | None = Field(
        None, description="reference of a classifier of the same classes that judges directions; none: one is trained"
    )
    beta: float = Field(1.0, ge=0, description="weight of edited images beside the others")
    keep: Path | None = Field(
        None, description="folder in which generator, encoder and codes are kept for further runs"
    )

    def course(self, fitting: Fitting) -> Course:
        """The training of the classifier, once generator, codes and directions are there.

        Raises:
            InputError: images that the generator does not make or reconstruct, or directions that all change the class.
        """
        ground = lay_groundwork(fitting, architecture=self.architecture, side=self.side, plan=self.plan)
        steps = cut_steps(
            epoch_order(ground.examples, seed=ground.plan.seed, epoch=1),
            batch_size=ground.plan.batch_size,
            accumulate=ground.plan.accumulate,
            drop_last=ground.plan.drop_last,
        )
        if not steps:
            raise InputError(
                f"{len(ground.examples)} training images fill no batch of {ground.plan.batch_size}: lower "
                f"plan.batch_size"
            )
        editing, data = self.editing(ground)
        objective = with_extra(
            editing.supply(), beta=self.beta, epochs=ground.plan.epochs,
            # the loop numbers the batches of an epoch, and several may make a step
            steps=sum(len(one) for one in steps), transform=self.views(),
        )  # fmt: skip

        def finish(trained: Trained) -> tuple[dict[str, Tensor], dict[str, Any]]:
            network = copy.deepcopy(ground.network)
            network.load_state_dict(dict(trained.weights))
            at_the_end = round(editing.lost(network), 4)
            facts = {**editing.facts(), "labels_changed_at_the_end": at_the_end, "generator_data": data}
            return dict(trained.weights), facts

        return Course(ground, self.recipe(), objective=objective, transform=self.views(), finish=finish)

    def editing(self, ground: Groundwork) -> tuple[Editing, str]:
        """Codes, directions and their filter for the training images, and the fingerprint of the generator's images."""
        fitting, store = ground.fitting, ground.examples
        if self.keep is not None and self.keep.exists() and not self.keep.is_dir():
            raise InputError(f"{self.keep} is a file; name a folder to keep generator, encoder and codes in")
        pool = self._pool(ground)
        device = start_accelerator(ground.plan.mixed_precision).device
        autoencoder = self._autoencoder(ground, pool).to(device)
        generator, codes, psnr = inverted(
            autoencoder,
            store,
            self.inversion,
            rng=fitting.rng,
            block=self.block,
            path=self.keep / "codes.safetensors" if self.keep is not None else _beside(fitting, "codes"),
            progress=fitting.progress,
        )
        editing = prepare_editing(
            generator, codes, psnr, store.targets, self._judge(ground, autoencoder.device), self.edits,
            rng=fitting.rng.child("directions"), trained=ground.network,
            domain=None if self.generator_images is None else autoencoder.codes(pool.images),
        )  # fmt: skip
        return editing, autoencoder.data

    def _pool(self, ground: Groundwork) -> ImageStore:
        """Images that stand for the domain, prepared as the training images are; labels are not read."""
        if self.generator_images is None:
            return ground.examples
        images = load_images(self.generator_images).unlabelled()
        return ImageStore.of_images(images, ground.preparation, progress=ground.fitting.progress)

    def _autoencoder(self, ground: Groundwork, store: ImageStore) -> Autoencoder:
        if self.generator is not None:
            return Autoencoder.load(self.generator)
        fitting, kept = ground.fitting, self.keep
        if kept is not None and (kept / "encoder" / "card.json").is_file():
            found = Autoencoder.load(kept)
            if found.data != store.fingerprint() or found.settings != self.autoencoder:
                raise InputError(
                    f"{kept} keeps a generator of other images or settings: name another folder to keep one in, or use "
                    f"this one as the generator"
                )
            return found
        made = fit_autoencoder(
            store, self.autoencoder, rng=fitting.rng.child("generator"), checkpoint=_beside(fitting, "generator"),
            progress=fitting.progress,
        )  # fmt: skip
        if kept is not None:
            record = {
                "method": self.name,
                "settings": self.autoencoder.model_dump(mode="json"),
                "generator_images": self.generator_images,
            }
            made.save(kept, fitting.lineage(record, made.data, parent=""))
        return made

    def _judge(self, ground: Groundwork, device: torch.device) -> Judge:
        if self.judge is not None:
            return referenced_judge(self.judge, ground, device)
        network = initial_network(ground.architecture, ground.fitting.rng.child("judge"))
        trained = train(
            network,
            ground.examples,
            plan=ground.plan.model_copy(
                update={"seed": Randomness(ground.plan.seed).generator("judge").initial_seed() % 2**31}
            ),
            transform=JUDGE_VIEW,
            val=ground.val,
            checkpoint=_beside(ground.fitting, "judge"),
            recipe={"judge": self.name},
            progress=ground.fitting.progress,
        )
        network.load_state_dict(dict(trained.weights))
        return Judge(network.to(device))


class Judge(nn.Module):
    """A frozen network that judges directions: images in [0, 1] → scores."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Score."""
        scores: Tensor = self.network(images)
        return scores


def referenced_judge(reference: str, ground: Groundwork, device: torch.device | str = "cpu") -> Judge:
    """A classifier by reference that judges directions, on a device.

    Raises:
        InputError: it has other classes, sees images of another size, or is what the training starts from.
    """
    found = load_classifier(reference, device=str(device))
    if found.module is not None and _same(found.module, ground.network):
        raise InputError(
            f"the judge {found.name} has the weights that the training starts from, so that it would call right what "
            f"is learnt; name another judge"
        )
    if tuple(found.class_names) != tuple(ground.class_names):
        raise InputError(
            f"the judge {found.name} decides {len(found.class_names)} classes, {', '.join(found.class_names[:3])} …; "
            f"expected those of the training images in their order: {', '.join(ground.class_names)}"
        )
    size = ground.examples.images.shape[2:]
    if found.preparation.size is not None and tuple(found.preparation.size) != tuple(size):
        raise InputError(
            f"the judge {found.name} sees images of {found.preparation.size}, and edits are {tuple(size)}: train with "
            f"this side, or name another judge"
        )
    return Judge(_Scores(found))


def _same(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks have the same weights, whichever modules they stand in."""
    one, other = ([value.detach().cpu() for value in module.state_dict().values()] for module in (first, second))
    return len(one) == len(other) and all(torch.equal(*pair) for pair in zip(one, other, strict=True))


class _Scores(nn.Module):
    """A classifier as a module."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(images)


def _beside(fitting: Fitting, what: str) -> Path | None:
    """The checkpoint of something that is made before the training, beside the training's own."""
    path = fitting.checkpoint
    return None if path is None else path.with_stem(f"{path.stem}-{what}")
