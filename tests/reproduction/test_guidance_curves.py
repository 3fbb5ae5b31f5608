"""The curves of guided generation: the rule that chooses a scale, the ways there are, and the picture."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from snellen.core.progress import Silent
from snellen.reproduction.shared.documents import measured_path
from snellen.reproduction.shared.guided_generation import picture
from snellen.reproduction.shared.guided_generation.ways import CONDITIONAL, UNCONDITIONAL

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(ROOT / "benchmarks" / "guidance"))
    try:
        yield {name: importlib.import_module(name) for name in ("arms", "curves")}
    finally:
        del sys.path[0]


def test_the_highest_accuracy_is_chosen_and_of_equal_ones_the_smallest_scale(scripts):
    points = {scale: {"accuracy": value} for scale, value in (("15", 0.9), ("3", 0.8), ("9", 0.9), ("21", 0.7))}
    assert scripts["curves"].chosen(points) == "9"


def test_every_way_has_five_rising_scales_and_no_name_occurs_twice():
    assert not set(CONDITIONAL) & set(UNCONDITIONAL)
    for way in (*CONDITIONAL.values(), *UNCONDITIONAL.values()):
        assert len(way.scales) == 5
        assert list(way.scales) == sorted(way.scales)
        assert way.scales[0] > 1


@pytest.mark.parametrize("name", ["cfg", "auto", "gradient", "gfcg", "gfcg_cfg", "gfcg_auto", "fixed", "random"])
def test_a_way_beside_autoguidance_asks_the_weak_network_and_no_other_does(scripts, monkeypatch, name):
    arms = scripts["arms"]
    weak = object()
    monkeypatch.setattr(arms.Arms, "weak", property(lambda self: weak))
    made = arms.Arms(SimpleNamespace(guide="guide"), 0, (), Silent()).arm(name, 2.0)
    assert list(made.denoisers) == ([weak] if name in ("auto", "gfcg_auto") else [])
    assert list(made.guides) == ([] if name in ("cfg", "auto") else ["guide"])
    if name == "gfcg_auto":
        steer = made.steering(SimpleNamespace(generator=None, classes=None, class_names=()))
        assert steer.weak is weak


def test_what_was_not_counted_is_left_out(scripts):
    curves = scripts["curves"]
    figures = {"accuracy": 0.5, "guide_queries": 0.0, "guide_gradients": 0.0}
    assert curves.without_hidden(figures, UNCONDITIONAL["supervised"]) == {"accuracy": 0.5}
    assert curves.without_hidden(figures, UNCONDITIONAL["experts"]) == figures


def test_the_picture_shows_every_way_that_was_measured(tmp_path):
    def point(scale):
        return {"accuracy": 0.5 + scale / 50, "recall": 0.9 - scale / 50, "frechet": 20 + scale}

    none = point(0)
    ways = {
        name: {"points": {f"{scale:g}": point(scale) for scale in way.scales}, "chosen": f"{way.scales[-1]:g}"}
        for name, way in {**CONDITIONAL, **UNCONDITIONAL}.items()
    }
    world = {"none conditional": none, "none unconditional": none, "arms": ways}
    measured = measured_path(tmp_path, "guidance-curves")
    measured.parent.mkdir(parents=True)
    measured.write_text(json.dumps({"worlds": {"thumbnails": world, "scenes": world}}), encoding="utf-8")
    target = tmp_path / "curves.webp"
    picture.draw(tmp_path, target)
    drawn = Image.open(target).convert("RGB")
    assert drawn.size == (4 * picture.WIDTH, 2 * (picture.HEIGHT + picture.LEGEND))
    seen = {colour for _, colour in drawn.getcolors(2**24)}
    assert all(tuple(bytes.fromhex(colour[1:])) in seen for colour in picture.COLOURS)
