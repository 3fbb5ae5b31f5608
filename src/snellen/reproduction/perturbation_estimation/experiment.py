"""System 5, CDD-RED, beside its two baselines: a plain denoiser, and one that is aligned with benign decisions alone.

Two victims are attacked, a third network is the surrogate. Three denoisers start from the same weights and see the same
pairs for as many epochs: ``do`` is trained on the reconstruction, ``ds`` on benign alignment (neither with views), and
``cdd`` on all three terms with views. A fourth, ``own``, is ``cdd`` with one of the victims as surrogate, as in the
paper's main table. Every pair is judged by the victim that was attacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.methods.attacks.pgd import PGD
from snellen.models.residual_denoiser import ResidualDenoiser
from snellen.reproduction.perturbation_estimation.setting import (
    EPSILON,
    HARD,
    SMALL,
    SMOKE,
    Budget,
    Setting,
    few,
    make_setting,
)
from snellen.systems.perturbation_estimation.estimate import behind, in_batches, red, surrogate_scores, unbounded_scores
from snellen.systems.perturbation_estimation.figures import (
    attention_figures,
    averaged,
    benign_figures,
    pair_figures,
    partial_curve,
)
from snellen.systems.perturbation_estimation.fitting import fit_denoiser, kept_shares
from snellen.systems.perturbation_estimation.losses import LossWeights
from snellen.systems.perturbation_estimation.pairs import Cell, joined
from snellen.training.acceleration import seeded
from snellen.training.plan import TrainingPlan

#: Shares of the perturbation in the curve: the published grid of six.
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Arm:
    """What one denoiser is trained on, and before whom: the surrogate that nobody attacks, or the first victim."""

    weights: LossWeights
    views: tuple[str, ...] = ()
    before_victim: bool = False


ARMS: Mapping[str, Arm] = {
    "do": Arm(LossWeights(benign=0, adversarial=0)),
    "ds": Arm(LossWeights(reconstruction=0, benign=1, adversarial=0)),
    "cdd": Arm(LossWeights(), ("crop_and_pad", "cutmix")),
    "own": Arm(LossWeights(), ("crop_and_pad", "cutmix"), before_victim=True),
}


def perturbation_estimation(scale: Scale, seed: int, progress: Progress) -> Mapping[str, float]:
    """Measure the claims of system 5.

    Returns:
        For each arm of :data:`ARMS`, ``ARM.MIX.FIGURE`` with MIX ``seen`` and ``unseen`` (averages), or the name of an
        attack, and FIGURE ``d``, ``d_attack``, ``pa_benign``, ``pa_adversarial`` (for averages also distances of
        scores); ``ARM.benign.changed`` and ``.d``; ``ARM.curve.P.FIGURE`` of :func:`partial_curve`; ``ARM.iaa_benign``
        and ``iaa_adversarial``; ``ARM.adaptive.broken``, ``.d`` and ``.pa_benign``. ``VICTIM.ATTACK.success`` of the
        attacks, ``NETWORK.accuracy``, ``kept.VIEW`` shares of the robust subset, and ``carried_over``, the share of
        pairs about which the surrogate changes its decision too.

    Raises:
        InputError: the scale is full.
    """
    if scale == "full":
        raise InputError(
            "system 5 has no full experiment: it needs ImageNet, five published victims and days on a GPU; choose "
            "small, or train a denoiser for your own classifiers with 'snellen train perturbation-denoiser'"
        )
    budget, prefix = (SMOKE, "smoke.") if scale == "smoke" else (SMALL, "")
    rng = Randomness(seed)
    setting = make_setting(budget, rng, progress)
    figures = _about(setting, rng)
    for name, arm in ARMS.items():
        denoiser = trained_arm(arm, setting, budget, rng, progress)
        figures |= {f"{name}.{key}": value for key, value in judged(denoiser, setting, budget, rng).items()}
    return {prefix + name: value for name, value in figures.items()}


perturbation_estimation.stand_ins = {  # type: ignore[attr-defined]
    "smoke": (
        "bundled classifiers as victims, a surrogate of one epoch on 64 images; 20 images for pairs, denoisers of 3 "
        "layers and one epoch",
    ),
    "small": (
        "grey garments of 28 pixels (Fashion-MNIST) for ImageNet at 224: 5,000 for the classifiers, 1,000 others for "
        "pairs, 250 test images, 60 of them under CW and the ensemble; changes of 16/255 at most",
        "two victims and a surrogate of 40 to 160 thousand weights, trained for 4 epochs, for five published networks "
        "and a robust ResNet-50",
        "denoisers of 6 layers and 16 channels, 10 epochs of batches of 16 at 1e-3, for 17, 64 and 300 epochs of 4 at "
        "1e-4",
        "CW with 60 iterations and 4 searches; the ensemble with 20 steps, 3 targets and 200 queries",
    ),
}


def trained_arm(arm: Arm, setting: Setting, budget: Budget, rng: Randomness, progress: Progress) -> nn.Module:
    """Train one denoiser; all arms start from the same weights and see the pairs in the same order."""
    with seeded(rng.generator("denoiser").initial_seed(), torch.device("cpu")):
        network = ResidualDenoiser(depth=budget.depth, width=budget.width)
    plan = TrainingPlan(
        epochs=budget.epochs,
        batch_size=16,
        learning_rate=1e-3,
        weight_decay=1e-4,
        drop_last=len(joined(setting.training).ids) >= 16,
        channels_last=True,
        seed=rng.generator("training of denoisers").initial_seed() % 2**31,
    )
    surrogate = next(iter(setting.victims.values())) if arm.before_victim else setting.surrogate
    trained = fit_denoiser(
        network,
        setting.training,
        surrogate_scores(surrogate),
        views=arm.views,
        weights=arm.weights,
        plan=plan,
        progress=progress,
    )
    network.load_state_dict(dict(trained.weights))
    return network.eval().requires_grad_(False)


def judged(denoiser: nn.Module, setting: Setting, budget: Budget, rng: Randomness) -> dict[str, float]:
    """All figures of one denoiser."""
    figures = {
        **_averages(denoiser, setting.seen, setting.victims, "seen"),
        **_averages(denoiser, setting.unseen, setting.victims, "unseen"),
    }
    for name in dict.fromkeys(cell.attack for cell in (*setting.seen, *setting.unseen)):
        cells = [cell for cell in (*setting.seen, *setting.unseen) if cell.attack == name]
        figures |= _averages(denoiser, cells, setting.victims, name, short=True)
    figures |= _benign(denoiser, setting)
    figures |= _curve(denoiser, setting)
    figures |= _attention(denoiser, setting, budget)
    return figures | _adaptive(denoiser, setting, budget, rng)


def _averages(
    denoiser: nn.Module, cells: Sequence[Cell], victims: Mapping[str, Classifier], name: str, *, short: bool = False
) -> dict[str, float]:
    if not any(len(cell.ids) for cell in cells):
        return {}
    found = averaged(
        [
            pair_figures(
                red(denoiser, cell.adversarial).clean,
                cell.clean,
                cell.adversarial,
                unbounded_scores(victims[cell.victim]),
            )
            for cell in cells
        ]
    )
    kept = {"d", "d_attack", "pa_benign", "pa_adversarial"} if short else set(found)
    return {f"{name}.{key}": value for key, value in found.items() if key in kept}


def _benign(denoiser: nn.Module, setting: Setting) -> dict[str, float]:
    each = [benign_figures(denoiser, setting.images, unbounded_scores(one)) for one in setting.victims.values()]
    return {f"benign.{name}": sum(row[name] for row in each) / len(each) for name in each[0]}


def _curve(denoiser: nn.Module, setting: Setting) -> dict[str, float]:
    """The mean over the victims, under PGD of the learnt strength."""
    rows = [
        partial_curve(denoiser, cell, unbounded_scores(setting.victims[cell.victim]), SHARES)
        for cell in setting.seen
        if cell.attack == "pgd" and len(cell.ids)
    ]
    return {
        f"curve.{share:g}.{name}": sum(row[at][name] for row in rows) / len(rows)
        for at, share in enumerate(SHARES)
        for name in (rows[0][0] if rows else ())
    }


def _attention(denoiser: nn.Module, setting: Setting, budget: Budget) -> dict[str, float]:
    found = []
    for cell in few(setting.seen, budget.hard):
        if len(cell.ids):
            estimate = red(denoiser, cell.adversarial).clean
            found.append(attention_figures(setting.victims[cell.victim], estimate, cell.clean, cell.adversarial))
    return averaged(found) if found else {}


def _adaptive(denoiser: nn.Module, setting: Setting, budget: Budget, rng: Randomness) -> dict[str, float]:
    """PGD that has gradients through denoiser and victim, of twice the steps: its success, and what is left of it."""
    attack, found, broken = PGD(epsilon=EPSILON, steps=2 * budget.steps), [], []
    for name, victim in setting.victims.items():
        rows = (in_batches(victim, setting.images).argmax(1) == setting.labels).nonzero().flatten()[: 2 * budget.hard]
        if not len(rows):
            continue
        images, labels = setting.images[rows], setting.labels[rows]
        own = rng.child("adaptive", name).for_examples([setting.ids[row] for row in rows.tolist()])
        made = attack.attack(behind(denoiser, victim), images, labels, criterion=Misclassified(), rng=own)
        broken.append(made.success.double().mean())
        found.append(pair_figures(red(denoiser, made.images).clean, images, made.images, unbounded_scores(victim)))
    if not found:
        return {}
    means = averaged(found)
    shares: Tensor = torch.stack(broken)
    kept = {f"adaptive.{name}": means[name] for name in ("d", "pa_benign", "pa_adversarial")}
    return {"adaptive.broken": float(shares.mean()), **kept}


def _about(setting: Setting, rng: Randomness) -> dict[str, float]:
    """What the denoisers are trained and judged on."""
    figures = {}
    for name, classifier in {**setting.victims, "surrogate": setting.surrogate}.items():
        right = in_batches(classifier, setting.images).argmax(1) == setting.labels
        figures[f"{name}.accuracy"] = float(right.double().mean())
    for cell in (*setting.seen, *setting.unseen):
        figures[f"{cell.victim}.{cell.attack}.success"] = cell.success_rate
    pairs = joined(setting.training)
    figures["pairs"] = float(len(pairs.ids))
    carried = in_batches(setting.surrogate, pairs.adversarial).argmax(1) != in_batches(
        setting.surrogate, pairs.clean
    ).argmax(1)
    figures["carried_over"] = float(carried.double().mean())
    shares = kept_shares(pairs, surrogate_scores(setting.surrogate), ARMS["cdd"].views, rng.child("kept"))
    figures |= {f"kept.{name}": share for name, share in shares.items()}
    figures["unseen_pairs.hard"] = float(sum(len(cell.ids) for cell in setting.unseen if cell.attack in HARD))
    return figures
