"""The check on images that look edited: both sets, pictures, lists, and the queue of the desk."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.auditing.checks.edited_images import REPORTED, EditedImages
from snellen.auditing.compare.pairing import differing_parameters
from snellen.auditing.effort import checks_at
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.systems.edited_regions import method
from snellen.systems.edited_regions.detecting import Regions
from snellen.systems.edited_regions.networks import LEAST_SIDES
from tests.desk.browser import Browser, browser_path
from tests.desk.served import served
from tests.systems.edited_regions.parts import save_detector

NAMES = ("dark", "light")
MAGENTA = (255, 0, 255)


class Bright(nn.Module):
    """Decides by brightness."""

    def forward(self, images):
        mean = images.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], 1) * 20


def classifier():
    return Classifier(Bright(), class_names=NAMES, preparation=Preprocessing(size=(16, 16)), name="bright")


def regions_of_magenta(network, images, *, window):
    """Stands for a detector that is right: what is magenta was edited by the first editor."""
    found = []
    for image in images.numpy():
        edited = (image == np.array(MAGENTA)[:, None, None]).all(0)
        probability = edited.astype(np.float32)
        found.append(Regions(edited.astype(np.uint8), probability, probability))
    return found


def write_images(folder, count, edited, *, seed):
    """Photographs of noise in two classes; of the edited ones, a square is magenta."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        name = NAMES[number % 2]
        pixels = rng.integers(0, 90, (40, 48, 3), np.uint8) + np.uint8(150 * (number % 2))
        if number in edited:
            pixels[4 : 14 + number, 6:20] = MAGENTA
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name / f"image {number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edits")
    write_images(folder / "my images", 24, {3, 8}, seed=0)
    write_images(folder / "my training", 30, {0, 5, 9}, seed=1)
    grey = np.random.default_rng(2).integers(0, 90, (40, 48), np.uint8)
    Image.fromarray(grey).save(folder / "my images" / "dark" / "grey.png")
    save_detector(folder / "my detector")
    return folder


@pytest.fixture
def right(monkeypatch):
    monkeypatch.setattr(method, "found_regions", regions_of_magenta)


