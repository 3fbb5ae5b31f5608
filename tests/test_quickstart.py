"""Thirty starts, as docs/quickstart.md writes them: each gives the accuracy of the user's own loop, to the digit."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Dataset

import snellen

NAMES = ["cat", "dog"]
SIDE, IMAGES = 16, 24
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
TEXT = (Path(__file__).parents[1] / "docs" / "quickstart.md").read_text(encoding="utf-8")
STARTS = {
    int(number): re.findall(r"`([^`]+)`", code)
    for number, code in re.findall(r"^\| (\d+) \| [^|]+ \| (.+) \|$", TEXT, re.MULTILINE)
}


def network(channels=3, classes=2):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, classes)
    )


def pictures():
    """Pictures of several brightnesses and colours, so that a network of random weights gives both answers."""
    rng = np.random.default_rng(5)
    centres = rng.integers(30, 225, (IMAGES, 1, 1, 3))
    return (centres + rng.integers(-30, 31, (IMAGES, SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)


class Pictures(Dataset):
    classes = NAMES

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        return Image.fromarray(pictures()[index]), index % 2


class Rows:
    """A data set of Hugging Face, by its structure, where the library is not installed."""

    class ClassLabel:
        names = NAMES

    class Image:
        pass

    def __init__(self):
        self.features = {"image": self.Image(), "label": self.ClassLabel()}
        self.column_names = ["image", "label"]

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        if index == "label":
            return [row % 2 for row in range(IMAGES)]
        return {"image": Image.fromarray(pictures()[index]), "label": index % 2}


class MaiteData:
    metadata = {"id": "pets", "index2label": dict(enumerate(NAMES))}

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        return pictures()[index].transpose(2, 0, 1), np.eye(2)[index % 2], {"id": str(index)}


class MaiteModel:
    metadata = {"id": "net", "index2label": dict(enumerate(NAMES))}

    def __call__(self, batch):
        return list(network().eval()(torch.stack([torch.as_tensor(one) for one in batch]).float() / 255).detach())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Files of the starts, in one folder."""
    folder = tmp_path_factory.mktemp("starts")
    for row, picture in enumerate(pictures()):
        # Of torchvision's thousand classes the first two, and larger pictures.
        for name, image in (
            (f"photos/{NAMES[row % 2]}", Image.fromarray(picture)),
            (f"greys/{NAMES[row % 2]}", Image.fromarray(picture[..., 0])),
            (f"imagenet/{('tench', 'goldfish')[row % 2]}", Image.fromarray(picture).resize((40, 30))),
        ):
            (folder / name).mkdir(parents=True, exist_ok=True)
            image.save(folder / name / f"{row:02d}.png")
    lines = [f"photos/{NAMES[row % 2]}/{row:02d}.png,{NAMES[row % 2]},p{row // 2}" for row in range(IMAGES)]
    (folder / "table.csv").write_text("\n".join(["file,dx,patient", *lines]) + "\n")
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def unit(images):
    """Bytes (n, h, w, c) as floats (n, c, h, w)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


def accuracy(answers, labels=None):
    labels = np.arange(IMAGES) % 2 if labels is None else labels
    return float((np.asarray(answers) == labels).mean())


def answers_of(model, images):
    """The user's own loop."""
    model.eval()
    with torch.no_grad():
        return [int(model(image[None]).argmax(1)) for image in images]


def transformed(transform, folder):
    files = sorted(folder.rglob("*.png"), key=lambda path: path.name)
    return [transform(Image.open(path).convert("RGB")) for path in files]


def plain():
    return accuracy(answers_of(network(), unit(pictures())))


def normalised():
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
    return accuracy(answers_of(network(), (unit(pictures()) - mean) / std))


def of_torchvision(place):
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    torch.manual_seed(0)
    model, weights = models.mobilenet_v3_small(), models.MobileNet_V3_Small_Weights.IMAGENET1K_V1
    return {"torchvision_model": model, "weights": weights}, lambda: accuracy(
        answers_of(model, transformed(weights.transforms(), place / "imagenet"))
    )


def of_timm(place):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(1)
    model = timm.create_model("test_resnet", num_classes=2)
    save_file(model.state_dict(), place / "weights.safetensors")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    return {"timm_model": model}, lambda: accuracy(answers_of(model, transformed(transform, place / "photos")))


def of_transformers(place):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic", id2label=dict(enumerate(NAMES))
    )
    torch.manual_seed(2)
    model = transformers.ResNetForImageClassification(config).eval()
    processor = transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}, image_mean=list(MEAN))
    model.save_pretrained(place / "hf-model")
    processor.save_pretrained(place / "hf-model")
    given = {
        "hf_model": model,
        "processor": processor,
        "pipeline": transformers.pipeline("image-classification", model=model, image_processor=processor),
    }

    def logits(images):
        return model(images).logits

    class Logits(nn.Module):
        def forward(self, images):
            return logits(images)

    def read(image):
        return processor(images=image, return_tensors="pt")["pixel_values"][0]

    return given, lambda: accuracy(answers_of(Logits(), transformed(read, place / "photos")))


