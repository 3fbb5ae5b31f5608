"""Detectors: boxes of the library, in pixels of the given image, and refusals that say what is wrong."""

import json
from functools import partial

import pytest
import torch
import transformers

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_image
from snellen.core.randomness import Randomness
from snellen.models.detectors.protocol import Detected
from snellen.models.references import load_detector
from snellen.models.weights.quiet_loading import quiet_loading
from tests.models.detectors.small_detectors import grounding_dino, owl

KINDS = {
    "grounding-dino": grounding_dino,
    "owlvit": partial(owl, version="OwlViT"),
    "owlv2": partial(owl, version="Owlv2"),
}


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    drawn = Randomness(seed).bind(1).uniform("picture", (3, height, width))[0]
    return drawn.mul(255).round() / 255


@pytest.fixture(scope="module", params=list(KINDS))
def folder(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp(request.param))


def test_boxes_are_those_of_the_library_for_this_image_alone(folder):
    """Images of other sizes beside it change nothing; boxes lie inside, in pixels of the given image."""
    wide, tall = noise(40, 80), noise(70, 30, seed=1)
    detector = load_detector(f"hf:{folder}")
    found, other = detector.detect([wide, tall], ["A red star.", "a ring"], threshold=0.05)
    assert len(found)
    assert len(other)
    with quiet_loading():
        network = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
        processor = transformers.AutoProcessor.from_pretrained(folder, backend="pil")
        given = processor(images=to_image(wide), text=[["a red star"]], return_tensors="pt")
    with torch.no_grad():
        (theirs,) = processor.post_process_grounded_object_detection(
            network(**given), threshold=0.05, target_sizes=torch.tensor([[40, 80]])
        )
    corners = theirs["boxes"].clamp(min=0).minimum(torch.tensor([80.0, 40.0, 80.0, 40.0]))
    seen = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    order = theirs["scores"][seen].argsort(descending=True, stable=True)
    torch.testing.assert_close(found.boxes, corners[seen][order])
    torch.testing.assert_close(found.scores, theirs["scores"][seen][order])
    assert (other.boxes >= 0).all()
    assert (other.boxes <= torch.tensor([30.0, 70.0, 30.0, 70.0])).all()


def test_a_threshold_that_no_box_reaches_finds_nothing(folder):
    (found,) = load_detector(f"hf:{folder}").detect([noise(40, 80)], ["a star"], threshold=1.0)
    assert len(found) == 0
    assert not found.region(40, 80).any()


def test_phrases_move_the_scores(folder):
    image = noise(40, 80)
    detector = load_detector(f"hf:{folder}")
    star, ring = detector.detect([image, image], ["a star", "blue lines"], threshold=0.0)
    assert not torch.equal(star.scores, ring.scores)
    assert len(detector.identity()) == 64


def test_a_region_is_the_union_of_its_boxes():
    found = Detected(torch.tensor([[0.0, 0.0, 2.0, 1.0], [1.4, 0.0, 2.6, 2.0]]), torch.tensor([0.9, 0.5]))
    assert found.region(2, 4).int().tolist() == [[1, 1, 1, 0], [0, 1, 1, 0]]
    assert not Detected(torch.zeros(0, 4), torch.zeros(0)).region(2, 4).any()


def test_what_cannot_be_used_is_refused(tmp_path):
    detector = load_detector(f"hf:{owl(tmp_path / 'owl')}")
    image = noise(8, 8)
    for images, phrases, said in (
        ([image], ["a", "b"], "1 images, 2 phrases"),
        ([image * 255], ["a star"], r"in \[0, 1\]"),
        ([image[0]], ["a star"], r"float \(3, h, w\)"),
        ([image], [" . "], "phrase 0 is empty"),
    ):
        with pytest.raises(InputError, match=said):
            detector.detect(images, phrases)
    with pytest.raises(InputError, match="least score"):
        detector.detect([image], ["a star"], threshold=2)
    config = json.loads((tmp_path / "owl" / "config.json").read_text())
    (tmp_path / "owl" / "config.json").write_text(json.dumps({**config, "model_type": "clip"}))
    with pytest.raises(InputError, match="expected a detector that takes phrases: grounding-dino"):
        load_detector(f"hf:{tmp_path / 'owl'}")
    with pytest.raises(InputError, match="download it first"):
        load_detector("hf:IDEA-Research/grounding-dino-tiny")
