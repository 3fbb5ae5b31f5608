"""What the experiment of system 28 works on: a generator, two attributes with independent judges, and a text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.methods.generation.teachers import as_prepared
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.classifiers.references import load_classifier
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.dual_encoders.zero_shot import fill_templates, zero_shot_classifier
from snellen.models.latent_generators.latent_generator import LatentGenerator
from snellen.models.latent_generators.references import load_latent_generator
from snellen.models.references import load_two_tower
from snellen.systems.distributional_control.fitting import PRESETS, ControlFit


@dataclass(frozen=True, eq=False)
class Attribute:
    """Classes of images, the classifier that guides, and another one that judges.

    Attributes:
        classifier: the energy.
        judge: another network with other training, whose classes include those of the classifier.
        wanted: the requested class.
        balanced: classes that should become equally frequent; the judge decides among them.
    """

    classifier: Classifier
    judge: Classifier
    wanted: str
    balanced: tuple[str, ...]

    def seen(self, images: Tensor, judge: Classifier | None = None) -> Tensor:
        """Number, among ``balanced``, of the likeliest class by the judge: (n, 3, h, w) → int64 (n,)."""
        used = judge or self.judge
        places = [used.class_names.index(name) for name in self.balanced]
        with torch.no_grad():
            scores = torch.cat([used(as_prepared(used, part)).cpu() for part in images.split(128)])
        return scores[:, places].argmax(1)

    def hits(self, images: Tensor, wanted: str | None = None) -> Tensor:
        """Whether the judge sees a class (the wanted one) in each image, among all that it knows, bool (n,)."""
        with torch.no_grad():
            parts = [self.judge(as_prepared(self.judge, part)).argmax(1).cpu() for part in images.split(128)]
        return torch.cat(parts) == self.judge.class_names.index(wanted or self.wanted)


@dataclass(frozen=True, eq=False)
class Material:
    """All models.

    Attributes:
        generator: frozen.
        first: the attribute that is balanced.
        second: another one, whose wanted class is wanted together with ``pair``.
        pair: class of the first attribute; the generator draws both together at times.
        tower: for the text.
        text: that the second attribute's judge can judge.
    """

    generator: LatentGenerator
    first: Attribute
    second: Attribute
    pair: str
    tower: TwoTower
    text: str


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        fit: numbers of every control.
        few: numbers of the control without an energy, and of those by text.
        views: of each image, for the text.
        weight: λ of wanted classes.
        text_weight: λ of the text.
        samples: images that β is fitted to.
        judged: images of each distribution that the judge sees.
        rivals: images of each rival.
        walk: steps of Langevin dynamics and of descent.
    """

    fit: ControlFit
    few: ControlFit
    views: int
    weight: float
    text_weight: float
    samples: int
    judged: int
    rivals: int
    walk: int


_FIT = PRESETS["small"].model_copy(update={"steps": 600, "checked": 256})
SMALL = Size(
    fit=_FIT,
    few=_FIT.model_copy(update={"steps": 300, "batch_size": 16, "checked": 64}),
    views=6,
    weight=5.0,
    text_weight=30.0,
    samples=4096,
    judged=2048,
    rivals=256,
    walk=50,
)
_TINY = ControlFit(steps=2, batch_size=4, blocks=2, hidden=8, check_every=1, checked=8)
SMOKE = Size(fit=_TINY, few=_TINY, views=2, weight=5.0, text_weight=30.0, samples=256, judged=64, rivals=4, walk=2)


def small_material() -> Material:
    """The embedded generator of scenes; colours in words by the embedded CLIP, shapes by the embedded CNN.

    The embedded judge of scenes, which is neither, judges both.
    """
    tower, judge = load_two_tower("bundled:scene-clip"), load_judge()
    colours = ("red", "green", "blue")
    words = zero_shot_classifier(tower, fill_templates(colours, ["a {} shape"]))
    shapes = load_classifier("bundled:scene-cnn")
    return Material(
        generator=load_latent_generator("bundled:scene-decoder"),
        first=Attribute(words, judge.classifier("colour"), "blue", colours),
        second=Attribute(shapes, judge.classifier("shape"), "star", ("square", "star", "ring")),
        pair="green",
        tower=tower,
        text="a star",
    )