@pytest.fixture(scope="module")
def run_folder(place, tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "my run"


def audited(place, *, train=True, save_images=True, out=None, **fields):
    check = EditedImages(detector=str(place / "my detector"), **fields)
    more = {"train": str(place / "my training")} if train else {}
    return snellen.audit(
        classifier(), str(place / "my images"), checks=["clean", check], save_images=save_images, out=out, **more
    )


def findings(report):
    return {one.subject: one for one in report.findings if one.kind == "manipulated_region"}


@pytest.fixture(scope="module")
def report(place, run_folder):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(method, "found_regions", regions_of_magenta)
        return audited(place, out=run_folder)


def test_edited_images_of_both_sets_are_named_and_counted(report, run_folder):
    found = findings(report)
    assert found["audited"].title == "2 of 24 audited images look edited in a part, most as by 'dark'"
    assert found["training"].title == "3 of 30 training images look edited in a part, most as by 'dark'"
    assert all(one.harm == 0 and one.p_value is None for one in found.values()), "counted, and not inferred"
    assert report.metrics["edits.audited.share"].value == 2 / 24
    assert report.metrics["edits.training.share"].value == 3 / 30
    with (run_folder / "lists" / "edits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["set"], row["id"]) for row in rows] == [
        ("audited", "dark/image 08.png"),
        ("audited", "light/image 03.png"),
        ("training", "light/image 09.png"),
        ("training", "light/image 05.png"),
        ("training", "dark/image 00.png"),
    ], "the most edited first"
    assert float(rows[0]["share"]) == pytest.approx(18 * 14 / (40 * 48))
    assert {row["editor"] for row in rows} == {"dark"}


def test_the_scan_says_how_far_it_is(place, right):
    begun = {}

    class Listener(Silent):
        def begin(self, task, total):
            begun.setdefault(task, []).append(total)

    check = EditedImages(detector=str(place / "my detector"), examples=0)
    training = str(place / "my training")
    snellen.audit(classifier(), str(place / "my images"), checks=[check], train=training, progress=Listener())
    assert begun[method.TASK] == [25, 30]


def test_what_cannot_be_judged_is_named_and_counts_nowhere(report):
    assert findings(report)["audited"].facts["not_judged"] == 1
    (note,) = (one for one in report.notes if "audited images were not judged" in one)
    assert "it is grey" in note


def test_errors_on_them_are_compared_with_those_on_the_rest(report):
    (panel,) = (one for one in report.panels if one.check == "edits")
    audit, training = panel.rows
    assert audit[:5] == ("audited", 24, 2, 0, 1)
    assert training[:5] == ("training", 30, 3, 0, 0)
    facts = findings(report)["audited"].facts
    assert audit[5] == f"{1 - facts['accuracy']:.1%}"
    assert audit[6] == "0.0%"
    assert training[5:] == ("", "")


def test_each_example_has_its_picture_and_a_map_that_is_red_where_it_was_edited(report, run_folder):
    for one in findings(report).values():
        for example in one.examples:
            as_it_is, mapped = (
                np.asarray(Image.open(run_folder / "blobs" / name).convert("RGB")).astype(int)
                for name in (example.image, example.after)
            )
            edited = (as_it_is == MAGENTA).all(2)
            red = mapped[..., 0] - mapped[..., 1:].max(2)
            assert edited.any()
            assert red[edited].min() > 150 > red[~edited].max()
    page = (run_folder / "report.html").read_text()
    assert "looks edited</small>" in page
    assert "before</small>" not in page


def test_no_picture_is_kept_where_none_may_be(place, right, tmp_path):
    report = audited(place, save_images=False, out=tmp_path / "run")
    examples = [example for one in findings(report).values() for example in one.examples]
    assert len(examples) == 5
    assert all(one.image is None and one.after is None for one in examples)
    assert not list((tmp_path / "run").glob("blobs/*"))


def test_few_are_drawn_of_many_and_a_note_says_so(place, right):
    report = audited(place, most=10)
    assert report.metrics["edits.training.share"].n == 10
    assert any("10 of 30 training images were scanned" in note for note in report.notes)


def test_without_a_report_there_is_no_finding_and_the_figure_stays(place, monkeypatch):
    monkeypatch.setattr(method, "found_regions", lambda _, images, *, window: [nothing(one) for one in images])
    report = audited(place, train=False)
    assert not findings(report)
    assert report.metrics["edits.audited.share"].value == 0
    assert "edits.training.share" not in report.metrics


def nothing(image):
    empty = np.zeros(image.shape[1:], np.float32)
    return Regions(empty.astype(np.uint8), empty, empty)


def test_grey_images_alone_are_skipped_with_the_reason(place, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 20, 1), np.uint8).repeat(3, 3)
    images = snellen.load_images((pixels, np.arange(20) % 2), class_names=NAMES)
    report = snellen.audit(classifier(), images, checks=["clean", EditedImages(detector=str(place / "my detector"))])
    (status,) = (one for one in report.checks if one.name == "edits")
    assert (status.status, status.reason) == ("skipped", "no image could be judged; the notes say why")
    assert any("20 × it is grey" in note for note in report.notes)


