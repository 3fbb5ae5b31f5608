"""Accuracy and drift on images without labels: covered under another mix, refused for foreign images, by date."""

import dataclasses
import datetime
import json

import numpy as np
import pytest
import torch

import snellen
from snellen.auditing.compare.calendar_windows import begin_of, day_of, place_of, usual_length
from snellen.auditing.compare.production import Monitoring
from snellen.auditing.compare.unlabelled_window import LEVEL, Reference, Window
from snellen.checks.check import CheckFigure
from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_share
from tests.auditing.compare.simulated_runs import run_of


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
    low, high = clustered_share(np.arange(found.to_label) < found.to_label / 2)
    assert high - low == pytest.approx(0.1, abs=1e-3), "within five points, though nothing is known of the accuracy"
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
    assert any("Images without a date: 1." in note for note in found.notes)
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
    for more, words in (
        ({"dates": "taken"}, "dates came with a run directory"),
        ({"limit": 20, "columns": {"unit": "patient"}}, "columns and a limit came with a run directory"),
        ({"classifier": classifier}, "a classifier came with a run directory"),
        ({"device": "cpu"}, "a device came with a run directory"),
    ):
        with pytest.raises(InputError, match=words):
            monitored(world, tmp_path / "new", **more)


def test_the_model_runs_on_the_given_device(world, tmp_path):
    _, _, rest = world
    some = rest.limit(60)
    known = snellen.load_images("bundled:fashion-mnist").limit(100)
    snellen.audit("bundled:fashion-cnn", known, out=tmp_path, checks=["clean"])
    with pytest.raises(InputError, match="cuda:99"):
        snellen.monitor(tmp_path, some, device="cuda:99")
    with pytest.raises(InputError, match="cuda:99"):
        snellen.monitor(tmp_path, some, classifier="bundled:fashion-cnn", device="cuda:99")
    with pytest.raises(InputError, match="move one in memory yourself"):
        monitored(world, some, classifier=snellen.load_classifier("bundled:fashion-cnn"), device="cpu")
    assert snellen.monitor(tmp_path, some, device="cpu") == snellen.monitor(tmp_path, some)


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


def test_decisions_that_no_mix_explains_are_uncertain_though_features_are_the_same():
    """Decisions that no mix explains, features (here scores of no use) that did not change."""
    rng = np.random.default_rng(3)

    def images(right, confidence):
        found = run_of(right, confidence, {}, labels=rng.integers(0, 4, len(right))).images
        return dataclasses.replace(found, scores=rng.normal(size=(len(right), 4)))

    sure = rng.random(600) < 0.9
    known = images(sure, np.where(sure, rng.uniform(0.85, 0.99, 600), rng.uniform(0.4, 0.7, 600)))
    reference = Reference(known, 4, 0)
    same = images(sure[:300], np.where(sure[:300], rng.uniform(0.85, 0.99, 300), rng.uniform(0.4, 0.7, 300)))
    assert reference.judged(same, None)[0].verdict == "estimated"
    window, _ = reference.judged(images(np.ones(300, dtype=bool), rng.uniform(0.3, 0.5, 300)), None)
    assert window.area.low < 0.5 < window.area.high, "the features did not change"
    assert (window.verdict, window.p_value) == ("uncertain", LEVEL)


def test_images_like_no_audited_one_count_as_wrong_at_the_lower_end():
    rng = np.random.default_rng(6)
    right = [rng.random(count) < 0.9 for count in (600, 300)]
    known, new = (run_of(one, np.full(len(one), 0.9), {}, labels=rng.integers(0, 4, len(one))).images for one in right)
    known = dataclasses.replace(known, scores=rng.normal(size=(600, 4)))
    scores = rng.normal(size=(300, 4))
    scores[:15] += 40
    window, _ = Reference(known, 4, 0).judged(dataclasses.replace(new, scores=scores), None)
    assert window.verdict != "refused"
    assert window.foreign == pytest.approx(0.05, abs=0.02)
    lows = [one.low for one in (window.by_classes, window.by_confidence)]
    assert window.accuracy.low == pytest.approx(min(lows) - window.foreign)


