"""Classes in words: a classifier whose weights are vectors of texts.

The vector of a class is the mean direction of its texts: w_c = norm(Σ_s norm(t(s)) / m), with t the text tower; scores
are scaled cosines, τ · norm(v(x)) · w_c + b. Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision" (ICML 2021), section 3.1.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.models.dual_encoders.towers import TwoTower

#: A sentence around a class name.
TEMPLATE = "a photo of a {}."


def mean_direction(vectors: Tensor) -> Tensor:
    """Normalise each vector, average, normalise again: (m, d) → (d,).

    >>> mean_direction(torch.tensor([[3.0, 0.0], [0.0, 0.5]]))
    tensor([0.7071, 0.7071])

    Raises:
        InputError: no vectors, one of length zero, or vectors that cancel out.
    """
    if vectors.ndim != 2 or not len(vectors):
        raise InputError(f"the mean direction is that of vectors (m, d) with m ≥ 1; got {tuple(vectors.shape)}")
    if not bool((vectors.norm(dim=1) > 0).all()):
        raise InputError("a vector of length zero has no direction")
    mean = F.normalize(vectors, dim=1).mean(0)
    if float(mean.norm()) < 1e-6:
        raise InputError("the vectors cancel out: their mean has no direction")
    return F.normalize(mean, dim=0)


def scaled_cosines(image_vectors: Tensor, class_vectors: Tensor, *, scale: float = 1.0, bias: float = 0.0) -> Tensor:
    """Scores ``scale`` · cos + ``bias`` of images (n, d) and classes (k, d) → (n, k); any lengths.

    >>> scaled_cosines(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]), scale=10.0)
    tensor([[10.,  0.]])
    """
    return scale * F.normalize(image_vectors, dim=-1) @ F.normalize(class_vectors, dim=-1).T + bias


def fill_templates(class_names: Sequence[str], templates: Sequence[str] = (TEMPLATE,)) -> dict[str, tuple[str, ...]]:
    """Texts of each class: every template with its name in place of ``{}``.

    >>> fill_templates(["cat"], ["a {}", "a photo of a {}"])
    {'cat': ('a cat', 'a photo of a cat')}

    Raises:
        InputError: no classes, a name twice, no templates, or a template without exactly one ``{}``.
    """
    if isinstance(templates, str):
        raise InputError(f"templates are a list of texts; got one string: pass [{templates!r}]")
    if not templates:
        raise InputError(f"at least one template is needed, such as {TEMPLATE!r}")
    for template in templates:
        if template.count("{}") != 1:
            raise InputError(f"a template has exactly one {{}} for the class name; got {template!r}")
    return {name: tuple(t.replace("{}", name) for t in templates) for name in _distinct(class_names)}


def class_vectors(tower: TwoTower, prompts: Mapping[str, Sequence[str]], *, truncate: bool = False) -> Tensor:
    """Vectors of classes, from the texts of each: (k, d), of length one, in the order of ``prompts``.

    Raises:
        InputError: no classes, a class without texts, or a text that is too long.
    """
    if not prompts:
        raise InputError("at least one class with its texts is needed, got none")
    for name, texts in prompts.items():
        if isinstance(texts, str) or not texts:
            raise InputError(f"class {name!r} needs a list of at least one text; got {texts!r}")
    flat = [text for texts in prompts.values() for text in texts]
    parts = tower.encode_texts(flat, truncate=truncate).split([len(texts) for texts in prompts.values()])
    return torch.stack([mean_direction(part) for part in parts])


class ZeroShotNetwork(nn.Module):
    """An image tower and a matrix of class vectors: normalised images (n, 3, h, w) → logits (n, k).

    Args:
        image_tower: normalised images → raw vectors (n, d).
        vectors: class vectors (k, d); kept as the buffer ``vectors``, of length one.
        scale: what cosines are multiplied by.
        bias: what is added then.
    """

    vectors: Tensor

    def __init__(self, image_tower: nn.Module, vectors: Tensor, *, scale: float, bias: float = 0.0) -> None:
        super().__init__()
        self.image_tower = image_tower
        self.register_buffer("vectors", F.normalize(vectors.detach(), dim=-1))
        self.scale, self.bias = scale, bias

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        return scaled_cosines(self.image_tower(images), self.vectors, scale=self.scale, bias=self.bias)

    def extra_repr(self) -> str:
        """Scale and bias, which decide scores and are no tensors."""
        return f"scale={self.scale!r}, bias={self.bias!r}"


def zero_shot_classifier(
    tower: TwoTower,
    prompts: Mapping[str, Sequence[str]] | Sequence[str],
    *,
    truncate: bool = False,
    name: str | None = None,
) -> Classifier:
    """A classifier whose classes are described in words.

    Its layer ``image_tower`` gives the raw image vectors. The tower stays usable, and is shared: what is trained in one
    changes in the other.

    Args:
        tower: the text–image model.
        prompts: texts of each class, by its name (:func:`fill_templates` makes them of names and templates); or class
            names alone, which are put into :data:`TEMPLATE`.
        truncate: cut texts that are longer than the tower's context, instead of refusing them.
        name: shown in reports, instead of the tower's name.

    Raises:
        InputError: no classes, a class without texts, or a text that is too long.
    """
    texts = prompts if isinstance(prompts, Mapping) else fill_templates(prompts)
    vectors = class_vectors(tower, texts, truncate=truncate)
    network = ZeroShotNetwork(tower.image_tower, vectors, scale=tower.logit_scale, bias=tower.logit_bias)
    return Classifier(
        network,
        class_names=list(texts),
        preparation=tower.preparation,
        normalization=tower.normalization,
        name=name or f"{tower.name}, zero-shot",
        notes=(f"zero-shot: {sum(map(len, texts.values()))} texts for {len(texts)} classes", *tower.notes),
        feature_layer="image_tower",
        device=tower.device,
    )


def _distinct(class_names: Sequence[str]) -> Sequence[str]:
    if isinstance(class_names, str):
        raise InputError(f"class names are a list; got one string: pass [{class_names!r}]")
    if not class_names:
        raise InputError("at least one class name is needed, got none")
    if len(set(class_names)) != len(class_names):
        twice = sorted({name for name in class_names if list(class_names).count(name) > 1})
        raise InputError(f"class names must differ; more than once: {', '.join(twice[:5])}")
    return class_names
