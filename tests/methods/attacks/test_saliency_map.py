"""The saliency map attack: the paper's map written out, its domain and its limit."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError, UnsupportedError
from snellen.methods.attacks.saliency_map import SaliencyMap
from snellen.testing.conformance import small_problem


def linear(weight):
    model = nn.Sequential(nn.Flatten(), nn.Linear(weight.shape[1], len(weight), bias=False))
    model[1].weight.data = weight
    return Classifier(model, class_names=[str(i) for i in range(len(weight))])


@pytest.mark.parametrize("step", [1.0, -1.0])
@pytest.mark.parametrize("targeted", [True, False])
def test_the_first_pair_is_the_one_of_the_papers_map(step, targeted):
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(4, 12, generator=generator)
    classifier, image = linear(weight), torch.full((1, 3, 2, 2), 0.5)
    own = int(classifier(image).argmax())
    wanted = (own + 1) % 4 if targeted else own
    # Algorithm 3 for every pair; darkening turns the signs round, and leaving a class turns them round too.
    turn = (1 if step > 0 else -1) * (1 if targeted else -1)
    best, expected = 0.0, None
    for p in range(12):
        for q in range(p + 1, 12):
            alpha = turn * float(weight[wanted, p] + weight[wanted, q])
            beta = turn * float(weight[:, [p, q]].sum() - weight[wanted, [p, q]].sum())
            if alpha > 0 and beta < 0 and -alpha * beta > best:
                best, expected = -alpha * beta, [p, q]
    seen = []
    model = classifier.module

    class Watched(nn.Module):
        def forward(self, images):
            seen.append(images.detach().clone())
            return model(images)

    watched = Classifier(Watched(), class_names=classifier.class_names)
    criterion = Targeted() if targeted else None
    SaliencyMap(step=step, largest_share=1.0).attack(watched, image, torch.tensor([wanted]), criterion=criterion)
    # The clean image is looked at twice: before the search, and for its slopes.
    changed = (seen[2] != image).flatten().nonzero().flatten().tolist()
    assert changed == expected
    assert (seen[2].flatten()[changed] == (1.0 if step > 0 else 0.0)).all()


def test_never_changes_more_values_than_allowed():
    classifier, images, labels = small_problem(count=20)
    for share in (0.01, 0.05):
        attacked = SaliencyMap(largest_share=share, step=0.3).attack(classifier, images, labels)
        assert (attacked.distance <= int(share * 192)).all()
        changed = (attacked.images != images).flatten(1).sum(1)
        assert torch.equal(attacked.distance.long(), changed)
    assert not SaliencyMap(largest_share=0.005).attack(classifier, images, labels).success.any()


def test_reaches_targets():
    classifier, images, labels = small_problem(count=12)
    targets = (labels + 2) % 5
    attacked = SaliencyMap().attack(classifier, images, targets, criterion=Targeted())
    assert attacked.success.float().mean() > 0.9
    assert torch.equal(classifier(attacked.images).argmax(1)[attacked.success], targets[attacked.success])


def test_a_model_without_slopes_is_reported_and_ends():
    classifier = linear(torch.tensor([[0.0] * 12, [-1.0] * 12]) * 0)
    attacked = SaliencyMap().attack(classifier, torch.rand(2, 3, 2, 2), torch.tensor([0, 0]))
    assert attacked.status == ("not found", "not found")
    assert attacked.queries.tolist() == [2, 2]


def test_bad_parameters_and_models_are_refused():
    for wrong in ({"step": 0}, {"step": 1e-9}, {"step": 2}, {"largest_share": 0}):
        with pytest.raises(InputError):
            SaliencyMap(**wrong)
    images, labels = torch.rand(1, 3, 2, 2), torch.tensor([0])
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(UnsupportedError, match="several labels an image"):
        SaliencyMap().attack(
            Classifier(model, class_names=["a", "b"], task="multilabel"), images, torch.tensor([[0, 1]])
        )
    blind = Classifier(lambda x: x.flatten(1)[:, :2], class_names=["a", "b"], name="blind")
    with pytest.raises(UnsupportedError, match="needs gradients, and blind gives none"):
        SaliencyMap().attack(blind, images, labels)
