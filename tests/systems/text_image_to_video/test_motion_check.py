"""The check of an audit: decisions in generated frames beside those under a pan, and what it refuses."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.preprocessing import Preprocessing, to_image
from snellen.data.files.arrays import load_arrays
from snellen.data.files.held_images import held_set
from snellen.systems.text_image_to_video import check
from snellen.systems.text_image_to_video.check import Motion, panned
from tests.systems.text_image_to_video.small_videos import NETWORK, model

CLASSES = ("dark", "bright")


class Bright(nn.Module):
    """Bright where the mean of the middle exceeds a half; a lean of −1 always finds dark."""

    def __init__(self, lean=0.0):
        super().__init__()
        self.register_buffer("lean", torch.tensor(lean))

    def forward(self, images):
        middle = images[:, :, 4:-4, 4:-4].mean((1, 2, 3)) - 0.5 + self.lean
        return torch.stack([-middle, middle], 1)


class Edge(nn.Module):
    """The same classes by the edge of an image."""

    def forward(self, images):
        edge = images[:, :, :2].mean((1, 2, 3)) - 0.5
        return torch.stack([-edge, edge], 1)


def edge():
    return Classifier(Edge(), class_names=CLASSES, preparation=Preprocessing(size=(16, 16)), name="edge")


def bright(lean=0.0):
    return Classifier(Bright(lean), class_names=CLASSES, preparation=Preprocessing(size=(16, 16)), name="bright")


def pictures(count=24, labels=None):
    drawn = torch.where(torch.arange(count)[:, None, None, None] % 2 == 1, 230, 20).to(torch.uint8)
    classes = [CLASSES[row % 2] for row in range(count)] if labels is None else labels
    ids = [f"i{row}" for row in range(count)]
    return held_set([to_image(one.expand(3, 16, 16)) for one in drawn], ids, name="flat", classes=classes)


class Film:
    """A video model that gives the middle of later frames one value of grey, or leaves them as the first is."""

    side, frames = NETWORK.side, NETWORK.frames

    def check_texts(self, texts):
        """It reads every text."""

    def __init__(self, grey=None, edge=4):
        self.grey, self.edge, self.requested = grey, edge, []

    def generate(self, texts, seeds, *, given, replaced, settings, frames):
        self.requested += list(zip(texts, seeds, strict=True))
        assert replaced.sum(1).tolist() == [1] * len(texts)
        videos = given[:, :1].repeat(1, frames, 1, 1, 1)
        if self.grey is not None:
            videos[:, 1:, :, self.edge : 16 - self.edge, self.edge : 16 - self.edge] = self.grey
        return videos


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "card.json").write_text("{}")
    return str(tmp_path / "film")


def audited(monkeypatch, folder, film, classifier=None, images=None, corner=None, **numbers):
    monkeypatch.setattr(check, "load_video_model", lambda *_, **__: film)
    alike = Classifier(
        nn.Sequential(Bright()), class_names=CLASSES, preparation=Preprocessing(size=(16, 16)), name="alike"
    )
    judges = {"bundled:edge": edge(), "bundled:alike": alike, "bundled:same": bright(), "bundled:corner": corner}
    monkeypatch.setattr(check, "load_classifier", lambda name, **_: judges[name])
    return snellen.audit(
        classifier or bright(), images or pictures(), checks=[Motion(model=folder, **numbers)], progress=None
    )


def test_a_pan_moves_the_picture_by_a_known_number_of_pixels_and_mirrors_its_edge():
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    moved = panned(image, torch.tensor([0.0, 0.25]), 3, 1 / 16)
    assert torch.equal(moved[:, 0], image)
    for frame in (1, 2):
        across, down = moved[0, frame], moved[1, frame]
        assert torch.allclose(across[:, :, : 16 - frame], image[0, :, :, frame:], atol=1e-5)
        assert torch.allclose(across[:, :, -frame:], image[0, :, :, -frame:].flip(-1), atol=1e-5)
        assert torch.allclose(down[:, : 16 - frame], image[1, :, frame:], atol=1e-5)


def test_motion_that_keeps_the_class_finds_nothing(monkeypatch, folder):
    report = audited(monkeypatch, folder, Film())
    assert report.metrics["motion.lost"].value == 0
    assert report.metrics["motion.generated.flips"].value == report.metrics["motion.panned.flips"].value == 0
    assert not report.findings


def test_lost_frames_become_a_finding_with_the_frame_as_picture(monkeypatch, folder):
    film = Film(grey=0.0)
    report = audited(monkeypatch, folder, film, prompts=("a {} moves left", "a {} moves right"), judge="bundled:edge")
    assert report.metrics["motion.generated.flips"].value == 0.5, "bright images become dark, and dark ones stay"
    assert report.metrics["motion.panned.flips"].value == 0
    (finding,) = report.findings
    assert (finding.kind, finding.facts["videos"], finding.level) == ("temporal", 24, "moderate")
    assert finding.examples[0].caption == "bright, frame 2: dark"
    assert finding.examples[0].after is not None
    texts, seeds = zip(*film.requested, strict=True)
    assert set(texts) == {f"a {name} moves {way}" for name in CLASSES for way in ("left", "right")}
    assert len(set(seeds)) == 24


def test_without_a_judge_nothing_is_concluded(monkeypatch, folder):
    report = audited(monkeypatch, folder, Film(grey=0.0))
    assert report.metrics["motion.generated.flips"].value == 0.5
    assert not report.findings
    assert any("was not judged, so nothing is concluded: name a second classifier" in note for note in report.notes)


class Corner(nn.Module):
    """Bright where the corner is."""

    def forward(self, images):
        lit = images[:, :, :2, :2].mean((1, 2, 3)) - 0.5
        return torch.stack([-lit, lit], 1)


def cornered(network):
    return Classifier(network, class_names=CLASSES, preparation=Preprocessing(size=(16, 16)), name="corner")


def corners():
    drawn = torch.zeros(24, 3, 16, 16, dtype=torch.uint8)
    drawn[:, :, :2, :2] = 255
    ids = [f"c{row}" for row in range(24)]
    return held_set([to_image(one) for one in drawn], ids, name="corners", classes=["bright"] * 24)


def test_what_a_pan_loses_as_well_is_no_finding_of_motion(monkeypatch, folder):
    report = audited(monkeypatch, folder, Film(grey=0.0, edge=0), cornered(Corner()), corners(), pan=0.25)
    assert report.metrics["motion.generated.flips"].value == 1
    assert report.metrics["motion.panned.flips"].value > 0.5
    assert report.metrics["motion.lost"].value == pytest.approx(1 - report.metrics["motion.panned.flips"].value)


def test_frames_of_the_pan_that_the_judge_loses_count_in_neither(monkeypatch, folder):
    judge = cornered(nn.Sequential(Corner()))
    report = audited(
        monkeypatch, folder, Film(), cornered(Corner()), corners(), judge, judge="bundled:corner", pan=0.25
    )
    assert report.metrics["motion.panned.flips"].value == 0


def test_harm_counts_the_images_that_were_wrong_at_first_as_unharmed(monkeypatch, folder):
    report = audited(monkeypatch, folder, Film(grey=0.0), images=pictures(24, ["bright"] * 24), judge="bundled:edge")
    (finding,) = [one for one in report.findings if one.kind == "temporal"]
    assert (finding.facts["videos"], finding.facts["lost"]) == (12, 1.0), "dark pictures are called bright"
    assert 0.25 < finding.harm < 0.5


def test_frames_that_a_judge_loses_too_are_errors_of_the_generator(monkeypatch, folder):
    report = audited(monkeypatch, folder, Film(grey=0.0), judge="bundled:alike")
    assert report.metrics["motion.generated.flips"].value == 0, "the judge loses the same frames"
    assert not report.findings
    images = pictures(24, ["bright"] * 24).select(range(1, 24, 2))
    report = audited(monkeypatch, folder, Film(grey=0.0), images=images, judge="bundled:alike")
    assert "motion.lost" not in report.metrics
    reason = next(one.reason for one in report.checks if one.name == "motion")
    assert reason is not None
    assert "finds the class in 0% of the generated frames" in reason


def test_a_classifier_does_not_judge_itself(monkeypatch, folder):
    with pytest.raises(InputError, match="is the audited classifier itself"):
        audited(monkeypatch, folder, Film(), judge="bundled:same")


def test_images_that_are_wrong_at_first_count_nowhere_and_too_few_right_ones_are_no_result(monkeypatch, folder):
    report = audited(monkeypatch, folder, Film(grey=0.0), bright(lean=-1.0))
    assert report.metrics["motion.generated.flips"].n == 12, "half of the images, the bright ones, are wrong at first"
    few = audited(monkeypatch, folder, Film(), images=pictures(16, ["bright"] * 15 + ["dark"]))
    assert "motion.lost" not in few.metrics
    reason = next(one.reason for one in few.checks if one.name == "motion")
    assert "of 16 images only 7 are decided rightly when they have 16 pixels" in reason


def test_images_of_classes_without_a_word_are_left_out_and_named(tmp_path):
    model().save(tmp_path / "film")
    named = [("dark", "circle")[row % 2] for row in range(24)]
    half = Classifier(Bright(), class_names=("dark", "circle"), preparation=Preprocessing(size=(16, 16)), name="half")
    wanted = Motion(model=str(tmp_path / "film"), prompts=("a red {} moves left slowly on black",))
    report = snellen.audit(half, pictures(24, named), checks=[wanted], progress=None)
    assert report.metrics["motion.lost"].n == 12
    assert any("no words for these classes, which are left out: dark." in note for note in report.notes)


def test_what_cannot_be_used_is_refused_before_the_audit(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no video model is there; train one with"):
        Motion(model=str(tmp_path / "missing")).resolved(bright())
    model().save(tmp_path / "film")
    with pytest.raises(UnknownNameError, match="bright"):
        Motion(model=str(tmp_path / "film"), prompts=("a red bright moves left slowly on black",)).resolved(bright())
    other = SimpleNamespace(class_names=("bright", "dark"), identity=None)
    monkeypatch.setattr(check, "load_classifier", lambda *_, **__: other)
    with pytest.raises(InputError, match="has other classes, or another order"):
        Motion(model=str(tmp_path / "film"), prompts=("",), judge="bundled:scene-cnn").resolved(bright())
    half = Classifier(Bright(), class_names=("dark", "circle"), preparation=Preprocessing(size=(16, 16)), name="half")
    wanted = Motion(model=str(tmp_path / "film"), prompts=("a red {} moves left slowly on black",))
    assert wanted.resolved(half) is wanted, "images of the other class are left out, with a note"
    with pytest.raises(ValueError, match="only once"):
        Motion(model="film", prompts=("a", "a"))
    assert "needs a video model: --set motion.model=FOLDER" in str(Motion().missing(bright(), pictures(), frozenset()))


def test_a_trained_model_is_used_as_it_is_and_the_same_seed_gives_the_same_figures(tmp_path):
    model().save(tmp_path / "film")
    images = load_arrays(np.repeat([[20], [230]], 12, 0).repeat(3 * 16 * 16, 1).reshape(24, 3, 16, 16).astype(np.uint8),
                         labels=[0] * 12 + [1] * 12, class_names=CLASSES)  # fmt: skip
    wanted = Motion(model=str(tmp_path / "film"), prompts=("a red circle moves left slowly on black",), images=12)
    first, second = (snellen.audit(bright(), images, checks=[wanted], progress=None) for _ in range(2))
    assert first.metrics == second.metrics
    assert first.metrics["motion.lost"].n == 12
