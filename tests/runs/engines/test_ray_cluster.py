"""The engine of a Ray cluster: one of this machine behind a token, or one that runs; the same report as without it."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from snellen.auditing.audit import audit
from snellen.core.errors import InputError
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.runs.engines.ray_cluster import Ray

pytest.importorskip("ray")

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc"),
]

#: What a cluster for tests is started with: as closed as one that the engine starts.
CLOSED = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "OMP_NUM_THREADS": "1",
}


def in_a_process_of_its_own(code, *arguments, **environment):
    """Ray changes much of the process that it is imported in."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", **environment},
        check=False,
    )


@pytest.fixture(scope="module")
def address():
    """Of a cluster of two processors that was there before."""
    folder = tempfile.mkdtemp(dir="/tmp", prefix="ray-")  # short: the name of a socket has 107 bytes at most
    options = (
        "--head", "--block", "--port=0", "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--num-cpus=2",
        "--object-store-memory=100000000", f"--temp-dir={folder}",
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **CLOSED, "PYTHONPATH": str(Path(__file__).parent)},
    )
    said = ""
    for line in process.stdout:
        said += line
        if "Ray runtime started" in line:
            break
    ports = [path.read_text() for path in Path(folder).glob("session_2*/gcs_server_port*")]
    assert len(ports) == 1, said
    yield f"127.0.0.1:{ports[0]}"
    process.terminate()
    process.communicate()
    shutil.rmtree(folder)


