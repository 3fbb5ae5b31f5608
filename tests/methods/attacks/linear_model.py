"""A linear two-class model, whose smallest successful changes are known."""

import torch
from torch import nn

from snellen.core.classifier import Classifier


def linear_problem(norm, count=40):
    """Classifier, images away from the bounds of [0, 1], predictions, and |margin| / ‖w‖ in the dual norm."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3 * 4 * 4, generator=generator) * 0.3
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    model[1].weight.data = torch.stack([weight, -weight])
    images = 0.3 + 0.4 * torch.rand(count, 3, 4, 4, generator=generator)
    model[1].bias.data = torch.tensor([-1.0, 1.0]) * float((images.flatten(1) @ weight).mean())
    classifier = Classifier(model, class_names=["a", "b"])
    with torch.no_grad():
        scores = classifier(images)
    margin = (scores[:, 0] - scores[:, 1]).abs()
    dual = weight.abs().sum() if norm == "linf" else weight.norm()
    return classifier, images, scores.argmax(1), margin / (2 * dual)
