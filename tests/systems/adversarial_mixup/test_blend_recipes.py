"""Recipes that train on learnt blends: an ordinary classifier comes out, the teacher's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import build
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.methods.recipes.saliency_mix import SaliencyMix
from snellen.models.classifiers.fashion_cnn import FashionCNN
from snellen.models.classifiers.references import load_classifier
from snellen.systems.adversarial_mixup.adversarial_mixing import HEADS, MixSettings, four_heads, mixing_objective
from snellen.systems.adversarial_mixup.automix import AutoMix
from snellen.systems.adversarial_mixup.blend_recipe import BlendRecipe, deployed, mixing_module
from snellen.systems.adversarial_mixup.method import AdversarialMixup
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.optimizers import build_optimizer
from snellen.training.plan import TrainingPlan

SIDE = 16
PLAN = TrainingPlan(epochs=6, batch_size=16, learning_rate=3e-3, schedule="constant", drop_last=True)


def stripes(count: int = 64, seed: int = 0) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 60, (count, SIDE, SIDE, 3))
    labels = np.arange(count) % 2
    dark = 120 * (np.arange(SIDE) // 2 % 2)
    pixels += np.where(labels[:, None, None] == 0, dark[:, None], dark[None, :])[..., None]
    return load_arrays(pixels.astype(np.uint8), labels, class_names=["lying", "upright"], name="stripes")


def recipe(name: str, **changes: object) -> BlendRecipe:
    made = build("recipes", {"method": name, "architecture": "fashion_cnn", "side": SIDE, "plan": PLAN, **changes})
    assert isinstance(made, BlendRecipe)
    return made


@pytest.mark.covers("31.10")
@pytest.mark.parametrize(
    ("name", "changes"),
    [("adversarial_mixup", {}), ("adversarial_mixup", {"parts": 2, "cosine_sign": "intent"}), ("automix", {})],
    ids=["three parts", "two parts", "automix"],
)
def test_the_result_is_the_teacher_and_needs_no_generator(
    name: str, changes: dict[str, object], tmp_path: Path
) -> None:
    both = join([as_split(stripes(), "train"), as_split(stripes(20, seed=1), "val")])
    made = recipe(name, **changes).fit(both, rng=Randomness(0))
    assert set(made.tensors) == set(FashionCNN(class_count=2).state_dict()), "the architecture's weights alone"
    made.save(tmp_path / "made")
    classifier = load_classifier(f"artifact:{tmp_path / 'made'}")
    val = stripes(20, seed=1)
    batch = torch.stack([classifier.prepare(example.image) for example in val])
    right = float((classifier.predict(classifier(batch)).numpy() == val.labels).mean())
    assert right == pytest.approx(made.card.metrics["val.accuracy"])
    assert right > 0.9
    last = made.card.history[-1]
    assert {f"val.accuracy.{head}" for head in (*HEADS, "ensemble")} <= set(last)
    best = max(made.card.history, key=lambda row: row["val.accuracy"])
    assert best["val.accuracy"] == best["val.accuracy.teacher_plain"] == right
    assert made.card.lineage.recipe["skipped_generator_losses"] == 0
    assert made.card.name == name.replace("_", "-")


def module_and_store(plan: TrainingPlan = PLAN, **settings: object):
    images = stripes()
    pixels = torch.stack([torch.from_numpy(np.array(images.read(row))) for row in range(len(images))])
    store = ImageStore.of_tensors(pixels.permute(0, 3, 1, 2), torch.from_numpy(images.labels))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FashionCNN(widths=(8, 16, 24), class_count=2)
    made = mixing_module(
        network,
        store,
        class_count=2,
        settings=AdversarialMixup(parts=2, momentum=0.9, **settings).mixing(),  # type: ignore[arg-type]
        plan=plan,
        feature_layer=None,
        rng=Randomness(0),
    )
    return made, store


class StoppedError(Exception):
    pass


class StopAfter:
    """Kills a training after a number of steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def begin(self, task: str, total: float) -> None:
        pass

    def advance(self, task: str, amount: float, note: str = "") -> None:
        self.left -= task == "train" and amount > 0
        if self.left <= 0:
            raise StoppedError

    def finish(self, task: str) -> None:
        pass


