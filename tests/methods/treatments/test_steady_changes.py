"""Changes are steady where the classifier says so: not where the side tells classes apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.treatments.steady_changes import steady_changes
from snellen.methods.treatments.treatment import Patient
from snellen.training.batches import ImageStore

SIDE = 16


class _Halves(nn.Module):
    """Scores by the brightness of the left and right half, or of the upper and lower one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, images: Tensor) -> Tensor:
        first, second = images.mean(1).chunk(2, self.dim)
        return torch.stack([first.mean((1, 2)), second.mean((1, 2))], 1)


def patient(dim: int) -> Patient:
    """Images with one bright half, which the classifier gets right."""
    labels = torch.arange(60) % 2
    images = torch.full((60, 3, SIDE, SIDE), 40, dtype=torch.uint8)
    for row, label in enumerate(labels.tolist()):
        images[row].movedim(dim, 0)[label * SIDE // 2 : (label + 1) * SIDE // 2] += 150
    names = tuple(map(str, range(60)))
    store = ImageStore(images, labels, names, torch.ones(60))
    classifier = Classifier(_Halves(dim), class_names=["a", "b"], preparation=Preprocessing(size=(SIDE, SIDE)))
    return Patient(classifier, (), store)


def test_left_and_right_are_not_mirrored_where_they_are_the_classes() -> None:
    rng = Randomness(0).for_examples([str(one) for one in range(60)])
    for dim, mirrored in ((2, False), (1, True)):
        one = patient(dim)
        change = steady_changes(one)
        assert change is not None, "small shifts cost nothing"
        assert len(one.remembered["steady changes"]) == 1 + mirrored  # type: ignore[arg-type]
        shown, targets = one.val.read(torch.arange(60))
        scores = one.classifier(change(shown.float() / 255, targets, rng)[0])
        assert (scores.argmax(1) == targets).all(), "no class is changed"


def test_nothing_is_steady_where_every_change_costs() -> None:
    one = patient(2)

    class Corner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            lit = (images[:, 0, :, 0].amin(1) > 0.5).float()  # the very edge, which a shift darkens
            return torch.stack([lit, 1 - lit], 1)

    assert steady_changes(Patient(Classifier(Corner(), class_names=["a", "b"]), (), one.val)) is None
