"""What every treatment and every unlearning method promises, as functions that raise ``AssertionError``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.method import Forgetter
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.treatments.treatment import Patient, Stage, Treatment
from snellen.models.classifiers.trainable import PreparedNetwork, last_layer, trainable, trained_classifier
from snellen.training.batches import ImageStore
from snellen.training.evaluation import score_examples

#: Side of the images of the small patient, and of the object in them, in pixels.
_SIDE, _OBJECT = 12, 5


def check_treatment(treatment: Treatment, patient: Patient | None = None) -> None:
    """What every treatment promises.

    The audited classifier, the images and the findings stay as they are; the treated network gives as many scores, all
    finite, and not those that it gave, or, of a treatment of decisions, those scores and other thresholds; the same
    weights again, under any global random state, and with a checkpoint; only what its stage says is changed: no weight
    by a treatment of statistics, none but the last layer's by one of the last layer or of scores; what says that it
    does not train does without training images.

    >>> from snellen.treatments import TemperatureScaling
    >>> check_treatment(TemperatureScaling())

    Args:
        treatment: with parameters under which it takes a moment: it is carried out twice.
        patient: None takes :func:`small_patient` with a finding of the first kind that it treats.
    """
    planted = Finding(kind=treatment.treats[0], harm=0.3, title="planted")
    patient = patient or small_patient(planted, several=treatment.several)
    if not treatment.trains:
        patient = Patient(patient.classifier, patient.findings, patient.val, checks=patient.checks)
    before = _everything(patient)
    audited = trainable(patient.classifier).eval()
    why = treatment.refusal(trainable(patient.classifier), patient)
    assert why is None, f"{treatment.name} refuses this patient: it {why}"
    torch.manual_seed(1)
    treated = treatment.treat(trainable(patient.classifier), patient, rng=Randomness(0))
    assert _everything(patient) == before, "classifier or images were changed"
    assert not treated.training, "the treated network is left in training mode"
    old, new = (score_examples(network, patient.val)[0] for network in (audited, treated))
    assert new.shape == old.shape, f"scores {tuple(old.shape)} became {tuple(new.shape)}"
    assert bool(new.isfinite().all()), "scores are not finite"
    if treatment.stage == Stage.DECISIONS:
        assert torch.equal(new, old), f"{treatment.name} changes scores"
        assert treated.thresholds != audited.thresholds, f"{treatment.name} leaves all thresholds as they were"
    else:
        assert not torch.equal(new, old), f"{treatment.name} leaves all scores as they were"
    _check_stage(treatment, audited, treated, patient)
    torch.manual_seed(2)
    with tempfile.TemporaryDirectory() as name:
        checkpoint = Path(name) / "training.safetensors"
        again = treatment.treat(trainable(patient.classifier), patient, rng=Randomness(0), checkpoint=checkpoint)
    same = all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in treated.state_dict().items())
    assert same, "the same seed gives other weights"
    assert again.thresholds == treated.thresholds, "the same seed gives other thresholds"
    made = trained_classifier(patient.classifier, treated, "treated")
    assert made.class_names == patient.classifier.class_names
    assert made.fingerprint() != before[0], "the treated classifier is the audited one"


def _everything(patient: Patient) -> tuple[str | None, ...]:
    """Fingerprints of what a treatment must not change."""
    sets = [one.fingerprint() for one in (patient.val, patient.train, patient.images) if one is not None]
    return (patient.classifier.fingerprint(), *sets, *(one.model_dump_json() for one in patient.findings))


def _check_stage(treatment: Treatment, audited: PreparedNetwork, treated: PreparedNetwork, patient: Patient) -> None:
    """Which weights differ, where the architecture is still the same."""
    old, new = (dict(network.named_parameters()) for network in (audited, treated))
    changed = {name for name in old if name not in new or not torch.equal(old[name], new[name])}
    if treatment.stage == Stage.STATISTICS:
        assert not changed, f"a treatment of statistics changed weights: {', '.join(sorted(changed))}"
    elif treatment.stage in (Stage.LAST_LAYER, Stage.SCORES) and old.keys() == new.keys():
        layer = last_layer(audited, patient.probes)
        allowed = {
            name for name, weight in old.items() if layer is not None and any(weight is w for w in layer.parameters())
        }
        beyond = sorted(changed - allowed)
        assert not beyond, f"a treatment of the last layer changed others: {', '.join(beyond)}"
    elif treatment.stage == Stage.FINE_TUNING:
        assert changed, "a fine-tuning changed no weight"


class _Squares:
    """Bright or dark squares at random places before noisy ground, with masks."""

    def __init__(self, labels: Tensor, seed: int) -> None:
        self.labels, self.seed = labels, seed

    def _drawn(self, index: int) -> tuple[np.random.Generator, tuple[slice, slice]]:
        rng = np.random.default_rng((self.seed, index))
        top, left = rng.integers(0, _SIDE - _OBJECT + 1, 2).tolist()
        return rng, (slice(top, top + _OBJECT), slice(left, left + _OBJECT))

    def read(self, index: int) -> Image.Image:
        """The image of a row."""
        rng, part = self._drawn(index)
        pixels = rng.uniform(0.3, 0.7, (_SIDE, _SIDE, 3))
        pixels[part] = 0.9 if self.labels[index] else 0.1
        return Image.fromarray((255 * pixels).round().astype(np.uint8))

    def read_mask(self, index: int, path: str) -> Image.Image:
        """The square."""
        mask = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
        mask[self._drawn(index)[1]] = 255
        return Image.fromarray(mask)

    def content_hash(self, index: int) -> str:
        """What decides the pixels."""
        return f"{self.seed} {index} {int(self.labels[index])}"


def small_patient(*findings: Finding, count: int = 64, several: bool = False) -> Patient:
    """A tiny network with batch norm, and training and validation images of two classes with masks and two groups.

    Three quarters of the images are of the first class; every twelfth training label is wrong.

    >>> patient = small_patient(count=12)
    >>> len(patient.training), patient.images.column("group")[:2]
    (12, ['one', 'two'])

    Args:
        findings: that are treated.
        count: images of each set.
        several: both classes are labels, and each image has one of them; there are validation images alone then.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(72, 2),
        )
    classifier = Classifier(
        network.eval(),
        class_names=("dark", "bright"),
        preparation=Preprocessing(size=(_SIDE, _SIDE)),
        task="multilabel" if several else "single",
        name="small",
    )
    train, val = (_squares(count, split, seed) for seed, split in enumerate(("train", "val")))
    if several:
        labels = nn.functional.one_hot(torch.from_numpy(val.labels)).to(torch.int8)
        return Patient(classifier, findings, ImageStore.of_images(val, classifier.preparation, targets=labels))
    return Patient(
        classifier,
        findings,
        ImageStore.of_images(val, classifier.preparation),
        ImageStore.of_images(train, classifier.preparation),
        train,
    )


