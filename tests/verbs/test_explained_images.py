"""``snellen.explain``: each image once, figures beside their controls, pictures, a page, resumed to the same bytes."""

import json

import numpy as np
import pytest
from PIL import Image

import snellen
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RunConflictError, UnknownNameError
from snellen.core.method import Method
from snellen.data.files.arrays import load_arrays
from tests.auditing.kept_files import mentions
from tests.verbs.small_explanations import NAMES, SENTENCE, Layers, LeftHalf, brightness, grey_images
from tests.verbs.stopping import Stopping, contents
from tests.verbs.test_written_privacy import HIDDEN, named_images


@pytest.fixture(autouse=True)
def _same_code(monkeypatch):
    """A plan holds a hash of the package, which somebody may edit while the tests run."""
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "0" * 64)
    LeftHalf.requested.clear()
    Layers.described.clear()


def test_every_image_has_a_row_and_places_are_those_of_the_original():
    images = grey_images()
    explained = snellen.explain(brightness(), images, LeftHalf(), batch_size=2)
    rows = explained.evidence.table.to_pylist()
    assert [row["example_id"] for row in rows] == list(images.ids)
    assert [row["label"] for row in rows] == images.labels.tolist()
    assert [row["target"] for row in rows] == [row["prediction"] for row in rows] == [0, 0, 0, 1, 1]
    # The explained probability is that of the decision, by the same preparation that decided.
    level = 200 / 255
    assert rows[3]["value"] == pytest.approx(1 / (1 + np.exp(-16 * (level - 0.5))), abs=1e-5)
    # The originals are 16 wide and 32 high, the model takes 8 by 8: the centre of pixel (1, 5) lies at (2.5, 21.5).
    assert {(row["x"], row["y"]) for row in rows} == {(2.5, 21.5)}
    assert rows[0]["parts"] == ["left", "right"]
    assert rows[0]["scores"] == pytest.approx([20 / 255, -20 / 255])
    assert (rows[0]["text"], json.loads(rows[0]["record"])) == (SENTENCE, {"black": False})
    assert LeftHalf.requested == [tuple(images.ids[:2]), tuple(images.ids[2:4]), (images.ids[4],)]


def test_figures_stand_beside_their_control():
    levels = (20, 60, 120, 240)
    figures = snellen.explain(brightness(), grey_images(levels), LeftHalf(offset=0.5)).settings["left_half"]
    drop = figures.figures["drop"]
    mean = np.mean(levels) / 255
    assert drop.found.value == pytest.approx(mean + 0.5, abs=1e-6)
    assert drop.control.value == pytest.approx(mean / 2, abs=1e-6)
    assert drop.difference.value == pytest.approx(mean / 2 + 0.5, abs=1e-6)
    assert drop.difference.low < drop.difference.value < drop.difference.high
    assert drop.difference.high - drop.difference.low < drop.found.high - drop.found.low  # paired
    assert (drop.found.n, drop.control.n, figures.requested, figures.explained) == (4, 4, 4, 4)
    assert "high is good" in drop.words
    assert figures.assumptions == ("left_half: nothing was looked at",)


def test_one_image_gives_no_interval_and_the_summary_shows_one_dash():
    several, one = (
        snellen.explain(brightness(), grey_images(levels), LeftHalf(offset=0.5)).summary().parts[0].rows[0][4]
        for levels in ((20, 60, 120, 240), (60,))
    )
    low, high = map(float, several.split(" – "))
    assert low < high
    assert one == "–"


