"""Stages of VALE by reference."""

import pytest

from snellen.systems.visual_language import method as visual_language
from tests.systems.visual_language.red_objects import EchoCaptioner, FloodSegmenter, SalientSegmenter


@pytest.fixture
def models(monkeypatch):
    """Segmenters and a captioner by reference."""
    made = {"flood": FloodSegmenter(), "salient": SalientSegmenter(), "echo": EchoCaptioner()}
    for kind in ("_segmenter", "_captioner"):
        monkeypatch.setattr(visual_language, kind, lambda reference, device: made[reference])
    return made
