"""From images and a plan to an artifact that can be loaded: classes, task, splits, seeds, parents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, ModelError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.models.classifiers.artifact_models import untrained
from snellen.models.classifiers.references import load_classifier
from snellen.training.batches import ImageStore
from snellen.training.fitting.groundwork import label_figures, label_table
from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.plan import TrainingPlan

PLAN = TrainingPlan(epochs=2, batch_size=8, learning_rate=3e-3, schedule="constant")
#: Long enough for the averages of BatchNorm.
LONGER = PLAN.model_copy(update={"epochs": 8})


def squares(count: int, *, seed: int = 0, several: bool = False, side: int = 28) -> ImageSet:
    """Noise; class 1 (label "right") is bright on the right half, label "low" on the lower one."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 60, (count, side, side))
    right, low = np.arange(count) % 2, np.arange(count) // 2 % 2
    pixels[:, :, side // 2 :] += 90 * right[:, None, None]
    if several:
        pixels[:, side // 2 :] += 90 * low[:, None, None]
        labels, names = np.stack([right, low], 1), ["right", "low"]
    else:
        labels, names = right, ["left", "right"]
    return load_arrays(pixels.astype(np.uint8), labels, class_names=names, name="squares")


class Squares(ClassifierRecipe):
    """Nothing special."""

    name = "squares"


def fit(data: ImageSet, *, seed: int = 0, base: Artifact | None = None, **changes: object) -> Artifact:
    options: dict[str, object] = {"architecture": "fashion_cnn", "side": 28, "plan": PLAN, **changes}
    return Squares(**options).fit(data, base=base, rng=Randomness(seed))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained() -> Artifact:
    """Trained on 48 images, all of them."""
    return fit(squares(48), plan=LONGER)


def test_one_label_an_image(trained: Artifact, tmp_path: Path) -> None:
    trained.save(tmp_path / "squares")
    classifier = load_classifier(f"artifact:{tmp_path / 'squares'}")
    assert (classifier.task, classifier.class_names, classifier.output) == ("single", ("left", "right"), "logits")
    assert classifier.preparation == Preprocessing(size=(28, 28), resize="shorter", resize_to=(28, 28))
    images = squares(40, seed=1)
    batch = torch.stack([classifier.prepare(example.image) for example in images])
    assert (classifier.predict(classifier(batch)).numpy() == images.labels).mean() > 0.9
    assert torch.equal(classifier.normalise(batch), batch)
    card = trained.card
    assert (card.name, card.kind, card.architecture) == (
        "squares",
        "classifier",
        {"name": "fashion_cnn", "class_count": 2},
    )
    assert card.metrics == {}, "without a validation split nothing is measured"
    recipe = Squares(architecture="fashion_cnn", side=28, plan=LONGER)
    assert card.lineage.recipe == {**recipe.record(), "rejected": 0}
    assert (card.lineage.seed, card.lineage.parent) == (0, None)
    assert card.lineage.environment["torch"] == torch.__version__


def test_several_labels_an_image(tmp_path: Path) -> None:
    both = join([as_split(squares(64, several=True), "train"), as_split(squares(24, seed=1, several=True), "val")])
    artifact = fit(both, plan=LONGER)
    artifact.save(tmp_path / "labels")
    classifier = load_classifier(f"artifact:{tmp_path / 'labels'}")
    assert (classifier.task, classifier.class_names) == ("multilabel", ("right", "low"))
    images = squares(40, seed=2, several=True)
    batch = torch.stack([classifier.prepare(example.image) for example in images])
    right = classifier.predict(classifier(batch)) == label_table(images)
    assert float(right.float().mean()) > 0.9
    assert set(artifact.card.metrics) == {"val.accuracy", "val.auroc", "val.loss"}
    assert artifact.card.metrics["val.accuracy"] > 0.9


def test_seeds(trained: Artifact) -> None:
    again, other = fit(squares(48), plan=LONGER), fit(squares(48), plan=LONGER, seed=1)
    assert same(again, trained)
    assert again.card == trained.card
    assert not same(other, trained)
    assert other.card.lineage.seed == 1
    # Initial weights differ too, not only the order: a step of almost no length shows them.
    still = PLAN.model_copy(update={"epochs": 1, "learning_rate": 1e-12})
    first, second = (fit(squares(48), seed=seed, plan=still) for seed in (0, 1))
    assert not torch.allclose(first.tensors["head.weight"], second.tensors["head.weight"], atol=1e-3)


def test_the_callers_generator_and_network_settings_are_left_alone() -> None:
    state = torch.random.get_rng_state()
    fit(squares(8), plan=PLAN.model_copy(update={"epochs": 1}))
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_transform_is_used() -> None:
    assert not same(fit(squares(16), flips=True), fit(squares(16)))


def same(one: Artifact, other: Artifact) -> bool:
    assert one.tensors.keys() == other.tensors.keys()
    return all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


# -- splits ------------------------------------------------------------------------------------------------------------


def test_test_images_are_refused() -> None:
    for images in (as_split(squares(8), "test"), replace(squares(8), split="test")):
        with pytest.raises(InputError, match="holds test images"):
            fit(images)
        with pytest.raises(InputError, match="holds test images"):
            fit(join([as_split(squares(8), "train"), replace(images, class_names=("left", "right"))]))


def test_the_val_split_chooses_the_epoch_and_is_not_trained_on() -> None:
    train, val = as_split(squares(24), "train"), as_split(squares(16, seed=1), "val")
    # The learning rate is constant, so a shorter training is the beginning of a longer one.
    epochs = [fit(train, plan=PLAN.model_copy(update={"epochs": count})) for count in (1, 2, 3)]
    losses = [val_loss(artifact, val) for artifact in epochs]
    assert len({round(loss, 4) for loss in losses}) == 3
    for highest, chosen in ((False, losses.index(min(losses))), (True, losses.index(max(losses)))):
        plan = PLAN.model_copy(update={"epochs": 3, "select": "loss", "select_highest": highest})
        best = fit(join([train, val]), plan=plan)
        assert same(best, epochs[chosen])
        assert best.card.metrics["val.loss"] == pytest.approx(losses[chosen], abs=1e-5)
        assert set(best.card.metrics) == {"val.accuracy", "val.loss"}
        assert best.card.lineage.data == epochs[0].card.lineage.data, "the training images alone"


def val_loss(artifact: Artifact, images: ImageSet) -> float:
    network = untrained(artifact.card.architecture)
    network.load_state_dict(dict(artifact.tensors))
    pixels = np.stack([np.asarray(example.image) for example in images])
    with torch.no_grad():
        scores = network.eval()(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    return float(torch.nn.functional.cross_entropy(scores, torch.from_numpy(images.labels)))


def test_a_val_split_alone_is_nothing_to_train_on() -> None:
    with pytest.raises(InputError, match="no images of split 'train'"):
        fit(as_split(squares(8), "val"))


# -- labels ------------------------------------------------------------------------------------------------------------


def test_labels_are_needed() -> None:
    pixels = np.zeros((4, 28, 28), dtype=np.uint8)
    for images in (load_arrays(pixels), squares(8).unlabelled(), load_arrays(pixels, [-1] * 4, class_names=["a", "b"])):
        with pytest.raises(InputError, match="squares needs labels, and"):
            fit(images)


def test_images_without_a_label_are_left_out_and_counted() -> None:
    labels = squares(8).labels.copy()
    labels[2] = -1
    pixels = np.stack([np.asarray(example.image) for example in squares(8)])
    images = load_arrays(pixels, labels, class_names=["left", "right"])
    artifact = fit(images, plan=PLAN.model_copy(update={"epochs": 1}))
    assert artifact.card.lineage.recipe["rejected"] == 1


def test_a_table_of_labels() -> None:
    images = squares(4, several=True)
    assert label_table(images).tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert label_table(images).dtype == torch.float32
    rows = pa.array([[0, 0], None, [0, 1], None], pa.list_(pa.int8()))
    table = images.table.set_column(images.table.column_names.index("labels"), "labels", rows)
    with pytest.raises(InputError, match="2 images have no labels, the first is '000001'"):
        label_table(replace(images, table=table))


def test_figures_of_several_labels_by_hand() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[-2.0, 1.0], [1.0, 1.0], [0.5, -1.0]])

    pixels = torch.zeros(3, 3, 2, 2, dtype=torch.uint8)
    targets = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    figures = label_figures(Fixed(), ImageStore.of_tensors(pixels, targets))
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["auroc"] == pytest.approx((1.0 + 0.75) / 2)
    scores = torch.tensor([[-2.0, 1.0], [1.0, 1.0], [0.5, -1.0]])
    by_hand = torch.nn.functional.binary_cross_entropy_with_logits(scores, targets)
    assert figures["loss"] == pytest.approx(float(by_hand), abs=1e-6)
    alike = ImageStore.of_tensors(pixels, torch.tensor([[0.0, 1.0]] * 3))
    assert label_figures(Fixed(), alike)["auroc"] == 0.5, "no label has both values"


# -- a base ------------------------------------------------------------------------------------------------------------


def test_a_base_is_gone_on_from_and_recorded(trained: Artifact, tmp_path: Path) -> None:
    base = trained.save(tmp_path / "base")
    still = PLAN.model_copy(update={"epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0})
    child = fit(squares(48, seed=3), base=base, plan=still, architecture="timm:resnet18", side=64)
    assert child.card.lineage.parent == base.card.sha256 != ""
    assert child.card.architecture == base.card.architecture, "a base brings its own"
    assert child.card.preparation == base.card.preparation
    assert torch.allclose(child.tensors["head.weight"], base.tensors["head.weight"], atol=1e-6)
    child.save(tmp_path / "child")
    assert load_classifier(f"artifact:{tmp_path / 'child'}").class_names == ("left", "right")
    kept = {name: tensor.clone() for name, tensor in base.tensors.items()}
    fit(squares(48, seed=3), base=base)
    assert all(torch.equal(tensor, base.tensors[name]) for name, tensor in kept.items()), "the base stays as it is"


@pytest.mark.parametrize("change", [{"kind": "embedding"}, {"class_names": ("right", "left")}, {"class_names": ()}])
def test_another_base_is_refused(trained: Artifact, change: dict[str, object]) -> None:
    other = Artifact(trained.tensors, trained.card.model_copy(update=change))
    with pytest.raises(
        InputError, match=r"the base 'squares' is a .* expected a classifier of the 2 classes of squares"
    ):
        fit(squares(8), base=other)


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_training_that_diverges_is_reported() -> None:
    wild = PLAN.model_copy(update={"optimizer": "sgd", "learning_rate": 1e30})
    with pytest.raises(ModelError, match="not finite"):
        fit(squares(48), plan=wild)


def test_a_figure_to_choose_by_that_is_none() -> None:
    both = join([as_split(squares(16), "train"), as_split(squares(8, seed=1), "val")])
    with pytest.raises(InputError, match=r"figure to select by 'auroc'"):
        fit(both, plan=PLAN.model_copy(update={"select": "auroc"}))


def test_one_class_is_refused() -> None:
    pixels = np.zeros((4, 28, 28), np.uint8)
    alone = load_arrays(pixels, np.zeros(4, np.int64), class_names=["alone"], name="one class")
    with pytest.raises(InputError, match="one class has one class, 'alone': there is nothing to classify"):
        fit(alone)


def test_a_base_that_normalises_is_refused(trained: Artifact) -> None:
    def with_normalization(given: dict[str, object]) -> Artifact:
        return Artifact(trained.tensors, trained.card.model_copy(update={"normalization": given}))

    for mean, std in (([0.5] * 3, [1.0] * 3), ([0.0] * 3, [0.2] * 3)):
        base = with_normalization({"mean": mean, "std": std})
        with pytest.raises(InputError, match="the base 'squares' normalises its images"):
            fit(squares(8), base=base)
    assert fit(squares(8), base=with_normalization({})).card.kind == "classifier"
