"""The study of references: against what captions are judged, and its table."""

from __future__ import annotations

import pytest

from snellen.core.progress import Silent
from snellen.data.worlds.optotypes.parser import parse
from snellen.metrics.caption_measures import meteor_scores, rouge_l
from snellen.reproduction.guided_captions import measure
from snellen.reproduction.guided_captions.table import KINDS, references_table
from snellen.reproduction.guided_captions.vague_world import captioned, stated
from snellen.reproduction.shared.documents import read_all_measured

CAPTIONS = {1.0: ["an object on grass", "an object on sand"], 2.0: ["a red star on grass", "a blue ring on sand"]}
VAGUE = [
    ["an object on grass"] * 4 + ["a red star on grass"],
    ["an object on sand"] * 4 + ["a blue ring on sand"],
]
COARSE = [["an object on grass"] * 5, ["an object on sand"] * 5]


def test_captions_are_judged_against_five_references_and_one_at_a_time():
    found = measure.judged(CAPTIONS, VAGUE, COARSE)
    assert list(found) == list(KINDS)
    # The best of five says what guidance added, four of five single ones do not.
    assert found["five"]["rouge_l 1"] == found["five"]["rouge_l 2"] == pytest.approx(1.0)
    single = [rouge_l(CAPTIONS[2.0], [[row[number]] for row in VAGUE]) for number in range(5)]
    assert found["single"]["rouge_l 2"] == pytest.approx(sum(single) / 5)
    assert found["single"]["rouge_l 1"] > found["single"]["rouge_l 2"]
    assert found["coarse"]["meteor 2"] == pytest.approx(sum(meteor_scores(CAPTIONS[2.0], COARSE, [])) / 2)
    assert found["coarse"]["meteor 1"] > found["coarse"]["meteor 2"]


def test_a_measured_seed_judges_by_references_that_never_name_what_distinguishes(tmp_path, monkeypatch):
    (tmp_path / "docs" / "measured").mkdir(parents=True)
    kept = []
    monkeypatch.setattr(measure, "SMALL_SIZES", (4, 12))
    monkeypatch.setattr(measure, "tune_captioner", lambda captioner, *rest, **others: (captioner, ()))
    monkeypatch.setattr(measure, "MOST_TOKENS", 6)
    original = measure.judged

    def watched(captions, vague, coarse):
        kept.append((vague, coarse))
        return original(captions, vague, coarse)

    monkeypatch.setattr(measure, "judged", watched)
    for seed in (3, 4):
        measure.measure_references(tmp_path, Silent(), seed=seed)
    vague, coarse = kept[0]
    assert vague == captioned("test", 12, seed=3).vague
    said = [stated(parse(text)) for row in coarse for text in row]
    assert not {fact.split()[0] for facts in said for fact in facts} & set(measure.DISTINGUISHING)
    assert any("background" in fact for facts in said for fact in facts)
    assert len(read_all_measured(tmp_path, "caption-references")) == 2
    assert len(references_table(tmp_path).splitlines()) == 2 + len(KINDS)
