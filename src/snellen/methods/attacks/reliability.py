"""Signs that an evaluation by gradient attacks is not to be relied on.

AutoAttack's questions about a classifier (Croce and Hein, ICML 2020, arXiv 2003.01690; its authors' warnings to users):
does it draw at random, does it give probabilities for logits, are its gradients zero, do they differ from pass to pass,
and does a search without gradients break what the gradient attacks left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.in_float64 import in_float64
from snellen.core.outcomes import Attacked
from snellen.methods.attacks.gradient_sizes import gradient_sizes
from snellen.methods.attacks.perturbation import Search
from snellen.methods.attacks.perturbation.inputs import checked_inputs
from snellen.methods.attacks.perturbation.objectives import cross_entropy

#: Two passes differ by more than this share of the largest value: they were drawn at random.
_SAME = 1e-3


def doubts_before(classifier: Classifier, images: Tensor, labels: Tensor) -> tuple[str, ...]:
    """What speaks against gradient attacks on this classifier, in words; nothing where nothing does.

    Costs three queries and four gradients an image.

    >>> def model(images):
    ...     return images.flatten(1)[:, :3] + torch.rand(len(images), 3)
    >>> noisy = Classifier(model, class_names="abc", differentiable=True)
    >>> [doubt[:37] for doubt in doubts_before(noisy, torch.rand(4, 3, 2, 2), torch.zeros(4, dtype=torch.int64))]
    ['2 passes gave other scores for 4 of 4']

    Args:
        classifier: gives gradients and scores of one class of k.
        images: prepared images (n, 3, h, w) in [0, 1].
        labels: integers (n,).

    Raises:
        InputError: images and labels that do not fit.
    """
    images, labels = checked_inputs(classifier, images, labels)
    if not len(images):
        return ()
    first, second = _pass(classifier, images, labels), _pass(classifier, images, labels)
    found, count = list[str](), len(images)
    other_scores = int(differs(first[0], second[0]).sum())
    if other_scores:
        found.append(
            f"2 passes gave other scores for {other_scores} of {count} images: the model draws at random, and one pass "
            f"measures luck. Attack the average over its draws with randomized_ensemble"
        )
    else:
        # Gradients of scores that differ differ for that reason alone.
        other_gradients = int(differs(first[1], second[1]).sum())
        if other_gradients:
            found.append(
                f"2 passes gave equal scores and other gradients for {other_gradients} of {count} images: something "
                f"random stands in the backward pass"
            )
    try:
        refuse_probabilities(first[0], classifier, "an attack")
    except InputError:
        found.append(
            "the scores are probabilities where logits are expected: margins and gradients saturate; leave out the "
            "last softmax"
        )
    sizes = gradient_sizes(classifier, images, labels)
    if int(sizes.zero.sum()):
        found.append(
            f"the gradient of the cross-entropy is exactly zero on {int(sizes.zero.sum())} of {count} images: attacks "
            f"that follow it are blind there. See the check masking of snellen audit"
        )
    return tuple(found)


def doubts_after(attacked: Attacked) -> tuple[str, ...]:
    """What the result of the standard ensemble says against its gradient attacks, in words.

    Square sees no gradients. Where it breaks images that three gradient attacks left standing, those were hindered.
    """
    broken = attacked.found_by.count("square")
    if not broken:
        return ()
    return (
        f"Square, without gradients, broke {broken} images that the gradient attacks left standing. These may have "
        f"been hindered, and the accuracy that is left be too high. See the check masking of snellen audit",
    )


def _pass(classifier: Classifier, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (n, k) and gradients of the cross-entropy (n, d)."""
    with torch.inference_mode(False), torch.enable_grad():
        variables = images.clone().requires_grad_(True)
        scores = classifier(variables)
        (gradient,) = torch.autograd.grad(cross_entropy(scores, labels).sum(), variables)
    return scores.detach(), gradient.flatten(1)


def changed_scores(search: Search) -> Tensor:
    """Ask for the scores of the clean images once more: whether each differs, where it is finite, bool (m,)."""
    if not len(search.images):
        return torch.zeros_like(search.success)
    again, _, finite = search.ask(search.images, torch.arange(len(search.images), device=search.images.device))
    return differs(search.scores[finite], again[finite].to(search.scores.dtype))


def differs(first: Tensor, second: Tensor) -> Tensor:
    """Rows that differ by more than the precision of a pass: bool (n,)."""
    largest = torch.maximum(first.abs(), second.abs()).amax(1)
    return (first - second).abs().amax(1) > _SAME * largest


def refuse_probabilities(scores: Tensor, classifier: Classifier, attack: str) -> None:
    """Refuse scores (n, k) that are probabilities called logits: their margins saturate, and the search goes blind.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Softmax(1))
    >>> classifier = Classifier(model, class_names=["a", "b"], name="soft")
    >>> try:
    ...     refuse_probabilities(classifier(torch.rand(5, 3, 2, 2)), classifier, "the attack")
    ... except InputError as error:
    ...     print(str(error)[:54])
    soft gives probabilities, and the attack works on logi

    Raises:
        InputError: all scores lie in [0, 1] and every row sums to 1.
    """
    if classifier.task == "multilabel" or scores.shape[1] < 2 or not len(scores):
        return
    wide = in_float64(scores)
    if bool((wide >= 0).all()) and bool(((wide.sum(1) - 1).abs() < 1e-4).all()):
        raise InputError(
            f"{classifier.name} gives probabilities, and {attack} works on logits: leave out the model's last softmax, "
            f"or load the model with load_classifier, which takes their logarithms"
        )
