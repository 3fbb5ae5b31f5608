"""A budget of time: what is measured, what fits, what is written down, and that it is chosen once."""

import json
import time

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from snellen.auditing import budgeting
from snellen.auditing.audit import audit
from snellen.auditing.budgeting import FLOOR, LEAST, OVERHEAD, OVERHEAD_EACH, Choice, Rates, choose, measure_rates
from snellen.auditing.checks.adversarial import Adversarial
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.threat import Threat
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError, RunConflictError
from snellen.core.images import ImageSet
from snellen.core.run import Run, canonical_json
from snellen.data.references import load_images

RATES = Rates(each=0.01, forward=0.005)
COSTS = {"clean": 0.0, "corruption": 100.0, "adversarial": 20.0, "duplicates": 0.1}


def chosen(images, costs, *others, **options):
    """``choose`` with checks that take the same passes for each image, however many there are."""
    return choose(images, {name: lambda _, cost=cost: cost for name, cost in costs.items()}, *others, **options)


# -- what fits --------------------------------------------------------------------------------------------------------


def seconds_for(images, costs, rates=RATES):
    return OVERHEAD + images * (OVERHEAD_EACH + rates.each + rates.forward * sum(costs.values()))


def test_all_of_it_when_there_is_time():
    choice = chosen(3000, COSTS, RATES, seconds=seconds_for(3000, COSTS) + 0.01)
    assert (choice.images, choice.left_out) == (3000, {})
    assert choice.estimated == pytest.approx(seconds_for(3000, COSTS), abs=0.06)
    assert choice.notes() == ["Budget of 30.7 min: all 3,000 images."]


def test_fewer_images_come_first_down_to_the_floor():
    for images in (2999, 1500, FLOOR):
        choice = chosen(3000, COSTS, RATES, seconds=seconds_for(images, COSTS) + 0.01)
        assert (choice.images, choice.left_out) == (images, {})


def test_then_the_dearest_check_leaves_and_images_come_back():
    seconds = seconds_for(FLOOR, COSTS) - 0.1
    choice = chosen(30_000, COSTS, RATES, seconds=seconds)
    assert list(choice.left_out) == ["corruption"]
    rest = {name: cost for name, cost in COSTS.items() if name != "corruption"}
    assert seconds_for(choice.images, rest) <= seconds < seconds_for(choice.images + 1, rest)
    assert choice.images > FLOOR
    assert choice.left_out["corruption"] == (
        "is left out: over the budget of 10.2 min, estimated 8.33 min for 1,000 images"
    )
    assert choice.notes() == [
        f"Budget of 10.2 min: {choice.images:,} of 30,000 images, drawn at random; left out: corruption."
    ]


def test_below_the_floor_only_when_nothing_is_left_that_costs_anything():
    choice = chosen(3000, COSTS, RATES, seconds=seconds_for(FLOOR, {}) - 1)
    assert list(choice.left_out) == ["corruption", "adversarial", "duplicates"], "dearest first; clean never"
    assert LEAST < choice.images < FLOOR


def test_too_little_for_clean_scores_is_an_error_that_says_how_much_is_needed():
    needed = seconds_for(LEAST, {})
    assert chosen(3000, COSTS, RATES, seconds=needed + 0.001).images == LEAST
    with pytest.raises(InputError, match=r"the budget of 2.6 s is too small: .* 100 images alone .* about 2.7 s"):
        chosen(3000, COSTS, RATES, seconds=needed - 0.06)
    with pytest.raises(InputError, match="too small"):
        chosen(3000, COSTS, RATES, seconds=100, spent=99)


def test_sets_below_the_floor_stay_whole_until_checks_have_left():
    choice = chosen(300, COSTS, RATES, seconds=seconds_for(300, {"adversarial": 20, "duplicates": 0.1}))
    assert (choice.images, list(choice.left_out)) == (300, ["corruption"])
    tiny = chosen(20, {"clean": 0}, RATES, seconds=seconds_for(20, {}) + 0.001)
    assert tiny.images == 20


def test_a_bag_that_is_larger_than_the_floor_is_the_floor():
    seconds = seconds_for(1200, {"adversarial": 20}) + 0.01
    assert chosen(5000, {"adversarial": 20}, RATES, seconds=seconds, smallest=1200).images == 1200
    assert chosen(5000, {"adversarial": 20}, RATES, seconds=seconds, smallest=1201).left_out
    with pytest.raises(InputError, match="1,500 images alone"):
        chosen(5000, {"adversarial": 20}, RATES, seconds=seconds_for(1400, {}), smallest=1500)


