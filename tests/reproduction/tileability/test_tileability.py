"""The experiment's parts: figures of every claim, what is held out, and the full scale by path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.worlds.textures.textures import Textures
from snellen.metrics.auroc import auroc
from snellen.reproduction.sample import Sample
from snellen.reproduction.shared.documents import read_all_measured
from snellen.reproduction.tileability import experiment, full, measure
from snellen.reproduction.tileability.experiment import HELD_OUT, SMOKE, Experiment, tileability
from snellen.reproduction.tileability.table import WAYS, made_table
from snellen.systems.tileability.network import TileabilityNetwork
from snellen.systems.tileability.synthesis import MadeTexture, TextureSynthesis
from snellen.systems.tileability.tileability import load_tileability


@pytest.fixture(scope="module")
def figures():
    return tileability("smoke", 0, Silent())


def test_a_smoke_run_has_every_figure_of_every_claim(figures):
    system = find_system("tileability")
    names = {gate.metric for gate in system.gates}
    for claim in system.claims:
        names |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert names <= set(figures)
    assert isinstance(figures["metric.auc"], Sample)
    assert len(figures["metric.auc"].values) == SMOKE.test // 2


def parts():
    drawn = Textures(count=SMOKE.train, size=SMOKE.side, held_out=HELD_OUT, seed=3)
    return drawn.images(split="train"), drawn.model_copy(update={"count": SMOKE.test}).images(split="test")


def test_areas_are_those_under_the_roc_curve():
    one = Experiment(SMOKE, 0, Silent(), *parts())
    scores = np.random.default_rng(0).normal(size=SMOKE.test)
    found = one._areas("name", scores)
    whole = one._failures == "none"
    assert whole.sum() == SMOKE.test // 2
    assert found["name.auc"].mean == pytest.approx(auroc(whole, scores))
    kinds = [kind for kind in experiment.FAILURES if (one._failures == kind).any()]
    for kind in kinds:
        rows = whole | (one._failures == kind)
        assert found[f"name.{kind}"].mean == pytest.approx(auroc(whole[rows], scores[rows]))
    assert all(found[f"name.{kind}"] is None for kind in experiment.FAILURES if kind not in kinds)


@pytest.mark.covers("21.8")
def test_test_patterns_are_never_trained_on():
    train, test = parts()
    assert set(test.column("group")) <= set(HELD_OUT)
    assert not set(train.column("group")) & set(HELD_OUT)


def test_rivals_of_a_seed_see_the_same_batches_and_the_metric_took_no_part(monkeypatch):
    calls, own = [], experiment.fit_tileability

    def fit(pairs, *, plan, tiles, config, **others):
        calls.append((plan.seed, tiles, config.attention, pairs.fingerprint()))
        return own(pairs, plan=plan, tiles=tiles, config=config, **others)

    loaded = []
    monkeypatch.setattr(experiment, "fit_tileability", fit)
    monkeypatch.setattr(experiment, "load_tileability", lambda name: loaded.append(name) or own_metric(calls))
    Experiment(SMOKE, 0, Silent(), *parts()).figures()
    assert [call[1:3] for call in calls] == [(2, True), (2, False), (1, True)]
    assert len({(call[0], call[3]) for call in calls}) == 1
    assert loaded == ["bundled:tileability"]


def own_metric(calls):
    """The embedded metric is loaded after all trainings, so that none can begin with it."""
    assert len(calls) == 3
    return load_tileability("bundled:tileability")


def test_the_full_scale_takes_textures_and_weights_by_path(monkeypatch, tmp_path):
    for name in (full.TEXTURES, full.CONVNEXT):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=f"{full.TEXTURES} and {full.CONVNEXT}"):
        tileability("full", 0, Silent())
    train, test = (one.select(range(40)) for one in parts())
    plain = SMOKE.config.model_copy(update={"attention": False})
    torch.save(TileabilityNetwork(plain).state_dict(), tmp_path / "convnext.pth")
    table = pa.concat_tables([train.table, test.table])
    both = ImageSet(_Both(train, test), table, train.class_names, "textures")
    monkeypatch.setenv(full.TEXTURES, "library")
    monkeypatch.setenv(full.CONVNEXT, str(tmp_path / "convnext.pth"))
    monkeypatch.setattr(full, "load_images", lambda reference: both)
    monkeypatch.setattr(experiment, "FULL", SMOKE)
    found = tileability("full", 0, Silent())
    assert isinstance(found["metric.auc"], Sample)
    monkeypatch.setattr(full, "load_images", lambda reference: train)
    with pytest.raises(InputError, match="no images of the split test"):
        full.full_material()


class _Both:
    """Two sets as one source."""

    def __init__(self, first, second):
        self.sets = first, second

    def _of(self, index):
        first, second = self.sets
        return (first, index) if index < len(first) else (second, index - len(first))

    def read(self, index):
        images, row = self._of(index)
        return images.read(row)

    def content_hash(self, index):
        images, row = self._of(index)
        return images.content_hashes[row]


def test_jumps_are_those_at_the_seams_and_inside():
    metric = load_tileability("bundled:tileability")
    numbers = TextureSynthesis(steps=1, projections=4)
    ramp = torch.linspace(0, 1, 32).expand(3, 32, 32)  # along the rows: only the last column meets the first one
    found = measure.judged(ramp, ramp, metric, numbers)
    assert found["seam"] == pytest.approx(255 / 2)
    assert found["inside"] == pytest.approx(255 / 31 / 2)
    assert found["away"] == 0
    other = measure.judged(ramp.flip(2) * 0.5, ramp, metric, numbers)
    assert other["away"] > 0
    assert other["logit"] != found["logit"]


def test_textures_are_made_with_the_metric_from_three_beginnings(monkeypatch):
    begun = []

    def synthesize(example, metric, *, start, synthesis, seed, progress):
        begun.append((metric, start))
        return MadeTexture(start + 1, None, (1.0, 1.0))

    monkeypatch.setattr(measure, "synthesize_texture", synthesize)
    example, metric = torch.zeros(3, 32, 32), object()
    made = measure.made_textures(example, metric, TextureSynthesis(), 5, Silent())
    assert list(made) == ["without", "from noise", "after", "from the example"]
    assert [one for one, _ in begun] == [None, metric, metric, metric]
    noise = begun[0][1]
    assert torch.equal(begun[1][1], noise)
    assert torch.equal(begun[2][1], noise + 1)
    assert torch.equal(begun[3][1], example)
    assert noise.unique().numel() > 1000


def test_a_measured_seed_has_every_way_of_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "SMALL_SIZE", replace(SMOKE, side=32))
    (tmp_path / "docs" / "measured").mkdir(parents=True)
    for seed in (3, 4):
        measure.measure_made(tmp_path, Silent(), seed=seed, examples=2)
    rows = made_table(tmp_path).splitlines()
    assert len(rows) == 2 + len(WAYS)
    found = read_all_measured(tmp_path, "made-textures")
    assert [one["examples"] for one in found] == [2, 2]
    ratio = np.mean([made["seam"] / made["inside"] for one in found for made in one["ways"]["without"]])
    assert f"| {ratio:.2f} (" in rows[3]
