"""Ask a served desk what its routes must withstand: requests that schemathesis makes of their description.

``pip install -e '.[ui]' schemathesis``, then ``python scripts/fuzz_desk.py [EXAMPLES]``: so many right and so many
wrong requests for each operation. They are about runs, images, findings and jobs that are there. It prints how each
operation was answered, and ends with 1 where a request had a fault, or an operation never answered what it is for. No
job is an audit: it is a program that ends when it is stopped.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image

from snellen.desk import jobs
from snellen.desk.requirements_pages import file_id
from snellen.desk.run_folder import finding_id
from snellen.desk.serving import Served, prepared
from tests.desk.made_runs import write_images, write_run
from tests.desk.route_description import Known, described

IMAGES = 24

#: Jobs that are there from the start; each can be stopped once, and is a job still.
JOBS = 3


def main(examples: int = 200) -> int:
    """Ask, and say how it was answered."""
    with tempfile.TemporaryDirectory() as folder, _desk(Path(folder)) as (served, known):
        base, _, token = served.link.partition("/?token=")
        headers = {"cookie": f"snellen-desk-{base.rsplit(':', 1)[1]}={token}", "origin": base}
        counts, faults = _send_requests(described(known), base, headers, examples)
        left = sorted(one.name for one in Path(folder).iterdir())
        if left != ["pictures", "runs"]:
            faults.append(f"written elsewhere: {left}")
    for operation, one in counts.items():
        right = sum(n for (wrong, status), n in one.items() if not wrong and status < 400)
        faults += [] if right else [f"{operation} was never answered as it should be"]
        print(f"{operation}: {right} of {sum(n for (wrong, _), n in one.items() if not wrong)} right requests answered")
    total: Counter[int] = Counter()
    for one in counts.values():
        for (_, status), n in one.items():
            total[status] += n
    print(f"{len(counts)} operations, {total.total():,} requests: {dict(sorted(total.items()))}, {len(faults)} faults")
    print("\n".join(faults[:20]))
    return bool(faults) or not total


def _send_requests(
    document: dict[str, Any], base: str, headers: Mapping[str, str], examples: int
) -> tuple[dict[str, Counter[tuple[bool, int]]], list[str]]:
    """How each operation was answered, by whether the request was wrong and by status; and faults."""
    import hypothesis
    import requests
    import schemathesis

    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=base)
    counts: dict[str, Counter[tuple[bool, int]]] = {}
    faults: list[str] = []
    session = requests.Session()
    session.headers.update(headers)
    settings = hypothesis.settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )

    def check(case: schemathesis.Case, wrong: bool, answers: Counter[tuple[bool, int]]) -> None:
        answer = case.call(session=session, allow_redirects=False, timeout=120)
        answers[wrong, answer.status_code] += 1
        policy = " ".join(answer.headers.get("content-security-policy", []))
        text = answer.content
        if (
            answer.status_code >= 500
            or not policy.startswith("default-src 'none'")
            or answer.headers.get("x-content-type-options") != ["nosniff"]
            or (b"<x-evil" in text and "text/html" in " ".join(answer.headers.get("content-type", [])))
            or b"root:" in text
        ):
            faults.append(f"{answer.status_code} {case.method} {answer.request.url[:200]} {text[:200]!r}")

    for found in schema.get_all_operations():
        operation = found.ok()
        answers = counts.setdefault(f"{operation.method.upper()} {operation.path}", Counter())
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            wrong = mode == schemathesis.GenerationMode.NEGATIVE

            def send(case: schemathesis.Case, wrong: bool = wrong, answers: Any = answers) -> None:  # noqa: ANN401
                check(case, wrong, answers)

            try:
                hypothesis.given(case=operation.as_strategy(generation_mode=mode))(settings(lambda case: send(case)))()
            except hypothesis.errors.Unsatisfiable:
                if not wrong:  # an operation that takes nothing has no wrong request
                    raise
    return counts, faults


@contextmanager
def _desk(place: Path) -> Iterator[tuple[Served, Known]]:
    """A served desk over two runs of the same images, with requirements, pictures of a report, and jobs."""
    names = write_images(place / "pictures", IMAGES)
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "WEBP")
    picture = hashlib.sha256(stream.getvalue()).hexdigest()
    for seed, name in enumerate(("first", "second")):
        blobs = write_run(place / "runs" / name, names, images=place / "pictures", seed=seed) / "blobs"
        blobs.mkdir()
        (blobs / picture).write_bytes(stream.getvalue())
    requirements = place / "runs" / "requirements.toml"
    requirements.write_text('[[requirement]]\nid = "R1"\ntext = "Is right."\nmetric = "clean.accuracy >= 0.9"\n')
    jobs.MOST = 10**6
    jobs._started = _program
    served = prepared(place / "runs")
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    try:
        yield served, _known(served, picture, file_id(requirements))
    finally:
        served.stop()
        thread.join(15)


def _program(words: Any, log: Path, folder: Path) -> subprocess.Popen[bytes]:  # noqa: ANN401
    """In the place of a command: a program that prints, and ends when its input does."""
    waits = "import sys; print('a job', flush=True); sys.stdin.read()"
    with log.open("wb") as printed:
        source = waits if words[-1] == "wait" else "print('a job')"
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", source], stdin=subprocess.PIPE, stdout=printed, cwd=folder
        )


def _known(served: Served, picture: str, requirements: str) -> Known:
    """What the runs hold."""
    desk = served.desk
    runs = desk.workplace.audits()
    queues = desk.queues(runs[0])
    started = [desk.jobs.start(["snellen", "audit", "wait"], None) for _ in range(JOBS)]
    reviewed = [finding_id(one.finding) for one in queues]
    ids = [one.id for one in runs]
    parts: dict[str, list[object]] = {
        "run": ids, "finding": reviewed, "row": list(range(IMAGES)), "job": [one.id for one in started],
        "/runs/{run}/pictures/{name} name": [picture],
    }  # fmt: skip
    keys = sorted({finding.key for finding in runs[0].findings})
    chosen: dict[str, list[object]] = {
        "run": ["", *ids], "first": ids, "second": ids, "which": ["", "lost", "won", "wrong", "differ"],
        "item": sorted({item.key for queue in queues for item in queue.items}), "verdict": ["keep", "drop", "unsure"],
        "label": [None, *runs[0].class_names], "model": ["bundled:scene-cnn"], "data": ["pictures"],
        "budget": ["", "1h"], "prediction": [0, 1, 2],
    }  # fmt: skip
    fields: dict[str, list[object]] = {
        "finding": [*reviewed, *keys], "group": ["site 0", "site 1"], "setting": ["corruption/fog.3"],
        "sort": ["confidence", "-confidence", "id", "-brightness"], "offset": [0, 3], "limit": [5, 500],
        "reviewer": ["Ada", "Ben"], "file": [requirements], "train": ["", "pictures"], "table": [""], "out": [""],
    }  # fmt: skip
    return Known(parts, chosen, fields)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
