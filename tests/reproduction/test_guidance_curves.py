"""The curves of guided generation: the rule that chooses a scale, the ways there are, and the picture."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from snellen.core.progress import Silent

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scripts():
    folders = [str(ROOT / "benchmarks" / "guidance"), str(ROOT / "scripts")]
    sys.path[:0] = folders
    try:
        yield {name: importlib.import_module(name) for name in ("arms", "curves", "write_guidance_picture")}
    finally:
        del sys.path[: len(folders)]


def test_the_highest_accuracy_is_chosen_and_of_equal_ones_the_smallest_scale(scripts):
    points = {scale: {"accuracy": value} for scale, value in (("15", 0.9), ("3", 0.8), ("9", 0.9), ("21", 0.7))}
    assert scripts["curves"].chosen(points) == "9"


def test_every_way_has_five_rising_scales_and_no_name_occurs_twice(scripts):
    conditional, unconditional = scripts["arms"].CONDITIONAL, scripts["arms"].UNCONDITIONAL
    assert not set(conditional) & set(unconditional)
    for family in (*conditional.values(), *unconditional.values()):
        assert len(family.scales) == 5
        assert list(family.scales) == sorted(family.scales)
        assert family.scales[0] > 1


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
    arms, curves = scripts["arms"], scripts["curves"]
    figures = {"accuracy": 0.5, "guide_queries": 0.0, "guide_gradients": 0.0}
    assert curves.without_hidden(figures, arms.UNCONDITIONAL["supervised"]) == {"accuracy": 0.5}
    assert curves.without_hidden(figures, arms.UNCONDITIONAL["experts"]) == figures


def test_the_picture_shows_every_way_that_was_measured(scripts, tmp_path, monkeypatch):
    picture, arms = scripts["write_guidance_picture"], scripts["arms"]

    def point(scale):
        return {"accuracy": 0.5 + scale / 50, "recall": 0.9 - scale / 50, "frechet": 20 + scale}

    none = point(0)
    ways = {
        name: {"points": {f"{scale:g}": point(scale) for scale in family.scales}, "chosen": f"{family.scales[-1]:g}"}
        for name, family in {**arms.CONDITIONAL, **arms.UNCONDITIONAL}.items()
    }
    world = {"none conditional": none, "none unconditional": none, "arms": ways}
    (tmp_path / "curves.json").write_text(json.dumps({"worlds": {"thumbnails": world, "scenes": world}}))
    target = tmp_path / "curves.webp"
    monkeypatch.setattr(sys, "argv", ["picture", "--measured", str(tmp_path / "curves.json"), "--target", str(target)])
    picture.main()
    drawn = Image.open(target).convert("RGB")
    assert drawn.size == (4 * picture.WIDTH, 2 * (picture.HEIGHT + picture.LEGEND))
    seen = {colour for _, colour in drawn.getcolors(2**24)}
    assert all(tuple(bytes.fromhex(colour[1:])) in seen for colour in picture.COLOURS)
