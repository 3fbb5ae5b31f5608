"""The filter on scores made by hand, and its scores on vectors made by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.preprocessing import Preprocessing
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.systems.continuous_nuisance.filter_scores import FilterEncoders, filter_scores, reference_similarity
from snellen.systems.continuous_nuisance.filtering import (
    PUBLISHED_THRESHOLDS,
    SCORES,
    calibrated,
    keep,
    rates,
    threshold_keeping,
    threshold_removing,
    votes,
)

THRESHOLDS = dict.fromkeys(SCORES, 0.5)


def table(*rows):
    """Scores of one trajectory a row: for each strength which of the four exceed their thresholds."""
    grids = np.array([[[1.0 if mark == "+" else 0.5 for mark in image] for image in row.split()] for row in rows])
    return {name: grids[:, :, number] for number, name in enumerate(SCORES)}


@pytest.mark.covers("2.6")
def test_two_of_four_keep_an_image_and_all_images_a_trajectory():
    scores = table("++++ ++-- -+-+", "++++ +--- ++++", "---- ++++ ++++", "++-- ++-- ++--")
    found = keep(scores, THRESHOLDS, strengths=(0, 1, 2.5))
    assert votes(scores, THRESHOLDS).tolist() == [[4, 2, 2], [4, 1, 4], [0, 4, 4], [2, 2, 2]]
    assert found.images.tolist() == [[True] * 3, [True, False, True], [False, True, True], [True] * 3]
    assert found.trajectories.tolist() == [True, False, False, True]
    assert found.reasons == (
        None,
        "at strength 1, 1 of 4 scores exceeds its threshold, and 2 must",
        "at strength 0, 0 of 4 scores exceed their thresholds, and 2 must",
        None,
    )
    assert keep(scores, THRESHOLDS, strengths=(0, 1, 2.5), needed=1).trajectories.tolist() == [True, True, False, True]


@pytest.mark.covers("2.6")
def test_a_score_at_its_threshold_does_not_exceed_it():
    at = {name: np.array([[0.5]]) for name in SCORES}
    above = {name: np.nextafter(values, 1) for name, values in at.items()}
    assert votes(at, THRESHOLDS).tolist() == [[0]]
    assert votes(above, THRESHOLDS).tolist() == [[4]]


@pytest.mark.covers("2.15")
def test_a_score_that_is_no_number_rejects_its_trajectory_with_the_reason():
    scores = table("++++ ++++", "++++ ++++")
    scores["reference"][1, 1] = np.nan
    found = keep(scores, THRESHOLDS, strengths=(0, 1.5))
    # The other three would have been enough.
    assert found.trajectories.tolist() == [True, False]
    assert found.reasons[1] == "at strength 1.5, the score 'reference' is not a finite number"


def test_scores_that_do_not_go_together():
    with pytest.raises(InputError, match="of one shape"):
        votes({"class": np.ones((1, 2)), "reference": np.ones((1, 3))}, THRESHOLDS)
    with pytest.raises(InputError, match="of one shape"):
        votes({}, THRESHOLDS)
    with pytest.raises(UnknownNameError, match="score with a threshold"):
        votes({"glass": np.ones((1, 2))}, THRESHOLDS)
    with pytest.raises(InputError, match="3 strengths"):
        keep(table("++++ ++++"), THRESHOLDS, strengths=(0, 1, 2))
    with pytest.raises(InputError, match="1 to 4 can be needed; got 5"):
        keep(table("++++ ++++"), THRESHOLDS, strengths=(0, 1), needed=5)


@pytest.mark.covers("2.18")
def test_thresholds_remove_or_keep_the_share_that_was_requested():
    drawn = np.random.default_rng(0).normal(size=137)
    for share in (0.5, 0.9, 0.95, 1.0):
        assert (drawn > threshold_removing(drawn, share)).mean() <= 1 - share
        assert (drawn > threshold_keeping(drawn, share)).mean() >= share
    # The lowest one that removes it, and the highest one that keeps it.
    assert (drawn > np.nextafter(threshold_removing(drawn, 0.9), -np.inf)).mean() > 0.1
    assert (drawn > np.nextafter(threshold_keeping(drawn, 0.9), np.inf)).mean() < 0.9
    scores = {"class": np.array([[5.0, 1.0], [4.0, 2.0]])}
    assert calibrated(scores, [[True, False], [True, False]], 0.9) == {"class": 2.0}
    for wrong in ([], [np.nan]):
        with pytest.raises(InputError, match="finite scores of images"):
            threshold_removing(wrong)
    with pytest.raises(InputError, match="a share lies in"):
        threshold_keeping([1.0], 0)


def test_rates_of_a_filter():
    assert rates([True, True, False, True], [True, False, True, True]) == {
        "true_positives": 2 / 3, "false_positives": 1.0, "precision": 2 / 3,
    }  # fmt: skip
    assert rates([False, False], [True, True]) == {"true_positives": 0.0, "false_positives": 0.0, "precision": 0.0}


class Means(nn.Module):
    """The mean of each channel, times a weight."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.weight = nn.Parameter(factor * torch.eye(3))

    def forward(self, images):
        return images.mean((2, 3)) @ self.weight


