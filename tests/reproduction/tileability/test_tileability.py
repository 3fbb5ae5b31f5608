"""The experiment's parts: figures of every claim, what is held out, and the full scale by path."""

from __future__ import annotations

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
from snellen.reproduction.tileability import experiment, full
from snellen.reproduction.tileability.experiment import HELD_OUT, SMOKE, Experiment, tileability
from snellen.systems.tileability.network import TileabilityNetwork
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
