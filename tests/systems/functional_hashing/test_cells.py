"""Cells: pruning, canonical forms, roles, the draws of the official search, and networks with weights by role."""

import random
from itertools import permutations

import pytest
import torch
from pydantic import ValidationError

from snellen.core.errors import InputError, ModelError
from snellen.systems.functional_hashing import cells
from snellen.systems.functional_hashing.cell_network import CellNetwork, vertex_channels
from snellen.systems.functional_hashing.cell_space import (
    LEAST_CHANNELS,
    CellSettings,
    CellSpace,
    cell_settings,
    check_stacks,
)
from snellen.systems.functional_hashing.cells import Cell, canonical, pruned, roles, used
from snellen.systems.functional_hashing.functional_hash import functional_key
from snellen.training.batches import ImageStore
from tests.systems.functional_hashing.tiny_cells import (
    CONV1,
    CONV3,
    DEAD,
    OTHER,
    PLAIN,
    POOL,
    TURNED,
    TWINS,
    TWINS_TURNED,
    cell,
    tiny_space,
)


@pytest.fixture(scope="module")
def space():
    return tiny_space()


def key(space, candidate, bits=24):
    return functional_key(space.probe(candidate, 42), bits)


def orders(graph):
    """All other orders of the vertices that keep every edge upward."""
    size = len(graph.matrix)
    for inner in permutations(range(1, size - 1)):
        try:
            yield graph.permuted((0, *inner, size - 1))
        except InputError:
            continue


@pytest.mark.covers("23.1")
def test_a_dead_branch_and_commuted_inputs_give_the_same_key(space):
    assert key(space, PLAIN) == key(space, DEAD) == key(space, TURNED)
    assert key(space, PLAIN) != key(space, OTHER)
    assert cells.canonical(PLAIN) == cells.canonical(DEAD) == cells.canonical(TURNED) != cells.canonical(OTHER)


@pytest.mark.covers("23.5")
@pytest.mark.parametrize("graph", [PLAIN, TWINS], ids=["plain", "twins"])
def test_every_order_of_the_vertices_gives_the_same_key(space, graph):
    found = list(orders(graph))
    assert len(found) > 3
    assert len({one.encode() for one in found}) > 2
    assert {key(space, one) for one in found} == {key(space, graph)}


@pytest.mark.covers("23.5")
def test_initial_weights_follow_from_roles_and_twins_differ():
    def weights(graph):
        names = roles(used(graph))
        network = CellNetwork(graph.encode(), 3, 4)
        module = network.body[0]
        return {
            names[int(vertex)]: operation[0].weight
            for vertex, operation in module.operations.items()
            if len(list(operation.parameters()))
        }

    first, second = weights(TWINS), weights(TWINS_TURNED)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[role], second[role]) for role in first)
    one, two = (
        weight
        for role, weight in first.items()
        if role.split(".")[0] == max(role.split(".")[0] for role in first if role.endswith(".1"))
    )
    assert not torch.equal(one, two), "parallel twins with equal weights would stay equal for ever"


def test_the_head_and_the_stem_are_the_same_for_all_cells():
    one, two = (CellNetwork(graph.encode(), 3, 4) for graph in (PLAIN, OTHER))
    assert torch.equal(one.stem[0].weight, two.stem[0].weight)
    assert torch.equal(one.head.weight, two.head.weight)
    assert not torch.equal(one.head.weight, CellNetwork(PLAIN.encode(), 3, 4, seed=1).head.weight)


def test_keys_and_structures_agree_on_random_cells(space):
    rng, by_key, by_structure = random.Random(5), {}, {}
    drawn = cells.sample(rng)
    for number in range(40):
        drawn = cells.sample(rng) if number % 4 == 0 else cells.mutate(drawn, rng)
        found, structure = key(space, drawn), space.structure(drawn)
        assert by_key.setdefault(found, structure) == structure
        assert by_structure.setdefault(structure, found) == found
    assert len(by_key) < 40, "some are equal"


