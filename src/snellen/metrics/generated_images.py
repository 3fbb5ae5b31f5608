"""How like real images generated ones are, and how unlike each other, in some space of features.

Kynkäänniemi et al., *Improved Precision and Recall Metric for Assessing Generative Models*, NeurIPS 2019, eq. 1 and 2.
Each set is the union of the balls around its features that reach the k-th nearest neighbour within the set.
An outlier has a large ball: density and coverage suffer less from it.

Naeem et al., *Reliable Fidelity and Diversity Metrics for Generative Models*, ICML 2020, eq. 3 and 4. The neighbourhood
of a real image is the ball around its features that reaches its k-th nearest real neighbour.

Diversity is the mean distance of pairs within a class (with LPIPS as the distance: Ojha et al., *Few-shot Image
Generation via Cross-domain Correspondence*, CVPR 2021, section 4.2). Unlike an effective number of images (the Vendi
score, Friedman and Dieng 2023) or a recall, it does not depend on how many images there are, so that sets can be
compared even if a judge accepts different numbers of images.

For the Fréchet distance both sets are taken for Gaussians (Dowson and Landau 1982; for images Heusel et al. 2017, eq.
6): |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½). It depends on the features and, for small sets, on their number: distances
are only comparable for the same features and the same numbers, so a distance between two real sets belongs beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: Rows whose distances to all others are taken together.
TOGETHER = 1024


def check_features(first: Tensor, second: Tensor) -> None:
    """Refuse what are not two sets of finite features of one width.

    Raises:
        InputError: another shape, different widths, no row, or numbers that are not finite.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or not (len(first) and len(second)):
        raise InputError(
            f"real and generated features are (n, d) and (m, d); got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if not (bool(first.isfinite().all()) and bool(second.isfinite().all())):
        raise InputError("features must be finite to have neighbours")


def radii(features: Tensor, neighbours: int) -> Tensor:
    """Distance of each row (n, d) to its k-th nearest other row, float64 (n,).

    >>> radii(torch.tensor([[0.0], [1.0], [3.0]]), 1).tolist()
    [1.0, 1.0, 2.0]

    Raises:
        InputError: no such neighbour.
    """
    if not 1 <= neighbours < len(features):
        raise InputError(f"neighbours must be from 1 to {len(features) - 1}, fewer than the images; got {neighbours}")
    # The nearest row is the row itself.
    found = [distances(part, features).kthvalue(neighbours + 1, dim=1).values for part in features.split(TOGETHER)]
    return torch.cat(found)


def in_some_neighbourhood(points: Tensor, centres: Tensor, reach: Tensor) -> Tensor:
    """Whether each point lies in the neighbourhood of any centre, bool (m,).

    Args:
        points: (m, d).
        centres: (n, d).
        reach: radius of each centre, (n,).
    """
    return torch.cat([(distances(part, centres) <= reach).any(1) for part in points.split(TOGETHER)])


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances, float64 (n, m), as sums of squared differences.

    By products of matrices they would be faster, and wrong for features that lie near each other and far from zero.
    """
    return torch.cdist(first.double(), second.double(), compute_mode="donot_use_mm_for_euclid_dist")


def precision(real: Tensor, generated: Tensor, *, neighbours: int = 3) -> float:
    """Share of generated images that lie among the real ones, in [0, 1].

    >>> import torch
    >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> precision(real, torch.tensor([[1.5], [9.0]]), neighbours=1)
    0.5

    Args:
        real: features (n, d), n > ``neighbours``.
        generated: features (m, d), m ≥ 1.
        neighbours: k; the paper takes 3.

    Raises:
        InputError: too few images, features of different widths, or not finite.
    """
    check_features(real, generated)
    inside = in_some_neighbourhood(generated, real, radii(real, neighbours))
    return float(inside.double().mean())


def recall(real: Tensor, generated: Tensor, *, neighbours: int = 3) -> float:
    """Share of real images that lie among the generated ones, in [0, 1]: precision with the sets exchanged.

    >>> import torch
    >>> real = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
    >>> recall(real, torch.tensor([[0.0], [1.0]]), neighbours=1)
    0.5

    Args:
        real: features (n, d), n ≥ 1.
        generated: features (m, d), m > ``neighbours``.
        neighbours: k.

    Raises:
        InputError: too few images, features of different widths, or not finite.
    """
    return precision(generated, real, neighbours=neighbours)


def coverage(real: Tensor, generated: Tensor, *, neighbours: int = 5) -> float:
    """Share of real images in whose neighbourhood a generated one lies, in [0, 1].

    >>> real = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    >>> coverage(real, real, neighbours=1), coverage(real, torch.zeros(6, 1), neighbours=1)
    (1.0, 0.3333333333333333)

    Args:
        real: features (n, d), n > ``neighbours``.
        generated: features (m, d), m ≥ 1.
        neighbours: k.

    Raises:
        InputError: too few images, or features of different widths.
    """
    check_features(real, generated)
    nearest = torch.cat([distances(part, generated).amin(1) for part in real.split(TOGETHER)])
    return float((nearest <= radii(real, neighbours)).double().mean())


def density(real: Tensor, generated: Tensor, *, neighbours: int = 5) -> float:
    """Mean number of neighbourhoods that a generated image lies in, over k: about 1 for images like the real ones.

    >>> real = torch.tensor([[0.0], [1.0], [2.0]])
    >>> density(real, torch.tensor([[50.0]]), neighbours=1)
    0.0

    Raises:
        InputError: too few images, or features of different widths.
    """
    check_features(real, generated)
    rows = zip(real.split(TOGETHER), radii(real, neighbours).split(TOGETHER), strict=True)
    inside = sum(float((distances(part, generated) <= reach[:, None]).sum()) for part, reach in rows)
    return inside / (neighbours * len(generated))


def within_class_distance(features: Tensor, classes: Tensor) -> float:
    """Mean over the classes of the mean Euclidean distance of two different images of the class.

    >>> within_class_distance(torch.tensor([[0.0], [2.0], [5.0], [5.0]]), torch.tensor([0, 0, 1, 1]))
    1.0

    Args:
        features: (n, d).
        classes: of each image, int64 (n,). Classes with one image have no pair and do not count.

    Raises:
        InputError: other shapes, features that are not finite, or no class with two images.
    """
    if features.ndim != 2 or classes.shape != (len(features),):
        raise InputError(
            f"a diversity takes features (n, d) and classes (n,); got {tuple(features.shape)} and "
            f"{tuple(classes.shape)}"
        )
    if not bool(features.isfinite().all()):
        raise InputError("a diversity takes finite features")
    means = []
    for index in classes.unique().tolist():
        rows = features[classes == index]
        if len(rows) > 1:
            total = sum(float(distances(part, rows).sum()) for part in rows.split(TOGETHER))
            means.append(total / (len(rows) * (len(rows) - 1)))
    if not means:
        raise InputError("no class has two images, so there is no pair whose distance could be taken")
    return float(torch.tensor(means, dtype=torch.float64).mean())


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Fréchet distance of two sets of features.

    >>> ones = torch.ones(4, 2)
    >>> spread = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> frechet_distance(spread, spread), frechet_distance(spread, spread + ones)
    (0.0, 2.0)

    Args:
        first: (n, d) with n > 1, finite.
        second: (m, d) with m > 1, finite.

    Raises:
        InputError: fewer than two rows, different widths, or numbers that are not finite.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise InputError(
            f"a Fréchet distance takes features (n, d) and (m, d), at least two of each; got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    first, second = first.double(), second.double()
    if not (bool(first.isfinite().all()) and bool(second.isfinite().all())):
        raise InputError("a Fréchet distance takes finite features")
    # tr (Σ₁ Σ₂)^½ is the sum of the singular values of A B', where A'A = Σ₁ and B'B = Σ₂: no root of a product of
    # matrices, which is not symmetric, has to be taken.
    centred = [(part - part.mean(0)) / (len(part) - 1) ** 0.5 for part in (first, second)]
    shared = torch.linalg.svdvals(_root(centred[0]) @ _root(centred[1]).T).sum()
    spread = sum(part.square().sum() for part in centred) - 2 * shared
    return max(0.0, float((first.mean(0) - second.mean(0)).square().sum() + spread))


def inception_score(probabilities: Tensor) -> float:
    """Exp of the mean divergence KL(p(y|x) ‖ p(y)) over images; 1 to k, the higher the surer and the more diverse.

    Salimans et al. 2016, arXiv 1606.03498. Over all images at once, not in ten parts.

    >>> inception_score(torch.eye(4)), inception_score(torch.full((4, 4), 0.25))
    (4.0, 1.0)

    Args:
        probabilities: of each image, (n, k), rows that sum to 1.

    Raises:
        InputError: no row, or rows that are no probabilities.
    """
    rows = probabilities.double()
    sums = rows.sum(1) if rows.ndim == 2 else rows
    if rows.ndim != 2 or not len(rows) or not bool((rows >= 0).all()) or not bool((sums - 1).abs().max() < 1e-3):
        raise InputError(f"an Inception score takes probabilities (n, k) whose rows sum to 1; got {tuple(rows.shape)}")
    divergence = (torch.special.xlogy(rows, rows) - torch.special.xlogy(rows, rows.mean(0))).sum(1)
    return float(divergence.mean().exp())


def _root(centred: Tensor) -> Tensor:
    """A matrix A (d, d) with A'A = X'X, from X (n, d)."""
    return torch.linalg.qr(centred, mode="r").R if len(centred) > centred.shape[1] else centred
