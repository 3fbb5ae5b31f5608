"""Edits of the search that trains are judged together, and step less far where they lose labels."""

import pytest
import torch
from torch import nn

from snellen.core.randomness import Randomness
from snellen.systems.natural_transformations.directions import NoDirectionError
from snellen.systems.natural_transformations.editing import Editing, EditSettings, prepare_editing
from snellen.systems.natural_transformations.edits import EditedImages
from snellen.systems.natural_transformations.inversion import Codes, render
from tests.systems.natural_transformations.parts import codes_of, split

COUNT = 160
OPEN = {"count": 2, "most_changed": 1.0, "least_visible": 0.0, "epsilon": 3.0}


class Brightness(nn.Module):
    """Two classes: dark, bright; with a negative slope the other way round."""

    def __init__(self, slope=20.0):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, images):
        level = self.slope * (images.mean((1, 2, 3)) - 0.5)
        return torch.stack([-level, level], 1)


def prepared(trained=None, **changes):
    generator, codes = split(), Codes.plain(codes_of(COUNT), split().channels)
    labels = Brightness()(render(generator, codes)).argmax(1)
    settings = EditSettings(**{**OPEN, **changes})
    given = (generator, codes, torch.full((COUNT,), 30.0), labels, Brightness(), settings)
    return prepare_editing(*given, rng=Randomness(0), trained=trained)


@pytest.mark.covers("26.6")
def test_edits_are_judged_as_the_search_chooses_them():
    one, hardest, climbed = (prepared(search=search, draws=8).changed for search in ("random", "worst_of_q", "pga"))
    assert 0 < one < hardest < climbed
    assert prepared(search="random", together=6).changed > one, "several directions at once lose more"
    made = prepared(search="random")
    edits, rows = made.supply(), made.judged.rows
    rng = made.judged.rng.for_examples([str(row) for row in rows.tolist()])
    drawn = edits.drawn(rng.child("draw", 0), made.epsilon)
    moved = Brightness()(edits.images(rows, drawn)).argmax(1)
    # every image was read rightly before: the judge gave the labels
    assert made.changed == pytest.approx(float((moved != made.judged.labels).double().mean()))


def test_the_search_is_against_the_network_that_is_trained_and_leaves_it_alone():
    alike, opposite = (prepared(Brightness(slope), draws=8).changed for slope in (20.0, -20.0))
    assert alike == prepared(draws=8).changed, "a network that decides like the judge"
    assert opposite < prepared(search="random").changed < alike, "what is hard for it is easy for the judge"
    network = Brightness().train()
    assert network.slope.requires_grad
    prepared(network, search="pga")
    assert network.training
    assert network.slope.requires_grad
    assert network.slope.grad is None


@pytest.mark.covers("26.6")
def test_epsilon_falls_until_edits_of_the_search_keep_the_class():
    alone = max(one.changed for one in prepared().examined)
    wide = {"search": "pga", "most_changed": alone + 0.01}
    assert prepared(search="pga").changed > alone + 0.01, "all directions at once lose more than each"
    made = prepared(**wide)
    assert len(made.directions) == 6, "each direction alone passes"
    assert made.epsilon in (2.25, 1.5, 0.75)
    assert made.changed < alone + 0.01
    assert made.supply().epsilon == made.supply("random").epsilon == made.epsilon
    assert made.facts()["largest_step"] == made.epsilon
    assert made.facts()["labels_changed_by_edits"] == round(made.changed, 4)
    assert prepared(search="pga").epsilon == 3.0, "an open filter takes every step"


def test_edits_that_lose_labels_at_any_step_are_refused(monkeypatch):
    tried = []
    monkeypatch.setattr(Editing, "lost", lambda self, _: tried.append(self.epsilon) or 0.4)
    expected = r"worst_of_q change the label of 40.0% even at 0.25 · epsilon.*expected less than 35.0%: lower epsilon"
    with pytest.raises(NoDirectionError, match=expected):
        prepared(most_changed=0.35)
    assert tried == [3.0, 2.25, 1.5, 0.75]


def test_every_setting_of_the_search_reaches_the_training():
    made = prepared(search="pga", draws=7, together=3, steps=9).supply()
    assert (made.search, made.draws, made.together, made.steps) == ("pga", 7, 3, 9)
    assert isinstance(made, EditedImages)