def test_equal_cells_train_to_equal_fitness_and_runs_differ(space):
    evaluations = [space.evaluate(graph, 0).valid for graph in (PLAIN, DEAD, TURNED)]
    assert len(set(evaluations)) == 1
    _, first = space.trained(PLAIN, 0, 1)
    _, second = space.trained(TURNED, 0, 1)
    _, other = space.trained(PLAIN, 1, 1)
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


def test_a_probe_of_more_steps_sees_more_and_ends_with_the_first_nan():
    assert len(tiny_space(probe_images=4).probe(PLAIN, 42)) == 8
    assert key(tiny_space(probe_steps=1), PLAIN) != key(tiny_space(probe_steps=2), PLAIN)
    (only,) = tiny_space(probe_rate=1e300, probe_steps=3).probe(PLAIN, 42)
    assert only != only


def test_the_probe_makes_exactly_two_updates():
    """As plain gradient descent written out; one update fewer or more gives other losses."""
    space = tiny_space(probe_images=4, probe_rate=0.1)
    images, targets = space._probe
    found = {}
    for steps in (1, 2, 3):
        network = CellNetwork(**space.settings.of_cell(PLAIN, 3, 42)).double().train()
        for _ in range(steps):
            loss = torch.nn.functional.cross_entropy(network(images[:4]), targets[:4])
            network.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter -= 0.1 * parameter.grad
        parts = [
            torch.nn.functional.cross_entropy(network(half), of, reduction="none")
            for half, of in ((images[:4], targets[:4]), (images[4:], targets[4:]))
        ]
        found[steps] = torch.cat(parts).detach()
    given = torch.tensor(space.probe(PLAIN, 42), dtype=torch.float64)
    assert torch.allclose(given, found[2], rtol=1e-9)
    assert not torch.allclose(given, found[1], rtol=1e-3)
    assert not torch.allclose(given, found[3], rtol=1e-3)


def test_fitness_is_measured_on_the_val_images_alone():
    """Tune images whose labels contradict those of the same images in the training set."""
    space = tiny_space(epochs=20, learning_rate=0.02)
    draws = torch.arange(3)[:, None, None, None] * 100
    images = draws.repeat(8, 3, 8, 8).to(torch.uint8)
    targets = torch.arange(24) % 3
    train, val = (ImageStore.of_tensors(images, labels) for labels in (targets, (targets + 1) % 3))
    fitness = {
        name: CellSpace(train, part, 3, space.settings).evaluate(PLAIN, 0).valid
        for name, part in (("own", train), ("contradicting", val))
    }
    assert fitness["own"] > 0.6
    assert fitness["contradicting"] < 0.4


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_channels_that_not_every_cell_has_room_for_are_refused(channels):
    with pytest.raises(InputError, match=f"among up to 4 vertices; expected at least 4, got {channels}"):
        cell_settings(channels=channels)
    with pytest.raises(ValidationError):
        CellSettings(channels=channels)


def test_the_fewest_channels_have_room_for_every_cell():
    widest = cell({(0, 1), (0, 2), (0, 3), (0, 4), (1, 6), (2, 6), (3, 6), (4, 6)}, {})
    assert max(sum(row[-1] for row in pruned(cells.sample(random.Random(seed))).matrix) for seed in range(300)) <= 4
    assert min(vertex_channels(used(widest), LEAST_CHANNELS, LEAST_CHANNELS)) == 1
    assert CellNetwork(widest.encode(), 3, LEAST_CHANNELS)(torch.rand(2, 3, 8, 8)).shape == (2, 3)


def test_more_stacks_than_the_side_allows_are_refused():
    for side, most in ((8, 4), (9, 5), (32, 6)):
        check_stacks(most, side)
        with pytest.raises(InputError, match=f"one pixel after {most} stacks; got {most + 1}"):
            check_stacks(most + 1, side)


