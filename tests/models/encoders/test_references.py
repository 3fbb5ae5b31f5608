"""Encoders: the vectors before the decision, the image side of a text–image model, the class token of DINO."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import InputError, ModelError, UnknownNameError, UnsupportedError
from snellen.core.preprocessing import Preprocessing, to_image
from snellen.models.classifiers.references import load_classifier
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.references import load_encoder
from snellen.models.random_folders import write_random_clip, write_random_sam
from snellen.models.references import load_two_tower
from snellen.models.weights.quiet_loading import quiet_loading
from tests.tiny_network import NAMES, make_network

transformers = pytest.importorskip("transformers")


def images(side: int, count: int = 3) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def write_dino(folder: Path, *, pooler: bool = False, seed: int = 0, side: int = 32, **options: object) -> Path:
    """A vision transformer without a head as DINO's folders hold it."""
    with quiet_loading():
        torch.manual_seed(seed)
        config = transformers.ViTConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
            **options,
        )
        model = transformers.ViTModel(config, add_pooling_layer=pooler)
        model.save_pretrained(folder)
        transformers.ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
    return folder


def tiny(seed: int = 0, **options: object) -> Classifier:
    normalization = Normalization((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    preparation = Preprocessing(size=(4, 4), resize="exact", resize_to=(4, 4))
    return Classifier(
        make_network(seed), class_names=NAMES, preparation=preparation, normalization=normalization, **options
    )


def test_a_classifier_gives_what_its_last_linear_layer_takes() -> None:
    classifier = tiny()
    encoder = load_encoder(classifier)
    vectors = encoder.encode(images(4))
    assert vectors.shape == (3, 64) == (3, encoder.dim)
    head = classifier.module[5]
    torch.testing.assert_close(head(vectors), classifier(images(4)))
    assert encoder.layer == "input of 5"
    assert not vectors.requires_grad


def test_a_named_layer_is_averaged_over_places() -> None:
    classifier = tiny()
    encoder = load_encoder(classifier, layer="2")
    expected = classifier.features(images(4), "2").mean((2, 3))
    torch.testing.assert_close(encoder.encode(images(4)), expected)
    assert encoder.identity != load_encoder(classifier).identity
    with pytest.raises(UnknownNameError, match="layer of"):
        load_encoder(classifier, layer="nowhere")


def test_the_identity_tells_weights_preparation_and_normalisation() -> None:
    def identity(**changes: object) -> str:
        given = {
            "network": nn.Sequential(make_network(0)[:4]),
            "preparation": Preprocessing(size=(4, 4)),
            "normalization": Normalization(),
            **changes,
        }
        return FrozenEncoder(name="any", **given).identity

    same = identity()
    assert same == identity() == identity(network=nn.Sequential(make_network(0)[:4]))
    others = [
        identity(network=nn.Sequential(make_network(1)[:4])),
        identity(preparation=Preprocessing(size=(4, 4), resize="exact", resize_to=(4, 4))),
        identity(normalization=Normalization((0.1, 0.0, 0.0), (1.0, 1.0, 1.0))),
        identity(layer="other"),
    ]
    assert len({same, *others}) == 5


def test_the_bundled_classifier_and_its_feature_layer() -> None:
    encoder = load_encoder("bundled:fashion-cnn")
    classifier = load_classifier("bundled:fashion-cnn")
    torch.testing.assert_close(encoder.encode(images(28)), classifier.features(images(28)))
    assert encoder.preparation == classifier.preparation


def test_the_image_side_of_a_text_image_model(tmp_path: Path) -> None:
    towers = load_two_tower("bundled:scene-clip")
    side = towers.preparation.size[0]
    encoder = load_encoder("bundled:scene-clip")
    expected = towers.encode_images(images(side), normalised=False)
    torch.testing.assert_close(encoder.encode(images(side)), expected)
    assert encoder.dim == towers.dimension
    folder = write_random_clip(tmp_path / "clip")
    theirs = load_two_tower(f"hf:{folder}").encode_images(images(32), normalised=False)
    torch.testing.assert_close(load_encoder(f"hf:{folder}").encode(images(32)), theirs)
    with pytest.raises(InputError, match="for classifiers only"):
        load_encoder(f"hf:{folder}", layer="vision_model")


def test_the_image_side_of_a_sam_gives_the_mean_of_its_map(tmp_path: Path) -> None:
    folder = write_random_sam(tmp_path / "sam")
    encoder = load_encoder(f"hf:{folder}")
    assert (encoder.preparation.size, encoder.dim, encoder.layer) == ((64, 64), 32, "mean of the map")
    pixels = (images(64) * 255).round().to(torch.uint8)
    model = transformers.SamModel.from_pretrained(folder).eval()
    processor = transformers.SamProcessor.from_pretrained(folder).image_processor
    with torch.no_grad():
        seen = processor([to_image(image) for image in pixels], return_tensors="pt")["pixel_values"]
        expected = model.get_image_embeddings(seen).mean((2, 3))
    prepared = torch.stack([encoder.preparation(to_image(image)) for image in pixels])
    torch.testing.assert_close(encoder.encode(prepared), expected, rtol=1e-4, atol=1e-5)
    assert load_encoder("bundled:scene-sam").dim == 32
    with pytest.raises(InputError, match="for classifiers only"):
        load_encoder(f"hf:{folder}", layer="neck")


@pytest.mark.parametrize("pooler", [False, True])
def test_dino_gives_its_class_token(tmp_path: Path, pooler: bool) -> None:
    """With or without the pooling layer that nothing reads, and with the same identity."""
    folder = write_dino(tmp_path / "dino", pooler=pooler)
    encoder = load_encoder(f"hf:{folder}")
    with quiet_loading():
        model = transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in encoder.normalization)
    with torch.no_grad():
        expected = model(pixel_values=(images(32) - mean) / std).last_hidden_state[:, 0]
    torch.testing.assert_close(encoder.encode(images(32)), expected)
    assert encoder.dim == 24
    assert encoder.identity == load_encoder(f"hf:{folder}").identity
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_identity_tells_what_no_tensor_does(tmp_path: Path) -> None:
    """The same weights under another activation give other vectors."""
    folder = tmp_path / "dino"
    encoder = load_encoder(f"hf:{write_dino(folder)}")
    other = load_encoder(f"hf:{write_dino(folder, hidden_act='relu')}")
    tensors = zip(encoder.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    assert all(torch.equal(one, another) for one, another in tensors)
    assert not torch.allclose(encoder.encode(images(32)), other.encode(images(32)))
    assert encoder.identity != other.identity
    with pytest.raises(InputError, match="takes no images of 64 × 64 pixels"):
        load_encoder(f"hf:{write_dino(folder, side=64)}")


def test_what_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no reference of an image encoder"):
        load_encoder("somewhere")
    with pytest.raises(UnsupportedError, match="is not a torch module"):
        load_encoder(Classifier(lambda x: x.flatten(1)[:, :2], class_names=["a", "b"]))
    no_head = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UnsupportedError, match="no linear layer with one output for each of its 2 classes"):
        load_encoder(Classifier(no_head, class_names=["a", "b"], preparation=Preprocessing(size=(4, 4))))
    with pytest.raises(InputError, match="needs a fixed size"):
        FrozenEncoder(name="any", network=nn.Flatten(), preparation=Preprocessing())
    with pytest.raises(ModelError, match="expected one vector"):
        FrozenEncoder(name="any", network=nn.Identity(), preparation=Preprocessing(size=(4, 4)))
    with quiet_loading():
        text = transformers.BertModel(
            transformers.BertConfig(
                hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=10
            )
        )
        text.save_pretrained(tmp_path / "bert")
        transformers.ViTImageProcessorPil().save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="holds a model of type 'bert'"):
        load_encoder(f"hf:{tmp_path / 'bert'}")
    encoder = load_encoder(tiny())
    with pytest.raises(InputError, match="takes images in"):
        encoder.encode(3 * images(4))
    with pytest.raises(InputError, match="4x4 pixels"):
        encoder.encode(images(5))