def test_a_check_that_measures_a_sample_leaves_room_for_more_images():
    sampled = {"corruption": lambda count: 100 * min(1.0, 1000 / count)}
    needed = OVERHEAD + 20_000 * (OVERHEAD_EACH + RATES.each) + RATES.forward * 100 * 1000
    found = choose(50_000, sampled, RATES, seconds=needed + 0.001)
    assert (found.images, found.left_out) == (20_000, {})
    assert found.estimated == pytest.approx(needed, abs=0.06)
    assert chosen(50_000, {"corruption": 100}, RATES, seconds=needed).images < 2_000


def test_processes_share_the_work():
    one, two = (chosen(9000, COSTS, RATES, seconds=1200, processes=processes).images for processes in (1, 2))
    assert 1.9 < two / one < 2.0


def test_training_images_take_their_share_and_no_more():
    all_of_them = chosen(5000, {}, RATES, seconds=1000, companions={"train": 20_000, "val": 500})
    assert all_of_them.companions == {}
    choice = chosen(5000, {}, RATES, seconds=200, companions={"train": 20_000, "val": 500})
    beside = choice.companions["train"] + 500
    assert choice.companions.keys() == {"train"}
    assert 0.15 < beside * (RATES.each + OVERHEAD_EACH) / 200 < 0.34
    assert choice.images == 5000
    assert "at most 2,756 train images" in choice.notes()[0]
    assert chosen(5000, {}, RATES, seconds=60, companions={"train": 20_000}).companions == {"train": 1625}
    assert chosen(5000, {}, RATES, seconds=30, companions={"train": 20_000}).companions == {"train": FLOOR}


@given(
    st.integers(1, 50_000),
    st.lists(st.floats(0, 300), max_size=5),
    st.floats(1e-4, 0.3),
    st.floats(1e-5, 0.1),
    st.floats(2, 1e5),
    st.sampled_from([{}, {"train": 700}, {"train": 30_000, "val": 20_000}]),
)
def test_what_is_chosen_fits_and_nothing_more_would(images, costs, each, forward, seconds, companions):
    named, rates = {f"check {place}": cost for place, cost in enumerate(costs)}, Rates(each=each, forward=forward)
    try:
        choice = chosen(images, named, rates, seconds=seconds, companions=companions)
    except InputError:
        assume(False)
    beside = sum({**companions, **choice.companions}.values()) * (OVERHEAD_EACH + each)
    kept = {name: cost for name, cost in named.items() if name not in choice.left_out}
    taken = seconds_for(choice.images, kept, rates) + beside
    assert taken <= seconds * (1 + 1e-9)
    assert choice.estimated == pytest.approx(taken, abs=0.06)
    assert min(LEAST, images) <= choice.images <= images
    more = seconds_for(choice.images + 1, kept, rates) + beside
    assert choice.images == images or more > seconds * (1 - 1e-9)
    assert choice.images >= min(FLOOR, images) or not any(kept.values())
    for name in choice.left_out:
        assert named[name] >= max(kept.values(), default=0.0)
        assert named[name] > 0
    with_one_more = {**kept, **{name: named[name] for name in list(choice.left_out)[-1:]}}
    needed = seconds_for(min(FLOOR, images), with_one_more, rates) + beside
    assert not choice.left_out or needed > seconds * (1 - 1e-9), "no check leaves that would have fitted"


# -- what is measured -------------------------------------------------------------------------------------------------


class Clock:
    """A clock that goes on only when somebody works."""

    def __init__(self, monkeypatch, *, model=0.5, read=0.25, factor=1.0):
        self.now, self.model, self.read, self.factor = 100.0, model, read, factor
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def spend(self, seconds):
        self.now += seconds * self.factor


class Slow:
    """Images that take time to read; some cannot be read."""

    def __init__(self, clock, count=200, broken=()):
        self.clock, self.broken = clock, set(broken)
        self.pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)

    def read(self, index):
        from PIL import Image

        self.clock.spend(self.clock.read)
        if index in self.broken:
            raise RejectedImageError("damaged")
        return Image.fromarray(self.pixels[index])

    def content_hash(self, index):
        return str(self.pixels[index].sum())


