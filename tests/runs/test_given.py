"""Any classifier, any images: what a call is handed is coerced, and the caller's module stays as it is."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import Preprocessing
from snellen.runs.given import given_classifier, given_companion, given_images


class Small(nn.Module):
    """A user's network, with everything that a careless library would change."""

    def __init__(self, classes=2):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(4, classes)

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))


def module(classes=2):
    torch.manual_seed(0)
    return Small(classes).train()


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for row in range(6):
            pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{row}.png")
    return tmp_path / "photos"


def state_of(model):
    return {
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "modes": [one.training for one in model.modules()],
        "gradients": [parameter.requires_grad for parameter in model.parameters()],
        "devices": {str(parameter.device) for parameter in model.parameters()},
        "parameters": [id(parameter) for parameter in model.parameters()],
    }


def same(before, after):
    return all(before[key] == after[key] for key in before if key != "weights") and all(
        torch.equal(tensor, after["weights"][name]) for name, tensor in before["weights"].items()
    )


CALLS = {
    "audit": lambda model, images: snellen.audit(model, images, checks=["clean", "adversarial"]),
    "attack": lambda model, images: snellen.attack(model, images, "fgsm"),
    "explain": lambda model, images: snellen.explain(model, images, "gradient"),
    "certify": lambda model, images: snellen.certify(
        model, images, {"method": "smoothing", "sigma": 0.25, "samples": 100}
    ),
}


@pytest.mark.parametrize("verb", CALLS)
def test_a_plain_module_and_a_folder_are_enough_and_the_module_is_untouched(photos, verb):
    model = module()
    before = state_of(model)
    CALLS[verb](model, photos)
    assert same(before, state_of(model))
    loss = model(torch.rand(4, 3, 24, 24)).sum()
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters()), "it still trains"


@pytest.mark.smoke
def test_the_accuracy_is_that_of_the_users_own_loop(photos):
    model = module()
    report = snellen.audit(model, str(photos), checks=["clean"])
    model.eval()
    right = []
    for label, name in enumerate(("cat", "dog")):
        for path in sorted((photos / name).iterdir()):
            pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None] / 255
            right.append(int(model(pixels).argmax(1)) == label)
    assert report.metrics["clean.accuracy"].value == sum(right) / len(right)
    assert any("the model names no classes" in str(note) for note in (*report.notes, *report.model.get("notes", ())))


def test_arrays_with_labels_and_names(photos):
    pixels = np.random.default_rng(1).integers(0, 256, (8, 24, 24, 3), dtype=np.uint8)
    report = snellen.audit(module(), pixels, labels=[0, 1] * 4, class_names=["cat", "dog"], checks=["clean"])
    assert report.metrics["clean.accuracy"].n == 8
    attacked = snellen.attack(module(), pixels, "fgsm", labels=np.array([0, 1] * 4), class_names=["cat", "dog"])
    assert attacked.clean_accuracy.n == 8
    with pytest.raises(InputError, match="folders and files have their own"):
        given_images(photos, labels=[0, 1])


def test_other_class_names_than_outputs_say_whose_they_were(photos):
    with pytest.raises(
        InputError, match=r"has 3 outputs, but 2 class names came.*those of the images; give class_names"
    ):
        snellen.audit(module(classes=3), photos)
    with pytest.raises(InputError, match="does not name its outputs"):
        given_classifier(module())


def test_images_of_several_sizes_need_a_size(photos):
    Image.new("RGB", (30, 18)).save(photos / "cat" / "0.png")
    with pytest.raises(InputError, match=r"several sizes \(.*24x24.*\), and it is not known which one Small takes"):
        snellen.audit(module(), photos)
    sized = snellen.load_classifier(module(), ["cat", "dog"], preparation=Preprocessing(size=(24, 24)))
    assert snellen.audit(sized, photos, checks=["clean"]).metrics["clean.accuracy"].n == 12


def test_a_softmax_is_recognised_on_the_images_own_size(photos):
    soft = nn.Sequential(module().eval(), nn.Softmax(1))
    classifier = given_classifier(soft, snellen.load_images(photos))
    assert classifier.output == "log-probabilities"
    noted = " ".join(classifier.notes)
    assert "that of the images, 24x24, is assumed" in noted
    assert "how images are normalised" in noted


