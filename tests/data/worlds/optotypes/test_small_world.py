"""Scenes of the small world that were, or were not, drawn for fitting."""

import pytest

from snellen.data.worlds.optotypes import scenes as drawing
from snellen.data.worlds.optotypes.small_world import WORLD, held_out, scenes


@pytest.mark.parametrize("seen", [True, False])
def test_they_are_the_first_of_the_world_and_no_more_are_drawn_than_are_looked_at(monkeypatch, seen):
    kept = [one for one in WORLD.model_copy(update={"count": 60}).scenes("test") if held_out(one) is not seen][:3]
    drawn, draw = [], drawing.draw_scene
    monkeypatch.setattr(drawing, "draw_scene", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    assert scenes(WORLD, "test", count=3, seen=seen) == kept
    assert drawn[-1] == kept[-1], "the last that was drawn is the last that was wanted"
