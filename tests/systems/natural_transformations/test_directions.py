"""Directions without labels, and the filter that a judge decides."""

import inspect

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.natural_transformations.directions import (
    Directions,
    closed_form,
    examine_directions,
    find_directions,
    kept_directions,
    layer_ranges,
    principal,
)
from snellen.systems.natural_transformations.editing import EditSettings, direction_lines, prepare_editing
from snellen.systems.natural_transformations.inversion import Codes, render
from tests.systems.natural_transformations.parts import BLOCKS, LATENT, codes_of, split


def brightness(images):
    """A judge of two classes: dark, bright."""
    level = images.mean((1, 2, 3))
    return torch.stack([0.5 - level, level - 0.5], 1)


@pytest.mark.covers("26.5")
@pytest.mark.parametrize("algorithm", ["closed_form", "principal"])
def test_directions_are_orthonormal_deterministic_and_know_no_label(algorithm):
    generator, codes = split(), codes_of(40)
    found = find_directions(generator, 4, algorithm=algorithm, codes=codes)
    again = find_directions(generator, 4, algorithm=algorithm, codes=codes)
    assert torch.equal(found.vectors, again.vectors)
    assert found.names == again.names
    for name, rows in layer_ranges(BLOCKS).items():
        own = [place for place, label in enumerate(found.names) if f"{name} layers" in label]
        vectors = found.vectors[own]
        products = vectors.flatten(1) @ vectors.flatten(1).T
        torch.testing.assert_close(products, torch.eye(4), atol=1e-5, rtol=0)
        others = [row for row in range(BLOCKS) if row not in rows]
        assert not vectors[:, others].any(), "other layers stay as they are"
    assert "label" not in " ".join(inspect.signature(find_directions).parameters)


def test_the_algorithms_are_those_of_their_papers():
    weights = [torch.randn(7, 5, generator=torch.Generator().manual_seed(one)) for one in range(3)]
    _, _, expected = torch.linalg.svd(torch.cat(weights).double(), full_matrices=False)
    torch.testing.assert_close(closed_form(weights, 3).abs().double(), expected[:3].abs(), atol=1e-5, rtol=0)
    codes = torch.randn(50, 5, generator=torch.Generator().manual_seed(9)) * torch.tensor([1.0, 5.0, 2.0, 0.1, 3.0])
    first = principal(codes, 1)[0]
    assert int(first.abs().argmax()) == 1
    assert float(first[1]) > 0.9, "the number furthest from 0 is positive"


def test_a_factor_that_two_layers_code_with_opposite_signs_is_one_principal_direction():
    generator, codes = split(), 0.1 * codes_of(200)
    factor = torch.randn(200, generator=torch.Generator().manual_seed(4))
    codes[:, 1, 0] += 3 * factor
    codes[:, 2, 0] -= 3 * factor  # the mean of the two layers does not move
    found = find_directions(generator, 1, algorithm="principal", codes=codes, ranges=("all",))
    assert found.names == ("principal 1, all layers",)
    parts = found.vectors[0, :, 0]
    assert float(parts[1] * parts[2]) == pytest.approx(-0.5, abs=0.02)
    assert float(found.deviations[0]) == pytest.approx(3 * 2**0.5 * float(factor.std()), rel=0.02)


def test_closed_form_directions_of_two_layers_move_one_layer_each_because_their_codes_are_apart():
    generator = split()
    found = find_directions(generator, 6, ranges=("all",))
    for vector in found.vectors:
        assert sorted(float(part.norm()) for part in vector) == pytest.approx([0.0, 0.0, 1.0], abs=1e-4)
    strongest = max(float(torch.linalg.svdvals(one)[0]) for one in generator.affine)
    first = found.vectors[0]
    layer = int(first.norm(dim=1).argmax())
    assert float((generator.affine[layer] @ first[layer]).norm()) == pytest.approx(strongest, rel=1e-4)


def test_directions_are_those_of_the_domain_where_its_codes_are_given():
    generator, codes = split(), Codes.plain(codes_of(60), split().channels)
    domain = 0.1 * codes_of(100, seed=5)
    domain[:, 0, 2] += torch.linspace(-3, 3, 100)
    labels = brightness(render(generator, codes)).argmax(1)
    settings = EditSettings(count=1, ranges=("coarse",), most_changed=1.0, least_visible=0.0)
    given = (generator, codes, torch.full((60,), 30.0), labels, brightness, settings)
    own = prepare_editing(*given, rng=Randomness(0)).directions
    other = prepare_editing(*given, rng=Randomness(0), domain=domain).directions
    assert float(other.vectors[0, 0, 2]) > 0.95
    assert float(own.vectors[0, 0, 2].abs()) < 0.9


@pytest.mark.covers("26.6")
def test_a_judge_that_answers_one_class_always_judges_nothing():
    generator, codes = split(), Codes.plain(codes_of(40), split().channels)
    found, labels = find_directions(generator, 2), (torch.arange(40) >= 30).long()

    def constant(images):
        return torch.tensor([[1.0, 0.0]]).repeat(len(images), 1)

    with pytest.raises(InputError, match=r"30 of 40 reconstructions rightly and none of the classes 1; expected 50%"):
        examine_directions(found, generator, codes, labels, constant, epsilon=1.0)
    with pytest.raises(InputError, match=r"10 of 40 reconstructions rightly and none of the classes 1"):
        examine_directions(found, generator, codes, 1 - labels, constant, epsilon=1.0)
    opened = examine_directions(found, generator, codes, labels, constant, epsilon=1.0, most_changed=1.0)
    assert [one.judged for one in opened] == [30] * len(found)


