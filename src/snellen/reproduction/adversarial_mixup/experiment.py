"""System 31, Adversarial AutoMixup: what learnt blends are worth beside simple ones, and what they cost.

Ways of training on the same images with the same plan: none, mixup, CutMix, SaliencyMix, blends of a generator that is
always cooperative (AutoMix), and of one that is adversarial on every other step, with the cosine term as the published
code has it, as the paper's purpose requires, and with three images in a blend. Everything that is compared is an
average of weights: the teacher where there is one, and an average with the same warm-up otherwise.

On small networks and few steps the published generator gives masks that are all black or all white. In the small
experiment generators therefore know the shares of the labels, a loss ties the area of a mask to its share, queries and
keys are normalised, and the cosine term has the sign of its purpose. With the published sign the hardest blend is an
even one. Gates say for each set whether masks vary, and whether they follow their shares.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, import_extra
from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.data.files.arrays import load_arrays
from snellen.data.files.catalogue.loading import load_known
from snellen.data.files.labels import numbered_class_names
from snellen.data.files.splits import as_split
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.reproduction.adversarial_mixup.mixing_figures import Examined, MaskWatch, tested, training_accuracy
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.shared.corruption_benchmark import CorruptionErrors
from snellen.reproduction.shared.pooled_figures import pooled
from snellen.reproduction.shared.three_stage_network import FEATURE_LAYER, ThreeStageNetwork
from snellen.systems.adversarial_mixup.adversarial_mixing import HEADS, MixSettings, four_heads, mixing_objective
from snellen.systems.adversarial_mixup.automix import AutoMix
from snellen.systems.adversarial_mixup.blend_recipe import deployed, mixing_module
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.mixing import cutmix, mixup, saliency_mix
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform

SIDE = 32
#: Shapes of middle and large size in all colours, textures, tilts and places.
WORLD = Scenes(size=SIDE, sizes=("medium", "large"), captions=False)
#: Images to train on and to test on, and how many of these are corrupted.
SMALL_SIZES, SMALL_CORRUPTED = (2000, 1000), 200
#: Scenes to train on, and epochs on them: 2,000 leave nothing to win, and masks that hardly vary.
FEW_SCENES, SCENE_EPOCHS = 500, 48
#: Blends whose masks are measured after every epoch.
WATCHED = 24
MOMENTUM = 0.999
SMALL_PLAN = TrainingPlan(
    epochs=24,
    batch_size=50,
    drop_last=True,
    learning_rate=8e-3,
    weight_decay=0.05,
    schedule="one-cycle",
    warmup_steps=160,
    channels_last=True,
    select="epoch",
)
SMOKE_PLAN = SMALL_PLAN.model_copy(
    update={"epochs": 1, "batch_size": 3, "learning_rate": 1e-6, "schedule": "constant", "warmup_steps": 0}
)

#: Published for CIFAR-100 and ResNet-18 at 200 epochs; the rate ends at 0.05, half of the first one.
FULL_PLAN = TrainingPlan(
    epochs=200,
    batch_size=100,
    drop_last=True,
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    schedule="cosine-to-half",
    channels_last=True,
    select="epoch",
)
#: Images of the test that are corrupted at full scale; the whole test is scored, attacked and covered.
FULL_CORRUPTED = 2_000
#: Environment variables with references of images, such as folders of CIFAR-100 with a folder for each class.
TRAIN, TEST = "SNELLEN_MIXUP_TRAIN", "SNELLEN_MIXUP_TEST"

#: Published for CIFAR-100: alpha 1, margin 0.03, beta 0.3, three images in a blend; two as in AutoMix, whose loss ties
#: areas to shares.
_BLENDS = MixSettings(parts=2, beta=0.3, momentum=MOMENTUM)
GENERATORS: Mapping[str, MixSettings] = {
    "automix": _BLENDS.model_copy(
        update={"adversarial": False, "beta": 0.0, "area_weight": AutoMix.model_fields["area_weight"].default}
    ),
    "adversarial": _BLENDS,
    "adversarial_intent": _BLENDS.model_copy(update={"cosine_sign": "intent"}),
    "adversarial_three": _BLENDS.model_copy(update={"parts": 3}),
}

#: What masks need on a small network and few steps so that they vary within an image; every generator has it. Beta and
#: known shares are published for two images (ImageNet), as is the generator's rate (Swin).
_VARYING = _BLENDS.model_copy(
    update={
        "beta": 0.1,
        "cosine_sign": "intent",
        "knows_shares": True,
        "area_weight": 1.0,
        "attention_gain": 3.0,
        "generator_rate": 2.0,
    }
)
SMALL_GENERATORS: Mapping[str, MixSettings] = {
    "automix": _VARYING.model_copy(update={"adversarial": False, "beta": 0.0}),
    "adversarial": _VARYING,
    "adversarial_official": _VARYING.model_copy(update={"cosine_sign": "official"}),
}
#: Generators that are measured on both small sets; the others on Fashion-MNIST alone.
ON_BOTH = ("automix", "adversarial")
SIMPLE = ("mixup", "cutmix", "saliency_mix")


@dataclass(frozen=True, eq=False)
class Setup:
    """One set of images, and what is trained on it.

    Args:
        name: in the names of figures.
        build: an untrained network.
        feature_layer: where masks are made.
        examples: the train split.
        test: the test split.
        plan: of every training.
        simple: ways of mixing without a generator.
        generators: ways with one.
    """

    name: str
    build: Callable[[], nn.Module]
    feature_layer: str
    examples: ImageStore
    test: Examined
    plan: TrainingPlan
    simple: Sequence[str] = SIMPLE
    generators: Mapping[str, MixSettings] = field(default_factory=lambda: GENERATORS)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes, in the order of the scores."""
        assert self.test.images.class_names is not None
        return self.test.images.class_names


