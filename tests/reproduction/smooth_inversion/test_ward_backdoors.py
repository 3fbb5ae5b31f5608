"""The power table of the scan for backdoors: its cells, what counts, and what is named."""

import importlib
import json
from collections import Counter
from pathlib import Path

import pytest

from snellen.core.randomness import Randomness
from snellen.reproduction.smooth_inversion.table import beside_cleanse, ward, ward_where_measured

ROOT = Path(__file__).parents[3]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "ward"))
    return importlib.import_module("backdoors")


def row(name, *, reported=(), statistic=0.0, **planted):
    known = {"name": name, "planted": bool(planted), "pilot": name.startswith("pilot"), "world": "w", "network": "n"}
    return {
        **known,
        "ranking": ["a", "b", "c"],
        "reported": list(reported),
        "statistic": statistic,
        "seconds": 10.0,
        **({"trigger": "patch", "percent": 3} | planted if planted else {}),
    }


ROWS = [
    row("found", target="a", success=0.9, reported=("a",), statistic=4.0),
    row("second", target="b", success=0.8, statistic=1.5),
    row("weak", target="c", success=0.2),
    row("healthy", statistic=1.0),
    row("accused", reported=("c",), statistic=2.5),
    row("pilot-healthy"),
]


def test_cells_are_of_all_triggers_rates_sizes_and_networks(script):
    cells = script.cells()
    assert len(cells) == len({one.name for one in cells}) == 36
    pairs = Counter((one.trigger, one.percent) for one in cells)
    assert set(pairs) == {(kind, share) for kind in ("patch", "blend", "warp", "pixel") for share in (1, 3, 10)}
    assert min(pairs.values()) >= 2
    assert Counter(one.world.side for one in cells)[112] == 4
    assert {one.world.side for one in cells} == {28, 32, 48, 64, 112}
    assert {one.network for one in cells} == {"plain", "resnet", "efficientnet"}
    assert not {one.name for one in cells} & {one.name for one in script.PILOT}
    assert not {one.seed for one in cells} & {one.seed for one in script.PILOT}


def test_a_planted_defect_is_the_same_whenever_it_is_made_and_its_target_a_class(script):
    one = script.cells()[-1]
    again = next(other for other in script.cells() if other.name == one.name)
    assert one.defect == again.defect
    assert one.defect.rate == one.percent / 100
    clean, planted = one.world.images("train", 100 + one.seed, 200), one.defect
    changed = planted.plant(clean, rng=Randomness(one.seed)).labels != clean.labels
    assert int(changed.sum()) == int(one.percent / 100 * 200)
    assert 0 <= planted.target_class < len(clean.class_names)


def test_a_trigger_that_was_not_learnt_is_named_and_not_counted(script):
    found = script.merged(ROWS)
    assert (found["planted"], found["healthy"]) == (2, 3)
    assert found["not_learnt"] == ["weak"]
    assert found["target_first"]["count"] == 1
    assert found["reported"]["count"] == 1
    assert found["alarms"]["count"] == 1
    assert found["alarms_beside_pilot"] == {"count": 1, "of": 2}
    assert found["reported_beside_pilot"] == {"count": 1, "of": 2}
    assert found["unmet"] == {"not first": ["second"], "not reported": ["second"], "alarms": ["accused"]}
    # Of the six pairs, only second below accused is the wrong way round.
    assert found["auroc"] == pytest.approx(5 / 6)


def test_the_table_names_what_is_not_met(script, tmp_path):
    text = ward(script.merged(ROWS))
    assert "not first: second" in text
    assert "alarms: accused" in text
    assert text.count("not learnt") == 1
    assert "1 of 3 healthy ones are reported" in text
    assert "Not measured yet" in ward_where_measured(tmp_path)
    assert "not learnt" in ward(script.merged(ROWS[2:3]))


def test_the_peer_is_compared_on_the_same_classifiers_alone(script, monkeypatch, tmp_path):
    peer = importlib.import_module("cleanse")
    for name, own in (("found", ROWS[0]), ("weak", ROWS[2]), ("healthy", ROWS[3])):
        (tmp_path / f"{name}.json").write_text(json.dumps(own))
    monkeypatch.setattr(peer, "SCANNED_FILES", tmp_path)
    rows = [ROWS[0] | {"ranking": ["b", "a", "c"], "reported": []}, ROWS[2], ROWS[3] | {"seconds": 30.0}, ROWS[4]]
    found = peer.merged(rows)
    assert (found["planted"], found["healthy"]) == (1, 1), "weak learnt no trigger, and accused was not scanned by us"
    assert (found["snellen"]["target_first"], found["neural_cleanse"]["target_first"]) == (1, 0)
    assert (found["snellen"]["auroc"], found["snellen"]["alarms"]) == (1.0, 0)
    text = beside_cleanse(found)
    assert "the same images of 2 of these classifiers" in text
    assert "| target reported, of 1 | 1 | 0 |" in text
