"""Against Captum, the reference library of PyTorch, where both define the same; all agree up to rounding.

They differ, and are made equal here, in this:

- Captum explains what a function returns; ours explains the score or the probability of a class, which is what the
  function here returns.
- SmoothGrad draws noise from PyTorch's global generator there, and for each image by its id here. Here noisy images are
  cut to [0, 1]; there they are not. The test hands Captum our noise, on images that the noise does not carry out of
  [0, 1], and shows that the cut is what differs on others.
- Saliency and SmoothGrad give one number for each channel there. A map here has one for each pixel: the largest
  magnitude, or the sum.
- Grad-CAM is enlarged to the image here; there by a second function. Both do so after negative evidence is dropped.

RISE and Partition SHAP have no counterpart there: its Shapley values are of players without a hierarchy.
"""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.randomness import Randomness
from snellen.methods.explanations.filling import constant_filling
from snellen.methods.explanations.grad_cam import coarse_grad_cam, grad_cam
from snellen.methods.explanations.gradient import gradient
from snellen.methods.explanations.integrated_gradients import integrated_gradients
from snellen.methods.explanations.occlusion import occlusion
from snellen.methods.explanations.score import TargetScore
from snellen.methods.explanations.smooth_grad import SmoothGrad, smooth_grad

captum = pytest.importorskip("captum.attr", reason="the reference of attributions, of the extra test")

IMAGES = torch.rand(4, 3, 11, 8, generator=torch.Generator().manual_seed(0))
BASELINE = torch.rand(4, 3, 11, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([2, 0, 1, 2])
#: Largest difference, as a share of the largest value: float32 sums in another order.
ROUNDING = 1e-5


@pytest.fixture
def classifier():
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(6, 5, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(75, 3),
    )
    return Classifier(model, class_names=["a", "b", "c"], normalization=Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.2)))


def leaves():
    """The images, in the state that Captum asks for."""
    return IMAGES.clone().requires_grad_()


def explained(classifier, of):
    return classifier if of == "score" else lambda images: classifier(images).softmax(1)


def assert_equal(ours, theirs):
    theirs = theirs.detach().float()
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 1e-3, "nothing to compare"
    assert (ours - theirs).abs().max() <= ROUNDING * theirs.abs().max()


@pytest.mark.parametrize("of", ["score", "probability"])
def test_the_gradient_is_that_of_saliency(classifier, of):
    ours = gradient(TargetScore(classifier, TARGETS, of), IMAGES).maps
    theirs = captum.Saliency(explained(classifier, of)).attribute(leaves(), target=TARGETS, abs=False)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("of", ["score", "probability"])
@pytest.mark.parametrize(("rule", "method"), [("gauss-legendre", "gausslegendre"), ("midpoint", "riemann_middle")])
def test_integrated_gradients_with_every_rule_that_both_have(classifier, of, rule, method):
    score = TargetScore(classifier, TARGETS, of)
    ours = integrated_gradients(score, IMAGES, baseline=BASELINE, steps=20, rule=rule)
    theirs, gap = captum.IntegratedGradients(explained(classifier, of)).attribute(
        leaves(), BASELINE, TARGETS, n_steps=20, method=method, return_convergence_delta=True
    )
    assert_equal(ours.maps, theirs)
    assert torch.allclose(ours.gap, gap.double(), atol=1e-5)


@pytest.mark.parametrize(("window", "stride"), [(4, 3), (3, 2), (2, 2), (5, 1)])
def test_occlusion_with_windows_that_are_cut_at_the_edge_too(classifier, window, stride):
    score = TargetScore(classifier, TARGETS, "score")
    ours = occlusion(score, IMAGES, constant_filling(IMAGES, 0.5), window=window, stride=stride).maps
    theirs = captum.Occlusion(classifier).attribute(
        IMAGES, (3, window, window), strides=(3, stride, stride), baselines=0.5, target=TARGETS
    )
    # A window covers all channels, so that each of them has the same map.
    assert torch.equal(theirs[:, 0], theirs[:, 2])
    assert_equal(ours, theirs[:, 0])


@pytest.mark.parametrize("layer", ["1", "2", "3"])
def test_grad_cam_at_the_layer_and_enlarged(classifier, layer):
    theirs = captum.LayerGradCam(classifier, classifier.module.get_submodule(layer))
    coarse, _, _ = coarse_grad_cam(classifier, IMAGES, TARGETS, layer=layer)
    assert_equal(coarse, theirs.attribute(leaves(), TARGETS)[:, 0])
    large = captum.LayerAttribution.interpolate(
        theirs.attribute(leaves(), TARGETS, relu_attributions=True), IMAGES.shape[2:], "bilinear"
    )
    assert_equal(grad_cam(classifier, IMAGES, TARGETS, layer=layer).maps, large[:, 0])


def their_smooth_grad(classifier, images, sigma, samples, monkeypatch):
    noise = Randomness(7).bind(len(images)).normal("noise", (samples, *images.shape[1:]))
    clean = nn.Sequential(classifier.module)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in classifier.normalization)
    # Not the classifier, which refuses what lies outside of [0, 1].
    tunnel = captum.NoiseTunnel(captum.Saliency(lambda noisy: clean((noisy - mean) / std)))
    with monkeypatch.context() as patched:
        patched.setattr(torch, "normal", lambda _mean, std: noise.flatten(0, 1) * std)
        return tunnel.attribute(
            images.clone().requires_grad_(), nt_samples=samples, stdevs=sigma, target=TARGETS, abs=False
        )


def test_smooth_grad_of_the_same_noise(classifier, monkeypatch):
    inside = 0.3 + 0.4 * IMAGES  # six standard deviations of 0.04 from the nearest end
    ours = smooth_grad(TargetScore(classifier, TARGETS, "score"), inside, rng=Randomness(7), sigma=0.04, samples=12)
    theirs = their_smooth_grad(classifier, inside, 0.04, 12, monkeypatch)
    assert_equal(ours.maps, theirs)
    by_pixel = SmoothGrad(sigma=0.04, samples=12).attribute(classifier, inside, TARGETS, rng=Randomness(7)).maps
    assert_equal(by_pixel, theirs.abs().amax(1))


def test_smooth_grad_differs_where_noise_leaves_the_range(classifier, monkeypatch):
    ours = smooth_grad(TargetScore(classifier, TARGETS, "score"), IMAGES, rng=Randomness(7), sigma=0.3, samples=12)
    theirs = their_smooth_grad(classifier, IMAGES, 0.3, 12, monkeypatch)
    assert (ours.maps - theirs).abs().max() > 100 * ROUNDING * theirs.abs().max()
