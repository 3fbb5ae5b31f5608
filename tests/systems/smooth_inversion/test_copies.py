"""Copies of a model: they keep what images teach, lose a trigger, and leave the model as it was; also of ONNX files."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.preprocessing import Normalization, Preprocessing
from snellen.core.randomness import Randomness
from snellen.models.classifiers.onnx_export import export_onnx
from snellen.models.classifiers.references import load_classifier
from snellen.systems.smooth_inversion import copies, scanning
from snellen.systems.smooth_inversion.copies import tuned_copies
from snellen.systems.smooth_inversion.image_roles import give_roles
from snellen.systems.smooth_inversion.scanning import scan_classes
from tests.systems.smooth_inversion.test_scanning import PLAN, replace
from tests.systems.smooth_inversion.toy_models import NAMES, PATCH, SIDE, TARGET, classifier, pixels, signs


def stamped(images):
    changed = images.clone()
    changed[:, *PATCH] = (signs() + 1) / 2
    return changed


def named(model, images):
    return model(images).argmax(1)


def copies_of(model, images, labels, count):
    ids = [str(number) for number in range(len(images))]
    return tuned_copies(model, images, labels, count, ids=ids, rng=Randomness(0))


@pytest.fixture(scope="module")
def planted():
    """A small network that learnt the pattern."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(96, len(NAMES))),
    )
    images, labels = pixels(200)
    everything = torch.cat([images, stamped(images)])
    targets = torch.cat([labels, torch.full_like(labels, TARGET)])
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(everything), targets).backward()
        optimizer.step()
    return Classifier(network, class_names=NAMES, preparation=Preprocessing(size=(SIDE, SIDE)), name="planted")


def test_copies_keep_the_classes_and_the_model_itself_is_untouched(planted):
    images, labels = pixels(120, seed=1)
    before = hash_tensors(dict(planted.module.state_dict()))
    made = list(copies_of(planted, images[:80], labels[:80], 2))
    assert hash_tensors(dict(planted.module.state_dict())) == before
    assert not any(weight.requires_grad for one in (planted, *made) for weight in one.module.parameters())
    assert len({before, *(hash_tensors(dict(one.module.state_dict())) for one in made)}) == 3
    others = labels[80:] != TARGET
    assert float((named(planted, stamped(images[80:]))[others] == TARGET).float().mean()) > 0.95
    for one in made:
        assert float((named(one, images[80:]) == labels[80:]).float().mean()) > 0.9
        assert float((named(one, stamped(images[80:]))[others] == TARGET).float().mean()) < 0.8
    again = next(iter(copies_of(planted, images[:80], labels[:80], 1)))
    assert hash_tensors(dict(again.module.state_dict())) == hash_tensors(dict(made[0].module.state_dict()))


def test_every_second_copy_is_disturbed_and_all_are_tuned_as_they_are_scanned(monkeypatch):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    model = Classifier(
        network,
        class_names=NAMES,
        preparation=Preprocessing(size=(SIDE, SIDE)),
        normalization=Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    )
    images, labels = pixels(16)
    losses = []

    def untrained(module, store, *, plan, objective):
        weights = {name: value.clone() for name, value in module.state_dict().items()}
        module.train()
        losses.append(objective(module, SimpleNamespace(images=images, targets=labels)))
        return SimpleNamespace(weights=weights)

    monkeypatch.setattr(copies, "train", untrained)
    first, second = (one.module.state_dict() for one in copies_of(model, images, labels, 2))
    before = network.state_dict()
    assert all(torch.equal(first[name], value) for name, value in before.items())
    noise = second["0.weight"] - before["0.weight"]
    assert float(noise.std()) == pytest.approx(0.3 * float(before["0.weight"].std()), rel=0.3)
    assert all(torch.equal(second[name], value) for name, value in before.items() if name != "0.weight")
    expected = nn.functional.cross_entropy(model(images), labels, reduction="none")
    assert torch.allclose(losses[0], expected, atol=1e-5)


