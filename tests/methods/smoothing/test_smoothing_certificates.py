"""Certificates by votes: sound on classifiers of known radius, however early they stop, and told as what they are."""

import math

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import L2Ball, NormalizedStep, perturb
from snellen.methods.smoothing.bounds import Look, early_looks, lower_bound, proven_radius, single_look
from snellen.methods.smoothing.branches import SmoothedNetwork, branches_of, half_masks
from snellen.methods.smoothing.certifying import ABSTAINS, Goal, _decided, significant_winner
from snellen.methods.smoothing.dual_smoothing import DualSmoothing
from snellen.methods.smoothing.smoothing import Smoothing
from snellen.methods.smoothing.votes import vote_evaluation

SIGMA = 0.25


class HalfSpace(nn.Module):
    """Class 1 where w · (x − ½) > offset; w has length 1 over the whole image."""

    def __init__(self, weight, offset=0.0):
        super().__init__()
        self.weight = nn.Parameter(weight / weight.norm())
        self.offset = offset

    def forward(self, images):
        value = ((images - 0.5) * self.weight).flatten(1).sum(1) - self.offset
        return torch.stack([-value, value], 1)


def of(module):
    return Classifier(module, class_names=["no", "yes"])


def points_at(weight, distances):
    """Images whose distance to the plane is known, (n, 3, h, w) in [0, 1]."""
    unit = weight / weight.norm()
    images = 0.5 + torch.tensor(distances)[:, None, None, None] * unit
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    return images


def test_a_linear_classifier_is_never_certified_beyond_its_radius_more_often_than_alpha():
    # 10,000 images at a distance d; a radius above d is wrong. An error probability of 5 % makes a fault visible.
    weight, trials, alpha = torch.ones(3, 2, 2), 10_000, 0.05
    images = points_at(weight, [0.2]).expand(trials, -1, -1, -1)
    for early in (None, 0.18):
        method = Smoothing(sigma=SIGMA, samples=200, selection=10, alpha=alpha, radius=early, chunk=20_000)
        certified = method.certify(of(HalfSpace(weight)), images, rng=Randomness(1))
        too_far = (certified.radius > 0.2) & (certified.prediction == 1)
        wrong = certified.prediction == 0
        # 4 standard deviations of a share of 5 % in 10,000 trials.
        assert int((too_far | wrong).sum()) <= trials * alpha + 4 * math.sqrt(trials * alpha * (1 - alpha))
        if early is None:
            assert int(too_far.sum()) > trials * alpha / 5, "the bound is far from its level: is alpha used?"


@pytest.mark.covers("13.4")
def test_two_half_spaces_are_never_certified_beyond_their_joint_radius_more_often_than_alpha():
    # One network each, so that the branches differ: the true radius is σ (a + b) / √2.
    weight, trials, alpha = torch.ones(3, 2, 2), 10_000, 0.05
    first, second = (half_masks(2, 2)[half] * weight for half in (0, 1))
    pair = pair_of(HalfSpace(first, 0.0), HalfSpace(second, 0.3))
    image = 0.5 + 0.15 * torch.ones(1, 3, 2, 2)
    margins = [float(((image[0] - 0.5) * one / one.norm()).sum()) for one in (first, second)]
    true = (margins[0] + margins[1] - 0.3) / math.sqrt(2)
    images = image.expand(trials, -1, -1, -1)
    method = DualSmoothing(sigma=SIGMA, samples=200, selection=10, alpha=alpha, chunk=20_000, view="zeros")
    certified = method.certify(of(pair), images, rng=Randomness(2))
    over = (certified.radius > true) | (certified.prediction == 0)
    assert int(over.sum()) <= trials * alpha + 4 * math.sqrt(trials * alpha * (1 - alpha))
    assert int((certified.radius > 0.3 * true).sum()) > trials / 2
    published = method.model_copy(update={"parity": True}).certify(of(pair), images[:2000], rng=Randomness(2))
    assert int((published.radius > true).sum()) > 1000, "the published formula should overstate here"


