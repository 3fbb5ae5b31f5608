"""One arm of a comparison: images made with some guidance, judged by a network that did not guide, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.generate import Steer, generate
from snellen.reproduction.shared.guided_generation.judging import set_figures
from snellen.reproduction.shared.guided_generation.setups import Setup

#: Images that are sampled together.
_TOGETHER = 50


@dataclass(frozen=True, eq=False)
class Arm:
    """A way to guide.

    Args:
        name: of the arm, its scale included.
        steering: what acts, as a method's own ``steering`` gives it.
        base: the condition of the denoiser; by default the request.
        guides: every classifier that has a say: the judge must be none of them.
        experts: networks that were made of a guide, and answer beside it or in its place.
        denoisers: those that run besides the generator's own.
    """

    name: str
    steering: Callable[[GeneratorCall], Steer]
    base: Callable[[GeneratorCall], Condition] = lambda requested: requested.own
    guides: Sequence[Classifier] = ()
    experts: Sequence[nn.Module] = ()
    denoisers: Sequence[Denoiser] = ()


@dataclass(frozen=True, eq=False)
class ArmResult:
    """Images of an arm and its figures.

    Attributes:
        images: float32 (n, 3, h, w) in [0, 1].
        figures: those of :func:`~snellen.reproduction.shared.guided_generation.judging.set_figures`; ``guide_accuracy``
            by the setup's guide; for each image ``rows`` (of all denoisers), ``own_rows`` (of the generator's own),
            ``backward_rows`` (of rows, those that a gradient went back through), ``guide_queries`` and
            ``guide_gradients`` of guides and experts, from every caller; ``calls`` of denoisers for each batch.
        clock: ``seconds`` of the processor for each image, and ``over_network``: all seconds over those of the
            denoisers' forward passes. They differ between runs.
    """

    images: Tensor
    figures: dict[str, float]
    clock: dict[str, float]


def measure(arm: Arm, setup: Setup, requested: GeneratorCall, progress: Progress | None = None) -> ArmResult:
    """Make the images of an arm and judge them.

    Args:
        arm: the guidance.
        setup: the world.
        requested: the same for all arms that are compared: :meth:`Setup.ask`.
        progress: callback that receives progress updates.

    Raises:
        InputError: the judge guided, or a denoiser ran that the arm does not name.
    """
    setup.judge.check_independent(arm.guides)
    base = arm.base(requested)
    steer = arm.steering(requested)
    denoisers = [setup.generator.denoiser.network, *(other.network for other in arm.denoisers)]
    classifiers = [*(guide.module for guide in arm.guides if guide.module is not None), *arm.experts]
    with _watching(denoisers[:1]) as own, _watching(denoisers) as watch, _watching(classifiers) as asked_of:
        began = time.process_time()
        made = generate(
            setup.sampler, requested.seeds, condition=base, steer=steer, batch_size=_TOGETHER, progress=progress
        )
        seconds = time.process_time() - began
    if watch.rows != made.rows:
        raise InputError(f"{arm.name} asks {made.rows - watch.rows} rows of denoisers that it does not name")
    count = len(requested)
    names = [requested.class_names[index] for index in requested.classes.tolist()]
    with torch.no_grad():
        said = torch.cat([setup.guide(part) for part in made.images.split(256)]).argmax(1)
    return ArmResult(
        made.images,
        {
            **set_figures(setup.judge, setup.real_features, made.images, names),
            "guide_accuracy": float((said == requested.classes).double().mean()),
            "rows": made.rows / count,
            "own_rows": own.rows / count,
            "backward_rows": watch.backward / count,
            "guide_queries": asked_of.rows / count,
            "guide_gradients": asked_of.backward / count,
            "calls": made.calls / -(-count // _TOGETHER),
        },
        {"seconds": seconds / count, "over_network": seconds / watch.seconds},
    )


def real_figures(setup: Setup, count: int) -> dict[str, float]:
    """The figures of other real images beside the real ones: what a perfect generator would reach.

    ``accuracy`` and ``diversity`` are not among them: real images are not requested by class here.
    """
    found = set_figures(setup.judge, setup.real_features, setup.other_real[:count], ["any"] * count)
    return {name: value for name, value in found.items() if name not in ("accuracy", "diversity")}


@dataclass
class _Watch:
    """Rows and seconds of the forward passes of networks; rows that a gradient goes back through."""

    seconds: float = 0.0
    rows: int = 0
    backward: int = 0
    began: float = 0.0


@contextmanager
def _watching(networks: Sequence[nn.Module]) -> Iterator[_Watch]:
    """Count every call of these networks, from every caller."""
    watch = _Watch()

    def begin(_: nn.Module, given: tuple[Any, ...]) -> None:
        watch.rows += len(given[0])
        watch.backward += len(given[0]) if given[0].requires_grad else 0
        watch.began = time.process_time()

    def end(*_: object) -> None:
        watch.seconds += time.process_time() - watch.began

    handles = [
        handle
        for network in dict.fromkeys(networks)
        for handle in (network.register_forward_pre_hook(begin), network.register_forward_hook(end))
    ]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()
