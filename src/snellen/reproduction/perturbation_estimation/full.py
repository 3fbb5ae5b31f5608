"""The paper's experiment on a GPU: pairs of five published classifiers of ImageNet, and denoisers of 17 layers.

Everything comes by reference, from environment variables, and nothing is downloaded. Pairs lie on the disk as bytes and
are read as they are needed, so that memory does not grow with them. Strengths of the attacks and the number of images
are not in the paper's sources; they are chosen here (:data:`FULL`). Estimated from numbers of calls and not
measured: 2,000 images give some 20,000 pairs (7 GB of the disk), a denoiser of 300 epochs takes two days and 10 GB of
an H100, five of them ten days; a stopped run resumes with the pairs and epochs that are there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Attack
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.data.references import load_images
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.perturbation_estimation.arms import measured
from snellen.reproduction.perturbation_estimation.setting import Setting, Sizes
from snellen.reproduction.sample import Figure
from snellen.systems.perturbation_estimation.pair_files import PairFiles, StoredPairs, labelled_batches, write_pairs
from snellen.systems.perturbation_estimation.recipe import PLAN

TRAIN, TEST, VICTIMS, UNATTACKED, FOLDER = (
    f"SNELLEN_PERTURBATION_{name}" for name in ("TRAIN", "TEST", "VICTIMS", "UNATTACKED", "FOLDER")
)

#: Optional: where it runs.
DEVICE = "SNELLEN_PERTURBATION_DEVICE"

#: Largest change of a value by the attacks that are learnt from.
EPSILON = 8 / 255


@dataclass(frozen=True)
class FullSize:
    """How much is attacked, and what the denoisers are.

    Args:
        side: of all images, pixels; a victim of another size sees them at this one.
        attacked: training images, drawn by the seed.
        tested: test images.
        sizes: of the denoisers.
        seen: attacks that denoisers learn from.
        unseen: attacks that they do not.
        ensemble: one more of these, on few images.
    """

    side: int
    attacked: int
    tested: int
    sizes: Sizes
    seen: Mapping[str, Attack]
    unseen: Mapping[str, Attack]
    ensemble: Attack


#: Depth, width and numbers of the training as published, but that the last epoch is taken. The three kinds of attack
#: are as published; AutoAttack is the paper's unseen one.
FULL = FullSize(
    side=224,
    attacked=2_000,
    tested=500,
    sizes=Sizes(
        depth=17,
        width=64,
        plan=PLAN.model_copy(update={"channels_last": True}),
        epsilon=EPSILON,
        steps=20,
        hard=100,
    ),
    seen={
        "fgsm": FGSM(epsilon=EPSILON),
        "pgd": PGD(epsilon=EPSILON, steps=20),
        "cw": CarliniWagnerL2(steps=200, searches=5),
    },
    unseen={"weaker": PGD(epsilon=EPSILON / 2, steps=20), "stronger": PGD(epsilon=1.5 * EPSILON, steps=20)},
    ensemble=StandardEnsemble(epsilon=EPSILON),
)


def full(seed: int, progress: Progress, *, size: FullSize = FULL) -> Mapping[str, Figure]:
    """Figures of every arm; see :func:`~snellen.reproduction.perturbation_estimation.arms.measured`.

    Args:
        seed: of images, weights, order and views.
        progress: callback that receives progress updates.
        size: how much is attacked, and what the denoisers are.

    Raises:
        InputError: a variable is not set; fewer than two victims; classifiers of different classes; too few test
            images.
    """
    absent = [name for name in (TRAIN, TEST, VICTIMS, UNATTACKED, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}. {TRAIN} and {TEST} are labelled images of ImageNet by "
            f"reference. {VICTIMS} are the classifiers that are attacked, with commas between them, the surrogate "
            f"first (torchvision:vgg19@FILE,torchvision:resnet50@FILE, …). {UNATTACKED} is one that nobody attacks, "
            f"such as a robust ResNet-50, {FOLDER} a folder for pairs and trainings"
        )
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    named = [one.strip() for one in os.environ[VICTIMS].split(",") if one.strip()]
    loaded = [load_classifier(one, size=size.side, device=device) for one in (*named, os.environ[UNATTACKED])]
    victims, unattacked = {one.name: one for one in loaded[:-1]}, loaded[-1]
    if len(named) < 2 or len(victims) < len(named):
        raise InputError(f"{VICTIMS} names two classifiers or more, each once; got {', '.join(named)}")
    surrogate = loaded[0]
    for other in loaded[1:]:
        if other.class_names != surrogate.class_names:
            raise InputError(f"{other.name} and {surrogate.name} have different classes, or not in one order")
    rng, folder = Randomness(seed), Path(os.environ[FOLDER]) / f"seed-{seed}"
    train, test = (align_labels(load_images(os.environ[name]), surrogate.class_names) for name in (TRAIN, TEST))
    train, test = train.limit(size.attacked, seed), test.limit(size.tested, seed)
    images, labels, ids = _in_memory(test, surrogate)

    def cells(part: str, chosen: ImageSet, attacks: Mapping[str, Attack]) -> list[PairFiles]:
        plan = {
            "images": chosen.fingerprint(),
            "preparation": surrogate.preparation.model_dump(mode="json"),
            "victims": {name: victim.fingerprint() for name, victim in victims.items()},
            "attacks": {name: repr(attack) for name, attack in attacks.items()},
            "seed": seed,
        }
        batches = labelled_batches(chosen, surrogate.preparation, set())
        return write_pairs(folder / part, victims, attacks, batches, rng=rng.child(part), plan=plan, progress=progress)

    return measured(
        Setting(
            victims=victims,
            unattacked=unattacked,
            training=StoredPairs.of(cells("train", train, size.seen)),
            seen=cells("seen", test, size.seen),
            unseen=[
                *cells("unseen", test, size.unseen),
                *cells("hard", test.limit(size.sizes.hard, seed), {"ensemble": size.ensemble}),
            ],
            images=images,
            labels=labels,
            ids=ids,
            where=torch.device(device),
        ),
        size.sizes,
        rng,
        progress,
        folder,
    )


def _in_memory(images: ImageSet, classifier: Classifier) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """Test images, whose number is fixed: (n, 3, h, w) in [0, 1], labels and ids."""
    batches = list(labelled_batches(images, classifier.preparation, set()))
    if not batches:
        raise InputError(f"{images.name} holds no image with a label of {classifier.name}")
    ids = tuple(one for _, _, names in batches for one in names)
    return to_unit(torch.cat([pixels for pixels, _, _ in batches])), torch.cat([known for _, known, _ in batches]), ids
