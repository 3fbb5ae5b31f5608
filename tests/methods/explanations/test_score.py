"""The explained number: of whom, after what, and refused where there is none."""

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.methods.explanations.score import TargetScore

SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -3.0]])
IMAGES = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def classifier_of(**options):
    """Scores are linear in the brightness of the first pixel, so that each candidate has its own."""
    return Classifier(
        lambda images: images[:, :1, 0, 0] * torch.tensor([2.0, -1.0, 0.5]) - 0.25, class_names=["a", "b", "c"],
        name="box", **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "of", "expected"),
    [
        ({}, "score", lambda s: s),
        ({}, "probability", lambda s: s.softmax(1)),
        ({"task": "multilabel"}, "probability", lambda s: s.sigmoid()),
        ({"task": "multilabel", "output": "log-probabilities"}, "probability", lambda s: s.exp()),
        ({"output": "labels"}, "score", lambda s: s),
    ],
)
def test_each_candidate_is_queried_about_the_target_of_its_image(options, of, expected):
    classifier = classifier_of(**options)
    rows = torch.tensor([1, 0, 1, 1, 0])
    candidates = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    score = TargetScore(classifier, torch.tensor([2, 0]), of, chunk=2)
    wanted = expected(classifier(candidates))[torch.arange(5), torch.tensor([0, 2, 0, 0, 2])]
    assert torch.allclose(score(candidates, rows), wanted)
    values = score.values(candidates, rows)
    assert values.dtype == torch.float64
    assert torch.allclose(values, wanted.double())


def test_values_are_queried_in_chunks_and_keep_what_is_not_finite():
    sizes = []

    def model(images):
        sizes.append(len(images))
        value = images[:, 0, 0, 0].clone()
        return torch.stack([torch.where(value > 0.9, torch.nan, value), value], 1)

    images = torch.full((5, 3, 2, 2), 0.5)
    images[3] = 1.0
    score = TargetScore(Classifier(model, class_names=["a", "b"]), torch.zeros(5, dtype=torch.int64), "score", chunk=2)
    values = score.of_images(images)
    assert sizes == [2, 2, 1]
    assert values.isnan().tolist() == [False, False, False, True, False]
    assert len(score.values(images[:0], torch.zeros(0, dtype=torch.int64))) == 0


@pytest.mark.parametrize(
    ("targets", "options", "words"),
    [
        (torch.tensor([0.0, 1.0]), {}, "int64"),
        (torch.tensor([[0, 1]]), {}, "int64"),
        (torch.tensor([0, 3]), {}, "classes from 0 to 2 of box; got 0 to 3"),
        (torch.tensor([-1, 2]), {}, "got -1 to 2"),
        (torch.tensor([0, 1]), {"chunk": 0}, "at least one image"),
    ],
)
def test_what_is_no_target_is_refused(targets, options, words):
    with pytest.raises(InputError, match=words):
        TargetScore(classifier_of(), targets, **options)


def test_labels_have_no_probability():
    with pytest.raises(InputError, match=r"box gives labels only.*of='score'"):
        TargetScore(classifier_of(output="labels"), torch.tensor([0]))
