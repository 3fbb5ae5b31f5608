"""The paper's collections with trained networks: MNIST, CIFAR-10 and GTSRB, 1,000 images of each.

Everything comes by reference, from environment variables, and nothing is downloaded. An image has 10,000 queries where
the paper gave it a minute. Images are read and attacked in blocks: memory does not grow with their number. Estimated
from numbers of queries and not measured, on one GPU: for each collection four searches of 10 million queries, 12 hours,
and the two references with gradients, 4 hours; 4 GB.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.sample import Figure
from snellen.reproduction.shared.pooled_figures import pooled
from snellen.systems.feature_guided_search.method import FeatureGuidedSearch

#: Collection → variables of its labelled images and of a classifier for them.
COLLECTIONS: Mapping[str, tuple[str, str]] = {
    name: (f"SNELLEN_SAFECV_{name.upper()}", f"SNELLEN_SAFECV_{name.upper()}_MODEL")
    for name in ("mnist", "cifar", "gtsrb")
}

FULL_SEARCH = FeatureGuidedSearch(queries=10_000, leaves=16)

#: Images of each collection that are right, and how many are attacked at a time.
IMAGES, BLOCK = 1000, 20

#: Classifier, images (n, 3, h, w), labels (n,) and collection → figures of the searches on them.
Compared = Callable[[Classifier, Tensor, Tensor, str], Mapping[str, Figure]]


def full(seed: int, compared: Compared, *, count: int = IMAGES, block: int = BLOCK) -> dict[str, Figure]:
    """Figures of each collection, over images that its classifier gets right.

    Args:
        seed: which images.
        compared: runs all searches on a block.
        count: images of a collection.
        block: images that are attacked at a time.

    Raises:
        InputError: a variable is not set; a classifier of another number of classes, or that gets no image right.
    """
    wanted = {
        variable: what
        for name, (images, model) in COLLECTIONS.items()
        for variable, what in ((images, f"labelled images of {name}"), (model, f"a classifier of {name}"))
    }
    absent = [f"{variable} ({what})" for variable, what in wanted.items() if not os.environ.get(variable)]
    if absent:
        raise InputError(f"the full experiment of system 15 needs references in {'; '.join(absent)}")
    figures, device = dict[str, Figure](), "cuda" if torch.cuda.is_available() else "cpu"
    for name, (shown, model) in COLLECTIONS.items():
        images, classifier = load_images(os.environ[shown]), load_classifier(os.environ[model], device=device)
        # Names of classes are written in many ways; another order leaves few images that are right.
        if len(classifier.class_names) != len(images.class_names or ()):
            raise InputError(
                f"{classifier.name} has {len(classifier.class_names)} classes, and {images.name} has "
                f"{len(images.class_names or ())}; expected the same classes in the same order"
            )
        order = torch.randperm(len(images), generator=Randomness(seed).child(name).generator("images"))
        blocks, left = list[tuple[int, Mapping[str, Figure]]](), count
        for rows in order.split(block):
            prepared = torch.stack([classifier.prepare(images.read(row)) for row in rows.tolist()]).to(device)
            labels = torch.from_numpy(images.labels)[rows].to(device)
            with torch.no_grad():
                right = (classifier(prepared).argmax(1) == labels).nonzero().flatten()[:left]
            if len(right):
                blocks.append((len(right), compared(classifier, prepared[right], labels[right], name)))
                left -= len(right)
            if not left:
                break
        if not blocks:
            raise InputError(f"{classifier.name} gets none of the {len(images)} images of {images.name} right")
        figures |= {f"{name}.{key}": value for key, value in pooled(blocks).items()}
        figures[f"{name}.images"] = float(sum(size for size, _ in blocks))
    return figures