def slow_problem(clock, count=200, columns=None, broken=()):
    """A model that takes its time for every image, and images of ten classes."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 10))
    torch.nn.init.normal_(module[1].weight)
    module.register_forward_hook(lambda _module, inputs, _output: clock.spend(clock.model * len(inputs[0])))
    classifier = Classifier(module, class_names="abcdefghij", name="slow")
    labels = np.random.default_rng(1).integers(0, 10, count)
    table = pa.table({"id": [f"{row:04d}" for row in range(count)], "label": labels, **(columns or {})})
    return classifier, ImageSet(Slow(clock, count, broken), table, tuple("abcdefghij"), name="slow images")


def test_rates_are_seconds_for_each_image_without_the_first_batch(monkeypatch):
    clock = Clock(monkeypatch)
    classifier, images = slow_problem(clock, broken=range(0, 200, 2))
    first, real = [], Classifier.__call__

    def lazy(model, batch):
        if not first:
            first.append(clock.spend(1000))  # what is loaded at the first call
        return real(model, batch)

    monkeypatch.setattr(Classifier, "__call__", lazy)
    rates = measure_rates(classifier, images, frozenset(), batch_size=8, workers=0, seed=0, seconds=1e6)
    assert rates.forward == pytest.approx(0.5)
    # Each usable image pays for reading the broken ones, of which there are about as many.
    assert 0.5 + 0.25 < rates.each < 0.5 + 0.25 * 3
    assert clock.now - 100 == pytest.approx(1000 + 32 * 0.25 + 2 * 0.5 * classifier.spent.queries / 2)


def test_hashing_files_is_measured_as_well(monkeypatch):
    clock = Clock(monkeypatch)
    classifier, images = slow_problem(clock)
    monkeypatch.setattr(Slow, "content_hash", lambda source, index: clock.spend(2.0) or str(index))
    rates = measure_rates(classifier, images, frozenset(), batch_size=8, workers=0, seed=0, seconds=1e6)
    assert rates.each == pytest.approx(0.5 + 0.25 + 2.0)


def test_measuring_stops_when_it_takes_its_share_of_the_budget(monkeypatch):
    clock = Clock(monkeypatch)
    classifier, images = slow_problem(clock)
    measure_rates(classifier, images, frozenset(), batch_size=64, workers=0, seed=0, seconds=10)
    assert classifier.spent.queries == 2 * budgeting.BATCH, "one batch, scored and timed"


def test_nothing_that_can_be_used_is_an_error(monkeypatch):
    classifier, images = slow_problem(Clock(monkeypatch), count=10, broken=range(10))
    with pytest.raises(InputError, match="no image of 10 drawn from slow images could be used"):
        measure_rates(classifier, images, frozenset(), batch_size=8, workers=0, seed=0, seconds=10)


# -- audits -----------------------------------------------------------------------------------------------------------

CHECKS = [
    CommonCorruptions(kinds=("brightness",), severities=(1, 5)),
    Adversarial(threats=(Threat(norm="linf", size=1),), steps=2),
]


@pytest.fixture
def low_floor(monkeypatch):
    monkeypatch.setattr(budgeting, "FLOOR", 60)
    monkeypatch.setattr(budgeting, "LEAST", 20)
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "the code")


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "timing.json"
    }


def test_an_audit_takes_what_fits_and_says_what_does_not(low_floor, monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    classifier, images = slow_problem(clock)
    report = audit(classifier, images, checks=CHECKS, batch_size=8, out=tmp_path / "run", budget="5m")
    chosen = json.loads((tmp_path / "run" / "manifest.json").read_text())["budget"]
    assert 60 <= chosen["images"] == report.data["images"] < 200
    assert chosen["of"] == 200
    statuses = {check.name: check for check in report.checks}
    assert statuses["clean"].status == statuses["corruption"].status == "done"
    assert statuses["adversarial"].status == "skipped"
    assert statuses["adversarial"].reason.startswith("is left out: over the budget of 5 min, estimated ")
    assert [note for note in report.notes if note.startswith("Budget of 5 min")] == Choice(**chosen).notes()
    timing = json.loads((tmp_path / "run" / "timing.json").read_text())
    assert timing["estimated"] == chosen["estimated"]
    assert timing["total"] == round(clock.now - 100, 3)
    assert 0.5 * timing["estimated"] < timing["total"] <= 300, "the budget is kept, and used"
    assert "over the budget of 5 min" in (tmp_path / "run" / "report.html").read_text()
    assert "estimated" not in json.loads((tmp_path / "run" / "report.json").read_text())


def test_a_run_that_goes_on_keeps_its_choice_whatever_the_clock_says(low_floor, monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    options = {"checks": CHECKS, "batch_size": 8, "budget": 300, "shards": 4}
    audit(*slow_problem(clock), out=tmp_path / "whole", **options)
    whole, real, written = content(tmp_path / "whole"), Run.write_shard, []

    def twice(run, *arguments, **named):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(run)
        real(run, *arguments, **named)

    monkeypatch.setattr(Run, "write_shard", twice)
    with pytest.raises(KeyboardInterrupt):
        audit(*slow_problem(clock), out=tmp_path / "run", **options)
    monkeypatch.setattr(Run, "write_shard", real)
    clock.factor = 50.0  # measured anew, not even clean scores would fit
    monkeypatch.setattr(budgeting, "measure_rates", None)
    audit(*slow_problem(clock), out=tmp_path / "run", **options)
    assert content(tmp_path / "run") == whole


def test_a_choice_that_was_read_back_says_the_same():
    choice = chosen(3000, COSTS, RATES, seconds=60, companions={"val": 5000, "train": 5000})
    assert len(choice.left_out) > 1
    assert len(choice.companions) > 1
    again = Choice.model_validate_json(canonical_json(choice.model_dump(mode="json")))
    assert list(again.left_out) != list(choice.left_out), "what the test is about"
    assert again.notes() == choice.notes()


def test_another_budget_is_another_run(low_floor, monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    audit(*slow_problem(clock), out=tmp_path / "run", checks=["clean"], budget=300)
    for budget in (400, None):
        with pytest.raises(RunConflictError, match="differs in: budget"):
            audit(*slow_problem(clock), out=tmp_path / "run", checks=["clean"], budget=budget)
    with pytest.raises(RunConflictError, match="differs in: budget"):
        audit(*slow_problem(clock), out=tmp_path / "run", checks=["clean"], budget=300, limit=199)


def test_images_are_those_that_a_limit_would_draw(low_floor, monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    classifier, images = slow_problem(clock)
    report = audit(classifier, images, checks=["clean"], out=tmp_path / "run", budget=150, seed=3)
    chosen = report.data["images"]
    assert 60 < chosen < 180
    same = audit(classifier, images, checks=["clean"], limit=chosen, seed=3)
    assert same.data["fingerprint"] == report.data["fingerprint"]
    fewer = audit(classifier, images, checks=["clean"], limit=30, budget=150, seed=3)
    assert fewer.data["images"] == 30
    less = audit(classifier, images, checks=["clean"], limit=180, budget=150, seed=3)
    assert less.data["fingerprint"] == audit(
        classifier, images, checks=["clean"], limit=less.data["images"], seed=3
    ).data["fingerprint"]  # fmt: skip


def test_bags_stay_whole(low_floor, monkeypatch):
    clock, rows = Clock(monkeypatch), np.arange(200)
    columns = {"bag_id": [f"bag {row // 25}" for row in rows], "bag_label": [int(row // 25 % 2) for row in rows]}
    report = audit(*slow_problem(clock, columns=columns), checks=["clean"], budget=150)
    assert 0 < report.data["images"] < 200
    assert report.data["images"] % 25 == 0


def test_training_images_are_limited_too(low_floor, monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    classifier, images = slow_problem(clock)
    report = audit(
        classifier, images, train=slow_problem(clock, count=190)[1], checks=["drift"], out=tmp_path / "run", budget=240
    )
    plan = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert plan["companions"]["train"]["images"] == plan["budget"]["companions"]["train"] < 190
    assert any("train images" in note for note in report.notes if note.startswith("Budget"))


def test_what_cannot_be_is_refused(low_floor, monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    with pytest.raises(InputError, match=r"the budget of 5 s is too small"):
        audit(*slow_problem(clock), out=tmp_path / "run", budget="5s")
    assert not (tmp_path / "run").exists()
    for wrong in ("5", "5 minutes", "", "-3m", 0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"no time; write|above zero"):
            audit(*slow_problem(clock), budget=wrong)
    with pytest.raises(InputError, match="give a limit instead"):
        audit(*slow_problem(clock), out=tmp_path / "run", budget="5m", part="1/2")


def test_a_real_clock_will_do(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    from snellen.models.classifiers.references import load_classifier

    classifier = load_classifier("bundled:fashion-cnn")
    images = load_images((pixels, np.arange(40) % 10))
    report = audit(classifier, images, checks=["clean"], budget="1h", out=tmp_path / "run")
    assert report.data["images"] == 40
    timing = json.loads((tmp_path / "run" / "timing.json").read_text())
    assert 0 < timing["estimated"] < 3600
