"""The experiment's parts: figures of every claim, arms that differ by their cache alone, controls, the full scale."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.functional_hashing import experiment, full, picture
from snellen.reproduction.functional_hashing.experiment import SMOKE, Experiment, functional_hashing
from snellen.reproduction.sample import Sample
from tests.systems.functional_hashing.test_nasbench import record
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
    found = full.full_figures(0, Silent(), budget=2e6)
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
