"""Cells: pruning, canonical forms, roles, the draws of the official search, and networks with weights by role."""

import random
from itertools import permutations

import pytest
import torch

from snellen.core.errors import InputError
from snellen.systems.functional_hashing import cells
from snellen.systems.functional_hashing.cell_network import CellNetwork, vertex_channels
from snellen.systems.functional_hashing.cells import Cell, canonical, pruned, roles, used
from snellen.systems.functional_hashing.functional_hash import functional_key
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
