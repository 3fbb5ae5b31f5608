"""The full experiment at the shapes of published networks, with random weights and a handful of images.

Each pair of models is one network twice: whatever its tensors do on the source, they must do on the target.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.models.captioners.random_llava import write_random_llava
from snellen.models.classifiers.references import load_classifier
from snellen.models.language.causal import write_random_causal_model
from snellen.models.random_folders import draw_weights
from snellen.models.tokens.small_tokenizers import gpt2_tokenizer
from snellen.reproduction.representation_transfer import full as full_module
from snellen.reproduction.representation_transfer.experiment import adversarial_transfer
from snellen.reproduction.representation_transfer.full import WANTED, FullSize, _depths, family_figures, full
from snellen.reproduction.representation_transfer.published_speaking import PublishedSpeaking
from snellen.reproduction.representation_transfer.setting import Strength
from snellen.reproduction.representation_transfer.speaking_figures import Speaking
from snellen.reproduction.sample import Figure
from tests.verbs.picture_sets import InMemory

transformers = pytest.importorskip("transformers")

STRENGTH = Strength(wanted=0.8, steps=2, draws=1, start=0.5, hidden_start=2.0, least_common=0, evaluations=3,
                    factors=(1.0,), resamples=5, together=4)  # fmt: skip
SPOKEN = PublishedSpeaking(
    calibrate=2, fit=30, fit_images=8, target="a red ring",
    speaking=Speaking(prompts=2, prompt_length=3, suffix_length=2, suffix_steps=1, nearest=4, exchanges=3, images=2),
    strength=Strength(steps=1, draws=1, least_common=0, evaluations=2, resamples=5, together=1),
)  # fmt: skip
SIZE = FullSize(calibrate=2, fit=8, measure=3, block=2, depths=1, strength=STRENGTH, speaking=SPOKEN)


def write_classifier(folder: Path, kind: str, side: int, classes: int) -> Path:
    """A ResNet with bottlenecks, or a vision transformer, of random weights as ``save_pretrained`` writes it."""
    labels = {"num_labels": classes}
    if kind == "resnet":
        config = transformers.ResNetConfig(
            embedding_size=16, hidden_sizes=[32, 48], depths=[1, 1], layer_type="bottleneck", **labels
        )
        model = transformers.ResNetForImageClassification(config)
    else:
        config = transformers.ViTConfig(
            image_size=side, patch_size=32, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=96, **labels,
        )  # fmt: skip
        model = transformers.ViTForImageClassification(config)
    draw_weights(model.eval(), seed=3)
    # Scores around 0, so that more than one class is named.
    with torch.no_grad():
        scores = model(torch.rand(32, 3, 4, 4).repeat_interleave(side // 4, 2).repeat_interleave(side // 4, 3)).logits
        head = model.classifier[-1] if kind == "resnet" else model.classifier
        head.bias -= scores.mean(0)
    model.save_pretrained(folder)
    square = {"height": side, "width": side}
    transformers.ViTImageProcessorPil(size=square).save_pretrained(folder)
    twin = folder.with_name(f"{folder.name}-twin")
    shutil.copytree(folder, twin)
    return folder


def made_images(model: Path, side: int, classes: int) -> ImageSet:
    """Random pictures, each labelled with the class that a model takes it for."""
    classifier, generator = load_classifier(f"hf:{model}"), torch.Generator().manual_seed(1)
    coarse = torch.rand(26, 3, 4, 4, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, (side, side)).mul(255).byte().permute(0, 2, 3, 1).numpy()
    pictures = [Image.fromarray(one) for one in pixels]
    prepared = torch.stack([classifier.prepare(one) for one in pictures])
    table = {"id": [str(one) for one in range(26)], "label": classifier(prepared).argmax(1).tolist()}
    return ImageSet(InMemory(pictures), pa.table(table), tuple(map(str, range(classes))), name="made")


@pytest.fixture(scope="module")
def images() -> dict[str, ImageSet]:
    """By reference."""
    return {}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, images: dict[str, ImageSet]) -> Mapping[str, str]:
    """All variables, with what they hold."""
    root, found = tmp_path_factory.mktemp("published"), dict[str, str]()
    for variable, kind, side, classes in (
        ("SNELLEN_TRANSFER_CIFAR", "resnet", 32, 10),
        ("SNELLEN_TRANSFER_IMAGENET", "resnet", 64, 1000),
    ):
        model = write_classifier(root / variable, kind, side, classes)
        found[variable] = f"made:{variable}"
        images[found[variable]] = made_images(model, side, classes)
        found[f"{variable}_MODELS" if classes == 10 else "SNELLEN_TRANSFER_RESNETS"] = f"hf:{model}; hf:{model}-twin"
    vit = write_classifier(root / "vit", "vit", 224, 1000)
    found["SNELLEN_TRANSFER_VITS"] = f"hf:{vit};hf:{vit}-twin"
    tokenizer = gpt2_tokenizer()
    language = write_random_causal_model(root / "language", tokenizer)
    tokenizer.save_pretrained(language)
    llava = write_random_llava(root / "llava", image_size=32)
    for folder, variable in ((language, "SNELLEN_TRANSFER_LANGUAGE"), (llava, "SNELLEN_TRANSFER_LLAVA")):
        shutil.copytree(folder, folder.with_name(f"{folder.name}-twin"))
        found[variable] = f"hf:{folder};hf:{folder}-twin"
    prompts = root / "prompts.txt"
    prompts.write_text("a red ring on a green star\n\n" + "a small blue ring on the left\n" * 40)
    return found | {"SNELLEN_TRANSFER_PROMPTS": str(prompts)}


@pytest.fixture
def set_up(given: Mapping[str, str], images: dict[str, ImageSet], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_module, "load_images", images.__getitem__)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)


@pytest.mark.usefixtures("set_up")
def test_what_a_network_does_its_twin_does(given: Mapping[str, str]) -> None:
    assert set(given) == set(WANTED)
    figures: Mapping[str, Figure] = full(0, Silent(), size=SIZE)
    claims = [claim for claim in find_system("16").claims if "full" in claim.scales]
    named = {name for claim in claims for name in (claim.metric, claim.baseline, *claim.controls) if name}
    # What breaks too little of its source has no τ in a run of this size.
    assert {name for name in named if not name.endswith("tau")} <= set(figures)
    assert figures["resnets.counts.least_common"] == 3
    for family in ("cifar", "resnets", "transformers"):
        assert figures[f"{family}.counts.measured"] == 3, "both blocks count"
        carried = {
            name.removesuffix(".target") for name in figures if name.startswith(family) and name.endswith("none.target")
        }
        assert len(carried) == 6, "pixels, a layer, and both under L2 and with one tensor for all"
        assert all(
            figures[f"{name}.target"] == figures[f"{name}.source"] for name in carried if f"{name}.source" in figures
        )
    assert figures["language.data.target"] == figures["language.data.source"]
    assert figures["llava.projected.none.target"] == figures["llava.projected.none.source"]


@pytest.mark.usefixtures("set_up")
def test_layers_are_spread_over_the_blocks_and_end_with_the_last(given: Mapping[str, str]) -> None:
    classifier = load_classifier(given["SNELLEN_TRANSFER_RESNETS"].split(";")[0])
    everyone = _depths(classifier, 10)
    assert [name.partition("stages.")[2] for name in everyone] == ["0.layers.0", "1.layers.0"]
    assert _depths(classifier, 1) == everyone[-1:]


def test_refusals_name_what_is_needed(
    given: Mapping[str, str], images: dict[str, ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in WANTED:
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InputError, match=r"SNELLEN_TRANSFER_CIFAR .*SNELLEN_TRANSFER_LLAVA") as refused:
        adversarial_transfer("full", 0, Silent())
    assert all(variable in str(refused.value) for variable in WANTED)
    small, models = images[given["SNELLEN_TRANSFER_CIFAR"]], given["SNELLEN_TRANSFER_CIFAR_MODELS"].split("; ")
    with pytest.raises(InputError, match="two models or more"):
        family_figures(models[:1], small, SIZE, Randomness(0), Silent())
    with pytest.raises(InputError, match=r"1000 classes .* expected the 10 classes"):
        family_figures(given["SNELLEN_TRANSFER_VITS"].split(";"), small, SIZE, Randomness(0), Silent())
