"""Ask a served desk what its routes must withstand: requests that schemathesis makes of their description.

``pip install schemathesis``, then ``python scripts/fuzz_desk.py [EXAMPLES]``: so many examples for each operation. It
prints how many requests were answered how, and ends with 1 where one had a fault, or none was made. No job is started.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from snellen.desk.jobs import Jobs
from snellen.desk.run_folder import finding_id
from snellen.desk.serving import prepared
from tests.desk.made_runs import write_images, write_run
from tests.desk.route_description import described


def main(examples: int = 200) -> int:
    """Ask, and say how it was answered."""
    import hypothesis
    import requests
    import schemathesis

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        names = write_images(place / "pictures", 24)
        for seed, name in enumerate(("first", "second")):
            write_run(place / "runs" / name, names, images=place / "pictures", seed=seed)
        (place / "runs" / "requirements.toml").write_text(
            '[[requirement]]\nid = "R1"\ntext = "Is right."\nmetric = "clean.accuracy >= 0.9"\n'
        )
        Jobs.start = _refused  # type: ignore[method-assign] - what would run is not what is asked about
        served = prepared(place / "runs")
        thread = threading.Thread(target=served.run, daemon=True)
        thread.start()
        base, _, token = served.link.partition("/?token=")
        cookie = f"snellen-desk-{base.rsplit(':', 1)[1]}={token}"
        runs = [one for one in served.desk.workplace.runs() if one.kind == "audit"]
        schema = schemathesis.openapi.from_dict(
            described([one.id for one in runs], [finding_id(one) for one in runs[0].findings])
        )
        schema.config.update(base_url=base)
        counts: Counter[int] = Counter()
        faults: list[str] = []
        session = requests.Session()
        session.headers.update({"cookie": cookie, "origin": base})

        def check(case: schemathesis.Case) -> None:
            answer = case.call(session=session, allow_redirects=False, timeout=120)
            counts[answer.status_code] += 1
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

        settings = hypothesis.settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        operations = 0
        for found in schema.get_all_operations():
            operations += 1
            operation = found.ok()
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
                try:
                    strategy = operation.as_strategy(generation_mode=mode)
                    hypothesis.given(case=strategy)(settings(lambda case: check(case)))()
                except hypothesis.errors.Unsatisfiable:
                    continue  # an operation that takes nothing has no wrong request
        served.stop()
        thread.join(15)
        left = sorted(one.name for one in place.iterdir())
        if left != ["pictures", "runs"]:
            faults.append(f"written elsewhere: {left}")
    total = sum(counts.values())
    print(f"{operations} operations, {total:,} requests: {dict(sorted(counts.items()))}, {len(faults)} faults")
    print("\n".join(faults[:20]))
    return bool(faults) or not total


def _refused(*_given: object) -> None:
    from snellen.core.errors import InputError

    raise InputError("no job is started here")


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
