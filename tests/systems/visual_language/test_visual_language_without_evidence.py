"""VALE where there is nothing to point at: no place, region or sentence is made up, and each is told."""

import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.methods.explanations.partition_shap import PartitionSHAP
from snellen.models.segmenters.protocol import Segmented
from snellen.systems.visual_language.method import NO_REGION, NOTHING_FOR, VisualLanguage
from tests.systems.visual_language.red_objects import (
    SHAP,
    SIDE,
    FloodSegmenter,
    classifier_of,
    explained,
    looks_at_red,
    picture,
)


@pytest.mark.covers("3.12")
def test_without_evidence_no_place_is_made_up(models):
    constant = torch.full((1, 3, SIDE, SIDE), 0.4)
    images = torch.cat([constant, picture()])
    found = explained(images)
    assert found.status[0].startswith("no evidence: the map is the same everywhere")
    assert found.status[1] == "ok"
    assert found.points[0].isnan().all()
    assert not found.regions["region"][0].any()
    assert found.text[0] == ""
    assert all(values[0].isnan() for name, values in found.figures.items() if name != "completeness_gap")
    assert len(models["flood"].images[0]) == 1, "it was not asked"
    # Evidence against the class is no evidence for it, unless either sign is asked for.
    against = explained(targets=torch.tensor([1]))
    assert against.status == (NOTHING_FOR,)
    assert explained(targets=torch.tensor([1]), select="absolute").status == ("ok",)
    # Out of focus it is the same image but for the last digits, and these are no evidence.
    blurred = PartitionSHAP(fill="blur", budget=60)
    assert explained(constant, attribution=blurred).status[0].startswith("no evidence")
    none = explained(constant)
    assert (len(none.status), none.regions["region"].any(), none.text) == (1, False, None)


@pytest.mark.covers("3.12")
def test_an_image_without_evidence_has_its_row_in_a_batch_of_its_own(models, tmp_path):
    """Batch by batch there may be no region, no figure and no sentence; together there is one table."""
    pixels = torch.cat([torch.full((1, 3, SIDE, SIDE), 0.4), picture(), torch.full((1, 3, SIDE, SIDE), 0.4)])
    images = load_arrays((pixels * 255).round().byte().permute(0, 2, 3, 1).numpy())
    method = VisualLanguage(attribution=SHAP, segmenter="flood", captioner="echo", fill="black")
    folders = [tmp_path / "one", tmp_path / "all"]
    one, together = (
        snellen.explain(classifier_of(), images, method, target="red", batch_size=size, out=folder)
        for size, folder in zip((1, 3), folders, strict=True)
    )
    assert one.settings == together.settings
    assert one.settings["visual_language"].explained == 1
    assert one.evidence.table.to_pylist() == together.evidence.table.to_pylist()
    written, others = (sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png")) for folder in folders)
    assert written == others


@pytest.mark.covers("3.12")
def test_a_segmenter_that_finds_nothing_is_reported(models, monkeypatch):
    found = FloodSegmenter.segment

    def nothing(self, images, **prompts):
        one = found(self, images, **prompts)
        return Segmented(candidates=one.candidates * 0, predicted=one.predicted, chosen=one.chosen, rule=one.rule)

    monkeypatch.setattr(FloodSegmenter, "segment", nothing)
    assert explained().status == (NO_REGION,)
    assert models["echo"].seen == []


@pytest.mark.covers("3.12")
def test_odd_images_are_explained_and_scores_that_are_not_finite_are_reported(models, tmp_path):
    blob = (picture()[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(np.dstack([blob, np.full((SIDE, SIDE, 1), 200, dtype=np.uint8)])).save(
        tmp_path / "in" / "alpha.png"
    )
    Image.fromarray(blob[..., 0]).save(tmp_path / "in" / "grey.png")
    Image.fromarray(blob[:5, 9:]).save(tmp_path / "in" / "tiny.png")
    Image.fromarray(np.full((SIDE, SIDE, 3), 250, dtype=np.uint8)).save(tmp_path / "in" / "white.png")

    def breaks(images):
        return torch.where(images.flatten(1).mean(1)[:, None] > 0.9, torch.nan, looks_at_red(images))

    preparation = Preprocessing(size=(SIDE, SIDE), resize="exact", resize_to=(SIDE, SIDE))
    classifier = Classifier(breaks, class_names=["red", "other"], preparation=preparation, name="red")
    method = VisualLanguage(attribution=SHAP, segmenter="flood", captioner="echo", fill="black")
    found = snellen.explain(classifier, snellen.load_images(tmp_path / "in"), method, allow_rejected=True)
    status = {row["example_id"]: row["reason"] for row in found.evidence.table.to_pylist()}
    assert status["alpha.png"] is None
    assert status["tiny.png"] is None
    assert status["grey.png"].startswith("no evidence"), "there is no red in it"
    assert [(one.id, "not finite" in one.reason) for one in found.rejected] == [("white.png", True)]

    def breaks_when_masked(images):
        return torch.where((images == 0).all(1).flatten(1).any(1)[:, None], torch.nan, looks_at_red(images))

    broken = explained(classifier=classifier_of(breaks_when_masked))
    assert broken.status[0].startswith("not finite")
    assert broken.points[0].isnan().all()