def pair_of(*networks):
    pair = SmoothedNetwork(network={"name": "fashion_cnn", "class_count": 2}, sigma=SIGMA, view="zeros")
    pair.networks = nn.ModuleList(networks)
    return pair


@pytest.mark.covers("13.5")
def test_selection_and_estimation_draw_apart_and_radii_follow_from_the_votes_alone():
    weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(3))
    images = points_at(weight, [-0.2, 0.02, 0.1, 0.3])
    classifier = of(HalfSpace(weight))
    for method in (
        Smoothing(sigma=SIGMA, samples=400, selection=400),
        DualSmoothing(sigma=SIGMA, samples=400, selection=400),
    ):
        certified = method.certify(classifier, images)
        branches = certified.estimation.shape[1]
        assert certified.selection.sum(2).eq(400).all()
        assert certified.estimation.sum(2).eq(400).all()
        assert not torch.equal(certified.selection, certified.estimation)
        assert torch.equal(certified.votes, certified.estimation.sum(1))
        chosen = certified.selection.sum(1).argmax(1)
        for row in range(len(images)):
            counts = certified.estimation[row, :, chosen[row]].tolist()
            bounds = [lower_bound(count, 400, 0.001 / branches) for count in counts]
            assert certified.lower[row].tolist() == bounds
            radius = proven_radius(bounds, SIGMA)
            assert float(certified.radius[row]) == pytest.approx(max(radius, 0.0))
            assert int(certified.prediction[row]) == (int(chosen[row]) if radius > 0 else -1)
        assert float(certified.radius.max()) <= certified.largest
        assert certified.spent.queries == branches * 4 * 800
        assert (certified.confidence, certified.guarantee) == (0.999, True)


@pytest.mark.covers("13.9")
def test_plain_and_dual_have_the_same_largest_radius_at_matched_noise():
    weight = torch.ones(3, 2, 2)
    images = points_at(weight, [1.5])
    pair = pair_of(*(HalfSpace(half_masks(2, 2)[half] * weight) for half in (0, 1)))
    plain = Smoothing(sigma=0.25, samples=300).certify(of(HalfSpace(weight)), images)
    dual = DualSmoothing(sigma=0.25 / math.sqrt(2), samples=300).certify(of(pair), images)
    assert plain.radius.item() == plain.largest == pytest.approx(0.25 * 2.0, abs=0.005)
    assert dual.radius.item() == dual.largest
    # A little less, because two bounds share the error.
    assert 0.96 * plain.largest < dual.largest < plain.largest


@pytest.mark.covers("13.10")
def test_an_abstention_has_no_class_no_radius_and_a_reason():
    weight = torch.ones(3, 2, 2)
    images = points_at(weight, [0.001, 0.4])
    certified = Smoothing(sigma=SIGMA, samples=200).certify(of(HalfSpace(weight)), images)
    assert certified.prediction.tolist() == [-1, 1]
    assert certified.radius[0] == 0
    rows = certified.evidence(of(HalfSpace(weight)), ["a", "b"], [1, 1], setting="smoothing").table.to_pylist()
    assert [row["prediction"] for row in rows] == [None, 1]
    assert [row["reason"] for row in rows] == [ABSTAINS, None]
    assert [row["value"] for row in rows] == certified.radius.tolist()
    assert rows[1]["votes"] == certified.estimation[1].tolist()
    assert rows[1]["lower_bounds"] == certified.lower[1].tolist()


@pytest.mark.covers("13.13")
def test_the_published_formula_is_never_called_a_guarantee():
    weight = torch.ones(3, 2, 2)
    images = points_at(weight, [0.3])
    for parity in (False, True):
        certified = DualSmoothing(sigma=SIGMA, samples=200, parity=parity).certify(of(HalfSpace(weight)), images)
        assert certified.guarantee is not parity
        assert any("NO GUARANTEE" in assumption for assumption in certified.assumptions) is parity
        assert any("wrong with probability" in assumption for assumption in certified.assumptions) is not parity
        assert certified.confidence == (0.0 if parity else 0.999)
        row = certified.evidence(of(HalfSpace(weight)), ["a"], setting="dual").table.to_pylist()[0]
        assert row["guarantee"] is not parity


