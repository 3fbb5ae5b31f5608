"""The full size by reference: the form of Stable Diffusion 2 with states of 1,024, tokens, released sliders."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.models.diffusion import smoke
from snellen.models.diffusion.loading import load_generator
from snellen.models.random_folders import write_random_clip
from snellen.reproduction.continuous_nuisance import full
from snellen.reproduction.continuous_nuisance.experiment import continuous_nuisance
from snellen.systems.continuous_nuisance.presets import IMAGENET
from tests.systems.continuous_nuisance.released import released_slider, token_folder

pytest.importorskip("diffusers")
pytest.importorskip("peft")

VARIABLES = (full.GENERATOR, full.TOKENS, full.TEXT_IMAGE, full.ENCODER, full.MODELS, full.FOLDER)
CLASSES = (0, 1)
TINY = full.FullSize(
    shifts={"cartoon_style": "in cartoon style", "heavy_snow": "in heavy snow"},
    classes=CLASSES,
    seeds=2,
    together=1,
    settings=replace(
        IMAGENET, steps=4, size=64, kept_size=64, strengths=(0.0, 2.5), negative="blurry",
        thresholds=dict.fromkeys(IMAGENET.thresholds, -200.0),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    place = tmp_path_factory.mktemp("full")
    with pytest.MonkeyPatch.context() as patched:
        clip, unet = smoke._clip, smoke._text_unet
        patched.setattr(
            smoke, "_clip", lambda *given, **how: clip(*given, **{**how, "hidden_size": 1024, "num_hidden_layers": 1})
        )
        patched.setattr(smoke, "_text_unet", lambda *given, **how: unet(*given, **{**how, "cross_attention_dim": 1024}))
        reference = f"diffusers:{smoke.write_smoke_folder('stable-diffusion-2.1', place / 'sd2')}"
    generator = load_generator(reference)
    words = ["tench", "goldfish"]
    token_folder(generator, place / "star", words, ["<tench>", "<goldfish>"])
    for number in CLASSES:
        for shift in TINY.shifts:
            released_slider(
                generator, place / "sliders" / f"{shift}_class_{number:03d}_alpha1.0_rank4_noxattn" / "4.pt"
            )
    write_random_clip(place / "clip", words=("a", "photo", "of", "in", "cartoon", "style", "heavy", "snow", *words))
    torch.manual_seed(0)
    network = torchvision.models.get_model("mobilenet_v3_small")
    torch.save(network.state_dict(), place / "model.pth")
    model = f"torchvision:mobilenet_v3_small@{place / 'model.pth'}"
    return {
        full.GENERATOR: reference,
        full.TOKENS: str(place / "star"),
        full.TEXT_IMAGE: f"hf:{place / 'clip'}",
        full.ENCODER: f"torchvision:mobilenet_v3_small@{place / 'model.pth'}",
        full.MODELS: ",".join(f"{name}={model}" for name in full.NAMES),
        full.FOLDER: str(place / "kept"),
        full.SLIDERS: str(place / "sliders"),
    }


def test_full_names_what_it_lacks(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="SNELLEN_NUISANCE_GENERATOR, SNELLEN_NUISANCE_TOKENS"):
        continuous_nuisance("full", 0, Silent())


def test_full_measures_what_claims_name(monkeypatch, references):
    for name, value in references.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(full.FilterEncoders, "check_independent", lambda *given: None)  # one network has all parts here
    monkeypatch.setattr(full, "load_encoder", lambda *given, **how: _Flat())
    found = full.full(0, Silent(), size=TINY)
    for claim in find_system("2").claims:
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or "full" not in claim.scales or name in found, name
    assert len(found["tokens.resnet"].values) == len(found["words.resnet"].values) == 4
    assert found["filter.kept"].mean == 1.0, "all scores exceed thresholds of -200"
    assert len(found["rising"].values) == len(CLASSES) * 2 * len(TINY.shifts)
    assert found["rce.vit"] in (None, 1.0), "the same network as the reference"
    kept = {path.parent.name for path in Path(references[full.FOLDER]).glob("seed-0/class-*/*/slider.json")}
    assert kept == set(TINY.shifts)


def test_full_refuses_classifiers_that_are_missing(monkeypatch, references):
    for name, value in references.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(full.MODELS, references[full.MODELS].rsplit(",", 1)[0])
    with pytest.raises(InputError, match="names resnet, vit, convnext"):
        full.full(0, Silent(), size=TINY)


def test_the_published_settings():
    settings = full.FULL.settings
    assert (settings.guidance_scale, settings.steps, settings.gate, settings.size) == (7.5, 50, 750.0, 512)
    assert (len(full.FULL.classes), len(full.FULL.shifts), full.FULL.seeds) == (5, 2, 50)


class _Flat:
    """A second encoder: coarse pixels."""

    device = torch.device("cpu")
    preparation = None
    network = staticmethod(lambda images: torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1))

    def __init__(self):
        self.preparation = Preprocessing(size=(32, 32), resize="exact", resize_to=(32, 32))
