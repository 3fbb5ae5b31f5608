"""Whether two classifiers are one network: what guided an image cannot judge it."""

from __future__ import annotations

import hashlib

from torch import nn

from snellen.core.classifier import Classifier, hash_tensors


def weights_of(classifier: Classifier) -> str | None:
    """Hash of a classifier's weights alone, by which it is known under another name, form or preparation.

    The identity that a loader gives where there is no module; None where there is neither.
    """
    return classifier.identity if classifier.module is None else hash_of(classifier.module)


def hash_of(network: nn.Module) -> str:
    """Hash of the tensors of a network, whatever they are called: a network within another one has the same.

    >>> one = nn.Linear(2, 3)
    >>> hash_of(one) == hash_of(nn.Sequential(nn.Identity(), one)) != hash_of(nn.Linear(2, 3))
    True
    """
    hashes = sorted(hash_tensors({"": tensor}) for tensor in network.state_dict().values())
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()
