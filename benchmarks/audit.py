"""An audit's time over that of its bare network calls: what all but the network costs, and what the cores bring.

The audit runs in this process on one thread, and its network calls are counted. With ``--by-itself`` it runs once more
as Snellen chooses: processes for a model that was named by a reference, threads for a module in memory. Then the
network is run alone, forward, and forward and backward, in batches of the same size on one thread: as it was given, and
in the copy that audits measure. Usage:

    python benchmarks/audit.py [--kind reference|module|onnx] [--images 2000] [--by-itself]
    python benchmarks/audit.py --model timm:resnet50 --kind random --images 32 --checks clean,corruption
    python benchmarks/audit.py --images 200 --profile

With ``--profile`` nothing but the audit runs, and the lines that take most seconds of the processor are printed.
Seconds of the processor can be read on a busy machine, those of the clock on a quiet one. ``--by-itself`` needs torch
to have its cores: leave OMP_NUM_THREADS unset.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import snellen
from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.fast_copy import fast_copy
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.runs.engines.machine import usable_cores

#: Batches by which the network alone is timed.
TIMED = 60

#: Lines of a profile that are printed.
DEAREST = 12


@dataclass
class Clocks:
    """Seconds of the clock, and of the processor with those of worker processes that have ended."""

    wall: float = 0.0
    processor: float = 0.0


@contextmanager
def timed() -> Iterator[Clocks]:
    """Fill in what a block takes."""
    found, started, used = Clocks(), time.perf_counter(), processor_seconds()
    yield found
    found.wall, found.processor = time.perf_counter() - started, processor_seconds() - used


def processor_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def subject(kind: str, model: str, data: str, count: int, folder: Path) -> tuple[Classifier, ImageSet]:
    """The model as a user has it, and the images."""
    if kind == "random":
        import timm

        network = timm.create_model(model.removeprefix("timm:"), num_classes=10)
        preparation = Preprocessing(size=(224, 224), resize="shorter", resize_to=(224, 224))
        names = [str(number) for number in range(10)]
        pixels = np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)
        images = snellen.load_images((pixels, np.arange(count) % 10))
        return Classifier(network, class_names=names, preparation=preparation, name=model), images
    named, images = snellen.load_classifier(model), snellen.load_images(data).limit(count)
    if kind == "module":
        assert named.module is not None
        told = {"normalization": named.normalization, "preparation": named.preparation}
        return Classifier(named.module, class_names=named.class_names, name="module", **told), images
    if kind == "onnx":
        return snellen.load_classifier(snellen.export_onnx(named, folder / "model.onnx")), images
    return named, images


def bare(classifier: Classifier, batch_size: int, spent: Spent) -> float:
    """Seconds of the processor of the network alone for so many images, from a few batches of each kind."""
    batch = torch.rand(batch_size, 3, *(classifier.preparation.size or (224, 224)))
    labels = torch.zeros(batch_size, dtype=torch.long)
    seconds = 0.0
    for count, backward in ((spent.queries - spent.gradients, False), (spent.gradients, True)):
        if count <= 0:
            continue
        taken = []
        for _ in range(TIMED):
            started = time.process_time()
            with torch.set_grad_enabled(backward):
                x = batch.clone().requires_grad_(backward)
                scores = classifier(x)
                if backward:
                    torch.autograd.grad(F.cross_entropy(scores, labels), x)
            taken.append(time.process_time() - started)
        seconds += float(np.mean(sorted(taken)[: -TIMED // 10])) * count / batch_size  # the slowest were disturbed
    return seconds


def profiled(classifier: Classifier, images: ImageSet, out: Path, options: Mapping[str, Any]) -> None:
    """Print the lines of an audit that take most seconds of the processor, without what they call."""
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    snellen.audit(classifier, images, out=out, engine="in_process", threads=1, **options)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(DEAREST)


def main() -> None:
    """Print the ratios, or a profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:fashion-cnn")
    parser.add_argument("--kind", choices=("reference", "module", "onnx", "random"), default="reference")
    parser.add_argument("--data", default="bundled:fashion-mnist")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--checks", help="default: those of the default audit")
    parser.add_argument("--by-itself", action="store_true", help="once more, with the engine that Snellen chooses")
    parser.add_argument("--profile", action="store_true", help="print the dearest lines of the audit, and nothing else")
    asked = parser.parse_args()
    cores = min(usable_cores(), torch.get_num_threads())
    options: dict[str, Any] = {"checks": asked.checks and asked.checks.split(","), "batch_size": asked.batch_size}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        classifier, images = subject(asked.kind, asked.model, asked.data, asked.images, place)
        snellen.audit(classifier, images.limit(8), engine="in_process", checks=["clean"])  # imports what it needs
        if asked.profile:
            profiled(classifier, images, place / "profiled", options)
            return
        with classifier.counting() as spent, timed() as alone:
            snellen.audit(classifier, images, out=place / "one", engine="in_process", threads=1, **options)
        used = spent()
        chosen = None
        if asked.by_itself:
            with timed() as chosen:
                snellen.audit(classifier, images, out=place / "chosen", **options)
            why = json.loads((place / "chosen" / "timing.json").read_bytes())["engine"]
    torch.set_num_threads(1)
    given, copied = (bare(one, asked.batch_size, used) for one in (classifier, fast_copy(classifier)))
    print(
        f"{asked.kind} {asked.model}, {len(images)} images, {used.queries} network calls, {used.gradients} backward too"
    )
    print(f"bare calls, seconds of one core: {given:.1f} as given, {copied:.1f} in the copy that is measured")
    shown = [("in this process, one thread", alone, 1)] + ([(why, chosen, cores)] if chosen is not None else [])
    for name, taken, many in shown:
        print(
            f"{name}: {taken.wall:.1f} s of the clock, {taken.wall * many / given:.2f} of the bare calls as given on "
            f"{many} core(s), {taken.wall * many / copied:.2f} in the copy; {taken.processor:.1f} s of the processor, "
            f"{taken.processor / given:.2f} and {taken.processor / copied:.2f}"
        )


if __name__ == "__main__":
    main()