def of_onnx(place):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from snellen.models.classifiers.onnx_export import export_onnx

    if not (place / "model.onnx").exists():
        classifier = snellen.load_classifier(network(), NAMES, preparation=snellen.Preprocessing(size=(SIDE, SIDE)))
        export_onnx(classifier, place / "model.onnx")
        for record in place.glob("model.onnx.json"):
            record.unlink()
    session = onnxruntime.InferenceSession(str(place / "model.onnx"))
    entry = session.get_inputs()[0].name

    def loop():
        return accuracy([int(session.run(None, {entry: one[None].numpy()})[0].argmax()) for one in unit(pictures())])

    return {"session": session}, loop


def of_scikit_learn(place):
    ensemble = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    flat = unit(pictures()).flatten(1).numpy()
    forest = ensemble.RandomForestClassifier(5, random_state=0).fit(flat[:16], rng.integers(0, 2, 16))
    return {"forest": forest}, lambda: accuracy(forest.predict(flat))


def of_grey_models(place):
    model = network(channels=1)
    return {"grey_model": model, "greys": pictures()[..., 0]}, lambda: accuracy(
        answers_of(model, unit(pictures()[..., :1]))
    )


def with_transform(place):
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    steps = [
        transforms.Resize(SIDE),
        transforms.CenterCrop(SIDE),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    given = {"transform": transforms.Compose(steps), "torchvision": importlib.import_module("torchvision")}
    importlib.import_module("torchvision.datasets")
    return given, normalised


def of_maite(place):
    return {"maite_model": MaiteModel(), "maite_dataset": MaiteData()}, plain


def of_arrays(place):
    def predict_proba(images):
        scores = network().eval()(torch.from_numpy(np.asarray(images))).detach().softmax(1)
        return scores.numpy()

    return {"predict_proba": predict_proba}, plain


def of_hugging_face(place):
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        return {"hf_dataset": Rows()}, plain
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    held = [Image.fromarray(one) for one in pictures()]
    labels = [row % 2 for row in range(IMAGES)]
    return {"hf_dataset": datasets.Dataset.from_dict({"image": held, "label": labels}, features=features)}, plain


def of_tables(place):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return {"table": pandas.read_csv(place / "table.csv")}, plain


def of_the_package(place):
    images = snellen.load_images("bundled:fashion-mnist").limit(100)
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    with torch.no_grad():
        answers = [int(classifier(classifier.prepare(example.image)[None]).argmax(1)) for example in images]
    return {}, lambda: accuracy(answers, images.labels)


def as_it_is(place):
    return {}, plain


def in_numbers(place):
    return {}, normalised


#: What a start needs beside what all share, and the user's own loop.
NEEDS = {
    2: with_transform,
    3: in_numbers,
    5: of_torchvision,
    6: of_timm,
    7: of_timm,
    8: of_transformers,
    9: of_transformers,
    10: of_transformers,
    11: of_onnx,
    12: of_onnx,
    14: of_arrays,
    15: of_scikit_learn,
    16: of_grey_models,
    17: of_maite,
    18: of_the_package,
    23: of_grey_models,
    26: with_transform,
    27: of_hugging_face,
    28: of_tables,
    30: of_onnx,
}


def common(place):
    """Names that all starts share."""
    files = sorted((place / "photos").rglob("*.png"), key=lambda path: path.name)
    return {
        "snellen": snellen,
        "torch": torch,
        "model": network(),
        "names": NAMES,
        "mean": MEAN,
        "std": STD,
        "paths": files,
        "label_names": [path.parent.name for path in files],
        "pixels": pictures(),
        "labels": np.arange(IMAGES) % 2,
        "tensor": torch.from_numpy(pictures()).permute(0, 3, 1, 2),
        "dataset": Pictures(),
    }


def test_there_are_thirty_of_at_most_three_lines():
    assert list(STARTS) == list(range(1, 31))
    assert all(1 <= len(lines) <= 3 for lines in STARTS.values())


@pytest.mark.parametrize("number", [number for number in STARTS if number != 30])
def test_a_start_gives_the_accuracy_of_the_users_own_loop(place, monkeypatch, number):
    monkeypatch.chdir(place)
    # The other checks take seconds and do not change the accuracy.
    monkeypatch.setattr("snellen.auditing.effort.default_checks", lambda task: ["clean"])
    given, loop = NEEDS.get(number, as_it_is)(place)
    names = {**common(place), **given}
    exec(compile("\n".join(STARTS[number]), f"start {number}", "exec"), names)
    figure = names["report"].metrics["clean.accuracy"]
    assert figure.value == loop()
    assert figure.n == (100 if number == 18 else IMAGES)


def test_the_answers_are_of_both_classes():
    assert set(answers_of(network(), unit(pictures()))) == {0, 1}


def test_the_start_in_a_shell(place):
    _, loop = of_onnx(place)
    assert STARTS[30][0].startswith("snellen ")
    arguments = [*STARTS[30][0].split()[1:], "--checks", "clean"]
    run = [sys.executable, "-c", "from snellen.cli import main; main()", *arguments]
    subprocess.run(run, cwd=place, check=True, capture_output=True, timeout=600)
    assert snellen.open_report(place / "run").metrics["clean.accuracy"].value == loop()
