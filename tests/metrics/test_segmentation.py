"""Counts of pixels against loops, and figures against their definitions."""

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.metrics.segmentation import confusion, mean_overlap, overlap_of_classes, segmentation_figures


def maps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(-1, 4, (3, 6, 7), generator=generator)
    return torch.randint(0, 4, (3, 6, 7), generator=generator), truth


def test_counts_against_a_loop():
    predicted, truth = maps()
    expected = np.zeros((3, 4, 4), dtype=int)
    for image in range(3):
        for own, given in zip(truth[image].flatten().tolist(), predicted[image].flatten().tolist(), strict=True):
            if own >= 0:
                expected[image, own, given] += 1
    assert (confusion(predicted, truth, 4) == expected).all()


def test_overlap_against_sets():
    predicted, truth = maps()
    counts = confusion(predicted, truth, 4)[0]
    known = truth[0] >= 0
    for name in range(4):
        first, second = (predicted[0] == name) & known, truth[0] == name
        expected = (first & second).sum() / (first | second).sum()
        assert overlap_of_classes(counts)[name] == pytest.approx(expected.item())
    assert mean_overlap(counts) == pytest.approx(np.mean(overlap_of_classes(counts)))


def test_classes_that_do_not_occur_do_not_count():
    counts = np.diag([5, 0, 3])
    assert np.isnan(overlap_of_classes(counts)[1])
    assert mean_overlap(counts) == 1
    assert segmentation_figures(counts) == {"miou": 1, "mean_accuracy": 1, "pixel_accuracy": 1}
    assert np.isnan(mean_overlap(np.zeros((2, 3, 3), dtype=int))).all()
    with pytest.raises(InputError, match="no pixel has a known class"):
        segmentation_figures(np.zeros((3, 3), dtype=int))


def test_bad_maps_are_refused():
    predicted, truth = maps()
    with pytest.raises(InputError, match=r"\(n, h, w\) both"):
        confusion(predicted[:2], truth, 4)
    with pytest.raises(InputError, match="true classes are -1 to 2"):
        confusion(predicted, truth, 3)
    with pytest.raises(InputError, match="predicted classes are 0 to 3"):
        confusion(predicted - 1, truth, 4)
