"""The published experiment on a GPU: five models with known backdoors, each inverted from ten images.

Everything comes by reference, from a table that an environment variable names, and nothing is downloaded. Images that
measure are read one batch at a time. Estimated from numbers of calls and not measured: 970,000 passes with gradient and
4 million without for each model, of images of 224 pixels. All five take one to two hours of an H100 and 16 GB of its
memory. A denoiser of 256 pixels adds 5 hours for each model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.files.labels import align_labels
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.methods.smoothing.one_shot import one_shot_denoiser
from snellen.models.classifiers.prepared_images import read_prepared
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.loading import load_generator
from snellen.reproduction.sample import Figure, Sample, mean_of
from snellen.reproduction.smooth_inversion.published_models import DENOISER, PUBLISHED, Published, Row, read_table
from snellen.systems.smooth_inversion.class_scan import ScanPlan
from snellen.systems.smooth_inversion.fidelity import energy_inside
from snellen.systems.smooth_inversion.inversion import Search, invert
from snellen.systems.smooth_inversion.mask_pattern import MaskPattern, MaskSearch, invert_masks
from snellen.systems.smooth_inversion.scanning import scan_classes
from snellen.systems.smooth_inversion.transfer import decisions

#: Images of one batch that measures.
_BATCH = 250


@dataclass(frozen=True)
class FullSize:
    """How much is searched, as published; the baseline and the scan of classes are ours.

    Attributes:
        search: at every sigma and length.
        lengths: l2 lengths of the change.
        sigmas: noise; 0 is the plain attack, with one copy.
        sources: images that are searched on.
        masks: the baseline.
        plan: the scan of classes, with changes of the first length.
        scanned: classes of that scan; the target is among them.
        judged: images of that scan.
    """

    search: Search = field(default_factory=lambda: Search(sure=None))
    lengths: tuple[float, ...] = (5.0, 10.0)
    sigmas: tuple[float, ...] = (0.0, 0.12, 0.25, 0.5)
    sources: int = 10
    masks: MaskSearch = field(default_factory=lambda: MaskSearch(steps=400))
    plan: ScanPlan = field(
        default_factory=lambda: ScanPlan(Search(samples=10, steps=50, rate=0.15, halve_every=25), refined=1)
    )
    scanned: int = 100
    judged: int = 400


PUBLISHED_SIZE = FullSize()


def full(seed: int, progress: Progress, *, size: FullSize = PUBLISHED_SIZE) -> Mapping[str, Figure]:
    """What changes of single images do to others, in each published model and in all of them together.

    Half of the images that measure choose a sigma above 0; the other half gives all figures. Images of the target's
    class are left out.

    Args:
        seed: of noise, and of the classes and images of the scan.
        progress: callback that receives progress updates.
        size: how much is searched.

    Returns:
        For each MODEL: ``MODEL.true_success``; at each length L ``MODEL.L.success.S`` for each sigma, ``.chosen`` and
        ``.oracle``, the best one as published, with a value for each source image; with a denoiser the same as
        ``MODEL.L.denoised.S``; ``MODEL.L.inside.S`` where the trigger's pixels are known; ``MODEL.masks.success`` and
        ``MODEL.masks.reached``; ``MODEL.rank`` of the target, in models of three classes or more. ``all.…`` holds the
        values of all models at the largest length, ``all.inside.S`` of those with known pixels, ``all.rank`` the mean
        rank, ``all.trigger_short`` how far the true trigger stays below the published success at most.

    Raises:
        InputError: the variable is not set, the table lacks something, or references that do not fit.
    """
    table, denoiser = read_table(), os.environ.get(DENOISER)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    figures: dict[str, Figure] = {}
    progress.begin("models", len(PUBLISHED))
    for one in PUBLISHED:
        classifier = load_classifier(table[one.name].model, device=device)
        measured = _Model(one, classifier, table[one.name], size, Randomness(seed).child(one.name), denoiser)
        figures |= {f"{one.name}.{name}": value for name, value in measured.figures(seed).items()}
        progress.advance("models", 1)
    progress.finish("models")
    longest, names = f"{max(size.lengths):g}", [one.name for one in PUBLISHED]
    for name in ("chosen", "oracle", *(f"{sigma:g}" for sigma in size.sigmas)):
        figures[f"all.success.{name}"] = _together(figures, names, f"{longest}.success.{name}")
    for sigma in size.sigmas:
        figures[f"all.inside.{sigma:g}"] = _together(figures, names, f"{longest}.inside.{sigma:g}")
    for name in ("success", "reached"):
        figures[f"all.masks.{name}"] = _together(figures, names, f"masks.{name}")
    ranks = [float(rank) for name in names if isinstance(rank := figures.get(f"{name}.rank"), float)]
    figures["all.rank"] = float(np.mean(ranks)) if ranks else None
    shares = {one.name: mean_of(figures[f"{one.name}.true_success"]) or 0.0 for one in PUBLISHED}
    figures["all.trigger_short"] = max(one.success - shares[one.name] for one in PUBLISHED)
    return figures


def _together(figures: Mapping[str, Figure], names: Sequence[str], figure: str) -> Sample | None:
    """The values of all models that have a figure, one model after the other."""
    known = [found for name in names if isinstance(found := figures.get(f"{name}.{figure}"), Sample)]
    return Sample.of([value for one in known for value in one.values]) if known else None


@dataclass(frozen=True, eq=False)
class _Model:
    """One published model, and what it is measured with."""

    published: Published
    classifier: Classifier
    row: Row
    size: FullSize
    rng: Randomness
    denoiser: str | None

    def figures(self, seed: int) -> dict[str, Figure]:
        target = self.published.target
        if target >= len(self.classifier.class_names):
            raise InputError(
                f"{self.row.model} has {len(self.classifier.class_names)} classes, and the trigger of "
                f"{self.published.name} leads to number {target}; give the published model"
            )
        given = load_images(self.row.sources)
        sources, _, ids, _ = read_prepared(given.select(np.arange(min(self.size.sources, len(given)))), self.classifier)
        if not len(sources):
            raise InputError(f"{self.row.sources} holds no image that {self.row.model} can be searched on")
        wanted = torch.full((len(sources),), target, dtype=torch.int64, device=sources.device)
        masks = invert_masks(self.classifier, sources[:, None], wanted, self.size.masks, rng=self.rng.child("masks"))
        ways = {"success": self._searched(sources, wanted, ids, None)}
        if self.denoiser is not None:
            generator = load_generator(self.denoiser, device=self.classifier.device)
            height, width = sources.shape[-2:]
            ways["denoised"] = self._searched(
                sources, wanted, ids,
                lambda sigma: one_shot_denoiser(generator, sigma=sigma, grey=False, size=(height, width)),
            )  # fmt: skip
        images = self._of_classes(self.row.images)
        changes = torch.cat([change for found in ways.values() for change in found.values()])
        choosing, measuring = self._sent(images, changes, masks)
        figures: dict[str, Figure] = {"masks.reached": Sample.of(masks.reached.tolist())}
        figures["masks.success"] = Sample.of(measuring[-len(sources) :].tolist())
        keys = [(way, *key) for way, found in ways.items() for key in found]
        chosen, every = (dict(zip(keys, part.split(len(sources)), strict=False)) for part in (choosing, measuring))
        for way in ways:
            for length in self.size.lengths:
                noisy = [key for key in keys if key[:2] == (way, length) and key[2] > 0]
                best = torch.stack([chosen[key] for key in noisy]).argmax(0)
                measured = torch.stack([every[key] for key in noisy])
                before = f"{length:g}.{way}"
                figures[f"{before}.chosen"] = Sample.of(measured.gather(0, best[None])[0].tolist())
                figures[f"{before}.oracle"] = Sample.of(measured.amax(0).tolist())
                figures |= {
                    f"{before}.{key[2]:g}": Sample.of(found.tolist())
                    for key, found in every.items()
                    if key[:2] == (way, length)
                }
        if self.published.pattern is not None:
            differs = (self.published.stamped(torch.full_like(sources, 0.5)) != 0.5).any(1)
            figures |= {
                f"{length:g}.inside.{sigma:g}": Sample.of(energy_inside(found, differs).tolist())
                for (length, sigma), found in ways["success"].items()
            }
        figures["true_success"] = self._true_success(images)
        if len(self.classifier.class_names) > 2:
            figures["rank"] = self._rank(images, seed)
        return figures

    def _searched(
        self,
        sources: Tensor,
        wanted: Tensor,
        ids: tuple[str, ...],
        denoisers: Callable[[float], Callable[[Tensor], Tensor]] | None,
    ) -> dict[tuple[float, float], Tensor]:
        """Changes of all sources by length and sigma; with a denoiser, under noise alone."""
        found = {}
        for length in self.size.lengths:
            for sigma in self.size.sigmas if denoisers is None else [one for one in self.size.sigmas if one]:
                samples = self.size.search.samples if sigma else 1
                search = replace(self.size.search, epsilon=length, sigma=sigma, samples=samples)
                found[length, sigma] = invert(
                    self.classifier, sources, wanted, search, rng=self.rng.child("inversion").for_examples(ids),
                    denoise=None if denoisers is None else denoisers(sigma),
                ).changes  # fmt: skip
        return found

    def _of_classes(self, reference: str) -> ImageSet:
        """Images with labels among the classes of the model, where they have any."""
        given = load_images(reference)
        return align_labels(given, self.classifier.class_names) if given.has_labels else given

    def _batches(self, images: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
        """Images of other classes than the target, and their positions, one batch after the other."""
        labels = torch.from_numpy(np.asarray(images.labels)) if images.has_labels else torch.full((len(images),), -1)
        for batch in prepared_batches(images, self.classifier.preparation, _BATCH):
            rows = torch.tensor(batch.indices, dtype=torch.int64)
            others = labels[rows] != self.published.target
            if bool(others.any()):
                yield to_unit(batch.pixels[others]).to(self.classifier.device), rows[others]

    def _sent(self, images: ImageSet, changes: Tensor, masks: MaskPattern) -> tuple[Tensor, Tensor]:
        """Shares of the images that choose and that measure, which each change and then each mask sends (b,)."""
        still = torch.zeros_like(changes[:1])
        sent, counted = torch.zeros(2, len(changes) + len(masks.masks), dtype=torch.float64), [0, 0]
        for pixels, rows in self._batches(images):
            named = [decisions(self.classifier, pixels, changes)]
            named += [decisions(self.classifier, masks.applied(pixels, at), still) for at in range(len(masks.masks))]
            arrived = torch.eq(torch.cat(named), self.published.target)
            for half in (0, 1):
                sent[half] += arrived[:, rows % 2 == half].sum(1)
                counted[half] += int((rows % 2 == half).sum())
        if not all(counted):
            raise InputError(f"{self.row.images} holds too few images of other classes than the target to measure on")
        return sent[0] / counted[0], sent[1] / counted[1]

    def _true_success(self, images: ImageSet) -> Sample:
        """Whether each image of another class goes to the target with the true trigger."""
        pattern = self.published.pattern
        given = images if pattern is not None else self._of_classes(str(self.row.triggered))
        arrived = list[bool]()
        for pixels, _ in self._batches(given):
            shown = pixels if pattern is None else self.published.stamped(pixels)
            named = decisions(self.classifier, shown, torch.zeros_like(shown[:1]))[0]
            arrived += torch.eq(named, self.published.target).tolist()
        if not arrived:
            raise InputError(f"{self.row.triggered} holds no image that {self.row.model} can be judged on")
        return Sample.of(arrived)

    def _rank(self, images: ImageSet, seed: int) -> float:
        """Rank of the target, 1 is the first, among classes that the seed draws."""
        draw = np.random.default_rng(derive_seed(seed, self.published.name))
        some = images.select(draw.permutation(len(images))[: self.size.judged])
        pixels, labels, ids, _ = read_prepared(some, self.classifier)
        others = [number for number in range(len(self.classifier.class_names)) if number != self.published.target]
        drawn = draw.permutation(others)[: self.size.scanned - 1].tolist()
        found = scan_classes(
            self.classifier, pixels, labels.to(pixels.device), self.size.plan.at(self.size.lengths[0]),
            rng=self.rng.child("scan"), ids=ids, classes=(self.published.target, *drawn),
        )  # fmt: skip
        return float(found.ranking.index(self.published.target) + 1)