# -- early stopping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 99, 100, 101, 250, 1000, 10_000, 100_000])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_looks_are_declared_in_advance_and_share_the_level(samples, alpha):
    looks = early_looks(samples, alpha)
    assert math.fsum(look.level for look in looks) == pytest.approx(alpha)
    assert [look.samples for look in looks] == sorted({look.samples for look in looks})
    assert looks[-1].samples == samples
    assert all(look.level > 0 for look in looks)
    assert single_look(samples, alpha)[0].level == alpha


@pytest.mark.covers("13.14")
def test_early_stopping_decides_alike_with_a_third_of_the_samples():
    weight = torch.ones(3, 2, 2)
    distances = torch.linspace(-0.6, 0.6, 121).tolist()
    images = points_at(weight, distances)
    classifier, goal = of(HalfSpace(weight)), 0.2
    every = Smoothing(sigma=SIGMA, samples=4000).certify(classifier, images)
    early = Smoothing(sigma=SIGMA, samples=4000, radius=goal).certify(classifier, images)
    assert float(early.samples.double().mean()) <= 4000 / 3
    assert int(early.samples.min()) == 100
    decided, wanted = early.radius >= goal, every.radius >= goal
    unlike = (decided != wanted).nonzero().flatten().tolist()
    # Alike except where the truth is so close to the goal that the last look's smaller level decides.
    assert all(abs(abs(distances[row]) - goal) < 0.03 for row in unlike)
    assert len(unlike) <= 2
    # No certificate of a radius beyond the truth.
    assert bool((early.radius <= torch.tensor(distances).abs()).all())
    # Votes of an image that left early are those of the same image in a run of its own.
    alone = Smoothing(sigma=SIGMA, samples=4000, radius=goal).certify(
        classifier, images[-1:], rng=Randomness(0).for_examples([str(len(images) - 1)])
    )
    assert torch.equal(alone.votes[0], early.votes[-1])


@pytest.mark.covers("13.14")
def test_bounds_of_all_looks_hold_together():
    # Whoever stops where it looks best still errs at most alpha often: a fair coin is never certified.
    weight, trials, alpha = torch.ones(3, 2, 2), 2000, 0.05
    images = points_at(weight, [0.0]).expand(trials, -1, -1, -1)
    method = Smoothing(sigma=SIGMA, samples=1000, selection=1, alpha=alpha, radius=0.0, chunk=20_000)
    certified = method.certify(of(HalfSpace(weight)), images, rng=Randomness(3))
    assert int((certified.prediction >= 0).sum()) <= trials * alpha


def test_hopeless_images_are_given_up_within_a_budget_that_looks_and_branches_share():
    # At n unanimous votes of the other class each upper bound is 1 - (futility / looks / branches) ** (1 / n).
    weight, samples = torch.ones(3, 2, 2), 100
    module = pair_of(HalfSpace(half_masks(2, 2)[0] * weight), HalfSpace(half_masks(2, 2)[1] * weight))
    assert len(early_looks(samples, 0.001)) == 1
    for futility, looks, branches in ((0.2, 1, 1), (0.2, 4, 2)):
        high = 1 - (futility / looks / branches) ** (1 / samples)
        edge = proven_radius([high] * branches, SIGMA)
        for radius, given_up in ((edge + 1e-6, True), (edge - 1e-6, False)):
            decided = _decided(
                Goal(radius, futility), -1.0, [0] * branches, Look(samples, 0.001), looks, SIGMA, proven_radius
            )
            assert decided is given_up
    image = points_at(weight, [-0.6])
    method = DualSmoothing(sigma=SIGMA, samples=4000, radius=0.1)
    assert int(method.certify(of(module), image).samples) == 100


