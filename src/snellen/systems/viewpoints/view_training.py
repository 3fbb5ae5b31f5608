"""The frame of recipes that add fresh views of the training objects to every batch: they differ in the viewpoints."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_image, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.view_renderer import ViewRenderer
from snellen.data.files.joining import JoinedSource
from snellen.data.worlds.view_set import ViewSource, rendered_before
from snellen.systems.viewpoints.pool import LabelledObjects
from snellen.systems.viewpoints.search import Score
from snellen.systems.viewpoints.views import Look, look_of
from snellen.training.batches import Batch, Examples
from snellen.training.fitting.frame import Fitting
from snellen.training.fitting.groundwork import Groundwork, lay_groundwork
from snellen.training.fitting.recipe import ClassifierRecipe, Course
from snellen.training.loop import Trained
from snellen.training.objectives import Objective, cross_entropy

#: An object and a viewpoint of it for each of the m examples of a randomness: int64 (m,), float64 (m, 6).
Draw = Callable[[Randomness], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class AddedViews:
    """Renderings for the steps of one epoch.

    Attributes:
        images: as the classifier takes them, uint8 (s, m, 3, h, w): m for each of s steps.
        labels: of their objects, int64 (s, m).
        seen: bool (s, m); the others do not show their object, and are left out.
    """

    images: Tensor
    labels: Tensor
    seen: Tensor

    def of_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Images uint8 (n, 3, h, w) and labels (n,) of one step, n at most m."""
        seen = self.seen[step]
        return self.images[step][seen], self.labels[step][seen]


def render_added_views(
    renderer: ViewRenderer,
    objects: LabelledObjects,
    draw: Draw,
    *,
    steps: int,
    each: int,
    preparation: Preprocessing,
    least_coverage: float,
    behind: Examples | None,
    rng: Randomness,
) -> AddedViews:
    """Draw and render what an epoch adds.

    Args:
        renderer: draws the objects.
        objects: of the training.
        draw: where cameras stand.
        steps: batches of the epoch.
        each: renderings for each of them.
        preparation: of the classifier.
        least_coverage: share of the picture that an object must cover.
        behind: put one of these images, at random, behind each object; None keeps the renderer's white.
        rng: of the epoch.
    """
    rng = rng.for_examples([f"view {number}" for number in range(steps * each)])
    numbers, viewpoints = draw(rng)
    places = rng.integers("behind", (), 0, len(behind.ids)) if behind is not None else None
    images: list[Tensor] = [torch.empty(0)] * len(numbers)
    seen = torch.zeros(len(numbers), dtype=torch.bool)
    for number in numbers.unique().tolist():
        rows = (numbers == number).nonzero().flatten()
        pictures = None if behind is None or places is None else to_unit(behind.read(places[rows])[0])
        with torch.no_grad():
            rendered, coverage = rendered_before(renderer, objects.ids[number], viewpoints[rows], pictures)
        seen[rows] = (coverage.flatten(1).mean(1) >= least_coverage).cpu()
        for row, picture in zip(rows.tolist(), rendered, strict=True):
            images[row] = preparation.pixels(to_image(picture))
    labels = torch.tensor(objects.labels)[numbers]
    pixels = torch.stack(images)
    return AddedViews(pixels.unflatten(0, (steps, each)), labels.view(steps, each), seen.view(steps, each))


class ViewSupply(Protocol):
    """Where the viewpoints of added views come from: a module, whose buffers a checkpoint keeps."""

    def follow(
        self, epoch: int, look: Callable[[str], Look], score: Score, rng: Randomness, progress: Progress | None = None
    ) -> None:
        """Get ready for an epoch against the classifier as it is; a second call for the same epoch does nothing."""
        ...

    def draw(self, rng: Randomness) -> tuple[Tensor, Tensor]:
        """An object and a viewpoint of it for each of the m examples of ``rng``: int64 (m,), float64 (m, 6)."""
        ...


