"""The engine of a Ray cluster: one of this machine behind a token, or one that runs; the same report as without it."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import textwrap
from contextlib import contextmanager
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


#: Without it, one machine is one node for Ray.
SEVERAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}


def in_a_process_of_its_own(code, *arguments, **environment):
    """Ray changes much of the process that it is imported in."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", **environment},
        check=False,
    )


def node(*options):
    """A process that is a node of a cluster, and all that it starts, as a group of its own; it has joined."""
    common = ("--block", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000")
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *common, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **CLOSED, **SEVERAL, "PYTHONPATH": str(Path(__file__).parent)},
        process_group=0,
    )
    said = ""
    for line in process.stdout:
        said += line
        if "Ray runtime started" in line:
            return process
    process.communicate()
    raise AssertionError(said)


@contextmanager
def cluster(cores):
    """Address of a cluster that was there before, with one node of so many cores."""
    folder = tempfile.mkdtemp(dir="/tmp", prefix="ray-")  # short: the name of a socket has 107 bytes at most
    head = node("--head", "--port=0", "--include-dashboard=false", f"--num-cpus={cores}", f"--temp-dir={folder}")
    try:
        ports = [path.read_text() for path in Path(folder).glob("session_2*/gcs_server_port*")]
        assert len(ports) == 1
        yield f"127.0.0.1:{ports[0]}"
    finally:
        head.terminate()
        head.communicate()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def address():
    """Of a cluster of two processors that was there before."""
    with cluster(2) as found:
        yield found


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
    with cluster(1) as address:
        second = node(f"--address={address}", "--num-cpus=1")
        try:
            done = in_a_process_of_its_own(
                """
                import os, signal, sys
                from snellen.runs.engines.ray_cluster import Ray

                # Two nodes with room for one worker each. The second one dies in the midst of its second job.
                jobs = [(number, str(number).encode()) for number in range(8)]
                results = Ray(2, address=sys.argv[1]).run("piecework:slow", {"seconds": 1.0}, jobs)
                found = [next(results), next(results)]
                os.killpg(int(sys.argv[2]), signal.SIGKILL)
                found += results
                assert sorted(number for number, _ in found) == list(range(8)), found
                assert len({content.split()[1] for _, content in found}) == 2, "both have worked"
                """,
                address,
                second.pid,
                **CLOSED | SEVERAL,
            )
        finally:
            second.kill()
            second.communicate()
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
