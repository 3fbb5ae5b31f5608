"""``snellen.search``: a classifier that an audit opens, an account, and a killed search with the same files."""

import json
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from snellen.core.errors import InputError, ModelError, RunConflictError
from snellen.runs.estimate import plan
from snellen.systems.functional_hashing import cell_search, concluding, search_work
from snellen.systems.functional_hashing.cell_space import CellSettings, CellSpace
from snellen.systems.functional_hashing.cells import canonical
from snellen.systems.functional_hashing.concluding import learned_little
from snellen.systems.functional_hashing.function_cache import Evaluation
from tests.verbs.stopping import Stopping

NAMES = ("zebra", "apple", "mule")

#: Files that hold clock readings.
TIMED = ("costs.json",)

TINY = CellSettings(channels=4, epochs=1, batch_size=16, probe_images=4)


def pictures(count=36, names=NAMES, seed=0):
    """Images of one grey each; the classes are not in the order of the alphabet."""
    labels = np.arange(count) % len(names)
    noise = np.random.default_rng(seed).integers(0, 30, (count, 10, 12, 3))
    pixels = (labels * 90)[:, None, None, None] + noise
    return snellen.load_images((pixels.astype(np.uint8), labels), class_names=names)


def searched(out, images=None, **options):
    given = {"candidates": 10, "population": 4, "tournament": 2, "side": 8, "cells": TINY, "final_epochs": 3}
    return snellen.search(pictures() if images is None else images, out=out, **{**given, **options})


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in TIMED
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "a search"
    return searched(folder), folder


def test_the_classifier_of_the_best_cell_is_opened_with_classes_and_preprocessing(whole):
    result, folder = whole
    classifier = snellen.load_classifier(f"artifact:{folder / 'classifier'}")
    assert classifier.class_names == NAMES
    assert tuple(classifier.preparation.size) == (8, 8)
    card = json.loads((folder / "classifier" / "card.json").read_bytes())
    assert card["architecture"]["cell"] == result.best[-1].cell == card["lineage"]["recipe"]["cell"]
    assert card["metrics"]["val.accuracy"] == pytest.approx(result.accuracy, abs=1e-6)
    report = snellen.audit(classifier, pictures(), checks=["clean"])
    assert report.metrics["clean.accuracy"].n == 36


