"""Votes: a draw follows from its image alone, noise lies on what the branch sees, and soft votes have gradients."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.methods.smoothing.branches import Branch, branches_of, half_masks
from snellen.methods.smoothing.votes import BLOCK, hard_votes, soft_noise, soft_votes

IDS = ("a", "b", "c", "d")


class Watching(nn.Module):
    """Scores of a fixed linear map; remembers what it was shown."""

    def __init__(self, size=8, classes=3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, 3 * size * size, generator=torch.Generator().manual_seed(1)))
        self.shown = []

    def forward(self, images):
        self.shown.append(images.detach().clone())
        return images.flatten(1) @ self.weight.T


def watching(**options):
    module = Watching()
    return module, Classifier(module, class_names=["x", "y", "z"], **options)


def votes(branch, images, ids=IDS, **options):
    given = {"sigma": 0.3, "first": 0, "last": 130, "class_count": 3, "stream": "estimation", **options}
    return hard_votes(branch, images, rng=Randomness(5).for_examples(ids), **given)


@pytest.fixture
def images():
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("halves", [False, True])
def test_batch_order_chunk_and_restart_change_no_count(images, halves):
    branch = branches_of(watching()[1], split_pixels=halves)[-1]
    whole = votes(branch, images)
    assert whole.sum(1).tolist() == [130] * 4
    assert len(set(whole[:, 0].tolist())) > 1, "the images should differ in their counts"
    for chunk in (1, BLOCK, 3 * BLOCK + 7, 10_000):
        assert torch.equal(votes(branch, images, chunk=chunk), whole)
    turned = votes(branch, images.flip(0), ids=IDS[::-1])
    assert torch.equal(turned.flip(0), whole)
    alone = torch.cat([votes(branch, images[[row]], ids=(IDS[row],)) for row in range(4)])
    assert torch.equal(alone, whole)
    pieces = [votes(branch, images, first=a, last=b) for a, b in ((0, 1), (1, 57), (57, 100), (100, 130))]
    assert torch.equal(sum(pieces), whole)


def test_streams_branches_images_and_seeds_draw_apart(images):
    first, second = branches_of(watching()[1], split_pixels=True)
    whole = branches_of(watching()[1], split_pixels=False)[0]
    noise = {}
    for name, branch, stream, seed in (
        ("one", whole, "estimation", 5),
        ("other stream", whole, "selection", 5),
        ("other seed", whole, "estimation", 6),
        ("half 0", first, "estimation", 5),
        ("half 1", second, "estimation", 5),
    ):
        module, classifier = watching()
        own = next(
            b for b in branches_of(classifier, split_pixels=branch is not whole, view="zeros") if b.name == branch.name
        )
        hard_votes(
            own, images[:2] * 0, sigma=1.0, first=0, last=BLOCK, class_count=3,
            rng=Randomness(seed).for_examples(IDS[:2]), stream=stream,
        )  # fmt: skip
        noise[name] = torch.cat(module.shown)[torch.cat(module.shown) != 0]
    values = [set(v.tolist()) for v in noise.values()]
    for position, one in enumerate(values):
        for other in values[position + 1 :]:
            assert len(one & other) < 0.01 * len(one)


@pytest.mark.covers("13.1", "13.7")
@pytest.mark.parametrize("half", [0, 1])
def test_noise_lies_on_the_kept_half_alone_and_the_other_half_changes_nothing(images, half):
    module, classifier = watching()
    branch = branches_of(classifier, split_pixels=True, view="zeros")[half]
    before = votes(branch, images, last=50)
    shown = torch.cat(module.shown)
    mask = half_masks(8, 8)[half]
    assert bool((shown[..., ~mask] == 0).all())
    spread = (shown.view(4, 50, 3, 8, 8) - images[:, None])[..., mask].std()
    assert float(spread) == pytest.approx(0.3, rel=0.03)
    module.shown.clear()
    changed = torch.where(mask, images, 1 - images)
    assert torch.equal(votes(branch, changed, last=50), before)
    assert torch.equal(torch.cat(module.shown), shown)


@pytest.mark.covers("13.6")
def test_noise_comes_before_normalisation_and_is_not_cut(images):
    module, classifier = watching(normalization=Normalization((0.5,) * 3, (0.25,) * 3))
    votes(branches_of(classifier, split_pixels=False)[0], images, last=50)
    noisy = torch.cat(module.shown) * 0.25 + 0.5
    assert float(noisy.min()) < -0.2
    assert float(noisy.max()) > 1.2
    assert float((noisy.view(4, 50, 3, 8, 8) - images[:, None]).std()) == pytest.approx(0.3, rel=0.02)


@pytest.mark.covers("13.8")
def test_noise_is_independent_across_samples_and_branches(images):
    drawn = []
    for half in (0, 1):
        module, classifier = watching()
        votes(
            branches_of(classifier, split_pixels=True, view="zeros")[half],
            images[:1] * 0,
            ids=("a",),
            last=1000,
            sigma=1.0,
        )
        shown = torch.cat(module.shown)
        drawn.append(shown[shown != 0].view(1000, -1))
    for pair in ((drawn[0], drawn[1]), (drawn[0][:-1], drawn[0][1:]), (drawn[0][:500], drawn[0][500:])):
        assert abs(float((pair[0] * pair[1]).mean())) < 4 / pair[0].numel() ** 0.5


@pytest.mark.covers("13.11")
def test_training_mode_is_refused():
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 2))
    classifier = Classifier(module, class_names=["x", "y"])
    branches_of(classifier, split_pixels=False)
    module[1].train()
    with pytest.raises(InputError, match="training mode"):
        branches_of(classifier, split_pixels=True)


@pytest.mark.covers("13.11")
def test_normalisation_over_the_batch_is_refused_also_in_evaluation_mode():
    def classifier(normalisation):
        return Classifier(nn.Sequential(normalisation, nn.Flatten(), nn.Linear(192, 2)).eval(), class_names=["x", "y"])

    branches_of(classifier(nn.BatchNorm2d(3)), split_pixels=False)
    branches_of(classifier(nn.InstanceNorm2d(3)), split_pixels=False)
    with pytest.raises(InputError, match="batch normalisation without running statistics"):
        branches_of(classifier(nn.BatchNorm2d(3, track_running_stats=False)), split_pixels=False)


def test_scores_that_are_not_finite_vote_for_no_class(images):
    def network(shown):
        scores = torch.zeros(len(shown), 3)
        scores[:, 1] = 1.0
        scores[::2, 2] = torch.nan
        return scores

    assert votes(Branch("whole", network), images, last=100).tolist() == [[0, 50, 0]] * 4


def test_grey_noise_is_the_same_in_all_channels_and_colours_are_refused(images):
    module, classifier = watching()
    (branch,) = branches_of(classifier, split_pixels=False, grey=True)
    grey = images[:, :1].expand(-1, 3, -1, -1)
    votes(branch, grey, last=50)
    shown = torch.cat(module.shown)
    assert torch.equal(shown[:, 0], shown[:, 2])
    assert float((shown.view(4, 50, 3, 8, 8) - grey[:, None]).std()) == pytest.approx(0.3, rel=0.03)
    with pytest.raises(InputError, match="for grey images"):
        votes(branch, images)


def test_soft_votes_do_not_depend_on_the_chunk_and_have_its_gradient(images):
    (branch,) = branches_of(watching()[1], split_pixels=False)
    rng, found = Randomness(0).for_examples(IDS), []
    for chunk in (1, 24, 1000):
        variable = images.clone().requires_grad_(True)
        soft = soft_votes(branch, variable, sigma=0.3, samples=10, rng=rng, stream="s", chunk=chunk)
        (gradient,) = torch.autograd.grad(soft[:, 0].log().sum(), variable)
        found.append((soft.detach(), gradient))
    for soft, gradient in found[1:]:
        torch.testing.assert_close(soft, found[0][0])
        torch.testing.assert_close(gradient, found[0][1])
    noise = soft_noise(branch, images, 10, rng, "s")
    assert noise.shape == (4, 10, 3, 8, 8)
    by_hand = torch.stack([branch.scores(images + 0.3 * noise[:, n]).softmax(1) for n in range(10)]).mean(0)
    torch.testing.assert_close(found[0][0], by_hand.detach())
    torch.testing.assert_close(
        soft_votes(branch, images, sigma=0, samples=1, rng=rng, stream="s"), branch.scores(images).softmax(1)
    )


def test_the_soft_gradient_of_two_linear_classes_points_along_their_difference(images):
    module = Watching(classes=2)
    (branch,) = branches_of(Classifier(module, class_names=["x", "y"]), split_pixels=False)
    variable = images[:1].clone().requires_grad_(True)
    soft = soft_votes(branch, variable, sigma=0.3, samples=8, rng=Randomness(0).for_examples(("a",)), stream="s")
    (gradient,) = torch.autograd.grad(soft[0, 0], variable)
    difference = (module.weight[0] - module.weight[1]).view(1, 3, 8, 8)
    assert float(nn.functional.cosine_similarity(gradient.flatten(), difference.flatten(), dim=0)) > 0.9999


@pytest.mark.parametrize(("change", "sigma"), [(2.0, 0.3), (float("nan"), 0.3), (1.0, 0.0), (1.0, float("inf"))])
def test_images_and_noise_that_cannot_be_used_are_refused(images, change, sigma):
    with pytest.raises(InputError):
        votes(branches_of(watching()[1], split_pixels=False)[0], images * change + change - 1, sigma=sigma)


def test_what_is_no_module_cannot_be_smoothed():
    plain = Classifier(lambda images: images.flatten(1)[:, :2], class_names=["x", "y"])
    with pytest.raises(UnsupportedError, match="no module"):
        branches_of(plain, split_pixels=False)
