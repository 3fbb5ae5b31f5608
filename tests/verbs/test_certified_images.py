"""``snellen.certify``: every image once, with its votes; resumed to the same bytes; told as proven only where it is."""

import errno
import json

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RunConflictError, UnwritableError
from snellen.core.evidence import Evidence
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.smoothing.bounds import lower_bound, proven_radius
from snellen.methods.smoothing.certifying import average_radius, certified_correct
from snellen.methods.smoothing.dual_smoothing import DualSmoothing
from snellen.methods.smoothing.smoothing import Smoothing

PLAIN = Smoothing(sigma=0.25, samples=150, selection=50)


class Brightness(nn.Module):
    def forward(self, images):
        value = 4 * (images.flatten(1).mean(1) - 0.5)
        return torch.stack([-value, value], 1)


@pytest.fixture(autouse=True)
def _same_code(monkeypatch):
    """A plan holds a hash of the package, which somebody may edit while the tests run."""
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "0" * 64)


@pytest.fixture
def classifier():
    names = ["dark", "light"]
    return Classifier(Brightness(), class_names=names, preparation=Preprocessing(size=(8, 8)), name="brightness")


@pytest.fixture
def images():
    levels = np.array([20, 60, 127, 200, 250], dtype=np.uint8)
    pixels = np.broadcast_to(levels[:, None, None], (5, 8, 8)).copy()
    return load_arrays(pixels, [0, 1, 1, 1, 1], class_names=["dark", "light"])


def test_every_image_has_a_row_from_which_its_radius_follows(classifier, images):
    certified = snellen.certify(classifier, images, [PLAIN, DualSmoothing(sigma=0.2, samples=150, selection=50)])
    assert certified.folder is None
    assert list(certified.settings) == ["smoothing", "dual_smoothing"]
    for setting, branches, sigma in (("smoothing", 1, 0.25), ("dual_smoothing", 2, 0.2)):
        rows = certified.evidence.where(setting=setting).table.to_pylist()
        assert [row["example_id"] for row in rows] == list(images.ids)
        assert [row["label"] for row in rows] == [0, 1, 1, 1, 1]
        for row in rows:
            chosen = int(np.array(row["selection_votes"]).sum(0).argmax())
            counts = [branch[chosen] for branch in row["votes"]]
            assert len(counts) == branches
            radius = max(proven_radius([lower_bound(n, 150, 0.001 / branches) for n in counts], sigma), 0.0)
            assert row["value"] == pytest.approx(radius)
            assert row["prediction"] == (chosen if radius > 0 else None)
        figures = certified.settings[setting]
        radii = np.array([row["value"] for row in rows])
        right = np.array([row["prediction"] == row["label"] for row in rows])
        assert figures.average_radius.value == pytest.approx(average_radius(radii, right))
        curve = [certified_correct(radii, right, point.radius).mean() for point in figures.curve]
        assert [point.share.value for point in figures.curve] == pytest.approx(curve)
        assert figures.certified.value == pytest.approx(float((radii > 0).mean()))
        assert (figures.guarantee, figures.sigma, figures.votes_lost) == (True, sigma, 0)


def test_batches_and_order_change_no_vote(classifier, images):
    whole = snellen.certify(classifier, images, PLAIN).evidence.table.to_pylist()
    for part in (images.select([3]), images.select([4, 0, 3])):
        for row in snellen.certify(classifier, part, PLAIN, batch_size=1).evidence.table.to_pylist():
            assert row == next(one for one in whole if one["example_id"] == row["example_id"])


def test_without_labels_nothing_is_said_of_right_and_wrong(classifier, images):
    certified = snellen.certify(classifier, images.unlabelled(), PLAIN)
    figures = certified.settings["smoothing"]
    assert figures.certified.n == 5
    assert (figures.certified_accuracy.n, figures.average_radius.value, figures.curve) == (0, None, ())
    assert "right class" not in figures.verdict


def test_the_published_formula_is_reported_as_no_guarantee_and_claims_no_less(classifier, images):
    dual = DualSmoothing(sigma=0.2, samples=150, selection=50)
    certified = snellen.certify(classifier, images, [dual, dual.model_copy(update={"parity": True})])
    proven, claimed = certified.settings.values()
    assert claimed.guarantee is False
    assert "NO GUARANTEE" in claimed.verdict
    assert "NO GUARANTEE" not in proven.verdict
    assert claimed.largest_radius >= proven.largest_radius


