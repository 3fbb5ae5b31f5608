"""Accuracy and drift on images without labels: covered under another mix, refused for foreign images, by date."""

import datetime
import json

import numpy as np
import pytest

import snellen
from snellen.auditing.compare.production import _begin, _day, _length
from snellen.core.errors import InputError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An audit of 600 bundled images, and the other 1,400 with their labels."""
    folder = tmp_path_factory.mktemp("monitoring")
    classifier, images = snellen.load_classifier("bundled:fashion-cnn"), snellen.load_images("bundled:fashion-mnist")
    order = np.random.default_rng(0).permutation(len(images))
    snellen.audit(classifier, images.select(np.sort(order[:600])), checks=["clean", "data_quality"], out=folder / "run")
    return folder, classifier, images.select(np.sort(order[600:]))


def pixels(images):
    return np.stack([np.asarray(images.read(index)) for index in range(len(images))])


def monitored(world, images, **more):
    return snellen.monitor(world[0] / "run", images, **more)


def test_under_another_mix_of_classes_the_interval_covers_and_labels_are_not_read(world):
    _, classifier, rest = world
    rng = np.random.default_rng(1)
    for seed in range(4):
        weights = rng.uniform(0.05, 1, 10)[rest.labels]
        mixed = rest.select(np.flatnonzero(rng.random(len(rest)) < 0.4 * weights / weights.max()))
        found = monitored(world, mixed, seed=seed)
        assert found.whole.verdict == "estimated"
        accuracy = snellen.audit(classifier, mixed, checks=["clean"]).metrics["clean.accuracy"].value
        # One audit stands behind all four, so that misses come together; test_shifted_accuracy.py tests the coverage.
        assert found.whole.accuracy.low - 0.01 <= accuracy <= found.whole.accuracy.high + 0.01
    shuffled = (pixels(mixed), np.zeros(len(mixed), dtype=np.int64))
    wrong = monitored(world, snellen.load_images(shuffled, class_names=mixed.class_names))
    assert wrong.whole.accuracy.value > 0.8, "all labels are wrong, and nothing looked"


def test_foreign_images_are_refused_with_the_number_to_label(world):
    _, _, rest = world
    negative = 255 - pixels(rest.limit(200))
    found = monitored(world, snellen.load_images(negative))
    assert found.whole.verdict == "refused"
    assert found.whole.accuracy is None
    assert found.to_label > 50
    assert f"Labels of {found.to_label} images" in str(found)


def test_windows_by_date(world, tmp_path):
    _, _, rest = world
    some = rest.limit(500)
    values = pixels(some)
    months = np.arange(500) // 125
    values[months == 3] = 255 - values[months == 3]
    days = [datetime.date(2026, 1 + month, 1 + n % 28) if n else None for n, month in enumerate(months.tolist())]
    found = monitored(world, snellen.load_images(values), dates=days, out=tmp_path / "out")
    assert found.every == "month"
    assert [one.verdict for one in found.windows] == ["estimated"] * 3 + ["refused"]
    assert [one.images for one in found.windows] == [124, 125, 125, 125]
    assert found.whole.verdict == "refused", "a part that cannot be judged leaves the whole unknown"
    assert "1 of 4 windows" in found.whole.reason
    assert any("1 images have no date" in note for note in found.notes)
    page = (tmp_path / "out" / "monitoring.html").read_text(encoding="utf-8")
    assert "2026-04-01" in page
    assert "<svg" in page
    assert json.loads((tmp_path / "out" / "monitoring.json").read_bytes())["every"] == "month"
    assert "2026-04-01" in (tmp_path / "out" / "monitoring.md").read_text(encoding="utf-8")
    again = monitored(world, snellen.load_images(values), dates=days, out=tmp_path / "out")
    assert again == found


def test_a_finished_run_of_the_same_model_stands_for_images(world, tmp_path):
    _, classifier, rest = world
    some = rest.limit(150)
    snellen.audit(classifier, some, checks=["clean", "data_quality"], out=tmp_path / "new")
    found = monitored(world, tmp_path / "new")
    assert found.whole.accuracy == monitored(world, some).whole.accuracy
    with pytest.raises(InputError, match="dates come with images"):
        monitored(world, tmp_path / "new", dates="taken")


def test_what_cannot_be_monitored_is_an_error(world, tmp_path):
    _, classifier, rest = world
    few = monitored(world, rest.limit(10))
    assert (few.whole.verdict, few.whole.accuracy) == ("too few", None)
    with pytest.raises(InputError, match="no column 'taken' with dates"):
        monitored(world, rest.limit(30), dates="taken")
    with pytest.raises(InputError, match="2 dates came for 30 images"):
        monitored(world, rest.limit(30), dates=["2026-01-01", "2026-01-02"])
    with pytest.raises(InputError, match="'yesterday' is no date"):
        monitored(world, rest.limit(30), dates=["yesterday"] * 30)
    with pytest.raises(InputError, match="windows over time need the dates"):
        monitored(world, rest.limit(30), every="week")
    with pytest.raises(InputError, match="no run directory"):
        snellen.monitor(tmp_path, rest)
    report = snellen.audit(classifier, rest.limit(10), checks=["clean"], out=tmp_path / "small")
    with pytest.raises(InputError, match="10 labelled images or units; 20 are needed"):
        snellen.monitor(report, rest)


def test_days_and_windows():
    assert _day("2026-11-30T10:00:00Z") == datetime.date(2026, 11, 30)
    assert _day(datetime.datetime(2026, 1, 2, 3)) == datetime.date(2026, 1, 2)
    assert _day(float("nan")) is None
    day = datetime.date(2026, 8, 20)
    assert [_begin(day, every).isoformat() for every in ("day", "week", "month", "quarter", "year")] == [
        "2026-08-20", "2026-08-17", "2026-08-01", "2026-07-01", "2026-01-01"
    ]  # fmt: skip
    assert _length([day] * 100) == "day"
    assert _length([datetime.date(2026, month, 1) for month in range(1, 13)] * 40) == "quarter"
