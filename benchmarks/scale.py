"""What processes bring: the same audit by one worker, by two, by two on Ray, and in this process, one thread each.

The audit is bound by the network: bundled:efficientnet-lite0 on images of 224 pixels, the clean check alone. Pairs
alternate, so that what else the machine does meets both. Usage:

    python benchmarks/scale.py [--images 600] [--pairs 5] [--ray-runs 3] [--record]

``--record`` writes docs/measured/scale.json, from which docs/scale.md quotes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import snellen

RECORD = Path(__file__).parents[1] / "docs" / "measured" / "scale.json"


class Clock:
    """Hears when shards were done; what lies after the first quarter is free of starting and reporting."""

    def __init__(self) -> None:
        self.readings: list[tuple[float, float]] = []

    def begin(self, task: str, total: float) -> None: ...

    def advance(self, task: str, amount: float, note: str = "") -> None:
        if task == "audit":
            self.readings.append((time.perf_counter(), amount))

    def finish(self, task: str) -> None: ...

    def rate(self) -> float:
        """Images a second after the first quarter of the shards."""
        later = self.readings[len(self.readings) // 4 :]
        return sum(amount for _, amount in later[1:]) / (later[-1][0] - later[0][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--ray-runs", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for number in range(asked.images):
            coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
            coarse.resize((224, 224), Image.Resampling.BICUBIC).save(folder / f"{number:05d}.jpg", quality=90)
        kinds = {"one": ("local", 1), "two": ("local", 2), "in_process": ("in_process", None), "ray_two": ("ray", 2)}
        order = ["one", "two"] * asked.pairs + ["two", "ray_two"] * asked.ray_runs + ["in_process"]
        runs: list[dict[str, object]] = []
        reports = set()
        for number, kind in enumerate(order):
            engine, processes = kinds[kind]
            used = cpu_seconds()
            seconds, rate, report = audited(folder, Path(place) / f"run-{number}", engine, processes)
            reports.add(report)
            load = round(os.getloadavg()[0], 1)
            runs.append({"kind": kind, "seconds": round(seconds, 2), "images_a_second": round(rate, 2), "load": load})
            runs[-1]["cpu_seconds"] = round(cpu_seconds() - used, 1)
            print(runs[-1], flush=True)
    outcome = {"images": asked.images, "runs": runs, "same_report": len(reports) == 1, **summary(runs, asked.pairs)}
    outcome["machine"] = {"processor": platform.machine(), "cores": os.cpu_count(), "threads_of_each_process": 1}
    print(json.dumps({name: value for name, value in outcome.items() if name != "runs"}, indent=1))
    if asked.record:
        RECORD.write_text(json.dumps(outcome, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def cpu_seconds() -> float:
    """Processor time of this process and of those that it started and that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def audited(folder: Path, out: Path, engine: str, processes: int | None) -> tuple[float, float, bytes]:
    """Seconds of the whole audit, images a second while shards come, and the report."""
    classifier, images = snellen.load_classifier("bundled:efficientnet-lite0"), snellen.load_images(folder)
    clock, started = Clock(), time.perf_counter()
    options = {"batch_size": 10, "shards": len(images) // 20, "threads": 1}
    snellen.audit(
        classifier, images, out=out, checks=["clean"], engine=engine, processes=processes, progress=clock, **options
    )
    return time.perf_counter() - started, clock.rate(), (out / "report.json").read_bytes()


def summary(runs: list[dict[str, object]], pairs: int) -> dict[str, object]:
    """Medians, and the ratios within each pair."""
    one, two = runs[: 2 * pairs : 2], runs[1 : 2 * pairs : 2]
    local, ray = runs[2 * pairs : -1 : 2], runs[2 * pairs + 1 :: 2]
    by_rate = [float(b["images_a_second"]) / float(a["images_a_second"]) for a, b in zip(one, two, strict=True)]
    by_time = [float(a["seconds"]) / float(b["seconds"]) for a, b in zip(one, two, strict=True)]
    over_local = [float(r["seconds"]) - float(b["seconds"]) for b, r in zip(local, ray, strict=True)]
    ray_rates = [float(r["images_a_second"]) / float(b["images_a_second"]) for b, r in zip(local, ray, strict=True)]
    return {
        "two_over_one_while_shards_come": [round(ratio, 2) for ratio in by_rate],
        "two_over_one_while_shards_come_median": round(statistics.median(by_rate), 2),
        "two_over_one_whole_audit_median": round(statistics.median(by_time), 2),
        "images_a_second_one_median": median([run["images_a_second"] for run in one]),
        "images_a_second_two_median": median([run["images_a_second"] for run in two]),
        "seconds_of_ray_more_than_local_median": round(statistics.median(over_local), 1) if over_local else None,
        "ray_over_local_while_shards_come_median": round(statistics.median(ray_rates), 2) if ray_rates else None,
        "cpu_seconds_of_an_audit_one_median": median([run["cpu_seconds"] for run in one]),
        "cpu_seconds_of_an_audit_two_median": median([run["cpu_seconds"] for run in two]),
        "images_a_second_in_process": runs[-1]["images_a_second"],
    }


def median(values: list[object]) -> float:
    return round(statistics.median(float(value) for value in values), 2)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