def test_an_interrupted_call_goes_on_and_ends_with_the_same_bytes(classifier, images, tmp_path, monkeypatch):
    snellen.certify(classifier, images, PLAIN, out=tmp_path / "whole", batch_size=2)
    asked = []
    certify = Smoothing.certify

    def stopping(self, classifier, batch, *, rng):
        asked.append(rng.ids)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return certify(self, classifier, batch, rng=rng)

    monkeypatch.setattr(Smoothing, "certify", stopping)
    with pytest.raises(KeyboardInterrupt):
        snellen.certify(classifier, images, PLAIN, out=tmp_path / "parts", batch_size=2)
    assert not (tmp_path / "parts" / "certify.json").exists()
    with pytest.raises(RunConflictError):
        snellen.certify(classifier, images, PLAIN, out=tmp_path / "parts", batch_size=2, seed=1)
    snellen.certify(classifier, images, PLAIN, out=tmp_path / "parts", batch_size=2)
    assert asked == [tuple(images.ids[:2]), tuple(images.ids[2:4]), tuple(images.ids[2:4]), (images.ids[4],)]
    for name in ("certify.json", "evidence.parquet"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["certify.json", "evidence.parquet"]
    # A finished call computes nothing and gives the same.
    again = snellen.certify(classifier, images, PLAIN, out=tmp_path / "parts", batch_size=2)
    assert len(asked) == 4
    assert len(again.evidence) == 5
    assert json.loads((tmp_path / "parts" / "certify.json").read_bytes()) == json.loads(json.dumps(again.to_json()))
    assert Evidence.read(tmp_path / "parts" / "evidence.parquet").spent.queries == 5 * 200


def test_what_cannot_be_certified_is_refused_before_anything_is_written(classifier, images, tmp_path):
    for method, wanted, message in (
        (Smoothing(), images, "not trained on noise of a known size"),
        ([], images, "no method to certify with"),
        (PLAIN, images.select([]), "holds no images"),
        ([PLAIN, PLAIN], images, "given twice"),
    ):
        with pytest.raises(InputError, match=message):
            snellen.certify(classifier, wanted, method, out=tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and holds no set of certificates"):
        snellen.certify(classifier, images, PLAIN, out=tmp_path / "full")
    assert not (tmp_path / "out").exists()
    assert PLAIN.certify(classifier, torch.rand(1, 3, 8, 8), rng=Randomness(0)).guarantee


def test_a_model_that_cannot_be_distinguished_from_another_never_takes_a_folder_for_done(images, tmp_path):
    network = nn.Sequential(Brightness(), nn.Identity())
    changed = Classifier(network, class_names=["dark", "light"], preparation=Preprocessing(size=(8, 8)), name="changed")
    snellen.certify(changed, images, PLAIN, out=tmp_path / "out")
    refused = pytest.raises(InputError, match="out holds a set of certificates, and changed cannot be hashed")
    with changed.edit("1", torch.neg), refused:
        snellen.certify(changed, images, PLAIN, out=tmp_path / "out")


def test_odd_images_cannot_be_split_and_leave_no_files(classifier, tmp_path):
    odd = load_arrays(np.zeros((2, 7, 8), dtype=np.uint8), [0, 0], class_names=["dark", "light"])
    whole = Classifier(Brightness(), class_names=["dark", "light"], name="brightness")
    with pytest.raises(InputError, match=r"none of the 2 images.*expected an even height and width"):
        snellen.certify(whole, odd, DualSmoothing(sigma=0.2, samples=50), out=tmp_path / "out")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_colours_under_grey_noise_are_rejected_by_name(classifier, images):
    pixels = np.full((3, 8, 8, 3), 250, dtype=np.uint8)
    pixels[1, 0, 0, 0] = 0
    mixed = load_arrays(pixels, [1, 1, 1], class_names=["dark", "light"])
    certified = snellen.certify(classifier, mixed, PLAIN.model_copy(update={"grey": True}), allow_rejected=True)
    assert [one.id for one in certified.rejected] == [mixed.ids[1]]
    assert "this one has colours" in certified.rejected[0].reason
    assert certified.settings["smoothing"].certified.n == 2
    assert certified.evidence.table["example_id"].to_pylist() == [mixed.ids[0], mixed.ids[2]]


def test_a_full_disk_is_reported_and_the_same_call_goes_on(classifier, images, tmp_path, monkeypatch):
    whole = snellen.certify(classifier, images, PLAIN, out=tmp_path / "whole", batch_size=2)
    with monkeypatch.context() as patched:

        def full(self, path):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        patched.setattr("snellen.verbs.certify.Evidence.write", full)
        with pytest.raises(UnwritableError, match="No space left"):
            snellen.certify(classifier, images, PLAIN, out=tmp_path / "out", batch_size=2)
    again = snellen.certify(classifier, images, PLAIN, out=tmp_path / "out", batch_size=2)
    assert again.settings == whole.settings
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["certify.json", "evidence.parquet"]
