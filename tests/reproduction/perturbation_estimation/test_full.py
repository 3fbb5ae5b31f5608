"""The full size by reference: published architectures with random weights, 1,000 classes, 224 pixels beside 299."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.perturbation_estimation import arms, full
from snellen.reproduction.perturbation_estimation.experiment import perturbation_estimation
from snellen.training.plan import TrainingPlan

#: Of timm, whose own size is 160 pixels: all are asked at 224.
ARCHITECTURES = ("test_resnet", "test_efficientnet", "test_resnet")
VARIABLES = (full.TRAIN, full.TEST, full.VICTIMS, full.UNATTACKED, full.FOLDER)
TINY = replace(
    full.FULL,
    attacked=2,
    tested=2,
    sizes=replace(
        full.FULL.sizes, depth=2, width=2, steps=1, hard=1,
        plan=TrainingPlan(epochs=1, batch_size=4, learning_rate=1e-3),
    ),
    seen={"fgsm": FGSM(epsilon=0.1), "pgd": PGD(epsilon=0.1, steps=1), "cw": FGSM(epsilon=0.2)},
    unseen={"weaker": PGD(epsilon=0.05, steps=1), "stronger": FGSM(epsilon=0.2)},
    ensemble=FGSM(epsilon=0.15),
)  # fmt: skip


def pictures():
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(4, 3, 4, 4, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(240, 240), mode="bilinear")
    return [Image.fromarray((one.permute(1, 2, 0) * 255).byte().numpy()) for one in fine]


def halved(architecture, images, place, seed):
    """Random weights whose last layer tells two classes apart, near the boundary for all images, and no other."""
    torch.manual_seed(seed)
    network = timm.create_model(architecture).eval()
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)][-1]
    caught = []
    handle = last.register_forward_pre_hook(lambda _layer, inputs: caught.append(inputs[0]))
    with torch.no_grad():
        network(images)
        handle.remove()
        features = caught[0].flatten(2).mean(2) if caught[0].ndim == 4 else caught[0]
        direction = torch.linalg.svd(features - features.mean(0), full_matrices=False)[2][0]
        direction = direction / ((features - features.mean(0)) @ direction).std()
        last.weight.zero_()
        last.bias.fill_(-30.0)
        for row, sign in enumerate((1.0, -1.0)):
            last.weight[row] = (sign * direction).view(last.weight[row].shape)
            last.bias[row] = -sign * float((features @ direction).median())
    path = place / f"{architecture}-{seed}.pth"
    torch.save(network.state_dict(), path)
    return f"timm:{architecture}@{path}"


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    place = tmp_path_factory.mktemp("full")
    shown = pictures()
    seen = torch.stack(
        [
            torchvision.transforms.functional.normalize(
                torchvision.transforms.functional.to_tensor(one.resize((224, 224))),
                (0.485, 0.456, 0.406),
                (0.229, 0.224, 0.225),
            )
            for one in shown
        ]
    )
    models = [halved(name, seen, place, seed) for seed, name in enumerate(ARCHITECTURES)]
    surrogate = load_classifier(models[0], size=full.FULL.side)
    for at, image in enumerate(shown):
        with torch.no_grad():
            decision = int(surrogate(surrogate.prepare(image)[None]).argmax())
        folder = place / ("train" if at < 2 else "test") / surrogate.class_names[decision]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{at}.png")
    return dict(
        zip(
            VARIABLES,
            (str(place / "train"), str(place / "test"), ",".join(models[:2]), models[2], str(place / "kept")),
            strict=True,
        )
    )


def test_full_names_what_it_lacks(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="SNELLEN_PERTURBATION_TRAIN, SNELLEN_PERTURBATION_TEST"):
        perturbation_estimation("full", 0, Silent())


def test_full_measures_what_claims_name_and_makes_pairs_once(monkeypatch, references):
    for name, value in references.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(arms, "SHARES", (0.0, 1.0))
    found = full.full(0, Silent(), size=TINY)
    for claim in find_system("5").claims:
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or "full" not in claim.scales or name in found, name
    assert found["pairs"] >= 2
    assert found["do.seen.d_attack"] > 0
    victims = [one.split("/")[-1] for one in references[full.VICTIMS].split(",")]
    assert found[f"timm:{ARCHITECTURES[0]}@{victims[0]}.accuracy"] == 1.0, "labels are its decisions"
    records = {path: path.read_bytes() for path in (Path(references[full.FOLDER]) / "seed-0").glob("*/pairs.json")}
    assert {path.parent.name for path in records} == {"train", "seen", "unseen", "hard"}
    assert {tuple(json.loads(one)["size"]) for one in records.values()} == {(224, 224)}
    changed = {path: path.stat().st_mtime_ns for path in records}
    monkeypatch.setattr(full, "measured", lambda setting, *given: {"pairs": float(len(setting.training.ids))})
    assert full.full(0, Silent(), size=TINY)["pairs"] == found["pairs"]
    assert {path: path.stat().st_mtime_ns for path in records} == changed


def test_victims_of_other_sizes_are_asked_at_one_size():
    network = torchvision.models.inception_v3(init_weights=False, aux_logits=False, transform_input=True).eval()
    victim = load_classifier(network, [str(one) for one in range(1000)], preparation=None, size=full.FULL.side)
    assert victim.preparation.size == (224, 224)
    with torch.no_grad():
        assert victim(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_full_refuses_one_victim(monkeypatch, references):
    for name, value in references.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(full.VICTIMS, references[full.VICTIMS].split(",")[0])
    with pytest.raises(InputError, match="names two classifiers or more"):
        full.full(0, Silent(), size=TINY)


def test_the_published_size():
    assert (full.FULL.sizes.depth, full.FULL.sizes.width, full.FULL.side) == (17, 64, 224)
    plan = full.FULL.sizes.plan
    assert (plan.epochs, plan.batch_size, plan.learning_rate, plan.weight_decay) == (300, 4, 1e-4, 1e-4)
    assert set(full.FULL.seen) == {"fgsm", "pgd", "cw"}
