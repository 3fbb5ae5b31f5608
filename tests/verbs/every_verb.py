"""A small call of every verb over images, whose model and images another process can open by reference."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import snellen
from snellen.methods.attacks.pgd import PGD
from snellen.methods.corruptions.corruption import Corruption
from snellen.methods.explanations.occlusion import Occlusion
from snellen.methods.generation.sample import Sample
from snellen.methods.smoothing.smoothing import Smoothing
from snellen.systems.smooth_inversion.method import Backdoor
from snellen.systems.viewpoints.method import ViewpointAttack
from snellen.verbs.generate import generate
from snellen.verbs.requests import load_requests

_SOLIDS = ("barbell", "car", "chair", "house", "lamp", "mug", "rocket", "snowman", "table", "tree")

MODEL, IMAGES = "bundled:fashion-cnn", "bundled:fashion-mnist"


@dataclass(frozen=True)
class Verb:
    """A verb with its arguments.

    Attributes:
        function: of the package.
        arguments: made anew for each call.
        options: of each call.
        items: that it works on.
        over_images: whether it reads images, so that names of images can be hidden.
        asks: whether it asks a model.
    """

    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]
    options: dict[str, Any]
    items: int
    over_images: bool = True
    asks: bool = True

    def __call__(self, **options: Any) -> Any:
        """Make the call."""
        return self.function(*self.arguments(), **self.options, **options)


def _images(count: int) -> snellen.ImageSet:
    return snellen.load_images(IMAGES).limit(count)


def _over(function: Callable[..., Any], method: Any, *, count: int = 5, **options: Any) -> Verb:
    return Verb(function, lambda: (snellen.load_classifier(MODEL), _images(count), method), options, count)


_BACKDOOR = Backdoor(
    epsilon=1.0, images=80, sources=1, samples=1, steps=2, refined_samples=1, refined_steps=2, refined=1,
    screened=(0.25,), sigmas=(0.25,), confirming=1, copies=0,
)  # fmt: skip

VERBS = {
    "attack": _over(snellen.attack, PGD(epsilon=0.05, steps=2), batch_size=2),
    "certify": _over(snellen.certify, Smoothing(sigma=0.1, samples=60), batch_size=2),
    "explain": _over(snellen.explain, Occlusion(), batch_size=2),
    "scan": _over(snellen.scan, _BACKDOOR, count=80),
    "shift": Verb(
        snellen.shift, lambda: (_images(5), Corruption(kind="contrast")), {"severities": (1, 4)}, 5, asks=False
    ),
    "archive": Verb(
        snellen.shift,
        lambda: (_images(5), Corruption(kind="speckle_noise")),
        {"severities": (2,), "format": "medmnist-c"},
        5,
        asks=False,
    ),
    "generate": Verb(
        generate,
        lambda: (Sample(generator="bundled:scene-diffusion", steps=2), load_requests("classes:star,ring?count=2")),
        {"batch_size": 2},
        4,
        over_images=False,
        asks=False,
    ),
    "synthesize": Verb(
        snellen.synthesize,
        lambda: ([{"method": "by_name", "steps": 2, "guidance_scale": scale} for scale in (1, 3)], ["star", "ring"]),
        {"batch_size": 2, "count": 2},
        2,
        over_images=False,
        asks=False,
    ),
    "camera": Verb(
        snellen.attack,
        lambda: (
            # Ten classes like any others: what it says of solids is of no interest here.
            snellen.load_classifier(MODEL, _SOLIDS),
            snellen.load_images("optotypes:solids?objects=1&views=2&size=32").limit(20),
            ViewpointAttack(components=1, popsize=5, iterations=1, samples=2),
        ),
        {"limit": 2},
        2,
        over_images=False,
    ),
}
