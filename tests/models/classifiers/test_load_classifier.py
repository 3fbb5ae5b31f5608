"""References, modules and callables: what becomes a classifier, and what is said when it cannot."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier, Normalization, hash_tensors
from snellen.core.errors import InputError, MissingExtraError, ModelError, UnknownNameError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.assembly import LoadedModel, probe_images
from snellen.models.classifiers.references import SCHEMES, load_classifier

SIZE = Preprocessing(size=(4, 4))


def linear(outputs: int = 2, *more: nn.Module) -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, outputs), *more)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


def test_a_module_is_copied_frozen_named_and_probed_without_being_charged() -> None:
    model = linear().train()
    classifier = load_classifier(model, ["a", "b"], preparation=SIZE)
    assert (classifier.name, classifier.output, classifier.task) == ("Sequential", "logits", "single")
    assert classifier.differentiable
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not classifier.module.training
    assert not any(parameter.requires_grad for parameter in classifier.module.parameters())
    assert classifier.spent.queries == 0
    assert classifier.notes == ()


def test_softmax_outputs_become_log_probabilities() -> None:
    logits, probabilities = linear(3), linear(3, nn.Softmax(1))
    classifier = load_classifier(probabilities, ["a", "b", "c"], preparation=SIZE)
    images = torch.rand(5, 3, 4, 4)
    assert classifier.output == "log-probabilities"
    assert torch.allclose(classifier(images), logits(images).log_softmax(1), atol=1e-4)
    assert "softmax probabilities" in classifier.notes[0]
    assert classifier.differentiable
    assert classifier.identity == hash_tensors(probabilities.state_dict())


def test_log_softmax_outputs_are_reported() -> None:
    classifier = load_classifier(linear(3, nn.LogSoftmax(1)), ["a", "b", "c"], preparation=SIZE)
    assert classifier.output == "log-probabilities"
    assert classifier.notes == ("the model returns log-probabilities",)


def test_a_callable_with_probabilities() -> None:
    def service(images: Tensor) -> Tensor:
        brightness = images.mean((1, 2, 3))
        return torch.stack([brightness, 1 - brightness], 1)

    classifier = load_classifier(service, ["bright", "dark"], preparation=SIZE)
    assert (classifier.name, classifier.differentiable, classifier.module) == ("service", False, None)
    scores = classifier(torch.full((1, 3, 4, 4), 0.75))
    assert classifier.probabilities(scores)[0].tolist() == pytest.approx([0.75, 0.25], abs=1e-6)


def test_a_callable_with_labels() -> None:
    classifier = load_classifier(
        lambda images: (images.mean((1, 2, 3)) > 0.5).long(), ["dark", "bright"], preparation=SIZE, name="switch"
    )
    assert (classifier.name, classifier.output) == ("switch", "labels")
    images = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    assert classifier(images).tolist() == [[1, 0], [0, 1]]


def test_labels_beyond_the_names_are_seen_at_loading() -> None:
    with pytest.raises(ModelError, match=r"label 7, but 2 class names.*--classes"):
        load_classifier(lambda images: torch.full((len(images),), 7), ["a", "b"], preparation=SIZE)


def test_without_a_size_nothing_is_probed_and_the_note_says_so() -> None:
    def never(_images: Tensor) -> Tensor:
        raise AssertionError

    classifier = load_classifier(never, ["a", "b"])
    assert classifier.output == "logits"
    assert "not probed" in classifier.notes[0]


def test_declared_output_is_trusted_and_doubt_is_noted() -> None:
    classifier = load_classifier(linear(3, nn.Softmax(1)), ["a", "b", "c"], preparation=SIZE, output="logits")
    assert classifier.output == "logits"
    assert classifier.notes == ("declared as logits, but looks like probabilities",)


def test_declared_sigmoid_probabilities_of_a_multilabel_model() -> None:
    model = linear(3, nn.Sigmoid())
    names = ["a", "b", "c"]
    guessed = load_classifier(model, names, preparation=SIZE, task="multilabel")
    assert guessed.output == "log-probabilities"
    assert "sigmoid" in guessed.notes[0]
    as_logits = load_classifier(model, names, preparation=SIZE, task="multilabel", output="logits")
    assert as_logits.output == "logits"
    declared = load_classifier(model, names, preparation=SIZE, task="multilabel", output="probabilities")
    images = torch.rand(2, 3, 4, 4)
    assert torch.allclose(declared.probabilities(declared(images)).float(), model(images), atol=1e-6)
    assert torch.equal(declared.predict(declared(images)), (model(images) > 0.5).long())


def test_normalization_is_applied_to_the_probe_and_to_images() -> None:
    seen: list[Tensor] = []

    def model(images: Tensor) -> Tensor:
        seen.append(images)
        return images.flatten(1)[:, :2]

    scale = Normalization((0.5, 0.25, 0.0), (0.5, 1.0, 2.0))
    classifier = load_classifier(model, ["a", "b"], preparation=SIZE, normalization=scale)
    assert torch.equal(seen[0], classifier.normalise(probe_images((4, 4))))


def test_the_probe_is_the_same_every_time_and_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    assert torch.equal(probe_images((5, 7)), probe_images((5, 7)))
    assert torch.equal(state, torch.random.get_rng_state())
    images = probe_images((64, 64))
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert images.mean((1, 2, 3)).tolist() == pytest.approx([0.125, 0.25, 0.375, 0.5], abs=0.01)


@pytest.mark.parametrize("count", [3, 5])
def test_another_number_of_class_names_is_refused_with_both_numbers(count: int) -> None:
    with pytest.raises(InputError, match=rf"4 outputs, but {count} class names came.*--classes FILE"):
        load_classifier(linear(4), [str(i) for i in range(count)], preparation=SIZE)


def test_a_model_without_class_names_says_how_to_give_them() -> None:
    with pytest.raises(InputError, match=r"does not name its 4 outputs: pass .*--classes FILE"):
        load_classifier(linear(4), preparation=SIZE)


def test_class_names_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("cat\ndog\n", encoding="utf-8")
    assert load_classifier(linear(), path, preparation=SIZE).class_names == ("cat", "dog")
    assert load_classifier(linear(), str(path), preparation=SIZE).class_names == ("cat", "dog")


def test_outputs_that_are_not_finite_are_refused() -> None:
    model = linear()
    model[1].weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match="NaN"):
        load_classifier(model, ["a", "b"], preparation=SIZE)


def test_a_single_score_is_refused_unless_the_task_is_a_score() -> None:
    with pytest.raises(ModelError, match="one score per image"):
        load_classifier(linear(1), ["a"], preparation=SIZE)
    assert load_classifier(linear(1), ["quality"], preparation=SIZE, task="score").task == "score"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (linear(), r"Sequential fails on 8x8 images: RuntimeError"),
        (lambda images: (images, images), r"returned tuple for 4 images"),
        (lambda images: images[:1].flatten(1), r"returned \(1, 192\) for 4 images"),
        (lambda images: images, r"returned \(4, 3, 8, 8\); expected scores"),
    ],
)
def test_models_that_do_not_keep_the_contract(model: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_classifier(model, ["a", "b"], preparation=Preprocessing(size=(8, 8)))


def test_integer_labels_contradict_a_declaration_of_logits() -> None:
    with pytest.raises(ModelError, match="integer labels, but is declared to give logits"):
        load_classifier(lambda x: torch.zeros(len(x), dtype=torch.int64), ["a"], preparation=SIZE, output="logits")


def test_a_classifier_passes_unchanged() -> None:
    classifier = Classifier(linear(), class_names=["a", "b"])
    assert load_classifier(classifier) is classifier
    with pytest.raises(InputError, match="Classifier already"):
        load_classifier(classifier, ["c", "d"])
    with pytest.raises(InputError, match="Classifier already"):
        load_classifier(classifier, task="ordinal")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("resnet50", r"'resnet50' is not a model reference; expected one of: bundled:NAME"),
        ("", "is not a model reference"),
        ("mugs.onnx", "there is nothing at 'mugs.onnx', and it is not a model reference; expected a path that exists"),
        ("models/mugs", "there is nothing at 'models/mugs'"),
        ("timm:", "names no model"),
        ("x" * 5000, "is not a model reference"),
        ("a\0b", "is not a model reference"),
    ],
)
def test_strings_that_are_no_reference(reference: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_classifier(reference)


@pytest.mark.parametrize("reference", ["ftp://127.0.0.1:1/model", "tim:resnet50"])
def test_an_unknown_scheme_lists_the_known_ones(reference: str) -> None:
    with pytest.raises(UnknownNameError, match=", ".join(sorted(SCHEMES))):
        load_classifier(reference)


def test_a_near_scheme_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'timm'"):
        load_classifier("tim:resnet50")


@pytest.mark.parametrize(
    ("make", "loader"),
    [
        ("model.onnx", "onnx_models"),
        ("folder/config.json", "hugging_face_models"),
        ("folder/card.json", "artifact_models"),
    ],
)
def test_a_bare_path_is_loaded_by_what_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: str, loader: str
) -> None:
    path = tmp_path / make
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    bare, asked = (path if "/" not in make else path.parent), list[str]()

    def load(rest: str, device: torch.device) -> LoadedModel:
        asked.append(rest)
        return LoadedModel(network=nn.Flatten(), name="x", preparation=Preprocessing(size=(2, 2)))

    monkeypatch.setattr(f"snellen.models.classifiers.{loader}.load", load)
    for reference in (bare, str(bare)):
        assert load_classifier(reference, list("abcdefghijkl")).name == "x"
    assert asked == [str(bare)] * 2


def test_weights_alone_name_no_architecture(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(
        InputError, match=r"does not say which architecture its weights are for; write timm:NAME@.*or torchvision:NAME@"
    ):
        load_classifier(path)


def test_something_that_is_no_model() -> None:
    with pytest.raises(InputError, match="got int"):
        load_classifier(3)


@pytest.mark.parametrize(
    ("reference", "package", "extra"),
    [
        ("timm:test_resnet", "timm", "models"),
        ("torchvision:resnet18", "torchvision", "models"),
        ("onnx:net.onnx", "onnxruntime", "onnx"),
        ("hf:folder", "transformers", "vlm"),
        ("bundled:efficientnet-lite0", "timm", "imagenet"),
    ],
)
def test_a_missing_package_names_its_extra(
    reference: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (tmp_path / "folder" / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"needs the package '{package}'.*snellen\[{extra}\]"):
        load_classifier(reference)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "meta"])
def test_unknown_devices(device: str) -> None:
    with pytest.raises(InputError, match="unknown device"):
        load_classifier(linear(), ["a", "b"], device=device)


def test_cuda_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no CUDA device"):
        load_classifier(linear(), ["a", "b"], device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="2 CUDA devices"):
        load_classifier(linear(), ["a", "b"], device="cuda:2")


def test_metal_without_metal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match="no Metal device"):
        load_classifier(linear(), ["a", "b"], device="mps")