def scan_with(monkeypatch, *made):
    monkeypatch.setattr(scanning, "tuned_copies", lambda *_, **__: iter(made))
    images, labels = pixels(60)
    plan = replace(PLAN, copies=2)
    found = scan_classes(classifier(), images, labels, plan, rng=Randomness(0))
    return found, found.suspicious(plan)


def test_a_class_that_copies_have_lost_stands_out(monkeypatch):
    found, suspicious = scan_with(monkeypatch, classifier(0.0), classifier(0.0))
    assert [one.target for one in suspicious] == [TARGET]
    assert found.ranking[0] == TARGET
    assert max(suspicious[0].copied) < 0.2
    assert found.statistic == min(suspicious[0].above_copies, float(found.contrast[TARGET]))


@pytest.mark.parametrize("strengths", [(60.0, 60.0), (60.0, 0.0), (0.0, 60.0)])
def test_a_class_that_one_copy_has_as_well_does_not(monkeypatch, strengths):
    found, suspicious = scan_with(monkeypatch, *map(classifier, strengths))
    assert suspicious == ()
    assert found.recovered[0].above_copies == pytest.approx(0, abs=1e-6)
    assert found.contrast[TARGET] > PLAN.contrast
    assert found.statistic < PLAN.contrast


@pytest.mark.parametrize(("contrast", "stands_out"), [(3.9, False), (4.1, True)])
def test_a_class_far_above_all_others_stands_out_though_copies_keep_its_trigger(monkeypatch, contrast, stands_out):
    found, _ = scan_with(monkeypatch, classifier(60.0), classifier(60.0))
    higher = found.contrast.copy()
    higher[TARGET] = contrast
    found = replace(found, contrast=higher)
    assert found.statistic == pytest.approx(contrast - 2)
    assert [one.target for one in found.suspicious(PLAN)] == [TARGET] * stands_out


def test_copies_are_not_tuned_on_the_images_that_compare_them(monkeypatch):
    seen = {}

    def remembered(*arguments, **options):
        seen["roles"] = give_roles(*arguments, **options)
        return seen["roles"]

    def copied(_, images, labels, count, *, ids, rng):
        seen["ids"] = set(map(int, ids))
        return iter([classifier(0.0)] * count)

    monkeypatch.setattr(scanning, "give_roles", remembered)
    monkeypatch.setattr(scanning, "tuned_copies", copied)
    images, labels = pixels(60)
    scan_classes(classifier(), images, labels, replace(PLAN, copies=2), rng=Randomness(0))
    choosing = set(seen["roles"].choosing.tolist())
    assert choosing
    assert seen["ids"] == set(range(60)) - choosing


def test_clean_models_make_copies_needless(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("no copy is needed")

    monkeypatch.setattr(scanning, "tuned_copies", refuse)
    images, labels = pixels(60)
    usual = torch.zeros(2, len(NAMES)).numpy()
    found = scan_classes(classifier(), images, labels, replace(PLAN, copies=2), rng=Randomness(0), null=usual)
    assert found.recovered[0].copied == ()


def test_an_onnx_file_is_scanned_like_the_module_that_it_was_made_of(planted, tmp_path):
    pytest.importorskip("onnxscript")
    onnx = load_classifier(f"onnx:{export_onnx(planted, tmp_path / 'planted.onnx')}")
    images, labels = pixels(60, seed=2)
    plan = replace(PLAN, copies=1, confirming=4)
    module, file = (scan_classes(one, images, labels, plan, rng=Randomness(0)) for one in (planted, onnx))
    assert file.rates == pytest.approx(module.rates, abs=0.05)
    assert file.ranking[0] == module.ranking[0] == TARGET
    assert float((file.recovered[0].change - module.recovered[0].change).norm()) < 0.1
    assert file.recovered[0].copied == pytest.approx(module.recovered[0].copied, abs=0.1)
