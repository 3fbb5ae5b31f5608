"""Thresholds without labels: every trajectory is scored as another class, with that class's words and reference."""

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.systems.continuous_nuisance import filter_scores
from snellen.systems.continuous_nuisance.filter_scores import thresholds_of_others
from snellen.systems.continuous_nuisance.filtering import SCORES
from snellen.systems.continuous_nuisance.strengths import beyond, strengths_of

CLASSES = ("star", "star", "ring", "heart")


def test_each_trajectory_is_scored_as_another_class_beside_that_class(monkeypatch):
    # The value of every pixel says of which thing and strength it is.
    images = (torch.arange(4)[:, None] * 10 + torch.arange(3)).float()[..., None, None, None].expand(4, 3, 3, 2, 2)
    seen = []

    def scored(_encoders, mixed, names, words, **_):
        seen.append((mixed[:, :, 0, 0, 0].tolist(), list(names), words))
        values = mixed[:, :, 0, 0, 0].numpy().astype(float)
        return {name: values + number for number, name in enumerate(SCORES)}

    monkeypatch.setattr(filter_scores, "filter_scores", scored)
    found = thresholds_of_others(None, {"in fog": images, "in rain": images}, CLASSES, share=0.5)
    mixed, names, words = seen[0]
    assert names == ["ring", "ring", "heart", "star"]
    assert [row[0] for row in mixed] == [20, 20, 30, 0], "the reference is that of the other class"
    assert [row[1:] for row in mixed] == [[1, 2], [11, 12], [21, 22], [31, 32]]
    assert [words, seen[1][2]] == ["in fog", "in rain"]
    # Of 1, 2, 11, 12, 21, 22, 31, 32, twice each, half does not exceed 12; strength 0 counts nowhere.
    assert found == {name: 12.0 + number for number, name in enumerate(SCORES)}


def test_one_class_alone_has_no_others():
    with pytest.raises(InputError, match="there is 'star' alone: name another class, give thresholds, or do not"):
        thresholds_of_others(None, {"in fog": torch.zeros(2, 2, 3, 4, 4)}, ("star", "star"))


def test_grids_as_text():
    assert strengths_of(["0:1:5"]) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert strengths_of(["0:0.3:4"]) == (0.0, 0.1, 0.2, 0.3), "no 0.30000000000000004 in names of folders"
    assert strengths_of(["0", "2", "3.5"]) == (0.0, 2.0, 3.5)
    assert beyond((1, 2, 4)) == 6
    for wrong, message in (
        ((), "there are two at least"),
        (("0:2.5",), "START:END:COUNT"),
        (("0:2.5:1",), "2 to 100 strengths"),
        (("0:2.5:1000",), "2 to 100 strengths"),
        (("0:x:3",), "START:END:COUNT"),
        (("2.5:0:6",), "start at 0"),
        (("0:-1:3",), "ascend"),
        (("0", "2", "1"), "1 comes after 2"),
        (("0", "nan"), "finite"),
        (("0:inf:3",), "finite"),
        (("0.5", "1"), "start at 0"),
        (("0", "a"), "START:END:COUNT"),
    ):
        with pytest.raises(InputError, match=message):
            strengths_of(wrong)
    assert np.isfinite(beyond((0.0, 2.5)))