def test_a_cluster_of_this_machine_is_open_to_nobody_else_and_leaves_nothing_behind(tmp_path):
    done = in_a_process_of_its_own(
        """
        import os, signal
        from pathlib import Path
        from snellen.runs.engines.ray_cluster import Ray

        def handler(*_): ...
        signal.signal(signal.SIGTERM, handler)
        before = dict(os.environ)
        results = Ray(2).run("piecework:surroundings", {}, [(n, b"") for n in range(8)])
        told = dict([next(results)])
        import ray
        from listening_sockets import listening
        addresses = listening(os.getpid())
        assert addresses and addresses <= {"127.0.0.1"}, addresses
        assert ray.util.get_node_ip_address() == "127.0.0.1"
        written = Path(ray._private.worker._global_node.get_temp_dir_path())
        assert written.is_dir() and written.stat().st_uid == os.getuid()
        assert not written.parent.stat().st_mode & 0o077, "nobody else may look at it"
        told |= results
        assert told == dict.fromkeys(range(8), b"token 64 0"), told

        assert not written.exists()
        assert not ray.is_initialized()
        assert signal.getsignal(signal.SIGTERM) is handler
        assert {name: value for name, value in os.environ.items() if name in before} == before
        assert "RAY_AUTH_TOKEN" not in os.environ, "it is for the cluster alone"
        """,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_results_errors_and_deaths_at_a_cluster_that_runs(address, tmp_path):
    done = in_a_process_of_its_own(
        """
        import sys
        from snellen.runs.engines.ray_cluster import Ray
        from snellen.core.errors import InputError, ModelError, WorkerError

        address, folder = sys.argv[1:]
        def tried(processes, work, setup, *contents):
            return sorted(Ray(processes, address=address).run("piecework:" + work, setup, list(enumerate(contents))))

        for processes in (1, None):  # None: as many as fit
            assert tried(processes, "shouting", {"mark": "!"}, *[b"job"] * 6) == [(n, b"JOB!") for n in range(6)]
        once = {"folder": folder, "times": 1}
        assert tried(1, "dying", once, b"a", b"die", b"b") == [(0, b"a"), (1, b"die"), (2, b"b")]
        for kind, words, *asked in (
            (ModelError, "scores are wrong", 2, "failing", {}, b"a", b"ours"),
            (WorkerError, "not ours", 2, "failing", {}, b"a", b"other"),
            (WorkerError, "twice in piece 2", 1, "dying", {"folder": folder, "times": 4}, b"a", b"die"),
            (InputError, "has room for 2 processes with 1 cores and 0 GPUs each, not for 3", 3, "large", {}, b"a"),
        ):
            try:
                tried(*asked)
            except kind as error:
                assert words in str(error), error
            else:
                raise AssertionError(f"no {kind}")
        """,
        address,
        tmp_path,
        **CLOSED,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["die-0", "die-1", "die-2"], "one death, and two"


def test_what_a_node_leaves_when_it_is_killed_the_others_do():
    done = in_a_process_of_its_own(
        """
        import sys, tempfile
        from ray.cluster_utils import Cluster
        from snellen.runs.engines.ray_cluster import Ray

        closed = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
        with tempfile.TemporaryDirectory(dir="/tmp", prefix="ray-", ignore_cleanup_errors=True) as folder:
            cluster = Cluster(initialize_head=True, head_node_args={**closed, "_temp_dir": folder})
            second = cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
            cluster.wait_for_nodes()

            # Two nodes with room for one worker each. The second node dies in the midst of its second job.
            jobs = [(number, str(number).encode()) for number in range(8)]
            results = Ray(2, address=cluster.address).run("piecework:slow", {"seconds": 1.0}, jobs)
            found = [next(results), next(results)]
            cluster.remove_node(second, allow_graceful=False)
            found += results
            assert sorted(number for number, _ in found) == list(range(8)), found
            nodes = {content.split()[1] for _, content in found}
            assert len(nodes) == 2, "both have worked"
            cluster.shutdown()
        """,
        **CLOSED,
        PYTHONPATH=f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{Path(__file__).parent}",
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_without_the_token_a_cluster_is_not_reached_and_it_is_said_what_to_look_at(address):
    done = in_a_process_of_its_own(
        f"""
        from snellen.runs.engines.ray_cluster import Ray
        list(Ray(1, address="{address}").run("piecework:large", {{}}, [(0, b"")]))
        """,
        **{**CLOSED, "RAY_AUTH_TOKEN": "0" * 64},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"InputError: the Ray cluster at {address} is not reached (" in done.stderr
    assert "that RAY_AUTH_MODE and RAY_AUTH_TOKEN are those of the cluster" in done.stderr


def test_an_audit_gives_the_same_report_and_nothing_else_on_standard_output(address, tmp_path):
    names = ("bundled:fashion-cnn", "bundled:fashion-mnist")
    fog = {"check": "corruption", "kinds": ["fog"], "severities": [2]}
    options = {"limit": 40, "batch_size": 4, "shards": 3, "threads": 1}
    audit(
        load_classifier(names[0]), load_images(names[1]), out=tmp_path / "here", checks=["clean", "calibration", fog],
        **options,
    )  # fmt: skip
    done = in_a_process_of_its_own(
        "from snellen.cli import main; main()",
        *("audit", *names, "--checks", "clean,calibration,corruption", "--json", "--out", tmp_path / "ray"),
        *("--set", 'corruption.kinds=["fog"]', "--set", "corruption.severities=[2]"),
        *("--engine", "ray", "--address", address, "--processes", "2"),
        *(word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)),
        **CLOSED,
    )
    assert done.returncode == 0, done.stderr
    here, ray = (
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file() and path.name != "timing.json"
        }
        for name in ("here", "ray")
    )
    assert done.stdout == here["report.json"].decode()
    assert ray == here


def test_what_is_no_address_and_no_number():
    wrong = ("", " ", "local", "head", "head:", "ray://head:10001", "module://head:1", "head:6379/x", "head:6379\n")
    for address in wrong:
        with pytest.raises(InputError, match="HOST:PORT or auto"):
            Ray(1, address=address)
    for address in ("auto", "head:6379", "10.0.0.1:6379", "[fe80::1]:6379"):
        Ray(None, address=address)
    with pytest.raises(InputError, match="needs a number of processes"):
        Ray(None)