def test_it_runs_when_requested_and_refuses_what_is_no_detector_before_anything_is_measured(place, tmp_path):
    assert "edits" not in checks_at("standard")
    assert "edits" in checks_at("full")
    for named in ("clean,edits", ["+edits"], [{"check": "edits", "threshold": 0.1}]):
        with pytest.raises(InputError, match=r"edits was requested by name, and .*--set edits\.detector=FOLDER"):
            snellen.audit(classifier(), str(place / "my images"), checks=named, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()
    # What an effort brings is named in the report.
    report = snellen.audit(classifier(), str(place / "my images"), checks=["clean", EditedImages()])
    (status,) = (one for one in report.checks if one.name == "edits")
    assert "needs a detector of edited regions (--set edits.detector=FOLDER)" in status.reason
    assert status.setting == "detector"
    with pytest.raises(InputError, match="is not an artifact"):
        snellen.audit(
            classifier(),
            str(place / "my images"),
            checks=[EditedImages(detector=str(place / "my images"))],
            out=tmp_path / "run",
        )
    assert not (tmp_path / "run" / "shards").exists()


def test_a_detector_without_a_threshold_gives_no_figure(place, right, tmp_path):
    save_detector(tmp_path / "undecided", threshold=None)
    undecided = EditedImages(detector=str(tmp_path / "undecided"))
    report = snellen.audit(classifier(), str(place / "my images"), checks=["clean", undecided])
    (status,) = (one for one in report.checks if one.name == "edits")
    assert status.status == "skipped"
    assert "--set edits.threshold=SHARE" in status.reason
    assert not [name for name in report.metrics if name.startswith("edits")]
    given = undecided.model_copy(update={"threshold": 0.01})
    report = snellen.audit(classifier(), str(place / "my images"), checks=["clean", given])
    assert report.metrics["edits.audited.share"].value == 2 / 24


def test_windows_that_are_too_small_are_refused_before_anything_is_measured(place, tmp_path, monkeypatch):
    monkeypatch.setitem(LEAST_SIDES, "small", 32)
    check = EditedImages(detector=str(place / "my detector"), window=16)
    with pytest.raises(InputError, match=r"raise --set edits\.window=PIXELS"):
        snellen.audit(classifier(), str(place / "my images"), checks=["clean", check], out=tmp_path / "run")
    assert not (tmp_path / "run" / "shards").exists()


def test_shares_by_other_thresholds_are_not_compared():
    ran = [SimpleNamespace(parameters={"edits": EditedImages(threshold=one).record()}) for one in (0.01, 0.3)]
    assert "threshold 0.01 and 0.3" in differing_parameters(*ran)["edits"]
    assert not differing_parameters(ran[0], ran[0])


def test_models_of_several_labels_are_audited_once(place, right):
    pixels = np.random.default_rng(0).integers(0, 250, (20, 20, 20, 3), np.uint8)
    pixels[4, 2:9, 2:9] = MAGENTA
    labels = np.random.default_rng(1).integers(0, 2, (20, 2))
    several = Classifier(
        Bright(), class_names=NAMES, preparation=Preprocessing(size=(16, 16)), name="bright", task="multilabel"
    )
    images = snellen.load_images((pixels, labels), class_names=NAMES)
    report = snellen.audit(several, images, checks=["labels", EditedImages(detector=str(place / "my detector"))])
    assert report.metrics["edits.audited.share"].value == 1 / 20
    (found,) = findings(report).values()
    assert [one.example_id for one in found.examples] == [images.ids[4]]


def test_its_word_for_a_report_is_that_of_the_scan():
    assert REPORTED == method.EDITED


def test_the_desk_shows_audited_ones_with_their_maps_and_a_decision_takes_one_out(place, report, run_folder):
    desk_of = pytest.importorskip("snellen.desk.desk")
    from snellen.desk.export import decided_table
    from snellen.desk.queues import queue_of

    desk = desk_of.Desk(run_folder.parent)
    try:
        (run,) = desk.workplace.runs()
        by_subject = {one.subject: one for one in run.findings if one.kind == "manipulated_region"}
        queue = queue_of(run, by_subject["audited"], desk.table(run))
        assert [one.images for one in queue.items] == [("dark/image 08.png",), ("light/image 03.png",)]
        assert all(len(one.pictures) == 2 and "looks edited" in one.second for one in queue.items)
        assert "of its pixels look edited, most as by dark" in queue.items[0].caption
        assert not queue_of(run, by_subject["training"], desk.table(run)).items, "decisions are about audited images"
        made = desk.decisions.add(run.key, "f", queue.items[0].key, "me", "drop", None)
        table = decided_table(snellen.load_images(str(place / "my images")), [(queue, [made])])
        assert table.dropped == 1
    finally:
        desk.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_page_of_a_review_names_picture_and_map(report, run_folder):
    pytest.importorskip("snellen.desk.desk")
    browser_path()
    with served(run_folder.parent) as desk:
        page = Browser()
        try:
            page.open(desk.link)
            page.until("location.search === '' && document.querySelector('.card h2 a')")
            page.open(page.js("document.querySelector('.card h2 a').href"))
            page.until("document.querySelector('main a[href*=\"/review/\"]')")
            assert "no audited images" in page.js("document.querySelector('main').innerText")
            links = "Array.from(document.querySelectorAll('main a[href*=\"/review/\"]'))"
            page.open(page.js(f"{links}.find(a => a.textContent.includes('2 images')).href"))
            page.until("document.querySelectorAll('.item figcaption').length === 2")
            captions = page.js("Array.from(document.querySelectorAll('.item figcaption')).map(one => one.textContent)")
            assert captions == ["as it is", "what looks edited, in red"]
            assert page.problems() == []
        finally:
            page.close()
