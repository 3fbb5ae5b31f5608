"""Targets of random crops from label maps: weights from the box and one sum, against dense maps and RoIAlign.

    python benchmarks/label_pooling.py [--batch 256] [--repeats 5] [--threads 1]

Both ways give softmax(scores pooled over the box) for a batch of sparse maps of ImageNet's shape (5 of 1000 classes at
each of 15 x 15 places); the dense way is what the published training does: scatter each map into a dense one in a loop
over the batch, then torchvision's ``roi_align``. A second dense way scatters the whole batch at once. Best of the
repeats.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import roi_align

from snellen.core.randomness import Randomness
from snellen.systems.label_maps.sparse import SparseMaps, crop_targets, keep_largest
from snellen.training.transforms import draw_boxes

CLASSES, KEPT, SIDE = 1000, 5, 15


def dense_targets(maps: SparseMaps, boxes: Tensor, *, loop: bool) -> Tensor:
    if loop:
        dense = torch.zeros(len(maps), CLASSES, SIDE, SIDE)
        for row in range(len(maps)):
            dense[row].scatter_(0, maps.indices[row], maps.values[row])
    else:
        dense = maps.dense(CLASSES)
    numbered = torch.cat([torch.arange(len(boxes))[:, None].float(), boxes * SIDE - 0.5], 1)
    pooled = roi_align(dense, numbered, output_size=1, sampling_ratio=-1, aligned=False)
    return pooled.flatten(1).softmax(1)


def best(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    maps = keep_largest(5 * torch.randn(arguments.batch, CLASSES, SIDE, SIDE, generator=generator), KEPT)
    boxes = draw_boxes(Randomness(0).bind(arguments.batch), smallest=0.08)
    ours = crop_targets(maps, boxes, CLASSES)
    published = dense_targets(maps, boxes, loop=True)
    print(f"largest difference: {float((ours - published).abs().max()):.1e}")
    seconds = {
        "label_maps.pooling": best(lambda: crop_targets(maps, boxes, CLASSES), arguments.repeats),
        "dense, loop over the batch": best(lambda: dense_targets(maps, boxes, loop=True), arguments.repeats),
        "dense, whole batch": best(lambda: dense_targets(maps, boxes, loop=False), arguments.repeats),
    }
    for name, value in seconds.items():
        print(f"{name:28s} {1e3 * value:9.2f} ms   {value / seconds['label_maps.pooling']:7.1f} x")
    print(f"batch {arguments.batch}, torch {torch.__version__}, {arguments.threads} threads, {platform.machine()}, "
          f"{os.cpu_count()} cores")  # fmt: skip


if __name__ == "__main__":
    main()