class Colours:
    """Two towers: an image is its mean colour, a text the colours that it names."""

    preparation = Preprocessing(size=(2, 2), resize="exact", resize_to=(2, 2))
    image_tower = Means()

    def encode_images(self, images, *, normalised=True):
        return self.image_tower(images)

    def encode_texts(self, texts, *, normalised=True, truncate=False):
        self.requested = list(texts)
        return torch.tensor([[float(word in text) for word in ("red", "green", "blue")] for text in texts])


@pytest.fixture
def encoders():
    second = FrozenEncoder(
        name="second", network=Means(2.0), preparation=Preprocessing(size=(1, 1), resize="exact", resize_to=(1, 1)),
        normalization=Normalization((0.25,) * 3, (1.0,) * 3),
    )  # fmt: skip
    return FilterEncoders(Colours(), second)


def plain(*colours):
    return torch.stack([torch.tensor(colour).view(3, 1, 1).expand(3, 4, 4) for colour in colours])


@pytest.mark.covers("2.6")
def test_the_four_scores(encoders):
    images = torch.stack([plain((1.0, 0.0, 0.0), (1.0, 0.0, 1.0)), plain((0.0, 1.0, 0.0), (0.0, 1.0, 0.0))])
    found = filter_scores(encoders, images, ["red thing", "red thing"], "in blue")
    assert tuple(found) == SCORES
    assert encoders.text_image.requested == ["a photo of a red thing in blue"] * 2
    half = 100 / 2**0.5
    assert np.allclose(found["class"], [[100, half], [0, 0]])
    assert np.allclose(found["class and shift"], [[half, 100], [0, 0]])
    assert np.allclose(found["reference"], [[1, half / 100], [1, 1]])
    # The second encoder sees the images less 0.25, for which (.75, −.25, −.25) and (.75, −.25, .75) stand.
    first, other = np.array([0.75, -0.25, -0.25]), np.array([0.75, -0.25, 0.75])
    cosine = first @ other / np.linalg.norm(first) / np.linalg.norm(other)
    assert np.allclose(found["second reference"], [[1, cosine], [1, 1]])
    with pytest.raises(InputError, match="a class each"):
        filter_scores(encoders, images, ["red"], "in blue")


@pytest.mark.covers("2.18")
def test_the_published_softmax_is_parity_and_changes_the_score(encoders):
    vectors = torch.tensor([[[3.0, -1.0, 0.0], [-3.0, 1.0, 0.0]]], dtype=torch.float64)
    assert reference_similarity(vectors)[0, 1] == pytest.approx(-1)
    soft = vectors[0].softmax(1)
    wanted = float(soft[0] @ soft[1] / soft[0].norm() / soft[1].norm())
    assert reference_similarity(vectors, quirk=True)[0, 1] == pytest.approx(wanted)
    images = plain((1.0, 0.0, 0.0), (1.0, 0.0, 1.0))[None]
    quirk = FilterEncoders(encoders.text_image, encoders.second, quirk=True)
    found = filter_scores(quirk, images, ["red"], "in blue")["second reference"][0, 1]
    first, other = (torch.tensor(colour, dtype=torch.float64) for colour in ((1.0, 0, 0), (1.0, 0, 1.0)))
    soft = [(2 * (colour - 0.5) / 0.2).softmax(0) for colour in (first, other)]
    assert found == pytest.approx(float(soft[0] @ soft[1] / soft[0].norm() / soft[1].norm()), abs=1e-6)
    assert set(PUBLISHED_THRESHOLDS) == set(SCORES)


@pytest.mark.covers("2.7")
def test_a_classifier_that_filters_is_not_ranked(encoders):
    def classifier(network):
        return Classifier(network, class_names=["r", "g", "b"], name="ranked")

    encoders.check_independent([classifier(Means(3.0)), Classifier(lambda x: x[:, :2, 0, 0], class_names=["a", "b"])])
    for own in (1.0, 2.0):
        with pytest.raises(InputError, match="ranked is an encoder of the filter too"):
            # With a head of its own it is still the same encoder.
            encoders.check_independent([classifier(nn.Sequential(Means(own), nn.Linear(3, 3)))])
