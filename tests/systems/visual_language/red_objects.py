"""A classifier of which it is known what it looks at, and stages of VALE that remember what they were handed."""

import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.explanations.partition_shap import PartitionSHAP
from snellen.models.captioners.protocol import Captions
from snellen.models.segmenters.protocol import Segmented
from snellen.systems.visual_language.method import VisualLanguage

SIDE = 16
#: Off the diagonal: rows 2 to 4, columns 11 to 13.
BLOB = (slice(2, 5), slice(11, 14))
SHAP = PartitionSHAP(fill="black", budget=60)


def looks_at_red(images):
    """A black box: the class "red" where the reddest pixel is red and not the others."""
    red = (images[:, 0] - images[:, 1]).flatten(1).clamp(min=0).mean(1) * 40
    return torch.stack([red, torch.zeros_like(red)], 1)


class Reading(nn.Module):
    def forward(self, images):
        return looks_at_red(images)


def classifier_of(model=looks_at_red, **options):
    return Classifier(
        model, class_names=["red", "other"], preparation=Preprocessing(size=(SIDE, SIDE)), name="red", **options
    )


def picture(blob=BLOB):
    image = torch.full((1, 3, SIDE, SIDE), 0.4)
    image[0, 0][blob], image[0, 1:, blob[0], blob[1]] = 1.0, 0.0
    return image


class FloodSegmenter:
    """Three nested masks of the pixels that look like the one it is pointed at; remembers what it was handed."""

    name, prompts, device = "flood", frozenset({"points"}), torch.device("cpu")

    def __init__(self):
        self.images, self.points = [], []

    def identity(self):
        return "flood"

    def segment(self, images, *, points=None, point_labels=None, boxes=None):
        self.images.append(images)
        self.points.append(points)
        candidates = []
        for image, ((x, y),) in zip(images, points.tolist(), strict=True):
            near = (image - image[:, int(y), int(x)][:, None, None]).abs().amax(0) < 0.1
            grown = nn.functional.max_pool2d(near[None, None].float(), 3, 1, 1)[0, 0] > 0
            candidates.append(torch.stack([torch.zeros_like(near), near, grown]).float())
        return Segmented(
            candidates=torch.stack(candidates),
            predicted=torch.tensor([[0.1, 0.9, 0.5]]).expand(len(images), 3),
            chosen=torch.full((len(images),), 1),
            rule="the highest predicted overlap",
        )


class SalientSegmenter(FloodSegmenter):
    """Needs no prompt: what is not grey."""

    prompts = frozenset()

    def segment(self, images, *, points=None, point_labels=None, boxes=None):
        assert points is None
        found = ((images - 0.4).abs().amax(1) > 0.1).float()
        count = len(images)
        return Segmented(
            candidates=found[:, None], predicted=torch.full((count, 1), torch.nan), chosen=torch.zeros(count).long(),
            rule="one mask",
        )  # fmt: skip


class EchoCaptioner:
    """Says what it was told and how much red it sees; a sentence is likelier the redder the picture."""

    name, device, preparation = (
        "echo",
        torch.device("cpu"),
        Preprocessing(size=(8, 8), resize="exact", resize_to=(8, 8)),
    )

    def __init__(self):
        self.seen = []

    def caption(self, images, *, max_tokens=30, prompt=""):
        self.seen.append(images)
        assert images.shape[1:] == (3, 8, 8)
        texts = tuple(f"{prompt} thing, red {float(one[0].mean()):.2f}" for one in images)
        return Captions(texts, torch.zeros(len(images)), torch.zeros(len(images), 1), torch.ones(len(images)))

    def score(self, images, texts):
        return images[:, 0].flatten(1).mean(1) - 1


def explained(images=None, classifier=None, targets=None, rng=None, **fields):
    images = picture() if images is None else images
    fields = {"attribution": SHAP, "segmenter": "flood", "captioner": "echo", "fill": "black", **fields}
    rng = rng or Randomness(0).for_examples([str(row) for row in range(len(images))])
    targets = torch.zeros(len(images)).long() if targets is None else targets
    return VisualLanguage(**fields).explain(classifier or classifier_of(), images, targets, rng=rng)
