"""The figures of ``snellen.attack`` are those of the attack itself, counted by hand."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.criterion import MultilabelChanged, Targeted
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.hop_skip_jump import HopSkipJump
from snellen.methods.attacks.pgd import PGD
from snellen.metrics.clustered import clustered_share
from snellen.metrics.intervals import wilson
from snellen.verbs.attack import attack
from tests.verbs.picture_sets import InMemory
from tests.verbs.small_attacks import COUNT, WRONG, prepared, small_images


def settled(evidence, setting):
    return evidence.where(setting=setting).table.to_pylist()


@pytest.mark.smoke
def test_figures_are_those_of_the_attack_on_the_images_that_are_right():
    classifier, images = small_images()
    attacked = attack(classifier, images, PGD(epsilon=0.01, steps=5), batch_size=COUNT)
    pixels, labels = prepared(classifier, images)
    right = classifier(pixels).argmax(1) == labels
    assert (~right).nonzero().flatten().tolist() == list(WRONG)
    rng = Randomness(0).for_examples([images.ids[row] for row in right.nonzero().flatten().tolist()])
    direct = PGD(epsilon=0.01, steps=5).attack(classifier, pixels[right], labels[right], rng=rng)
    broken = int(direct.success.sum())
    assert 0 < broken < COUNT - len(WRONG)
    figures = attacked.settings["pgd"]
    assert attacked.clean_accuracy.value == pytest.approx(1 - len(WRONG) / COUNT)
    assert figures.robust_accuracy.value == pytest.approx((COUNT - len(WRONG) - broken) / COUNT)
    assert (figures.robust_accuracy.low, figures.robust_accuracy.high) == wilson(COUNT - len(WRONG) - broken, COUNT)
    assert (figures.success_rate.value, figures.success_rate.n) == (broken / (COUNT - len(WRONG)), COUNT - len(WRONG))
    assert (figures.success_rate.low, figures.success_rate.high) == wilson(broken, COUNT - len(WRONG))
    assert (figures.queries, figures.gradients) == (direct.spent.queries, direct.spent.gradients)
    rows = [row for row in settled(attacked.evidence, "pgd") if row["success"] is not None]
    assert [row["success"] for row in rows] == direct.success.tolist()
    assert [row["queries"] for row in rows] == direct.queries.tolist()
    found = [row for row in rows if row["success"]]
    assert [row["value"] for row in found] == direct.distance[direct.success].double().tolist()
    assert [row["linf"] for row in found] == pytest.approx(direct.distance[direct.success].tolist(), abs=1e-6)
    assert {row["reason"] for row in settled(attacked.evidence, "pgd")} == {
        "found", "not found", "wrong from the start",
    }  # fmt: skip
    assert figures.verdict.startswith(f"an adversarial image found for {broken} of {COUNT - len(WRONG)} attacked")


def test_the_curve_and_the_median_count_failures_as_beyond_all_others():
    classifier, images = small_images(wrong=())
    figures = attack(classifier, images, PGD(epsilon=0.01, steps=5), batch_size=7).settings["pgd"]
    last = figures.curve[-1]
    assert (last.success_rate, last.low, last.high) == pytest.approx(
        (figures.success_rate.value, figures.success_rate.low, figures.success_rate.high)
    )
    assert (figures.median_distance.value is None) == (figures.success_rate.value < 0.5)


def test_nothing_found_is_said_with_the_budget_and_never_as_a_property_of_the_model():
    classifier, images = small_images()
    attacked = attack(classifier, images, PGD(epsilon=0.0))
    told = attacked.settings["pgd"]
    assert told.verdict == f"no adversarial image found within budget for any of {COUNT - len(WRONG)} attacked images"
    assert told.curve == ()
    assert told.median_distance.value is None
    assert "robust" not in json.dumps([attacked.settings["pgd"].verdict, *told.doubts])


def test_zero_gradient_searches_are_reported():
    classifier, images = small_images()
    saturated = Classifier(
        nn.Sequential(classifier.module, _Scale(1e6)),
        class_names=classifier.class_names,
        preparation=classifier.preparation,
    )
    figures = attack(saturated, images, FGSM(epsilon=0.01)).settings["fgsm"]
    assert "every gradient was exactly zero: the search was blind" in figures.verdict
    assert any("exactly zero" in doubt for doubt in figures.doubts)


class _Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, scores):
        return scores * self.factor


def test_a_target_is_reached_from_other_classes_only():
    classifier, images = small_images()
    attacked = attack(classifier, images, PGD(epsilon=0.05), target="b", batch_size=COUNT)
    pixels, labels = prepared(classifier, images)
    tried = (classifier(pixels).argmax(1) == labels) & (labels != 1)
    rng = Randomness(0).for_examples([images.ids[row] for row in tried.nonzero().flatten().tolist()])
    targets = torch.ones(int(tried.sum()), dtype=torch.int64)
    direct = PGD(epsilon=0.05).attack(classifier, pixels[tried], targets, criterion=Targeted(), rng=rng)
    figures = attacked.settings["pgd"]
    assert 0 < direct.success.sum() < len(direct.success)
    assert (figures.success_rate.value, figures.success_rate.n) == (
        pytest.approx(float(direct.success.double().mean())), len(targets),
    )  # fmt: skip
    assert figures.reasons["is of the target class"] == int((labels == 1).sum())
    assert figures.robust_accuracy.n == COUNT - int((labels == 1).sum())
    assert {row["prediction"] for row in settled(attacked.evidence, "pgd") if row["success"]} == {1}
    assert attack(classifier, images, PGD(epsilon=0.05), target=1, batch_size=COUNT).plan == attacked.plan


def test_a_targeted_search_by_decisions_starts_from_an_image_of_the_class():
    classifier, images = small_images(wrong=())
    method = HopSkipJump(budget=40)
    figures = attack(classifier, images, method, target="b").settings["hop_skip_jump"]
    assert figures.success_rate.value == 1.0, "the start itself is a success"
    others = images.select(np.flatnonzero(images.labels != 1))
    with pytest.raises(ValueError, match="holds none of the class 'b' that"):
        attack(classifier, others, method, target="b")


def test_several_labels_an_image_are_judged_by_their_own_criterion():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    model[1].weight.data = torch.randn(3, 48, generator=generator)
    classifier = Classifier(
        model, class_names=["x", "y", "z"], task="multilabel", preparation=Preprocessing(size=(4, 4))
    )
    single, _ = small_images(12)
    pixels = torch.randint(0, 256, (12, 3, 4, 4), generator=generator, dtype=torch.uint8)
    decided = (classifier(pixels.float() / 255) > 0).long()
    decided[4, 0] = 1 - decided[4, 0]
    images = small_set(pixels, decided)
    attacked = attack(classifier, images, PGD(epsilon=0.02, steps=5), batch_size=12)
    right = torch.arange(12) != 4
    rng = Randomness(0).for_examples([images.ids[row] for row in range(12) if row != 4])
    direct = PGD(epsilon=0.02, steps=5).attack(
        classifier, pixels[right].float() / 255, decided[right], criterion=MultilabelChanged(), rng=rng
    )
    assert 0 < direct.success.sum() < 11
    assert attacked.clean_accuracy.value == pytest.approx(11 / 12)
    assert attacked.settings["pgd"].success_rate.value == pytest.approx(float(direct.success.double().mean()))
    with pytest.raises(ValueError, match="a target is one class"):
        attack(classifier, images, PGD(), target="x")
    with pytest.raises(ValueError, match="several labels an image, and the classifier gives one class"):
        attack(single, align(images), PGD())


def small_set(pixels, labels):
    from tests.verbs.picture_sets import Image

    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]
    table = pa.table(
        {"id": [f"i{n}" for n in range(len(pixels))], "labels": pa.array(labels.tolist(), pa.list_(pa.int8()))}
    )
    return ImageSet(InMemory(pictures), table, ("x", "y", "z"))


def align(images):
    """The same under five classes."""
    rows = [[*row, 0, 0] for row in images.table["labels"].to_pylist()]
    table = images.table.set_column(1, "labels", pa.array(rows, pa.list_(pa.int8())))
    return ImageSet(images.source, table, tuple("abcde"))


def test_images_of_one_unit_are_not_independent():
    classifier, images = small_images(wrong=())
    units = pa.array([f"u{row // 4}" for row in range(COUNT)])
    together = ImageSet(images.source, images.table.append_column("unit_id", units), images.class_names)
    attacked = attack(classifier, together, PGD(epsilon=0.01, steps=5))
    figure = attacked.settings["pgd"].success_rate
    success = [row["success"] for row in settled(attacked.evidence, "pgd")]
    assert (figure.low, figure.high) == pytest.approx(clustered_share(success, np.arange(COUNT) // 4))
    low, high = wilson(sum(success), COUNT)
    assert figure.high - figure.low > high - low


def test_several_methods_share_the_clean_pass_and_are_distinguished():
    classifier, images = small_images()
    both = attack(classifier, images, [FGSM(epsilon=0.01), FGSM(epsilon=0.02)], batch_size=6)
    assert list(both.settings) == ["fgsm+epsilon=0.01", "fgsm+epsilon=0.02"]
    assert len(both.evidence) == 3 * COUNT
    alone = attack(classifier, images, FGSM(epsilon=0.02), batch_size=6).settings["fgsm"]
    assert both.settings["fgsm+epsilon=0.02"] == alone


def test_the_record_of_the_standard_ensemble_is_that_of_all_images(tmp_path):
    classifier, images = small_images()
    ensemble = StandardEnsemble(epsilon=0.01, steps=5, target_classes=2, queries=20)
    attacked = attack(classifier, images, ensemble, out=tmp_path / "out", batch_size=7)
    record = json.loads((tmp_path / "out" / "robustbench-standard_ensemble.json").read_bytes())
    assert (record["n"], record["clean_accuracy"]) == (COUNT, 1 - len(WRONG) / COUNT)
    assert record["robust_accuracy"] == pytest.approx(attacked.settings["standard_ensemble"].robust_accuracy.value)
    after = list(record["robust_accuracy_after"].values())
    assert after == sorted(after, reverse=True)
    assert record["parameters"] == ensemble.record()


def test_the_verb_is_public_and_takes_any_method_of_the_area():
    assert snellen.attack is attack
    classifier, images = small_images()
    with pytest.raises(ValueError, match="no method to attack with"):
        attack(classifier, images, [])
    with pytest.raises(ValueError, match="an attack is a method such as PGD"):
        attack(classifier, images, [7])
    with pytest.raises(ValueError, match="unknown attack 'pdg'; did you mean 'pgd'"):
        attack(classifier, images, "pdg")
    by_name = attack(classifier, images, ["fgsm", {"method": "fgsm", "epsilon": 0.2}])
    assert [figures.method["epsilon"] for figures in by_name.settings.values()] == [FGSM().epsilon, 0.2]
