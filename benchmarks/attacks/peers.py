"""The same attacks by other packages, each with the parameters of the settings. A package lacks what it does not offer.

None is a dependency. ART's ensemble is another one (five starts of Auto-PGD, DeepFool) and is left out for that reason.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from problems import Problem
from settings import Settings
from torch import Tensor, nn

Attack = Callable[[], Tensor]

#: Package as it is installed → module as it is imported.
PACKAGES = {
    "torchattacks": "torchattacks",
    "foolbox": "foolbox",
    "adversarial-robustness-toolbox": "art",
    "pyautoattack": "pyautoattack",
}


def installed() -> dict[str, ModuleType | None]:
    """The packages, None for one that cannot be imported."""
    found: dict[str, ModuleType | None] = {}
    for package, module in PACKAGES.items():
        try:
            found[package] = importlib.import_module(module)
        except ImportError:
            found[package] = None
    return found


def attacks_of(package: str, name: str, given: Settings, problem: Problem) -> dict[str, Attack]:
    """Variants of one attack in one package: name of the variant → adversarial images. Empty: not offered."""
    return {
        "torchattacks": _torchattacks,
        "foolbox": _foolbox,
        "adversarial-robustness-toolbox": _art,
        "pyautoattack": _pyautoattack,
    }[package](name, given, problem)


def _torchattacks(name: str, given: Settings, problem: Problem) -> dict[str, Attack]:
    import torchattacks

    model, auto = problem.model, {"norm": "Linf", "eps": given.epsilon, "n_restarts": 1, "seed": 0}
    model.device = torch.device("cpu")  # type: ignore[assignment]
    steps, classes = given.auto_steps, given.targets + 1
    make = {
        "fgsm": lambda: torchattacks.FGSM(model, eps=given.epsilon),
        "pgd": lambda: torchattacks.PGD(model, eps=given.epsilon, alpha=given.step_size, steps=given.pgd_steps),
        "cw-l2-one-weight": lambda: torchattacks.CW(model, c=1, kappa=0, steps=given.cw_steps, lr=given.learning_rate),
        "apgd-ce": lambda: torchattacks.APGD(model, loss="ce", steps=steps, **auto),
        "apgd-t": lambda: torchattacks.APGDT(model, steps=steps, n_classes=classes, **auto),
        "fab-t": lambda: torchattacks.FAB(model, steps=steps, n_classes=classes, multi_targeted=True, **auto),
        "square": lambda: torchattacks.Square(model, n_queries=given.queries, **auto),
    }  # fmt: skip
    if name == "standard":
        # Its AutoAttack takes 10 steps where the authors' takes 100, and has no parameter for them.
        parts = ("apgd-ce", "apgd-t", "fab-t", "square")
        whole = {
            "torchattacks": lambda: torchattacks.MultiAttack([make[part]() for part in parts]),
            "torchattacks as it comes": lambda: torchattacks.AutoAttack(
                model, norm="Linf", eps=given.epsilon, n_classes=classes, version="standard", seed=0
            ),
        }
        return {
            label: lambda attack=attack: attack()(problem.images, problem.labels) for label, attack in whole.items()
        }
    return {"torchattacks": lambda: make[name]()(problem.images, problem.labels)} if name in make else {}


def _foolbox(name: str, given: Settings, problem: Problem) -> dict[str, Attack]:
    import foolbox

    def run(attack: object, epsilon: float | None) -> Attack:
        model = foolbox.PyTorchModel(problem.model, bounds=(0, 1), device="cpu")

        def images() -> Tensor:
            found: Tensor = attack(model, problem.images, problem.labels, epsilons=epsilon)[1]  # type: ignore[operator]
            # Where its search by Carlini and Wagner found nothing, a black image comes back, which may be of another
            # class: no success of the search.
            black = ~found.flatten(1).any(1)
            return torch.where(black[:, None, None, None], problem.images, found)

        return images

    if name == "fgsm":
        return {"foolbox": run(foolbox.attacks.LinfFastGradientAttack(random_start=False), given.epsilon)}
    if name == "pgd":
        attack = foolbox.attacks.LinfProjectedGradientDescentAttack(
            abs_stepsize=given.step_size, steps=given.pgd_steps, random_start=True
        )
        return {"foolbox": run(attack, given.epsilon)}
    if name != "cw-l2":
        return {}
    return {
        label: run(
            foolbox.attacks.L2CarliniWagnerAttack(
                binary_search_steps=given.searches, steps=given.cw_steps, stepsize=given.learning_rate,
                initial_const=given.first_weight, abort_early=abort,
            ),
            None,
        )
        for label, abort in (("foolbox", False), ("foolbox, abort early", True))
    }  # fmt: skip


def _art(name: str, given: Settings, problem: Problem) -> dict[str, Attack]:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    count, size = len(problem.images), given.epsilon
    model = PyTorchClassifier(
        problem.model, nn.CrossEntropyLoss(), tuple(problem.images.shape[1:]), 10, clip_values=(0, 1), device_type="cpu"
    )
    common = {"batch_size": count, "verbose": False}
    make = {
        "fgsm": lambda: evasion.FastGradientMethod(model, eps=size, batch_size=count),
        "pgd": lambda: evasion.ProjectedGradientDescentPyTorch(
            model, eps=size, eps_step=given.step_size, max_iter=given.pgd_steps, num_random_init=1, **common
        ),
        "cw-l2": lambda: evasion.CarliniL2Method(
            model, learning_rate=given.learning_rate, binary_search_steps=given.searches, max_iter=given.cw_steps,
            initial_const=given.first_weight, **common,
        ),
        "apgd-ce": lambda: evasion.AutoProjectedGradientDescent(
            model, eps=size, eps_step=2 * size, max_iter=given.auto_steps, nb_random_init=1,
            loss_type="cross_entropy", **common,
        ),
        "square": lambda: evasion.SquareAttack(model, eps=size, max_iter=given.queries, p_init=0.8, **common),
    }.get(name)  # fmt: skip

    def attack() -> Tensor:
        assert make is not None
        hot = np.eye(10, dtype=np.float32)[problem.labels.numpy()]
        return torch.from_numpy(make().generate(problem.images.numpy(), y=hot))

    return {} if make is None else {"art": attack}


def _pyautoattack(name: str, given: Settings, problem: Problem) -> dict[str, Attack]:
    from pyautoattack import AutoAttack

    if name not in ("apgd-ce", "apgd-t", "fab-t", "square", "standard"):
        return {}

    def attack() -> Tensor:
        logging.getLogger("auto-attack").setLevel(logging.ERROR)
        ensemble = AutoAttack(problem.model, norm="Linf", eps=given.epsilon, seed=0, version="standard")
        if name != "standard":
            ensemble.attacks_to_run = [name]
        images: Tensor = ensemble.run_standard_evaluation(
            problem.images.clone(), problem.labels.clone(), batch_size=len(problem.images)
        )[0]
        return images

    return {"pyautoattack": attack}
