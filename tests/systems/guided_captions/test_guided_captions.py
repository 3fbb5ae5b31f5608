"""The method: captions with provenance for every request, in any batch, and what it refuses."""

import json

import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.method import build
from snellen.core.preprocessing import to_image
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.models.references import load_captioner
from snellen.runs.layout import classes_of
from snellen.systems.guided_captions.method import GuidedCaptions
from snellen.verbs.generate import generate
from snellen.verbs.requests import load_requests

DECODINGS = ("greedy", "beam", "sampling")


@pytest.fixture
def requests(pictures):
    return [
        {"id": f"image-{n}", "image": to_image((one * 255).to(torch.uint8)), "class": "cat" if n else None}
        for n, one in enumerate(pictures)
    ]


@pytest.fixture
def method(caption_folders):
    def make(**fields):
        return GuidedCaptions(captioner=f"hf:{caption_folders / 'vit_gpt2'}", max_tokens=8, **fields)

    return make


@pytest.mark.covers("39.1")
def test_without_guidance_captions_are_the_captioners_own(method, requests, caption_folders):
    made = method(scale=1).generate(requests, rng=Randomness(0))
    captioner = load_captioner(f"hf:{caption_folders / 'vit_gpt2'}")
    pixels = torch.stack([captioner.preparation.pixels(request["image"]) for request in requests]) / 255
    assert tuple(made.column("caption")) == captioner.caption(pixels, max_tokens=8).texts
    assert made.column("gain") == [None] * 5
    assert made.ids == [request["id"] for request in requests]
    assert made.labels.tolist() == [-1, 0, 0, 0, 0]
    assert made.read(0).tobytes() == requests[0]["image"].tobytes()


@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_batch_is_what_its_images_are_one_by_one(method, requests, decoding):
    one = method(scale=2, decoding=decoding)
    whole = one.generate(requests, rng=Randomness(3)).column("caption")
    single = [one.generate([request], rng=Randomness(3)).column("caption")[0] for request in requests]
    assert whole == single
    assert len(set(whole)) > 1


def test_provenance_tells_model_scale_and_source(method, requests):
    made = method(scale=1.5).generate(requests[:1], rng=Randomness(5))
    told = json.loads(made.column("provenance")[0])
    assert told == {
        "origin": "real",
        "generator": method().captioner,
        "source_id": "image-0",
        "guidance_scale": 1.5,
    }
    drawn = method(decoding="sampling").generate(requests[:1], rng=Randomness(5))
    assert json.loads(drawn.column("provenance")[0])["seed"] == 5


def test_captioned_test_images_stay_test_images(method, tmp_path):
    asked = load_requests("optotypes:scenes?count=3&size=32#test")
    scenes = asked.images
    generate(method(), asked, out=tmp_path / "said", sheet=False)
    made = load_images(str(tmp_path / "said" / "manifest.csv"))
    assert made.split == "test"
    assert list(classes_of(made)) == list(classes_of(scenes))
    told = [json.loads(row) for row in made.column("provenance")]
    assert {row["origin"] for row in told} == {"generated"}
    assert {row["generator"] for row in told} == {method().captioner}
    assert [row["source_id"] for row in told] == scenes.ids
    with pytest.raises(InputError, match="holds test images"):
        made.for_fitting()


def test_what_an_image_belongs_to_is_kept(method, requests):
    known = [{**one, "unit_id": f"patient {n}", "labels": [n % 2, 1]} for n, one in enumerate(requests[:2])]
    made = method().generate([{**known[0], "split": "train"}, {**known[1], "split": "test"}])
    assert made.column("unit_id") == ["patient 0", "patient 1"]
    assert made.column("labels") == [[0, 1], [1, 1]]
    assert made.column("split") == ["train", "test"]
    with pytest.raises(InputError, match="holds test images"):
        made.for_fitting()
    with pytest.raises(InputError, match="'image-0': its 'provenance' cannot be used"):
        method().generate([{**known[0], "provenance": '{"origin": "painted"}'}])


def test_the_gain_is_what_the_image_adds(method, requests, caption_folders):
    made = method(scale=2).generate(requests, rng=Randomness(0))
    captioner = load_captioner(f"hf:{caption_folders / 'vit_gpt2'}")
    pixels = torch.stack([captioner.preparation.pixels(request["image"]) for request in requests]) / 255
    whole = [row for row, text in enumerate(made.column("caption")) if len(captioner.tokenise([text])[0]) <= 9]
    texts = [made.column("caption")[row] for row in whole]
    if texts:  # of captions that ended by themselves and are the same tokens when read again
        gains = captioner.score(pixels[whole], texts) - captioner.score(None, texts)
        assert gains.tolist() == pytest.approx([made.column("gain")[row] for row in whole], abs=1e-2)
    assert all(value is not None for value in made.column("gain"))


def test_a_language_model_sets_the_style(method, requests, caption_folders):
    reference = f"hf:{caption_folders / 'language'}"
    plain = method(scale=1).generate(requests).column("caption")
    styled = method(rule="language_model", language_model=reference, alpha=1, beta=0.5, prompt=("a red star",))
    assert styled.generate(requests).column("caption") != plain
    other = styled.model_copy(update={"prompt": ("a blue ring", "a small heart on grass")})
    assert set(other.identities()) == {styled.captioner, reference}
    assert other.generate(requests).column("caption") != styled.generate(requests).column("caption")
    beside = method(unconditional="language_model", language_model=reference, scale=2)
    assert beside.generate(requests).column("gain") == [None] * 5


def test_a_language_model_that_is_queried_must_be_named(method, requests):
    for fields in ({"rule": "language_model"}, {"unconditional": "language_model"}):
        assert "name one" in method(**fields).missing()
        with pytest.raises(InputError, match="name one"):
            method(**fields).generate(requests)
    assert "alpha of at least beta" in method(rule="language_model", language_model="hf:x", alpha=1, beta=2).missing()


def test_requests_without_images_are_refused(method):
    with pytest.raises(InputError, match="name images, not a list of prompts"):
        method().generate([{"id": "1", "prompt": "a star"}])
    with pytest.raises(InputError, match="got no requests"):
        method().generate([])
    with pytest.raises(InputError, match="name images"):
        method().generate([{"image": Image.new("RGB", (8, 8))}])


@pytest.mark.parametrize(
    "field", [{"scale": -1}, {"scale": float("nan")}, {"alpha": 0}, {"beams": 0}, {"plausible": 2}]
)
def test_parameters_out_of_range_are_refused(field):
    with pytest.raises(InputError, match=next(iter(field))):
        build("generation", {"method": "guided-captions", **field})


def test_a_strong_scale_is_remarked_on(method):
    assert method(scale=3).notes() == ()
    assert "above 3" in method(scale=3.5).notes()[0]
