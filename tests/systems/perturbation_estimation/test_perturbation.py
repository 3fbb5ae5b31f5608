"""The scan for perturbations: rows, words and pictures, with and without a classifier, and what it refuses."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.models.residual_denoiser import ResidualDenoiser, architecture
from snellen.systems.perturbation_estimation.method import Perturbation
from snellen.testing import check_scan
from tests.systems.perturbation_estimation.blobs import brightness
from tests.systems.perturbation_estimation.denoisers import save_denoiser

#: What the denoiser takes away of every value.
TAKEN = 0.2


@pytest.fixture
def denoiser(tmp_path):
    """A denoiser that makes every image darker by a fixed amount, with the figures of its card."""
    network = ResidualDenoiser(depth=2, width=1)
    with torch.no_grad():
        network.added[0].weight.zero_()
        network.added[0].bias.fill_(1.0)
        network.added[-1].weight[:, :, 1, 1] = TAKEN
    metrics = {"val.pa_benign": 0.9, "val.pa_adversarial": 0.7, "val.false_alarms": 0.03, "val.images": 40.0}
    save_denoiser(tmp_path / "darker", network, architecture(2, 1), size=8, metrics=metrics)
    return f"artifact:{tmp_path}/darker"


def images(*levels, labels=None):
    pixels = np.broadcast_to(np.array(levels, dtype=np.uint8)[:, None, None], (len(levels), 8, 8)).copy()
    return load_arrays(pixels, labels, class_names=None if labels is None else ["dark", "light"])


def scan(method, data, classifier=None):
    return method.scan(data, classifier=classifier, rng=Randomness(0))


@pytest.mark.covers("5.15")
def test_decisions_before_and_after_are_reported_as_an_estimate(denoiser):
    found = scan(Perturbation(denoiser=denoiser), images(153, 250, 20, 150, labels=[0, 1, 0, 0]), brightness())
    rows = found.evidence.table.to_pylist()
    assert [row["prediction"] for row in rows] == [1, 1, 0, 1]
    assert [row["estimate_prediction"] for row in rows] == [0, 1, 0, 0]
    assert [row["changed"] for row in rows] == [True, False, False, True]
    assert [row["label"] for row in rows] == [0, 1, 0, 0]
    # 20 / 255 is less than what is taken, and the estimate is cut at 0.
    taken = [TAKEN, TAKEN, 20 / 255, TAKEN]
    assert [row["delta_linf"] for row in rows] == pytest.approx(taken, abs=1e-5)
    assert [row["value"] for row in rows] == pytest.approx([t * 192**0.5 for t in taken], abs=1e-4)
    assert found.statistic == found.figures["changed.share"] == 0.5
    assert found.figures["changed.low"] < 0.5 < found.figures["changed.high"]
    assert "2 of 4 images; an estimate, with false alarms" in found.verdict
    told = " ".join(found.evidence.assumptions)
    assert "cut to [0, 1]" in told
    assert "90% of the estimates" in told
    assert "3.0% of 40 held out images that nobody attacked" in told
    assert "an estimate: what the denoiser takes away need not be what an attacker added" in told


def test_estimates_may_leave_the_range_where_requested(denoiser):
    found = scan(Perturbation(denoiser=denoiser, clamp=False), images(20), brightness())
    assert found.evidence.table["delta_linf"].to_pylist() == pytest.approx([TAKEN], abs=1e-5)
    assert "not cut to [0, 1]" in " ".join(found.evidence.assumptions)
    assert float(found.pictures[0].pictures["estimate"].min()) >= 0


@pytest.mark.covers("5.15")
def test_false_alarms_are_counted_on_benign_images(denoiser, tmp_path):
    calm, nervous = images(*[250] * 40), images(*[153] * 20, *[250] * 20)
    attacked = images(*[153] * 12)
    told = {}
    for name, benign in {"calm": calm, "nervous": nervous}.items():
        snellen.write_images(benign, tmp_path / name)
        method = Perturbation(denoiser=denoiser, benign=str(tmp_path / name))
        found = scan(method, attacked, brightness())
        assert "count them" not in " ".join(found.evidence.assumptions)
        told[name] = found.figures["false_alarms.share"]
        assert found.verdict.endswith(": more than false alarms explain")
    assert told == {"calm": 0.0, "nervous": 0.5}
    method = Perturbation(denoiser=denoiser, benign=str(tmp_path / "nervous"))
    some = scan(method, images(*[153] * 6, *[250] * 6), brightness())
    assert some.verdict.endswith(
        "6 of 12 images, and for 20 of 40 that nobody attacked: not clearly more than false alarms explain"
    )


def test_false_alarms_need_a_classifier(denoiser, tmp_path):
    snellen.write_images(images(250, 250), tmp_path / "calm")
    method = Perturbation(denoiser=denoiser, benign=str(tmp_path / "calm"))
    with pytest.raises(InputError, match=r"counts false alarms .* name it before the images, or leave --benign out"):
        scan(method, images(153))
    told = " ".join(scan(Perturbation(denoiser=denoiser), images(153)).evidence.assumptions)
    assert "count them before yours with MODEL before the images, and --benign IMAGES" in told


def test_one_image_beside_benign_ones(denoiser, tmp_path):
    snellen.write_images(images(250, 250, 250, 153), tmp_path / "calm")
    method = Perturbation(denoiser=denoiser, benign=str(tmp_path / "calm"))
    changed, calm = (scan(method, images(level), brightness()).verdict for level in (153, 250))
    told = "the decision changes for 1 of 4 that nobody attacked"
    assert changed.endswith(f"a sign of an attack; {told}: not clearly more than false alarms explain")
    assert calm.endswith(f"no sign of an attack in the decision; {told}")


def test_other_benign_images_are_another_reference(denoiser, tmp_path):
    folder = tmp_path / "calm"
    method = Perturbation(denoiser=denoiser, benign=str(folder))
    snellen.write_images(images(250, 250), folder)
    before = method.reference_hashes()
    assert set(before) == {"denoiser", "benign"}
    assert method.reference_hashes() == before
    next(folder.rglob("*.png")).unlink()
    after = method.reference_hashes()
    assert after["denoiser"] == before["denoiser"]
    assert after["benign"] != before["benign"]


def test_images_are_prepared_as_the_classifier_sees_them(denoiser):
    class Larger(nn.Module):
        def forward(self, images):
            assert images.shape[2:] == (12, 12)
            return images.flatten(2).mean(2)[:, :2]

    larger = Classifier(Larger(), class_names=["a", "b"], preparation=Preprocessing(size=(12, 12)))
    found = scan(Perturbation(denoiser=denoiser), images(153), larger)
    assert found.pictures[0].pictures["estimate"].shape == (3, 12, 12)
    assert "trained on images of (8, 8) (height, width), and this classifier takes (12, 12)" in " ".join(
        found.evidence.assumptions
    )
    assert scan(Perturbation(denoiser=denoiser), images(153)).pictures[0].pictures["image"].shape == (3, 8, 8)


def test_one_image_is_reported_in_names_of_classes(denoiser):
    changed = scan(Perturbation(denoiser=denoiser), images(153), brightness())
    assert "decided as 'light', the estimate without the perturbation as 'dark': a sign of an attack" in changed.verdict
    assert changed.figures["score_distance"] > 0
    assert "changed.low" not in changed.figures
    calm = scan(Perturbation(denoiser=denoiser), images(250), brightness())
    assert "both decided as 'light': no sign of an attack in the decision" in calm.verdict


def test_without_a_classifier_lengths_are_reported(denoiser):
    found = scan(Perturbation(denoiser=denoiser), images(153, 250))
    assert found.statistic == pytest.approx(TAKEN * 192**0.5, abs=1e-4)
    assert found.evidence.table["changed"].to_pylist() == [None, None]
    assert "no classifier was given" in found.verdict


def test_pictures_are_those_of_changed_decisions_first(denoiser):
    found = scan(Perturbation(denoiser=denoiser, pictures=2), images(30, 250, 153, 40), brightness())
    assert [row.name for row in found.pictures] == ["000002", "000001"], "what is cut at 0 is the shortest"
    assert list(found.pictures[0].pictures) == ["image", "estimate", "perturbation, magnified"]
    assert found.pictures[0].text.startswith("'light' -> 'dark'")
    assert torch.allclose(found.pictures[0].pictures["estimate"], torch.tensor(153 / 255 - TAKEN), atol=1e-5)
    assert scan(Perturbation(denoiser=denoiser, pictures=0), images(250), brightness()).pictures == []


def test_it_keeps_what_every_scan_promises(denoiser, tmp_path):
    data = images(153, 250, 20, labels=[0, 1, 0])
    for classifier in (None, brightness()):
        check_scan(Perturbation(denoiser=denoiser), data, classifier)
    (tmp_path / "data").mkdir()
    Image.new("RGB", (8, 8), (200, 100, 0)).save(tmp_path / "data" / "good.png")
    (tmp_path / "data" / "broken.png").write_bytes(b"no picture")
    check_scan(Perturbation(denoiser=denoiser), snellen.load_images(tmp_path / "data"), brightness())


def test_batches_change_nothing(denoiser):
    data = images(153, 250, 20, 150)
    whole = scan(Perturbation(denoiser=denoiser), data, brightness()).evidence.table
    parts = scan(Perturbation(denoiser=denoiser, batch_size=3), data, brightness()).evidence.table
    assert whole.equals(parts)


def test_images_without_finite_scores_are_named(denoiser):
    class Broken(nn.Module):
        def forward(self, images):
            value = images.flatten(1).mean(1)
            return torch.stack([value, torch.where(value > 0.9, value / 0, value)], 1)

    broken = Classifier(Broken(), class_names=["a", "b"], preparation=Preprocessing(size=(8, 8)))
    found = scan(Perturbation(denoiser=denoiser), images(250, 100), broken)
    rows = found.evidence.table.to_pylist()
    assert [(row["example_id"], row["status"]) for row in rows] == [("000001", "ok"), ("000000", "rejected")]
    with pytest.raises(InputError, match="none of the 1 images"):
        snellen.scan(broken, images(250), Perturbation(denoiser=denoiser))


def test_estimates_that_are_not_finite_count_nowhere(tmp_path):
    network = ResidualDenoiser(depth=2, width=1)
    with torch.no_grad():
        # Infinite where the first layer lets anything through: for light images.
        network.added[0].weight.fill_(1.0)
        network.added[0].bias.fill_(-13.0)
        network.added[-1].weight.fill_(torch.finfo(torch.float32).max)
    save_denoiser(tmp_path / "broken", network, architecture(2, 1), size=8)
    method = Perturbation(denoiser=str(tmp_path / "broken"), clamp=False)
    callable_one = Classifier(
        lambda seen: torch.stack([1 - seen.flatten(1).mean(1), seen.flatten(1).mean(1)], 1), class_names=["a", "b"]
    )
    for classifier in (None, brightness(), callable_one):
        found = scan(method, images(250, 50), classifier)
        rows = found.evidence.table.to_pylist()
        assert [(row["example_id"], row["reason"]) for row in rows] == [
            ("000001", None),
            ("000000", "the estimate is not finite (NaN or infinity)"),
        ]
        assert found.figures["images"] == 1
        assert np.isfinite(found.statistic)


def test_without_a_denoiser_the_command_that_trains_one_is_reported(denoiser, tmp_path):
    command = "snellen train perturbation-denoiser IMAGES --surrogate MODEL --victims MODEL --out FOLDER"
    with pytest.raises(InputError, match=command):
        snellen.scan(None, images(3), Perturbation())
    several = Classifier(nn.Flatten(), class_names=["a"] * 192, task="multilabel", name="tags")
    with pytest.raises(InputError, match="tags is of the task 'multilabel'"):
        snellen.scan(several, images(3), Perturbation(denoiser=denoiser))
    with pytest.raises(InputError, match="is not an artifact"):
        snellen.scan(brightness(), images(3), Perturbation(denoiser=str(tmp_path)))
