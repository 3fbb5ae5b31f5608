"""A classifier, images and a plan so small that a training takes a moment."""

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.systems.style_counterfactuals.networks import Sizes
from snellen.systems.style_counterfactuals.plan import StylePlan
from snellen.systems.style_counterfactuals.training import Training, train_explainer

SIZES = Sizes(
    side=32, capacity=1, most=8, width=8, mixed=2, mapping_layers=1, encoder="pyramid", backbone="random",
    backbone_width=2,
)  # fmt: skip

PLAN = StylePlan(
    sizes=SIZES, steps=4, batch_size=4, accumulate=1, learning_rate=1e-3, path_every=0, average_start=2, average_every=1
)


class Brightness(nn.Module):
    """Whether an image is bright: one map, and one logit for each class of its mean."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.map = nn.Conv2d(3, 4, 3, 2, 1)
        self.norm = nn.BatchNorm2d(4)
        nn.init.constant_(self.map.weight, 1 / 27)
        with torch.no_grad():  # else all channels were one, and the perceptual distance were 0
            self.map.weight[0, :, 0] += 0.05
            self.map.weight[0, :, 2] -= 0.05
            self.map.weight[1, :, :, 0] += 0.05
            self.map.weight[1, :, :, 2] -= 0.05
        nn.init.zeros_(self.map.bias)
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        level = self.norm(self.map(images)).mean((1, 2, 3)) - 0.35
        steps = torch.linspace(-1, 1, self.classes)
        return 20 * level[:, None] * steps - 3 * steps.square()


def classifier(classes: int = 2) -> Classifier:
    """Of images of 32 pixels."""
    names = [f"class {number}" for number in range(classes)]
    return Classifier(Brightness(classes), class_names=names, preparation=Preprocessing(size=(32, 32)), name="bright")


def images(count: int = 24, seed: int = 0) -> Tensor:
    """Discs on grey, uint8 (n, 3, 32, 32), dark and bright ones."""
    draws = torch.Generator().manual_seed(seed)
    level, radius = torch.rand(2, count, 1, 1, generator=draws)
    rows, columns = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(32) - 15.5, indexing="ij")
    disc = (4 + 8 * radius - (rows.square() + columns.square()).sqrt()).clamp(0, 1)
    shade = 0.1 + 0.5 * level + 0.3 * disc
    return shade.mul(255).round().to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous()


def trained(plan: StylePlan = PLAN, classes: int = 2, **options: object) -> Training:
    """A training that was carried out, on 24 images."""
    return train_explainer(classifier(classes), images(), plan, Randomness(0), **options)  # type: ignore[arg-type]
