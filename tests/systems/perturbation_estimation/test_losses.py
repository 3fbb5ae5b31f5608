"""The three losses: against the published formula, by oracles, and where a mask leaves pairs out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.systems.perturbation_estimation.estimate import surrogate_scores
from snellen.systems.perturbation_estimation.fitting import drawn, fit_denoiser, kept_shares, objective_of
from snellen.systems.perturbation_estimation.losses import LossWeights, estimation_loss, untouched
from snellen.systems.perturbation_estimation.pairs import Cell
from snellen.training.batches import Batch
from snellen.training.plan import TrainingPlan
from tests.systems.perturbation_estimation.blobs import brightness

ALL = LossWeights(reconstruction=2.0, benign=0.5, adversarial=0.25)


def level(*values):
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()


#: Dark images that an attack made light, one of them by much.
CLEAN, ATTACKED = level(0.4, 0.45, 0.3), level(0.55, 0.6, 0.9)


def scores():
    return surrogate_scores(brightness())


@pytest.mark.covers("5.1")
def test_identity_and_oracle():
    losses = {
        name: estimation_loss(denoise, scores(), CLEAN, ATTACKED, [untouched], ALL).parts
        for name, denoise in {"identity": lambda seen: seen, "oracle": lambda seen: CLEAN}.items()
    }
    f = scores()
    light = torch.ones(3, dtype=torch.long)
    # The identity finds no perturbation: the clean image itself is compared with the attacked label.
    assert losses["identity"]["adversarial"] == pytest.approx(float(F.cross_entropy(f(CLEAN), light)))
    assert losses["identity"]["benign"] == pytest.approx(float(F.cross_entropy(f(ATTACKED), 1 - light)))
    assert losses["oracle"]["reconstruction"] == 0
    assert losses["oracle"]["benign"] == pytest.approx(float(F.cross_entropy(f(CLEAN), 1 - light)))
    assert losses["oracle"]["adversarial"] == pytest.approx(float(F.cross_entropy(f(ATTACKED), light)))


@pytest.mark.covers("5.1", "5.3")
def test_the_loss_is_the_published_formula_over_the_robust_subset():
    """Written once more as the published code computes it, with a mask that works."""

    def darken(seen):
        return 0.5 * seen

    def half(seen):
        return seen * torch.tensor([1.0, 0.1, 1.0]).view(3, 1, 1, 1)

    def denoise(seen):
        return 0.9 * seen

    f, views = scores(), [untouched, darken, half]
    loss = estimation_loss(denoise, f, CLEAN, ATTACKED, views, ALL)
    clean, attacked = (torch.cat([view(x) for view in views]) for x in (CLEAN, ATTACKED))
    cleaned = denoise(attacked)
    of_clean, of_attacked = f(clean).argmax(1), f(attacked).argmax(1)
    benign = of_clean == of_clean[:3].repeat(3)
    adversarial = of_attacked == of_attacked[:3].repeat(3)
    expected = (
        2 * (cleaned - clean).abs().mean()
        + 0.5 * F.cross_entropy(f(cleaned)[benign], of_clean[benign])
        + 0.25 * F.cross_entropy(f(attacked - cleaned + clean)[adversarial], of_attacked[adversarial])
    )
    assert float(loss.total.mean()) == pytest.approx(float(expected), rel=1e-5)
    assert torch.equal(loss.kept_benign.flatten(), benign)
    # Halved, all attacked images are dark again; a tenth, the second one is.
    assert loss.kept_adversarial.tolist() == [[True] * 3, [False] * 3, [True, False, True]]


@pytest.mark.covers("5.3", "5.13")
def test_a_pair_that_a_view_flips_leaves_the_alignment_and_stays_in_the_reconstruction():
    def flipping(seen):
        return seen * 0.1

    views, denoiser = [untouched, flipping], nn.Conv2d(3, 3, 1)
    nn.init.constant_(denoiser.weight, 0.2)
    both = estimation_loss(denoiser, scores(), CLEAN, ATTACKED, views, ALL)
    assert both.kept_adversarial.tolist() == [[True] * 3, [False] * 3]
    alone = LossWeights(reconstruction=0, benign=0, adversarial=1)
    with_view = estimation_loss(denoiser, scores(), CLEAN, ATTACKED, views, alone).total
    without = estimation_loss(denoiser, scores(), CLEAN, ATTACKED, [untouched], alone).total
    assert torch.allclose(with_view, without), "a pair outside the robust subset counts"
    everything = estimation_loss(denoiser, scores(), CLEAN, ATTACKED, views, alone, whole=True)
    assert everything.kept_adversarial.all()
    assert not torch.allclose(everything.total, without)
    plain = LossWeights(benign=0, adversarial=0)
    of_both = estimation_loss(denoiser, scores(), CLEAN, ATTACKED, views, plain).total
    of_one = estimation_loss(denoiser, scores(), CLEAN, ATTACKED, [untouched], plain).total
    assert not torch.allclose(of_both, of_one), "the reconstruction leaves the view out"


@pytest.mark.covers("5.14")
def test_an_empty_robust_subset_leaves_the_alignments_out():
    def black(seen):
        return seen * 0.0

    loss = estimation_loss(lambda seen: seen, scores(), level(0.9), level(0.8), [black], ALL)
    assert not loss.kept_benign.any()
    assert set(loss.parts) == {"reconstruction"}
    assert loss.total.isfinite().all()


@pytest.mark.covers("5.14")
@pytest.mark.parametrize(
    ("clean", "attacked", "message"),
    [
        (level(0.5), level(0.5)[..., :4], "partners have one shape"),
        (level(0.5), level(1.5), "adversarial images lie in"),
        (level(float("nan")), level(0.5), "clean images lie in"),
        (level(-0.1), level(0.5), "clean images lie in"),
        (level(0.5)[:0], level(0.5)[:0], "0 pairs"),
    ],
)
def test_what_is_no_pair_is_refused(clean, attacked, message):
    with pytest.raises(InputError, match=message):
        estimation_loss(lambda seen: seen, scores(), clean, attacked, [untouched], ALL)
    with pytest.raises(InputError, match="under 0 views"):
        estimation_loss(lambda seen: seen, scores(), level(0.5), level(0.5), [], ALL)


@pytest.mark.covers("5.5", "5.6")
def test_the_surrogate_is_frozen_and_gradients_pass_it():
    surrogate = brightness(normalization=Normalization((0.1,) * 3, (2.0,) * 3))
    before = {name: value.clone() for name, value in surrogate.module.state_dict().items()}
    f = surrogate_scores(surrogate)
    assert torch.allclose(f(CLEAN), surrogate(CLEAN)), "the normalisation is left out"
    assert f(CLEAN + 5).shape == (3, 2), "estimates leave [0, 1]"
    denoiser = nn.Conv2d(3, 3, 1)
    for weights in (LossWeights(0, 1, 0), LossWeights(0, 0, 1)):
        denoiser.zero_grad()
        loss = estimation_loss(denoiser, f, CLEAN, ATTACKED, [untouched], weights)
        loss.total.mean().backward()
        assert float(denoiser.weight.grad.abs().sum()) > 0
    assert all(torch.equal(before[name], value) for name, value in surrogate.module.state_dict().items())
    assert all(parameter.grad is None for parameter in surrogate.module.parameters())
    surrogate.module.train()
    with pytest.raises(InputError, match="training mode"):
        surrogate_scores(surrogate)
    with pytest.raises(UnsupportedError, match="gives no gradients"):
        surrogate_scores(Classifier(lambda x: x.flatten(1)[:, :2], class_names=["a", "b"], name="far"))


@pytest.mark.covers("5.6")
def test_no_loss_asks_for_labels_and_an_unasked_surrogate_is_not_called():
    def never(images):
        raise AssertionError("asked")

    plain = LossWeights(benign=0, adversarial=0)
    assert estimation_loss(lambda seen: seen, never, CLEAN, ATTACKED, [untouched], plain).total.shape == (3,)
    batch = Batch(
        CLEAN, (ATTACKED * 255).round().to(torch.uint8), torch.ones(3), torch.arange(3), Randomness(0).bind(3)
    )
    objective = objective_of(scores(), (), LossWeights())
    expected = estimation_loss(
        lambda seen: seen, scores(), CLEAN, (ATTACKED * 255).round() / 255, [untouched], LossWeights()
    )
    assert torch.allclose(objective(nn.Identity(), batch), expected.total)


@pytest.mark.covers("5.13")
def test_parity_mixes_the_plain_images_and_leaves_nothing_out():
    names, rng = ("crop_and_pad", "cutmix"), Randomness(0).bind(3)
    batch = Batch(CLEAN, (ATTACKED * 255).round().to(torch.uint8), torch.ones(3), torch.arange(3), rng)
    adversarial = (ATTACKED * 255).round() / 255
    totals = {}
    for parity in (False, True):
        views = drawn(names, CLEAN, rng, parity=parity)
        expected = estimation_loss(nn.Identity(), scores(), CLEAN, adversarial, views, ALL, whole=parity)
        totals[parity] = objective_of(scores(), names, ALL, parity=parity)(nn.Identity(), batch)
        assert torch.allclose(totals[parity], expected.total)
        masked = estimation_loss(nn.Identity(), scores(), CLEAN, adversarial, views, ALL)
        assert not masked.kept_adversarial.all(), "the views flip nothing: the test tells no mask from none"
    assert not torch.allclose(totals[False], totals[True])


@pytest.mark.covers("5.8")
def test_weights_make_the_baselines_and_pull_where_they_say():
    """One number is learnt: how much is taken away of images that were made lighter by 0.25."""

    class Darker(nn.Module):
        def __init__(self):
            super().__init__()
            self.taken = nn.Parameter(torch.zeros(1, 3, 1, 1))

        def forward(self, images):
            return images - self.taken

    clean = level(*(0.3 + 0.01 * row for row in range(16)))
    pairs = Cell("v", "a", clean, clean + 0.25, tuple(map(str, range(16))), 16)
    plan = TrainingPlan(epochs=60, batch_size=16, learning_rate=0.02, weight_decay=0.0, schedule="cosine")
    taken = {}
    for name, weights in {
        "do": LossWeights(benign=0, adversarial=0),
        "ds": LossWeights(reconstruction=0, benign=1, adversarial=0),
        "cdd": LossWeights(),
    }.items():
        trained = fit_denoiser(Darker(), [pairs], scores(), views=(), weights=weights, plan=plan)
        taken[name] = float(trained.weights["taken"].mean())
    assert taken["do"] == pytest.approx(0.25, abs=0.01)
    assert taken["ds"] > 0.33, "stability alone knows no length"
    assert taken["cdd"] == pytest.approx(0.25, abs=0.02)


def test_differences_are_squared_where_requested():
    for squared, expected in ((False, 0.3), (True, 0.09)):
        weights = LossWeights(benign=0, adversarial=0, squared=squared)
        loss = estimation_loss(lambda seen: seen, scores(), level(0.2), level(0.5), [untouched], weights)
        assert float(loss.total) == pytest.approx(expected, abs=1e-6)


def test_shares_of_the_robust_subset_are_reported_for_each_view():
    pairs = Cell("v", "a", CLEAN, ATTACKED, ("a", "b", "c"), 3)
    shares = kept_shares(pairs, scores(), ("flip", "crop_and_pad"), Randomness(0))
    assert shares["flip.benign"] == shares["flip.adversarial"] == 1.0
    assert shares["crop_and_pad.benign"] == 1.0, "a dark image cut is dark"
    assert shares["crop_and_pad.adversarial"] < 1.0
