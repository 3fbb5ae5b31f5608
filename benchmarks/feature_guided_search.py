"""Feature-guided search beside the bare network: wall time of the search over that of its queries alone.

The bare time is that of the network on random images in batches of the sizes that the search's log holds. Runs of the
two alternate, and medians are compared, so that a busy machine slows both alike. Usage: python
benchmarks/feature_guided_search.py [--model bundled:fashion-cnn] [--images 16] [--queries 500] [--leaves 16] [--repeats
3]; ``--model vgg16`` is torchvision's VGG16 with random weights on random images of 224 pixels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor

import snellen
from snellen.core.classifier import Classifier
from snellen.core.randomness import Randomness
from snellen.systems.feature_guided_search.method import FeatureGuidedSearch


def problem(model: str, data: str, count: int) -> tuple[Classifier, Tensor, Tensor]:
    """A classifier, images, and what it says of them."""
    if model == "vgg16":
        from torchvision.models import get_model

        torch.manual_seed(0)
        classifier = Classifier(get_model("vgg16", weights=None), class_names=[str(n) for n in range(1000)], name=model)
        images = torch.rand(count, 3, 224, 224)
    else:
        classifier, loaded = snellen.load_classifier(model), snellen.load_images(data)
        images = torch.stack([classifier.prepare(loaded[row].image) for row in range(count)])
    with torch.no_grad():
        return classifier, images, classifier(images).argmax(1)


def bare(classifier: Classifier, images: Tensor, sizes: Sequence[int]) -> tuple[float, float]:
    """Seconds of the wall and of the processor that the network takes for batches of these sizes."""
    batches = {size: images[torch.arange(size) % len(images)] for size in set(sizes)}
    wall, processor = time.perf_counter(), time.process_time()
    with torch.no_grad():
        for size in sizes:
            classifier.module(classifier.normalise(batches[size]))
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Print one line for each repeat and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bundled:fashion-cnn")
    parser.add_argument("--data", default="bundled:fashion-mnist")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--leaves", type=int, default=16)
    parser.add_argument("--pixels", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    classifier, images, labels = problem(given.model, given.data, given.images)
    method = FeatureGuidedSearch(queries=given.queries, leaves=given.leaves, pixels=given.pixels)
    ratios: list[float] = []
    processor_ratios: list[float] = []
    print(f"{given.model}, {given.images} images, {given.queries} queries, {torch.get_num_threads()} threads")
    for repeat in range(given.repeats):
        wall, processor = time.perf_counter(), time.process_time()
        attacked = method.attack(classifier, images, labels, rng=Randomness(repeat))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        bare_wall, bare_processor = bare(classifier, images, attacked.batch_sizes)
        ratios.append(wall / bare_wall)
        processor_ratios.append(processor / bare_processor)
        mean = sum(attacked.batch_sizes) / len(attacked.batch_sizes)
        print(
            f"wall {wall:.2f} s, bare {bare_wall:.2f} s, ratio {ratios[-1]:.2f}; processor {processor:.2f} s, bare "
            f"{bare_processor:.2f} s, ratio {processor_ratios[-1]:.2f}; {attacked.spent.queries} queries, mean batch "
            f"{mean:.1f}, success {float(attacked.success.double().mean()):.2f}"
        )
    print(f"median ratio: wall {statistics.median(ratios):.2f}, processor {statistics.median(processor_ratios):.2f}")


if __name__ == "__main__":
    main()
