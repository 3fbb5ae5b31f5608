"""The scan for backdoors: words, rows and pictures, clean models to compare with, and what it refuses."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import binom
from torch import nn

import snellen
from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RunConflictError
from snellen.core.images import COLUMNS
from snellen.core.randomness import Randomness
from snellen.models.classifiers import references
from snellen.models.classifiers.prepared_images import read_prepared
from snellen.systems.smooth_inversion import class_scan, scanning
from snellen.systems.smooth_inversion.method import Backdoor
from snellen.testing import check_method
from tests.systems.smooth_inversion.toy_models import NAMES, TARGET, classifier, image_set, pixels

QUICK = {
    "epsilon": 0.9,
    "steps": 10,
    "samples": 6,
    "refined_samples": 6,
    "refined_steps": 25,
    "sources": 2,
    "images": 60,
    "refined": 1,
    "sigmas": (0.25,),
    "confirming": 8,
    "copies": 0,  # arithmetic forgets nothing
}


def test_it_conforms():
    check_method(index.entry("scans", "backdoor"))
    assert index.entry("scans", "smoothinv").name == "backdoor"


def test_a_planted_class_is_called_suspicious_and_shown(tmp_path):
    scanned = snellen.scan(classifier(), image_set(80), Backdoor(**QUICK), out=tmp_path / "out")
    found = scanned.settings["backdoor"]
    assert found.verdict.startswith("suspicious: class 'one'")
    rows = scanned.evidence.table.to_pylist()
    assert [row["example_id"] for row in rows] == list(NAMES)
    best = rows[TARGET]
    assert best["reason"] == "stands out"
    assert best["z"] == max(row["z"] for row in rows)
    assert best["contrast"] == max(row["contrast"] for row in rows) == found.statistic
    assert [row["rank"] for row in rows][TARGET] == 1
    assert sorted(row["rank"] for row in rows) == [1, 2, 3, 4]
    assert best["recovered_low"] < best["recovered_rate"] == found.figures["recovered.rate"]
    assert sum(row["recovered_rate"] is not None for row in rows) == 1
    assert found.figures["recovered.l2"] <= 0.9 + 1e-5
    assert (tmp_path / "out" / "scan.json").is_file()
    assert len(found.pictures) == 1 + 3
    assert "no clean models" in " ".join(found.assumptions)


@pytest.mark.covers("33.8")
def test_a_target_alone_is_searched_again_beside_others_of_the_draw():
    """Given by name or number; a class that leads no list is shown too, and not reported."""
    method = Backdoor(**QUICK, target=NAMES[TARGET], beside=2)
    scanned = snellen.scan(classifier(), image_set(80), method)
    assert scanned.settings["backdoor"].verdict.startswith(f"suspicious: class {NAMES[TARGET]!r}")
    rows = scanned.evidence.table.to_pylist()
    assert len(rows) == 3
    assert NAMES[TARGET] in [row["example_id"] for row in rows]
    other = next(number for number in range(len(NAMES)) if number != TARGET)
    scanned = snellen.scan(classifier(), image_set(80), Backdoor(**QUICK, target=str(other), beside=9))
    assert "no outlier" in scanned.settings["backdoor"].verdict
    rows = scanned.evidence.table.to_pylist()
    assert [row["example_id"] for row in rows] == list(NAMES)
    assert [row["recovered_rate"] is not None for row in rows] == [number == other for number in range(len(NAMES))]
    with pytest.raises(InputError, match=r"unknown class of .* 'nobody'"):
        snellen.scan(classifier(), image_set(80), Backdoor(**QUICK, target="nobody"))


def test_a_clean_model_is_reported_as_no_outlier_within_the_budget():
    found = snellen.scan(classifier(0.0), image_set(80), Backdoor(**QUICK)).settings["backdoor"]
    assert found.verdict.startswith("no outlier within budget: epsilon 0.9")
    assert "clean" not in found.verdict
    assert "is clean" not in " ".join(found.assumptions)


def test_clean_models_are_scanned_alike_and_their_number_bounds_the_p_value(monkeypatch):
    loaded = []

    def load(reference, *_, **__):
        loaded.append(reference)
        return classifier(0.0)

    monkeypatch.setattr(references, "load_classifier", load)
    method = Backdoor(**QUICK, clean=("artifact:a", "artifact:b", "artifact:c"))
    found = snellen.scan(classifier(), image_set(80), method).settings["backdoor"]
    assert loaded == ["artifact:a", "artifact:b", "artifact:c"] * 2  # to be told apart, then to be asked
    assert found.verdict.startswith("suspicious: class 'one'")
    assert "above the same class of clean models" in found.verdict
    assert found.figures["p value among clean models"] == pytest.approx(1 / 4)
    assert "0.25 at best" in " ".join(found.assumptions)


def test_clean_models_of_other_classes_or_one_alone_are_refused(monkeypatch):
    other = Classifier(classifier().module, class_names=["a", "b", "c", "d"], preparation=classifier().preparation)
    monkeypatch.setattr(references, "load_classifier", lambda *_, **__: other)
    with pytest.raises(InputError, match="of the same task"):
        snellen.scan(classifier(), image_set(80), Backdoor(**QUICK, clean=("a", "b")))
    with pytest.raises(InputError, match="two clean models"):
        snellen.scan(classifier(), image_set(80), Backdoor(**QUICK, clean=("a",)))


def test_what_cannot_be_queried_is_refused():
    two = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), class_names=["a", "b"])
    assert "three classes" in Backdoor().missing(two)
    asked = Classifier(lambda images: images.flatten(1)[:, :4], class_names=NAMES, name="by-url")
    assert "needs" in Backdoor().missing(asked)
    with pytest.raises(InputError, match="name it before the images"):
        snellen.scan(None, image_set(80), Backdoor(**QUICK))
    with pytest.raises(InputError, match="there are only"):
        snellen.scan(classifier(), image_set(12), Backdoor(**QUICK))


def test_without_labels_the_decisions_stand_in_and_a_seed_gives_the_same():
    plain = image_set(60)
    method, model = Backdoor(**QUICK), classifier()
    pixels, labels, ids, _ = read_prepared(plain, model)
    decided = model(pixels).argmax(1)
    with_decisions = method.search(model, pixels, decided, ids=ids, rng=Randomness(3))
    without = method.search(model, pixels, torch.full_like(labels, -1), ids=ids, rng=Randomness(3))
    assert np.array_equal(with_decisions.rates, without.rates)
    assert torch.equal(with_decisions.recovered[0].change, without.recovered[0].change)


@pytest.mark.covers("33.10")
def test_the_denoiser_is_made_for_each_sigma_and_not_queried_without_noise(monkeypatch):
    made = []

    def one_shot(generator, *, sigma, grey, size):
        made.append((generator.reference, sigma, grey, size))
        return lambda images: images

    network = nn.Linear(1, 1)

    def load(reference, **_):
        return SimpleNamespace(reference=reference, denoiser=SimpleNamespace(network=network))

    monkeypatch.setattr("snellen.models.diffusion.loading.load_generator", load)
    monkeypatch.setattr("snellen.methods.smoothing.one_shot.one_shot_denoiser", one_shot)
    method = Backdoor(**{**QUICK, "screened": (0.0,), "sigmas": (0.0, 0.2)}, denoiser="bundled:any")
    snellen.scan(classifier(), image_set(60), method)
    # To recover, and to confirm where that noise gave the change that carries over best.
    assert set(made) == {("bundled:any", 0.2, False, (8, 8))}
    before = method.reference_hashes()
    nn.init.zeros_(network.weight)
    assert set(before) == {"denoiser"}
    assert method.reference_hashes() != before


def test_another_clean_model_of_the_same_reference_is_another_scan(monkeypatch, tmp_path):
    models = {"one": classifier(0.0), "two": classifier(0.0)}
    monkeypatch.setattr(references, "load_classifier", lambda reference, **_: models[reference])
    method = Backdoor(**QUICK, clean=("one", "two"))
    before = method.reference_hashes()
    assert set(before) == {"clean one", "clean two"}
    snellen.scan(classifier(), image_set(60), method, out=tmp_path / "out")
    models["two"] = classifier(0.5)
    assert method.reference_hashes()["clean two"] != before["clean two"]
    with pytest.raises(RunConflictError, match="differs in: references"):
        snellen.scan(classifier(), image_set(60), method, out=tmp_path / "out")


def grouped(images, units):
    named = pa.array([f"u{row % units}" for row in range(len(images))], COLUMNS["unit_id"])
    return replace(images, table=images.table.append_column("unit_id", named))


def test_few_units_of_many_images_are_searched_on_by_several_images_each():
    found = snellen.scan(classifier(), grouped(image_set(120), 14), Backdoor(**QUICK)).settings["backdoor"]
    assert found.verdict.startswith("suspicious: class 'one'")
    assert 5 <= found.figures["confirming images"] <= 7  # of 14 units, half are searched on, and each counts once
    with pytest.raises(InputError, match=r"of 3 units .* of units of their own"):
        snellen.scan(classifier(), grouped(image_set(120), 3), Backdoor(**QUICK))


def test_too_few_units_to_confirm_a_class_are_named():
    found = snellen.scan(classifier(), grouped(image_set(120), 11), Backdoor(**QUICK | {"confirming": 2})).settings[
        "backdoor"
    ]
    assert found.verdict.startswith("no outlier within budget")
    assert "too few to report any: give images of more units" in " ".join(found.assumptions)


def test_further_images_that_do_not_confirm_a_class_acquit_it(monkeypatch):
    plan, found = Backdoor(**QUICK).plan(), []
    for carried in (8, 6, 5):
        monkeypatch.setattr(scanning._Searcher, "_confirm", lambda *_, one=carried: class_scan.Confirmation(one, 8))
        scanned = snellen.scan(classifier(), image_set(80), Backdoor(**QUICK)).settings["backdoor"]
        found.append(scanned.verdict.split(":")[0])
    assert plan.error == 0.05
    # More than three images in ten: 6 of 8 are so many by chance in 1.1 % of the draws, and 5 of 8 in 5.8 %.
    assert found == ["suspicious", "suspicious", "no outlier within budget"]
    assert class_scan.Confirmation(6, 8).p_value(0.3) == pytest.approx(binom.sf(5, 8, 0.3))
    assert class_scan.Confirmation(5, 8).p_value(0.3) == pytest.approx(binom.sf(4, 8, 0.3))
    assert class_scan.Confirmation(8, 8).low > 0.6


def test_classes_are_confirmed_in_the_order_of_their_scores_and_none_after_one_that_is_not():
    method = Backdoor(**QUICK | {"refined": 2})
    images, labels = pixels(80)
    scan = method.search(classifier(), images, labels, ids=tuple(map(str, range(80))), rng=Randomness(0))
    first, second = scan.recovered
    # The second is made to stand out, too, but less.
    second = replace(second, effect=first.effect, above_copies=None)
    contrast = scan.contrast.copy()
    contrast[[scan.targets.index(first.target), scan.targets.index(second.target)]] = 9.0, 8.0

    def verdict(*carried: int) -> list[int]:
        confirmed = tuple(
            replace(one, confirmation=class_scan.Confirmation(many, 8))
            for one, many in zip((second, replace(first, above_copies=None)), carried, strict=True)
        )
        found = replace(scan, recovered=confirmed, contrast=contrast).suspicious(method.plan())
        return [one.target for one in found]

    assert verdict(6, 6) == [first.target, second.target], "each at the whole rate: 1.1 % is less than 5 %"
    assert verdict(5, 6) == [first.target]
    assert verdict(8, 5) == [], "the one that stands out most is not confirmed"


def test_an_image_confirms_a_class_only_if_its_own_change_carries_over(monkeypatch):
    monkeypatch.setattr(class_scan.ClassScan, "outstanding", lambda scan, _: scan.recovered)
    images, labels = pixels(80)
    confirmed = {}
    for strength in (0.0, 60.0):
        scan = Backdoor(**QUICK).search(
            classifier(strength), images, labels, ids=tuple(map(str, range(80))), rng=Randomness(0)
        )
        confirmed[strength] = scan.recovered[0].confirmation
    assert (confirmed[60.0].carried, confirmed[60.0].tried) == (8, 8)
    assert confirmed[0.0].carried <= 1


def test_only_a_class_that_stands_out_costs_further_searches(monkeypatch):
    searched = []
    monkeypatch.setattr(
        scanning._Searcher,
        "_confirm",
        lambda self, target, *_: searched.append(target) or class_scan.Confirmation(8, 8),
    )
    images, labels = pixels(80)
    for strength in (0.0, 60.0):
        Backdoor(**QUICK | {"refined": 2}).search(
            classifier(strength), images, labels, ids=tuple(map(str, range(80))), rng=Randomness(0)
        )
    assert searched == [TARGET]