@pytest.mark.parametrize("kind", ["dinov2", "dinov2_with_registers", "dinov3_vit", "resnet", "convnext"])
def test_other_backbones(tmp_path: Path, kind: str) -> None:
    """What the folder's own model gives as its class token, or as its pooled map."""
    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    configurations = {
        "dinov2": lambda: transformers.Dinov2Config(**small),
        "dinov2_with_registers": lambda: transformers.Dinov2WithRegistersConfig(**small),
        "dinov3_vit": lambda: transformers.DINOv3ViTConfig(**small, intermediate_size=32, num_register_tokens=2),
        "resnet": lambda: transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
        ),
        "convnext": lambda: transformers.ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1]),
    }
    with quiet_loading():
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(configurations[kind]()).eval()
        model.save_pretrained(tmp_path)
        transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    with torch.no_grad():
        theirs = model(pixel_values=encoder.normalise(images(32)))
    expected = theirs.last_hidden_state[:, 0] if kind.startswith("dino") else theirs.pooler_output.flatten(1)
    torch.testing.assert_close(encoder.encode(images(32)), expected, rtol=1e-4, atol=1e-5)


def test_a_vision_transformer_of_timm_gives_what_its_head_takes() -> None:
    timm = pytest.importorskip("timm")
    with quiet_loading():
        network = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=5)
    names = [f"class {number}" for number in range(5)]
    encoder = load_encoder(Classifier(network, class_names=names, preparation=Preprocessing(size=(32, 32))))
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(images(32)), pre_logits=True)
    torch.testing.assert_close(encoder.encode(images(32)), expected)
