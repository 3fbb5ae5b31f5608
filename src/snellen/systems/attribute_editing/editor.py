"""The editor: a background is noised and denoised again around an object that stays, with or without guidance.

Li et al., *ImageNet-E* (CVPR 2023), section on background editing. x_bg, the background without the object, is noised
to the last 25 of 100 steps. After each step the object, noised to the same level, is put back, and at the end its
pixels are put back bit for bit. The steps are DDPM's (DDIM with eta 1) on an unconditional model.

In the published editor the object's mask is dilated by 51 pixels while more than 50 steps are left, by 31 while more
than 35 are, and not at all after, in pictures of 256 pixels. With the 25 steps of the published data it never acts.

Guidance by complexity, with x0 the estimate of the picture in [−1, 1]:

    C(x0) = mean |FFT2((x0 + 1) / 2)| over channels and frequencies
    loss = −λ C(x0) + 50 mean (x0 − clip(x0, −1, 1))² + a log p(y | x0)

One signed λ: above 0 busier, below 0 plainer (in the published script the flag that makes negative values work is on
by accident). The gradient of C has the same length at any size, and the pixels of a small picture share it among fewer.
How far a λ moves C depends on the generator: one of latents can follow only what its decoder can draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import pasted_onto, widened
from snellen.models.diffusion.editor import BlendedEditor, Blending, covering_mask
from snellen.models.diffusion.generate import Steering
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.guidance import GradientGuidance
from snellen.models.diffusion.sampler import LatentHook, Moment, Sampler, initial_noise
from snellen.models.diffusion.step_view import StepView

#: Steps that are left, and the window of the dilation in pixels of a picture of 256.
WINDOWS = ((50, 51), (35, 31))


class CoarseToFine(LatentHook):
    """Puts the reference back in a ring around the object, as long as many steps are left.

    Args:
        reference: latents of the pictures with the object, (n, c, h, w).
        masks: bool (n, 1, H, W), the object.
        noise: of the run's start, as in :class:`snellen.models.diffusion.editor.Blending`.
        factor: pixels of a latent in each direction.
    """

    def __init__(self, reference: Tensor, masks: Tensor, noise: Tensor, factor: int) -> None:
        side = max(masks.shape[2:])
        self._stages = [
            (left, Blending(reference, covering_mask(~widened(masks, round((window - 1) * side / 512)), factor), noise))
            for left, window in WINDOWS
        ]

    def before(self, moment: Moment) -> Tensor | None:
        """The ring put back before the first step of a run."""
        stage = self._stage(moment.steps - moment.index)
        return None if stage is None else stage.before(moment)

    def after(self, moment: Moment) -> Tensor | None:
        """The ring put back after a step."""
        stage = self._stage(moment.steps - moment.index - 1)
        return None if stage is None else stage.after(moment)

    def _stage(self, left: int) -> Blending | None:
        return next((stage for most, stage in self._stages if left > most), None)


#: Weight of the loss of values outside of the range.
RANGE_WEIGHT = 50.0


def complexity(images: Tensor, *, constant: bool = True) -> Tensor:
    """Mean absolute value of the Fourier transform over channels and frequencies, (n,).

    >>> flat, busy = torch.full((1, 3, 4, 4), 0.5), torch.rand(1, 3, 4, 4).round()
    >>> complexity(flat), bool(complexity(busy, constant=False) > complexity(flat, constant=False))
    (tensor([0.5000]), True)

    Args:
        images: float (n, c, h, w) in [0, 1].
        constant: with the frequency 0, as published: brightness then counts as complexity.
    """
    spectrum = torch.fft.fft2(images).abs()
    if not constant:
        keep = torch.ones_like(spectrum)
        keep[..., 0, 0] = 0
        spectrum = spectrum * keep
    return spectrum.mean((1, 2, 3))


@dataclass(frozen=True, eq=False)
class EditLoss:
    """The loss of a batch of pictures.

    Args:
        weights: λ of each picture, (n,).
        adversarial: a, of each picture, (n,); 0 leaves the classifier out.
        log_probability: pictures (n, 3, h, w) in [0, 1] → log p of the class of each, (n,); None without a classifier.
        constant: whether the frequency 0 counts.
    """

    weights: Tensor
    adversarial: Tensor
    log_probability: Callable[[Tensor], Tensor] | None = None
    constant: bool = True

    @property
    def active(self) -> Tensor:
        """Which pictures have any loss to follow, bool (n,); of the others no range is kept either."""
        return (self.weights != 0) | (self.adversarial != 0)

    def __call__(self, decoded: Tensor) -> Tensor:
        """The loss of each picture, (n,).

        Args:
            decoded: estimates (n, 3, h, w); [0, 1] is the range, and they may leave it.
        """
        centred = decoded * 2 - 1
        loss = -self.weights.to(decoded) * complexity(decoded, constant=self.constant)
        loss = loss + RANGE_WEIGHT * (centred - centred.clamp(-1, 1)).square().mean((1, 2, 3))
        if self.log_probability is not None and bool((self.adversarial != 0).any()):
            loss = loss + self.adversarial.to(decoded) * self.log_probability(decoded.clamp(0, 1))
        return loss


def loss_guidance(loss: EditLoss, decode: Callable[[Tensor], Tensor]) -> GradientGuidance | None:
    """Guidance down the gradient of a loss, through the denoiser; None where no picture has any.

    The published mean of a step is moved by Σ times the gradient, which is guidance of scale w − 1 = 1.

    Args:
        loss: of the pictures.
        decode: latents → pictures, not cut to [0, 1], so that the range can be kept.
    """
    active = loss.active
    if not bool(active.any()):
        return None

    def score(latents: Tensor, view: StepView) -> Tensor:
        # Through the network: the estimate depends on the latents as it does.
        return -loss(decode(view.x0(view.evaluate(latents), latents)))

    return GradientGuidance(score, torch.where(active.cpu(), 2.0, 1.0))


@dataclass(frozen=True, eq=False)
class Guides:
    """What the backgrounds of n pictures are pushed to.

    Attributes:
        weights: λ of each picture, (n,): above 0 busier, below 0 plainer, 0 neither.
        adversarial: how much the classifier's log-probability of the class counts, (n,); 0 not at all.
        classifier: that is misled; None without one.
        labels: the classes, int64 (n,).
        constant: whether brightness counts as complexity, as published.
    """

    weights: Tensor
    adversarial: Tensor
    classifier: Classifier | None = None
    labels: Tensor | None = None
    constant: bool = True

    @classmethod
    def none(cls, count: int) -> Guides:
        """No guidance at all."""
        return cls(torch.zeros(count), torch.zeros(count))


@dataclass(frozen=True, eq=False)
class BackgroundEditor:
    """Edits backgrounds by a diffusion model.

    Args:
        generator: the model; what it takes is left empty.
        steps: of the schedule.
        made: the last so many of them are made.
        coarse_to_fine: keep a ring around the object while more than 35 steps are left.
        batch_size: pictures at a time; changes nothing but the speed.

    Raises:
        InputError: more steps to make than there are.
    """

    generator: Generator
    steps: int = 100
    made: int = 25
    coarse_to_fine: bool = False
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.made <= self.steps:
            raise InputError(f"of {self.steps} steps 1 to {self.steps} can be made; got {self.made}")

    def shortened(self, share: float) -> BackgroundEditor:
        """The same with a share of its steps, at least one."""
        return replace(self, made=max(1, round(self.made * share)))

    def edit(
        self, images: Tensor, masks: Tensor, backgrounds: Tensor, seeds: list[int], guides: Guides | None = None
    ) -> Tensor:
        """Edit pictures; the same seed gives the same picture in any batch.

        Pictures without a loss are sampled by themselves, without gradients.

        Args:
            images: float (n, 3, h, w) in [0, 1]; pixels of the masks stay, bit for bit.
            masks: bool (n, h, w), the objects.
            backgrounds: (n, 3, h, w), what is noised and denoised: mostly the same images without their objects.
            seeds: one for each picture.
            guides: what the backgrounds are pushed to.

        Returns:
            Float32 (n, 3, h, w) in [0, 1].

        Raises:
            InputError: shapes that do not fit, a size that the generator cannot make, a mask without background, or a
                classifier that is to be misled without labels.
            UnsupportedError: a classifier without gradients, or one of several classes at once.
        """
        found = Guides.none(len(images)) if guides is None else guides
        _check(found, len(images))
        active = (found.weights != 0) | (found.adversarial != 0)
        edited = torch.empty(images.shape, dtype=torch.float32, device=images.device)
        for chosen in (~active, active):
            rows = chosen.nonzero().flatten()
            if len(rows):
                place = rows.to(images.device)
                edited[place] = self._edit(
                    images[place], masks[place], backgrounds[place], [seeds[row] for row in rows.tolist()], found, rows
                )
        return edited

    def _edit(
        self, images: Tensor, masks: Tensor, backgrounds: Tensor, seeds: list[int], guides: Guides, rows: Tensor
    ) -> Tensor:
        generator, factor = self.generator, self.generator.factor
        # An encoder sees more than the object: around it lies the background that it stands before.
        objects = pasted_onto(images, masks, backgrounds)

        def steer(batch: range, rng: Randomness) -> Steering:
            part = list(batch)
            guidance = loss_guidance(
                _loss(guides, rows[part], objects[part], masks[part]),
                lambda latents: generator.decode(latents, clamp=False),
            )
            hooks = []
            if self.coarse_to_fine:
                kept = generator.encode(objects[part])
                noise = initial_noise(rng, kept.shape[1:], generator)
                hooks.append(CoarseToFine(kept, masks[part][:, None], noise, factor))
            return Steering(guidance=[] if guidance is None else [guidance], hooks=hooks)

        editor = BlendedEditor(
            Sampler(generator, steps=self.steps, eta=1.0),
            strength=(self.made + 0.5) / self.steps if self.made < self.steps else 1.0,
            paste=True,
            batch_size=self.batch_size,
            steer=steer,
        )
        nothing = generator.null(len(images), size=(images.shape[2], images.shape[3]))
        return editor.edit(objects, ~masks[:, None], None, seeds, condition=nothing, start=backgrounds)


def scores_of(classifier: Classifier, images: Tensor) -> Tensor:
    """A classifier's scores of pictures of any size, (n, k): they are resampled to the size that it takes.

    Args:
        classifier: may take another size.
        images: float (n, 3, h, w) in [0, 1]; gradients go through.
    """
    size = classifier.preparation.size
    if size is not None and tuple(images.shape[2:]) != tuple(size):
        images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
    return classifier(images.to(classifier.device))


def check_misled(classifier: Classifier) -> None:
    """Refuse a classifier of several classes at once, or without gradients (UnsupportedError)."""
    if classifier.task == "multilabel":
        raise UnsupportedError(f"{classifier.name} gives several classes at once, and one is to be misled")
    if not classifier.differentiable:
        raise UnsupportedError(f"{classifier.name} gives no gradients to mislead it by; use one that does")


def _loss(guides: Guides, rows: Tensor, objects: Tensor, masks: Tensor) -> EditLoss:
    """The loss of some rows; the classifier sees the object before the background that is being made."""
    loss = EditLoss(guides.weights[rows], guides.adversarial[rows], constant=guides.constant)
    if guides.classifier is None or guides.labels is None:
        return loss
    classifier, labels = guides.classifier, guides.labels[rows]

    def log_probability(decoded: Tensor) -> Tensor:
        shown = torch.where(masks[:, None].to(decoded.device), objects.to(decoded), decoded)
        scores = scores_of(classifier, shown)
        return scores.log_softmax(1).gather(1, labels.to(scores.device)[:, None])[:, 0].to(decoded.device)

    return replace(loss, log_probability=log_probability)


def _check(guides: Guides, count: int) -> None:
    for name, values in (("weights", guides.weights), ("adversarial", guides.adversarial)):
        if values.shape != (count,) or not bool(values.isfinite().all()):
            raise InputError(f"{name} are {count} finite numbers, one for each picture; got {values.tolist()}")
    if not bool((guides.adversarial != 0).any()):
        return
    if guides.classifier is None or guides.labels is None or guides.labels.shape != (count,):
        raise InputError(f"misleading a classifier needs it and {count} labels, one for each picture")
    check_misled(guides.classifier)
