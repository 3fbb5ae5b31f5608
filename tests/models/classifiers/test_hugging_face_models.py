"""transformers: small models with random weights, saved as the library saves them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from snellen.core.errors import InputError
from snellen.models.classifiers.hugging_face_models import translate
from snellen.models.classifiers.references import load_classifier
from snellen.models.weights.quiet_loading import quiet_loading

NAMES = {0: "cat", 1: "dog", 2: "bird"}


def save_vit(folder: Path, **options: object) -> Path:
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        id2label=NAMES,
        label2id={name: index for index, name in NAMES.items()},
        **options,
    )
    return save(folder, transformers.ViTForImageClassification(config), vit_processor())


def save_convnext(folder: Path) -> Path:
    config = transformers.ConvNextConfig(hidden_sizes=[4, 8, 8, 8], depths=[1, 1, 1, 1], num_labels=3)
    processor = transformers.ConvNextImageProcessorPil(size={"shortest_edge": 64}, crop_pct=0.875)
    return save(folder, transformers.ConvNextForImageClassification(config), processor)


def save(folder: Path, model: torch.nn.Module, processor: object) -> Path:
    with quiet_loading():
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder


def vit_processor(**options: object) -> object:
    return transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}, **options)


def with_seed(function: object, *arguments: object, **options: object) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return function(*arguments, **options)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_seed(save_vit, tmp_path_factory.mktemp("vit"))


@pytest.mark.parametrize("save_model", [save_vit, save_convnext])
def test_scores_are_those_of_the_library(save_model: object, tmp_path: Path, photos: dict[str, Image.Image]) -> None:
    folder = with_seed(save_model, tmp_path)
    classifier = load_classifier(f"hf:{folder}")
    with quiet_loading():
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        model = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    for photo in photos.values():
        pixels = processor(images=photo.convert("RGB"), return_tensors="pt")["pixel_values"]
        ours = classifier.normalise(classifier.prepare(photo)[None])
        assert torch.allclose(ours, pixels, rtol=0, atol=1e-6)
        with torch.no_grad():
            logits = model(pixels).logits
        assert torch.allclose(classifier(classifier.prepare(photo)[None]), logits, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ViT", {"size": {"height": 32, "width": 32}}),
        ("ViT", {"size": {"height": 24, "width": 40}, "resample": 3, "image_mean": [0.48, 0.45, 0.4]}),
        ("ViT", {"size": {"height": 32, "width": 32}, "do_normalize": False}),
        ("ViT", {"size": {"height": 32, "width": 32}, "rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.0, 1.0]}),
        ("ViT", {"size": {"height": 32, "width": 32}, "do_rescale": False, "image_mean": [127, 127, 127]}),
        ("DeiT", {"size": {"height": 37, "width": 37}, "crop_size": {"height": 32, "width": 32}}),
        ("Bit", {"size": {"shortest_edge": 37}, "crop_size": {"height": 32, "width": 32}}),
        ("Bit", {"size": {"shortest_edge": 20}, "crop_size": {"height": 25, "width": 22}}),
        ("Bit", {"do_resize": False, "crop_size": {"height": 32, "width": 48}}),
        ("CLIP", {"size": {"shortest_edge": 33}, "crop_size": {"height": 30, "width": 30}}),
        ("Siglip", {"size": {"height": 32, "width": 32}, "resample": 3}),
        ("ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
        ("ConvNext", {"size": {"shortest_edge": 61}, "crop_pct": 0.9, "resample": 2}),
        ("ConvNext", {"size": {"shortest_edge": 384}}),
    ],
)
def test_pixels_equal_those_of_the_processor(kind: str, options: dict, photos: dict[str, Image.Image]) -> None:
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**options)
    preparation, normalization = translate(processor, name="demo")
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in normalization)
    for name, photo in photos.items():
        theirs = processor(images=photo.convert("RGB"), return_tensors="pt")["pixel_values"][0]
        ours = (preparation(photo) - mean) / std
        assert ours.shape == theirs.shape
        difference = float((ours - theirs).abs().max())
        assert difference <= 1e-6 * max(1.0, float(theirs.abs().max())), f"{name}: {difference}"


@pytest.mark.parametrize(
    "processor",
    [
        transformers.MobileViTImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 30, "width": 30}),
        transformers.EfficientNetImageProcessorPil(size={"height": 32, "width": 32}, rescale_offset=True),
        transformers.LevitImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 30, "width": 30}),
        transformers.BitImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 64}),
    ],
    ids=lambda processor: type(processor).__name__,
)
def test_processors_that_do_more_are_refused(processor: object) -> None:
    with pytest.raises(InputError, match=r"hf:demo: its \w+ does more than resize"):
        translate(processor, name="demo")


def test_a_processor_of_one_channel_order_is_noticed() -> None:
    """The check at loading sees a swap of channels, which no setting tells."""

    class Swapped(transformers.ViTImageProcessorPil):
        def normalize(self, image: np.ndarray, mean: object, std: object, **rest: object) -> np.ndarray:
            return super().normalize(image[::-1], mean, std, **rest)

    with pytest.raises(InputError, match="Swapped does more than resize"):
        translate(Swapped(size={"height": 32, "width": 32}), name="demo")


def test_what_a_folder_brings(vit: Path) -> None:
    classifier = load_classifier(f"hf:{vit}")
    assert classifier.class_names == ("cat", "dog", "bird")
    assert classifier.name == f"hf:{vit.name}"
    assert (classifier.task, classifier.output, classifier.notes) == ("single", "logits", ())
    assert classifier.preparation.size == (32, 32)
    assert "model.classifier" in classifier.layers
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    classifier(images).sum().backward()
    assert images.grad is not None


def test_multilabel_models_and_placeholder_names(tmp_path: Path) -> None:
    folder = save_vit(tmp_path, problem_type="multi_label_classification")
    assert load_classifier(f"hf:{folder}").task == "multilabel"
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {str(i): f"LABEL_{i}" for i in range(3)}, "label2id": {f"LABEL_{i}": i for i in range(3)}}
    (folder / "config.json").write_text(json.dumps(config))
    classifier = load_classifier(f"hf:{folder}")
    assert "placeholder" in classifier.notes[0]
    assert load_classifier(f"hf:{folder}", ["x", "y", "z"]).class_names == ("x", "y", "z")


def test_regression_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="regression"):
        load_classifier(f"hf:{save_vit(tmp_path, problem_type='regression')}")


def test_loading_says_nothing(vit: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state = torch.random.get_rng_state()
    load_classifier(f"hf:{vit}")
    assert torch.equal(state, torch.random.get_rng_state())
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert transformers.utils.logging.is_progress_bar_enabled()


def test_the_pooled_layer_of_a_residual_network(tmp_path: Path) -> None:
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3
    )
    processor = transformers.ConvNextImageProcessorPil(size={"shortest_edge": 32})
    classifier = load_classifier(f"hf:{save(tmp_path, transformers.ResNetForImageClassification(config), processor)}")
    images = torch.rand(2, 3, 32, 32)
    caught = []
    layer = classifier.module.get_submodule(str(classifier.feature_layer))
    layer.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    scores = classifier(images)
    assert torch.allclose(classifier.module.get_submodule("model.classifier")(caught[0]), scores, atol=1e-6)


def test_a_hub_id_must_be_downloaded_first() -> None:
    with pytest.raises(InputError, match=r"hf download google/vit-base-patch16-224 --local-dir"):
        load_classifier("hf:google/vit-base-patch16-224")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_every_file_is_requested(tmp_path: Path, missing: str) -> None:
    folder = save_vit(tmp_path)
    (folder / missing).unlink()
    if missing == "model.safetensors":
        (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(InputError, match=missing.replace(".", r"\.")):
        load_classifier(f"hf:{folder}")


def test_a_model_without_its_head_is_not_given_a_random_one(tmp_path: Path) -> None:
    folder = save_vit(tmp_path)
    model = transformers.ViTModel(transformers.ViTConfig.from_pretrained(folder), add_pooling_layer=False)
    with quiet_loading():
        model.save_pretrained(folder)
    with pytest.raises(InputError, match=r"lack .* tensors of an image classifier \(classifier\.bias"):
        load_classifier(f"hf:{folder}")


def test_code_in_a_folder_is_not_run(tmp_path: Path) -> None:
    folder = save_vit(tmp_path)
    (folder / "own.py").write_text("raise SystemExit('this code must not run')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "architectures": ["Own"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.Own"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot be loaded as an image classifier"):
        load_classifier(f"hf:{folder}")


def test_damaged_files(tmp_path: Path) -> None:
    folder = save_vit(tmp_path)
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(InputError, match=r"preprocessor_config\.json cannot be read"):
        load_classifier(f"hf:{folder}")
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="cannot be loaded as an image classifier"):
        load_classifier(f"hf:{folder}")
