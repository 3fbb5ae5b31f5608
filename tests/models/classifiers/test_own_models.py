"""Models in memory, of any library: their own preprocessing and class names are honoured."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import Preprocessing, Stated
from snellen.models.classifiers.references import load_classifier

NAMES = ["cat", "dog", "owl"]
SIZE = Preprocessing(size=(16, 16))


def network(channels=3, classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


def picture(width=40, height=30):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def scores(classifier, image):
    with torch.no_grad():
        return classifier(classifier.prepare(image)[None])[0]


def test_a_grey_module_works_with_and_without_a_known_size():
    model = network(channels=1)
    images = torch.rand(2, 3, 16, 16)
    for preparation in (SIZE, None):
        classifier = load_classifier(model, NAMES, preparation=preparation)
        assert torch.equal(classifier(images), model(images.mean(1, keepdim=True)).detach())
        assert any("one channel" in note for note in classifier.notes)
        assert "model.0" in classifier.layers
        assert classifier.identity == load_classifier(network(1), NAMES, preparation=SIZE).identity
    images.requires_grad_()
    classifier(images).sum().backward()
    assert images.grad.abs().sum() > 0


def test_a_grey_module_of_linear_layers_is_recognised_by_its_probe():
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    assert load_classifier(model, NAMES, preparation=SIZE)(torch.rand(1, 3, 16, 16)).shape == (1, 3)
    with pytest.raises(ModelError, match="fails on 16x16 images"):
        load_classifier(nn.Sequential(nn.Flatten(), nn.Linear(500, 3)), NAMES, preparation=SIZE)


def test_a_grey_softmax_keeps_the_names_of_its_layers_and_of_its_weights():
    soft = nn.Sequential(network(channels=1), nn.Softmax(1))
    classifier = load_classifier(soft, NAMES, preparation=SIZE, normalization=Normalization((0.5,), (0.5,)))
    assert classifier.output == "log-probabilities"
    assert "model.model.0.0" in classifier.layers
    image = picture(16, 16)
    grey = classifier.prepare(image).mean(0, keepdim=True)[None]
    assert torch.allclose(scores(classifier, image), soft((grey - 0.5) / 0.5)[0].log(), atol=1e-5)


def test_callables_on_arrays_and_tensors_give_the_same():
    model = network().eval()

    def of_arrays(images):
        assert isinstance(images, np.ndarray), "a model that insists on arrays"
        return model(torch.from_numpy(images)).detach().numpy()

    def of_tensors(images):
        return model(images)

    image = picture(16, 16)
    expected = scores(load_classifier(model, NAMES, preparation=SIZE), image)
    for call in (of_arrays, of_tensors):
        classifier = load_classifier(call, NAMES, preparation=SIZE)
        assert torch.equal(scores(classifier, image), expected)
        assert not classifier.differentiable

    def labels(images):
        return np.asarray(of_arrays(np.asarray(images))).argmax(1)

    assert load_classifier(labels, NAMES, preparation=SIZE).output == "labels"


def test_a_callable_that_fails_says_how_with_tensors():
    def broken(images):
        raise ValueError("no such weights")

    with pytest.raises(ModelError, match="ValueError: no such weights"):
        load_classifier(broken, NAMES, preparation=SIZE)


def test_an_open_session_of_onnx_runtime(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from snellen.models.classifiers.onnx_export import export_onnx

    model = load_classifier(network(), NAMES, preparation=SIZE)
    path = export_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(path))
    classifier = load_classifier(session, NAMES)
    assert classifier.preparation.size == (16, 16)
    assert any("assumed" in note for note in classifier.notes)
    image = picture(16, 16)
    assert torch.allclose(scores(classifier, image), scores(model, image), atol=1e-5)


class OfMaite:
    """A model of MAITE, by its structure."""

    metadata = {"id": "pets", "index2label": dict(enumerate(NAMES))}

    def __init__(self, scale):
        self.model, self.scale, self.seen = network().eval(), scale, None

    def __call__(self, batch):
        self.seen = np.stack([np.asarray(one) for one in batch])
        return list(self.model(torch.from_numpy(self.seen).float() / self.scale).detach().softmax(1).numpy())


def test_a_model_of_maite():
    image = picture(16, 16)
    model = OfMaite(1)
    classifier = load_classifier(model, preparation=SIZE)
    assert (classifier.name, classifier.class_names) == ("pets", tuple(NAMES))
    expected = scores(load_classifier(network(), NAMES, preparation=SIZE), image).softmax(0)
    assert torch.allclose(scores(classifier, image).exp(), expected, atol=1e-5)
    whole = OfMaite(255)
    of_bytes = load_classifier(whole, preparation=SIZE, stated=Stated("the images", whole_bytes=True))
    assert torch.allclose(scores(of_bytes, image).exp(), expected, atol=1e-5)
    assert whole.seen.dtype == np.uint8
    assert np.array_equal(whole.seen[0].transpose(1, 2, 0), np.asarray(image))


def test_weights_of_torchvision_bring_preprocessing_and_names():
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    weights = models.MobileNet_V3_Small_Weights.IMAGENET1K_V1
    model = models.mobilenet_v3_small().eval()
    classifier = load_classifier((model, weights))
    image = picture(300, 280)
    with torch.no_grad():
        expected = model(weights.transforms()(image)[None])[0]
    assert torch.equal(scores(classifier, image), expected)
    assert classifier.class_names[:2] == ("tench", "goldfish")
    assert not any("does not say how images are normalised" in note for note in classifier.notes)


def transforms_of(kind):
    torchvision = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    normalise = torchvision.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    if kind == "compose":
        steps = [torchvision.Resize(24), torchvision.CenterCrop(16), torchvision.ToTensor(), normalise]
        return torchvision.Compose(steps)
    if kind == "exact":
        return torchvision.Compose([torchvision.Resize((16, 16), 3), torchvision.ToTensor()])
    if kind == "preset":
        presets = pytest.importorskip("torchvision.transforms._presets")
        return presets.ImageClassification(crop_size=16, resize_size=20)
    timm = pytest.importorskip("timm.data", reason="timm is not installed")
    return timm.create_transform(input_size=(3, 16, 16), crop_pct=0.8, interpolation="bicubic", is_training=False)


@pytest.mark.parametrize("kind", ["compose", "exact", "preset", "timm"])
def test_a_transform_beside_a_model_is_translated_to_the_bit(kind):
    model, transform = network().eval(), transforms_of(kind)
    classifier = load_classifier((model, transform), NAMES)
    for size in ((40, 30), (17, 55)):
        with torch.no_grad():
            expected = model(transform(picture(*size))[None])[0]
        assert torch.equal(scores(classifier, picture(*size)), expected)


def test_a_transform_of_other_steps_is_refused_by_its_name():
    torchvision = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    odd = torchvision.Compose([torchvision.RandomHorizontalFlip(), torchvision.ToTensor()])
    with pytest.raises(InputError, match=r"cannot be translated \(its step RandomHorizontalFlip\).*preparation="):
        load_classifier((network(), odd), NAMES)
    with pytest.raises(InputError, match="a int says nothing about preprocessing"):
        load_classifier((network(), 3), NAMES)
    with pytest.raises(InputError, match="got 3 values"):
        load_classifier((network(), odd, 3), NAMES)


def hugging_face():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic", id2label=dict(enumerate(NAMES))
    )
    torch.manual_seed(0)
    model = transformers.ResNetForImageClassification(config).eval()
    processor = transformers.ViTImageProcessor(size={"height": 16, "width": 16}, image_mean=[0.4] * 3)
    return transformers, model, processor


def test_a_model_of_transformers_with_its_processor():
    _, model, processor = hugging_face()
    classifier = load_classifier((model, processor))
    assert (classifier.class_names, classifier.preparation.size) == (tuple(NAMES), (16, 16))
    image = picture(16, 16)
    with torch.no_grad():
        expected = model(**processor(images=image, return_tensors="pt")).logits[0]
    assert torch.allclose(scores(classifier, image), expected, atol=1e-5)
    with pytest.raises(InputError, match=r"ResNetForImageClassification does not say .*\(model, processor\)"):
        load_classifier(model)


def test_a_pipeline_of_transformers_and_a_model_that_knows_its_folder(tmp_path):
    transformers, model, processor = hugging_face()
    pipeline = transformers.pipeline("image-classification", model=model, image_processor=processor)
    image = picture(16, 16)
    expected = scores(load_classifier((model, processor)), image)
    assert torch.equal(scores(load_classifier(pipeline), image), expected)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = transformers.AutoModelForImageClassification.from_pretrained(tmp_path)
    assert torch.allclose(scores(load_classifier(again), image), expected, atol=1e-5)
    assert torch.allclose(scores(load_classifier(tmp_path), image), expected, atol=1e-5)


def test_images_that_were_normalised_for_the_model_say_so():
    said = Stated("the transform of the images", Preprocessing(size=(16, 16)), Normalization((0.5,) * 3, (0.25,) * 3))
    model = network().eval()
    classifier = load_classifier(model, NAMES, stated=said)
    image = picture(16, 16)
    with torch.no_grad():
        expected = model((classifier.prepare(image)[None] - 0.5) / 0.25)[0]
    assert torch.equal(scores(classifier, image), expected)
    timm = pytest.importorskip("timm", reason="timm is not installed")
    of_timm = load_classifier(timm.create_model("test_resnet.r160_in1k", num_classes=3), NAMES, stated=said)
    assert of_timm.normalization.mean == (0.5,) * 3
    assert any("not as the model's own configuration does" in note for note in of_timm.notes)


def test_a_module_of_timm_with_one_channel():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    model = timm.create_model("test_resnet.r160_in1k", in_chans=1, num_classes=3)
    classifier = load_classifier(model, NAMES)
    assert classifier(torch.rand(1, 3, *classifier.preparation.size)).shape == (1, 3)
    assert len(classifier.normalization.mean) == 1


def test_class_names_that_occur_twice_are_refused():
    with pytest.raises(InputError, match="'cat' occurs twice; classes of one name cannot be distinguished"):
        load_classifier(network(), ["cat", "dog", "cat"], preparation=SIZE)
