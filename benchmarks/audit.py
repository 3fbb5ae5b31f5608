"""An audit's time over that of its bare network calls, in seconds of the processor: what all but the network costs.

The audit runs as a user runs it; then the network, as it was given, is run alone on as many images, in
batches of the same size, forward and (where the audit asked for gradients) backward. Usage:

    python benchmarks/audit.py [--model bundled:fashion-cnn] [--data bundled:fashion-mnist] [--images 2000]
    python benchmarks/audit.py --model timm:resnet50 --random-weights --images 32 --checks clean,corruption
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F

import snellen
from snellen.auditing.audit import audit
from snellen.core.classifier import Classifier


def random_classifier(name: str) -> Classifier:
    """One of timm's architectures with random weights at 224 pixels."""
    import timm

    from snellen.core.preprocessing import Preprocessing

    network = timm.create_model(name.removeprefix("timm:"), num_classes=10)
    preparation = Preprocessing(size=(224, 224), resize="shorter", resize_to=(224, 224))
    names = [str(number) for number in range(10)]
    return Classifier(network, class_names=names, preparation=preparation, name=name)


def bare(classifier: Classifier, batch: torch.Tensor, queries: int, gradients: int) -> float:
    """Seconds of the network alone for so many images, forward, and forward and backward."""
    labels = torch.zeros(len(batch), dtype=torch.long)
    classifier(batch)
    started = time.process_time()
    for _ in range(max(queries - gradients, 0) // len(batch)):
        with torch.no_grad():
            classifier(batch)
    for _ in range(gradients // len(batch)):
        x = batch.clone().requires_grad_(True)
        torch.autograd.grad(F.cross_entropy(classifier(x), labels), x)
    return time.process_time() - started


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:fashion-cnn")
    parser.add_argument("--random-weights", action="store_true", help="timm:NAME untrained, on random 224-pixel images")
    parser.add_argument("--data", default="bundled:fashion-mnist")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--checks", help="default: those of the default audit")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.random_weights:
        classifier = random_classifier(options.model)
        pixels = np.random.default_rng(0).integers(0, 256, (options.images, 224, 224, 3), dtype=np.uint8)
        images = snellen.load_images((pixels, np.arange(options.images) % 10))
    else:
        classifier, images = snellen.load_classifier(options.model), snellen.load_images(options.data)
    with classifier.counting() as spent:
        started = time.process_time()
        audit(
            classifier,
            images,
            checks=options.checks and options.checks.split(","),
            limit=min(options.images, len(images)),
            batch_size=options.batch_size,
            engine="in_process",  # where the calls are counted
        )
        taken = time.process_time() - started
        used = spent()
    batch = torch.rand(options.batch_size, 3, *(classifier.preparation.size or (224, 224)))
    alone = bare(classifier, batch, used.queries, used.gradients)
    checks = options.checks or "of the default audit"
    print(f"{options.model}, {options.images} images, checks {checks}, {options.threads} thread(s)")
    print(f"network calls: {used.queries} images forward, {used.gradients} of them backward as well")
    print(f"audit {taken:.1f} s, bare network calls {alone:.1f} s, ratio {taken / alone:.2f}")


if __name__ == "__main__":
    main()
