"""CDD-RED: a denoiser that gives back what an image was before an attack, and with it what the attack added.

Gong, Yao et al., "Reverse engineering of imperceptible adversarial image perturbations", ICLR 2022, arXiv 2203.14145.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from pydantic import Field

from snellen.core.artifact import Artifact, Card, rounded
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Attack, Method, Need, method_field
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.models.classifiers.references import load_classifier
from snellen.models.residual_denoiser import ResidualDenoiser, architecture
from snellen.models.weights.state_dict_file import load_strictly
from snellen.systems.perturbation_estimation.estimate import surrogate_scores, unbounded_scores
from snellen.systems.perturbation_estimation.figures import FIGURES, benign_figures
from snellen.systems.perturbation_estimation.fitting import ASKED, carried_over, fit_denoiser, kept_shares
from snellen.systems.perturbation_estimation.losses import LossWeights, ViewName
from snellen.systems.perturbation_estimation.pair_files import PairFiles, StoredPairs, labelled_batches, write_pairs
from snellen.systems.perturbation_estimation.pairs import Cell, Pairs, check_any, joined, limited, make_cells
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.fitting.frame import FittedMethod, Fitting, laid_over
from snellen.training.plan import TrainingPlan

if TYPE_CHECKING:
    AnyAttack = Method
else:
    AnyAttack = method_field("attacks", Attack)

#: Of the published training script; it divides the rate by ten at epochs 140 and 280, here it falls along a cosine,
#: and weight decay is decoupled from the gradient.
PLAN = TrainingPlan(epochs=300, batch_size=4, learning_rate=1e-4, weight_decay=1e-4, drop_last=True, select="pa_benign")

#: Share of the images that is held out to choose the epoch and to report figures, where there is no validation split.
HELD_OUT = 0.1


class PerturbationDenoiser(FittedMethod):
    """Attack victims, and train a denoiser on the pairs, aligned with the decisions of a surrogate.

    Weights choose between the published objectives: ``benign_weight`` and ``adversarial_weight`` 0 with no views make
    the plain denoiser (DO), ``reconstruction_weight`` and ``adversarial_weight`` 0 that of denoised smoothing (DS).
    Labels decide which images a victim gets right; no loss uses them.

    >>> PerturbationDenoiser(views=()).missing()
    'needs a surrogate (--surrogate MODEL) and classifiers to attack (--victims MODEL, repeatable)'
    """

    name: ClassVar[str] = "perturbation_denoiser"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    surrogate: str | None = Field(
        None,
        description="reference of the classifier whose decisions align the denoiser; one that the attacks fool, such "
        "as a victim: alignment says nothing where it decides about both partners alike",
    )
    victims: tuple[str, ...] = Field((), description="references of the classifiers that are attacked for pairs")
    size: int | None = Field(
        None,
        ge=2,
        description="height and width, pixels, at which surrogate and victims see images; needed where their own "
        "differ, such as 299 and 224",
    )
    attacks: tuple[AnyAttack, ...] = Field(
        ({"method": "fgsm"}, {"method": "pgd"}, {"method": "carlini_wagner_l2", "steps": 200, "searches": 5}),  # type: ignore[arg-type]
        description="attacks that make pairs; kinds as published, strengths not told there",
    )
    eight_bits: bool = Field(
        True,
        description="round adversarial images to bytes, as those are that are read from files",
    )
    pair_folder: str | None = Field(
        None,
        description="folder to write the pairs to as bytes; they are read from there as they are needed and not made "
        "again. Without one they stay in memory",
    )
    depth: int = Field(17, ge=2, description="convolutions of the denoiser")
    width: int = Field(64, ge=1, description="channels between them")
    views: tuple[ViewName, ...] = Field(
        ("crop_and_pad", "cutmix"),
        description="further views of each pair: crop_and_pad, cutmix, flip, rotation, translation, cutout",
    )
    reconstruction_weight: float = Field(1.0, ge=0, description="of the difference to the clean image")
    benign_weight: float = Field(0.025, ge=0, description="of the clean image's decision about the estimate (gamma)")
    adversarial_weight: float = Field(
        0.025, ge=0, description="of the attacked image's decision about the perturbation pasted back (lambda)"
    )
    squared: bool = Field(False, description="squared instead of absolute differences")
    parity: bool = Field(
        False, description="as the published code: CutMix also in the place of the plain images, and no robust subset"
    )
    plan: Annotated[TrainingPlan, laid_over(PLAN)] = Field(
        PLAN, description="numbers of the training; those that a mapping leaves out are the published ones"
    )

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no surrogate, no victims, no attack, or nothing to minimise."""
        if self.surrogate is None or not self.victims:
            return "needs a surrogate (--surrogate MODEL) and classifiers to attack (--victims MODEL, repeatable)"
        if not self.attacks:
            return "needs an attack that makes pairs (--attacks)"
        if self.pair_folder is not None and not self.eight_bits:
            return "writes pairs as bytes (--pair-folder), so that they are rounded to them; leave --no-eight-bits out"
        if not self.reconstruction_weight + self.benign_weight + self.adversarial_weight:
            return "has nothing to minimise: all three weights are 0"
        if self.plan.select not in FIGURES:
            return f"chooses the epoch by one of {', '.join(FIGURES)} (plan.select), not by {self.plan.select!r}"
        return super().missing(classifier, images)

    def fitted(self, fitting: Fitting) -> Artifact:
        """Make pairs and train on them; with a checkpoint, pairs are made again unless they are on the disk.

        Images of a split "val" choose the epoch and give the figures of the card; without one, a tenth of the images,
        drawn by the seed. A base is a denoiser of the same architecture.

        Raises:
            InputError: classifiers of another task, or of another size of images than the surrogate, labels that do
                not fit, fewer successful attacks than a batch, or a base of another kind.
            UnsupportedError: a surrogate without gradients.
        """
        rng, progress = fitting.rng, fitting.progress
        assert self.surrogate is not None
        surrogate = load_classifier(self.surrogate, size=self.size)
        scores = surrogate_scores(surrogate)
        victims = {name: load_classifier(name, size=self.size) for name in self.victims}
        for name, classifier in {self.surrogate: surrogate, **victims}.items():
            if classifier.task not in ("single", "ordinal"):
                raise InputError(f"{name} is of the task {classifier.task!r}; pairs have one decision an image")
        for name, victim in victims.items():
            if victim.preparation.size != surrogate.preparation.size:
                raise InputError(
                    f"the victim {name} takes images of {victim.preparation.size}, the surrogate {self.surrogate} of "
                    f"{surrogate.preparation.size} (height, width); choose one size with --size"
                )
        train, val = _split(fitting.data, rng)
        cells = {
            part: self._cells(part, images, victims, surrogate, rng.child(part), progress)
            for part, images in (("train", train), ("val", val))
        }
        (pairs, rejected), (held, _) = cells["train"], cells["val"]
        count = sum(len(cell.ids) for cell in pairs)
        if self.plan.drop_last and 0 < count < self.plan.batch_size:
            raise InputError(
                f"{count} attacks succeeded, fewer than the {self.plan.batch_size} pairs of a batch; give more images, "
                f"stronger attacks, or a smaller batch_size (--plan)"
            )
        check_any(pairs)
        some = joined([one for cell in pairs if (one := limited(cell, ASKED)) is not None])
        shares = kept_shares(some, scores, self.views, rng.child("kept"))
        judges = {name: unbounded_scores(victim) for name, victim in victims.items()}
        told = {"pairs": _pair_counts(pairs), "kept": rounded(shares), "rejected": rejected}
        recipe = self.record() | told
        network = self._network(fitting.base, rng)
        trained = fit_denoiser(
            network,
            _together(pairs),
            scores,
            views=self.views,
            weights=LossWeights(self.reconstruction_weight, self.benign_weight, self.adversarial_weight, self.squared),
            plan=fitting.seeded(self.plan),
            parity=self.parity,
            val=_together(held) if any(cell.ids for cell in held) else (),
            victims=judges,
            checkpoint=fitting.checkpoint,
            recipe=recipe,
            progress=progress,
        )
        network.load_state_dict(dict(trained.weights))
        network.eval()
        best = next(row for row in trained.history if row["epoch"] == trained.best_epoch)
        figures = {name: value for name, value in best.items() if name.startswith("val.")}
        figures |= self._false_alarms(network, val, victims, surrogate)
        figures["carried_over"] = carried_over(pairs, scores)
        card = Card(
            name=self.name.replace("_", "-"),
            kind="denoiser",
            architecture=architecture(self.depth, self.width),
            description="Estimates what an image was before an adversarial perturbation, at the size that its "
            "classifiers see.",
            preparation=surrogate.preparation.model_dump(mode="json"),
            metrics=rounded(figures),
            history=tuple(rounded(row) for row in trained.history),
            lineage=fitting.lineage(recipe, fitting.data.fingerprint()),
        )
        return Artifact(dict(trained.weights), card)

    def _network(self, base: Artifact | None, rng: Randomness) -> ResidualDenoiser:
        with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
            network = ResidualDenoiser(depth=self.depth, width=self.width)
        if base is None:
            return network
        if base.card.kind != "denoiser" or base.card.architecture != architecture(self.depth, self.width):
            raise InputError(
                f"the base {base.card.name!r} is a {base.card.kind} {base.card.architecture}; expected a denoiser "
                f"{architecture(self.depth, self.width)}"
            )
        load_strictly(network, base.tensors, source=base.card.name)
        return network

    def _cells(
        self,
        part: str,
        data: ImageSet,
        victims: Mapping[str, Classifier],
        surrogate: Classifier,
        rng: Randomness,
        progress: Progress | None,
    ) -> tuple[Sequence[Cell] | Sequence[PairFiles], int]:
        """Pairs of all victims and attacks, and how many images could not be used."""
        attacks = {_named(method, self.attacks): method for method in self.attacks}
        chosen = {key: method for key, method in attacks.items() if isinstance(method, Attack)}
        if self.pair_folder is not None:
            return self._written(Path(self.pair_folder) / part, data, victims, surrogate, chosen, rng, progress)
        cells: list[Cell] = []
        rejected = 0
        for name, victim in victims.items():
            store = ImageStore.of_images(align_labels(data, victim.class_names), surrogate.preparation)
            rejected = len(store.rejected)
            cells += make_cells(
                {name: victim},
                chosen,
                to_unit(store.images),
                store.targets,
                store.ids,
                rng=rng,
                eight_bits=self.eight_bits,
                progress=progress,
            )
        return cells, rejected

    def _written(
        self,
        folder: Path,
        data: ImageSet,
        victims: Mapping[str, Classifier],
        surrogate: Classifier,
        attacks: Mapping[str, Attack],
        rng: Randomness,
        progress: Progress | None,
    ) -> tuple[Sequence[PairFiles], int]:
        """The same on the disk, a folder for each victim: labels stand in the order of its classes."""
        cells, counted = list[PairFiles](), set[str]()
        for at, (name, victim) in enumerate(victims.items()):
            images = align_labels(data.for_fitting(), victim.class_names)
            plan = {
                "images": images.fingerprint(),
                "preparation": surrogate.preparation.model_dump(mode="json"),
                "victim": victim.fingerprint(),
                "attacks": {key: repr(method) for key, method in attacks.items()},
                "seed": rng.seed,
            }
            batches = labelled_batches(images, surrogate.preparation, counted)
            cells += write_pairs(
                folder / str(at), {name: victim}, attacks, batches, rng=rng, plan=plan, progress=progress
            )
        return cells, len(counted)

    def _false_alarms(
        self, network: ResidualDenoiser, val: ImageSet, victims: Mapping[str, Classifier], surrogate: Classifier
    ) -> dict[str, float]:
        """How often the denoiser changes a decision about held out images that nobody attacked."""
        images = to_unit(ImageStore.of_images(val.unlabelled(), surrogate.preparation).images)
        each = [benign_figures(network, images, unbounded_scores(victim))["changed"] for victim in victims.values()]
        return {"val.false_alarms": sum(each) / len(each), "val.images": float(len(images))}


