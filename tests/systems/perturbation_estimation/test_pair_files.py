"""Pairs on the disk are those in memory, are read when they are needed, and are not made twice."""

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.errors import InputError, RunConflictError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.fgsm import FGSM
from snellen.systems.perturbation_estimation.estimate import unbounded_scores
from snellen.systems.perturbation_estimation.figures import averaged, cell_figures, partial_curve
from snellen.systems.perturbation_estimation.fitting import carried_over, fit_denoiser, stored
from snellen.systems.perturbation_estimation.losses import LossWeights
from snellen.systems.perturbation_estimation.pair_files import StoredPairs, write_pairs
from snellen.systems.perturbation_estimation.pairs import joined, limited, make_cells
from snellen.training.plan import TrainingPlan
from tests.systems.perturbation_estimation.blobs import brightness

VICTIMS = {"plain": brightness(name="plain"), "shy": brightness(0.4, name="shy")}
ATTACKS = {"weak": FGSM(epsilon=0.02), "strong": FGSM(epsilon=0.2)}
LEVELS = torch.tensor([76, 89, 125, 153], dtype=torch.uint8)
PIXELS = LEVELS.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
LABELS, IDS = torch.tensor([0, 0, 0, 1]), ["a", "b", "c", "d"]


def batches(read=None):
    for start in (0, 3):
        if read is not None:
            read.append(start)
        rows = slice(start, start + 3)
        yield PIXELS[rows], LABELS[rows], IDS[rows]


def written(folder, plan="one", read=None):
    return write_pairs(folder, VICTIMS, ATTACKS, batches(read), rng=Randomness(0), plan={"name": plan})


def in_memory():
    return make_cells(VICTIMS, ATTACKS, PIXELS / 255, LABELS, IDS, rng=Randomness(0))


def test_pairs_on_the_disk_are_those_in_memory(tmp_path):
    found, expected = written(tmp_path / "pairs"), in_memory()
    assert [(one.victim, one.attack, one.ids, one.attacked) for one in found] == [
        (one.victim, one.attack, one.ids, one.attacked) for one in expected
    ]
    assert [len(one.ids) for one in found] == [1, 3, 0, 2]
    for files, cell in zip(found, expected, strict=True):
        if cell.ids:
            parts = list(files.parts(2))
            assert torch.allclose(torch.cat([one.adversarial for one in parts]), cell.adversarial, atol=1e-6)
            assert sum((one.ids for one in parts), ()) == cell.ids
    memory, disk = stored(joined(expected)), StoredPairs.of(found)
    assert disk.ids == memory.ids
    order = torch.tensor([5, 0, 3, 1])
    for one, other in zip(disk.read(order), memory.read(order), strict=True):
        assert one.dtype == torch.uint8
        assert torch.equal(one, other)


def test_they_are_mapped_and_not_held(tmp_path):
    found = written(tmp_path / "pairs")
    assert isinstance(found[1]._file(0), np.memmap)
    clean, _ = found[1].rows([2])
    assert clean.shape == (1, 3, 8, 8)
    first = limited(found[1], 2)
    assert first.ids == found[1].ids[:2]
    assert limited(found[2], 2) is None


def test_complete_pairs_are_opened_and_others_refused(tmp_path):
    read = []
    first = written(tmp_path / "pairs", read=read)
    again = written(tmp_path / "pairs", read=read)
    assert read == [0, 3], "the second call reads no image"
    assert StoredPairs.of(first).fingerprint() == StoredPairs.of(again).fingerprint()
    with pytest.raises(RunConflictError, match="other images, classifiers or attacks"):
        written(tmp_path / "pairs", plan="another")
    first[1].paths[0].write_bytes(b"cut")
    with pytest.raises(InputError, match="has 3 bytes and not 576"):
        written(tmp_path / "pairs")


def test_a_call_that_was_stopped_leaves_nothing_that_counts(tmp_path):
    def stopped():
        yield PIXELS[:3], LABELS[:3], IDS[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pairs(tmp_path / "pairs", VICTIMS, ATTACKS, stopped(), rng=Randomness(0), plan={"name": "one"})
    assert not (tmp_path / "pairs").exists()
    assert [len(one.ids) for one in written(tmp_path / "pairs")] == [1, 3, 0, 2]


class Darker(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.9))

    def forward(self, images):
        return self.factor * images


def test_figures_and_training_do_not_depend_on_where_pairs_lie(tmp_path):
    files, cells = written(tmp_path / "pairs"), in_memory()
    scores = {name: unbounded_scores(victim) for name, victim in VICTIMS.items()}
    denoiser = Darker().eval()
    figures = [averaged([cell_figures(denoiser, one, scores[one.victim]) for one in each]) for each in (files, cells)]
    assert figures[0] == pytest.approx(figures[1])
    curves = [partial_curve(denoiser, each[1], scores["plain"], [0.0, 1.0]) for each in (files, cells)]
    assert curves[0][1] == pytest.approx(curves[1][1])
    assert carried_over(files, scores["shy"]) == carried_over(cells, scores["shy"]) < 1.0
    plan = TrainingPlan(epochs=1, batch_size=2, learning_rate=0.1, seed=0, select="pa_benign")
    made = [
        fit_denoiser(
            Darker(), pairs, scores["plain"], views=("flip",), weights=LossWeights(), plan=plan, val=pairs,
            victims=scores,
        )
        for pairs in (StoredPairs.of(files), [one for one in cells if one.ids])
    ]  # fmt: skip
    assert float(made[0].weights["factor"]) != pytest.approx(0.9)
    assert float(made[0].weights["factor"]) == pytest.approx(float(made[1].weights["factor"]))
    assert made[0].history[-1]["val.d"] == pytest.approx(made[1].history[-1]["val.d"])