def adversarial_mixup(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 31.

    Returns:
        For each way of training, over the images of all sets that have it, and for each set as ``SET.WAY.FIGURE``: the
        figures of
        :func:`snellen.reproduction.adversarial_mixup.mixing_figures.tested`; ``mce``, errors under corruption in units
        of those without mixing; ``step_cost``, processor time of a step in units of one without mixing; and for
        generators the figures
        of :class:`snellen.reproduction.adversarial_mixup.mixing_figures.MaskWatch`, ``accuracy.HEAD`` on the test
        images, ``skipped``. ``none.gap`` is the accuracy on training images less that on test images, without mixing.

    At full scale: ResNet-18 with the stem for 32 pixels on images by reference, such as CIFAR-100. Estimated from the
    numbers of passes and not measured: 3 GB of a GPU for batches of 100, 0.2 GB of memory for 60,000 images, 15 hours
    for a seed with its eight trainings of 200 epochs.

    Raises:
        InputError: the scale is full, and the images are not named.
    """
    per_set: dict[str, tuple[int, dict[str, Figure]]] = {}
    for setup in _setups(scale, seed):
        per_set[setup.name] = len(setup.test.images), _measure(setup, Randomness(seed), progress)
    common = set.intersection(*(set(figures) for _, figures in per_set.values()))
    of_all = pooled([(count, {name: figures[name] for name in sorted(common)}) for count, figures in per_set.values()])
    return of_all | {f"{of}.{name}": value for of, (_, figures) in per_set.items() for name, value in figures.items()}


adversarial_mixup.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("random images; a ResNet-18 for CIFAR-100 with random weights, two optimizer steps",),
    "small": (
        "Fashion-MNIST at 32 pixels, and scenes with one of ten shapes, for CIFAR-100",
        "2,000 garments and 500 scenes to train on, 1,000 of each to test on",
        "a three-stage residual network of 33,018 weights, 24 and 48 epochs of AdamW, for ResNet-18, 200 to 800 epochs "
        "of SGD",
        "generators that know the shares, with normalised queries and keys and a loss on the area of masks",
        "the sign of the cosine term as its purpose requires; the published sign in one way",
        "masks of two images for three; the teacher's momentum is warmed up, and networks without a teacher "
        "are averaged alike",
        "four kinds of corruption of ImageNet-C at five severities on 200 images",
    ),
    "full": ("images and nothing else by reference; SGD with Nesterov's momentum",),
}


def _measure(setup: Setup, rng: Randomness, progress: Progress) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    plain: tuple[float, CorruptionErrors] | None = None
    for way in ("none", *setup.simple, *setup.generators):
        network, seconds, of_training = _trained(setup, way, rng, progress)
        classifier = Classifier(
            network, class_names=setup.class_names, preparation=preparation(setup.examples), name=way
        )
        found, errors = tested(classifier, setup.test, rng.child("test"))
        if plain is None:
            plain = seconds, errors
            right = found["accuracy"]
            assert isinstance(right, Sample)
            found["gap"] = training_accuracy(classifier, setup.examples) - right.mean
        # Without any error of the reference under every kind there is nothing to measure by.
        mean = errors.normalise(plain[1].reference()).mean_corruption_error
        found |= {"mce": mean, "step_cost": seconds / plain[0], **of_training}
        figures |= {f"{way}.{name}": value for name, value in found.items()}
    return figures


def _transforms(class_count: int) -> dict[str, BatchTransform]:
    """Simple mixing, all with λ uniform in [0, 1] as the generators have it."""
    return {
        "mixup": mixup(class_count, 1.0),
        "cutmix": cutmix(class_count, 1.0),
        "saliency_mix": saliency_mix(class_count, 1.0),
    }


def _trained(setup: Setup, way: str, rng: Randomness, progress: Progress) -> tuple[nn.Module, float, dict[str, float]]:
    """A network trained in one way, processor seconds, and figures of the training; all start from the same weights."""
    with seeded(rng.child(setup.name).generator("initial weights").initial_seed(), torch.device("cpu")):
        network = setup.build()
    plan = setup.plan.model_copy(update={"seed": rng.child(setup.name).generator("training").initial_seed() % 2**31})
    if way not in setup.generators:
        averaged = plan.model_copy(update={"ema_decay": MOMENTUM})
        transform = _transforms(len(setup.class_names)).get(way)
        started = time.process_time()
        trained = train(network, setup.examples, plan=averaged, transform=transform, progress=progress)
        seconds = time.process_time() - started
        network.load_state_dict(dict(trained.weights))
        return network, seconds, {}
    settings = setup.generators[way]
    module = mixing_module(
        network,
        setup.examples,
        class_count=len(setup.class_names),
        settings=settings,
        plan=plan,
        feature_layer=setup.feature_layer,
        rng=rng.child(setup.name),
    )
    watch, started = MaskWatch(settings.parts), time.process_time()
    trained = train(
        module,
        setup.examples,
        plan=plan,
        objective=mixing_objective,
        val=_first(setup.examples, WATCHED),
        evaluate=watch,
        progress=progress,
    )
    seconds = time.process_time() - started
    weights, skipped = deployed(module, trained)
    network.load_state_dict(dict(weights))
    heads = four_heads(module.eval(), _as_store(setup))
    return (
        network,
        seconds,
        {
            **watch.figures(),
            **{f"accuracy.{head}": heads[f"accuracy.{head}"] for head in (*HEADS, "ensemble")},
            "skipped": float(skipped),
        },
    )


def preparation(examples: ImageStore) -> Preprocessing:
    """Scale the shorter side and crop to what was trained on."""
    size = (examples.images.shape[2], examples.images.shape[3])
    return Preprocessing(size=size, resize="shorter", resize_to=size)


def _first(examples: ImageStore, count: int) -> ImageStore:
    return ImageStore.of_tensors(
        examples.images[:count], examples.targets[:count], ids=examples.ids[:count], split="train"
    )


def _as_store(setup: Setup) -> ImageStore:
    """The test images, to be scored by all four heads after the training; nothing is chosen on them."""
    how = preparation(setup.examples)
    pixels = torch.stack([how.pixels(setup.test.images.read(row)) for row in range(len(setup.test.images))])
    return ImageStore.of_tensors(pixels, torch.from_numpy(setup.test.images.labels), split="test")


def _setups(scale: Scale, seed: int) -> Iterator[Setup]:
    if scale == "full":
        yield _named_images()
        return
    if scale == "smoke":
        yield _random_images(seed)
        return
    fitted, shown = SMALL_SIZES
    train_images, test_images = (load_known("fashion-mnist", split=split) for split in ("train", "test"))
    yield _small("fashion", train_images.limit(fitted, seed), test_images.limit(shown, seed), SMALL_GENERATORS)
    world = WORLD.model_copy(update={"seed": seed})

    def scenes(split: Split, count: int) -> ImageSet:
        return world.model_copy(update={"count": count}).images(split=split)

    both = {name: settings for name, settings in SMALL_GENERATORS.items() if name in ON_BOTH}
    setup = _small("scenes", scenes("train", FEW_SCENES), scenes("test", shown), both)
    yield replace(setup, plan=setup.plan.model_copy(update={"epochs": SCENE_EPOCHS}))


def _small(name: str, examples: ImageSet, test: ImageSet, generators: Mapping[str, MixSettings]) -> Setup:
    classes = len(test.class_names or ())
    how = Preprocessing(size=(SIDE, SIDE), resize="shorter", resize_to=(SIDE, SIDE))
    return Setup(
        name=name,
        build=lambda: ThreeStageNetwork(classes),
        feature_layer=FEATURE_LAYER,
        examples=ImageStore.of_images(examples, how),
        test=Examined(test, SMALL_CORRUPTED),
        plan=SMALL_PLAN,
        simple=("mixup", "cutmix"),
        generators=generators,
    )


def _named_images() -> Setup:
    absent = [name for name in (TRAIN, TEST) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {' and '.join(absent)}: references of labelled images to train on and to test "
            f"on, such as folders of CIFAR-100"
        )
    examples, test = as_split(load_images(os.environ[TRAIN]), "train"), as_split(load_images(os.environ[TEST]), "test")
    if examples.class_names is None or examples.class_names != test.class_names:
        raise InputError(f"{test.name} has the classes {test.class_names}; expected {examples.class_names}")
    how, classes = Preprocessing(size=(SIDE, SIDE), resize="shorter", resize_to=(SIDE, SIDE)), len(test.class_names)
    return Setup(
        name="named",
        build=lambda: _resnet(classes),
        feature_layer="layer3",
        examples=ImageStore.of_images(examples, how),
        test=Examined(test, FULL_CORRUPTED),
        plan=FULL_PLAN,
    )


def _resnet(classes: int) -> nn.Module:
    """ResNet-18 with the stem for 32 pixels: no stride, no pooling."""
    models = import_extra("torchvision.models", "models", "ResNet-18 in system 31")
    network: nn.Module = models.resnet18(weights=None, num_classes=classes)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return network


def _random_images(seed: int) -> Setup:
    """Six images of random pixels to train on, two to test on: for running every stage, not for any figure."""
    generator, names = np.random.default_rng(seed), numbered_class_names(100)

    def images(split: Split, count: int) -> ImageSet:
        pixels = generator.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
        return as_split(load_arrays(pixels, np.arange(count), class_names=names, name=f"random {split}"), split)

    return Setup(
        name="random",
        build=lambda: _resnet(100),
        feature_layer="layer3",
        examples=ImageStore.of_images(images("train", 6), Preprocessing(size=(SIDE, SIDE))),
        test=Examined(images("test", 2), 1, kinds=("gaussian_noise",), covered=(0.5,)),
        plan=SMOKE_PLAN,
    )