@pytest.mark.covers("31.4")
@pytest.mark.parametrize("with_val", [False, True])
def test_a_stopped_training_alternates_and_follows_as_if_nothing_had_happened(tmp_path: Path, with_val: bool) -> None:
    plan = PLAN.model_copy(update={"epochs": 2, "checkpoint_every": 1})
    made, store = module_and_store(plan)
    options = {"plan": plan, "objective": mixing_objective, "evaluate": four_heads}
    val = store if with_val else None
    whole = train(made, store, val=val, **options)
    assert whole.steps == made.total_steps == 8
    path = tmp_path / "training.safetensors"
    for stop in (3, 3):
        with pytest.raises(StoppedError):
            train(made, store, val=val, checkpoint=path, progress=StopAfter(stop), **options)
    resumed = train(made, store, val=val, checkpoint=path, **options)
    assert int(resumed.weights["iterations"]) in (4, 8), "the best epoch's"
    assert resumed.history == whole.history
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


def test_the_last_step_reaches_the_teacher_with_and_without_a_val_split() -> None:
    plan = PLAN.model_copy(update={"epochs": 1})
    found = []
    for judged in (False, True):
        made, store = module_and_store(plan)
        val = store if judged else None
        trained = train(made, store, plan=plan, objective=mixing_objective, val=val, evaluate=four_heads)
        assert bool(trained.weights["behind"]) != judged
        weights, skipped = deployed(made, trained)
        found.append({name: value.clone() for name, value in weights.items()})
        assert skipped == 0
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_settings_reach_the_method() -> None:
    published = AdversarialMixup(parity=True).mixing()
    assert (published.parts, published.beta, published.cosine_sign, published.parity) == (3, 0.3, "official", True)
    assert AdversarialMixup(cosine_sign="intent", beta=0.1).mixing().cosine_sign == "intent"
    assert not AutoMix().mixing().adversarial
    assert AutoMix().mixing().beta == 0
    assert SaliencyMix().transform(3) is not None


