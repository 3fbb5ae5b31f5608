"""Formulas, functions of Python and programs: equal functions have equal keys, and none of them is executed as code."""

import math
import random

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.systems.functional_hashing import formulas, programs
from snellen.systems.functional_hashing.cell_network import CellNetwork
from snellen.systems.functional_hashing.cell_space import CellSpace
from snellen.systems.functional_hashing.cells import Cell
from snellen.systems.functional_hashing.functional_hash import functional_key
from snellen.systems.functional_hashing.loss_space import LossSpace, slopes
from snellen.systems.functional_hashing.programs import ProgramSpace, errors, live
from snellen.systems.functional_hashing.searching import PROBE_SEED, Proposer, Search
from tests.systems.functional_hashing.tiny_cells import CONV3, PLAIN, POOL, tiny_space

#: Linear regression by stochastic gradient descent.
LINEAR = (
    "s3 = s_const(0.1) | s1 = dot(v0, v1) | "
    "s2 = s_sub(s0, s1); s2 = s_mul(s2, s3); v2 = v_scale(s2, v0); v1 = v_add(v1, v2)"
)
RENAMED = (
    "s2 = s_const(0.1) | s1 = dot(v3, v0) | "
    "s3 = s_sub(s0, s1); s3 = s_mul(s2, s3); v1 = v_scale(s3, v0); v3 = v_add(v1, v3)"
)
WITH_DEAD = (
    "s3 = s_const(0.1); v3 = v_relu(v3) | v2 = v_copy(v0); s1 = dot(v0, v1); s2 = mean(v2) | "
    "s2 = s_sub(s0, s1); s2 = s_mul(s2, s3); v2 = v_scale(s2, v0); v1 = v_add(v1, v2); s0 = s_abs(s1)"
)
OTHER_RATE = LINEAR.replace("0.1", "0.01")


@pytest.fixture(scope="module")
def losses():
    draws = torch.Generator().manual_seed(0)
    targets = torch.arange(120) % 3
    vectors = torch.eye(3, dtype=torch.float64)[targets] + 0.3 * torch.randn(
        120, 3, generator=draws, dtype=torch.float64
    )
    return LossSpace((vectors[:80], targets[:80]), (vectors[80:], targets[80:]), 3)


@pytest.fixture(scope="module")
def regression():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(90, 3))
    targets = inputs @ np.array([1.0, -2.0, 0.5])
    return ProgramSpace((inputs[:60], targets[:60]), (inputs[60:], targets[60:]))


def key(space, candidate):
    return functional_key(space.probe(candidate, PROBE_SEED))


@pytest.mark.covers("23.1")
def test_instructions_renamed_commuted_or_dead_give_the_same_key(regression):
    found = [key(regression, programs.parse(text)) for text in (LINEAR, RENAMED, WITH_DEAD, OTHER_RATE)]
    assert found[0] == found[1] == found[2] != found[3]
    structures = [regression.structure(programs.parse(text)) for text in (LINEAR, RENAMED, WITH_DEAD)]
    assert structures[0] == structures[2] != structures[1], "a structure does not see through other names"


@pytest.mark.covers("23.1")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-y * log(p)", "y * neg(log(p))"),
        ("p + p", "2 * p"),
        ("log(p * p)", "2 * log(p)"),
        ("(y + p) + 1", "1 + (p + y)"),
        ("square(y - p)", "square(p - y)"),
        ("p - y", "p"),
    ],
)
def test_formulas_that_train_alike_have_the_same_key(losses, one, other):
    assert key(losses, formulas.parse(one)) == key(losses, formulas.parse(other))
    assert losses.evaluate(formulas.parse(one), 0).valid == losses.evaluate(formulas.parse(other), 0).valid
    assert key(losses, formulas.parse(one)) != key(losses, formulas.parse("exp(p) * y"))


