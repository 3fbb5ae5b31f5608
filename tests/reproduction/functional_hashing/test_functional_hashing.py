"""The experiment's parts: figures of every claim, arms that differ by their cache alone, controls, the full scale."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.functional_hashing import experiment, full, picture
from snellen.reproduction.functional_hashing.experiment import SMOKE, Experiment, functional_hashing
from snellen.reproduction.sample import Sample
from snellen.systems.functional_hashing.cell_space import CellSpace
from snellen.systems.functional_hashing.formulas import parse
from snellen.systems.functional_hashing.searching import Trial
from tests.reproduction.functional_hashing.test_nasbench import record
from tests.systems.functional_hashing.tiny_cells import DEAD, PLAIN, TURNED


@pytest.fixture(scope="module")
def figures():
    return functional_hashing("smoke", 0, Silent())


def test_a_smoke_run_has_every_figure_of_every_claim(figures):
    system = find_system("functional_hashing")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        wanted |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert wanted <= set(figures)
    for strategy in experiment.STRATEGIES:
        for keys in ("textual", "structural", "functional"):
            assert len(figures[f"cells.{strategy}.{keys}.hits"].values) == SMOKE.cells, "paired, candidate by candidate"


def test_where_nothing_repeats_there_are_no_hits_and_the_hash_costs_time(figures):
    assert figures["cells.distinct.hits"].mean == 0.0
    assert figures["cells.distinct.saved"] < 0.0


def test_arms_of_a_space_propose_the_same_and_find_the_same_best(figures):
    for space in ("cells", "programs"):
        for strategy in experiment.STRATEGIES:
            found = {figures[f"{space}.{strategy}.{keys}.best"] for keys in ("none", "structural", "functional")}
            assert len(found) == 1


@pytest.mark.parametrize(
    ("number", "text", "constant"),
    [
        (1, "2 * p", True), (1, "y + 1", True), (1, "exp(1) * p - y", True), (1, "-y * log(p)", False),
        (1, "square(p)", False), (2, " | s2 = dot(v0, v1) | ", True), (2, " | s1 = mean(v0) | ", False),
        (2, "s1 = s_const(2.0) |  | ", True), (2, "s3 = s_const(1e200) | s1 = s_mul(s3, s3) | ", True),
    ],
)  # fmt: skip
def test_constant_outputs_are_dead(number, text, constant):
    space = Experiment(SMOKE, 0, Silent()).spaces()[number].space
    assert experiment.dead(space, text) == constant


def test_dead_candidates_are_left_out_of_both_sides(figures):
    for space in ("losses", "programs"):
        one, other = (figures[f"{space}.random.{keys}.alive"] for keys in ("structural", "functional"))
        assert len(one.values) == len(other.values), "paired"
        share = figures[f"{space}.random.functional.dead"]
        assert len(one.values) == round(SMOKE.others * (1 - share))
        assert 0 < share < 1


def test_every_hit_is_evaluated_by_itself_and_failures_are_counted():
    _, losses, _ = (made := Experiment(SMOKE, 0, Silent())).spaces()

    def hit(text, valid):
        return Trial(0, text, "", 1, "full hit", valid, None, 0.0, None, 0.0)

    good, bad = parse("-y * log(p)"), parse("exp(exp(exp(p * y))) / (p - p)")
    own = losses.true(good).valid
    losses.kept.clear()
    hits = [hit(str(good), own), hit(str(good), own + 0.1), hit(str(bad), 0.5)]
    assert made._collisions(hits, losses) == pytest.approx(2 / 3), "also where no search trained the formula"


def test_hits_are_trained_again_as_they_were_drawn(monkeypatch):
    experiment_ = Experiment(SMOKE, 0, Silent())
    cells, _, _ = experiment_.spaces()
    shapes, plain = [], CellSpace._network
    monkeypatch.setattr(CellSpace, "sample", lambda self, rng: rng.choice((DEAD, TURNED)))
    experiment_.search(cells, "random", "none", 2)

    def watched(arguments):
        shapes.append(arguments["cell"])
        return plain(arguments)

    monkeypatch.setattr(CellSpace, "_network", staticmethod(watched))
    experiment_.drawn_again(cells)
    trained = shapes[-2:]
    assert set(trained) <= {DEAD.encode(), TURNED.encode()}
    assert experiment_.found["cells.random.functional.apart"] < 0.2
    assert len(shapes) > 2


def test_another_order_of_the_vertices_changes_keys_of_all_bits_alone():
    graphs = [PLAIN, DEAD, TURNED]
    turned = [experiment._turned(one, 0) for one in graphs]
    assert all(one != other for one, other in zip(graphs, turned, strict=True))
    space, _, _ = Experiment(SMOKE, 0, Silent()).spaces()
    assert [space.structure(one) for one in graphs] == [space.structure(one) for one in turned]


def test_a_shared_key_counts_where_the_value_differs():
    assert experiment._shared([1, 1, 2, 2, 1], ["a", "a", "b", "c", "d"]).values == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_the_picture_counts_structures_and_functions():
    _, losses, programs = Experiment(SMOKE, 0, Silent()).spaces()
    found = {one.name: one for one in picture.curves({"losses": losses, "programs": programs}, 0, (5, 30))}
    for space in ("losses", "programs"):
        functions, structures = (found[f"{space}: different {kind}"].points for kind in ("functions", "structures"))
        assert 0 < functions[-1][1] < structures[-1][1] <= 30


def test_the_full_scale_says_what_it_takes_and_reads_the_table(monkeypatch, tmp_path):
    monkeypatch.delenv(full.TABLE, raising=False)
    with pytest.raises(InputError, match=f"needs the file nasbench_full.tfrecord.*{full.TABLE}"):
        functional_hashing("full", 0, Silent())
    path = tmp_path / "nasbench_full.tfrecord"
    path.write_bytes(record(PLAIN, 4, 10.0, 0.8, 0.7, 0.6) + record(PLAIN, 108, 1e6, 0.99, 0.90, 0.88))
    monkeypatch.setenv(full.TABLE, str(path))
    monkeypatch.setattr("snellen.systems.functional_hashing.cells.sample", lambda rng: rng.choice((PLAIN, DEAD)))
    monkeypatch.setattr("snellen.systems.functional_hashing.cells.mutate", lambda cell, rng: TURNED)
    monkeypatch.setattr(full, "POPULATION", 10)
    found = full.full_figures(0, Silent(), budget=1.001e6)
    assert isinstance(found["cells.random.functional.hits"], Sample)
    hits = found["cells.random.functional.hits"].values
    assert hits[0] == 0.0
    assert np.mean(hits[1:]) == 1.0
    assert found["cells.evolution.functional.best_test"] == 0.88
    system = find_system("functional_hashing")
    for claim in system.claims:
        if "full" in claim.scales:
            assert {claim.metric, *claim.controls} <= set(found)
            assert claim.baseline is None or claim.baseline in found