def test_the_advice_where_no_direction_is_left_follows_the_reason():
    generator, codes = split(), Codes.plain(codes_of(40), split().channels)
    found, labels = find_directions(generator, 1), brightness(render(generator, codes)).argmax(1)
    unseen = examine_directions(found, generator, codes, labels, brightness, epsilon=1e-4)
    with pytest.raises(InputError, match=r"pixels by 0\.0000 only: lower least_visible or raise epsilon"):
        kept_directions(found, unseen)


def test_steps_are_in_standard_deviations_of_the_prior():
    generator = split()
    found = find_directions(generator, 2)
    variance = found.vectors[0, 0] @ generator.prior.covariance @ found.vectors[0, 0]
    assert float(found.deviations[0]) == pytest.approx(float(variance) ** 0.5, rel=1e-4)
    shift = found.shift(torch.tensor([[2.0] + [0.0] * (len(found) - 1)]))
    torch.testing.assert_close(shift[0], 2 * found.deviations[0] * found.vectors[0])
    assert torch.equal(found.along(0, 2.0, 3), shift.expand(3, -1, -1))


@pytest.mark.covers("26.7")
def test_a_step_of_zero_is_the_reconstruction_and_small_steps_change_little():
    generator = split()
    codes = Codes(codes_of(6).view(2, 3, BLOCKS, LATENT), torch.rand(2, 3, generator.channels))
    found = find_directions(generator, 2)

    def at(t):
        return render(generator, codes, found.shift(torch.full((2, len(found)), t)))

    assert torch.equal(at(0.0), render(generator, codes))
    steps = [float((at(0.5 + size) - at(0.5)).abs().max()) for size in (1e-1, 1e-2, 1e-3)]
    assert steps[0] > 4 * steps[1] > 16 * steps[2] > 0


@pytest.mark.covers("26.6")
def test_the_filter_keeps_what_the_judge_reads_alike_and_logs_every_direction():
    generator, codes = split(), Codes.plain(codes_of(60), split().channels)
    found = find_directions(generator, 3)
    labels = brightness(render(generator, codes)).argmax(1)
    rates = examine_directions(found, generator, codes, labels, brightness, epsilon=3.0, most_changed=1.0)
    cut = sorted(one.changed for one in rates)[len(rates) // 2]
    options = {"epsilon": 3.0, "least_visible": 0.004, "most_changed": cut}
    examined = examine_directions(found, generator, codes, labels, brightness, **options)
    assert [one.name for one in examined] == list(found.names)
    for row, one in enumerate(examined):
        ends = []
        for t in (-3.0, 3.0):
            coefficients = torch.zeros(60, len(found))
            coefficients[:, row] = t
            made = render(generator, codes, found.shift(coefficients))
            ends.append(float((brightness(made).argmax(1) != labels).double().mean()))
        assert one.changed == pytest.approx(max(ends))
        assert one.kept == (one.changed < cut and one.visible >= 0.004)
        assert one.judged == 60
        assert len(one.by_class) == 2
        assert bool(one.reason) != one.kept
    kept = [one.kept for one in examined]
    assert set(kept) == {True, False}, "a filter that decides nothing would pass too"
    assert kept_directions(found, examined).names == tuple(one.name for one in examined if one.kept)
    lines = direction_lines([one.row() for one in examined])
    assert len(lines) == len(found)
    assert any("left out: changes the label" in line for line in lines)


@pytest.mark.covers("26.1")
@pytest.mark.covers("26.9")
def test_every_image_is_edited_by_its_own_code_where_some_are_left_out():
    generator, codes = split(), Codes.plain(codes_of(30), split().channels)
    labels = brightness(render(generator, codes)).argmax(1)
    psnr = torch.where(torch.arange(30) % 3 == 0, 10.0, 30.0)
    settings = EditSettings(count=1, most_changed=1.0, least_visible=0.0)
    made = prepare_editing(generator, codes, psnr, labels, brightness, settings, rng=Randomness(0))
    supply = made.supply()
    rows = (psnr > 20).nonzero().flatten()
    assert supply.place[psnr < 20].tolist() == [-1] * 10
    plain = supply.images(supply.place[rows], torch.zeros(20, len(made.directions)))
    torch.testing.assert_close(plain, render(generator, codes[rows]))


@pytest.mark.covers("26.6")
def test_the_trained_network_is_no_judge_of_its_own_edits():
    generator, codes = split(), Codes.plain(codes_of(8), split().channels)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    given = (generator, codes, torch.full((8,), 30.0), torch.zeros(8, dtype=torch.int64))
    with pytest.raises(InputError, match="is the network that is trained"):
        prepare_editing(*given, network, EditSettings(), rng=Randomness(0), trained=network)


def test_what_no_direction_can_be_found_in_is_refused():
    generator, codes = split(), Codes.plain(codes_of(8), split().channels)
    with pytest.raises(InputError, match="coarse, middle, fine, all; got finest"):
        find_directions(generator, 2, ranges=("finest",))
    with pytest.raises(InputError, match="1 to 6 directions; got 9"):
        find_directions(generator, 9)
    with pytest.raises(InputError, match="none were given"):
        find_directions(generator, 2, algorithm="principal")
    found = find_directions(generator, 2)
    wrong = 1 - brightness(render(generator, codes)).argmax(1)
    with pytest.raises(InputError, match="reads none of 8 reconstructions rightly"):
        examine_directions(found, generator, codes, wrong, brightness, epsilon=1.0)
    right = 1 - wrong
    none = examine_directions(found, generator, codes, right, brightness, epsilon=1.0, least_visible=1.0)
    with pytest.raises(InputError, match="none of 6 directions keeps the class and is visible"):
        kept_directions(found, none)
    assert isinstance(found[[0]], Directions)
