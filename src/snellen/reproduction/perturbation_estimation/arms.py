"""The denoisers that are compared, and every figure of one, the same at every scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.criterion import Misclassified
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.attacks.pgd import PGD
from snellen.models.residual_denoiser import ResidualDenoiser
from snellen.reproduction.perturbation_estimation.setting import HARD, Setting, Sizes
from snellen.reproduction.sample import Figure
from snellen.systems.perturbation_estimation.estimate import behind, in_batches, red, surrogate_scores, unbounded_scores
from snellen.systems.perturbation_estimation.figures import (
    attention_figures,
    averaged,
    benign_figures,
    cell_figures,
    pair_figures,
    partial_curve,
)
from snellen.systems.perturbation_estimation.fitting import ASKED, carried_over, fit_denoiser, kept_shares
from snellen.systems.perturbation_estimation.losses import LossWeights
from snellen.systems.perturbation_estimation.pairs import joined, limited
from snellen.training.acceleration import seeded

#: Shares of the perturbation in the curve: the published grid of six.
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Arm:
    """What one denoiser is trained on, before whom, and after which other one.

    Args:
        weights: of the terms of the loss.
        views: beside the images as they are.
        attacked: whether the surrogate is one of the victims.
        after: arm whose finished weights it begins with; None: an untrained denoiser, the same for all.
    """

    weights: LossWeights
    views: tuple[str, ...] = ()
    attacked: bool = True
    after: str | None = None


#: In this order: an arm comes behind the one that it begins with.
ARMS: Mapping[str, Arm] = {
    "do": Arm(LossWeights(benign=0, adversarial=0)),
    "ds": Arm(LossWeights(reconstruction=0, benign=1, adversarial=0), after="do"),
    "cdd": Arm(LossWeights(), ("crop_and_pad", "cutmix")),
    "no_views": Arm(LossWeights()),
    "unattacked": Arm(LossWeights(), ("crop_and_pad", "cutmix"), attacked=False),
}


def measured(
    setting: Setting, sizes: Sizes, rng: Randomness, progress: Progress, folder: Path | None = None
) -> dict[str, Figure]:
    """Train every arm and judge it.

    Returns:
        For each arm of :data:`ARMS`, ``ARM.MIX.FIGURE`` with MIX ``seen`` and ``unseen`` (averages), or the name of an
        attack, and FIGURE ``d``, ``d_attack``, ``pa_benign``, ``pa_adversarial`` (for averages also distances of
        scores); ``ARM.benign.changed`` and ``.d``; ``ARM.curve.P.FIGURE`` of :func:`partial_curve`; ``ARM.iaa_benign``
        and ``iaa_adversarial``; ``ARM.adaptive.broken``, ``.d`` and ``.pa_benign``. ``VICTIM.ATTACK.success`` of the
        attacks, ``NETWORK.accuracy`` and their least among the victims, ``kept.VIEW`` shares of the robust subset, and
        ``carried_over``, the share of pairs about which a surrogate that nobody attacks changes its decision too.

    Args:
        setting: classifiers, pairs and test images.
        sizes: of the denoisers.
        rng: of weights, order and views.
        progress: callback that receives progress updates.
        folder: where trainings are kept, so that a stopped one resumes.
    """
    figures: dict[str, Figure] = dict(_about(setting, rng))
    finished: dict[str, nn.Module] = {}
    for name, arm in ARMS.items():
        before = None if arm.after is None else finished[arm.after]
        checkpoint = None if folder is None else folder / f"{name}.pt"
        finished[name] = trained_arm(arm, setting, sizes, rng, progress, before=before, checkpoint=checkpoint)
        figures |= {f"{name}.{key}": value for key, value in judged(finished[name], setting, sizes, rng).items()}
    return figures


def trained_arm(
    arm: Arm,
    setting: Setting,
    sizes: Sizes,
    rng: Randomness,
    progress: Progress,
    *,
    before: nn.Module | None = None,
    checkpoint: Path | None = None,
) -> nn.Module:
    """Train one denoiser; all see the pairs in the same order."""
    with seeded(rng.generator("denoiser").initial_seed(), torch.device("cpu")):
        network = ResidualDenoiser(depth=sizes.depth, width=sizes.width)
    if before is not None:
        network.load_state_dict(before.state_dict())
    plan = sizes.plan.model_copy(update={"seed": rng.generator("training of denoisers").initial_seed() % 2**31})
    trained = fit_denoiser(
        network,
        setting.training,
        surrogate_scores(setting.surrogate if arm.attacked else setting.unattacked),
        views=arm.views,
        weights=arm.weights,
        plan=plan,
        checkpoint=checkpoint,
        recipe={"arm": str(arm)},
        progress=progress,
    )
    network.load_state_dict(dict(trained.weights))
    return network.eval().requires_grad_(False).to(setting.where)


def judged(denoiser: nn.Module, setting: Setting, sizes: Sizes, rng: Randomness) -> dict[str, float]:
    """All figures of one denoiser."""
    cells = {
        (mix, cell.attack, cell.victim): cell_figures(
            denoiser, cell, unbounded_scores(setting.victims[cell.victim]), setting.where
        )
        for mix, each in (("seen", setting.seen), ("unseen", setting.unseen))
        for cell in each
    }
    figures = dict[str, float]()
    for mix in ("seen", "unseen"):
        figures |= _averages([found for key, found in cells.items() if key[0] == mix], mix)
    for name in dict.fromkeys(attack for _, attack, _ in cells):
        of_attack = _averages([found for key, found in cells.items() if key[1] == name], name)
        figures |= {key: value for key, value in of_attack.items() if key.partition(".")[2] in _SHORT}
    figures |= _benign(denoiser, setting)
    figures |= _curve(denoiser, setting)
    figures |= _attention(denoiser, setting, sizes.hard)
    return figures | _adaptive(denoiser, setting, sizes, rng)


#: Figures of a single attack.
_SHORT = ("d", "d_attack", "pa_benign", "pa_adversarial")


def _averages(cells: Sequence[Mapping[str, Tensor]], name: str) -> dict[str, float]:
    """Means over cells; none where they hold no pair."""
    if not any(len(cell["d"]) for cell in cells):
        return {}
    return {f"{name}.{key}": value for key, value in averaged(cells).items()}


def _benign(denoiser: nn.Module, setting: Setting) -> dict[str, float]:
    images = setting.images.to(setting.where)
    each = [benign_figures(denoiser, images, unbounded_scores(one)) for one in setting.victims.values()]
    return {f"benign.{name}": sum(row[name] for row in each) / len(each) for name in each[0]}


def _curve(denoiser: nn.Module, setting: Setting) -> dict[str, float]:
    """The mean over the victims, under PGD of the learnt strength."""
    rows = [
        partial_curve(denoiser, cell, unbounded_scores(setting.victims[cell.victim]), SHARES, setting.where)
        for cell in setting.seen
        if cell.attack == "pgd" and len(cell.ids)
    ]
    return {
        f"curve.{share:g}.{name}": sum(row[at][name] for row in rows) / len(rows)
        for at, share in enumerate(SHARES)
        for name in (rows[0][0] if rows else ())
    }


def _attention(denoiser: nn.Module, setting: Setting, count: int) -> dict[str, float]:
    found = []
    for cell in setting.seen:
        few = limited(cell, count)
        if few is None:
            continue
        parts = [
            attention_figures(
                setting.victims[cell.victim], red(denoiser, one.adversarial).clean, one.clean, one.adversarial
            )
            for one in few.parts(32, setting.where)
        ]
        found.append({name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]})
    return averaged(found) if found else {}


def _adaptive(denoiser: nn.Module, setting: Setting, sizes: Sizes, rng: Randomness) -> dict[str, float]:
    """PGD that has gradients through denoiser and victim, of twice the steps: its success, and what is left of it."""
    attack, found, broken = PGD(epsilon=sizes.epsilon, steps=2 * sizes.steps), [], []
    all_images, all_labels = setting.images.to(setting.where), setting.labels.to(setting.where)
    for name, victim in setting.victims.items():
        rows = (in_batches(victim, all_images).argmax(1) == all_labels).nonzero().flatten()[: 2 * sizes.hard]
        if not len(rows):
            continue
        images, labels = all_images[rows], all_labels[rows]
        own = rng.child("adaptive", name).for_examples([setting.ids[row] for row in rows.tolist()])
        made = attack.attack(behind(denoiser, victim), images, labels, criterion=Misclassified(), rng=own)
        broken.append(made.success.double().mean().cpu())
        found.append(pair_figures(red(denoiser, made.images).clean, images, made.images, unbounded_scores(victim)))
    if not found:
        return {}
    means = averaged(found)
    shares: Tensor = torch.stack(broken)
    kept = {f"adaptive.{name}": means[name] for name in ("d", "pa_benign", "pa_adversarial")}
    return {"adaptive.broken": float(shares.mean()), **kept}


def _about(setting: Setting, rng: Randomness) -> dict[str, float]:
    """What the denoisers are trained and judged on."""
    figures, images = {}, setting.images.to(setting.where)
    for name, classifier in {**setting.victims, "unattacked": setting.unattacked}.items():
        right = in_batches(classifier, images).argmax(1).cpu() == setting.labels
        figures[f"{name}.accuracy"] = float(right.double().mean())
    figures["least.accuracy"] = min(figures[f"{name}.accuracy"] for name in setting.victims)
    for cell in (*setting.seen, *setting.unseen):
        figures[f"{cell.victim}.{cell.attack}.success"] = cell.success_rate
    figures["pairs"] = float(sum(len(cell.ids) for cell in setting.cells))
    figures["carried_over"] = carried_over(setting.cells, unbounded_scores(setting.unattacked), setting.where)
    few = joined([one for cell in setting.cells if (one := limited(cell, ASKED)) is not None])
    on_device = next(few.parts(ASKED, setting.where))
    shares = kept_shares(on_device, surrogate_scores(setting.surrogate), ARMS["cdd"].views, rng.child("kept"))
    figures |= {f"kept.{name}": share for name, share in shares.items()}
    figures["unseen_pairs.hard"] = float(sum(len(cell.ids) for cell in setting.unseen if cell.attack in HARD))
    return figures