@pytest.mark.parametrize(
    ("changes", "count", "message"),
    [
        ({"plan": PLAN.model_copy(update={"batch_size": 2})}, 64, "a blend takes 3 images, .* leave a batch of 2"),
        ({"plan": PLAN.model_copy(update={"drop_last": False})}, 34, "leave a batch of 2; .* plan.drop_last"),
        ({"plan": PLAN.model_copy(update={"batch_size": 99})}, 64, "leave a batch of 0"),
        ({"plan": PLAN.model_copy(update={"accumulate": 2})}, 64, "leave plan.accumulate at 1"),
        ({"plan": PLAN.model_copy(update={"ema_decay": 0.9})}, 64, "plan.ema_decay out"),
        ({"feature_layer": "head"}, 64, "masks are made of feature maps"),
        ({"architecture": "timm:resnet10t", "side": 16}, 64, "at least 2 cells a side"),
    ],
    ids=["small batch", "small last batch", "no batch", "accumulated", "averaged", "no maps", "tiny maps"],
)
def test_refusals(changes: dict[str, object], count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe("adversarial_mixup", **changes).fit(stripes(count), rng=Randomness(0))


def test_one_class_is_refused() -> None:
    alone = stripes().select(np.arange(0, 64, 2))
    with pytest.raises(InputError, match="all training images are of one class"):
        recipe("automix").fit(alone, rng=Randomness(0))


def test_a_base_is_gone_on_from(tmp_path: Path) -> None:
    first = recipe("automix", plan=PLAN.model_copy(update={"epochs": 1})).fit(stripes(), rng=Randomness(0))
    base = first.save(tmp_path)
    barely = PLAN.model_copy(update={"epochs": 1, "learning_rate": 1e-9})
    again = recipe("adversarial_mixup", plan=barely).fit(stripes(), base=base, rng=Randomness(1))
    assert torch.allclose(again.tensors["head.weight"], first.tensors["head.weight"], atol=1e-5)
    assert again.card.lineage.parent == base.card.sha256


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_the_generator_learns_at_a_rate_of_its_own(rate: float) -> None:
    """One step of sign-like size: AdamW moves every weight by about its rate, so rates can be read from the weights."""
    store = ImageStore.of_images(as_split(stripes(), "train"), Preprocessing(size=(SIDE, SIDE)))
    plan = PLAN.model_copy(update={"epochs": 1, "batch_size": 64, "weight_decay": 0.0})
    moved = {}
    for name, settings in (("same", MixSettings()), ("own", MixSettings(generator_rate=rate))):
        made = mixing_module(
            FashionCNN(class_count=2),
            store,
            class_count=2,
            settings=settings,
            plan=plan,
            feature_layer=None,
            rng=Randomness(0),
        )
        before = {key: value.clone() for key, value in made.generator.state_dict().items()}
        after = train(made, store, plan=plan, objective=mixing_objective).weights
        moved[name] = max(float((after[f"generator.{key}"] - value).abs().max()) for key, value in before.items())
    assert moved["same"] == pytest.approx(plan.learning_rate, rel=0.05)
    assert moved["own"] == pytest.approx(rate * moved["same"], rel=0.05)


def test_every_number_of_the_method_can_be_chosen() -> None:
    given = {
        "parts": 4,
        "clean_share": 0.25,
        "held": 0.3,
        "momentum": 0.9,
        "last_momentum": 0.95,
        "beta": 0.1,
        "generator_rate": 2.0,
        "area_weight": 0.5,
        "area_slack": 0.05,
        "attention_gain": 3.0,
    }
    settings = AdversarialMixup(**given, cosine_sign="intent").mixing()
    assert settings.model_dump().items() >= {**given, "cosine_sign": "intent", "adversarial": True}.items()
    cooperative = MixSettings(clean_share=0.25, adversarial=False, beta=0.0, area_weight=0.1)
    assert AutoMix(clean_share=0.25).mixing() == cooperative, "the area loss as published"


@pytest.mark.parametrize(
    ("plan", "rate"),
    [
        (
            {
                "optimizer": "sgd",
                "learning_rate": 0.1,
                "momentum": 0.9,
                "weight_decay": 1e-4,
                "schedule": "cosine-to-half",
            },
            0.1,
        ),  # CIFAR-100
        ({"optimizer": "sgd", "learning_rate": 0.2, "momentum": 0.9, "weight_decay": 1e-4}, 0.1),  # Tiny-ImageNet
        ({"optimizer": "adamw", "learning_rate": 5e-4, "weight_decay": 0.05, "clip_norm": 10.0}, 1e-3),  # Swin
    ],
)
def test_published_rates_of_classifier_and_generator_reach_the_optimizer(plan: dict[str, object], rate: float) -> None:
    """Each column of the published table: the generator has groups of its own, at its own rate."""
    given = {**plan, "epochs": 1, "batch_size": 64}
    own = rate / float(given["learning_rate"])  # type: ignore[arg-type]
    method = AdversarialMixup(plan=given, generator_rate=own)  # type: ignore[arg-type]
    store = ImageStore.of_images(as_split(stripes(), "train"), Preprocessing(size=(SIDE, SIDE)))
    made = mixing_module(
        FashionCNN(class_count=2),
        store,
        class_count=2,
        settings=method.mixing(),
        plan=method.plan,
        feature_layer=None,
        rng=Randomness(0),
    )
    of_generator = {id(parameter) for parameter in made.generator.parameters()}
    found: dict[bool, set[float]] = {True: set(), False: set()}
    for group in build_optimizer(made, method.plan).param_groups:
        for parameter in group["params"]:
            found[id(parameter) in of_generator].add(round(method.plan.learning_rate * group["rate_factor"], 12))
    assert found == {True: {rate}, False: {method.plan.learning_rate}}