def test_equal_functions_of_different_structure_agree_for_losses_and_not_for_cells(losses):
    """A probe of cells draws weights by role, so its keys are classes of isomorphic cells; that of losses draws none.

    Pooling twice and adding doubles what one pooling gives, and the normalisation that follows takes the factor away:
    with the same weights both cells give the same scores.
    """
    doubled = Cell(
        ((0, 1, 0, 0, 0, 0), (0, 0, 1, 1, 0, 0), (0, 0, 0, 0, 1, 0), (0, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 1), (0,) * 6),
        (CONV3, POOL, POOL, CONV3),
    )
    single = Cell(((0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1), (0,) * 5), (CONV3, POOL, CONV3))
    networks = [CellNetwork(one.encode(), 3, 4).double().train() for one in (doubled, single)]
    weights = networks[0].state_dict().values()
    networks[1].load_state_dict(dict(zip(networks[1].state_dict(), weights, strict=True)))
    images = torch.rand(16, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores = [network(images) for network in networks]
    assert torch.allclose(*scores, atol=1e-3)
    assert scores[0].std() > 0.1
    space = tiny_space()
    assert space.structure(doubled) != space.structure(single)
    assert key(space, doubled) != key(space, single)
    one, other = formulas.parse("p + p"), formulas.parse("2 * p")
    assert losses.structure(one) != losses.structure(other)
    assert key(losses, one) == key(losses, other)


@pytest.mark.covers("23.1")
def test_functions_of_python_that_compute_the_same_have_the_same_key():
    def cross_entropy(y, p):
        unused = p * 3
        return -(y * p.log()) + 0 * unused

    found = functional_key(slopes(cross_entropy, PROBE_SEED))
    assert found == functional_key(slopes(lambda y, p: p.log() * -y, PROBE_SEED))
    assert found == functional_key(slopes(formulas.parse("-y * log(p)").at, PROBE_SEED))
    assert found != functional_key(slopes(lambda y, p: (y - p) ** 2, PROBE_SEED))


@pytest.mark.covers("23.2")
def test_one_hash_serves_all_representations(losses, regression, monkeypatch):
    """Searches of graphs, formulas and programs hash lists of numbers by the same function, and by nothing else."""
    hashed = []

    def watched(outputs, bits):
        hashed.append(outputs)
        return functional_key(outputs, bits)

    monkeypatch.setattr("snellen.systems.functional_hashing.searching.functional_key", watched)
    for space in (tiny_space(), losses, regression):
        search = Search(space, Proposer(space, "random"), clock=lambda: 0.0)
        trial = search.step()
        assert trial.key == functional_key(hashed[-1])
        assert all(isinstance(value, float) for value in hashed[-1])
    assert len(hashed) == 6, "each first candidate is hashed twice"


def test_the_paper_formula_learns_and_a_loss_without_p_does_not(losses):
    assert losses.evaluate(formulas.parse("-y * log(p)"), 0).valid > 0.9
    assert losses.probe(formulas.parse("y + 1"), 0) == [0.0] * 64
    assert slopes(lambda y, p: y * 2, 0) == [0.0] * 64
    assert losses.evaluate(formulas.parse("y + 1"), 0).valid < 0.6


def test_linear_regression_is_learnt_and_the_target_is_not_seen_when_it_is_predicted(regression):
    assert regression.evaluate(programs.parse(LINEAR), 0).valid > 0.98
    cheating = programs.parse(" | s1 = s_copy(s0) | ")
    assert regression.evaluate(cheating, 0).valid < 0.7
    assert errors(cheating, regression.train, regression.val)[60:] == regression.val[1].tolist()


def test_a_program_that_fails_is_worst_and_its_probe_ends_early(regression):
    exploding = programs.parse("s3 = s_const(1e200) | s1 = s_mul(s3, s3); s2 = s_sub(s1, s1); s1 = s_mul(s2, s1) | ")
    outputs = regression.probe(exploding, PROBE_SEED)
    assert len(outputs) == 1
    assert math.isnan(outputs[0])
    assert regression.evaluate(exploding, 0).valid == 0.0


def test_only_instructions_that_are_read_are_live():
    def left(text):
        return str(live(programs.parse(text)))

    assert left("s3 = s_const(1.0) | s1 = s_copy(s3) | ") == "s3 = s_const(1.0) | s1 = s_copy(s3) | "
    assert left("s3 = s_const(1.0) | s1 = mean(v0) | s3 = s_abs(s2)") == " | s1 = mean(v0) | "
    assert left(" | s1 = mean(v1) | v1 = v_add(v1, v0)") == " | s1 = mean(v1) | v1 = v_add(v1, v0)"
    assert left(" | s1 = mean(v1); s1 = mean(v0) | ") == " | s1 = mean(v0) | "
    assert left("v0 = v_relu(v1) | s1 = mean(v0) | s0 = s_abs(s0)") == " | s1 = mean(v0) | "
    assert left("s1 = s_const(2.0) |  | ") == "s1 = s_const(2.0) |  | ", "a prediction that predict leaves as it is"


def test_removing_what_is_not_read_changes_no_error(regression):
    rng = random.Random(2)
    for _ in range(60):
        program = regression.sample(rng)
        whole, short = (regression.probe(one, 0) for one in (program, live(program)))
        assert np.array_equal(whole, short, equal_nan=True)


@pytest.mark.parametrize("name", ["losses", "regression"])
def test_draws_are_valid_and_mutations_stay_in_the_space(request, name):
    space = request.getfixturevalue(name)
    parser = formulas.parse if name == "losses" else programs.parse
    rng = random.Random(1)
    candidate = space.sample(rng)
    for _ in range(150):
        candidate = space.mutate(candidate, rng)
        assert parser(space.encode(candidate)) == candidate
        if name == "losses":
            assert sum(1 for _ in candidate.nodes()) <= formulas.MOST_NODES
        else:
            assert all(len(part) <= most for part, most in zip(candidate.parts, programs.LENGTHS, strict=True))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("__import__('os').system('x')", "a formula has numbers"),
        ("p.real", "a formula has numbers"),
        ("p ** 2", "a formula has numbers"),
        ("q", "a formula has numbers"),
        ("log(p, y)", "log takes 1 arguments"),
        ("max(p)", "max takes 2 arguments"),
        ("'p'", "a formula has numbers"),
        ("True", "a formula has numbers"),
        ("p +", "is no formula"),
        ("", "is no formula"),
        ("(" * 300 + "p" + ")" * 300, "at most 500 letters"),
        ("+".join("p" * 20), "at most 15"),
    ],
)
def test_what_is_no_formula_is_refused_and_never_executed(text, fault):
    with pytest.raises(InputError, match=fault):
        formulas.parse(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("s1 = mean(v0)", "setup | predict | learn"),
        (" | s1 = eval(v0) | ", "unknown operation 'eval'"),
        (" | s9 = mean(v0) | ", "is no instruction"),
        (" | s1 = mean(s0) | ", "takes registers of the kinds 'v'"),
        (" | s1 = dot(v0) | ", "takes registers of the kinds 'vv'"),
        (" | v1 = s_const(1.0) | ", "finite number into a scalar"),
        (" | s1 = s_const(nan) | ", "finite number into a scalar"),
        (" | import os | ", "is no instruction"),
    ],
)
def test_what_is_no_program_is_refused(text, fault):
    with pytest.raises(InputError, match=fault.replace("|", r"\|")):
        programs.parse(text)


def test_cells_of_one_space_are_hashed_by_their_errors():
    space = tiny_space()
    assert isinstance(space, CellSpace)
    assert all(value > 0 for value in space.probe(PLAIN, PROBE_SEED)), "cross-entropies"
