"""Copies of a model that keep its ordinary weakness and lose a trigger: what is usual where no clean models are given.

A copy is tuned for some steps on clean images with their labels. What the images teach stays, and a trigger, which
nothing among them needs, is forgotten. Tuning also changes how strong the copy is against ordinary changes, in a
direction that depends on how it is tuned. So there are two kinds of copies, and a class is compared with its largest
rate among them:

- **tuned** on the images as they are: on the pilot it kept the rates of ordinary classes best;
- **disturbed and tuned**: noise on the weights first, which loses triggers that tuning alone leaves.

Two other ways were tried and left out: tuning on noisy images makes copies so much stronger that ordinary classes fall
as far as planted ones, and a last layer that is drawn anew and fitted again keeps a patch, since the layers below still
answer to it (docs/systems/smooth_inversion.md).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.randomness import Randomness, derive_seed
from snellen.training import ImageStore, TrainingPlan, train
from snellen.training.batches import Batch
from snellen.training.objectives import cross_entropy

#: Steps of a tuning, images of each, and its largest learning rate.
_STEPS, _BATCH, _RATE = 100, 32, 3e-3

#: Images that a copy sees while it is tuned, each counted as often as it is seen.
TUNED_ON = _STEPS * _BATCH

#: Noise on the weights of a disturbed copy, in standard deviations of each layer's weights.
_NOISE = 0.3


def tuned_copies(
    classifier: Classifier, images: Tensor, labels: Tensor, count: int, *, ids: Sequence[str], rng: Randomness
) -> Iterator[Classifier]:
    """Make copies, by turns tuned, and disturbed and tuned. The classifier itself stays as it is.

    Args:
        classifier: a module of torch.
        images: prepared images (n, 3, h, w) in [0, 1].
        labels: classes (n,), or decisions of the classifier.
        count: copies.
        ids: of the images.
        rng: of the noise and of the order of the images.

    Raises:
        MissingExtraError: accelerate is not installed.
        ModelError: a tuning that does not stay finite.
    """
    store = ImageStore.of_tensors(images.cpu(), labels.cpu(), ids=ids)
    plan = TrainingPlan(
        epochs=max(1, -(-_STEPS // -(-len(images) // _BATCH))),
        batch_size=_BATCH,
        learning_rate=_RATE,
        schedule="constant",
        clip_norm=5.0,
    )

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        model.eval()  # as it is scanned: normalised by what its own training saw, nothing dropped
        return cross_entropy(model(classifier.normalise(batch.images)), batch.targets)

    for number in range(count):
        assert classifier.module is not None
        module = copy.deepcopy(classifier.module).requires_grad_(True)
        if number % 2:
            _disturb(module, rng.child("copy", number))
        seed = derive_seed(rng.seed, *rng.path, "copy", number) % 2**31
        weights = train(module, store, plan=plan.model_copy(update={"seed": seed}), objective=objective).weights
        module.load_state_dict(dict(weights))
        yield Classifier(
            module,
            class_names=classifier.class_names,
            preparation=classifier.preparation,
            normalization=classifier.normalization,
            task=classifier.task,
            output=classifier.output,
            name=f"copy {number} of {classifier.name}",
            device=classifier.device,
        )


def _disturb(module: nn.Module, rng: Randomness) -> None:
    """Add noise to all weights that have more than one axis."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.ndim > 1:
                noise = torch.randn(weight.shape, generator=rng.generator(name), dtype=weight.dtype)
                weight.add_(_NOISE * weight.std() * noise.to(weight.device))
