"""A small classifier, images with some wrong labels, and what a call wrote."""

import numpy as np
import torch

from snellen.data.files.arrays import load_arrays
from snellen.testing.conformance import small_problem

COUNT = 20

#: Images whose label is not what the classifier says.
WRONG = (3, 11)


def small_images(count=COUNT, wrong=WRONG, names="abcde"):
    """Bytes, so that files hold them exactly."""
    classifier, images, _ = small_problem(count=count)
    pixels = (images * 255).round().byte()
    labels = classifier(pixels.float() / 255).argmax(1)
    for row in wrong:
        labels[row] = (labels[row] + 1) % 5
    return classifier, load_arrays(pixels.permute(0, 2, 3, 1).numpy(), labels.numpy(), class_names=list(names))


def prepared(classifier, images):
    """All images as the classifier sees them, and their labels."""
    stacked = torch.stack([classifier.prepare(images.read(row)) for row in range(len(images))])
    return stacked, torch.from_numpy(np.array(images.labels))


def arrays_of(path):
    """The arrays of an archive."""
    with np.load(path, allow_pickle=False) as archive:  # noqa: TID251 - as a user reads it
        return {name: archive[name] for name in archive.files}