def test_an_image_without_evidence_counts_in_no_figure_and_is_reported():
    figures = snellen.explain(brightness(), grey_images((0, 255 // 2, 200)), LeftHalf()).settings["left_half"]
    assert (figures.requested, figures.explained, figures.reasons) == (3, 2, {"no evidence: black": 1})
    assert figures.figures["drop"].found.n == 2
    assert figures.verdict.startswith("2 of 3 images explained")


def test_images_that_cannot_be_used_are_named_and_never_reach_the_method():
    images = grey_images((20, 255, 200))
    explained = snellen.explain(brightness(), images, LeftHalf(), allow_rejected=True)
    assert [(one.id, one.reason.split("(")[0]) for one in explained.rejected] == [
        (images.ids[1], "the model's scores are not finite ")
    ]
    assert LeftHalf.requested == [(images.ids[0], images.ids[2])]
    with pytest.raises(InputError, match=r"none of the 1 images .* could be used for left_half; first: .*not finite"):
        snellen.explain(brightness(), grey_images((255,)), LeftHalf())


def test_a_class_can_be_requested_by_name_or_number():
    for target in ("light", 1, "1"):
        rows = snellen.explain(brightness(), grey_images((20,)), LeftHalf(), target=target).evidence.table.to_pylist()
        assert (rows[0]["target"], rows[0]["prediction"]) == (1, 0)
        assert rows[0]["value"] < 0.01
    with pytest.raises(UnknownNameError, match="did you mean 'light'"):
        snellen.explain(brightness(), grey_images((20,)), LeftHalf(), target="ligth")
    with pytest.raises(InputError, match="classes are 0 to 1"):
        snellen.explain(brightness(), grey_images((20,)), LeftHalf(), target=2)


def test_what_is_written(tmp_path):
    images = grey_images((0, 20, 200))
    explained = snellen.explain(brightness(), images, [LeftHalf(), Layers()], out=tmp_path / "out")
    out = tmp_path / "out"
    assert explained.files == (
        "evidence.parquet", "left_half", "left_half/masks/left half", "layers", "explain.html"
    )  # fmt: skip
    assert {path.name for path in out.iterdir()} == {
        "evidence.parquet", "explain.html", "explain.json", "layers", "left_half"
    }  # fmt: skip
    assert len(list((out / "left_half").glob("*.png"))) == 3
    masks = sorted((out / "left_half" / "masks" / "left half").iterdir())
    assert len(masks) == 2, "an image without an explanation has no region"
    mask = np.asarray(Image.open(masks[0]))
    assert mask.shape == (32, 16), "of the size of the original"
    assert (mask[:, :8] == 255).all()
    assert (mask[:, 8:] == 0).all()
    assert len(list((out / "layers").glob("*.png"))) == 1, "a part that is never active has no picture"
    parts = explained.evidence.where(setting="layers").table.to_pylist()
    assert [(row["example_id"], row["status"], row["sources"]) for row in parts] == [
        ("body/1", "ok", list(images.ids[:2])),
        ("body/2", "failed", []),
    ]
    assert explained.settings["layers"].verdict.startswith("1 of 2 parts described")
    assert explained.settings["layers"].figures["gain"].found.n == 1
    page = (out / "explain.html").read_text()
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "&lt;b&gt;left&lt;/b&gt;" in page
    assert "<b>left" not in page
    assert "no evidence: black" in page
    assert page.count('src="data:image/webp;base64,') == 1 + 2 * 4 + 2
    assert "<script" not in page


def test_without_images_no_picture_is_anywhere(tmp_path):
    snellen.explain(brightness(), grey_images(), [LeftHalf(), Layers()], out=tmp_path / "out", save_images=False)
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {"evidence.parquet", "explain.html", "explain.json"}
    assert "data:image/" not in (tmp_path / "out" / "explain.html").read_text()
    assert b"PNG" not in (tmp_path / "out" / "evidence.parquet").read_bytes()


def test_an_interrupted_call_goes_on_and_ends_with_the_same_bytes(tmp_path):
    images, methods = grey_images(), [LeftHalf(), Layers()]
    snellen.explain(brightness(), images, methods, out=tmp_path / "whole", batch_size=2)
    LeftHalf.requested.clear()
    with pytest.raises(KeyboardInterrupt):
        snellen.explain(
            brightness(), images, methods, out=tmp_path / "parts", batch_size=2, progress=Stopping(3, "explaining")
        )
    assert not (tmp_path / "parts" / "explain.json").exists()
    with pytest.raises(RunConflictError):
        snellen.explain(brightness(), images, methods, out=tmp_path / "parts", batch_size=2, seed=1)
    snellen.explain(brightness(), images, methods, out=tmp_path / "parts", batch_size=2)
    assert LeftHalf.requested.count(tuple(images.ids[:2])) == 1, "what was done is not done again"
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    before = len(LeftHalf.requested)
    again = snellen.explain(brightness(), images, methods, out=tmp_path / "parts", batch_size=2)
    assert (len(LeftHalf.requested), len(Layers.described)) == (before, 2)
    assert len(again.evidence) == len(images) + 2
    assert json.loads((tmp_path / "parts" / "explain.json").read_bytes()) == json.loads(json.dumps(again.to_json()))


def test_a_model_that_cannot_be_distinguished_from_another_takes_up_nothing(tmp_path):
    plain = Classifier(
        lambda images: images.mean((2, 3))[:, :2], class_names=NAMES, preparation=brightness().preparation, name="plain"
    )
    snellen.explain(plain, grey_images(), LeftHalf(), out=tmp_path / "out")
    with pytest.raises(InputError, match="it cannot be compared with the model of that set of explanations"):
        snellen.explain(plain, grey_images(), LeftHalf(), out=tmp_path / "out")


def test_what_cannot_be_explained_is_refused_before_anything_is_written(tmp_path):
    class Needy(LeftHalf):
        """Needs scores."""

        needs = frozenset({"gradients"})

    class Mute(Method):
        """Has no verb."""

        name = "mute"

    plain = Classifier(lambda images: images.mean((2, 3))[:, :2], class_names=NAMES, name="plain")
    for method, wanted, classifier, message in (
        ([], grey_images(), brightness(), "no method to explain by"),
        ("left", grey_images(), brightness(), "unknown explanation 'left'"),
        ([7], grey_images(), brightness(), "an explanation is a method such as"),
        (Mute(), grey_images(), brightness(), "has no verb 'explain'"),
        ([LeftHalf(), LeftHalf()], grey_images(), brightness(), "given twice"),
        (Needy(), grey_images(), plain, "needs gradients, and plain gives none"),
        (LeftHalf(), grey_images().select([]), brightness(), "holds no images"),
    ):
        with pytest.raises(InputError, match=message):
            snellen.explain(classifier, wanted, method, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and holds no set of explanations"):
        snellen.explain(brightness(), grey_images(), LeftHalf(), out=tmp_path / "full")


def test_explanations_write_no_names_under_pseudonyms(tmp_path):
    classifier, images = named_images()
    options = {"out": tmp_path / "out", "pseudonyms": tmp_path / "names.json"}
    explained = snellen.explain(classifier, images, [LeftHalf(), Layers()], **options)
    assert mentions(tmp_path / "out", HIDDEN) == {}
    names = json.loads((tmp_path / "names.json").read_text())["names"]
    rows = explained.evidence.where(setting="left_half").table
    assert {names[key] for key in rows["example_id"].to_pylist()} == set(images.ids)


def test_labels_are_not_needed_and_batches_change_nothing():
    images = grey_images().unlabelled()
    whole = snellen.explain(brightness(), images, LeftHalf()).evidence.table.to_pylist()
    assert {row["label"] for row in whole} == {None}
    parts = snellen.explain(brightness(), images.select([3, 1]), LeftHalf(), batch_size=1).evidence.table.to_pylist()
    assert parts == [whole[3], whole[1]]


def test_the_page_shows_no_more_pictures_than_fit(tmp_path, monkeypatch):
    monkeypatch.setattr("snellen.verbs.explained_page.PICTURE_BYTES", 900)
    monkeypatch.setattr("snellen.verbs.explained_page.ROWS", 4)
    snellen.explain(brightness(), grey_images(), LeftHalf(), out=tmp_path / "out")
    page = (tmp_path / "out" / "explain.html").read_text()
    assert 0 < page.count("data:image/webp") < 4 * 4
    assert page.count("<article>") == 4
    assert "1 more stand in evidence.parquet" in page


def test_colours_and_sizes_of_one_batch(tmp_path):
    """Small pictures are enlarged; a sheet has a column for each picture."""
    pixels = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    pixels[..., 0] = 200
    snellen.explain(brightness(), load_arrays(pixels), LeftHalf(), out=tmp_path / "out")
    (sheet,) = (tmp_path / "out" / "left_half").glob("*.png")
    picture = Image.open(sheet)
    assert picture.width == 8 + 4 * 168
    assert picture.getpixel((20, 60)) == (200, 0, 0)
