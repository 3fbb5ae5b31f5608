"""Recipes for classifiers that are meant to be smoothed: noise, halves, agreement, attacks, and what is said of it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.recipes.supervised import Supervised
from snellen.methods.smoothing.branches import NoiseRecord, SmoothedNetwork
from snellen.methods.smoothing.consistency_smoothing import ConsistencySmoothing, agreeing_copies
from snellen.methods.smoothing.gaussian_smoothing import GaussianSmoothing
from snellen.methods.smoothing.noisy_training import (
    STREAM,
    copies_mean,
    on_noisy_copies,
    training_branches,
    under_noise,
)
from snellen.methods.smoothing.smooth_adversarial import SmoothAdversarial
from snellen.methods.smoothing.votes import soft_noise, soft_votes
from snellen.models.classifiers.artifact_models import load_artifact
from snellen.training.batches import Batch, ImageStore

SMALL = {"architecture": "fashion_cnn", "side": 12, "plan": {"epochs": 2, "batch_size": 4}}
RECIPES = {
    "gaussian": GaussianSmoothing(**SMALL, split_pixels=True),
    "consistency": ConsistencySmoothing(**SMALL, copies=2),
    "adversarial": SmoothAdversarial(**SMALL, split_pixels=True, grey=True, warmup=2),
}


@pytest.fixture(scope="module")
def images():
    levels = np.array([30, 220] * 5, dtype=np.uint8)
    pixels = np.broadcast_to(levels[:, None, None], (10, 12, 12)).copy()
    return load_arrays(pixels, [0, 1] * 5, class_names=["dark", "light"])


def network(view=None, grey=False):
    torch.manual_seed(0)
    return SmoothedNetwork(network={"name": "fashion_cnn", "class_count": 2}, sigma=0.3, view=view, grey=grey)


def batch(count=3, epoch=1):
    images = torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(1)).expand(-1, 3, -1, -1)
    targets = torch.arange(count) % 2
    rng = Randomness(4).for_examples([str(row) for row in range(count)])
    return Batch(images.contiguous(), targets, torch.ones(count), torch.arange(count), rng, epoch)


@pytest.mark.parametrize("view", [None, "zeros"])
def test_the_loss_is_that_of_noisy_copies_added_over_parts(view):
    model, shown = network(view).eval(), batch()
    noise = NoiseRecord(0.3, view)
    found = on_noisy_copies(noise, 3, copies_mean)(model, shown)
    expected = torch.zeros(3)
    for branch in training_branches(model, noise):
        parts = branch.part(shown.images)
        drawn = soft_noise(branch, parts, 3, shown.rng, STREAM)
        assert drawn.std() == pytest.approx(1, abs=0.1)
        for copy in range(3):
            expected += (
                F.cross_entropy(branch.scores(parts + 0.3 * drawn[:, copy]), shown.targets, reduction="none") / 3
            )
    torch.testing.assert_close(found, expected)


def test_the_consistency_loss_is_that_of_the_paper():
    scores, targets = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    mean = scores.softmax(2).mean(1)
    divergence = torch.stack(
        [F.kl_div(scores[:, copy].log_softmax(1), mean, reduction="none").sum(1) for copy in range(4)]
    ).mean(0)
    entropy = torch.distributions.Categorical(mean).entropy()
    cross = torch.stack([F.cross_entropy(scores[:, copy], targets, reduction="none") for copy in range(4)]).mean(0)
    found = agreeing_copies(15.0, 0.05)(scores, targets)
    torch.testing.assert_close(found, cross + 15 * (divergence + 0.05 * entropy))
    alike = scores[:, :1].expand(-1, 4, -1)
    torch.testing.assert_close(agreeing_copies(15.0, 0.0)(alike, targets), copies_mean(alike, targets))


@pytest.mark.parametrize(("epoch", "share"), [(1, 0.25), (4, 1.0), (9, 1.0)])
def test_images_are_moved_within_a_growing_ball_to_where_the_same_votes_are_worse(epoch, share, monkeypatch):
    recipe = SmoothAdversarial(**SMALL, sigma=0.3, split_pixels=True, view="zeros", epsilon=0.5, steps=4, warmup=4)
    model, given = network("zeros"), batch(epoch=epoch)
    model.networks[0].stem.norm.eval()
    before = {name: part.training for name, part in model.named_modules()}
    seen = []
    monkeypatch.setattr(
        "snellen.methods.smoothing.smooth_adversarial.on_noisy_copies",
        lambda noise, copies, loss, moved: (
            lambda model, batch: seen.append(
                (moved(model, training_branches(model, noise), batch), training_branches(model, noise))
            )
        ),
    )
    recipe.objective()(model, given)
    ((moved, branches),) = seen
    length = (moved - given.images).flatten(1).norm(dim=1)
    assert bool((length <= 0.5 * share + 1e-4).all())
    assert bool((length > 0.2 * share).all())
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    # The model is as it was: part by part in its mode, and its weights learn.
    assert {name: part.training for name, part in model.named_modules()} == before
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.eval()

    def loss(images):
        each = [soft_votes(branch, images, sigma=0.3, samples=2, rng=given.rng, stream=STREAM) for branch in branches]
        return -torch.stack(each).mean(0).gather(1, given.targets[:, None])[:, 0].log()

    with torch.no_grad():
        assert bool((loss(moved) > loss(given.images)).all())


def test_grey_changes_stay_grey_and_are_measured_in_one_channel(monkeypatch):
    recipe = SmoothAdversarial(**SMALL, sigma=0.3, grey=True, epsilon=0.5, steps=4, warmup=1)
    model, given, seen = network(grey=True), batch(), []
    monkeypatch.setattr(
        "snellen.methods.smoothing.smooth_adversarial.on_noisy_copies",
        lambda noise, copies, loss, moved: (
            lambda model, batch: seen.append(moved(model, training_branches(model, noise), batch))
        ),
    )
    recipe.objective()(model, given)
    change = seen[0] - given.images
    torch.testing.assert_close(change[:, 0], change[:, 2])
    one = change[:, 0].flatten(1).norm(dim=1)
    assert bool((one <= 0.5 + 1e-4).all())
    assert float(one.max()) > 0.3


@pytest.mark.parametrize("name", RECIPES)
def test_an_artifact_says_its_noise_and_is_the_same_again(name, images, tmp_path):
    recipe = RECIPES[name]
    made = recipe.fit(images, rng=Randomness(0))
    record = made.card.architecture
    view = "contrast" if recipe.split_pixels else None
    assert (record["sigma"], record["view"], record["grey"]) == (0.25, view, recipe.grey)
    again = recipe.fit(images, rng=Randomness(0))
    assert all(torch.equal(tensor, again.tensors[key]) for key, tensor in made.tensors.items())
    made.save(tmp_path / "made")
    loaded = load_artifact(tmp_path / "made", name="made")
    assert isinstance(loaded.network, SmoothedNetwork)
    assert loaded.network.record == recipe.noise
    scores = loaded.network.eval()(torch.rand(2, 3, 12, 12))
    assert scores.shape == (2, 2)
    if recipe.split_pixels:
        torch.testing.assert_close(scores.exp().sum(1), torch.ones(2))


def test_each_half_has_the_gradient_that_it_would_have_alone():
    model, given, noise = network("zeros").eval(), batch(), NoiseRecord(0.3, "zeros")
    on_noisy_copies(noise, 2, copies_mean)(model, given).sum().backward()
    together = [network.head.weight.grad.clone() for network in model.networks]
    for number, branch in enumerate(training_branches(model, noise)):
        model.zero_grad()
        parts = branch.part(given.images)
        drawn = soft_noise(branch, parts, 2, given.rng, STREAM)
        scores = branch.scores((parts[:, None] + 0.3 * drawn).flatten(0, 1)).view(3, 2, -1)
        copies_mean(scores, given.targets).sum().backward()
        torch.testing.assert_close(model.networks[number].head.weight.grad, together[number])
        other = model.networks[1 - number].head.weight.grad
        assert other is None or not other.any()


def test_a_base_is_where_every_network_starts(images):
    plain = Supervised(**SMALL).fit(images, rng=Randomness(0))
    still = {"epochs": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
    for base in (plain, GaussianSmoothing(**{**SMALL, "plan": still}).fit(images, base=plain, rng=Randomness(0))):
        pair = GaussianSmoothing(**{**SMALL, "plan": still}, split_pixels=True).fit(
            images, base=base, rng=Randomness(1)
        )
        for number in (0, 1):
            weights = pair.tensors[f"networks.{number}.head.weight"]
            torch.testing.assert_close(weights, plain.tensors["head.weight"], atol=1e-6, rtol=0)
        assert pair.card.lineage.parent == base.card.sha256
    with pytest.raises(InputError, match="has a network for each half"):
        GaussianSmoothing(**SMALL).fit(images, base=pair, rng=Randomness(0))


def test_the_epoch_is_judged_under_noise():
    store = ImageStore.of_tensors(torch.full((4, 3, 12, 12), 128, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    model = network("zeros").eval()
    quiet = under_noise(NoiseRecord(1e-6, "zeros"), Randomness(0))(model, store)
    loud = under_noise(NoiseRecord(1.0, "zeros"), Randomness(0))(model, store)
    assert quiet["loss"] != loud["loss"]
    assert quiet == under_noise(NoiseRecord(1e-6, "zeros"), Randomness(0))(model, store)
    assert 0 <= loud["accuracy"] <= 1


def test_odd_sides_cannot_be_split(images):
    with pytest.raises(InputError, match="expected an even height and width"):
        GaussianSmoothing(architecture="fashion_cnn", side=13, split_pixels=True).fit(images, rng=Randomness(0))


def test_a_training_that_stopped_goes_on_to_the_same_weights(images, tmp_path):
    recipe = RECIPES["gaussian"]
    whole = recipe.fit(images, rng=Randomness(0))
    recipe.fit(images, rng=Randomness(0), checkpoint=tmp_path / "checkpoint")
    again = recipe.fit(images, rng=Randomness(0), checkpoint=tmp_path / "checkpoint")
    assert isinstance(again, Artifact)
    assert all(torch.equal(tensor, again.tensors[key]) for key, tensor in whole.tensors.items())
