"""The judge of scenes: what it says of random networks' scores, its classifier, its artifact, and bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, SnellenError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.factor_judge import FactorJudge, FactorNetwork, load_judge
from snellen.models.classifiers.onnx_export import export_onnx
from snellen.models.classifiers.references import load_classifier

FACTORS = {"shape": ("star", "ring", "heart"), "colour": ("red", "blue")}
MEASURES = ("fog", "x")
LAYERS = [[4, 1], [6, 2]]


@pytest.fixture(scope="module")
def judge() -> FactorJudge:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FactorJudge(FactorNetwork(7, LAYERS).eval(), FACTORS, MEASURES, 16, "random")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_answers_probabilities_and_measures_are_parts_of_one_output_in_the_order_of_the_factors(judge, images):
    outputs = judge.outputs(images)
    chances, answers, measured = judge.probabilities(images), judge.answers(images), judge.measured(images)
    torch.testing.assert_close(chances["shape"], outputs[:, :3].softmax(1))
    torch.testing.assert_close(chances["colour"], outputs[:, 3:5].softmax(1))
    assert answers["colour"] == [FACTORS["colour"][number] for number in outputs[:, 3:5].argmax(1).tolist()]
    assert torch.equal(measured["fog"], outputs[:, 5])
    assert torch.equal(measured["x"], outputs[:, 6])


def test_features_are_what_the_last_layer_takes(judge, images):
    features = judge.features(images)
    assert not features.requires_grad
    torch.testing.assert_close(judge.network.head(features), judge.outputs(images))


def test_where_an_object_lies_can_be_reported(judge):
    one, other = torch.zeros(2, 1, 3, 16, 16)
    one[..., 2:5, 2:5], other[..., 10:13, 10:13] = 1, 1
    assert not torch.allclose(judge.features(one), judge.features(other), atol=1e-3)


def test_a_batch_of_any_size_gives_what_single_images_give(judge):
    images = torch.rand(300, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    single = torch.cat([judge.outputs(image[None]) for image in images[250:260]])
    torch.testing.assert_close(judge.outputs(images)[250:260], single, atol=1e-5, rtol=1e-5)


def test_one_factor_is_a_classifier_with_its_names_and_scores(judge, images):
    classifier = judge.classifier("colour")
    assert classifier.class_names == ("red", "blue")
    torch.testing.assert_close(classifier(images).softmax(1), judge.probabilities(images)["colour"])
    with pytest.raises(SnellenError, match="colour, shape"):
        judge.classifier("texture")


def saved(folder: Path, judge: FactorJudge, kind: str = "judge") -> Path:
    card = Card(
        name="random",
        kind=kind,
        architecture={
            "name": "factor_network",
            "layers": LAYERS,
            "factors": {name: list(values) for name, values in FACTORS.items()},
            "measures": list(MEASURES),
            "size": 16,
        },
        lineage=Lineage(recipe={}, data="-", seed=0, code_version="0"),
    )
    Artifact(judge.network.state_dict(), card).save(folder)
    return folder


def test_an_artifact_gives_the_same_judge_and_leaves_the_generator_alone(tmp_path, judge, images):
    saved(tmp_path, judge)
    before = torch.get_rng_state()
    loaded = load_judge(f"artifact:{tmp_path}")
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(loaded.outputs(images), judge.outputs(images))
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


def test_what_is_no_judge_is_refused(tmp_path, judge):
    saved(tmp_path, judge, kind="classifier")
    with pytest.raises(InputError, match="a classifier, not a judge"):
        load_judge(f"artifact:{tmp_path}")
    with pytest.raises(InputError, match="bundled:scene-judge or artifact:FOLDER"):
        load_judge("hf:somewhere")


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(3, 16, 16), r"\(n, 3, h, w\)"),
        (torch.zeros(2, 1, 16, 16), r"\(n, 3, h, w\)"),
        (torch.zeros(2, 3, 16, 20), "takes images of 16x16 pixels .* got 16x20"),
        (torch.full((1, 3, 16, 16), 255.0), r"takes images in \[0, 1\], got values from 255"),
        (torch.zeros(0, 3, 16, 16), "an empty batch"),
    ],
)
def test_images_that_are_not_prepared_are_refused(judge, images, said):
    with pytest.raises(InputError, match=said):
        judge.outputs(images)


def test_a_network_is_written_as_onnx_for_any_number_of_images(images, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = FactorNetwork(3, LAYERS).eval()
    classifier = Classifier(network, class_names=["a", "b", "c"], preparation=Preprocessing(size=(16, 16)))
    again = load_classifier(f"onnx:{export_onnx(classifier, tmp_path / 'model.onnx')}")
    for count in (1, 5):
        torch.testing.assert_close(again(images[:count]), network(images[:count]), atol=1e-4, rtol=1e-4)