def test_a_radius_that_no_image_can_reach_is_refused_before_anything_is_drawn():
    weight = torch.ones(3, 2, 2)
    for method in (Smoothing(sigma=SIGMA, samples=200), DualSmoothing(sigma=SIGMA, samples=200)):
        largest = method.model_copy(update={"radius": 0.1}).largest(of(HalfSpace(weight)))
        beyond, within = (method.model_copy(update={"radius": largest * factor}) for factor in (1.01, 0.99))
        assert "200 samples cannot prove the radius" in beyond.missing(of(HalfSpace(weight)))
        with pytest.raises(InputError, match="cannot prove the radius"):
            beyond.certify(of(HalfSpace(weight)), torch.rand(1, 3, 2, 2))
        assert within.missing(of(HalfSpace(weight))) is None


def test_a_majority_of_two_classes_is_reported_wrongly_no_more_often_than_alpha():
    # Two equal classes, whose difference is as wide as a bounded one can be: whoever is named is named by chance.
    first = torch.distributions.Binomial(400, torch.tensor(0.5))
    torch.manual_seed(0)
    draws = first.sample((4000,)).long()
    named = sum(significant_winner(torch.stack([n, 400 - n]), 200, 2, 0.05) is not None for n in draws)
    assert 4000 * 0.05 / 10 < named <= 4000 * 0.05
    # Of many classes each rival has its share of the error.
    lead = math.ceil(math.sqrt(2 * 200 * math.log(1 / 0.05)))
    assert significant_winner(torch.tensor([100 + lead, 100]), 100, 2, 0.05) == 0
    assert significant_winner(torch.tensor([100 + lead, 100, 0, 0]), 100, 2, 0.05) is None


def test_a_majority_is_reported_only_when_chance_could_not_have_made_it():
    generator = torch.Generator().manual_seed(0)
    wrong = 0
    for _ in range(2000):
        first, second = (torch.bincount(torch.randint(3, (100,), generator=generator), minlength=3) for _ in "ab")
        wrong += significant_winner(first + second, 100, 2, 0.05) is not None
    assert wrong <= 2000 * 0.05
    assert significant_winner(torch.tensor([0, 150, 50]), 100, 2, 0.001) == 1


def test_a_decision_is_reported_where_votes_tell_it_though_no_majority_is_proven():
    class Three(nn.Module):
        def forward(self, images):
            # Votes of about 0.4, 0.3 and 0.3: the first wins, and has no half of them.
            value = (images - 0.5).flatten(1).sum(1) / (SIGMA * 12**0.5)
            return torch.stack([(value.abs() < 0.525).float(), (value <= -0.525).float(), (value >= 0.525).float()], 1)

    classifier = Classifier(Three(), class_names=["middle", "low", "high"])
    image = torch.full((1, 3, 2, 2), 0.5)
    method = Smoothing(sigma=SIGMA, samples=4000)
    assert method.certify(classifier, image).prediction.tolist() == [-1]
    assert method.decide(classifier, image).tolist() == [0]
    assert method.model_copy(update={"samples": 50}).decide(classifier, image).tolist() == [-1]
    weight = torch.ones(3, 2, 2)
    firm = points_at(weight, [0.4, -0.4])
    for kind in (Smoothing, DualSmoothing):
        assert kind(sigma=SIGMA, samples=500).decide(of(HalfSpace(weight)), firm).tolist()[1] == 0
    assert Smoothing(sigma=SIGMA, samples=500).decide(of(HalfSpace(weight)), firm).tolist() == [1, 0]


# -- attacks -----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("13.12")
@pytest.mark.parametrize("halves", [False, True])
def test_an_attack_inside_the_radius_finds_nothing_and_one_outside_does(halves):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.Tanh(), nn.Linear(32, 2))
    classifier = of(body)
    images = torch.rand(16, 3, 8, 8)
    method = (DualSmoothing if halves else Smoothing)(sigma=SIGMA, samples=2000, selection=100)
    certified = method.certify(classifier, images)
    held = (certified.prediction >= 0).nonzero().flatten()
    assert len(held) >= 8
    branches = branches_of(classifier, split_pixels=halves)
    for factor, expected in ((0.999, 0), (6.0, 1)):
        fooled = 0
        for row in held.tolist():
            image, label = images[[row]], certified.prediction[[row]]
            size = float(certified.radius[row]) * factor
            rng = Randomness(7).for_examples([str(row)])
            attacked = perturb(
                classifier, image, label,
                evaluate=vote_evaluation(branches, sigma=SIGMA, samples=32, rng=rng),
                projection=L2Ball(size), step_rule=NormalizedStep(size / 4), criterion=Misclassified(), steps=20,
                rng=rng, keep="last",
            )  # fmt: skip
            after = Smoothing if not halves else DualSmoothing
            again = after(sigma=SIGMA, samples=10, selection=1000).certify(classifier, attacked.images)
            fooled += int(again.selection.sum(1).argmax(1)[0]) != int(label[0])
        assert fooled == 0 if expected == 0 else fooled >= 1


