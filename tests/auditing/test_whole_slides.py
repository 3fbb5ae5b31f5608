"""From slides on the disk to a report: pyramidal TIFF, OpenSlide, tiles, frozen features, audit, heat maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from snellen.auditing.audit import audit
from snellen.cli import main
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.classifier import Classifier
from snellen.core.images import Split
from snellen.core.preprocessing import Preprocessing
from snellen.data.references import load_images
from snellen.data.worlds.slides.slides import Slides
from snellen.data.worlds.slides.writing import write_slide
from snellen.models.classifiers.fashion_cnn import FashionCNN
from snellen.models.encoders.feature_store import frozen_features
from snellen.models.encoders.frozen_encoder import FrozenEncoder

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("openslide")

WORLD = Slides(count=3, tiles_across=8, tile_size=32, positive_slides=0.5, positive_rate=0.3, sites=1, seed=4)
HOSTILE = "<script>alert(1)"


class Colours(nn.Module):
    """Mean, deviation and darkest fifth of each channel: (n, 3, h, w) → (n, 9)."""

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(2)
        return torch.cat([flat.mean(2), flat.std(2), flat.quantile(0.2, dim=2)], 1)


def write_world(folder: Path, split: Split) -> None:
    """The slides of a split in class folders; the name of one is markup."""
    for index in range(WORLD.count):
        slide = WORLD.slide(index, split=split)
        place = f"{('normal', 'tumor')[slide.label]}/{HOSTILE if index == 0 else index}.tif"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write_slide(slide, folder / place)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("slides")
    for split in ("train", "test"):
        write_world(made / split, split)
    bare = np.full((256, 256, 3), 240, dtype=np.uint8)
    tifffile.imwrite(
        made / "test" / "normal" / "bare.tif", bare, tile=(32, 32), resolution=(1e4, 1e4), resolutionunit=3
    )
    whole = next((made / "test" / "tumor").glob("*.tif")).read_bytes()
    (made / "test" / "tumor" / "cut.tif").write_bytes(whole[: len(whole) // 2])
    return made


def test_from_files_to_a_report(folder: Path, tmp_path: Path) -> None:
    train = load_images(f"slides:{folder}?tile=32&mpp=1.0#train")
    test = load_images(f"slides:{folder}?tile=32&mpp=1.0#test")
    encoder = FrozenEncoder(name="colours", network=Colours(), preparation=Preprocessing(size=(32, 32)))
    known = frozen_features(train, encoder, folder=tmp_path / "features", workers=2)
    assert len(known) == len(train)
    head = LogisticRegression(max_iter=2000).fit(known.features.numpy(), train.labels[known.positions])
    linear = nn.Linear(9, 1)
    linear.weight.data, linear.bias.data = torch.tensor(head.coef_).float(), torch.tensor(head.intercept_).float()
    model = nn.Sequential(encoder.network, linear, TwoClasses())
    classifier = Classifier(model, class_names=("normal", "tumor"), preparation=encoder.preparation, name="colours")
    report = audit(classifier, test, out=tmp_path / "run", checks=["clean", {"check": "bags", "pooling": "max"}])

    rejected = json.loads((tmp_path / "run" / "rejected.json").read_text())
    told = json.dumps(rejected)
    assert len(rejected) == 2
    assert "test/normal/bare.tif has no tile with 50% tissue" in told
    assert "test/tumor/cut.tif is no slide that OpenSlide reads" in told
    assert report.metrics["bags.accuracy"].n == WORLD.count
    assert report.metrics["clean.accuracy"].n == len(test) - 2
    assert any("2 bags" in note and "no image could be used" in note for note in report.notes)
    usable = np.flatnonzero(test.labels >= 0)
    scores = torch.cat([classifier(classifier.prepare(test.read(int(row)))[None]) for row in usable])[:, 1]
    assert report.metrics["bags.instance_auroc"].value == pytest.approx(roc_auc_score(test.labels[usable], scores))
    (panel,) = [panel for panel in report.to_json()["panels"] if "heat" in panel]
    assert {picture["title"] for picture in panel["heat"]} == {
        bag for bag in test.column("bag_id") if not str(bag).endswith(("bare.tif", "cut.tif"))
    }
    assert all(picture["plain"] for picture in panel["heat"])
    page = (tmp_path / "run" / "report.html").read_text()
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


class TwoClasses(nn.Module):
    """One logit (n, 1) → scores of two classes (n, 2)."""

    def forward(self, logits: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(logits), logits], 1)


def test_the_command_reads_slides(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    card = Card(
        name="untrained",
        kind="classifier",
        architecture={"name": "fashion_cnn", "class_count": 2, "widths": [4, 4, 4]},
        class_names=("normal", "tumor"),
        preparation=Preprocessing(size=(28, 28), resize="exact", resize_to=(28, 28)).model_dump(mode="json"),
        lineage=Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0"),
    )
    Artifact(FashionCNN(widths=(4, 4, 4), class_count=2).state_dict(), card).save(tmp_path / "model")
    reference = f"slides:{folder}?tile=32&mpp=1.0#test"
    asked = ["snellen", "audit", f"artifact:{tmp_path / 'model'}", reference, "--checks", "clean,bags"]
    monkeypatch.setattr("sys.argv", [*asked, "--out", str(tmp_path / "run"), "--workers", "2"])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    assert stopped.value.code == 0, shown.err
    assert shown.out.count(f" {WORLD.count} bags\n") == 2, "accuracy and area count bags"
    page = (tmp_path / "run" / "report.html").read_text()
    assert '<code>bags.auroc</code> <span class="soft">of bags</span>' in page
    assert "<code>bags.instance_auroc</code></td>" in page
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["metrics"]["bags.accuracy"]["n"] == WORLD.count
    assert report["data"]["used"] == report["data"]["images"] - 2
    assert any("heat" in panel for panel in report["panels"])
