"""The full size on a GPU: photographs of 128 pixels, a generator of the domain, and further images of eight kinds.

Everything comes by reference, from environment variables, and nothing is downloaded: labelled images to train on and
others to measure on, with a ``group`` column, such as CelebA (research only) with the class "smiling" and the groups of
hair and light. The paper's tables are unknown, so this measures the method anew and reproduces no figure. Estimated
from the numbers of passes and not measured, for 20,000 images: 12 GB of a GPU; 5 hours for a generator of 200,000
images, 100 steps an image of the inversion with four codes 4 hours, each arm of a ResNet-18 half an hour, the hardest
of four 2 hours. Images are held in memory, 49 KB each. A stopped run resumes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.models.classifiers.artifact_models import architecture_of
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.natural_transformations.arms import (
    JITTER,
    Attacked,
    FromCodes,
    mixed,
    noised,
    reconstructed,
    transformed,
    unchanged,
)
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.natural_transformations.autoencoder import Autoencoder, AutoencoderSettings, fit_autoencoder
from snellen.systems.natural_transformations.editing import EditSettings, inverted, prepare_editing
from snellen.systems.natural_transformations.edits import Supply, with_extra
from snellen.systems.natural_transformations.inversion import InversionSettings
from snellen.systems.natural_transformations.method import Judge
from snellen.training.acceleration import start_accelerator
from snellen.training.batches import ImageStore
from snellen.training.fitting.groundwork import initial_network
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

TRAIN, TEST, JUDGE, FOLDER = (f"SNELLEN_NATRA_{name}" for name in ("TRAIN", "TEST", "JUDGE", "FOLDER"))

#: Optional: unlabelled images of the domain, or a generator with its encoder that ``--keep`` wrote.
POOL, GENERATOR = "SNELLEN_NATRA_POOL", "SNELLEN_NATRA_GENERATOR"

#: Corruptions of the test, at severity 3, of noise, blur, light, contrast and compression.
CORRUPTIONS = ("gaussian_noise", "defocus_blur", "brightness", "contrast", "jpeg_compression")


@dataclass(frozen=True)
class FullSize:
    """How much of everything.

    Attributes:
        side: height and width of the images, pixels.
        architecture: of every classifier.
        plan: of every classifier.
        autoencoder: of a generator that is trained here.
        inversion: of the codes.
        edits: directions, filter, search.
    """

    side: int
    architecture: str
    plan: TrainingPlan
    autoencoder: AutoencoderSettings
    inversion: InversionSettings
    edits: EditSettings


FULL = FullSize(
    side=128,
    architecture="timm:resnet18",
    plan=TrainingPlan(
        epochs=20, batch_size=64, learning_rate=1e-3, schedule="one-cycle", warmup_steps=500, drop_last=True
    ),
    autoencoder=AutoencoderSettings(latent=64, widths=(256, 256, 128, 128, 64, 32), adversarial=0.05),
    inversion=InversionSettings(steps=50, expansion_steps=50),
    edits=EditSettings(count=16, together=4),
)


def full(seed: int, progress: Progress, *, size: FullSize = FULL) -> Mapping[str, Figure]:
    """Accuracy of each arm on the test, in its worst group, and on average over corruptions.

    Args:
        seed: of everything random.
        progress: callback that receives progress updates.
        size: how much of everything.

    Raises:
        InputError: a variable is not set, or the images of the test have no groups.
    """
    absent = [name for name in (TRAIN, TEST, JUDGE, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: labelled images to train on and to measure on, the latter "
            f"with a column group, a classifier of the same classes that judges directions, and a folder for codes"
        )
    test = load_images(os.environ[TEST])
    groups = [str(one) for one in test.column("group")]
    if None in test.column("group"):
        raise InputError(f"{test.name} has images without a group; the figures of this experiment are those of groups")
    data, rng = load_images(os.environ[TRAIN]), Randomness(seed)
    classes = data.class_names or ()
    if test.class_names != classes:
        raise InputError(f"{test.name} has the classes {test.class_names}; expected those of {data.name}: {classes}")
    folder = Path(os.environ[FOLDER]) / f"seed-{seed}"
    preparation = Preprocessing(size=(size.side, size.side), resize="shorter", resize_to=(size.side, size.side))
    store = ImageStore.of_images(data, preparation, progress=progress)
    device = start_accelerator(size.plan.mixed_precision).device
    judge = Judge(_scores(os.environ[JUDGE], classes, device))
    made, pool = _generator(folder, store, preparation, size, rng, progress)
    made = made.to(device)
    coded = inverted(made, store, size.inversion, rng=rng, path=folder / "codes.safetensors", progress=progress)
    built = architecture_of(size.architecture, len(classes), size.side)

    def trained(name: str, supply: Supply) -> nn.Module:
        network, plan = initial_network(built, rng), size.plan.model_copy(update={"seed": seed})
        steps = len(store) // plan.batch_size
        objective = with_extra(supply, beta=1.0, epochs=plan.epochs, steps=steps)
        found = train(
            network, store, plan=plan, objective=objective, checkpoint=folder / f"{name}.checkpoint",
            recipe={"arm": name}, progress=progress,
        )  # fmt: skip
        network.load_state_dict(dict(found.weights))
        return network.to(device).eval()

    networks = {"standard": trained("standard", unchanged)}
    editing = prepare_editing(
        *coded, store.targets, judge, size.edits,
        rng=rng.child("directions"), trained=networks["standard"],
        domain=None if pool is None else made.codes(pool.images),
    )  # fmt: skip
    edits = editing.supply("random")
    supplies: dict[str, Supply] = {
        "jitter": transformed(JITTER),
        "pgd": Attacked(len(classes)),
        "reconstructions": FromCodes(edits, reconstructed),
        "noise": FromCodes(edits, noised),
        "mixing": FromCodes(edits, mixed),
        "random": edits,
        "worst": editing.supply("worst_of_q"),
    }
    networks |= {name: trained(name, supply) for name, supply in supplies.items()}
    figures: dict[str, Figure] = {
        "edits.directions": float(len(editing.directions)),
        "edits.epsilon": editing.epsilon,
        "edits.labels_changed": editing.changed,
    }
    for name, network in networks.items():
        right, corrupted = _measured(network, test, preparation, rng, device)
        shares = {one: float(right[[other == one for other in groups]].mean()) for one in sorted(set(groups))}
        figures |= {
            f"{name}.accuracy": Sample.of(right.tolist()),
            f"{name}.worst_group": min(shares.values()),
            f"{name}.corrupted": Sample.of(corrupted.tolist()),
        }
    return figures


def _generator(
    folder: Path, store: ImageStore, preparation: Preprocessing, size: FullSize, rng: Randomness, progress: Progress
) -> tuple[Autoencoder, ImageStore | None]:
    """The named generator, or one of the pool or of the training images; and the pool, where there is one."""
    pool = None
    if reference := os.environ.get(POOL):
        pool = ImageStore.of_images(load_images(reference).unlabelled(), preparation, progress=progress)
    if kept := os.environ.get(GENERATOR):
        return Autoencoder.load(Path(kept)), pool
    made = fit_autoencoder(
        pool or store, size.autoencoder, rng=rng.child("generator"), checkpoint=folder / "generator.checkpoint",
        progress=progress,
    )  # fmt: skip
    return made, pool


def _scores(reference: str, classes: tuple[str, ...], device: torch.device) -> nn.Module:
    """The judge's network.

    Raises:
        InputError: it has other classes, or none that is of torch.
    """
    found = load_classifier(reference, device=str(device))
    if tuple(found.class_names) != classes or found.module is None:
        raise InputError(
            f"the judge {found.name} decides {', '.join(found.class_names[:3])} …; expected a network of torch of the "
            f"classes {', '.join(classes)}, in this order"
        )
    return found.module


@torch.no_grad()
def _measured(
    network: nn.Module, test: ImageSet, preparation: Preprocessing, rng: Randomness, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Whether each decision is right, (n,), and the share of right ones over corruptions, (n,); batch by batch."""
    published, right, corrupted = benchmark("imagenet-c"), list[Tensor](), list[Tensor]()
    for rows in torch.arange(len(test)).split(64):
        own = [int(row) for row in rows]
        images = torch.stack([preparation(test.read(row)) for row in own]).to(device)
        labels = torch.from_numpy(test.labels)[rows].to(device)
        drawn = rng.for_examples([test.ids[row] for row in own])
        right.append((network(images).argmax(1) == labels).float().cpu())
        changed = [corrupt(images.cpu(), published, kind, 3, drawn.child(kind)).to(device) for kind in CORRUPTIONS]
        decided = torch.stack([(network(one).argmax(1) == labels).float() for one in changed])
        corrupted.append(decided.mean(0).cpu())
    return torch.cat(right), torch.cat(corrupted)
