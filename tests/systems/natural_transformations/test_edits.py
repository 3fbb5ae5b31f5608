"""Edits in training: bounded, hardest first, with the label of their source and in one batch with it."""

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.natural_transformations.directions import find_directions
from snellen.systems.natural_transformations.edits import EditedImages, Extra, risen, with_extra
from snellen.systems.natural_transformations.inversion import Codes, render
from snellen.training.batches import Batch
from snellen.training.objectives import cross_entropy
from tests.systems.natural_transformations.parts import codes_of, pictures, split

COUNT = 10


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def edited(search="worst_of_q", place=None, **changes):
    generator = split()
    codes = Codes.plain(codes_of(COUNT), generator.channels)
    place = torch.arange(COUNT) if place is None else place
    return EditedImages(generator, codes, place, find_directions(generator, 2), 2.0, search, **changes)


def batch(rows=COUNT, step=3):
    rng = Randomness(0).child("training", 2, step).for_examples([f"image {row}" for row in range(rows)])
    labels = torch.arange(rows) % 3
    return Batch(pictures(rows), labels, torch.ones(rows), torch.arange(rows), rng, epoch=2)


@pytest.mark.covers("26.8")
@pytest.mark.parametrize("search", ["random", "worst_of_q", "pga"])
@pytest.mark.parametrize("reached", [0.0, 0.5, 1.0])
def test_every_search_stays_within_epsilon(search, reached, monkeypatch):
    edits, seen = edited(search), []
    plain = EditedImages.images

    def watched(self, rows, coefficients):
        seen.append(coefficients.detach())
        return plain(self, rows, coefficients)

    monkeypatch.setattr(EditedImages, "images", watched)
    made = edits(network(), batch(), reached)
    largest = max(float(one.abs().max()) for one in seen)
    assert largest <= 2.0 * reached + 1e-6
    assert reached == 0.0 or largest > 0.5 * reached
    assert bool(((made.images > 0) & (made.images < 1)).all()), "a sigmoid's range, and nothing is cut off"
    if reached == 0.0:
        # convolutions of a larger batch round otherwise
        torch.testing.assert_close(made.images, render(edits.generator, edits.codes), atol=1e-6, rtol=0)


@pytest.mark.covers("26.8")
def test_the_hardest_of_q_is_kept_and_a_climb_is_harder_than_chance():
    model, given = network().eval(), batch()

    def losses(search, **changes):
        with torch.no_grad():
            return cross_entropy(model(edited(search, **changes)(model, given, 1.0).images), given.targets)

    one, four, many = (losses("worst_of_q", draws=draws) for draws in (1, 4, 16))
    assert bool((four >= one - 1e-6).all() and (many >= four - 1e-6).all())
    assert float(many.mean()) > float(one.mean())
    assert torch.equal(losses("random"), one)
    assert float(losses("pga").mean()) > float(one.mean())


@pytest.mark.covers("26.9")
def test_an_edit_keeps_the_label_of_its_source_and_shares_the_batch():
    calls = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, images):
            calls.append((len(images), self.training))
            return self.inner(images)

    given, shown = batch(), {}
    rows = torch.tensor([7, 2])

    def supply(model, batch, reached):
        shown["images"] = pictures(2, seed=5)
        return Extra(shown["images"], rows)

    model = Watched().train()
    objective = with_extra(supply, beta=0.5, epochs=4, steps=10)
    losses = objective(model, given)
    assert calls == [(COUNT + 2, True)], "originals and edits in one training pass"
    again = network().train()
    scores = again(torch.cat([given.images, shown["images"]]))
    expected = cross_entropy(scores[:COUNT], given.targets)
    further = cross_entropy(scores[COUNT:], given.targets[rows])
    for place, row in enumerate(rows.tolist()):
        expected[row] = expected[row] + 0.5 * further[place]
    torch.testing.assert_close(losses, expected)


