"""Whether a class of a classifier answers to a hidden trigger: SmoothInv towards every class.

Sun and Kolter, "Single image backdoor inversion via robust smoothed classifiers", CVPR 2023, arXiv 2303.00215. The
published method recovers a trigger for a given class; which class, if any, is suspicious follows from how far the
changes of all classes carry over to other images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError, SnellenError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.outcomes import Scanned
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.attacks.goal import class_number
from snellen.methods.smoothing.branches import branches_of, is_coloured
from snellen.methods.smoothing.votes import CHUNK
from snellen.models.classifiers.prepared_images import read_prepared
from snellen.systems.smooth_inversion.class_scan import ClassScan, ScanPlan
from snellen.systems.smooth_inversion.image_roles import draw_images, units_of
from snellen.systems.smooth_inversion.inversion import Search
from snellen.systems.smooth_inversion.scan_report import ScanReport
from snellen.systems.smooth_inversion.scanning import scan_classes

#: Images whose decisions are computed at once.
_BATCH = 100

#: Share of other images that the middle class is reached from, log odds from which a class stands out, images that
#: confirm one, and copies of the model that it is compared with. All were chosen on a pilot of planted and healthy
#: classifiers, and fixed before the others were scanned (scripts/ward/backdoors.py).
USUAL, CONTRAST, CONFIRMING, COPIES = 0.1, 2.0, 24, 2


class Backdoor(Method):
    """Search towards every class for a change of one image that carries over to others, and report the outlier.

    The length of the changes is chosen from the model, so that the middle class is hardly reached. A class is reported
    when it stands out there, and further images, each searched on by itself, confirm it.

    Found is what can be added to an image at a fixed place. A trigger at changing places is found where it works at
    one of them; a trigger that bends the image is found where something that can be added has its effect. Nothing
    found means nothing within this budget.

    >>> Backdoor(epsilon=1.0).plan().screening.epsilon
    1.0
    """

    name: ClassVar[str] = "backdoor"
    needs: ClassVar[frozenset[Need]] = frozenset({"layers", "gradients", "scores"})
    finds: ClassVar[tuple[str, ...]] = ("backdoor",)

    epsilon: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="largest l2 length of the change, over all pixels and channels in [0, 1]; by default chosen from "
        "the model (usual)",
    )
    usual: float = Field(
        USUAL,
        gt=0,
        lt=0.5,
        description="share of other images that the middle class is reached from at the length that is chosen",
    )
    target: str | None = Field(
        None,
        description="class to search towards, by name or number; others (beside) are what it is compared with; by "
        "default all classes",
    )
    beside: int = Field(
        9, ge=2, description="other classes, drawn by the seed, that a target is compared with; all, where fewer"
    )
    screened: tuple[float, ...] = Field(
        (0.0, 0.25), min_length=1, description="noise of the searches towards every class; 0 asks the model itself"
    )
    sigmas: tuple[float, ...] = Field(
        (0.0, 0.25), min_length=1, description="noise of the searches towards the leading classes"
    )
    samples: int = Field(4, ge=1, description="noisy copies at each step of the search towards every class")
    steps: int = Field(40, ge=1, description="steps of the search towards every class")
    refined_samples: int = Field(6, ge=1, description="noisy copies at each step towards the leading classes")
    refined_steps: int = Field(60, ge=1, description="steps towards the leading classes")
    refined: int = Field(2, ge=1, description="leading classes that are searched again, at least one")
    sources: int = Field(4, ge=1, description="images that a change is searched on, for each class")
    confirming: int = Field(
        CONFIRMING, ge=0, description="further images that a class that stands out is searched on, each by itself"
    )
    images: int = Field(400, ge=24, description="images at most, drawn by the seed: sources and those that judge")
    contrast: float = Field(
        CONTRAST,
        gt=0,
        description="log odds above the middle class, and above the class in copies, from which a class stands out",
    )
    copies: int = Field(
        COPIES,
        ge=0,
        description="copies of the model that are tuned on the images and lose a trigger, to compare with where no "
        "clean models are given",
    )
    outlier: float = Field(
        3.5, gt=0, description="spreads above the same class of clean models from which a class stands out (clean)"
    )
    tolerated: float = Field(
        0.3, gt=0, lt=1, description="share of other images that a change may send to a class without a report"
    )
    clean: tuple[str, ...] = Field(
        (),
        description="references of clean models of the same classes, two or more: each class is then compared with the "
        "same class of these",
    )
    grey: bool | None = Field(
        None, description="one noise and one change for all channels; by default where all images are grey"
    )
    denoiser: str | None = Field(
        None, description="diffusion model that denoises once before MODEL: bundled:NAME or diffusers:FOLDER"
    )
    chunk: int = Field(CHUNK, ge=1, description="noisy images in one pass; sets memory")

    def plan(self) -> ScanPlan:
        """How much is searched."""
        return ScanPlan(
            screening=Search(
                epsilon=self.epsilon or 3.0,
                samples=self.samples,
                steps=self.steps,
                rate=0.15,
                halve_every=max(self.steps // 2, 1),
            ),
            screened=self.screened,
            refinement=Search(epsilon=self.epsilon or 3.0, samples=self.refined_samples, steps=self.refined_steps),
            sigmas=self.sigmas,
            sources=self.sources,
            refined=self.refined,
            outlier=self.outlier,
            contrast=self.contrast,
            rate=self.tolerated,
            usual=self.usual if self.epsilon is None else None,
            confirming=self.confirming,
            copies=self.copies,
        )

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no module of torch with gradients, fewer than three classes, or no training."""
        lacking = super().missing(classifier, images)
        if lacking is not None or classifier is None:
            return lacking
        if len(classifier.class_names) < 3:
            return f"tells an outlier among three classes or more, and {classifier.name} has fewer"
        if len(self.clean) == 1:
            return "compares with two clean models or more, and one was given (clean)"
        if self.copies and not self.clean and find_spec("accelerate") is None:
            return "compares with copies that are tuned: pip install 'snellen[train]', or set copies to 0"
        try:
            branches_of(classifier, split_pixels=False)
        except SnellenError as error:
            return f"cannot ask under noise: {error}"
        return None

    def reference_hashes(self) -> dict[str, str]:
        """Hashes of the clean models and of the denoiser, which distinguish another scan from this one."""
        from snellen.models.classifiers.references import load_classifier
        from snellen.models.diffusion.loading import load_generator

        found = {f"clean {reference}": str(load_classifier(reference).fingerprint()) for reference in self.clean}
        if self.denoiser is not None:
            network = load_generator(self.denoiser).denoiser.network
            found["denoiser"] = hash_tensors(dict(network.state_dict()))
        return found

    def scan(
        self,
        images: ImageSet,
        *,
        classifier: Classifier | None = None,
        rng: Randomness,
        progress: Progress | None = None,
    ) -> Scanned:
        """Scan a classifier by means of clean images; labels are used where there are any.

        Returns:
            A row for each class, with its name as id and its rate as value: the share of other images of other classes
            that changes towards it send there. The statistic is the largest score of a class: its log odds above the
            middle class or, with clean models, its spreads above the same class of these.

        Raises:
            InputError: no classifier, too few images, or outputs so saturated that there are no gradients.
        """
        if classifier is None:
            raise InputError(f"{self.name} scans a classifier: name it before the images")
        units = units_of(images)
        seed = rng.generator("order").initial_seed()
        chosen = images.select(draw_images([units[key] for key in images.ids], most=self.images, seed=seed))
        pixels, labels, ids, rejected = read_prepared(chosen, classifier)
        lost = self._lost(rejected, classifier)
        if not len(pixels):
            return Scanned(lost, None, "no image could be used")
        null = self.null(classifier, chosen, rng=rng, progress=progress)
        found = self.search(
            classifier,
            pixels,
            labels,
            ids=ids,
            units=[units[key] for key in ids],
            rng=rng,
            null=null,
            progress=progress,
        )
        report = self.report(found, classifier, null)
        rows = report.rows(self.name)
        return Scanned(
            evidence=Evidence.merge([rows, lost]) if rejected else rows,
            statistic=found.statistic,
            verdict=report.verdict(),
            figures=report.figures(),
            pictures=report.pictures(pixels),
        )

    def search(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        *,
        ids: tuple[str, ...],
        units: Sequence[str] | None = None,
        rng: Randomness,
        null: NDArray[np.float64] | None = None,
        progress: Progress | None = None,
    ) -> ClassScan:
        """Scan all classes, or a target and some others, by means of prepared images (n, 3, h, w).

        Labels (n,) are −1 where none is known.

        Images of one unit have the same name in ``units``; by default every image is a unit of its own.
        """
        grey = self.grey if self.grey is not None else not bool(is_coloured(images).any())
        with torch.inference_mode():
            decided = torch.cat([classifier.predict(classifier(part)) for part in images.split(_BATCH)])
        known = torch.where(labels.to(decided.device) >= 0, labels.to(decided.device), decided)
        target = None if self.target is None else class_number(classifier, self.target)
        return scan_classes(
            classifier,
            images,
            known,
            self.plan(),
            rng=rng,
            ids=ids,
            units=units,
            classes=None if target is None else self._compared(target, len(classifier.class_names), rng),
            first=target,
            null=null,
            grey=grey,
            denoisers=self._denoisers(classifier, grey, (images.shape[2], images.shape[3])),
            progress=progress,
            chunk=self.chunk,
        )

    def null(
        self, classifier: Classifier, images: ImageSet, *, rng: Randomness, progress: Progress | None = None
    ) -> NDArray[np.float64] | None:
        """Rates of the scanned classes in the clean models (m, t), by the same images and searches; None without any.

        Where the length is chosen from the model, it is chosen from each of them: as far from what is ordinary there.

        Raises:
            InputError: a model of other classes.
        """
        if not self.clean:
            return None
        from snellen.models.classifiers.references import load_classifier

        rates, screening, units = [], self.model_copy(update={"refined": 0, "clean": ()}), units_of(images)
        for reference in self.clean:
            model = load_classifier(reference, device=str(classifier.device))
            if model.class_names != classifier.class_names:
                raise InputError(
                    f"{reference} has the classes {', '.join(model.class_names[:5])} …, and {classifier.name} has "
                    f"others; compare with clean models of the same task"
                )
            pixels, labels, ids, _ = read_prepared(images, model)
            named = [units[key] for key in ids]
            found = screening.search(model, pixels, labels, ids=ids, units=named, rng=rng, progress=progress)
            rates.append(found.rates)
        return np.array(rates)

    def report(self, found: ClassScan, classifier: Classifier, null: NDArray[np.float64] | None = None) -> ScanReport:
        """What a scan of a classifier is reported as; ``null`` as of :meth:`null`."""
        return ScanReport(found, self.plan(), classifier, null)

    def _compared(self, target: int, count: int, rng: Randomness) -> tuple[int, ...]:
        """The target and other classes that the seed draws, in their order."""
        others = torch.randperm(count - 1, generator=rng.generator("compared classes"))[: self.beside]
        return tuple(sorted([target, *(int(one) + (int(one) >= target) for one in others)]))

    def _lost(self, rejected: list[tuple[str, str]], classifier: Classifier) -> Evidence:
        ids, reasons = [key for key, _ in rejected], [why for _, why in rejected]
        return Evidence.of(ids, setting=self.name, model=classifier.name, status="rejected", reason=reasons)

    def _denoisers(
        self, classifier: Classifier, grey: bool, size: tuple[int, int]
    ) -> Callable[[float], Callable[[Tensor], Tensor]] | None:
        if self.denoiser is None:
            return None
        from snellen.methods.smoothing.one_shot import one_shot_denoiser
        from snellen.models.diffusion.loading import load_generator

        generator = load_generator(self.denoiser, device=classifier.device)
        return lambda sigma: one_shot_denoiser(generator, sigma=sigma, grey=grey, size=size)
