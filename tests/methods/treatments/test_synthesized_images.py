"""Generated images as a treatment: a class without images is learnt, only by a generator that is named."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.finding import Finding
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.treatments.plain_tuning import PlainTuning
from snellen.methods.treatments.synthesized_images import SynthesizedImages
from snellen.methods.treatments.treatment import Patient
from snellen.models.classifiers.references import load_classifier
from snellen.models.classifiers.trainable import trainable
from snellen.training.batches import ImageStore
from snellen.training.evaluation import score_examples
from snellen.training.fine_tuning import TuningPlan

NAMES = ("ring", "star")
SEEN = Preprocessing(size=(32, 32))
STAR = Finding(kind="worst_class", subject="star", harm=0.3, title="planted")
GAP = Finding(kind="group_gap", subject="sand", harm=0.3, title="planted")
ONCE = TuningPlan(epochs=1, batch_size=32)
MAKER = ByName(steps=6)


def scenes(split, count):
    return WORLD.model_copy(update={"shapes": NAMES, "count": count, "sizes": ("large",)}).images(split=split)


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(4)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 2))


def patient(*findings, stars=0, rings=48, maker=MAKER):
    """Of many rings and few stars; a network of first weights."""
    images = scenes("train", 160)
    labels = images.labels.tolist()
    rows = {label: [row for row, own in enumerate(labels) if own == label] for label in (0, 1)}
    train = images.select(rows[0][:rings] + rows[1][:stars])
    model = Classifier(network().eval(), class_names=NAMES, preparation=SEEN, name="planted")
    stores = [ImageStore.of_images(one, SEEN) for one in (scenes("val", 80), train)]
    return Patient(model, findings, *stores, train, max_loss=1.0, generator=maker)


def blind_to_stars():
    """The embedded classifier of six shapes, which hardly ever decides for a star any more."""
    model = load_classifier("bundled:scene-cnn")
    module = copy.deepcopy(model.module)
    last = [one for one in module.modules() if isinstance(one, nn.Linear)][-1]
    with torch.no_grad():
        last.bias[model.class_names.index("star")] -= 12
    return Classifier(
        module, class_names=model.class_names, preparation=model.preparation, normalization=model.normalization,
        name="blind",
    )  # fmt: skip


def test_a_class_without_any_training_image_is_learnt_from_generated_ones():
    model = blind_to_stars()
    large = WORLD.model_copy(update={"sizes": ("large",), "count": 110})
    train, val = (align_labels(large.images(split=split), model.class_names) for split in ("train", "val"))
    star = model.class_names.index("star")
    others = train.select([row for row, label in enumerate(train.labels.tolist()) if label != star])
    stores = [ImageStore.of_images(one, model.preparation) for one in (val, others)]
    case = Patient(model, (STAR,), *stores, others, max_loss=1.0, generator=MAKER)

    def right(network):
        scores, labels = score_examples(network, case.val)
        found = (scores.argmax(1) == labels).double()
        return float(found[labels == star].mean()), float(found[labels != star].mean())

    plan = TuningPlan(epochs=3, batch_size=32, rate=0.03)
    treated = right(SynthesizedImages(count=24, plan=plan).treat(trainable(model), case, rng=Randomness(0)))
    plain = right(PlainTuning(plan=plan).treat(trainable(model), case, rng=Randomness(0)))
    assert plain[0] < 0.2
    assert treated[0] > 0.7
    assert treated[1] > 0.9, "the others are not given up for it"


def test_the_loss_weighs_the_two_kinds_and_not_their_numbers():
    case, weights = patient(STAR, stars=8), {}
    for share in (1.0, 0.8):
        for word in ("star", "cross"):
            own = replace(case, generator=MAKER.model_copy(update={"words": {"star": word}, "steps": 1}), remembered={})
            treatment = SynthesizedImages(count=6, real_share=share, plan=ONCE)
            treated = treatment.treat(trainable(case.classifier), own, rng=Randomness(0))
            weights[share, word] = torch.cat([tensor.flatten() for tensor in treated.state_dict().values()])
    assert torch.equal(weights[1.0, "star"], weights[1.0, "cross"]), "λ = 1: generated images count nothing"
    assert not torch.equal(weights[0.8, "star"], weights[0.8, "cross"])


def test_nothing_is_generated_unless_a_generator_is_named():
    case = patient(STAR, maker=None)
    assert SynthesizedImages().refusal(trainable(case.classifier), case) == (
        "needs a generator of images (--generator REF)"
    )


def test_classes_and_groups_get_prompts_of_their_own_and_labels_of_the_classifier():
    prompts = ("a {}", "a {} on {group}")
    case = patient(STAR, GAP, stars=4, maker=MAKER.model_copy(update={"templates": prompts, "steps": 1}))
    assert SynthesizedImages().refusal(trainable(case.classifier), case) is None
    treatment = SynthesizedImages(count=3)
    made = treatment.made(case, Randomness(0))
    known = [(NAMES[label], prompt) for label, prompt in zip(made.labels.tolist(), prompts_of(made), strict=True)]
    assert known == [("star", "a star")] * 3 + [
        ("ring", "a ring on sand"),
        ("star", "a star on sand"),
        ("ring", "a ring on sand"),
    ]
    assert len(set(made.ids)) == 6
    assert treatment.made(case, Randomness(1)) is made, "made once for all candidates"


def prompts_of(images):
    return [json.loads(one)["prompt"] for one in images.column("provenance")]


@pytest.mark.parametrize(
    ("findings", "maker", "words"),
    [
        ((GAP,), MAKER, "needs a prompt that names the group"),
        ((STAR,), MAKER.model_copy(update={"templates": ("a {} on {group}",)}), "needs a prompt without {group}"),
        ((STAR,), ByName(generator="bundled:fashion-diffusion"), "cannot make these images: "),
    ],
)
def test_what_the_generator_cannot_make_is_refused_before_anything_is_trained(findings, maker, words):
    case = patient(*findings, stars=4, maker=maker)
    assert words in (SynthesizedImages().refusal(trainable(case.classifier), case) or "")


def test_generated_images_are_those_of_the_generator_and_not_the_real_ones():
    case = patient(STAR, stars=4, maker=MAKER.model_copy(update={"steps": 1}))
    made = SynthesizedImages(count=2).made(case, Randomness(0))
    assert made.column("synthetic") == ["1", "1"]
    pixels = to_unit(ImageStore.of_images(made, SEEN).images)
    assert pixels.shape == (2, 3, 32, 32)


def test_images_in_which_nothing_is_drawn_are_drawn_again_and_never_trained_on(monkeypatch):
    calls, usual = [], ByName.generate

    def blank_at_first(self, requests, *, rng):
        calls.append([one["seed"] for one in requests])
        made = usual(self, requests, rng=rng)
        return made if len(calls) > 1 else replace(made, source=Grey(made.source))

    monkeypatch.setattr(ByName, "generate", blank_at_first)
    made = SynthesizedImages(count=4).made(patient(STAR, stars=8), Randomness(0))
    assert len(made) == 4
    assert all(np.asarray(made.read(row)).std() > 1 for row in range(4))
    assert len(calls) == 2
    assert not set(calls[0]) & set(calls[1]), "from other noise"

    monkeypatch.setattr(ByName, "generate", lambda self, requests, *, rng: blank(usual(self, requests, rng=rng)))
    with pytest.raises(InputError, match="draws nothing"):
        SynthesizedImages(count=2).made(patient(STAR, stars=8), Randomness(0))


class Grey:
    """Images without content, of the same sizes."""

    def __init__(self, source):
        self.source = source

    def read(self, index):
        return Image.new("RGB", self.source.read(index).size, (90, 90, 90))

    def __getattr__(self, name):
        return getattr(self.source, name)


def blank(images):
    return replace(images, source=Grey(images.source))