def test_further_images_are_augmented_as_the_batch_is_with_draws_of_their_own():
    seen, given, rows = [], batch(), torch.tensor([7, 2])

    def negative(images, labels, rng):
        seen.append((labels.tolist(), rng.uniform("draw", ()).tolist()))
        return 1 - images, labels

    def supply(model, batch, reached):
        return Extra(pictures(2, seed=5), rows)

    losses = with_extra(supply, beta=1.0, epochs=4, steps=10, transform=negative)(network().eval(), given)
    further = cross_entropy(network().eval()(1 - pictures(2, seed=5)), given.targets[rows])
    plain = cross_entropy(network().eval()(given.images), given.targets)
    torch.testing.assert_close((losses - plain)[rows], further)
    assert seen[0][0] == given.targets[rows].tolist()
    assert seen[0][1] != given.rng[rows].uniform("draw", ()).tolist()


def test_a_search_leaves_modes_and_gradients_of_the_network_alone():
    model = network().train()
    model[1].eval()
    model[4].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for search in ("random", "worst_of_q", "pga"):
        edited(search)(model, batch(), 1.0)
    assert model.training
    assert not model[1].training
    assert not model[4].bias.requires_grad
    assert model[4].weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.covers("26.1")
def test_images_without_codes_are_trained_on_but_not_edited():
    place = torch.where(torch.arange(COUNT) % 2 == 0, torch.arange(COUNT), -1)
    made = edited(place=place)(network(), batch(), 1.0)
    assert made.rows.tolist() == [0, 2, 4, 6, 8]
    none = edited(place=torch.full((COUNT,), -1))
    assert len(none(network(), batch(), 1.0).images) == 0
    model, given = network().train(), batch()
    losses = with_extra(none, beta=1.0, epochs=3, steps=10)(model, given)
    torch.testing.assert_close(losses, cross_entropy(network().train()(given.images), given.targets))
    generator = split()
    empty = Codes.plain(codes_of(COUNT)[:0], generator.channels)
    with pytest.raises(InputError, match="reconstructed well enough"):
        EditedImages(generator, empty, place, find_directions(generator, 1), 2.0)


@pytest.mark.covers("26.1")
def test_edits_at_zero_are_the_training_images_own_reconstructions():
    edits = edited()
    rows = torch.tensor([4, 1])
    made = edits.images(rows, torch.zeros(2, len(edits.directions)))
    assert torch.equal(made, edits.generator(codes_of(COUNT)[rows]))


def test_drawn_edits_move_along_as_many_directions_as_wanted():
    rng = Randomness(0).bind(COUNT)
    for together, expected in ((1, 1), (3, 3), (99, 6)):
        drawn = edited(together=together).drawn(rng, 2.0)
        assert ((drawn != 0).sum(1) == expected).all()
        assert float(drawn.abs().max()) <= 2.0
    which = torch.stack([edited().drawn(rng.child(number), 1.0).ne(0) for number in range(60)]).double().mean((0, 1))
    torch.testing.assert_close(which, torch.full((6,), 1 / 6, dtype=torch.float64), atol=0.06, rtol=0)


def test_epsilon_rises_over_the_first_third():
    reached = [risen(epoch, step, epochs=3, steps=4) for epoch in (1, 2, 3) for step in range(4)]
    assert reached[:4] == pytest.approx([0.0, 0.25, 0.5, 0.75])
    assert reached[4:] == [1.0] * 8
    assert risen(1, 0, epochs=1, steps=1) == 0.0


def test_the_same_seed_gives_the_same_edits_in_any_batch():
    model, given = network().eval(), batch()
    whole = edited()(model, given, 1.0).images
    part = torch.tensor([6, 3])
    some = Batch(given.images[part], given.targets[part], torch.ones(2), part, given.rng[part], epoch=2)
    torch.testing.assert_close(edited()(model, some, 1.0).images, whole[part], atol=1e-5, rtol=0)
