"""A diffusion model as a classifier: argmin over k of the mean denoising loss, the largest pixel losses left out.

Li et al. 2023 (diffusion classifier); Pan et al. 2024, section 5, with the filter: of the pixel losses of a draw the
smallest share q is kept, since the pixels of a trigger have large ones. Level and noise of a draw are the same for all
classes, so that classes are compared in pairs; all classes that are still in the race run in one batch. Optionally a
class leaves the race once its mean loss is above the best by more than its paired error (a quantile of t).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import derive_seed
from snellen.metrics.incomplete_beta import student_t_quantile
from snellen.models.diffusion.generator import Generator
from snellen.systems.trigger_amplification.noise_forms import DdpmForm, NoiseForm, as_edm

#: Rows of one call of the network.
ROWS = 256

#: Fewest draws before a class may leave: losses have long tails, and a standard error of less is itself chance.
FEWEST_DRAWS = 10


@dataclass(frozen=True)
class ClassRace:
    """How classes are compared.

    Args:
        draws: M, levels and noises; 100 published.
        kept: q in (0, 1]: share of pixel losses of each image and draw that are kept, the smallest; 1 is no filter.
        stop_after: draws after which losing classes leave the race, 10 or more; None: all classes get all draws.
        risk: probability that a class that is as good as the best leaves by chance, over all checks of one image, for
            normal differences; each check gets an equal part of it, over all other classes (Bonferroni).
        paired: level and noise are shared over classes; False draws them for each class, as a comparison.
        seed: of all draws.
    """

    draws: int = 100
    kept: float = 1.0
    stop_after: int | None = None
    risk: float = 0.001
    paired: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 1 or not 0 < self.kept <= 1 or not 0 < self.risk < 1:
            raise InputError(
                f"a race has one draw at least, keeps a share in (0, 1] and has a risk in (0, 1); got {self.draws}, "
                f"{self.kept:g} and {self.risk:g}"
            )
        if self.stop_after is not None and self.stop_after < FEWEST_DRAWS:
            raise InputError(
                f"a paired error needs {FEWEST_DRAWS} draws at least; got stop_after={self.stop_after}. Leave it out "
                f"to give all draws to all classes"
            )
        if self.stop_after is not None and not self.paired:
            raise InputError("classes leave the race by paired differences, so draws must be shared: paired=True")


def kept_mean(losses: Tensor, kept: float) -> Tensor:
    """Mean of the smallest share of pixel losses of each row: (n,).

    >>> kept_mean(torch.tensor([[1.0, 2.0, 9.0, 4.0]]), 0.5), kept_mean(torch.tensor([[1.0, 2.0, 9.0, 4.0]]), 1.0)
    (tensor([1.5000]), tensor([4.]))

    Args:
        losses: (n, …).
        kept: q in (0, 1]; at least one pixel is kept.
    """
    flat = losses.flatten(1)
    if kept >= 1:
        return flat.mean(1)
    count = max(1, math.floor(kept * flat.shape[1] + 1e-9))
    return flat.topk(count, dim=1, largest=False).values.mean(1)


@dataclass(frozen=True, eq=False)
class ClassLosses:
    """What a race gives for n images and K classes.

    Attributes:
        mean: float64 (n, K): mean loss; of a class that left, the best one's plus the paired difference when it left.
        each: float64 (n, K, M): loss of each draw, NaN where a class had left.
        calls: images that went through the network, by class and draw.
    """

    mean: Tensor
    each: Tensor
    calls: int

    @property
    def predicted(self) -> Tensor:
        """Class of the smallest mean loss, int64 (n,)."""
        return self.mean.argmin(1)


def class_losses(form: NoiseForm, clean: Tensor, classes: int, race: ClassRace) -> ClassLosses:
    """Compare the classes on each image.

    The draws are the same for every image too: an image's result does not depend on its batch.

    Args:
        form: of the loss.
        clean: pixels in [−1, 1] or latents, (n, c, h, w).
        classes: K.
        race: numbers.

    Raises:
        InputError: fewer than two classes, or images that are not (n, c, h, w).
    """
    if clean.ndim != 4 or classes < 2:
        raise InputError(
            f"a race takes images (n, c, h, w) and two classes at least; got {tuple(clean.shape)}, {classes}"
        )
    count, streams = len(clean), 1 if race.paired else classes
    drawn = np.random.default_rng(derive_seed(race.seed, "levels"))
    levels = [form.levels(race.draws, drawn) for _ in range(streams)]
    generator = torch.Generator().manual_seed(derive_seed(race.seed, "noise") % 2**63)
    each = torch.full((count, classes, race.draws), math.nan, dtype=torch.float64)
    racing = torch.ones(count, classes, dtype=torch.bool)
    left, calls = torch.zeros(count, classes, dtype=torch.float64), 0
    for draw in range(race.draws):
        noises = [torch.randn(clean.shape[1:], generator=generator).to(clean) for _ in range(streams)]
        if race.paired:
            rows, chosen = racing.nonzero().unbind(1)
            calls += len(rows)
            each[rows, chosen, draw] = _run(form, clean, rows, chosen, levels[0][draw], noises[0], race)
        else:
            for one in range(classes):
                rows, chosen = torch.arange(count), torch.full((count,), one)
                calls += count
                each[:, one, draw] = _run(form, clean, rows, chosen, levels[one][draw], noises[one], race)
        if race.stop_after is not None and race.stop_after <= draw + 1 < race.draws:
            _leave(each[:, :, : draw + 1], racing, left, race.risk / (race.draws - race.stop_after))
    mean = each.nanmean(2)
    best = torch.where(racing, mean, torch.full_like(mean, math.inf)).min(1, keepdim=True).values
    return ClassLosses(torch.where(racing, mean, best + left), each, calls)


def _run(
    form: NoiseForm, clean: Tensor, rows: Tensor, chosen: Tensor, level: float, noise: Tensor, race: ClassRace
) -> Tensor:
    """Loss of each pair of image and class at one draw, float64 (m,)."""
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS].to(clean.device)
            shown, classes = clean[part], chosen[start : start + ROWS].to(clean.device)
            losses = form.losses(shown, level, noise.expand_as(shown), classes)
            found.append(kept_mean(losses, race.kept).double().cpu())
    return torch.cat(found)


def _leave(each: Tensor, racing: Tensor, left: Tensor, risk: float) -> None:
    """Classes whose paired difference to the best is beyond its error leave: ``racing``, ``left`` change in place."""
    margin = student_t_quantile(1 - risk / (each.shape[1] - 1), each.shape[2] - 1)
    mean = torch.where(racing, each.mean(2), torch.full(racing.shape, math.inf, dtype=torch.float64))
    best = mean.argmin(1)
    differences = each - each[torch.arange(len(each)), best][:, None]
    error = differences.std(2) / each.shape[2] ** 0.5
    apart = differences.mean(2)
    gone = racing & (apart > margin * error) & (apart > 0)
    left[gone] = apart[gone]
    racing &= ~gone


def diffusion_classifier(
    generator: Generator, *, race: ClassRace | None = None, form: str = "ddpm", class_names: Sequence[str] | None = None
) -> Classifier:
    """A generator of classes as a classifier that every verb takes. Scores are −mean loss · numbers of an image / 2.

    Args:
        generator: one that takes classes.
        race: numbers; M = 100 and no filter by default.
        form: ddpm, or edm: the published weights of sigma on the same network.
        class_names: where the generator has none.

    Raises:
        InputError: a generator that takes no classes, another form.
    """
    wanted = race or ClassRace()
    if form not in ("ddpm", "edm"):
        raise InputError(f"form {form!r} is not one of ddpm, edm")
    own = DdpmForm(generator)
    loss: NoiseForm = own if form == "ddpm" else as_edm(generator)
    names = tuple(class_names or generator.class_names or map(str, range(generator.classes)))
    if len(names) != generator.classes:
        raise InputError(f"{generator.name} has {generator.classes} classes; got {len(names)} names")
    size = generator.image_size

    def scores(images: Tensor) -> Tensor:
        shown = images.mean(1, keepdim=True) if generator.vae is None and generator.denoiser.channels == 1 else images
        clean = generator.encode(shown)
        losses = class_losses(loss, clean, generator.classes, wanted)
        return (-losses.mean * clean[0].numel() / 2).to(images.dtype)

    weights = {
        f"{part}.{name}": one
        for part, network in generator.modules().items()
        for name, one in network.state_dict().items()
    }
    return Classifier(
        scores,
        class_names=names,
        preparation=Preprocessing(size=size),
        differentiable=False,
        name=f"diffusion classifier of {generator.name}",
        identity=hashlib.sha256(f"{hash_tensors(weights)} {form} {wanted}".encode()).hexdigest(),
        notes=(
            f"{wanted.draws} draws of noise, {'shared by all classes' if wanted.paired else 'of each class'}; "
            f"the smallest {wanted.kept:.0%} of pixel losses count",
        ),
        device=generator.device,
    )
