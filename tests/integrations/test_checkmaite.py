"""CheckMAITE on our model, data set and metric, and its own data set in an audit.

With Python 3.13 alone: for older ones its parts allow no NumPy 2. Weights that it downloads are replaced by random
ones, so that only the accuracies and copies are compared.
"""

import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from tests.integrations.small_pets import pixels_and_labels
from tests.tiny_network import NAMES

checks = pytest.importorskip(
    "checkmaite.core.image_classification", reason="checkmaite is not installed", exc_type=ImportError
)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def images():
    """48 images of 16 x 16 pixels, of which two are the same, and every eighth label is another; two clinics."""
    pixels, labels = pixels_and_labels()
    pixels = np.kron(pixels, np.ones((1, 4, 4, 1), np.uint8))
    pixels[7] = pixels[4]
    labels[::8] = (labels[::8] + 1) % 3
    return snellen.load_images(
        pixels, labels, class_names=NAMES, name="pets", groups={"clinic": [str(row % 2) for row in range(len(labels))]}
    )


@pytest.fixture(scope="module")
def data(images):
    return snellen.as_maite_dataset(images)


@pytest.fixture(scope="module")
def classifier():
    size = snellen.Preprocessing(size=(16, 16))
    return snellen.load_classifier(Brightest(), NAMES, preparation=size)


@pytest.fixture(scope="module")
def model(classifier):
    return snellen.as_maite_model(classifier)


class Brightest(torch.nn.Module):
    def forward(self, batch):
        return 10 * batch.mean((2, 3))


@pytest.fixture
def random_weights(monkeypatch):
    def made(model, weights, device, **options):
        torch.manual_seed(0)
        return model(weights=None, **options).to(device)

    monkeypatch.setattr("checkmaite.core._common.feature_extractor.maybe_download_weights", made)
    return {"feature_extractor_spec": {"source": "torchvision", "name": "resnet18"}, "target_embedding_dim": 8}


def test_it_evaluates_ours_like_the_audit(images, data, classifier, model):
    factory = pytest.importorskip("checkmaite.core.image_classification.metrics")
    theirs = factory.accuracy_multiclass_torch_metric_factory(num_classes=3)
    for metric in (theirs, snellen.as_maite_metric()):
        run = checks.MaiteEvaluation().run(models=[model], datasets=[data], metrics=[metric], use_cache=False)
        (found,) = run.outputs.metrics.values()
        own = snellen.audit(classifier, images, checks=["clean"]).metrics["clean.accuracy"]
        assert float(found.result["accuracy"]) == pytest.approx(own.value, abs=1e-6)
    assert found.result["accuracy_low"] == pytest.approx(own.low)
    assert "snellen-accuracy" in run.collect_md_report(threshold=0.5).content


def test_it_finds_the_copies_that_we_find(data):
    run = checks.DataevalCleaning().run(datasets=[data], use_cache=False)
    exact = run.outputs.model_dump()["duplicates"]["exact"]
    assert [sorted(group) for group in exact] == [[4, 7]]


@pytest.fixture(scope="module")
def few(images):
    return snellen.as_maite_dataset(images.select(range(12)))


def test_its_other_checks_of_data_take_ours(few, random_weights):
    for check, sets in ((checks.DataevalBias, 1), (checks.DataevalShift, 2), (checks.DataevalFeasibility, 1)):
        capability = check()
        config = type(capability._create_config()).model_validate(random_weights)
        run = capability.run(datasets=[few] * sets, config=config, use_cache=False)
        assert run.collect_md_report(threshold=0.5)


def test_damage_and_maps_take_ours(images, few, model):
    factory = pytest.importorskip("checkmaite.core.image_classification.metrics")
    metric = factory.accuracy_multiclass_torch_metric_factory(num_classes=3)
    damaged = checks.NrtkRobustness().run(models=[model], datasets=[few], metrics=[metric], use_cache=False)
    assert damaged.outputs.perturbations
    two = snellen.as_maite_dataset(images.select([0, 1]))
    explained = checks.XaitkExplainable().run(models=[model], datasets=[two], use_cache=False)
    assert [np.asarray(one).shape for one in explained.outputs.results] == [(3, 16, 16)] * 2


def test_its_data_set_is_audited(images, classifier, tmp_path):
    loaders = pytest.importorskip("checkmaite.core.image_classification.dataset_loaders")
    for row, label in enumerate(images.labels):
        folder = tmp_path / "test" / NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(images.read(row))).save(folder / f"{row:02}.png")
    theirs = loaders.load_yolo_classification_dataset(tmp_path, split="test")
    figures = [snellen.audit(classifier, one, checks=["clean"]).metrics["clean.accuracy"] for one in (images, theirs)]
    assert figures[0] == figures[1]