def _squares(count: int, split: str, seed: int) -> ImageSet:
    rows = torch.arange(count)
    classes = (rows % 4 == 0).long()
    labels = torch.where((rows % 12 == 5) & torch.tensor(split == "train"), 1 - classes, classes)
    table = pa.table(
        {
            "id": [f"{split} {row}" for row in range(count)],
            "label": labels.tolist(),
            "mask": ["a square"] * count,
            "group": [("one", "two")[row % 2] for row in range(count)],
            "split": [split] * count,
        }
    )
    return ImageSet(_Squares(classes, seed), table, ("dark", "bright"), name=f"squares {split}")


def check_forgetter(forgetter: Forgetter) -> None:
    """What every unlearning method promises.

    The trained network and the images stay as they are; the network that forgot is in evaluation mode, gives as many
    scores, all finite, and not those that it gave; the same weights again, under any global random state, and with a
    checkpoint.

    >>> from snellen.forgetting import FineTuning
    >>> check_forgetter(FineTuning(epochs=1))

    Args:
        forgetter: with parameters under which it takes a moment: it is carried out twice.
    """
    patient = small_patient()
    network = trainable(patient.classifier).eval()
    split = ForgetSplit(patient.training, torch.arange(0, len(patient.training), 8))
    before = {name: one.clone() for name, one in network.state_dict().items()}, patient.training.fingerprint()
    torch.manual_seed(1)
    forgot = forgetter.forget(network, split, rng=Randomness(0))
    unchanged = all(torch.equal(one, network.state_dict()[name]) for name, one in before[0].items())
    assert unchanged, "the trained network was changed"
    assert patient.training.fingerprint() == before[1], "the images were changed"
    assert not forgot.training, "the network is left in training mode"
    old, new = (score_examples(one, patient.training)[0] for one in (network, forgot))
    assert new.shape == old.shape, f"scores {tuple(old.shape)} became {tuple(new.shape)}"
    assert bool(new.isfinite().all()), "scores are not finite"
    assert not torch.equal(new, old), "all scores are as they were"
    torch.manual_seed(2)
    with tempfile.TemporaryDirectory() as name:
        again = forgetter.forget(network, split, rng=Randomness(0), checkpoint=Path(name) / "training.safetensors")
    same = all(torch.equal(one, again.state_dict()[name]) for name, one in forgot.state_dict().items())
    assert same, "the same seed gives other weights"
