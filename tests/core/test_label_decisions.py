"""Several labels an image: decisions at thresholds, and one label as a classifier of two classes."""

from itertools import product

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnknownNameError

NAMES = ("cat", "dog", "owl")
SCORES = torch.tensor([[-2.0, -0.5, 3.0], [0.5, 0.1, -3.0], [1.5, -1.5, 0.2]])


class Given(nn.Module):
    """Scores that do not depend on the images."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scores[: len(images)]


def several(output: str = "logits") -> Classifier:
    scores = {
        "logits": SCORES,
        "log-probabilities": nn.functional.logsigmoid(SCORES),
        "labels": (SCORES > 0).float(),
    }[output]
    model = Given(scores)
    return Classifier(model, class_names=NAMES, task="multilabel", output=output)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("output", "thresholds"),
    [
        ("labels", None),
        *product(("logits", "log-probabilities"), (None, (0.2, 0.5, 0.6), (0.7, 0.3, 0.97))),
    ],
)
def test_one_label_alone_is_decided_as_among_all(output, thresholds):
    classifier, images = several(output), torch.zeros(3, 3, 2, 2)
    if thresholds:
        classifier = classifier.with_thresholds(dict(zip(NAMES, thresholds, strict=True)))
    with torch.no_grad():
        decided = classifier.predict(classifier(images))
        at = torch.tensor(thresholds or (0.5, 0.5, 0.5))
        assert decided.tolist() == (SCORES.sigmoid() > at).long().tolist()
        for place, name in enumerate(NAMES):
            alone = classifier.of_label(place)
            assert alone.class_names == (f"no {name}", name)
            assert alone.predict(alone(images)).tolist() == decided[:, place].tolist()
    assert classifier.spent.queries == 4 * 3


def test_thresholds_of_some_labels_leave_the_others_and_the_model_as_they_are():
    classifier = several()
    changed = classifier.with_thresholds({"dog": 0.3}).with_thresholds({"owl": 0.8})
    assert changed.thresholds == (0.5, 0.3, 0.8)
    assert classifier.thresholds is None
    assert changed.fingerprint() == classifier.fingerprint()
    with pytest.raises(UnknownNameError, match="unknown label 'dgo'; did you mean 'dog'"):
        classifier.with_thresholds({"dgo": 0.3})
    with pytest.raises(InputError, match=r"probabilities in \(0, 1\)"):
        classifier.with_thresholds({"dog": 1.0})
    with pytest.raises(InputError, match="this model gives decisions only"):
        several("labels").with_thresholds({"dog": 0.3})
