"""Everything that one step of instance-level learning needs and changes, as one module.

Qu et al., "A good instance classifier is all you need" (INS), IEEE TCSVT 2024, arXiv 2307.02249. The encoder f, the
classifier g and the projection h are trained; momentum copies f′ and h′ make keys; a queue, two prototypes and the
targets of all instances are remembered in buffers, so that a checkpoint holds them.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.systems.multiple_instance.candidate_labels import initial_targets, masked_scores, pseudo_classes
from snellen.systems.multiple_instance.contrastive_losses import info_nce, weakly_supervised_contrast
from snellen.systems.multiple_instance.key_queue import Entries, KeyQueue
from snellen.systems.multiple_instance.prototypes import filled, prototype_scores, updated_prototypes
from snellen.systems.multiple_instance.pseudo_labels import moved_targets
from snellen.systems.multiple_instance.settings import InstanceSettings
from snellen.training.objectives import cross_entropy


class StepLosses(NamedTuple):
    """Losses of a step, each (n,), in nats, before they are weighed."""

    classification: Tensor
    contrast: Tensor


class InstanceLearner(nn.Module):
    """``learner(inputs)`` are the scores of instances, g(f(x)); :meth:`step` is one step of the method.

    Args:
        encoder: f, inputs → (n, width).
        classifier: g, (n, width) → (n, 2).
        candidates: candidate sets of all training instances, bool (N, 2).
        settings: numbers of the method.
    """

    prototypes: Tensor
    targets: Tensor
    candidates: Tensor
    epoch: Tensor
    sums: Tensor

    def __init__(
        self, encoder: nn.Module, classifier: nn.Linear, candidates: Tensor, settings: InstanceSettings
    ) -> None:
        super().__init__()
        width = classifier.in_features
        self.settings = settings
        self.encoder, self.classifier = encoder, classifier
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, settings.projection))
        self.key_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.key_projection = copy.deepcopy(self.projection).requires_grad_(False)
        self.queue = KeyQueue(settings.queue, settings.projection)
        self.register_buffer("prototypes", torch.zeros(2, settings.projection))
        self.register_buffer("candidates", candidates)
        self.register_buffer("targets", initial_targets(candidates))
        #: Of the running phase, from 1, and sums over its steps: three losses, and how many steps.
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("sums", torch.zeros(4, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores (n, 2)."""
        scores: Tensor = self.classifier(self.encoder(inputs))
        return scores

    def step(self, weak: Tensor, strong: Tensor, instances: Tensor, *, warm_up: bool, inertia: float) -> StepLosses:
        """One step on a batch: prototypes, keys, queue and, after the warm-up, targets move with it.

        Prototypes are compared with as they were before the batch. Targets wait until both prototypes are filled, so
        that a prototype of length 0 never decides. The classifier says which instances attract each other; the
        prototypes say what the classifier is to learn.

        Args:
            weak: one view of the instances, (n, …).
            strong: another view of the same, (n, …).
            instances: their numbers, int64 (n,).
            warm_up: instances are separated from each other, and targets stay.
            inertia: φ, the share of a target that is kept.
        """
        settings, candidates = self.settings, self.candidates[instances]
        hidden = self.encoder(weak)
        logits = self.classifier(hidden)
        scores = masked_scores(logits.detach(), candidates)
        classes = pseudo_classes(scores)
        queries = F.normalize(self.projection(hidden), dim=1)
        looks = queries.detach()
        known, by_prototype = filled(self.prototypes), prototype_scores(looks, self.prototypes)
        self.prototypes.copy_(updated_prototypes(self.prototypes, looks, classes, momentum=settings.prototype_momentum))
        keys = self._keys(strong)
        held = self.queue.entries()
        if warm_up:
            contrast = info_nce(queries, keys, held.keys, temperature=settings.temperature)
        else:
            contrast = weakly_supervised_contrast(
                queries,
                torch.cat([keys, held.keys]),
                classes,
                torch.cat([classes, pseudo_classes(held.scores)]),
                temperature=settings.temperature,
            )
            if known:
                said = by_prototype if settings.labelled_by == "prototypes" else scores
                self.targets[instances] = moved_targets(self.targets[instances], said, candidates, inertia=inertia)
        classification = cross_entropy(logits, self.targets[instances])
        self.queue.push(Entries(keys, scores))
        return StepLosses(classification, contrast)

    @torch.no_grad()
    def _keys(self, strong: Tensor) -> Tensor:
        """Keys h′(f′(s)), of length 1, after the copies have followed: θ′ ← m θ′ + (1 − m) θ, parameters only."""
        followed = ((self.encoder, self.key_encoder), (self.projection, self.key_projection))
        for trained, copied in followed:
            for parameter, follower in zip(trained.parameters(), copied.parameters(), strict=True):
                follower.lerp_(parameter, 1 - self.settings.key_momentum)
        return F.normalize(self.key_projection(self.key_encoder(strong)), dim=1)