# -- what votes --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("13.15")
@pytest.mark.parametrize("kind", [Smoothing, DualSmoothing])
def test_a_denoiser_is_queried_for_the_noise_of_the_certificate_and_votes_are_of_what_it_gives(kind, monkeypatch):
    asked = []

    def white(generator, **options):
        asked.append((generator, options))
        return torch.ones_like

    monkeypatch.setattr("snellen.models.diffusion.loading.load_generator", lambda name, *, device: name)
    monkeypatch.setattr("snellen.methods.smoothing.one_shot.one_shot_denoiser", white)
    classifier, dark = of(HalfSpace(torch.ones(3, 2, 2))), torch.zeros(1, 3, 2, 2)
    method = kind(sigma=0.1, samples=50, selection=50, grey=True)
    assert method.certify(classifier, dark).votes[0, 1] == 0
    branches = 2 if kind.split_pixels else 1
    assert method.model_copy(update={"denoiser": "a"}).certify(classifier, dark).votes.tolist() == [[0, 50 * branches]]
    assert asked == [("a", {"sigma": 0.1, "grey": True, "size": (2, 2)})]


def test_a_half_is_shown_as_requested_else_as_trained_else_as_published():
    plain = of(HalfSpace(torch.ones(3, 2, 2)))
    trained = of(pair_of(HalfSpace(torch.ones(3, 2, 2)), HalfSpace(torch.ones(3, 2, 2))))
    for classifier, given, shown in (
        (plain, None, "contrast"),
        (plain, "zeros", "zeros"),
        (trained, None, "zeros"),
        (trained, "fill", "fill"),
    ):
        branches = DualSmoothing(view=given)._branches(classifier, 0.1, False, (2, 2))
        assert [branch.view for branch in branches] == [shown] * 2


# -- what cannot be certified ------------------------------------------------------------------------------------------


def test_noise_is_that_of_the_training_unless_said_otherwise():
    pair = of(pair_of(HalfSpace(torch.ones(3, 2, 2)), HalfSpace(torch.ones(3, 2, 2))))
    assert DualSmoothing(samples=50).certify(pair, torch.rand(1, 3, 2, 2)).sigma == SIGMA
    assert DualSmoothing(samples=50, sigma=0.1).certify(pair, torch.rand(1, 3, 2, 2)).sigma == 0.1
    assert "network for each half" in Smoothing().missing(pair)
    plain = of(HalfSpace(torch.ones(3, 2, 2)))
    assert "not trained on noise of a known size" in Smoothing().missing(plain)
    assert Smoothing(sigma=0.1).missing(plain) is None
    assert DualSmoothing(sigma=0.1).missing(plain) is None


@pytest.mark.parametrize(
    ("method", "images"),
    [
        (DualSmoothing(sigma=0.1), torch.rand(1, 3, 5, 4)),
        (Smoothing(sigma=0.1), torch.rand(1, 3, 4, 4) + 1),
        (Smoothing(sigma=0.1), torch.full((1, 3, 4, 4), torch.nan)),
        (Smoothing(), torch.rand(1, 3, 4, 4)),
    ],
)
def test_what_cannot_be_used_is_refused(method, images):
    weight = torch.ones(3, *images.shape[2:])
    with pytest.raises(InputError):
        method.certify(of(HalfSpace(weight)), images)


@pytest.mark.parametrize("wrong", [{"sigma": 0}, {"samples": 0}, {"alpha": 0}, {"alpha": 1}, {"radius": -1}])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Smoothing(**wrong)
