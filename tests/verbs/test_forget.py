"""snellen.forget: the classifier that forgot, its certificate and page, resuming, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, RunConflictError, UnsupportedError
from snellen.data.files.joining import join
from snellen.forgetting import FineTuning, GradientAscent
from snellen.runs.record import Figure
from snellen.verbs import forget as forgetting
from snellen.verbs.forgetting_warnings import damaged, relearned, still_known
from snellen.verbs.forgotten_set import AS_IT_WAS, RETRAINED
from tests.cli.conftest import run
from tests.verbs.stopping import Stopping, contents

__all__ = ["run"]

DATA = "optotypes:scenes?count=60&shapes=star,heart&size=28&seed=3"
FAST = FineTuning(epochs=1, batch_size=32)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """A classifier whose lineage says how it was trained."""
    folder = tmp_path_factory.mktemp("trained") / "artifact"
    recipe = {
        "method": "supervised", "architecture": "fashion_cnn", "side": 28,
        "plan": {"epochs": 12, "batch_size": 16, "learning_rate": 5e-3},
    }  # fmt: skip
    snellen.train(recipe, f"{DATA}#train", out=folder, onnx=False)
    return folder


@pytest.fixture(scope="module")
def images():
    return snellen.load_images(f"{DATA}#train"), snellen.load_images(f"{DATA}#test").limit(40)


@pytest.fixture(scope="module")
def whole(artifact, images, tmp_path_factory):
    """A call that nothing interrupted."""
    folder = tmp_path_factory.mktemp("forgotten") / "gone"
    train, test = images
    return snellen.forget(f"artifact:{artifact}", train, FAST, ids=train.ids[:6], test=test, retrain=True, out=folder)


@pytest.mark.smoke
def test_a_classifier_forgets_and_says_how_well(whole, images, artifact):
    train, _ = images
    assert whole.ids == tuple(sorted(train.ids[:6]))
    assert [(row.network, row.forget_set) for row in whole.rows] == [
        (AS_IT_WAS, "yours"), ("fine_tuning", "yours"), (RETRAINED, "yours"), ("fine_tuning", "random 1"),
    ]  # fmt: skip
    for row in whole.rows:
        for name in ("unlearning", "membership", "remaining", "test", "separation"):
            figure = getattr(row.figures, name)
            assert 0 <= figure.low <= figure.value <= figure.high <= 1
        assert (row.figures.unlearning.n, row.figures.remaining.n, row.figures.test.n) == (6, len(train) - 6, 40)
        assert row.figures.attacked_with == 40
    own, exact = whole.row("fine_tuning"), whole.row(RETRAINED)
    four = ("unlearning", "membership", "remaining", "test")
    difference = [abs(getattr(own.figures, name).value - getattr(exact.figures, name).value) for name in four]
    assert own.gap == pytest.approx(sum(difference) / 4)
    assert exact.gap is None
    assert whole.row("fine_tuning", "random 1").gap is None, "no retraining without the random set was run"
    assert sum(whole.classes.values()) == 6
    assert any("LiRA" in one for one in whole.not_tested)


def test_the_classifier_comes_back_in_its_form_with_other_weights(whole, artifact, images):
    made, before = whole.load(), snellen.load_classifier(f"artifact:{artifact}")
    assert made.class_names == before.class_names
    assert made.fingerprint() != before.fingerprint()
    card = Artifact.load(whole.folder / "classifier").card
    assert card.lineage.recipe["method"] == "fine_tuning"
    assert card.lineage.recipe["forgotten"] == 6
    assert card.lineage.parent == Artifact.load(artifact).card.sha256
    found = snellen.load_classifier(f"artifact:{artifact}")
    assert found.fingerprint() == before.fingerprint(), "the classifier that was given stays"


def test_the_record_and_the_page(whole):
    record = json.loads((whole.folder / "forget.json").read_text())
    assert record["schema_version"] == 1
    assert record["count"] == 6
    assert record["plan"]["retraining"]["plan"]["epochs"] == 12, "the recipe of the lineage"
    page = (whole.folder / "forget.html").read_text()
    assert "retrained without them" in page
    assert "The mean gap to that network is" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_names_of_classes_are_data_in_the_page(artifact, images, tmp_path):
    train, test = images
    names = ("<script>alert(1)</script>", "heart")
    model = snellen.load_classifier(f"artifact:{artifact}", class_names=names)
    renamed = [replace(one, class_names=names) for one in (train, test)]
    snellen.forget(model, renamed[0], FAST, classes=[names[0]], test=renamed[1], random_sets=0, out=tmp_path / "out")
    page = (tmp_path / "out" / "forget.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_class_that_is_wiped_out_and_a_missing_retraining_are_named(artifact, images):
    train, test = images
    made = snellen.forget(f"artifact:{artifact}", train, FAST, classes=["star"], test=test, random_sets=0)
    assert any("No image of star remains" in note for note in made.notes)
    assert any("Exact retraining was not run" in note for note in made.notes)
    assert made.folder is None
    with pytest.raises(InputError, match="no classifier was kept"):
        made.load()


def test_a_classifier_that_did_not_learn_its_images_is_a_warning(images):
    train, test = images
    torch.manual_seed(0)
    network = nn.Sequential(nn.AvgPool2d(7), nn.Flatten(), nn.Linear(48, 2))
    model = snellen.Classifier(
        network, class_names=train.class_names, preparation=snellen.Preprocessing(size=(28, 28)), name="fresh"
    )
    made = snellen.forget(model, train, FAST, ids=train.ids[:3], test=test, random_sets=0)
    assert any("less than 90%" in note for note in made.notes)
    with pytest.raises(InputError, match="how fresh was trained is not known"):
        snellen.forget(model, train, FAST, ids=train.ids[:3], test=test, retrain=True)
    numbers = {"plan": {"epochs": 1, "batch_size": 32}}
    made = snellen.forget(model, train, FAST, ids=train.ids[:3], test=test, retrain=numbers, random_sets=0)
    assert made.row(RETRAINED) is not None


def test_bad_input_ends_in_one_sentence(artifact, images):
    train, test = images
    model = f"artifact:{artifact}"
    cases = [
        ({}, "nothing is named to forget"),
        ({"ids": []}, "no image is named"),
        ({"ids": ["x"]}, "of no training image, the first is 'x'"),
        ({"ids": [train.ids[0]] * 2}, "stand twice"),
        ({"ids": train.ids}, "nothing would remain"),
        ({"classes": ["moon"]}, "no class 'moon'"),
        ({"ids": train.ids[:3], "test": None}, "has no test images"),
        ({"ids": train.ids[:3], "test": train}, "every test image is a training image"),
        ({"ids": train.ids[:3], "random_sets": -1}, "counted from 0"),
        ({"ids": train.ids[:3], "relearn_epochs": -1}, "counted from 0; got -1"),
        ({"ids": train.ids[:3], "relearn": train}, "3 of .* are to be forgotten"),
        ({"ids": train.ids[:3], "relearn": train, "relearn_epochs": 0}, "the passes are 0"),
        ({"ids": train.ids[:3], "worst_case": ["x"]}, "of no training image, the first is 'x'"),
        ({"ids": train.ids[:3], "budget": 5}, "neither a budget nor a part"),
        ({"ids": train.ids[:3], "retrain": FAST}, "a retraining is compared with, got fine_tuning"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            snellen.forget(model, train, FAST, **{"test": test, **options})
    with pytest.raises(InputError, match="one method at a time"):
        snellen.forget(model, train, ["scrub", "fine_tuning"], ids=train.ids[:3], test=test)
    decides = snellen.Classifier(
        lambda given: given.flatten(1)[:, :2], class_names=train.class_names,
        preparation=snellen.Preprocessing(size=(28, 28)), name="callable",
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="callable has no weights"):
        snellen.forget(decides, train, FAST, ids=train.ids[:3], test=test)


def test_test_images_that_were_trained_on_are_counted(artifact, images):
    train, test = images
    mixed = join([replace(train.select(range(5)), split=None), test])
    made = snellen.forget(f"artifact:{artifact}", train, FAST, ids=train.ids[9:12], test=mixed, random_sets=0)
    assert any(note.startswith("5 of 45 test images have the same bytes") for note in made.notes)


def test_a_method_that_diverges_is_an_error(artifact, images):
    train, test = images
    with pytest.raises(snellen.core.errors.ModelError, match="not finite"):
        snellen.forget(
            f"artifact:{artifact}", train, GradientAscent(learning_rate=1e8, epochs=20), ids=train.ids[:9], test=test,
            random_sets=0,
        )  # fmt: skip


def test_a_stopped_call_resumes_with_the_same_bytes(whole, artifact, images, tmp_path):
    train, test = images
    given = {"ids": train.ids[:6], "test": test, "retrain": True, "out": tmp_path / "out"}
    with pytest.raises(KeyboardInterrupt):
        snellen.forget(f"artifact:{artifact}", train, FAST, **given, progress=Stopping(2, forgetting.TASK))
    assert not (tmp_path / "out" / "forget.json").exists()
    snellen.forget(f"artifact:{artifact}", train, FAST, **given)
    assert contents(tmp_path / "out") == contents(whole.folder)
    with pytest.raises(RunConflictError, match="another certificate of forgetting"):
        snellen.forget(f"artifact:{artifact}", train, FineTuning(epochs=2), **given)


def test_a_split_named_test_is_not_trained_on(artifact, images):
    train, test = images
    whole = join([train, test])
    made = snellen.forget(f"artifact:{artifact}", whole, FAST, ids=train.ids[:3], random_sets=0)
    assert made.plan["data"]["images"] == len(train)
    assert made.row(AS_IT_WAS).figures.test.n == len(test)


def test_forgetting_that_changed_nothing_is_a_warning(whole):
    row = whole.row(AS_IT_WAS)
    right, wrong = Figure(value=0.0, low=0.0, high=0.3, n=6), Figure(value=0.8, low=0.5, high=1.0, n=6)
    known, alike = Figure(value=0.9, low=0.8, high=0.95, n=46), Figure(value=0.5, low=0.3, high=0.7, n=46)

    def of(unlearning, separation, likelihood=None):
        figures = row.figures.model_copy(update={"unlearning": unlearning, "separation": separation})
        return row.model_copy(update={"figures": figures, "likelihood": likelihood})

    assert "area 0.90" in still_known(of(right, known), of(right, known))
    assert "area 0.90" in still_known(of(right, alike), of(right, alike, known))
    assert still_known(of(right, known), of(wrong, known)) is None
    assert still_known(of(right, known), of(right, alike)) is None


def test_an_attack_with_shadow_models_stands_beside_the_simple_one(run, artifact, images, tmp_path):
    train, test = images
    (tmp_path / "ids.txt").write_text("\n".join(train.ids[:30]))
    command = [
        "forget", "fine-tuning", f"artifact:{artifact}", f"{DATA}#train", "--ids", str(tmp_path / "ids.txt"), "--test",
        f"{DATA}#test", "--epochs", "1", "--random-sets", "1", "--shadows", "4", "--out", str(tmp_path / "gone"),
    ]  # fmt: skip
    code, out, _ = run(*command)
    assert code == 0
    assert "shadow" in out
    record = json.loads((tmp_path / "gone" / "forget.json").read_text())
    rows = {(row["network"], row["forget_set"]): row["likelihood"] for row in record["rows"]}
    assert set(rows) == {(AS_IT_WAS, "yours"), ("fine_tuning", "yours"), ("fine_tuning", "random 1")}
    assert rows["fine_tuning", "random 1"] is None
    for name in (AS_IT_WAS, "fine_tuning"):
        found = rows[name, "yours"]
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
        assert found["n"] == 30 + 60
    assert not any("LiRA" in one for one in record["not_tested"])
    assert "separation by shadow models" in (tmp_path / "gone" / "forget.html").read_text()
    with pytest.raises(InputError, match="4 or more; got 3"):
        snellen.forget(f"artifact:{artifact}", train, FAST, ids=train.ids[:6], test=test, shadows=3)


def test_the_command_reads_ids_from_a_file(run, artifact, images, tmp_path, monkeypatch):
    train, _ = images
    lines, table, other = tmp_path / "ids.txt", tmp_path / "ids.parquet", tmp_path / "other.csv"
    lines.write_text("\n".join(train.ids[:4]) + "\n\n")
    pq.write_table(pa.table({"id": train.ids[:4]}), table)
    other.write_text("name\na\n")
    renamed = tmp_path / "renamed.csv"
    renamed.write_text("file\n" + "\n".join(train.ids[:2]) + "\n")
    common = [f"artifact:{artifact}", f"{DATA}#train", "--test", f"{DATA}#test", "--epochs", "1", "--random-sets", "0"]
    found = []
    for file in (lines, table):
        out = tmp_path / file.suffix[1:]
        code, shown, _ = run("forget", "fine-tuning", *common, "--ids", str(file), "--out", str(out), "--json")
        assert code == 0
        found.append(json.loads(shown)["ids"])
    assert found[0] == found[1] == sorted(train.ids[:4])
    code, shown, _ = run("forget", "fine-tuning", *common, "--class", "star", "--out", str(tmp_path / "class"))
    assert code == 0
    assert "Not tested:" in shown
    code, shown, _ = run(
        "forget", "fine-tuning", *common, "--ids", str(renamed), "--id-column", "file", "--worst-case", str(lines),
        "--relearn-epochs", "0", "--out", str(tmp_path / "renamed"), "--json",
    )  # fmt: skip
    assert code == 0
    made = json.loads(shown)
    assert made["ids"] == sorted(train.ids[:2])
    assert [(row["forget_set"], row["figures"]["unlearning"]["n"], row["relearned"]) for row in made["rows"]] == [
        ("yours", 2, []), ("yours", 2, []), ("worst-case", 4, []),
    ]  # fmt: skip
    assert any("worst-case set holds 4 images and yours 2" in note for note in made["notes"])
    assert any("brings the forgotten ones back" in one for one in made["not_tested"])
    for file, message in ((tmp_path / "none.txt", "no such file"), (other, "no column id; its columns are name")):
        code, _, err = run("forget", "fine-tuning", *common, "--ids", str(file), "--out", str(tmp_path / "no"))
        assert code == 2
        assert message in err
    code, _, err = run("forget", "fine-tuning", *common, "--class", "star", "--retraining", "7", "--out", "no")
    assert code == 2
    assert "expected a JSON object" in err
    shutil.rmtree(tmp_path / "txt")


def test_a_split_named_val_is_not_counted_as_trained_on(artifact, images):
    train, test = images
    val = snellen.load_images(f"{DATA}#val")
    made = snellen.forget(f"artifact:{artifact}", join([train, val, test]), FAST, ids=train.ids[:3], random_sets=0)
    assert made.plan["data"]["images"] == len(train)
    assert made.row(AS_IT_WAS).figures.remaining.n == len(train) - 3
    assert made.row(AS_IT_WAS).figures.test.n == len(test)
    assert any(note.startswith(f"{len(val)} images of the split val") for note in made.notes)
    with pytest.raises(InputError, match="no training images, only images of the splits test and val"):
        snellen.forget(f"artifact:{artifact}", val, FAST, ids=val.ids[:3], test=test)


def test_a_retraining_that_trains_too_little_is_a_warning(artifact, images, whole):
    train, test = images
    assert not any("gaps to it say little" in note for note in whole.notes)
    numbers = {"plan": {"epochs": 1, "learning_rate": 1e-6}}
    made = snellen.forget(
        f"artifact:{artifact}", train, FAST, ids=train.ids[:3], test=test, retrain=numbers, random_sets=0
    )
    assert any("gaps to it say little" in note for note in made.notes)
    assert made.plan["retraining"]["plan"]["batch_size"] == 16, "numbers that are not given are the lineage's"


def test_images_that_cannot_be_used_are_named_in_the_certificate(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 12)):
        for label, name in enumerate(("dark", "bright")):
            place = tmp_path / "set" / split / name
            place.mkdir(parents=True)
            for row in range(count):
                pixels = np.clip(rng.normal(60 + 120 * label, 20, (28, 28, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{row}.png")
    (tmp_path / "set" / "train" / "dark" / "broken.png").write_bytes(b"no picture")
    images = snellen.load_images(tmp_path / "set")
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    ids = [one for one in images.ids if "train/dark" in one and "broken" not in one][:3]
    made = snellen.forget(network, images, "gradient_ascent", ids=ids, class_names=["dark", "bright"], random_sets=0)
    assert any(note.startswith("Left out, because they cannot be used: 1 training images, 1 × ") for note in made.notes)
    broken = next(one for one in images.ids if "broken" in one)
    with pytest.raises(InputError, match=r"1 of 4 images to forget cannot be read, the first is .*broken.png"):
        snellen.forget(network, images, "gradient_ascent", ids=[*ids, broken], class_names=["dark", "bright"])


def test_a_plan_counts_passes_and_says_how_long_it_takes(artifact, images, tmp_path):
    train, test = images
    given = {"ids": train.ids[:6], "test": test, "retrain": True, "out": tmp_path / "out"}
    found = snellen.plan(snellen.forget, f"artifact:{artifact}", train, FAST, **given)
    trained = 2 * 60 + 12 * 54 + 2 * 3 * 54
    scored = (1 + 2 + 1 + 2 * 3) * (60 + 40)
    assert found.notes[0] == f"passes: about {trained + scored:,} images forward, {trained:,} backward"
    assert found.seconds > 0
    assert found.memory > 0
    assert not (tmp_path / "out").exists()
    few = snellen.plan(snellen.forget, f"artifact:{artifact}", train, GradientAscent(), **{**given, "retrain": False})
    assert few.notes[0].endswith(f"{2 * 5 * 6 + 3 * 54:,} backward"), "ascent trains on the forget set alone"


def test_fine_tuning_with_other_images_is_judged_at_each_pass(whole):
    networks = [(row.network, row.forget_set) for row in whole.rows if row.relearned]
    assert networks == [("fine_tuning", "yours"), (RETRAINED, "yours")]
    own = whole.row("fine_tuning")
    assert [figures.unlearning.n for figures in own.relearned] == [6] * 3
    assert [(row.network, number) for row, number, _ in whole.course[:4]] == [
        ("fine_tuning", 0), ("fine_tuning", 1), ("fine_tuning", 2), ("fine_tuning", 3),
    ]  # fmt: skip
    assert own.relearned[-1] != own.figures, "the passes change the network"
    assert whole.plan["relearning"]["passes"] == 3
    assert not any("brings the forgotten ones back" in one for one in whole.not_tested)
    assert "After fine-tuning with other images" in (whole.folder / "forget.html").read_text()
    assert any(getattr(part, "columns", ("", ""))[1] == "passes" for part in whole.summary().parts)


def test_images_that_come_back_are_a_warning(whole):
    own, exact = whole.row("fine_tuning"), whole.row(RETRAINED)

    def of(row, start, end):
        def wrong(share):
            return row.figures.model_copy(
                update={"unlearning": Figure(value=share, low=share - 0.1, high=share + 0.1, n=90)}
            )

        return row.model_copy(update={"figures": wrong(start), "relearned": (wrong(end),)})

    warning = relearned(of(own, 0.9, 0.2), of(exact, 0.6, 0.5))
    assert "90% of them were wrong, and 20% are after one pass of" in warning
    assert "of a network that never saw them, 50% are" in warning
    assert relearned(of(own, 0.9, 0.2), of(exact, 0.6, 0.2)) is None, "generalisation regains as much"
    alone = relearned(of(own, 0.9, 0.2), None)
    assert alone.startswith("More of the forgotten images are right again")
    assert "--retrain" in alone
    assert relearned(of(own, 0.9, 0.85), None) is None
    assert relearned(own.model_copy(update={"relearned": ()}), None) is None


def test_a_classifier_that_lost_what_was_to_remain_is_a_warning(whole):
    row = whole.row(AS_IT_WAS)

    def of(value, low, high):
        remaining = Figure(value=value, low=low, high=high, n=200)
        return row.model_copy(update={"figures": row.figures.model_copy(update={"remaining": remaining})})

    warning = damaged(of(1.0, 0.98, 1.0), of(0.345, 0.28, 0.41))
    assert "34% of the remaining training images are right, of 100% before" in warning
    assert "lower --learning-rate" in warning
    assert damaged(of(1.0, 0.98, 1.0), of(0.93, 0.88, 0.96)) is None
    unknown = Figure(value=None, low=None, high=None, n=0)
    unmeasured = row.model_copy(update={"figures": row.figures.model_copy(update={"remaining": unknown})})
    assert damaged(of(1.0, 0.98, 1.0), unmeasured) is None, "what was not measured is no accuracy of zero"