def test_a_training_that_fails_names_an_option_that_there_is():
    with pytest.raises(ModelError, match=r"not finite.*--learning-rate") as caught:
        tiny_space(learning_rate=1e30, epochs=4).evaluate(PLAIN, 0)
    assert "clip_norm" not in str(caught.value)


def test_a_probe_changes_no_global_randomness(space):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    space.probe(PLAIN, 42)
    space.evaluate(PLAIN, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_random_cells_are_valid_and_half_of_the_pairs_have_edges():
    rng = random.Random(0)
    drawn = [cells.sample(rng) for _ in range(300)]
    assert all(pruned(one) is not None and pruned(one).edges <= 9 for one in drawn)
    assert any(one.edges > 9 for one in drawn), "edges of unused vertices do not count"
    assert {name for one in drawn for name in one.operations} == set(cells.OPERATIONS)
    assert cells.sample(random.Random(7)) == cells.sample(random.Random(7))


def test_mutations_have_the_official_rates():
    rng, flips, changes, count = random.Random(0), 0, 0, 4000
    parent = cell({(0, 1), (1, 6)}, {}, 7)  # small, so that hardly a child is refused for its edges
    for _ in range(count):
        child = cells.mutate(parent, rng)
        flips += sum(
            one != two
            for row, other in zip(parent.matrix, child.matrix, strict=True)
            for one, two in zip(row, other, strict=True)
        )
        changes += sum(one != two for one, two in zip(parent.operations, child.operations, strict=True))
    # 21 pairs at 1/7 less the children without a path; 5 operations at 1/5.
    assert changes / count == pytest.approx(1.0, abs=0.06)
    assert 2.5 < flips / count < 3.1
    assert all(cells.mutate(parent, rng, rate=0.0) == parent for _ in range(5))


def test_channels_of_the_output_are_divided_and_others_are_the_widest_of_what_follows():
    graph = used(cell({(0, 1), (0, 2), (0, 3), (1, 6), (2, 6), (3, 4), (4, 6)}, {}))
    channels = vertex_channels(graph, 4, 8)
    last = [channels[vertex] for vertex in range(1, len(graph.matrix) - 1) if graph.matrix[vertex][-1]]
    assert sorted(last) == [2, 3, 3]
    assert channels[0] == 4
    assert channels[-1] == 8


@pytest.mark.parametrize("graph", [Cell(((0, 1), (0, 0)), ()), PLAIN, TWINS, cell({(0, 1), (1, 6), (0, 6)}, {1: POOL})])
def test_networks_give_scores(graph):
    assert CellNetwork(graph.encode(), 5, 4, stacks=2, cells=2)(torch.rand(2, 3, 9, 7)).shape == (2, 5)


def test_a_cell_in_one_line_is_read_again():
    assert Cell.decode(PLAIN.encode()) == PLAIN
    assert Cell.decode("01/00 ") == Cell(((0, 1), (0, 0)), ())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "square matrix"),
        ("01/0", "square matrix"),
        ("02/00 ", "0 and 1 alone"),
        ("/".join(["0" * 40] * 40) + " " + ",".join([CONV3] * 38), "at most 7 vertices"),
        ("01/10 ", "upper triangular"),
        ("a1/00 ", "expected rows"),
        (f"011/001/000 {CONV3},{CONV1}", "an operation for each inner vertex"),
        ("011/001/000 conv9x9", "unknown operation 'conv9x9'"),
    ],
)
def test_what_is_no_cell_is_refused(text, fault):
    with pytest.raises(InputError, match=fault):
        Cell.decode(text)


def test_a_cell_without_a_path_computes_nothing():
    assert pruned(cell({(0, 1), (2, 6)}, {})) is None
    with pytest.raises(InputError, match="computes nothing"):
        canonical(cell({(0, 1), (2, 6)}, {}))
    with pytest.raises(InputError, match="cells of 7 vertices"):
        cells.mutate(Cell(((0, 1), (0, 0)), ()), random.Random(0))
