"""Orbits, the perceptual layer and the network behind it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from snellen.core.errors import InputError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.models.classifiers.artifact_models import build_network
from snellen.systems.perception import layer as layer_module
from snellen.systems.perception.attractors import found_again, reconstruction_errors, spectral_radius
from snellen.systems.perception.autoencoder import Cosid, build
from snellen.systems.perception.layer import VANILLA, PerceptualLayer, perceive, perception_orbit
from snellen.systems.perception.orbits import Orbit, dialogue, orbit
from snellen.systems.perception.perceptualized import PerceptualizedNetwork, architecture, as_shown, observed

SIDE = 8


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def nearly_kept(images: Tensor) -> Tensor:
    return 0.9 * images


def halved(images: Tensor) -> Tensor:
    return 0.5 * images


def autoencoder() -> torch.nn.Module:
    torch.manual_seed(0)
    network = build(kind="perceptron", width=16, side=SIDE, channels=1)
    return network.eval()


# -- autoencoder ------------------------------------------------------------------------------------------------------


@pytest.mark.covers("20.5")
def test_cosid_is_the_last_layer_too_and_nothing_keeps_the_output_in_the_unit_range() -> None:
    torch.testing.assert_close(Cosid()(torch.tensor([0.0, 1.0])), torch.tensor([1.0, math.cos(1) - 1]))
    network = build(kind="convolution", width=4, side=28, channels=1)
    assert isinstance(network.layers[-1], Cosid)
    assert not [layer for layer in network.modules() if isinstance(layer, torch.nn.Sigmoid)]
    strided = [layer.stride for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert strided == [(2, 2)] * 5 + [(1, 1)] * 8
    assert sum(isinstance(layer, Cosid) for layer in network.modules()) == len(strided)


@pytest.mark.parametrize("side", [8, 28, 29])
@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_go_down_to_one_pixel_and_come_back(side: int, channels: int) -> None:
    network = build(kind="convolution", width=4, side=side, channels=channels)
    sizes: list[tuple[int, ...]] = []
    for layer in network.layers:
        layer.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    assert network(torch.rand(2, channels, side, side)).shape == (2, channels, side, side)
    assert (4, 1, 1) in sizes


def test_what_an_autoencoder_cannot_be_or_see_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="perceptron"):
        build(kind="perceptro", width=4, side=8, channels=1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 or 3 channels, got 2"):
        build(kind="perceptron", width=4, side=8, channels=2)
    with pytest.raises(InputError, match="width of at least 1"):
        build(kind="perceptron", width=0, side=8, channels=1)
    with pytest.raises(InputError, match=r"\(1, 8, 8\), got \(1, 9, 8\)"):
        autoencoder()(torch.rand(1, 1, 9, 8))


# -- orbits -----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("20.1")
def test_an_orbit_holds_every_state_and_how_far_each_step_moved(images: Tensor) -> None:
    walked = orbit(halved, images, 3)
    assert walked.states.shape == (4, *images.shape)
    torch.testing.assert_close(walked.seen, images / 8)
    torch.testing.assert_close(walked.moves[1], (images / 4).flatten(1).norm(dim=1))
    assert walked.finite.all()
    with pytest.raises(InputError, match="at least one step"):
        orbit(halved, images, 0)


@pytest.mark.covers("20.8")
@pytest.mark.parametrize("period", [1, 2, 3])
def test_a_cycle_is_reported_by_its_period(period: int) -> None:
    points = torch.eye(3)[:period]
    states = torch.stack([torch.full((3,), 9.0), *(points[number % period] for number in range(8))])[:, None]
    assert Orbit(states).periods(1e-6) == (period,)


@pytest.mark.covers("20.8")
def test_what_only_passes_by_its_last_place_once_or_runs_away_has_no_period() -> None:
    passing = torch.tensor([5.0, 1.0, 2.0, 3.0, 4.0, 1.0])[:, None, None]
    assert Orbit(passing).periods(1e-6) == (None,)
    turning = torch.tensor([5.0, 2.0, 1.0, 3.0, 1.0])[:, None, None]
    assert Orbit(turning).periods(1e-6) == (None,)
    growing = orbit(lambda x: 2 * x, torch.ones(1, 1), 200)
    assert growing.periods(1e-3) == (None,)
    assert not growing.finite.any()


@pytest.mark.covers("20.8")
def test_a_dialogue_settles_on_the_two_images_that_are_sent_to_and_fro() -> None:
    """The first goes half of the way to 1 in a step, the second half of the way to 0."""
    talk = dialogue(lambda x: (x + 1) / 2, halved, torch.full((1, 1), 0.3), steps=(1, 1), rounds=40, tolerance=1e-5)
    first, second = talk.settled
    torch.testing.assert_close(torch.cat([first, second]), torch.tensor([[2 / 3], [1 / 3]]))
    assert talk.periods == (1,)
    flipping = dialogue(lambda x: 1 - x, lambda x: x, torch.full((1, 1), 0.3), steps=(1, 1), rounds=9, tolerance=1e-5)
    assert flipping.periods == (2,)
    with pytest.raises(InputError, match="at least one round"):
        dialogue(halved, halved, torch.ones(1, 1), rounds=0)


# -- attractors -------------------------------------------------------------------------------------------------------


@pytest.mark.covers("20.2")
def test_a_contraction_attracts_its_fixed_point_and_an_expansion_does_not() -> None:
    fixed = torch.full((2, 1, 4, 4), 0.5)
    rng = Randomness(0).bind(2)

    def towards(images: Tensor, factor: float) -> Tensor:
        return 0.5 + factor * (images - 0.5)

    for factor, attracts in ((0.5, True), (1.5, False)):
        again = found_again(lambda x, f=factor: towards(x, f), fixed, steps=12, tolerance=0.05, rng=rng)
        assert again.tolist() == [attracts] * 2
        assert spectral_radius(lambda x, f=factor: towards(x, f), fixed[0]) == pytest.approx(factor, rel=1e-4)
    turned = torch.tensor([[0.0, -0.9], [0.9, 0.0]])  # complex eigenvalues, ±0.9i
    assert spectral_radius(lambda x: (x.flatten(1) @ turned.T).view_as(x), torch.ones(1, 1, 2)) == pytest.approx(0.9)
    torch.testing.assert_close(reconstruction_errors(halved, fixed), torch.full((2,), 0.25 * 4))


def test_the_largest_eigenvalue_of_a_large_image_is_found_by_products() -> None:
    generator = torch.Generator().manual_seed(0)
    network = build(kind="convolution", width=4, side=40, channels=1)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3, generator=generator)
    image = torch.rand(1, 40, 40, generator=generator)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x[None])[0], image).view(1600, 1600)
    expected = float(torch.linalg.eigvals(jacobian).abs().max())
    assert spectral_radius(network, image) == pytest.approx(expected, rel=1e-3)
    # Complex eigenvalues 0.9 e^(±iπ/4) in a plane, and 0.5 elsewhere: products end where nothing new comes.
    turn = 0.9 * math.sqrt(0.5) * torch.tensor([[1.0, -1.0], [1.0, 1.0]])

    def turned(images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return torch.cat([flat[:, :2] @ turn.T, 0.5 * flat[:, 2:]], 1).view_as(images)

    assert spectral_radius(turned, image) == pytest.approx(0.9, rel=1e-4)


@pytest.mark.parametrize("side", [4, 40])
def test_a_jacobian_that_is_not_finite_is_reported(side: int) -> None:
    """LAPACK may end the process where it meets such numbers."""
    with pytest.raises(InputError, match="runs away at a training image"):
        spectral_radius(lambda x: x.sqrt(), torch.zeros(1, side, side))


# -- layer ------------------------------------------------------------------------------------------------------------


@pytest.mark.covers("20.7")
def test_vanilla_is_one_copy_without_augmentation_exactly(images: Tensor) -> None:
    network = autoencoder()
    with torch.no_grad():
        seen = perceive(network, images, PerceptualLayer(copies=1, steps=4, strength=0.0))
    assert torch.equal(seen, orbit(network, images, 4).seen)
    assert (VANILLA.copies, VANILLA.strength, VANILLA.steps) == (1, 0.0, 30)


@pytest.mark.covers("20.4")
def test_stochastic_layer_is_the_mean_of_copies_that_were_augmented_before_every_step(images: Tensor) -> None:
    network, layer = autoencoder(), PerceptualLayer(copies=3, steps=2, strength=1.0, decay=10.0, seed=4)
    asked: list[Tensor] = []

    def watched(batch: Tensor) -> Tensor:
        asked.append(batch.clone())
        seen: Tensor = network(batch)
        return seen

    with torch.no_grad():
        seen = perceive(watched, images[:1], layer)
        assert len(asked) == 2
        first, second = asked
        # Independent copies in the first step, and another draw, of a tenth of the strength, in the second.
        assert torch.cdist(first.flatten(1), first.flatten(1)).fill_diagonal_(9).min() > 1e-3
        moved = (second - network(first)).abs().mean()
        assert 0 < moved < (first - images[:1]).abs().mean() / 2
        torch.testing.assert_close(seen, network(second).mean(0, keepdim=True))


@pytest.mark.covers("20.4")
def test_every_step_draws_anew_with_a_strength_that_falls_by_the_same_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def watched(copies: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        asked.append((strength, float(torch.rand(1, generator=generator))))
        return copies

    monkeypatch.setattr(layer_module, "augment_copies", watched)
    perceive(halved, torch.ones(1, 1, 2, 2), PerceptualLayer(copies=2, steps=4, strength=0.5, decay=2.0))
    assert [strength for strength, _ in asked] == [0.5, 0.25, 0.125, 0.0625]
    assert len({draw for _, draw in asked}) == 4


@pytest.mark.covers("20.9")
def test_draws_depend_on_the_image_and_the_seed_alone(images: Tensor) -> None:
    network, layer = autoencoder(), PerceptualLayer(copies=4, steps=3, seed=1)
    with torch.no_grad():
        whole = perceive(network, images, layer)
        for chunk in (1, 3, 4, 9):
            torch.testing.assert_close(perceive(network, images, layer, chunk=chunk), whole, rtol=0, atol=1e-5)
        alone = perceive(network, images[[4, 2]], layer)
        torch.testing.assert_close(alone, whole[[4, 2]], rtol=0, atol=1e-5)
        # A map that forgets nothing shows the draws.
        kept, other = (perceive(nearly_kept, images, PerceptualLayer(copies=4, steps=3, seed=seed)) for seed in (1, 2))
        again = perceive(nearly_kept, images[[4, 2]], PerceptualLayer(copies=4, steps=3, seed=1), chunk=3)
    assert (other - kept).abs().max() > 1e-2
    assert torch.equal(again, kept[[4, 2]])


def test_large_images_go_through_in_smaller_parts() -> None:
    sizes: list[int] = []

    def watched(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return batch

    perceive(watched, torch.rand(3, 1, 56, 112), PerceptualLayer(copies=400, steps=1, strength=0.0))
    assert max(sizes) == 256
    assert sum(sizes) == 1200


@pytest.mark.covers("20.1")
def test_the_orbit_of_the_stochastic_layer_ends_where_the_layer_does(images: Tensor) -> None:
    network, layer = autoencoder(), PerceptualLayer(copies=4, steps=5)
    walked = perception_orbit(network, images, layer)
    assert walked.states.shape == (6, *images.shape)
    with torch.no_grad():
        torch.testing.assert_close(walked.seen, perceive(network, images, layer), rtol=0, atol=1e-5)
    assert torch.equal(walked.states[0], images)
    parted = perception_orbit(network, images, layer, chunk=4)
    torch.testing.assert_close(parted.states, walked.states, rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"copies": 0}, {"steps": 0}, {"strength": -0.1}, {"strength": 2.0}, {"decay": 0.5}])
def test_a_layer_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="perceptual layer"):
        PerceptualLayer(**wrong)  # type: ignore[arg-type]


def test_gradients_pass_through_the_layer(images: Tensor) -> None:
    network, layer = autoencoder(), PerceptualLayer(copies=2, steps=2, strength=0.0)
    point = images.clone().requires_grad_()
    (through,) = torch.autograd.grad(perceive(network, point, layer).sum(), point)
    (direct,) = torch.autograd.grad(network(network(point)).sum(), point)
    torch.testing.assert_close(through, direct)


# -- network ----------------------------------------------------------------------------------------------------------


@pytest.mark.covers("20.3")
def test_the_network_decides_about_what_is_seen_and_is_built_again_from_its_record() -> None:
    layer = PerceptualLayer(copies=2, steps=2, seed=3)
    record = architecture(
        {"kind": "perceptron", "width": 8, "side": SIDE, "channels": 1},
        layer,
        {"name": "perceptron", "class_count": 3, "side": SIDE},
    )
    network = build_network(record, "here").eval()
    assert isinstance(network, PerceptualizedNetwork)
    assert network.layer == layer
    photos = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = perceive(network.autoencoder, photos.mean(1, keepdim=True), layer)
        torch.testing.assert_close(network(photos), network.classifier(seen.expand(-1, 3, -1, -1)))


def test_colours_are_seen_by_three_channels_alone() -> None:
    photos = torch.rand(2, 3, 4, 4)
    assert observed(photos, 3) is photos
    torch.testing.assert_close(observed(photos, 1), photos.mean(1, keepdim=True))
    assert as_shown(photos) is photos
    assert as_shown(photos[:, :1]).shape == photos.shape
