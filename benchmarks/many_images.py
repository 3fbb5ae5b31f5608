"""Memory and time of an audit against the number of images: a folder of small PNG files, a process for each size.

    python benchmarks/many_images.py [--sizes 12500 25000 50000] [--record docs/measured/many-images.json]

The files are made of the bundled thumbnails: each is a weighted mean of two of one class, and one in a hundred is a
copy of another. Training images, a fifth as many, are made likewise. The audit is the default one, in one process with
one thread. Printed are the largest resident memory of each process and its seconds, without those of the loading of
Python and of the model. Linux only.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import snellen
from snellen.auditing.audit import audit
from snellen.core.run import canonical_json

SIZES = (12_500, 25_000, 50_000)


def write_images(folder: Path, count: int, seed: int) -> None:
    """Write ``count`` files into class subfolders."""
    source = snellen.load_images("bundled:fashion-mnist")
    pixels = np.stack([np.asarray(source.read(index).convert("L")) for index in range(len(source))])
    assert source.class_names is not None
    names = [name.replace("/", " or ") for name in source.class_names]
    for name in names:
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(source.labels == label) for label in range(len(names))]
    for number in range(count):
        label = number % len(names)
        if number % 100 < 99 or number < 200:
            first, second = rng.choice(members[label], 2, replace=False)
            weight = rng.uniform(0.5, 0.9)
            mixed = weight * pixels[first] + (1 - weight) * pixels[second] + rng.normal(0, 3, pixels[0].shape)
            picture = Image.fromarray(np.clip(np.round(mixed), 0, 255).astype(np.uint8))
        picture.save(folder / names[label] / f"{number:06d}.png", compress_level=1)


def measure(data: Path, train: Path, profile: Path | None) -> dict[str, float]:
    """Audit one folder in this process."""
    torch.set_num_threads(1)
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    names = [name.replace("/", " or ") for name in classifier.class_names]
    classifier = snellen.load_classifier("bundled:fashion-cnn", class_names=names)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory() as out:
        started, processor = time.perf_counter(), time.process_time()
        if profile is not None:
            profiler.enable()
        images = snellen.load_images(data)
        companion = snellen.load_images(train)
        report = audit(classifier, images, train=companion, out=Path(out) / "run", engine="in_process")
        profiler.disable()
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        timing = json.loads((Path(out) / "run" / "timing.json").read_bytes())
        page = (Path(out) / "run" / "report.html").stat().st_size
    if profile is not None:
        with profile.open("w") as stream:
            pstats.Stats(profiler, stream=stream).sort_stats("cumulative").print_stats(120)
    assert "failed" not in {check.status for check in report.checks}, report.checks
    return {
        "images": len(images),
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "seconds_in_shards": round(sum(value for name, value in timing.items() if name != "total"), 1),
        "bytes_before": before,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "report_bytes": page,
        "checks": [check.name for check in report.checks if check.status == "done"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--profile", type=Path, help="file for the profile of the largest size")
    parser.add_argument("--of", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.of:
        print(json.dumps(measure(*arguments.of, arguments.profile)))
        return
    rows = []
    for count in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            data, train = Path(folder) / "data", Path(folder) / "train"
            write_images(data, count, seed=0)
            write_images(train, count // 5, seed=1)
            called = [sys.executable, __file__, "--of", str(data), str(train)]
            if arguments.profile is not None and count == max(arguments.sizes):
                called += ["--profile", str(arguments.profile)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(called, check=True, stdout=subprocess.PIPE, env=environment)
        rows.append(json.loads(done.stdout))
        row = rows[-1]
        print(
            f"{row['images']} images: {row['seconds']} s ({1e3 * row['processor_seconds'] / row['images']:.2f} ms of "
            f"processor an image), peak {row['peak_bytes'] / 2**20:.0f} MiB, of which "
            f"{row['bytes_before'] / 2**20:.0f} MiB before the first image",
            flush=True,
        )
    if arguments.record is not None:
        record = {
            "machine": platform.machine(),
            "threads": 1,
            "checks": [row.pop("checks") for row in rows][-1],
            "train_share": 0.2,
            "sizes": rows,
        }
        arguments.record.write_bytes(canonical_json(record))


if __name__ == "__main__":
    main()
