"""The full size by reference: the form of ADM of 256 pixels, 1,000 classes, ResNet and Inception of random weights."""

from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from PIL import Image

from snellen.core.errors import InputError, RunConflictError
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.methods.generation.synthetic_images import synthetic_images, written_images
from snellen.methods.generation.teachers import classifier_teacher
from snellen.metrics.generated_images import inception_score
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.reproduction.plug_and_play_guidance import full
from snellen.reproduction.plug_and_play_guidance.experiment import plug_and_play
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit
from snellen.systems.plug_and_play_guidance.knowledge_transfer import taught_examples

VARIABLES = (full.GENERATOR, full.GUIDE, full.JUDGE, full.TRAIN, full.REAL, full.FOLDER)
TINY = replace(
    full.FULL,
    fit=TransferFit(experts=2, rank=1, alpha=1, synthetic=4, synthetic_steps=1, iterations=1, batch_size=4),
    images=4,
    steps=2,
    layer="global_pool",
)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    place = tmp_path_factory.mktemp("full")
    adm = write_smoke_folder("adm-256", place / "adm-256")
    models = {}
    for seed, name in enumerate(("test_resnet", "test_efficientnet")):
        torch.manual_seed(seed)
        torch.save(timm.create_model(name).state_dict(), place / f"{name}.pth")
        models[name] = f"timm:{name}@{place / f'{name}.pth'}"
    first, second = load_classifier(models["test_resnet"]).class_names[:2]
    pixels = torch.randint(256, (8, 40, 40, 3), generator=torch.Generator().manual_seed(2)).byte().numpy()
    for at, one in enumerate(pixels):
        folder = place / ("train" if at < 4 else "real") / (first if at % 2 else second)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).resize((256, 256)).save(folder / f"{at}.png")
    return {
        full.GENERATOR: f"diffusers:{adm}",
        full.GUIDE: models["test_resnet"],
        full.JUDGE: models["test_efficientnet"],
        full.TRAIN: str(place / "train"),
        full.REAL: str(place / "real"),
        full.FOLDER: str(place / "kept"),
    }


def test_full_names_what_it_lacks(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="SNELLEN_PLUG_AND_PLAY_GENERATOR, SNELLEN_PLUG_AND_PLAY_GUIDE"):
        plug_and_play("full", 0, Silent())


def test_full_measures_what_claims_name(monkeypatch, references):
    for name, value in references.items():
        monkeypatch.setenv(name, value)
    found = full.full(0, Silent(), size=TINY)
    for claim in find_system("12").claims:
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or "full" not in claim.scales or name in found, name
    ways = ("none", *full.FULL.ways)
    assert all(1 <= found[f"imagenet.{way}.inception_score"] <= 4 for way in ways)
    assert len({found[f"imagenet.{way}.frechet"] for way in ways}) > 1, "guidance moves the images"
    assert len(found["imagenet.none.accuracy"].values) == 4
    with pytest.raises(InputError, match="has 4 images, and 5 are compared"):
        full.full(0, Silent(), size=replace(TINY, images=5))
    monkeypatch.setenv(full.JUDGE, references[full.GUIDE])
    with pytest.raises(InputError, match="cannot judge them"):
        full.full(0, Silent(), size=TINY)


def test_images_on_the_disk_are_those_in_memory_and_are_made_once(references, tmp_path, monkeypatch):
    generator, rng = load_generator(references[full.GENERATOR]), Randomness(0)
    held = synthetic_images(generator, 3, steps=1, rng=rng)
    mapped = written_images(tmp_path / "made", generator, 3, steps=1, rng=rng)
    assert torch.equal(held.images, mapped.images)
    assert [one.seed for one in mapped.provenance] == [one.seed for one in held.provenance]
    assert mapped.generators == held.generators == (generator.name,)
    assert (tmp_path / "made" / "images.bytes").stat().st_size == held.images.numel()
    monkeypatch.setattr("snellen.methods.generation.synthetic_images.generate", None)
    assert torch.equal(written_images(tmp_path / "made", generator, 3, steps=1, rng=rng).images, held.images)
    with pytest.raises(RunConflictError, match="another generator or number"):
        written_images(tmp_path / "made", generator, 4, steps=1, rng=rng)
    teacher = classifier_teacher(load_classifier(references[full.JUDGE]))
    one, other = (taught_examples(teacher, generator, held, file=file) for file in (None, tmp_path / "answers"))
    rows = torch.tensor([2, 0])
    for first, second in zip(one.read(rows), other.read(rows), strict=True):
        assert torch.equal(first, second)
    assert other.ids == one.ids


def test_the_features_of_the_published_judge_are_2048_wide():
    network = torchvision.models.inception_v3(init_weights=False, aux_logits=False, transform_input=True).eval()
    judge = load_classifier(network, [str(one) for one in range(1000)], size=299)
    with torch.no_grad():
        scores, features = judge.scores_and_features(torch.zeros(1, 3, 299, 299), full.FULL.layer)
    assert (scores.shape, features.flatten(1).shape) == ((1, 1000), (1, 2048))


def test_the_published_numbers():
    fit = full.FULL.fit
    assert (fit.experts, fit.rank, fit.alpha, fit.temperature, fit.synthetic) == (5, 16, 8.0, 0.25, 500_000)
    assert (fit.iterations, fit.batch_size, fit.learning_rate, fit.weight_decay) == (60_000, 256, 1e-4, 0.05)
    assert (full.FULL.scale, full.FULL.steps, full.FULL.images) == (8.5, 25, 10_000)


def test_an_inception_score_is_that_of_a_hand_calculation():
    rows = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    mean = rows.mean(0)
    by_hand = torch.exp((rows * (rows / mean).log()).sum(1).mean())
    assert inception_score(rows) == pytest.approx(float(by_hand), rel=1e-5)
    with pytest.raises(InputError, match="rows sum to 1"):
        inception_score(torch.tensor([[0.9, 0.3]]))
