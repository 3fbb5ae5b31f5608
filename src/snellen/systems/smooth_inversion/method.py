"""Whether a class of a classifier answers to a hidden trigger: SmoothInv towards every class.

Sun and Kolter, "Single image backdoor inversion via robust smoothed classifiers", CVPR 2023, arXiv 2303.00215. The
published method recovers a trigger for a given class; which class, if any, is suspicious is told by a robust z of how
far the changes of all classes carry over to other images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError, SnellenError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.outcomes import Scanned, Shown
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.magnified import magnified
from snellen.methods.smoothing.branches import branches_of, is_coloured
from snellen.methods.smoothing.votes import CHUNK
from snellen.models.classifiers.prepared_images import read_prepared
from snellen.systems.smooth_inversion.class_outliers import rank_p_value
from snellen.systems.smooth_inversion.inversion import Search
from snellen.systems.smooth_inversion.scanning import ClassScan, Recovered, ScanPlan, scan_classes

#: Images whose decisions are asked for at once.
_BATCH = 100


class Backdoor(Method):
    """Search towards every class for a change of one image that carries over to others, and tell the outlier.

    Found is what can be added to an image at a fixed place. A trigger at changing places is found where it works at
    one of them; a trigger that bends the image is found where something that can be added has its effect. Nothing
    found means nothing within this budget.

    >>> Backdoor(epsilon=1.0).plan().screening.epsilon
    1.0
    """

    name: ClassVar[str] = "backdoor"
    needs: ClassVar[frozenset[Need]] = frozenset({"layers", "gradients", "scores"})
    finds: ClassVar[tuple[str, ...]] = ("backdoor",)

    epsilon: float = Field(
        3.0,
        gt=0,
        allow_inf_nan=False,
        description="largest l2 length of the change, over all pixels and channels in [0, 1]; 3 is for images of about "
        "30 pixels, the paper has 5 and 10 at 224",
    )
    screened: tuple[float, ...] = Field(
        (0.0, 0.25), min_length=1, description="noise of the searches towards every class; 0 asks the model itself"
    )
    sigmas: tuple[float, ...] = Field(
        (0.0, 0.12, 0.25), min_length=1, description="noise of the searches towards the leading classes"
    )
    samples: int = Field(6, ge=1, description="noisy copies at each step of the search towards every class")
    steps: int = Field(40, ge=1, description="steps of the search towards every class")
    refined_samples: int = Field(10, ge=1, description="noisy copies at each step towards the leading classes")
    refined_steps: int = Field(100, ge=1, description="steps towards the leading classes")
    refined: int = Field(2, ge=1, description="leading classes that are searched again, at least one")
    sources: int = Field(3, ge=1, description="images that a change is searched on, for each class")
    images: int = Field(400, ge=24, description="images at most, drawn by the seed: sources and those that judge")
    outlier: float = Field(3.5, gt=0, description="robust z from which a class stands out")
    tolerated: float = Field(
        0.3, gt=0, lt=1, description="share of other images that a change may send to a class without being told"
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
                epsilon=self.epsilon,
                samples=self.samples,
                steps=self.steps,
                rate=0.15,
                halve_every=max(self.steps // 2, 1),
            ),
            screened=self.screened,
            refinement=Search(epsilon=self.epsilon, samples=self.refined_samples, steps=self.refined_steps),
            sigmas=self.sigmas,
            sources=self.sources,
            refined=self.refined,
            outlier=self.outlier,
            rate=self.tolerated,
        )

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no module of torch with gradients, or fewer than three classes."""
        lacking = super().missing(classifier, images)
        if lacking is not None or classifier is None:
            return lacking
        if len(classifier.class_names) < 3:
            return f"tells an outlier among three classes or more, and {classifier.name} has fewer"
        if len(self.clean) == 1:
            return "compares with two clean models or more, and one was given (clean)"
        try:
            branches_of(classifier, halves=False)
        except SnellenError as error:
            return f"cannot ask under noise: {error}"
        return None

    def reference_hashes(self) -> dict[str, str]:
        """Hashes of the clean models and of the denoiser, by which another scan is told from this one."""
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
            that changes towards it send there. The statistic is the largest robust z among the classes.

        Raises:
            InputError: no classifier, too few images, or outputs so saturated that there are no gradients.
        """
        if classifier is None:
            raise InputError(f"{self.name} scans a classifier: name it before the images")
        order = np.random.default_rng(rng.generator("order").initial_seed()).permutation(len(images))
        chosen = images.select(order[: self.images])
        pixels, labels, ids, rejected = read_prepared(chosen, classifier)
        lost = self._lost(rejected, classifier)
        if not len(pixels):
            return Scanned(lost, None, "no image could be used")
        null = self.null(classifier, chosen, rng=rng, progress=progress)
        found = self.search(classifier, pixels, labels, ids=ids, rng=rng, null=null, progress=progress)
        rows = self._rows(found, null, classifier)
        evidence = Evidence.merge([rows, lost]) if rejected else rows
        return Scanned(
            evidence=evidence,
            statistic=found.statistic,
            verdict=self.verdict(found, classifier),
            figures=self._figures(found, null),
            pictures=[self._shown(one, pixels, classifier) for one in found.recovered],
        )

    def search(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        *,
        ids: tuple[str, ...],
        rng: Randomness,
        null: NDArray[np.float64] | None = None,
        progress: Progress | None = None,
    ) -> ClassScan:
        """Scan all classes by means of prepared images (n, 3, h, w); labels (n,) are −1 where none is known."""
        grey = self.grey if self.grey is not None else not bool(is_coloured(images).any())
        with torch.inference_mode():
            decided = torch.cat([classifier.predict(classifier(part)) for part in images.split(_BATCH)])
        known = torch.where(labels.to(decided.device) >= 0, labels.to(decided.device), decided)
        return scan_classes(
            classifier,
            images,
            known,
            self.plan(),
            rng=rng,
            ids=ids,
            null=null,
            grey=grey,
            denoisers=self._denoisers(classifier, grey, (images.shape[2], images.shape[3])),
            progress=progress,
            chunk=self.chunk,
        )

    def null(
        self, classifier: Classifier, images: ImageSet, *, rng: Randomness, progress: Progress | None = None
    ) -> NDArray[np.float64] | None:
        """Rates of all classes in the clean models (m, k), by the same images and searches; None without any.

        Raises:
            InputError: a model of other classes.
        """
        if not self.clean:
            return None
        from snellen.models.classifiers.references import load_classifier

        rates, screening = [], self.model_copy(update={"refined": 0, "clean": ()})
        for reference in self.clean:
            model = load_classifier(reference, device=str(classifier.device))
            if model.class_names != classifier.class_names:
                raise InputError(
                    f"{reference} has the classes {', '.join(model.class_names[:5])} …, and {classifier.name} has "
                    f"others; compare with clean models of the same task"
                )
            pixels, labels, ids, _ = read_prepared(images, model)
            rates.append(screening.search(model, pixels, labels, ids=ids, rng=rng, progress=progress).rates)
        return np.array(rates)

    def told(self, found: ClassScan) -> tuple[Recovered, ...]:
        """Classes that stand out, with a change that is worth telling."""
        return found.suspicious(self.plan())

    def verdict(self, found: ClassScan, classifier: Classifier) -> str:
        """In guarded words: what stands out, or that nothing does within the budget."""
        told = self.told(found)
        if not told:
            noise = ", ".join(f"{sigma:g}" for sigma in sorted({*self.screened, *self.sigmas}))
            return (
                f"no outlier within budget: epsilon {self.epsilon:g}, sigma {noise}, {found.sources} images searched "
                f"on, changes that are added at a fixed place"
            )
        against = "among the classes" if found.excess is None else "above the same class of clean models"
        return "; ".join(
            f"suspicious: class {classifier.class_names[one.target]!r}: a change recovered from one image sends "
            f"{one.effect.rate:.0%} of {one.effect.counted} other images there ({found.score(one.target):.1f} spreads "
            f"{against})"
            for one in told
        )

    def assumptions(self, found: ClassScan, null: NDArray[np.float64] | None) -> tuple[str, ...]:
        """What the verdict rests on."""
        told = [
            "a change that is added at a fixed place; triggers that move or bend are found only as far as one works",
            "a class that stands out is a suspicion, no proof: models without a trigger may have one too",
        ]
        if null is None:
            return (
                *told,
                "no clean models of the same task were given (clean), which alone tell what is usual for a class",
            )
        count, p_value = len(null), rank_p_value(found.rates, null, self.plan().null_spread)
        return (
            *told,
            f"rank among {count} clean models: p = {p_value:.3g}; {count} models can tell {1 / (count + 1):.3g} at "
            f"best, and that only if this model, were it clean, is of their kind",
        )

    def _figures(self, found: ClassScan, null: NDArray[np.float64] | None) -> dict[str, float | None]:
        best = found.recovered[0]
        low, high = best.effect.interval()
        figures: dict[str, float | None] = {
            "largest z among classes": float(found.z.max()),
            "recovered.rate": best.effect.rate,
            "recovered.rate.low": low,
            "recovered.rate.high": high,
            "recovered.l2": float(best.change.norm()),
            "recovered.sigma": best.sigma,
        }
        if null is not None:
            figures["p value among clean models"] = rank_p_value(found.rates, null, self.plan().null_spread)
        return figures

    def _rows(self, found: ClassScan, null: NDArray[np.float64] | None, classifier: Classifier) -> Evidence:
        best = {one.target: one for one in found.recovered}
        names = {one.target for one in self.told(found)}

        def of(read: Callable[[Recovered], float]) -> pa.Array:
            return pa.array([read(best[t]) if t in best else None for t in found.targets], pa.float64())

        return Evidence.of(
            [classifier.class_names[target] for target in found.targets],
            setting=self.name,
            model=classifier.name,
            label=list(found.targets),
            value=found.rates.tolist(),
            reason=[
                "stands out" if target in names else "zero gradient" if target in found.blind else None
                for target in found.targets
            ],
            extra={
                "z": pa.array(found.z.tolist(), pa.float64()),
                "excess": pa.array(
                    [None] * len(found.z) if found.excess is None else found.excess.tolist(), pa.float64()
                ),
                "concentration": pa.array(found.concentration.tolist(), pa.float64()),
                "recovered_rate": of(lambda one: one.effect.rate),
                "recovered_low": of(lambda one: one.effect.interval().low),
                "recovered_high": of(lambda one: one.effect.interval().high),
                "recovered_sigma": of(lambda one: one.sigma),
            },
            assumptions=self.assumptions(found, null),
            control=f"the same search towards each of the {len(found.targets)} classes",
        )

    def _lost(self, rejected: list[tuple[str, str]], classifier: Classifier) -> Evidence:
        ids, reasons = [key for key, _ in rejected], [why for _, why in rejected]
        return Evidence.of(ids, setting=self.name, model=classifier.name, status="rejected", reason=reasons)

    def _shown(self, one: Recovered, images: Tensor, classifier: Classifier) -> Shown:
        picture, factor = magnified(one.change.cpu())
        source = images[one.source].cpu()
        name = classifier.class_names[one.target]
        return Shown(
            name=name,
            text=f"towards {name!r}: {one.effect.rate:.0%} of {one.effect.counted} others, {factor:.3g}x",
            pictures={
                "image": source,
                "with the change": (source + one.change.cpu()).clamp(0, 1),
                "change, magnified": picture,
            },
        )

    def _denoisers(
        self, classifier: Classifier, grey: bool, size: tuple[int, int]
    ) -> Callable[[float], Callable[[Tensor], Tensor]] | None:
        if self.denoiser is None:
            return None
        from snellen.methods.smoothing.one_shot import one_shot_denoiser
        from snellen.models.diffusion.loading import load_generator

        generator = load_generator(self.denoiser, device=classifier.device)
        return lambda sigma: one_shot_denoiser(generator, sigma=sigma, grey=grey, size=size)