def test_the_account_is_that_of_the_candidates(whole):
    result, folder = whole
    rows = [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
    assert [row["number"] for row in rows] == list(range(10))
    count = result.account
    assert count.candidates == 10 == count.misses + count.full_hits
    assert count.evaluated == count.misses == sum(row["evaluated"] is not None for row in rows)
    assert count.structures == len({row["structure"] for row in rows})
    assert (count.hashed_twice, count.unstable) == (5, 0)
    assert result.best[-1].valid == max(row["valid"] for row in rows)
    assert result.val_images == 6
    costs = result.costs
    assert costs["saved"] == pytest.approx(costs["spared"] - costs["hashing"], abs=0.002)
    assert min(costs["evaluating"], costs["hashing"]) > 0


def test_the_record_holds_no_clock_reading(whole):
    _, folder = whole
    assert not re.search(r"second|evaluating|hashing\"", (folder / "search.json").read_text())


@pytest.mark.covers("23.10")
def test_a_search_without_a_cache_ends_with_the_same_classifier(whole, tmp_path):
    result, folder = whole
    plain = searched(tmp_path / "plain", keys="none")
    assert plain.account.evaluated == 10 > result.account.evaluated
    assert plain.best == result.best
    weights = [(one / "classifier" / "weights.safetensors").read_bytes() for one in (folder, tmp_path / "plain")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("after", [1, 4, 10])
def test_a_killed_search_ends_with_the_same_files_and_trains_nothing_twice(whole, tmp_path, monkeypatch, after):
    _, folder = whole
    trained, plain = [], CellSpace.evaluate

    def watched(self, candidate, run):
        trained.append(candidate.encode())
        return plain(self, candidate, run)

    monkeypatch.setattr(CellSpace, "evaluate", watched)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "out", progress=Stopping(after, search_work.TASK))
    assert not (tmp_path / "out" / "search.json").exists()
    before = len(trained)
    searched(tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)
    rows = [json.loads(line) for line in (folder / "candidates.jsonl").read_text().splitlines()]
    needed = sum(row["evaluated"] is not None for row in rows)
    assert needed <= len(trained) <= needed + 1, "only the candidate that was stopped is trained again"
    assert before >= 1


def test_a_search_that_is_there_is_read_and_another_one_is_refused(whole):
    result, folder = whole
    again = searched(folder)
    assert again.account == result.account
    with pytest.raises(RunConflictError):
        searched(folder, candidates=11)


def test_a_forecast_trains_a_few_and_writes_nothing(tmp_path):
    estimate = plan(snellen.search, pictures(), out=tmp_path / "out", candidates=1000, side=8, cells=TINY)
    assert estimate.seconds > 0
    assert any("1,000 candidates" in line for line in estimate.notes)
    assert not (tmp_path / "out").exists()


def test_a_given_val_set_measures_and_every_image_trains(tmp_path):
    images = pictures()
    result = searched(tmp_path / "out", images, val=pictures(9, seed=1), candidates=2, keys="structural")
    assert result.val_images == 9
    assert result.plan["data"]["images"] == 36
    assert result.account.hashed_twice == 0


def test_structures_that_share_a_key_are_trained_and_compared(tmp_path, monkeypatch):
    """A probe that sees nothing gives every cell one key."""
    monkeypatch.setattr(CellSpace, "probe", lambda self, candidate, seed: [0.0])
    result = searched(tmp_path / "out")
    count = result.account
    assert (count.keys, count.evaluated, count.shared_keys) == (1, 1, 1)
    assert count.checked == min(concluding.MOST_CHECKED, count.structures - 1)
    assert count.collisions > 0
    assert any(line.startswith("collisions:") for line in result.warnings)


@pytest.mark.parametrize(
    "cached", [{}, {"max_num_evals": 2}, {"remove_probability": 1.0}, {"capacity": 1}], ids=lambda one: "-".join(one)
)
@pytest.mark.parametrize("collide", [False, True])
def test_collisions_compare_the_first_training_of_both(tmp_path, monkeypatch, cached, collide):
    """Here fitness depends on the run alone, or on the structure as well; one probe is that of many cells."""
    monkeypatch.setattr(CellSpace, "probe", lambda self, cell, seed: [float(len(cell.encode()) + cell.edges % 2)])

    def evaluate(self, cell, run):
        return Evaluation(0.5 + 0.01 * run + (0.001 * len(self.structure(cell)) if collide else 0.0), seconds=1.0)

    monkeypatch.setattr(CellSpace, "evaluate", evaluate)
    result = searched(tmp_path / "out", strategy="random", final_epochs=1, **cached)
    assert result.account.checked > 0
    assert bool(result.account.collisions) == collide
    assert any(line.startswith("collisions:") for line in result.warnings) == collide


def test_a_checked_structure_that_cannot_be_trained_is_a_collision(tmp_path, monkeypatch):
    monkeypatch.setattr(CellSpace, "probe", lambda self, cell, seed: [0.0])
    trained = []

    def evaluate(self, cell, run):
        trained.append(cell)
        if len(trained) > 1:
            raise ModelError("the loss is not finite")
        return Evaluation(0.5)

    monkeypatch.setattr(CellSpace, "evaluate", evaluate)
    result = searched(tmp_path / "out", final_epochs=1)
    assert result.account.checked == result.account.collisions > 0


def test_a_cell_whose_last_training_fails_gives_way_to_the_one_before_it(whole, tmp_path, monkeypatch):
    plain, trained = CellSpace.trained, []
    monkeypatch.setattr(CellSpace, "evaluate", lambda self, cell, run: Evaluation(0.01 * len(self.structure(cell))))

    def fails(self, cell, run, epochs, **options):
        trained.append(cell.encode())
        if len(trained) == 1:
            raise ModelError("epoch 3: the loss is not finite")
        return plain(self, cell, run, epochs, **options)

    monkeypatch.setattr(CellSpace, "trained", fails)
    result = searched(tmp_path / "out", keys="none")
    assert result.best[-1].cell == trained[1] != trained[0]
    assert any("last training of candidate" in line and "not finite" in line for line in result.warnings)


def test_where_nothing_can_be_trained_the_search_ends_with_the_reason(tmp_path, monkeypatch):
    def fails(self, candidate, run):
        raise ArithmeticError("scores are not finite")

    monkeypatch.setattr(CellSpace, "evaluate", fails)
    with pytest.raises(InputError, match="the first 10 candidates all failed; the first one: ArithmeticError"):
        searched(tmp_path / "out", candidates=12, keys="none")
    with pytest.raises(InputError, match="every candidate failed"):
        searched(tmp_path / "few", candidates=3, keys="none")
    monkeypatch.setattr(CellSpace, "probe", lambda self, candidate, seed: [0.0])
    with pytest.raises(InputError, match="the first 10 candidates all failed"):
        searched(tmp_path / "hits", candidates=12)  # one training and nine hits on it
    with pytest.raises(InputError, match="every candidate failed"):
        searched(tmp_path / "few hits", candidates=3)
    with pytest.raises(InputError, match="the first 4 candidates all failed; the first one: ArithmeticError"):
        plan(snellen.search, pictures(), out=tmp_path / "out", candidates=12, side=8, cells=TINY)


def test_what_fails_in_one_of_several_trainings_is_never_the_best(tmp_path, monkeypatch):
    def fails_again(self, candidate, run):
        if run:
            raise ArithmeticError("scores are not finite")
        return Evaluation(0.9 if trained and self.structure(candidate) == trained[0] else 0.1, seconds=1.0)

    trained, plain = [], CellSpace.sample
    drawn = plain(None, random.Random(0))
    trained.append(canonical(drawn).encode())
    first = []
    monkeypatch.setattr(
        CellSpace, "sample", lambda self, rng: drawn if len(first) < 2 and not first.append(1) else plain(self, rng)
    )
    monkeypatch.setattr(CellSpace, "evaluate", fails_again)
    result = searched(tmp_path / "out", strategy="random", max_num_evals=2, final_epochs=1)
    assert result.account.failed >= 1
    assert trained[0] not in {one.cell for one in result.best}


def test_one_failure_is_counted_and_warned_of(tmp_path, monkeypatch):
    plain, failed = CellSpace.probe, []

    def fails(self, candidate, seed):
        failed.append(candidate)
        if len(failed) < 3:  # the first one is hashed twice
            raise ArithmeticError("no <b>gradient</b>")
        return plain(self, candidate, seed)

    monkeypatch.setattr(CellSpace, "probe", fails)
    result = searched(tmp_path / "out", candidates=4)
    assert result.account.failed == 1
    (warning,) = [line for line in result.warnings if line.startswith("failed: 1 of 4 candidates could not be trained")]
    assert warning.endswith("the first one: ArithmeticError: no <b>gradient</b>")
    assert result.best[0].number > 0


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"candidates": 0}, "candidates: expected at least 1"),
        ({"final_epochs": 0}, "final epochs: expected at least 1"),
        ({"side": 4}, "side: expected at least 8"),
        ({"mantissa_bits": 53}, "1 to 52"),
        ({"tournament": 5}, "a tournament of 5"),
        ({"strategy": "annealing"}, "annealing"),
        ({"keys": "textual"}, "textual"),
        ({"max_num_evals": 0}, "at least 1"),
        ({"remove_probability": 2.0}, r"\[0, 1\]"),
        ({"budget": "5m"}, "neither a budget"),
        ({"engine": "local"}, "workers read the images themselves"),
        ({"candidates": 2.5}, "candidates: expected a whole number"),
        ({"max_num_evals": "two"}, "expected a whole number, got 'two'"),
        ({"keys": "none", "max_num_evals": 2}, "max_num_evals: without effect where the keys are 'none'"),
        ({"keys": "none", "remove_probability": 0.1}, "remove_probability: without effect"),
        ({"keys": "none", "capacity": 5}, "capacity: without effect"),
        ({"keys": "structural", "mantissa_bits": 20}, "mantissa_bits: without effect where the keys are 'structural'"),
        ({"cells": CellSettings(stacks=30)}, "one pixel after 4 stacks; got 30"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_written(tmp_path, options, fault):
    with pytest.raises(InputError, match=fault):
        searched(tmp_path / "out", **options)
    assert not (tmp_path / "out" / "search.json").exists()


def test_images_that_cannot_be_searched_on_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is nothing to classify"):
        searched(tmp_path / "one", pictures(names=("only",)))
    with pytest.raises(InputError, match="has no labels"):
        searched(tmp_path / "none", snellen.load_images(np.zeros((4, 8, 8, 3), dtype=np.uint8)))
    with pytest.raises(InputError, match="one is needed to train on and one to measure on"):
        searched(tmp_path / "few", pictures(3))
    with pytest.raises(InputError, match="other classes"):
        searched(tmp_path / "other", val=pictures(names=("apple", "mule", "zebra")))
    with pytest.raises(InputError, match=r"9 of 12 images of .* are also in .*: an image that trains cannot measure"):
        searched(tmp_path / "shared", pictures(36).select(range(9)), val=pictures(36).select(range(12)))
    with pytest.raises(InputError, match="test images"):
        searched(tmp_path / "test", "optotypes:scenes?count=12&size=16&shapes=star,ring#test")


def test_splits_of_a_set_are_used_for_what_they_are_and_test_images_stay_away():
    world = snellen.load_images("optotypes:scenes?count=12&size=16&shapes=star,ring#train")
    val = snellen.load_images("optotypes:scenes?count=6&size=16&shapes=star,ring#val")
    train, measured = cell_search._images(world, val, 0)
    assert (len(train), len(measured)) == (len(world), len(val))
    train, measured = cell_search._images(world, None, 0)
    assert len(train) + len(measured) == len(world)
    assert not set(train.ids) & set(measured.ids)


def set_of_splits(root):
    """Folders of the splits train, val and test; every image is another one."""
    rng = np.random.default_rng(5)
    for split, count in (("train", 8), ("val", 4), ("test", 3)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 200, (9, 9, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{split}{number}.png")
    return root


def test_of_three_splits_each_has_its_use_and_the_audit_is_of_the_test_images(tmp_path):
    data = set_of_splits(tmp_path / "my set")
    images = snellen.load_images(data)
    assert set(images.column("split")) == {"train", "val", "test"}
    train, measured = cell_search._images(images, None, 0)
    assert (set(train.column("split")), len(train)) == ({"train"}, 16)
    assert (set(measured.column("split")), len(measured)) == ({"val"}, 8)
    for reference in (str(data), f"{data}#train"):
        result = searched(tmp_path / f"out{reference[-6:]}", reference, candidates=2, final_epochs=1)
        assert result.next_commands()[0].startswith("Next, on images that it never saw: snellen audit ")
        assert result.next_commands()[0].endswith(f"'{data}#test'")


def folder_of_classes(root, count=12, damaged=0):
    rng = np.random.default_rng(0)
    for name in ("a cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 200, (9 + number % 3, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    for number in range(damaged):
        (root / "dog" / f"{number}.png").write_bytes(b"no picture")
    return root


def test_a_folder_of_pictures_of_several_sizes_is_searched_and_a_damaged_one_is_named(tmp_path):
    data = folder_of_classes(tmp_path / "my images", damaged=1)
    result = searched(tmp_path / "out", str(data), candidates=2)
    assert [one.id for one in result.rejected] == ["dog/0.png"]
    assert result.summary().rejected == result.rejected
    (line,) = result.next_commands()
    assert "never saw" not in line
    assert "DATA" not in line
    assert str(data) not in line, "all of these trained or chose the classifier"
    assert snellen.load_classifier(f"artifact:{tmp_path / 'out' / 'classifier'}").class_names == ("a cat", "dog")


def test_too_many_damaged_pictures_end_a_search_before_anything_is_trained(tmp_path):
    data = folder_of_classes(tmp_path / "images", damaged=6)
    with pytest.raises(InputError, match="6 of 20 images of images are rejected"):
        searched(tmp_path / "out", str(data), candidates=2)
    result = searched(tmp_path / "allowed", str(data), candidates=2, allow_rejected=True)
    assert len(result.rejected) == 6


def test_a_classifier_that_guesses_is_a_warning_that_names_its_classes():
    val = SimpleNamespace(targets=torch.tensor([0, 0, 0, 1, 1]))
    searched = SimpleNamespace(space=SimpleNamespace(val=val), train=SimpleNamespace(class_names=("old", "new")))
    (warning,) = learned_little(0.6, searched)
    assert "60.0 % of the val images rightly" in warning
    assert "old, new" in warning
    assert learned_little(0.7, searched) == []