def test_drift_that_could_not_be_tested_is_not_called_estimated():
    rng, labels = np.random.default_rng(4), np.repeat([0, 1], [500, 12])
    known = run_of(rng.random(512) < 0.9, np.full(512, 0.9), {}, labels=labels).images
    new = run_of(np.ones(60, dtype=bool), np.full(60, 0.9), {}, labels=np.ones(60, dtype=int)).images
    window, _ = Reference(known, 4, 0).judged(new, None)
    assert (window.verdict, window.area) == ("uncertain", None)
    assert "fewer than 20 audited images or units of these classes" in window.reason


def test_a_module_and_missing_dates_as_a_notebook_has_them(tmp_path):
    rng = np.random.default_rng(5)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 3)).eval()
    values = rng.integers(0, 256, (120, 8, 8, 3), dtype=np.uint8)
    given = torch.from_numpy(values.transpose(0, 3, 1, 2).copy()).float() / 255
    labels = net(given).argmax(1).numpy()
    report = snellen.audit(
        net, (values[:60], labels[:60]), class_names=["a", "b", "c"], checks=["clean"], out=tmp_path / "run"
    )
    days = [np.datetime64("NaT"), float("nan"), *["2026-01-05"] * 58]
    found = snellen.monitor(report, values[60:], classifier=net, dates=days, every="day")
    assert [one.images for one in found.windows] == [58]
    few = snellen.monitor(report, values[60:], classifier=net, dates=days, every="day", limit=40)
    assert (few.whole.images, few.windows[0].images >= 38) == (40, True), "dates of all images, and some are drawn"
    with pytest.raises(InputError, match="none of the 60 images has a date"):
        snellen.monitor(report, values[60:], classifier=net, dates=[None] * 60)
    with pytest.raises(InputError, match="is not the classifier that the run audited"):
        snellen.monitor(
            report, values[60:], classifier=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
        )


def test_the_chart_has_a_gap_where_nothing_was_estimated():
    share = CheckFigure(value=0.9, low=0.8, high=0.95, n=100)
    windows = [
        Window(start=f"2026-{month:02d}-03", end=f"2026-{month:02d}-20", images=100, units=100,
               verdict="estimated" if month != 3 else "refused", accuracy=share if month != 3 else None)
        for month in (1, 2, 3, 4, 5, 8)
    ]  # fmt: skip
    found = Monitoring(
        model="m", audited="a", data="d", audited_accuracy=share, whole=windows[0], every="month",
        windows=tuple(windows), to_label=100,
    )  # fmt: skip
    page = found.html
    assert page.count('<polyline class="line look-0"') == 3, "January and February, April and May, August"
    assert page.count("</svg>estimated</li>") == 1
    assert "month; 1 is that of 2026-01-03" in page


def test_days_and_windows():
    assert day_of("2026-11-30T10:00:00Z") == datetime.date(2026, 11, 30)
    assert day_of(datetime.datetime(2026, 1, 2, 3)) == datetime.date(2026, 1, 2)
    assert day_of(float("nan")) is None
    day = datetime.date(2026, 8, 20)
    assert [begin_of(day, every).isoformat() for every in ("day", "week", "month", "quarter", "year")] == [
        "2026-08-20", "2026-08-17", "2026-08-01", "2026-07-01", "2026-01-01"
    ]  # fmt: skip
    assert usual_length([day] * 100) == "day"
    assert usual_length([datetime.date(2026, month, 1) for month in range(1, 13)] * 40) == "quarter"
    assert day_of(np.datetime64("2026-11-30T00:00:00.000000000")) == datetime.date(2026, 11, 30)
    assert [day_of(one) for one in (np.datetime64("NaT"), "", None)] == [None] * 3
    ends = [datetime.date(2026, 12, 31), datetime.date(2027, 1, 1)]
    assert [place_of(ends[1], every) - place_of(ends[0], every) for every in ("day", "week", "month", "year")] == [
        1, 0, 1, 1
    ]  # fmt: skip
