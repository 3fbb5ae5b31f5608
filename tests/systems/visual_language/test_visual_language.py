"""VALE on a classifier of which it is known what it looks at: the right place, every stage, nothing made up."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.explanations.grad_cam import GradCAM
from snellen.methods.explanations.partition_shap import PartitionSHAP
from snellen.systems.visual_language.method import VisualLanguage
from tests.auditing.kept_files import mentions
from tests.systems.visual_language.red_objects import (
    BLOB,
    SHAP,
    SIDE,
    Reading,
    classifier_of,
    explained,
    looks_at_red,
    picture,
)


@pytest.mark.covers("3.1")
def test_scores_are_enough(models):
    classifier = classifier_of(differentiable=False)
    assert classifier.module is None
    found = explained(classifier=classifier)
    assert found.status == ("ok",)
    assert found.spent.gradients == 0
    assert VisualLanguage(attribution=GradCAM()).missing(classifier) is not None, "what the map lacks is told"
    labels = classifier_of(output="labels")
    assert "needs scores" in VisualLanguage(attribution=SHAP).missing(labels)


@pytest.mark.covers("3.2")
@pytest.mark.parametrize("budget", [2, 3, 10, 64, 5000])
def test_contributions_add_up_at_any_budget(models, budget):
    images = picture()
    found = explained(images, attribution=PartitionSHAP(fill="black", budget=budget), captioner=None)
    with torch.no_grad():
        scores = looks_at_red(torch.cat([images, torch.zeros_like(images)])).double().softmax(1)[:, 0]
    assert float(found.maps["evidence"].double().sum()) == pytest.approx(float(scores[0] - scores[1]), abs=1e-5)
    assert float(found.figures["completeness_gap"][0]) < 1e-6


@pytest.mark.covers("3.3")
def test_what_is_explained_is_what_was_reported(models):
    """Through resize, crop and normalisation: the whole image inside the explainer has the reported score."""
    asked = []

    def watching(images):
        asked.append(images.clone())
        return looks_at_red(images * 0.5 + 0.5)

    preparation = Preprocessing(size=(SIDE, SIDE), resize="exact", resize_to=(SIDE, SIDE))
    classifier = Classifier(
        watching, class_names=["red", "other"], preparation=preparation, name="red",
        normalization=((0.5,) * 3, (0.5,) * 3),
    )  # fmt: skip
    pixels = (picture()[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8).repeat(3, 0).repeat(2, 1)
    images = load_arrays(pixels[None])
    method = VisualLanguage(attribution=SHAP, segmenter="flood", captioner=None, fill="black")
    row = snellen.explain(classifier, images, method).evidence.table.to_pylist()[0]
    told = json.loads(row["record"])["top"][0]
    assert told == {"class": "red", "probability": pytest.approx(row["value"], abs=1e-12)}
    whole = classifier.normalise(classifier.prepare(images.read(0))[None])
    assert sum(bool((one == whole[0]).flatten(1).all(1).any()) for one in asked) >= 3, "decided, attributed, removed"
    gap = row["figure.completeness_gap"]
    assert gap < 1e-6


@pytest.mark.covers("3.4")
def test_a_place_off_the_diagonal_is_handed_on_as_x_and_y(models):
    found = explained()
    x, y = found.points[0].tolist()
    assert (x, y) in {(float(col), float(row)) for row in range(2, 5) for col in range(11, 14)}
    assert models["flood"].points[0].tolist() == [[[x, y]]]
    truth = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    truth[BLOB] = True
    assert torch.equal(found.regions["region"][0], truth)


@pytest.mark.covers("3.5")
def test_places_and_regions_map_back_to_the_original(models, tmp_path):
    """48 wide and 32 high, squeezed to 16 by 16: three columns and two rows of the original are one pixel."""
    preparation = Preprocessing(size=(SIDE, SIDE), resize="exact", resize_to=(SIDE, SIDE), interpolation="nearest")
    classifier = Classifier(looks_at_red, class_names=["red", "other"], preparation=preparation, name="red")
    pixels = (picture()[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8).repeat(2, 0).repeat(3, 1)
    method = VisualLanguage(attribution=SHAP, segmenter="flood", captioner=None, fill="black")
    found = snellen.explain(classifier, load_arrays(pixels[None]), method, out=tmp_path / "out")
    row = found.evidence.table.to_pylist()[0]
    assert 33 <= row["x"] < 42
    assert 4 <= row["y"] < 10
    (mask,) = (tmp_path / "out" / "visual_language" / "masks" / "region").iterdir()
    inside = np.asarray(Image.open(mask)) == 255
    assert inside.shape == (32, 48)
    assert np.array_equal(inside, pixels[..., 0] == 255)


@pytest.mark.covers("3.6")
def test_the_segmenter_sees_pictures_not_normalised_tensors(models):
    mean = ((0.5, 0.2, 0.1), (0.2, 0.2, 0.2))
    classifier = classifier_of(lambda images: looks_at_red(images * 0.2 + 0.3), normalization=mean)
    explained(classifier=classifier)
    (handed,) = models["flood"].images
    assert torch.equal(handed, picture())


@pytest.mark.covers("3.6")
def test_sam_itself_is_handed_eight_bits(monkeypatch):
    from snellen.models.segmenters import sam_segmenters

    handed = []
    to_bytes = sam_segmenters.image_bytes

    def watching(images, *, name):
        handed.append(to_bytes(images, name=name))
        return handed[-1]

    monkeypatch.setattr(sam_segmenters, "image_bytes", watching)
    images = torch.rand(1, 3, 32, 32)
    snellen.load_segmenter("bundled:scene-sam").segment(images, points=torch.tensor([[[20.0, 3.0]]]))
    assert (handed[0].dtype, handed[0].shape) == (torch.uint8, (1, 3, 32, 32))
    assert torch.equal(handed[0], images.mul(255).round().to(torch.uint8))


@pytest.mark.covers("3.7")
def test_all_candidates_and_the_rule_are_kept(models):
    for candidate, chosen, rule in (("best", 2, "the highest predicted overlap"), ("last", 3, "the last candidate")):
        found = explained(candidate=candidate)
        record = found.records[0]
        assert (record["chosen"], record["rule"]) == (chosen, rule)
        assert [one["predicted_overlap"] for one in record["candidates"]] == pytest.approx([0.1, 0.9, 0.5])
        assert [one["share"] for one in record["candidates"]] == pytest.approx([0, 9 / 256, 25 / 256])
        assert torch.equal(found.regions["region"], found.regions[f"candidate {chosen}"])
        assert set(found.regions) == {"region", "candidate 1", "candidate 2", "candidate 3"}


@pytest.mark.covers("3.8")
@pytest.mark.parametrize(
    ("prompt", "said", "told"), [("a", "a thing", False), ("a photo of {label}", "a photo of red thing", True)]
)
def test_the_prompt_and_whether_it_held_the_class_are_in_the_result(models, prompt, said, told):
    found = explained(prompt=prompt)
    record = found.records[0]
    assert found.text[0].startswith(said)
    assert record["prompt"] == prompt.replace("{label}", "red")
    assert record["label_in_prompt"] is told
    assert ("the captioner was told the class, and repeats it whether or not it is there" in found.assumptions) is told
    # What was described is the region on black, not the image.
    assert record["described"] == "the region on black"
    (seen,) = models["echo"].seen
    assert float(seen.mean()) < float(picture().mean()) / 4


@pytest.mark.covers("3.9")
def test_the_same_again_and_in_any_batch(models):
    images = torch.cat([picture(), picture((slice(9, 12), slice(3, 6))), picture((slice(1, 3), slice(1, 4)))])
    rng = Randomness(3).for_examples(["a", "b", "c"])
    whole, again = explained(images, rng=rng), explained(images, rng=rng)
    part = explained(images[[2, 1]], rng=rng[[2, 1]])
    for other, rows in ((again, [0, 1, 2]), (part, [2, 1])):
        assert torch.equal(other.points, whole.points[rows])
        assert torch.equal(other.regions["region"], whole.regions["region"][rows])
        assert other.text == tuple(whole.text[row] for row in rows)
        for name, values in other.figures.items():
            assert torch.allclose(values, whole.figures[name][rows], atol=1e-6)
        for name, values in other.controls.items():
            assert torch.allclose(values, whole.controls[name][rows], atol=1e-6)


@pytest.mark.covers("3.10")
def test_what_the_region_is_worth_stands_beside_one_of_the_same_size(models):
    found = explained()
    images = picture()
    region = found.regions["region"]
    with torch.no_grad():
        whole, without, alone = (
            looks_at_red(one).softmax(1)[0, 0] for one in (images, images * ~region[:, None], images * region[:, None])
        )
    assert float(found.figures["drop"]) == pytest.approx(float(whole - without), abs=1e-6)
    assert float(found.figures["kept"]) == pytest.approx(float(alone), abs=1e-6)
    assert float(found.figures["drop"]) > 0.3
    assert float(found.figures["drop"]) > float(found.controls["drop"]) + 0.2
    assert float(found.figures["kept"]) > float(found.controls["kept"]) + 0.2
    assert float(found.figures["sentence"]) > float(found.controls["sentence"]), "a sentence about another part"
    assert torch.equal(found.edits["region alone"], images * region[:, None])
    assert torch.equal(found.edits["region removed (black)"], images * ~region[:, None])
    light = classifier_of(lambda images: nn.functional.pad(images.mean((1, 2, 3))[:, None] * 9, (0, 1)))
    grey, black = (explained(classifier=light, fill=fill) for fill in ("grey", "black"))
    assert float(grey.figures["kept"]) == float(black.figures["kept"]), "alone is on black, as the captioner sees it"
    assert float(grey.figures["drop"]) != float(black.figures["drop"])


@pytest.mark.covers("3.11")
def test_every_stage_can_be_replaced_and_left_out(models):
    replaced = explained(attribution={"method": "occlusion", "window": 0.25}, segmenter="salient")
    assert (replaced.status, set(replaced.regions)) == (("ok",), {"region"})
    assert VisualLanguage(captioner="none", segmenter="none").captioner is None
    assert VisualLanguage(attribution="none").attribution is None
    mute = explained(captioner=None)
    assert mute.text is None
    assert "sentence" not in mute.figures
    whole = explained(segmenter=None)
    assert (whole.regions, whole.edits) == ({}, {})
    assert "drop" not in whole.figures
    assert whole.records[0]["described"] == "the whole image"
    assert float(models["echo"].seen[-1].mean()) > 0.3
    unpointed = explained(attribution=None, segmenter="salient")
    assert (unpointed.maps, unpointed.points) == ({}, None)
    assert unpointed.status == ("ok",)
    assert float(unpointed.figures["drop"]) > 0.3
    with pytest.raises(InputError, match=r"flood takes points, and is to be given nothing"):
        explained(attribution=None)
    with pytest.raises(InputError, match="nothing is explained"):
        VisualLanguage(attribution=None, segmenter=None)
    with pytest.raises(InputError, match="visual_language makes no map"):
        VisualLanguage(attribution={"method": "visual_language"})


def test_under_pseudonyms_no_model_of_a_stage_is_named(models, tmp_path):
    models["hf:/home/Doe/sam"], models["hf:Doe-blip"] = models["flood"], models["echo"]
    models["flood"].name, models["echo"].name = "hf:/home/Doe/sam", "hf:Doe-blip"
    method = VisualLanguage(attribution=SHAP, segmenter="hf:/home/Doe/sam", captioner="hf:Doe-blip", fill="black")
    pixels = (picture()[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    options = {"out": tmp_path / "out", "pseudonyms": tmp_path / "names.json"}
    found = snellen.explain(classifier_of(nn.Sequential(Reading())), load_arrays(pixels[None]), method, **options)
    assert found.settings["visual_language"].explained == 1
    assert mentions(tmp_path / "out", ("Doe",)) == {}
