"""The engine of a Ray cluster: one of this machine, behind a token, and the same report as without it."""

import os
import subprocess
import sys
import textwrap

import pytest

from snellen.engines.ray_cluster import Ray
from snellen.errors import InputError

pytest.importorskip("ray")

pytestmark = pytest.mark.timeout(300)


def in_a_process_of_its_own(code, *arguments):
    """Ray changes much of the process that it is imported in."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"},
        check=False,
    )


def test_results_errors_deaths_and_what_is_open_to_whom(tmp_path):
    """One test, because a cluster takes many seconds to start."""
    done = in_a_process_of_its_own(
        """
        import os, signal, sys
        from pathlib import Path
        from snellen.engines.ray_cluster import Ray
        from snellen.errors import ModelError, WorkerError

        def handler(*_): ...
        signal.signal(signal.SIGTERM, handler)
        before = dict(os.environ)
        engine = Ray(2)

        # Results, in any order; where they are made.
        told = dict(engine.run("piecework:surroundings", {}, [(n, b"") for n in range(8)]))
        assert sorted(told) == list(range(8))
        for settings in told.values():
            assert settings == b"token 64 0", settings

        # Who can reach it: nobody but this machine.
        results = engine.run("piecework:shouting", {"mark": "!"}, [(n, b"job") for n in range(6)])
        assert next(results)[1] == b"JOB!"
        import ray
        from listening_sockets import listening
        addresses = listening(os.getpid())
        assert addresses and addresses <= {"127.0.0.1"}, addresses
        assert ray.util.get_node_ip_address() == "127.0.0.1"
        written = Path(ray._private.worker._global_node.get_temp_dir_path())
        assert written.is_dir() and written.stat().st_uid == os.getuid()
        assert not written.parent.stat().st_mode & 0o077, "nobody else may look at it"
        results.close()
        assert not written.exists()
        assert not ray.is_initialized()

        # Errors and deaths.
        for engine_work, job, kind, words in (
            ("failing", b"ours", ModelError, "scores are wrong"),
            ("failing", b"other", WorkerError, "not ours"),
        ):
            try:
                list(engine.run(f"piecework:{engine_work}", {}, [(0, b"a"), (1, job)]))
            except kind as error:
                assert words in str(error), error
            else:
                raise AssertionError("no error")
        folder = sys.argv[1]
        jobs = [(0, b"a"), (1, b"die"), (2, b"b")]
        assert sorted(engine.run("piecework:dying", {"folder": folder, "times": 1}, jobs)) == jobs
        try:
            list(engine.run("piecework:dying", {"folder": folder, "times": 4}, jobs))
        except WorkerError as error:
            assert "twice in piece 2" in str(error), error
        else:
            raise AssertionError("no error")

        assert signal.getsignal(signal.SIGTERM) is handler
        assert {name: value for name, value in os.environ.items() if name in before} == before
        assert "RAY_AUTH_TOKEN" not in os.environ, "it is for the cluster alone"
        print("all is well")
        """,
        tmp_path,
    )
    assert done.stdout.splitlines()[-1:] == ["all is well"], done.stderr


def test_an_audit_gives_the_same_report(tmp_path):
    done = in_a_process_of_its_own(
        """
        import sys
        from pathlib import Path
        import torch
        import snellen

        torch.set_num_threads(1)
        images = snellen.load_images("bundled:fashion-mnist")
        model = snellen.load_classifier("bundled:fashion-cnn")
        checks = ["clean", "calibration", {"check": "corruption", "kinds": ["fog"], "severities": [2]}, "leakage"]
        options = {"checks": checks, "batch_size": 4, "shards": 3, "train": images.limit(20, seed=1), "threads": 1}
        for name, engine in (("here", "in_process"), ("ray", "ray")):
            processes = None if name == "here" else 2
            snellen.audit(
                model, images.limit(40), out=Path(sys.argv[1]) / name, engine=engine, processes=processes, **options
            )
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    files = {
        name: {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file() and path.name != "timing.json"
        }
        for name in ("here", "ray")
    }
    assert "report.json" in files["here"]
    assert files["here"] == files["ray"]


def test_what_is_no_address_and_no_number():
    for address in ("", " ", "local"):
        with pytest.raises(InputError, match="HOST:PORT or auto"):
            Ray(1, address=address)
    with pytest.raises(InputError, match="needs a number of processes"):
        Ray(None)
