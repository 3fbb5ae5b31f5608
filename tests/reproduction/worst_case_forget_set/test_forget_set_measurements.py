"""What is measured of forget sets beside the claims: networks of the record, repeats on the same images, tables."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import snellen
from snellen.core.progress import Silent
from snellen.reproduction.worst_case_forget_set.experiment import SMOKE, Experiment, on_digits
from snellen.reproduction.worst_case_forget_set.measure import ALL, DIVIDED_BY, FURTHER, RELEARNED, Repeated
from snellen.reproduction.worst_case_forget_set.table import digits_table, gaps_table, overlap_table, relearned_table

ROOT = Path(__file__).parents[3]

MEASURED = [json.loads(path.read_text()) for path in sorted((ROOT / "docs/measured/forget-sets").glob("seed-*.json"))]


def of_part(part):
    return [one for one in MEASURED if one["part"] == part]


def test_repeats_have_the_images_and_labels_of_one_seed_and_networks_of_their_own():
    one, other = Repeated(SMOKE, 1, Silent()), Repeated(SMOKE, 2, Silent())
    of_record = Experiment(SMOKE, DIVIDED_BY, Silent())
    assert one.case.store.fingerprint() == other.case.store.fingerprint() == of_record.case.store.fingerprint()
    assert one.case.test.fingerprint() == of_record.case.test.fingerprint()
    weights = [torch.cat([part.flatten() for part in made.network.state_dict().values()]) for made in (one, other)]
    assert not torch.equal(*weights)


def test_networks_and_sets_are_those_of_the_record():
    found = of_part("methods")
    assert len(found) >= 4
    for one in found:
        # Two of 140 images: another processor adds in another order.
        assert one["exact"]["worst"]["ua"] == pytest.approx(one["recorded_ua"], abs=0.0145), one["seed"]


def test_every_method_and_every_course_was_measured():
    for one in of_part("methods"):
        assert set(one["gaps"]) == set(FURTHER)
        for courses in one["relearned"].values():
            assert set(courses) == {"retraining", *RELEARNED}
            assert all(len(course) == 4 for by in courses.values() for course in by.values())


def test_tables_have_a_row_for_every_method_and_means_over_seeds():
    rows = gaps_table(ROOT).splitlines()[2:]
    assert len(rows) == 6 + len(FURTHER) + 2
    mine = [100 * one["gaps"]["selective_dampening"]["worst"] for one in of_part("methods")]
    row = next(line for line in rows if "selective-dampening" in line).split("|")
    assert row[2].strip() == str(len(mine))
    assert float(row[3]) == pytest.approx(np.mean(mine), abs=0.051)
    courses = relearned_table(ROOT).splitlines()[2:]
    assert len(courses) == 2 * 2 * (1 + len(RELEARNED))


def test_repeats_of_digits_keep_their_labels():
    one = Repeated(on_digits(SMOKE), 1, Silent())
    true = snellen.load_images("known:digits")
    places = {name: row for row, name in enumerate(true.ids)}
    assert (true.labels[[places[name] for name in one.case.store.ids]] == one.case.store.targets.numpy()).all()


def test_every_method_was_measured_on_digits_at_the_value_of_another_random_set():
    found = of_part("digits")
    assert len(found) >= 3
    for one in found:
        assert list(one["gaps"]) == list(ALL)
        for gaps in one["gaps"].values():
            known = [gap for gap in gaps["tried"] if gap is not None]
            assert gaps["tried"][gaps["chosen"]] == min(known)
            assert all(0 <= gaps[name] <= 1 for name in ("worst", "random", "lowest"))


def test_tables_of_digits_have_every_method_and_the_overlap_of_every_pair():
    rows = digits_table(ROOT).splitlines()[2:]
    assert len(rows) == len(ALL) + 2
    mine = [100 * one["gaps"]["rl"]["worst"] for one in of_part("digits")]
    row = next(line for line in rows if "random-labels" in line).split("|")
    assert float(row[3]) == pytest.approx(np.mean(mine), abs=0.051)
    assert sum("digits" in line for line in overlap_table(ROOT).splitlines()) == 2
