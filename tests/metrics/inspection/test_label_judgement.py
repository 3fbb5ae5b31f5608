"""Whose opinion counts: a model that memorised the labels is noticed, others are not, and wrong labels are found."""

from __future__ import annotations

import numpy as np
import pytest

from snellen.metrics.inspection.fingerprints import fingerprint
from snellen.metrics.inspection.label_judgement import LabelJudgement, judge_labels, thumbnail_features
from snellen.metrics.inspection.label_opinions import kernel_opinion
from snellen.metrics.inspection.label_power import visible_share
from tests.metrics.inspection.planted import pictures


class Set:
    """Images of five classes, which features and thumbnails show with noise, and labels of which a share is wrong."""

    def __init__(self, seed: int, wrong: float, n: int = 1500) -> None:
        self.rng = np.random.default_rng(seed)
        self.truth = self.rng.integers(0, 5, n)
        self.given = self.truth.copy()
        rows = self.rng.permutation(n)[: round(wrong * n)]
        self.given[rows] = (self.truth[rows] + self.rng.integers(1, 5, len(rows))) % 5
        self.thumbnails = self.rng.normal(0, 1, (n, 20)) + 3.2 * np.eye(5, 20)[self.truth]

    def model(self, accuracy: float, temperature: float = 1.0) -> np.ndarray:
        """A model that never saw the labels."""
        scores = self.rng.normal(0, 1, (len(self.truth), 5)) + accuracy * np.eye(5)[self.truth]
        return softmax(scores * accuracy / temperature)

    def judged(self, probabilities: np.ndarray) -> LabelJudgement:
        return judge_labels(probabilities, self.given, thumbnails=self.thumbnails)


def softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def test_memorised_labels_are_noticed_and_found() -> None:
    images = Set(0, 0.06)
    memorised = softmax(images.rng.normal(0, 1, (1500, 5)) + 9 * np.eye(5)[images.given])
    found = images.judged(memorised)
    assert found.in_sample
    assert found.memorised
    assert found.agreement > 0.995
    assert found.held_out_agreement is not None
    assert found.held_out_agreement < 0.95
    assert "model" not in found.voices
    # The features that rank saw the labels: what tests is the head on thumbnails alone.
    np.testing.assert_allclose(found.tested, kernel_opinion(images.thumbnails, images.given, classes=5, seed=0))
    assert not np.allclose(found.tested, found.probabilities)
    assert found.share.p_value < 0.01
    assert found.share.lower(0.975) < 0.06
    # Without a second opinion such a model hides what is wrong.
    alone = judge_labels(memorised, images.given)
    assert (alone.share.p_value, alone.in_sample, alone.held_out_agreement) == (1.0, False, None)


def test_a_model_that_memorised_most_is_noticed_by_what_heads_contradict() -> None:
    images = Set(1, 0.06)
    scores = images.rng.normal(0, 1, (1500, 5)) + 4.0 * np.eye(5)[images.given]
    found = images.judged(softmax(scores))
    assert found.in_sample
    assert 0.97 < found.agreement < 0.995
    assert found.share.p_value < 0.01


def test_an_excellent_model_is_not_accused_of_memory() -> None:
    images = Set(3, 0.0)
    found = images.judged(softmax(images.rng.normal(0, 1, (1500, 5)) + 9 * np.eye(5)[images.given]))
    assert found.in_sample, "it may be: it has nothing to say against labels"
    assert not found.memorised


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0], ids=["overconfident", "calibrated", "underconfident"])
@pytest.mark.parametrize("wrong", [0.0, 0.06])
def test_a_model_that_did_not_see_the_labels_keeps_its_say(temperature: float, wrong: float) -> None:
    images = Set(2, wrong)
    found = images.judged(images.model(3.0, temperature))
    assert not found.in_sample
    assert not found.memorised
    assert found.voices == ("model", "kernel on thumbnails")
    assert (found.share.p_value < 0.05) == (wrong > 0)
    if wrong:
        assert found.share.lower(0.975) < wrong < found.share.upper(0.975)


def test_heads_help_a_poor_model() -> None:
    images = Set(3, 0.05)
    probabilities = images.model(1.2)
    own = np.arange(1500), images.given
    wrong = images.given != images.truth
    alone, joined = judge_labels(probabilities, images.given), images.judged(probabilities)

    def ranked(found: LabelJudgement) -> float:
        worst = found.probabilities[own].argsort()[: wrong.sum()]
        return float(wrong[worst].mean())

    assert ranked(joined) > ranked(alone) + 0.2
    # A head learns noise that most labels of a class share: it has no say in whether there is any.
    assert joined.share.p_value == alone.share.p_value


def test_only_independent_images_count_for_the_share() -> None:
    images = Set(4, 0.05, 600)
    half = np.arange(600) % 2 == 0
    found = judge_labels(images.model(3.0), images.given, thumbnails=images.thumbnails, independent=half)
    assert (found.share.n, len(found.probabilities)) == (300, 600)


def test_thumbnails_as_features() -> None:
    shown = fingerprint(pictures(3, size=32))
    features = thumbnail_features(shown)
    assert features.shape == (3, 288)
    assert features[:, :256] == pytest.approx(shown.thumbnails.reshape(3, -1) / 255)
    # A cell of colour counts as much as the 16 pixels that it covers.
    assert features[:, 256:] == pytest.approx(shown.chroma.reshape(3, -1) / 255 * 4)


def test_what_could_have_been_seen_is_what_is_found() -> None:
    images = Set(5, 0.0)
    probabilities = images.model(3.0)
    share = visible_share(probabilities, images.given)
    # How sure the model says to be does not matter: labels are drawn as sure as it is right.
    unsure = np.sqrt(probabilities) / np.sqrt(probabilities).sum(1, keepdims=True)
    assert visible_share(unsure, images.given) == share
    assert share is not None
    found, missed = 0, 0
    for seed in range(5):
        for planted in (share, share / 4):
            images = Set(seed, planted)
            hit = judge_labels(images.model(3.0), images.given).share.p_value < 0.01
            found, missed = found + (hit and planted == share), missed + (not hit and planted != share)
    assert found >= 4
    assert missed >= 3


def test_more_images_show_more() -> None:
    images = Set(6, 0.0, 4000)
    probabilities, labels = images.model(3.0), images.given
    few, many = visible_share(probabilities[:800], labels[:800]), visible_share(probabilities, labels)
    assert few is not None
    assert many is not None
    assert many < few
    assert visible_share(np.full((500, 4), 0.25), np.arange(500) % 4) is None
