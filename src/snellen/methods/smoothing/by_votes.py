"""What plain and dual smoothing have in common: noise, votes, bounds, and the words that report them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, SnellenError
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.randomness import Randomness
from snellen.methods.smoothing.bounds import Look, early_looks, largest_radius, proven_radius, single_look
from snellen.methods.smoothing.branches import COLOURED, Branch, View, branches_of, check_even, is_coloured, noise_of
from snellen.methods.smoothing.certifying import CertifiedByVotes, Goal, Radius, count, significant_winner
from snellen.methods.smoothing.votes import CHUNK, hard_votes


class VoteCertificate(Method):
    """Certify the majority decision under Gaussian noise; subclasses say how many branches there are."""

    needs: ClassVar[frozenset[Need]] = frozenset({"layers"})

    sigma: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="noise, in [0, 1] pixel units; by default that of its training",
    )
    selection: int = Field(200, ge=1, description="noisy samples that choose the class, of each branch")
    samples: int = Field(10_000, ge=1, description="noisy samples that bound its probability, of each branch")
    alpha: float = Field(0.001, gt=0, lt=1, description="probability that the certificate of an image is wrong")
    radius: float | None = Field(
        None, ge=0, allow_inf_nan=False,
        description="decide about this radius alone and stop sampling early; by default all samples are drawn",
    )  # fmt: skip
    futility: float = Field(
        0.001, gt=0, lt=1, description="with a radius: probability of giving up on an image that could be proven"
    )
    grey: bool | None = Field(
        None, description="one noise for all three channels, for grey images; by default as MODEL was trained"
    )
    denoiser: str | None = Field(
        None, description="diffusion model that denoises once before MODEL: bundled:NAME or diffusers:FOLDER"
    )
    chunk: int = Field(CHUNK, ge=1, description="noisy images in one pass; sets memory and changes no vote")

    #: Whether the image is split.
    split_pixels: ClassVar[bool]

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no module, no noise, or networks that are for something else."""
        lacking = super().missing(classifier, images)
        if lacking is not None or classifier is None:
            return lacking
        try:
            self._noise(classifier)
            branches_of(classifier, split_pixels=self.split_pixels)
            self._check_reach(classifier)
        except SnellenError as error:
            return f"cannot certify: {error}"
        return None

    def certify(self, classifier: Classifier, images: Tensor, *, rng: Randomness | None = None) -> CertifiedByVotes:
        """Certify prepared images (n, 3, h, w) in [0, 1]; an image's draws follow from ``rng`` and its id.

        Raises:
            UnsupportedError: a classifier that cannot be smoothed in this way.
            InputError: images or noise that cannot be used, or a radius beyond what so many samples can prove.
        """
        sigma, grey = self._noise(classifier)
        self._check_reach(classifier)
        branches = self._branches(classifier, sigma, grey, (images.shape[2], images.shape[3]))
        looks = self.looks(len(branches))
        with torch.inference_mode():
            counted = count(
                branches,
                images,
                sigma=sigma,
                selection=self.selection,
                looks=looks,
                class_count=len(classifier.class_names),
                rng=(rng or Randomness(0)).bind(len(images)).child(self.name),
                goal=None if self.radius is None else Goal(self.radius, self.futility),
                radius=self._radius(),
                chunk=self.chunk,
            )
        proven = counted.radius > 0
        return CertifiedByVotes(
            prediction=torch.where(proven, counted.chosen, -1),
            radius=torch.where(proven, counted.radius, 0.0),
            confidence=1 - self.alpha if self.guarantees else 0.0,
            assumptions=self.assumptions(sigma, grey, len(branches)),
            votes=counted.votes.sum(1),
            sigma=sigma,
            guarantee=self.guarantees,
            selection=counted.selection,
            estimation=counted.votes,
            selection_samples=self.selection,
            samples=counted.samples,
            lower=counted.lower,
            largest=self.largest(classifier),
        )

    def decide(self, classifier: Classifier, images: Tensor, *, rng: Randomness | None = None) -> Tensor:
        """The majority decision alone: int64 (n,), −1 where ``samples`` votes of each network do not decide it.

        A class that is not the majority's is returned with probability ``alpha`` at most. It needs fewer votes than a
        certificate, since a majority may be less than half of them; errors as those of :meth:`certify`.
        """
        sigma, grey = self._noise(classifier)
        branches = self._branches(classifier, sigma, grey, (images.shape[2], images.shape[3]))
        own = (rng or Randomness(0)).bind(len(images)).child(self.name)
        total = torch.zeros(len(images), len(classifier.class_names), dtype=torch.int64)
        for branch in branches:
            total += hard_votes(
                branch,
                images,
                sigma=sigma,
                first=0,
                last=self.samples,
                class_count=total.shape[1],
                rng=own,
                stream="decision",
                chunk=self.chunk,
            )
        noise_notes = [significant_winner(votes, self.samples, len(branches), self.alpha) for votes in total]
        return torch.tensor([-1 if winner is None else winner for winner in noise_notes], dtype=torch.int64)

    def unusable(self, classifier: Classifier, images: Tensor) -> list[str | None]:
        """Why each image (n, 3, h, w) cannot be certified, or None: colours under grey noise, no halves."""
        reason: str | None = None
        if self.split_pixels:
            try:
                check_even(images.shape[2], images.shape[3])
            except InputError as error:
                reason = str(error)
        coloured = is_coloured(images).tolist() if self._noise(classifier)[1] else [False] * len(images)
        return [COLOURED if colours else reason for colours in coloured]

    def looks(self, branches: int) -> tuple[Look, ...]:
        """When the votes are tested, decided before the first sample."""
        alpha = self._level(branches)
        return single_look(self.samples, alpha) if self.radius is None else early_looks(self.samples, alpha)

    def largest(self, classifier: Classifier) -> float:
        """The radius that no image can exceed with so many samples."""
        branches = 2 if self.split_pixels else 1
        last = self.looks(branches)[-1]
        return largest_radius(branches, last.samples, last.level, self._noise(classifier)[0])

    @property
    def guarantees(self) -> bool:
        """Whether what comes out is proven."""
        return True

    @abstractmethod
    def assumptions(self, sigma: float, grey: bool, branches: int) -> tuple[str, ...]:
        """What the certificate says and rests on."""

    def _radius(self) -> Radius:
        return proven_radius

    def _level(self, branches: int) -> float:
        return self.alpha

    def _check_reach(self, classifier: Classifier) -> None:
        """Refuse a goal that unanimous votes could not prove, before anything is drawn."""
        largest = self.largest(classifier)
        if self.radius is not None and self.radius > largest:
            raise InputError(
                f"{self.samples} samples cannot prove the radius {self.radius:g} for any image: at most {largest:.4g}; "
                f"take more samples, a larger sigma (of a model trained for it) or a smaller radius"
            )

    def _noise(self, classifier: Classifier) -> tuple[float, bool]:
        """Sigma, and whether noise is grey: as given, else as the networks were trained."""
        trained_for = noise_of(classifier.module)
        sigma = self.sigma if self.sigma is not None else trained_for.sigma if trained_for is not None else None
        if sigma is None:
            raise InputError(
                f"{classifier.name} was not trained on noise of a known size; say sigma, such as 0.25, or train with "
                f"'snellen train gaussian-smoothing'"
            )
        grey = self.grey if self.grey is not None else trained_for is not None and trained_for.grey
        return sigma, grey

    @property
    def shown(self) -> View | None:
        """How a half is shown; None: as the networks were trained."""
        return None

    def _branches(self, classifier: Classifier, sigma: float, grey: bool, size: tuple[int, int]) -> tuple[Branch, ...]:
        denoise: Callable[[Tensor], Tensor] | None = None
        if self.denoiser is not None:
            from snellen.methods.smoothing.one_shot import one_shot_denoiser
            from snellen.models.diffusion.loading import load_generator

            generator = load_generator(self.denoiser, device=classifier.device)
            denoise = one_shot_denoiser(generator, sigma=sigma, grey=grey, size=size)
        return branches_of(classifier, split_pixels=self.split_pixels, view=self.shown, grey=grey, denoise=denoise)


def noise_notes(sigma: float, grey: bool, alpha: float) -> tuple[str, ...]:
    """What every certificate by votes says."""
    where = (
        "changes that are the same in all three channels, measured in one of them" if grey else "changes of the image"
    )
    return (
        f"of the majority decision under Gaussian noise of sigma {sigma:g}, not of a single call of the model",
        f"for l2 {where}, in [0, 1] pixel units, as the model sees it after its own resize and crop",
        f"each image's statement is wrong with probability {alpha:g} at most, over the draws of the noise",
    )