class WithSupply(nn.Module):
    """A classifier beside the supply of its views; called, it is the classifier."""

    def __init__(self, network: nn.Module, supply: nn.Module) -> None:
        super().__init__()
        self.network, self.supply = network, supply
        self.shown: Tensor
        #: Views that were rendered for batches.
        self.register_buffer("shown", torch.zeros((), dtype=torch.int64))

    @property
    def view_supply(self) -> ViewSupply:
        """The supply by what it does."""
        return cast(ViewSupply, self.supply)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (n, k) of images (n, 3, h, w)."""
        scores: Tensor = self.network(images)
        return scores


class ViewTraining(ClassifierRecipe):
    """Train on views as they are and, in every batch, on fresh renderings of the same objects."""

    treats: ClassVar[tuple[str, ...]] = ("viewpoint",)

    added_views: int = Field(16, ge=1, le=4096, description="renderings added to each batch (published: 16 to 512)")
    clean_epochs: int | None = Field(
        None, ge=0, description="epochs on images alone at first; None: 0 with a base (published), else a fifth of them"
    )
    behind: bool = Field(False, description="put another image of the batch behind each rendering")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: an architecture that does not exist, or images that cannot be rendered."""
        if images is not None and training_views(images) is None:
            return (
                f"needs a set of views, to render its objects anew, and {images.name} is none; "
                f"such as 'optotypes:solids?objects=20#train', or 'meshes:FOLDER'"
            )
        return super().missing(classifier, images)

    @abstractmethod
    def supply(self, objects: LabelledObjects) -> nn.Module:
        """Make the supply (a :class:`ViewSupply`) of the training objects."""

    def course(self, fitting: Fitting) -> Course:
        """The training on a set of views, whose source knows its renderer.

        In several processes, each adds the same renderings to its part of a batch.

        Raises:
            InputError: an object that is in two splits.
        """
        refuse_shared_objects(fitting.data)
        plain = lay_groundwork(fitting, architecture=self.architecture, side=self.side, plan=self.plan)
        views = training_views(fitting.data)
        assert views is not None
        source, objects = cast(ViewSource, views.source), training_objects(views, plain.examples.ids)
        module = WithSupply(plain.network, self.supply(objects))

        def finish(trained: Trained) -> tuple[Mapping[str, Tensor], dict[str, int]]:
            module.load_state_dict(dict(trained.weights))
            searched = getattr(module.supply, "renders", None)
            # Both counts are those of the chosen epoch, like the weights.
            return module.network.state_dict(), {
                "objects": len(objects.ids),
                "views_added": int(module.shown),
                "views_searched": 0 if searched is None else int(searched),
            }

        return Course(
            replace(plain, network=module),
            self.recipe(),
            objective=self.with_added_views(plain, source.renderer, objects, fitting.progress),
            transform=self.views(),
            finish=finish,
        )

    def with_added_views(
        self, ground: Groundwork, renderer: ViewRenderer, objects: LabelledObjects, progress: Progress | None = None
    ) -> Objective:
        """Cross-entropy of a batch and of the renderings added to it, all with the same weight."""
        plan, alone, transform = ground.plan, self.clean_epochs, self.views()
        if alone is None:
            alone = 0 if ground.fitting.base is not None else plan.epochs // 5
        steps = -(-len(ground.examples) // plan.batch_size)
        made: dict[int, AddedViews] = {}

        def look(object_id: str) -> Look:
            return look_of(renderer, object_id, prepare=ground.preparation, least_coverage=self.least_seen)

        def added(module: WithSupply, epoch: int, device: torch.device) -> AddedViews:
            if epoch not in made:
                supply, rng = module.view_supply, Randomness(plan.seed).child("added views", epoch)
                supply.follow(epoch, look, evaluating(module.network, device), rng, progress)
                made.clear()
                made[epoch] = render_added_views(
                    renderer,
                    objects,
                    supply.draw,
                    steps=steps,
                    each=self.added_views,
                    preparation=ground.preparation,
                    least_coverage=self.least_seen,
                    behind=ground.examples if self.behind else None,
                    rng=rng,
                )
            return made[epoch]

        def objective(model: nn.Module, batch: Batch) -> Tensor:
            if batch.epoch <= alone:
                return cross_entropy(model(batch.images), batch.targets)
            module, device = getattr(model, "module", model), batch.images.device
            assert isinstance(module, WithSupply)
            # The loop names the randomness of a step by its epoch and its number.
            pixels, labels = added(module, batch.epoch, device).of_step(int(batch.rng.path[-1]))
            module.shown += len(pixels)
            if not len(pixels):
                return cross_entropy(model(batch.images), batch.targets)
            images, labels = to_unit(pixels.to(device)), labels.to(device)
            if transform is not None:
                own = batch.rng.child("added views").for_examples([f"view {number}" for number in range(len(images))])
                images, labels = transform(images, labels, own)
            losses = cross_entropy(model(torch.cat([batch.images, images])), torch.cat([batch.targets, labels]))
            clean, extra = losses[: len(batch.images)], losses[len(batch.images) :]
            # One loss for each image of the batch, whose mean is that of all.
            return (len(clean) * clean + extra.sum()) / len(losses)

        return objective

    @property
    def least_seen(self) -> float:
        """Share of the picture that an object must cover, to be shown."""
        return 0.005


def training_views(data: ImageSet) -> ImageSet | None:
    """The set of views that holds all training images: all, or all but what chooses the epoch; None where none does."""
    if isinstance(data.source, JoinedSource):
        parts = [part for part in data.source.parts if set(part.column("split")) != {"val"}]
        return training_views(parts[0]) if len(parts) == 1 else None
    return data if isinstance(data.source, ViewSource) else None


def refuse_shared_objects(data: ImageSet) -> None:
    """Refuse an object that is in two splits: it would be trained on and judged."""
    of_object: dict[object, object] = {}
    for owner, split in zip(data.column("unit_id"), data.column("split"), strict=True):
        known = of_object.setdefault(owner, split)
        if owner is not None and known != split:
            raise InputError(f"{data.name}: {owner} is in two splits, {known} and {split}; split by object")


def training_objects(views: ImageSet, used: Collection[str]) -> LabelledObjects:
    """Objects of the views that are trained on, in the order of the set.

    Args:
        views: whose source is a :class:`ViewSource`.
        used: ids of views; an object that cannot be drawn has none among them, and is not drawn again.
    """
    kept, labels = set(used), dict[str, int]()
    for example_id, owner, label in zip(views.ids, views.column("unit_id"), views.labels.tolist(), strict=True):
        if example_id in kept:
            labels.setdefault(str(owner), label)
    return LabelledObjects(tuple(labels), tuple(labels.values()))


def evaluating(network: nn.Module, device: torch.device) -> Score:
    """Scores of a network in evaluation mode, which is left as it was found."""

    def score(images: Tensor) -> Tensor:
        training = [module for module in network.modules() if module.training]
        network.eval()
        try:
            scores: Tensor = network(images.to(device))
        finally:
            for module in training:
                module.training = True
        return scores

    return score
