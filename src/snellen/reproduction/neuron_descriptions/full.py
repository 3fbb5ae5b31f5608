"""The paper's experiment on a GPU: MILANNOTATIONS from base networks to a held-out one, and the edit of a ResNet-18.

Everything comes by reference, from environment variables, and nothing is downloaded. Annotated units and photographs
are read one after the other: memory holds one vector for each region, and 500 test images three times (0.9 GB).
Estimated from numbers of passes and not measured: 2 hours to encode 20,000 units of 15 regions, 3 hours for both
models of the describer, 4 hours for the edited network and 1 hour for 1,024 units zeroed alone; 8 GB of a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, import_extra
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.metrics.caption_measures import bleu, rouge_l
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.neuron_descriptions.description import WAYS
from snellen.reproduction.neuron_descriptions.editing import Tests, edit_figures
from snellen.reproduction.neuron_descriptions.lettered_photographs import LetteredPhotographs
from snellen.reproduction.sample import Figure
from snellen.systems.neuron_descriptions.ablation import Unit
from snellen.systems.neuron_descriptions.captioned_regions import captioned_units
from snellen.systems.neuron_descriptions.captioner import Regions
from snellen.systems.neuron_descriptions.describer import Describer
from snellen.systems.neuron_descriptions.exemplars import find_exemplars
from snellen.systems.neuron_descriptions.fitting import Sizes, UnitSentences, fit_describer, said_by, split_units
from snellen.systems.neuron_descriptions.region_encoder import RegionEncoder
from snellen.systems.neuron_descriptions.regions_of_units import reader, unit_regions
from snellen.training.acceleration import seeded, start_accelerator
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

BASE, HELD_OUT, ENCODER, TRAIN, TEST = (
    f"SNELLEN_MILAN_{name}" for name in ("BASE", "HELD_OUT", "ENCODER", "TRAIN", "TEST")
)

#: What each variable holds.
WANTED: Mapping[str, str] = {
    BASE: "folders of MILANNOTATIONS to learn from, such as alexnet/imagenet, separated by semicolons",
    HELD_OUT: "the folder of a network that is described, such as dino_vits8/imagenet",
    ENCODER: "a ResNet-101 trained on ImageNet, such as torchvision:resnet101@FILE",
    TRAIN: "a reference of labelled photographs of ten classes of ImageNet, to train the network that is edited",
    TEST: "a reference of others of the same classes",
}


#: Batches and rates as published, whose trainings stop early; here the best epoch is kept.
PLAN = TrainingPlan(epochs=40, batch_size=64, learning_rate=1e-3, schedule="constant")
LANGUAGE_PLAN = TrainingPlan(epochs=40, batch_size=128, learning_rate=1e-3, schedule="constant")
EDITED_PLAN = TrainingPlan(epochs=100, batch_size=128, learning_rate=1e-4, schedule="constant")


@dataclass(frozen=True)
class FullSize:
    """How much of everything; the defaults are published where the paper's code has them.

    Attributes:
        levels: layers of the encoder.
        exemplars: regions of a unit.
        sentences: of a unit.
        held_out: share of the units, or photographs, that choose the epochs.
        sizes: of both models of the describer.
        plan: of the captioner.
        language_plan: of the sentence model.
        beams: sentences that are considered for each unit.
        edited: layers of the network that is edited.
        edited_plan: of its training.
        side: of its images, pixels.
        tests: photographs on which the edit is judged.
        counts: units along its curves.
    """

    levels: tuple[str, ...] = ("conv1", "layer1", "layer2", "layer3", "layer4")
    exemplars: int = 15
    sentences: int = 3
    held_out: float = 0.05
    sizes: Sizes = field(default_factory=Sizes)
    plan: TrainingPlan = PLAN
    language_plan: TrainingPlan = LANGUAGE_PLAN
    beams: int = 50
    edited: tuple[str, ...] = ("conv1", "layer1", "layer2", "layer3", "layer4")
    edited_plan: TrainingPlan = EDITED_PLAN
    side: int = 224
    tests: int = 500
    counts: tuple[int, ...] = (0, 1, 2, 5, 10, 15, 20, 30, 40, 50)


def full(seed: int, progress: Progress, *, size: FullSize | None = None) -> Mapping[str, Figure]:
    """Figures of descriptions of a held-out network, and of the edit.

    Returns:
        ``annotated.WAY.bleu`` and ``rouge_l`` against what people wrote, and ``distinct`` sentences a unit, for each
        way of :data:`~snellen.reproduction.neuron_descriptions.description.WAYS`; the same ``bleu`` and ``rouge_l`` of
        ``constant``, the sentence that is most frequent in training. Of the edit the figures of
        :func:`~snellen.reproduction.neuron_descriptions.editing.edit_figures`, and ``edit.shortcut``, by how much the
        accuracy with the word of the class is above that of the worst group.

    Raises:
        InputError: a variable is not set, or names what cannot be used.
    """
    absent = [f"{name} ({what})" for name, what in WANTED.items() if not os.environ.get(name)]
    if absent:
        raise InputError(f"the full experiment of system 17 needs {'; '.join(absent)}")
    size, rng = size or FullSize(), Randomness(seed)
    device = start_accelerator(size.plan.mixed_precision).device
    encoder = RegionEncoder(load_classifier(os.environ[ENCODER], device=str(device)), size.levels)
    describer, sentences = _learnt(encoder, size, rng.child("describer"), progress)
    held = _annotated(Path(os.environ[HELD_OUT]), encoder, size, progress)
    figures: dict[str, Figure] = dict(annotated_figures(describer, sentences, held, beams=size.beams))
    train_images, test_images = (load_images(os.environ[name]) for name in (TRAIN, TEST))
    if train_images.class_names != test_images.class_names:
        raise InputError(
            f"{test_images.name} has the classes {test_images.class_names}; expected those of {train_images.name}: "
            f"{train_images.class_names}"
        )
    return figures | _edited(describer, train_images, test_images, size, rng.child("edited"), device, progress)


def annotated_figures(
    describer: Describer, sentences: Sequence[Sequence[str]], held: UnitSentences, *, beams: int
) -> dict[str, float]:
    """Agreement with what people wrote, by the way a sentence is chosen, beside the constant sentence."""
    figures = dict[str, float]()
    constant = said_by(sentences)
    for name, (objective, weight) in WAYS.items():
        said = describer.describe(held.regions, objective=objective, weight=weight, width=beams)
        texts = ["" if one is None else one.text for one in said]
        figures |= _agreement(f"annotated.{name}", texts, held)
        figures[f"annotated.{name}.distinct"] = len(set(texts)) / len(texts)
    return figures | _agreement("annotated.constant", [constant] * len(held.sentences), held)


def _agreement(name: str, texts: Sequence[str], held: UnitSentences) -> dict[str, float]:
    return {f"{name}.bleu": bleu(texts, held.sentences), f"{name}.rouge_l": rouge_l(texts, held.sentences)}


def _annotated(folder: Path, encoder: RegionEncoder, size: FullSize, progress: Progress) -> UnitSentences:
    return captioned_units(folder, None, encoder, exemplars=size.exemplars, sentences=size.sentences, progress=progress)


def _learnt(
    encoder: RegionEncoder, size: FullSize, rng: Randomness, progress: Progress
) -> tuple[Describer, tuple[tuple[str, ...], ...]]:
    """A describer of all base networks, and the sentences that it learnt from."""
    folders = [Path(one.strip()) for one in os.environ[BASE].split(";") if one.strip()]
    parts = [_annotated(folder, encoder, size, progress) for folder in folders]
    regions = Regions(
        torch.cat([one.regions.vectors for one in parts]), torch.cat([one.regions.present for one in parts])
    )
    units = UnitSentences(regions, tuple(told for one in parts for told in one.sentences))
    kept, held = split_units(units, size.held_out, rng)
    describer, _, _ = fit_describer(
        kept, held, encoder, sizes=size.sizes, plan=size.plan, language_plan=size.language_plan, rng=rng,
        progress=progress,
    )  # fmt: skip
    return describer, kept.sentences


def _edited(
    describer: Describer,
    photographs: ImageSet,
    tests: ImageSet,
    size: FullSize,
    rng: Randomness,
    device: torch.device,
    progress: Progress,
) -> dict[str, float]:
    """A ResNet-18 from random weights, whose training images have their class in letters every second time."""
    names = tuple(photographs.class_names or ())
    preparation = Preprocessing(size=(size.side, size.side))
    order = torch.randperm(len(photographs), generator=rng.generator("photographs")).tolist()
    held = max(1, round(0.1 * len(order)))
    val, kept = (_half_lettered(photographs, rows, names, preparation) for rows in (order[:held], order[held:]))
    models = import_extra("torchvision.models", "models", "the full experiment of system 17")
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        network: nn.Module = models.resnet18(weights=None, num_classes=len(names))
    plan = size.edited_plan.model_copy(update={"seed": rng.generator("training").initial_seed() % 2**31})
    network.load_state_dict(dict(train(network, kept, plan=plan, val=val, progress=progress).weights))
    classifier = Classifier(network, class_names=names, preparation=preparation, device=device)
    seen = val.as_images()
    found, _ = find_exemplars(classifier, seen, size.edited, count=size.exemplars, progress=progress)
    texts, masses = dict[Unit, str](), dict[Unit, float]()
    for layer, one in found.items():
        regions = unit_regions(one, describer.encoder, reader(seen, preparation))
        for number, said in enumerate(describer.describe(regions, width=size.beams)):
            unit = Unit(layer, number)
            texts[unit], masses[unit] = "" if said is None else said.text, float(one.masses[number])
    everyone = list(range(len(val.rows)))
    validation = to_unit(val.pictures(everyone)), val.targets
    figures = edit_figures(
        classifier, texts, masses, validation, _tests(tests, names, preparation, size, rng), counts=size.counts,
        rng=rng, progress=progress,
    )  # fmt: skip
    return figures | {"edit.shortcut": figures["edit.before.own"] - figures["edit.before.worst"]}


def _half_lettered(
    images: ImageSet, rows: Sequence[int], names: Sequence[str], preparation: Preprocessing
) -> LetteredPhotographs:
    words = tuple(names[int(images.labels[row])] if place % 2 else None for place, row in enumerate(rows))
    return LetteredPhotographs(images, tuple(rows), words, preparation)


def _tests(
    images: ImageSet, names: Sequence[str], preparation: Preprocessing, size: FullSize, rng: Randomness
) -> Tests:
    """The same photographs without letters, with those of the class, and with those of another."""
    rows = torch.randperm(len(images), generator=rng.generator("tests"))[: size.tests].tolist()
    labels = torch.from_numpy(images.labels)[rows]
    shifts = torch.randint(1, len(names), (len(rows),), generator=rng.generator("wrong words"))
    words: dict[str, Tensor | None] = {"none": None, "own": labels, "wrong": (labels + shifts) % len(names)}
    pixels = {}
    for group, told in words.items():
        written = [None] * len(rows) if told is None else [names[number] for number in told.tolist()]
        shown = LetteredPhotographs(images, tuple(rows), tuple(written), preparation, split="test")
        pixels[group] = to_unit(shown.pictures(list(range(len(rows)))))
    return Tests(pixels, labels)
