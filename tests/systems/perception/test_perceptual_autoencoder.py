"""The recipe of perceptualized classifiers: what is remembered, what the classifier learns, what is written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.models.classifiers.artifact_models import load_artifact
from snellen.models.classifiers.references import load_classifier
from snellen.systems.perception import recipe as module
from snellen.systems.perception.layer import PerceptualLayer, perceive
from snellen.systems.perception.perceptualized import PerceptualizedNetwork
from snellen.systems.perception.recipe import (
    NotOverfittedWarning,
    PerceptualAutoencoderRecipe,
    fit_autoencoder,
    perceived,
    reconstruction,
)
from snellen.training.batches import Batch, ImageStore
from snellen.training.fitting import recipe as frame
from snellen.training.plan import TrainingPlan
from snellen.verbs.train import train as deliver

SMALL = {
    "autoencoder": "perceptron",
    "width": 16,
    "copies": 2,
    "steps": 2,
    "side": 8,
    "autoencoder_plan": {"epochs": 60, "learning_rate": 1e-2},
    "plan": {"epochs": 3, "batch_size": 4},
    "largest_error": 5.0,
}


@pytest.fixture(scope="module")
def images() -> ImageSet:
    drawn = np.zeros((6, 8, 8), dtype=np.uint8)
    drawn[::2, :, :4], drawn[1::2, :4] = 200, 200
    drawn += np.random.default_rng(0).integers(0, 40, drawn.shape, dtype=np.uint8)
    return load_arrays(drawn, [0, 1] * 3, class_names=["left", "top"])


@pytest.fixture(scope="module")
def artifact(images: ImageSet) -> Artifact:
    return PerceptualAutoencoderRecipe(**SMALL).fit(images, rng=Randomness(0))


@pytest.mark.covers("20.5")
def test_the_loss_is_the_norm_and_not_its_square() -> None:
    shown = torch.zeros(2, 1, 2, 2)
    shown[1] = 3.0
    batch = Batch(shown, torch.zeros(2), torch.ones(2), torch.arange(2), Randomness(0).bind(2))
    torch.testing.assert_close(reconstruction(torch.nn.Identity(), batch), torch.zeros(2))
    torch.testing.assert_close(reconstruction(lambda x: 0 * x, batch), torch.tensor([0.0, 6.0]))  # type: ignore[arg-type]


@pytest.mark.covers("20.2")
def test_the_card_says_how_well_training_images_are_remembered(artifact: Artifact) -> None:
    memory = artifact.card.lineage.recipe["memory"]
    assert set(memory) == {"reconstruction_error", "attractors", "spectral_radius"}
    assert memory["reconstruction_error"] < 3
    assert 0 <= memory["attractors"] <= 1
    assert memory["spectral_radius"] > 0


@pytest.mark.covers("20.2")
def test_an_autoencoder_that_remembers_nothing_is_reported(images: ImageSet) -> None:
    recipe = PerceptualAutoencoderRecipe(**{**SMALL, "autoencoder_plan": {"epochs": 1}, "largest_error": 0.1})
    with pytest.warns(NotOverfittedWarning, match="away from them on average"):
        recipe.fit(images, rng=Randomness(0))


@pytest.mark.covers("20.3")
def test_the_classifier_learns_what_is_seen_of_training_images(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[Tensor] = []
    real = module.train

    def watched(network: torch.nn.Module, examples: ImageStore, **options: object) -> object:
        learnt.append(examples.images)
        return real(network, examples, **options)  # type: ignore[arg-type]

    for trains in (module, frame):
        monkeypatch.setattr(trains, "train", watched)
    made = PerceptualAutoencoderRecipe(**SMALL).fit(images, rng=Randomness(0))
    network = _network(made)
    shown = ImageStore.of_images(images, _preparation(made)).images
    with torch.no_grad():
        seen = perceive(network.autoencoder, to_unit(shown).mean(1, keepdim=True), network.layer)
    torch.testing.assert_close(learnt[-1], seen.expand(-1, 3, -1, -1), rtol=0, atol=1e-5)
    assert (learnt[-1] - to_unit(shown)).abs().max() > 0.01
    torch.testing.assert_close(learnt[0], to_unit(shown).mean(1, keepdim=True))


@pytest.mark.covers("20.3")
def test_the_artifact_loads_as_a_classifier_that_perceives_first(artifact: Artifact, tmp_path: Path) -> None:
    artifact.save(tmp_path / "seen")
    loaded = load_artifact(tmp_path / "seen", name="seen").network.eval()
    assert isinstance(loaded, PerceptualizedNetwork)
    photos = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(loaded(photos), _network(artifact)(photos))
        assert (loaded(photos) - loaded.classifier(photos)).abs().max() > 1e-3


@pytest.mark.covers("20.6", "20.9")
def test_the_same_seed_gives_the_same_bytes_whatever_the_layer(images: ImageSet, artifact: Artifact) -> None:
    again = PerceptualAutoencoderRecipe(**SMALL).fit(images, rng=Randomness(0))
    assert again.card.sha256 == artifact.card.sha256
    vanilla = PerceptualAutoencoderRecipe(**{**SMALL, "copies": 1, "strength": 0.0}).fit(images, rng=Randomness(0))
    ours, theirs = _network(artifact), _network(vanilla)
    for name, weight in ours.autoencoder.state_dict().items():
        assert torch.equal(weight, theirs.autoencoder.state_dict()[name])
    assert not torch.equal(ours.classifier.head.weight, theirs.classifier.head.weight)


def test_the_second_stage_keeps_the_epoch_of_the_lowest_error(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[TrainingPlan] = []
    tuned: list[object] = []
    real = module.train

    def watched(network: torch.nn.Module, examples: ImageStore, **options: object) -> object:
        plans.append(options["plan"])  # type: ignore[arg-type]
        tuned.append(options["val"])
        return real(network, examples, **options)  # type: ignore[arg-type]

    for trains in (module, frame):
        monkeypatch.setattr(trains, "train", watched)
    store = ImageStore.of_tensors(torch.rand(3, 1, 8, 8), torch.arange(3))
    recipe = PerceptualAutoencoderRecipe(**SMALL)
    plan = TrainingPlan(epochs=20, batch_size=2, learning_rate=0.05)
    network = fit_autoencoder(recipe.network(Randomness(0)), store, plan=plan, rng=Randomness(0))
    assert [one.epochs for one in plans] == [20, 2]
    assert (plans[1].select, plans[1].select_highest) == ("reconstruction", False)
    assert tuned == [None, store]
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())


def test_a_training_goes_on_from_its_checkpoints(images: ImageSet, artifact: Artifact, tmp_path: Path) -> None:
    recipe = PerceptualAutoencoderRecipe(**SMALL)
    for _ in range(2):
        made = recipe.fit(images, rng=Randomness(0), checkpoint=tmp_path / "half.safetensors")
        assert made.card.sha256 == artifact.card.sha256
    assert len(list(tmp_path.glob("half*"))) == 3


def test_a_stopped_delivery_goes_on_and_leaves_no_checkpoint(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vanilla = PerceptualAutoencoderRecipe(**{**SMALL, "copies": 1, "strength": 0.0})

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "perceived", stopped)
        with pytest.raises(KeyboardInterrupt):
            deliver(vanilla, images, out=tmp_path / "out")
    assert len(list((tmp_path / "out").glob("training-autoencoder*"))) == 2
    made = deliver(vanilla, images, out=tmp_path / "out")
    assert not list((tmp_path / "out").glob("*training*"))
    # A layer that draws nothing is a graph like any other, of any number of images.
    assert made.onnx is not None, made.notes
    artifact, exported = load_classifier(f"artifact:{tmp_path / 'out'}"), load_classifier(f"onnx:{made.onnx}")
    shown = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(exported(shown), artifact(shown), rtol=1e-4, atol=1e-4)


def test_why_a_layer_that_draws_is_no_graph_is_reported(images: ImageSet, tmp_path: Path) -> None:
    made = deliver(PerceptualAutoencoderRecipe(**SMALL), images, out=tmp_path / "out")
    assert made.onnx is None
    assert made.notes[0].startswith("no model.onnx: a stochastic perceptual layer draws by the pixels of each image")


@pytest.mark.covers("20.3")
def test_the_epoch_is_chosen_by_what_is_seen_of_val_images(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned: list[object] = []
    real = module.train

    def watched(network: torch.nn.Module, examples: ImageStore, **options: object) -> object:
        tuned.append(options["val"])
        return real(network, examples, **options)  # type: ignore[arg-type]

    for trains in (module, frame):
        monkeypatch.setattr(trains, "train", watched)
    both = join([as_split(images.limit(4), "train"), as_split(images.select([4, 5]), "val")])
    made = PerceptualAutoencoderRecipe(**SMALL).fit(both, rng=Randomness(0))
    network, held = _network(made), tuned[-1]
    assert isinstance(held, ImageStore)
    shown = to_unit(ImageStore.of_images(images.select([4, 5]), _preparation(made)).images).mean(1, keepdim=True)
    with torch.no_grad():
        seen = perceive(network.autoencoder, shown, network.layer)
    torch.testing.assert_close(held.images, seen.expand(-1, 3, -1, -1), rtol=0, atol=1e-5)
    assert (held.images - shown).abs().max() > 0.01
    # Nothing of them is remembered.
    assert len(tuned) == 3
    assert isinstance(tuned[1], ImageStore)
    assert len(tuned[1]) == 4


def test_what_cannot_be_learnt_is_refused(images: ImageSet, artifact: Artifact) -> None:
    with pytest.raises(InputError, match="and takes no base"):
        PerceptualAutoencoderRecipe(**SMALL).fit(images, base=artifact, rng=Randomness(0))
    empty = load_arrays(np.zeros((2, 8, 8), np.uint8), [0, 0], class_names=["left", "top"])
    with pytest.raises(InputError, match="no image to remember of 'top'"):
        PerceptualAutoencoderRecipe(**SMALL).fit(empty, rng=Randomness(0))
    assert "cannot train" in (PerceptualAutoencoderRecipe(architecture="perceptro").missing() or "")


def test_images_that_run_away_are_named() -> None:
    store = ImageStore.of_tensors(torch.full((2, 1, 8, 8), 10.0), torch.arange(2), ids=["a", "b"])
    layer = PerceptualLayer(copies=1, steps=60, strength=0.0)
    with pytest.raises(InputError, match=r"2 of 2 images run away .*first: a"):
        perceived(lambda x: x * x, store, layer)  # type: ignore[arg-type]


def _network(made: Artifact) -> PerceptualizedNetwork:
    from snellen.models.classifiers.artifact_models import build_network

    network = build_network(made.card.architecture, "the test")
    network.load_state_dict(dict(made.tensors))
    assert isinstance(network, PerceptualizedNetwork)
    return network.eval()


def _preparation(made: Artifact):
    from snellen.core.preprocessing import Preprocessing

    return Preprocessing.model_validate(made.card.preparation)
