"""The detector as a folder, and the scan on a user's own images."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import snellen
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.recipes import EditedRegionsDetector
from snellen.scans import EditedRegions
from snellen.systems.edited_regions import method
from snellen.systems.edited_regions.detector import editors_of, load_detector
from snellen.systems.edited_regions.fitting import new_network
from snellen.systems.edited_regions.labels import write_labels
from snellen.systems.edited_regions.method import MOST_SHARE, editor_map, heat_map
from snellen.training.plan import TrainingPlan
from tests.systems.edited_regions.parts import made_set

PLAN = {"epochs": 3, "batch_size": 8}
PLAN_OF_ONE = TrainingPlan(epochs=1, batch_size=8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    made_set(folder / "made", 24)
    images = snellen.load_images(folder / "made" / "manifest.csv")
    recipe = EditedRegionsDetector(width=4, crop=32, plan=PLAN)
    artifact = recipe.fit(snellen.load_images(folder / "made" / "fitting.csv"), rng=Randomness(0)).save(
        folder / "my detector"
    )
    return folder, artifact, recipe, images


def test_a_detector_is_read_as_it_was_trained(trained):
    folder, artifact, _, _ = trained
    loaded = load_detector(str(folder / "my detector"))
    assert loaded.editors == ("dark", "light")
    assert loaded.window == 32
    assert loaded.threshold > 0
    assert all(torch.equal(one, loaded.network.state_dict()[name]) for name, one in artifact.tensors.items())
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    assert {"val.iou", "val.binary_head.iou", "val.semantic_miou", "val.image.auroc"} <= set(artifact.card.metrics)


@pytest.mark.covers("22.8")
def test_the_card_reports_both_heads(trained):
    metrics = trained[1].card.metrics
    assert metrics["val.iou"] != metrics["val.binary_head.iou"]


def test_what_no_detector_is_trained_on_is_refused(trained, tmp_path):
    folder, _, recipe, images = trained
    with pytest.raises(InputError, match="test images"):
        recipe.fit(images, rng=Randomness(0))
    train = images.of_split("train")
    with pytest.raises(InputError, match="no split 'val'"):
        recipe.fit(train, rng=Randomness(0))
    with pytest.raises(InputError, match="column 'edits' names a label map"):
        recipe.fit(snellen.load_images(folder / "made" / "images"), rng=Randomness(0))
    with pytest.raises(InputError, match="use resize instead of scale"):
        EditedRegionsDetector(augment=("scale:0.5",)).fit(train, rng=Randomness(0))


def test_label_maps_that_cannot_be_used_are_counted(trained, tmp_path):
    folder, _, recipe, _ = trained
    text = (folder / "made" / "manifest.csv").read_text().splitlines()
    rows = [line for line in text[1:] if ",test," not in line]
    rows[0] = rows[0].replace("labels/", "images/")  # a picture in colour is no label map
    kept = folder / "made" / "other.csv"
    kept.write_text("\n".join([text[0], *rows]) + "\n")
    made = recipe.fit(snellen.load_images(kept), rng=Randomness(0))
    assert made.card.lineage.recipe["rejected"] == 1


def test_editors_come_from_the_record_and_a_contradiction_is_refused(trained):
    folder, artifact, recipe, _ = trained
    images = snellen.load_images(folder / "made" / "fitting.csv")
    assert recipe.editors == ()
    assert artifact.card.class_names == ("untouched", "dark", "light")
    for named in (("dark",), ("light", "dark")):
        with pytest.raises(InputError, match="dark, light, in this order; leave --editors out"):
            recipe.model_copy(update={"editors": named}).fit(images, rng=Randomness(0))
    assert editors_of(images, ("dark", "light")) == ("dark", "light")


def test_a_label_that_no_editor_has_is_an_error_and_loses_no_image(trained, tmp_path):
    """A set without a record, as others make one."""
    folder, _, recipe, _ = trained
    shutil.copytree(folder / "made", tmp_path / "made")
    (tmp_path / "made" / "edits.json").unlink()
    images = snellen.load_images(tmp_path / "made" / "fitting.csv")
    maps = [np.asarray(imread(tmp_path / "made" / path)) for path in images.of_split("train").column("edits")]
    affected = sum(bool((one == 2).any()) for one in maps)
    assert affected
    with pytest.raises(InputError, match=rf"{affected} of {len(maps)} label maps have labels .* \(\[2\]; there are 1"):
        recipe.model_copy(update={"editors": ("dark",)}).fit(images, rng=Randomness(0))
    made = recipe.model_copy(update={"plan": PLAN_OF_ONE}).fit(images, rng=Randomness(0))
    assert made.card.class_names == ("untouched", "editor 1", "editor 2")
    assert made.card.lineage.recipe["rejected"] == 0
    val = images.of_split("val")
    tuned = val.column("edits")[[val.class_names[one] for one in val.labels].index("edited")]
    labels = np.zeros((32, 32), np.uint8)
    labels[:9], labels[9:12] = 3, 255
    write_labels(tmp_path / "made" / tuned, labels, 3)
    made = recipe.model_copy(update={"plan": PLAN_OF_ONE}).fit(images, rng=Randomness(0))
    assert made.card.class_names[1:] == ("editor 1", "editor 2", "editor 3"), "the highest label of both splits"


def nothing_found(artifact, folder, **metrics):
    """A detector that calls no pixel edited, as the recipe saves one."""
    tensors = {name: one.clone() for name, one in artifact.tensors.items()}
    tensors["body.last.weight"][:] = 0
    tensors["body.last.bias"][:] = torch.tensor([9.0, -9.0, -9.0, -9.0])
    built = {**artifact.card.architecture, "threshold": None}
    card = artifact.card.model_copy(update={"architecture": built, "metrics": {**artifact.card.metrics, **metrics}})
    Artifact(tensors, card).save(folder / "my detector")


def test_a_useless_detector_reports_nothing_and_says_why(trained, pictures, tmp_path):
    nothing_found(trained[1], tmp_path, **{"val.image.auroc": 0.5})
    for fields in ({}, {"threshold": 0.0}):
        found = scanned(tmp_path, snellen.load_images(pictures), tmp_path / f"out {len(fields)}", **fields)
        one = found.settings["edited_regions"]
        assert one.figures["reported"] == 0, "an image without an edited pixel is reported at no threshold"
        assert "no threshold was better than to report nothing" in one.verdict
        assert "is 0.50, and 0.5 is chance" in one.verdict
        assert "chosen on 1 edited and 1 untouched images" in one.verdict
    assert np.isinf(load_detector(str(tmp_path / "my detector")).threshold)


def test_a_detector_of_enough_images_is_not_doubted(trained, pictures, tmp_path):
    good = {"val.image.auroc": 0.9, "val.images.edited": 30.0, "val.images.untouched": 10.0}
    card = trained[1].card.model_copy(
        update={
            "metrics": {**trained[1].card.metrics, **good},
            "architecture": {**trained[1].card.architecture, "threshold": 0.1},
        }
    )
    Artifact(trained[1].tensors, card).save(tmp_path / "my detector")
    found = scanned(tmp_path, snellen.load_images(pictures), tmp_path / "out").settings["edited_regions"]
    assert "chance" not in found.verdict
    assert "chosen on" not in found.verdict
    assert found.figures["threshold"] == 0.1


def test_validation_images_of_one_kind_are_refused_before_training(trained, monkeypatch):
    folder, _, recipe, _ = trained
    text = (folder / "made" / "fitting.csv").read_text().splitlines()
    kept = folder / "made" / "one kind.csv"
    rows = [line for line in text if not (",val," in line and ",untouched," in line)]
    kept.write_text("\n".join(rows) + "\n")
    monkeypatch.setattr("snellen.systems.edited_regions.recipe.fit_segmenter", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(InputError, match="needs untouched and edited validation images"):
        recipe.fit(snellen.load_images(kept), rng=Randomness(0))


@pytest.fixture(scope="module")
def pictures(trained, tmp_path_factory):
    """Images as a user has them: of several sizes and forms, and some that cannot be used."""
    folder = tmp_path_factory.mktemp("user") / "my images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a b.png", (40, 50)), ("c.png", (33, 64)), ("d.png", (32, 32))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(folder / "grey.png")
    Image.fromarray(rng.integers(0, 256, (8, 40, 3), np.uint8)).save(folder / "small.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 50)
    return folder


def imread(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def scanned(folder, data, out, **fields):
    method = EditedRegions(detector=str(folder / "my detector"), **fields)
    return snellen.scan(None, data, method, out=out, allow_rejected=True)


def test_bad_images_are_named_and_not_counted(trained, pictures, tmp_path):
    found = scanned(trained[0], snellen.load_images(pictures), tmp_path / "out")
    figures = found.settings["edited_regions"]
    assert figures.figures["images"] == 3
    reasons = {one.id: one.reason for one in figures.rejected}
    assert set(reasons) == {"grey.png", "small.png", "broken.png"}
    assert "it is grey" in reasons["grey.png"]
    assert "each side needs 16 at least for small" in reasons["small.png"]
    rows = pq.read_table(tmp_path / "out" / "evidence.parquet").to_pylist()
    assert len(rows) == 6
    assert all(0 <= row["value"] <= 1 for row in rows if row["status"] != "rejected")


def test_a_network_with_a_larger_least_side_names_it(tmp_path, pictures):
    built = {"architecture": "fcn8s", "editors": 1, "width": 16}
    card = Card(
        name="edits",
        kind="segmenter",
        architecture={"name": "edited_regions", **built, "threshold": 0.01, "window": 32},
        class_names=("untouched", "one"),
        lineage=Lineage(recipe={}, data="", seed=0, code_version="0"),
    )
    Artifact(new_network("fcn8s", 1, seed=0).state_dict(), card).save(tmp_path / "my detector")
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size in (("large.png", (33, 32)), ("low.png", (31, 40))):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    found = scanned(tmp_path, snellen.load_images(folder), tmp_path / "out").settings["edited_regions"]
    assert found.figures["images"] == 1
    assert {one.id: one.reason for one in found.rejected} == {
        "low.png": "it is 40 x 31 pixels; each side needs 32 at least for fcn8s"
    }
    with pytest.raises(InputError, match="windows of 16 pixels are too small for fcn8s, which needs 32"):
        scanned(tmp_path, snellen.load_images(folder), tmp_path / "other", window=16)


def test_images_are_scanned_at_their_own_size_with_heat_maps(trained, pictures, tmp_path):
    scanned(trained[0], snellen.load_images(pictures), tmp_path / "out")
    maps = sorted((tmp_path / "out" / "edited_regions").glob("*probability.png"))
    assert {imread(one).shape[:2] for one in maps} == {(40, 50), (33, 64), (32, 32)}
    assert (tmp_path / "out" / "sheet-edited_regions.png").is_file()


def test_what_is_edited_everywhere_is_outside_scope(trained, pictures, tmp_path, monkeypatch):
    folder = trained[0]
    everything = Artifact.load(folder / "my detector")
    tensors = {name: one.clone() for name, one in everything.tensors.items()}
    tensors["body.last.bias"][:] = torch.tensor([-99.0, 99.0, -99.0, 99.0])
    Artifact(tensors, everything.card).save(tmp_path / "my detector")
    found = scanned(tmp_path, snellen.load_images(pictures), tmp_path / "out").settings["edited_regions"]
    assert found.figures["outside scope"] == 3
    assert found.figures["reported"] == 0
    assert found.statistic is None
    assert "nothing could be judged; 3 more are outside scope" in found.verdict
    rows = pq.read_table(tmp_path / "out" / "evidence.parquet").to_pylist()
    outside = [row for row in rows if row["status"] == "skipped"]
    assert len(outside) == 3
    assert all("outside scope" in row["reason"] and row["value"] > MOST_SHARE for row in outside)


def test_a_made_set_is_judged_by_its_own_classes(trained, tmp_path, monkeypatch):
    _, artifact, _, images = trained
    monkeypatch.setattr(method, "MOST_SHARE", 1.0)  # so that nothing is outside scope
    for bias, share in ((-9.0, 0.0), (19.0, 1.0)):
        tensors = {name: one.clone() for name, one in artifact.tensors.items()}
        tensors["body.last.weight"][:] = 0
        tensors["body.last.bias"][:] = torch.tensor([9.0, bias, bias, bias])  # nothing is edited, or everything
        Artifact(tensors, artifact.card).save(tmp_path / f"{bias}" / "my detector")
        found = scanned(tmp_path / f"{bias}", images.of_split("test"), tmp_path / f"out {bias}", threshold=0.02)
        figures = found.settings["edited_regions"].figures
        assert figures["reported of edited"] == figures["reported of untouched"] == share
        assert figures["threshold"] == 0.02


def test_a_detector_that_is_none_is_refused(trained, tmp_path):
    folder, artifact, _, images = trained
    with pytest.raises(InputError, match="needs a detector"):
        snellen.scan(None, images, EditedRegions())
    with pytest.raises(InputError, match="is not an artifact"):
        snellen.scan(None, images, EditedRegions(detector=str(tmp_path)))
    other = artifact.card.model_copy(update={"kind": "denoiser"})
    Artifact(artifact.tensors, other).save(tmp_path / "other")
    with pytest.raises(InputError, match="is of the kind 'denoiser'"):
        snellen.scan(None, images, EditedRegions(detector=str(tmp_path / "other")))
    fewer = artifact.card.model_copy(update={"class_names": ("untouched", "dark")})
    Artifact(artifact.tensors, fewer).save(tmp_path / "fewer")
    with pytest.raises(InputError, match="names 1 editors"):
        load_detector(str(tmp_path / "fewer"))
    broken = json.loads((folder / "my detector" / "card.json").read_text())
    built = {**artifact.card.architecture, "depth": 3}
    Artifact(artifact.tensors, artifact.card.model_copy(update={"architecture": built})).save(tmp_path / "built")
    with pytest.raises(InputError, match="no detector can be built"):
        load_detector(str(tmp_path / "built"))
    assert broken["kind"] == "segmenter"


def test_another_detector_makes_another_plan(trained):
    folder, artifact, _, _ = trained
    assert EditedRegions(detector=str(folder / "my detector")).reference_hashes() == {"detector": artifact.card.sha256}
    assert EditedRegions().reference_hashes() == {}


def test_maps_are_pictures_of_the_size_of_the_image():
    pixels = torch.randint(0, 256, (3, 6, 9), dtype=torch.uint8)
    chance = np.zeros((6, 9), np.float32)
    chance[2:4] = 1
    shown = heat_map(pixels, chance)
    assert shown.shape == (3, 6, 9)
    assert torch.allclose(shown[:, 2], torch.tensor([1.0, 0.1, 0.1])[:, None].expand(3, 9))
    labels = np.zeros((6, 9), np.uint8)
    labels[0], labels[1] = 1, 9  # colours are repeated behind the eighth editor
    made = editor_map(pixels, labels)
    assert torch.equal(made[:, 4], made.new_tensor(0.6) * (pixels[:, 4].float() / 255).mean(0).expand(3, 9))
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