def test_what_is_loaded_already_is_passed_through(photos):
    images = snellen.load_images(photos)
    classifier = snellen.load_classifier(module(), ["cat", "dog"])
    assert given_images(images) is images
    assert given_classifier(classifier, images) is classifier


def test_weights_are_shared_and_what_is_trained_on_is_seen():
    model = module()
    classifier = snellen.load_classifier(model, ["cat", "dog"])
    assert classifier.module.head.weight.data_ptr() == model.head.weight.data_ptr()
    with torch.no_grad():
        model.head.weight.mul_(0.0)
    assert not classifier.module.head.weight.any()


def test_a_module_of_timm_brings_its_preparation():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    model = timm.create_model("test_resnet.r160_in1k", pretrained=False, num_classes=2)
    classifier = snellen.load_classifier(model, ["cat", "dog"])
    assert classifier.preparation.size == tuple(model.pretrained_cfg["input_size"][1:])
    assert classifier.normalization.mean == tuple(model.pretrained_cfg["mean"])


def test_what_cannot_be_copied_is_named():
    model = module()
    model.lock = __import__("threading").Lock()
    with pytest.raises(ModelError, match=r"Small holds something that cannot be copied.*give a callable instead"):
        snellen.load_classifier(model, ["cat", "dog"])


def test_columns_hold_for_the_table_of_training_images_as_far_as_it_has_them(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    theirs, own = tmp_path / "training set.csv", tmp_path / "own.csv"
    theirs.write_text("file,dx,patient\na.png,x,1\nb.png,y,2\n", encoding="utf-8")
    own.write_text("path,label\na.png,x\nb.png,y\n", encoding="utf-8")
    columns = {"image": "file", "label": "dx", "unit": "patient"}
    found = given_companion(str(theirs), columns)
    assert found.class_names == ("x", "y")
    assert list(found.column("unit_id")) == ["1", "2"]
    assert given_companion(own, columns).class_names == ("x", "y")
    assert len(given_companion(tmp_path, columns)) == 2, "a folder has no columns"
    with pytest.raises(InputError, match="absent"):
        given_companion(str(tmp_path / "absent.csv"), columns)


def test_an_audit_reads_training_images_as_it_reads_the_others(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'xy'[number % 2]}")
    for name, part in (("test", rows[:12]), ("train", rows[12:])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["file,dx", *part]) + "\n", encoding="utf-8")
    report = snellen.audit(
        module(),
        tmp_path / "test.csv",
        train=tmp_path / "train.csv",
        columns={"image": "file", "label": "dx"},
        checks=["clean", "leakage"],
    )
    assert {one.name: one.status for one in report.checks}["leakage"] == "done"


def test_a_report_counts_training_images_that_could_not_be_read(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("test", "train"):
        for number in range(40):
            folder = tmp_path / part / "xy"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "train" / "x" / "0.png").write_bytes(b"no picture")
    out = tmp_path / "run"
    report = snellen.audit(module(), tmp_path / "test", train=tmp_path / "train", checks=["clean", "leakage"], out=out)
    assert list(report.data["unread"]["train"].values()) == [1]
    assert "1 training images rejected: " in str(report.to_markdown())
    assert "1 training images rejected (" in (out / "report.html").read_text()
    assert "0.png" in (out / "train" / "rejected.json").read_text()
    for number in range(2, 12, 2):
        (tmp_path / "train" / "x" / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"6 of 40 images of .*train.* are rejected, more than 5%"):
        snellen.audit(module(), tmp_path / "test", train=tmp_path / "train", checks=["clean", "leakage"])


def test_a_result_says_what_was_assumed_of_a_model_in_memory():
    images = snellen.load_images("bundled:fashion-mnist").limit(4)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 10))
    assert "note: the model names no classes" in repr(snellen.attack(module, images, "fgsm"))
    named = snellen.load_classifier(module, class_names=images.class_names, size=28)
    assert "names no classes" not in repr(snellen.attack(named, images, "fgsm"))
