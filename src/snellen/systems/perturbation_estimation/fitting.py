"""Training a denoiser on pairs, and judging it on pairs by the victims that were attacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.systems.perturbation_estimation.estimate import Scores, in_batches
from snellen.systems.perturbation_estimation.figures import averaged, cell_figures
from snellen.systems.perturbation_estimation.losses import LossWeights, View, draw_view, estimation_loss, untouched
from snellen.systems.perturbation_estimation.pair_files import StoredPairs
from snellen.systems.perturbation_estimation.pairs import Cell, Pairs, joined
from snellen.training.batches import Batch, Examples, ImageStore
from snellen.training.evaluation import Evaluate
from snellen.training.loop import Trained, train
from snellen.training.objectives import Objective
from snellen.training.plan import TrainingPlan

#: Pairs that measure how often a view leaves the surrogate's decisions as they are.
ASKED = 256


def fit_denoiser(
    network: nn.Module,
    pairs: Sequence[Cell] | StoredPairs,
    surrogate: Scores,
    *,
    views: Sequence[str],
    weights: LossWeights,
    plan: TrainingPlan,
    parity: bool = False,
    val: Sequence[Cell] | StoredPairs = (),
    victims: Mapping[str, Scores] | None = None,
    checkpoint: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a copy of a denoiser on all pairs together.

    Args:
        network: initial weights.
        pairs: to train on, in memory or on the disk.
        surrogate: F̂; see :func:`~snellen.systems.perturbation_estimation.estimate.surrogate_scores`.
        views: names of :data:`~snellen.systems.perturbation_estimation.losses.VIEWS`, beside the images as they are.
        weights: of the terms of the loss.
        plan: of the training; ``plan.select`` is a figure of :func:`by_victims`.
        parity: as the published code does; see :func:`objective_of`.
        val: pairs that choose the epoch; none: the last one is taken.
        victims: scores of each victim by name; needed with ``val``.
        checkpoint: file to save to, and to go on from if it exists.
        recipe: what else defines this training.
        progress: callback that receives progress updates.

    Raises:
        InputError: no pairs.
    """
    held: Sequence[Pairs] = val.cells if isinstance(val, StoredPairs) else val
    return train(
        network,
        _examples(pairs),
        plan=plan,
        objective=objective_of(surrogate, views, weights, parity=parity),
        val=_examples(val) if held else None,
        evaluate=by_victims(held, victims or {}),
        checkpoint=checkpoint,
        recipe=recipe,
        progress=progress,
    )


def _examples(pairs: Sequence[Cell] | StoredPairs) -> Examples:
    return pairs if isinstance(pairs, StoredPairs) else stored(joined(pairs))


def stored(pairs: Cell) -> ImageStore:
    """Pairs as examples: the clean image, and its partner as target; as bytes where they are multiples of 1/255."""
    return ImageStore.of_tensors(_compact(pairs.clean), _compact(pairs.adversarial), ids=pairs.ids)


def objective_of(surrogate: Scores, names: Sequence[str], weights: LossWeights, *, parity: bool = False) -> Objective:
    """The loss of a batch of pairs under the images as they are and one draw of each view.

    With ``parity`` two slips of the published code are repeated: CutMix writes into the batch that the first third is
    then taken of, and the alignments leave nothing out.
    """

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        clean, adversarial = batch.images, _unit(batch.targets)
        loss = estimation_loss(
            model, surrogate, clean, adversarial, drawn(names, clean, batch.rng, parity=parity), weights, whole=parity
        )
        return loss.total

    return objective


def drawn(names: Sequence[str], images: Tensor, rng: Randomness, *, parity: bool = False) -> list[View]:
    """The images as they are and one draw of each view; with ``parity``, a CutMix in the place of the former."""
    views = {name: draw_view(name, images, rng.child("views")) for name in names}
    return [views["cutmix"] if parity and "cutmix" in views else untouched, *views.values()]


def by_victims(cells: Sequence[Pairs], victims: Mapping[str, Scores]) -> Evaluate:
    """Figures of :func:`~snellen.systems.perturbation_estimation.figures.averaged` over cells, each judged by its
    victim.
    """

    def evaluate(model: nn.Module, _examples: Examples) -> Mapping[str, float]:
        device = next(model.parameters(), torch.empty(0)).device
        return averaged([cell_figures(model, cell, victims[cell.victim], device) for cell in cells])

    return evaluate


def kept_shares(
    pairs: Cell, surrogate: Scores, names: Sequence[str], rng: Randomness, *, count: int = ASKED
) -> dict[str, float]:
    """How often a view leaves the surrogate's decision as it is: ``VIEW.benign`` and ``VIEW.adversarial``.

    They depend on view and surrogate alone, not on the denoiser. Near 0 the view destroys what the surrogate uses, and
    the alignments never see it.
    """
    clean, adversarial = pairs.clean[:count], pairs.adversarial[:count]
    views = drawn(names, clean, rng.for_examples(pairs.ids[:count]))
    with torch.no_grad():
        loss = estimation_loss(lambda seen: seen, surrogate, clean, adversarial, views, LossWeights())
    shares = {}
    for row, name in enumerate(names, start=1):
        shares[f"{name}.benign"] = float(loss.kept_benign[row].double().mean())
        shares[f"{name}.adversarial"] = float(loss.kept_adversarial[row].double().mean())
    return shares


def carried_over(cells: Sequence[Pairs], surrogate: Scores, device: torch.device | None = None) -> float:
    """Share of all pairs about whose partners the surrogate decides otherwise, too: the alignments see no others."""
    apart = []
    for cell in cells:
        for part in cell.parts(device=device):
            clean, adversarial = (in_batches(surrogate, one).argmax(1) for one in (part.clean, part.adversarial))
            apart.append((clean != adversarial).double().cpu())
    return float(torch.cat(apart).mean())


def _compact(images: Tensor) -> Tensor:
    as_bytes = (images * 255).round()
    return as_bytes.to(torch.uint8) if torch.equal(as_bytes / 255, images) else images


def _unit(images: Tensor) -> Tensor:
    return to_unit(images) if images.dtype == torch.uint8 else images