def _split(data: ImageSet, rng: Randomness) -> tuple[ImageSet, ImageSet]:
    """Images to train on, and images that are held out."""
    if "val" in data.column("split"):
        return data.of_split("train"), data.of_split("val")
    if len(data) < 2:
        raise InputError(f"{data.name} has {len(data)} images: at least one to train on and one to hold out is needed")
    order = torch.randperm(len(data), generator=rng.generator("held out")).numpy()
    held = max(1, round(HELD_OUT * len(data)))
    return data.select(sorted(order[held:])), data.select(sorted(order[:held]))


def _together(cells: Sequence[Cell] | Sequence[PairFiles]) -> list[Cell] | StoredPairs:
    """Cells as a training takes them."""
    files = [cell for cell in cells if isinstance(cell, PairFiles)]
    return StoredPairs.of(files) if files else [cell for cell in cells if isinstance(cell, Cell)]


def _named(method: Method, among: Sequence[Method]) -> str:
    """Name of an attack; with its place where there are several of the name."""
    alike = [one for one in among if one.name == method.name]
    return method.name if len(alike) == 1 else f"{method.name}-{alike.index(method) + 1}"


def _pair_counts(cells: Sequence[Pairs]) -> dict[str, Any]:
    return {f"{cell.attack} on {cell.victim}": f"{len(cell.ids)} of {cell.attacked} broken" for cell in cells}
