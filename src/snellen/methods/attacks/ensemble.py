"""The standard ensemble of four attacks, which is what claims of robustness are measured with.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", ICML
2020, arXiv 2003.01690 (AutoAttack, version "standard"): Auto-PGD on cross-entropy, targeted Auto-PGD on the difference
of logits ratio, targeted FAB, and Square, each on the images that still stand. An image is robust if all four fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.apgd import APGD
from snellen.methods.attacks.fab import FAB
from snellen.methods.attacks.perturbation import Search
from snellen.methods.attacks.perturbation.contested_classes import refuse_without_pairs
from snellen.methods.attacks.reliability import changed_scores
from snellen.methods.attacks.search_attack import BallAttack
from snellen.methods.attacks.square import Square

Stage = APGD | FAB | Square


class StandardEnsemble(BallAttack):
    """Four attacks in a row, each on what the others left: the worst case of all for every image.

    The defaults are those of AutoAttack's version "standard", in which the squares keep the schedule of 10,000 queries;
    they are not to be lowered for a figure that is compared with others. Images leave at their first success, which
    changes no outcome. Below four classes the targeted difference of logits ratio is not defined, and the difference of
    the two scores takes its place.

    Each stage costs at most what it costs alone. The first two queries show whether the model is deterministic: one
    that gives other scores the second time is refused, because on it this ensemble measures luck.

    >>> import torch
    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    >>> classifier = Classifier(model, class_names=list("abcde"))
    >>> images = torch.rand(4, 3, 4, 4)
    >>> ensemble = StandardEnsemble(epsilon=0.5, steps=10, queries=50)
    >>> ensemble.attack(classifier, images, classifier(images).argmax(1)).found_by
    ('apgd-ce', 'apgd-ce', 'apgd-ce', 'apgd-ce')
    """

    name: ClassVar[str] = "standard_ensemble"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients", "scores"})

    steps: int = Field(100, ge=1, description="steps of both kinds of Auto-PGD and of FAB")
    target_classes: int = Field(9, ge=1, description="other classes of the targeted attacks, at most all there are")
    queries: int = Field(5000, ge=1, description="queries of Square for each image")
    patience: float | None = Field(
        None,
        gt=0,
        le=1,
        description="hand this to the last three attacks. They end searches that would not break the image at the pace "
        "of the last such share of their steps. Not the standard version; can lose a success. By default never",
    )

    def stages(self, classes: int = 10) -> Mapping[str, Stage]:
        """The four attacks by name, in their order, for a model with so many classes.

        >>> list(StandardEnsemble().stages())
        ['apgd-ce', 'apgd-t', 'fab-t', 'square']
        """
        size, norm, steps, targets = self.epsilon, self.norm, self.steps, self.target_classes
        rest = self.patience
        pairs = "targeted_dlr" if classes > 3 else "targeted_margin"
        return {
            "apgd-ce": APGD(epsilon=size, norm=norm, steps=steps, loss="cross_entropy"),
            "apgd-t": APGD(epsilon=size, norm=norm, steps=steps, loss=pairs, target_classes=targets, patience=rest),
            "fab-t": FAB(epsilon=size, norm=norm, steps=steps, target_classes=targets, patience=rest),
            "square": Square(epsilon=size, norm=norm, queries=self.queries, rescale=False, patience=rest),
        }

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        classifier, images, labels = search.classifier, search.images, search.labels
        refuse_without_pairs(classifier, self.name)
        search.judge_clean()
        changed = changed_scores(search)
        if bool(changed.any()):
            raise InputError(
                f"{classifier.name} gave {int(changed.sum())} of {len(changed)} images other scores in a "
                f"second pass: it draws at random, and {self.name} is for deterministic models. Attack the expectation "
                f"over its draws (EOT, Athalye et al. 2018) with apgd, or fix its draws"
            )
        found_by = ["clean" if already else "" for already in search.already.tolist()]
        for name, stage in self.stages(len(classifier.class_names)).items():
            positions = search.open_positions()
            if not len(positions):
                break
            part = stage.attack(
                classifier, images[positions], labels[positions], criterion=search.criterion, rng=rng[positions]
            )
            for position in positions[search.absorb(positions, part)].tolist():
                found_by[position] = name
        return replace(search.result(), found_by=tuple(found_by))
