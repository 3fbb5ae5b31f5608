"""Classes in words: averages on the sphere, and a classifier whose logits are those of the library."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import snellen
from snellen.core.artifact import Lineage
from snellen.core.errors import InputError
from snellen.models import references
from snellen.models.dual_encoders.zero_shot import (
    class_vectors,
    fill_templates,
    mean_direction,
    scaled_cosines,
    zero_shot_classifier,
)
from snellen.models.random_folders import write_random_clip
from snellen.models.references import load_two_tower
from snellen.models.weights.bundled_folders import bundled_folder, write_card
from snellen.models.weights.quiet_loading import quiet_loading

NAMES = ["red star", "blue circle", "dog"]


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 999))
def test_the_mean_direction_has_length_one_and_knows_no_lengths(count: int, dimension: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    lengths = torch.rand(count, 1, generator=generator, dtype=torch.float64) + 0.1
    mean = mean_direction(vectors)
    assert torch.allclose(mean.norm(), torch.ones((), dtype=torch.float64))
    assert torch.allclose(mean_direction(lengths * vectors), mean)
    assert torch.allclose(mean_direction(vectors.flip(0)), mean)


def test_each_vector_counts_the_same_however_long() -> None:
    vectors = torch.tensor([[100.0, 0.0], [0.0, 1.0]])
    assert torch.allclose(mean_direction(vectors), torch.full((2,), 0.5**0.5))
    # The mean of the vectors themselves would point along the long one.
    assert float(F.normalize(vectors.mean(0), dim=0)[0]) > 0.99


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (torch.zeros(0, 3), "m ≥ 1"),
        (torch.ones(3), "m ≥ 1"),
        (torch.tensor([[0.0, 0.0], [1.0, 0.0]]), "length zero"),
        (torch.tensor([[1.0, 0.0], [-2.0, 0.0]]), "cancel out"),
    ],
)
def test_vectors_without_a_mean_direction(vectors: torch.Tensor, says: str) -> None:
    with pytest.raises(InputError, match=says):
        mean_direction(vectors)


def test_scaled_cosines_by_hand() -> None:
    images, classes = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0], [-5.0, 0.0]])
    assert torch.allclose(scaled_cosines(images, classes, scale=10, bias=-1), torch.tensor([[5.0, 7.0, -7.0]]))


@pytest.mark.parametrize(
    ("names", "templates", "says"),
    [
        ([], ["a {}"], "at least one class name"),
        ("cat", ["a {}"], r"pass \['cat'\]"),
        (["cat", "dog", "cat"], ["a {}"], "more than once: cat"),
        (["cat"], [], "at least one template"),
        (["cat"], "a {}", "a list of texts"),
        (["cat"], ["a cat"], "exactly one {}"),
        (["cat"], ["a {} or {}"], "exactly one {}"),
    ],
)
def test_templates_that_cannot_be_filled(names: object, templates: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fill_templates(names, templates)


def test_braces_in_a_class_name_stay() -> None:
    assert fill_templates(["{x}"], ["a {}!"]) == {"{x}": ("a {x}!",)}


def test_class_vectors_average_the_texts_of_each_class(clip_folder: Path) -> None:
    tower = load_two_tower(f"hf:{clip_folder}")
    prompts = {"cat": ["a cat", "the photo of a cat"], "dog": ["a dog"]}
    vectors = class_vectors(tower, prompts)
    one, two, dog = tower.encode_texts(["a cat", "the photo of a cat", "a dog"])
    assert torch.allclose(vectors, torch.stack([F.normalize(one + two, dim=0), dog]), atol=1e-6)
    for wrong in ({}, {"cat": []}, {"cat": "a cat"}):
        with pytest.raises(InputError, match="text"):
            class_vectors(tower, wrong)


@pytest.mark.parametrize(("fixture", "kind"), [("clip_folder", "CLIPModel"), ("siglip_folder", "SiglipModel")])
def test_scores_are_the_logits_of_the_library(
    fixture: str, kind: str, photos: dict[str, Image.Image], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    classifier = zero_shot_classifier(load_two_tower(f"hf:{folder}"), {name: [f"a {name}"] for name in NAMES})
    images = torch.stack([classifier.prepare(photo) for photo in photos.values()])
    with quiet_loading(), torch.no_grad():
        model = getattr(transformers, kind).from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        padding = "max_length" if kind == "SiglipModel" else True
        tokens = tokenizer([f"a {name}" for name in NAMES], padding=padding, return_tensors="pt")["input_ids"]
        logits = model(pixel_values=classifier.normalise(images), input_ids=tokens).logits_per_image
    assert torch.allclose(classifier(images), logits, atol=1e-4)


def test_what_the_classifier_offers(openclip_folder: Path) -> None:
    tower = load_two_tower(f"openclip:{openclip_folder}")
    classifier = zero_shot_classifier(tower, NAMES)
    assert classifier.class_names == tuple(NAMES)
    assert classifier.notes == ("zero-shot: 3 texts for 3 classes", "activation: quick_gelu")
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    scores, features = classifier.scores_and_features(images)
    assert torch.allclose(F.normalize(features, dim=1), tower.encode_images(images), atol=1e-6)
    scores.sum().backward()
    assert images.grad is not None
    assert float(images.grad.abs().sum()) > 0
    assert "vectors" in classifier.module.state_dict()
    other = zero_shot_classifier(tower, [*NAMES[:2], "cat"])
    assert len({classifier.fingerprint(), other.fingerprint(), zero_shot_classifier(tower, NAMES).fingerprint()}) == 2
    assert torch.allclose(
        classifier(images),
        tower.logit_scale * tower.encode_images(images) @ class_vectors(tower, fill_templates(NAMES)).T,
        atol=1e-5,
    )


def test_an_audit_runs_on_it(clip_folder: Path, tmp_path: Path) -> None:
    classifier = zero_shot_classifier(load_two_tower(f"hf:{clip_folder}"), ["dark", "bright"])
    generator = np.random.default_rng(0)
    for index in range(24):
        folder = tmp_path / "images" / ("bright" if index % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 128, (32, 32, 3), dtype=np.uint8) + np.uint8(127 * (index % 2))
        Image.fromarray(pixels).save(folder / f"{index}.png")
    images = snellen.load_images(tmp_path / "images")
    report = snellen.audit(classifier, images, out=tmp_path / "run", checks=["clean", "calibration"])
    # Classes in alphabetical order in the folder, and as they were given in the classifier.
    decisions = [int(classifier(classifier.prepare(images.read(index))[None]).argmax()) for index in range(24)]
    right = [classifier.class_names[found] == id.split("/")[0] for found, id in zip(decisions, images.ids, strict=True)]
    assert report.model["name"] == classifier.name
    assert report.model["identity"] == classifier.identity
    assert report.metrics["clean.accuracy"].value == pytest.approx(sum(right) / 24)


def test_a_bundled_tower_is_found_in_either_format(
    tmp_path: Path, openclip_folder: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    lineage = Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0")
    write_random_clip(tmp_path / "one")
    shutil.copytree(openclip_folder, tmp_path / "two")
    for name in ("one", "two"):
        write_card(tmp_path / name, name=name, kind="two-tower", description="Random.", lineage=lineage)
    monkeypatch.setattr(references, "bundled_folder", lambda name: bundled_folder(name, assets=tmp_path))
    for name, scheme in (("one", "hf"), ("two", "openclip")):
        tower = load_two_tower(f"bundled:{name}")
        assert tower.name == f"bundled:{name}"
        assert torch.equal(tower.encode_texts(texts), load_two_tower(f"{scheme}:{tmp_path / name}").encode_texts(texts))
    (tmp_path / "one" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match="file changed"):
        load_two_tower("bundled:one")
