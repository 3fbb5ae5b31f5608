"""Kill audits at random moments, go on, and compare the reports with that of an audit that nobody killed.

Each run is killed (SIGKILL to the process that coordinates) up to five times, by turns with one process and with two
workers, and then finished. A kill comes after a number of further shards that is drawn (none: while it starts), and
after a time that is drawn over the length of a shard. One that comes after the end does not count. Usage:

    python scripts/measure_survival.py [--kills 20] [--seed 0] [--record]

``--record`` writes the outcome to docs/measured/survival.json. Linux alone: it looks at /proc.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs" / "measured" / "survival.json"
KILLS_A_RUN, SHARDS = 5, 12

sys.path.insert(0, str(ROOT))

from tests.auditing.interrupted_audits import begin, children_of, finish, shards_of, still_there, wait_for_shards  # noqa: E402


def main() -> None:
    """Measure, print, and record when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true")
    asked = parser.parse_args()
    rng, kills, runs = random.Random(asked.seed), [], []
    with tempfile.TemporaryDirectory() as place:
        started = time.monotonic()
        whole = finish(Path(place) / "whole")
        each = (time.monotonic() - started) / SHARDS
        while len(kills) < asked.kills:
            out = Path(place) / f"run-{len(runs)}"
            for _ in range(min(KILLS_A_RUN, asked.kills - len(kills))):
                kill = killed(out, rng.choice((0, 1, 1, 2, 2, 3)), rng.uniform(0, each), two=len(kills) % 2 == 1)
                kills += [kill] * (not kill["over"])
                print(kill, flush=True)
                if kill["shards"] == SHARDS:
                    break
            runs.append({"shards_before": len(shards_of(out)), "same_report": finish(out) == whole})
            print(runs[-1], flush=True)
    outcome = {
        "kills": kills,
        "runs": runs,
        "seed": asked.seed,
        "seconds_of_a_shard_with_its_share_of_the_start": round(each, 1),
        "kills_before_the_first_shard": sum(not kill["shards"] for kill in kills),
        "kills_between_shards": sum(0 < kill["shards"] < SHARDS for kill in kills),
        "workers_left_behind": sum(kill["left_behind"] for kill in kills),
        "reports_that_differ": sum(not run["same_report"] for run in runs),
    }
    print(json.dumps({name: value for name, value in outcome.items() if name not in ("kills", "runs")}, indent=1))
    if asked.record:
        RECORD.write_text(json.dumps(outcome, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def killed(out: Path, further: int, moment: float, *, two: bool) -> dict[str, object]:
    """Start, or go on with, an audit and kill it so many shards and seconds later."""
    target = min(len(shards_of(out)) + further, SHARDS)
    process = begin(out, *(("--engine", "local", "--processes", "2") if two else ()))
    wait_for_shards(process, out, target)
    time.sleep(moment)
    workers, over = children_of(process.pid), process.poll() is not None
    process.kill()
    process.communicate()
    return {
        "further_shards": further,
        "seconds_later": round(moment, 2),
        "engine": "local" if two else "in_process",
        "shards": len(shards_of(out)),
        "over": over,
        "workers": len(workers),
        "left_behind": len(still_there(workers)),
    }


if __name__ == "__main__":
    main()
