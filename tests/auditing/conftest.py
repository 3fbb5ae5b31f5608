"""A small classifier with images on which everything the audit says can be checked."""

import numpy as np
import pytest
import torch

from snellen.data.references import load_images
from snellen.testing.conformance import small_problem


@pytest.fixture
def problem():
    """Classifier, labelled image set of 150 images with 15 wrong labels (so accuracy 0.9), labels as given."""
    classifier, images, labels = small_problem(count=150, size=12)
    pixels = (images * 255).round().byte()
    with torch.no_grad():
        labels = classifier(pixels / 255).argmax(1)
    labels[:15] = (labels[:15] + 1) % 5
    array = pixels.permute(0, 2, 3, 1).numpy()
    return classifier, load_images((array, labels.numpy().astype(np.int64))), labels
