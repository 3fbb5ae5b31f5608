"""Settings of the whole suite: steady arithmetic and examples, shape checks, and the acceptance points it covers."""

import functools
import gc
import os
import zlib

# Before numpy is imported: two threads in each of two test workers starve each other. What a test starts inherits both.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import typer.main
import typer.testing
from _pytest.doctest import DoctestModule
from hypothesis import HealthCheck, settings

from snellen.cli import app as command_line
from snellen.core import index
from snellen.data.files.catalogue import known_set as catalogue
from snellen.data.files.catalogue.known_set import PackageSource, known_set
from snellen.reproduction.shared.fashion_mnist import FASHION_MNIST_VARIABLE
from tests.shapes import enforce

# One thread: the same order of additions on every machine, and no oversubscription beside parallel test workers.
torch.set_num_threads(1)

# Nothing may depend on the clock or on luck: a slow machine is no failure, and each run sees the same examples.
settings.register_profile(
    "snellen", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("snellen")


@pytest.fixture(scope="session", autouse=True)
def _shapes_enforced() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        enforce(monkeypatch)
        yield


@pytest.fixture(scope="session", autouse=True)
def _disk_is_not_waited_for() -> Iterator[None]:
    """Files are flushed in order, and no test pulls the plug: to wait for the disk would take a tenth of the time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(os, "fsync", os.fstat)  # refuses what is no open file, as fsync does
        yield


@pytest.fixture(scope="session", autouse=True)
def _commands_are_built_once() -> Iterator[None]:
    """A process of a user runs one command; here they are hundreds, and most would only build all commands again."""
    build = typer.main.get_command
    ours = functools.cache(lambda: build(command_line.app))

    def built(app: typer.Typer) -> object:
        return ours() if app is command_line.app else build(app)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(typer.main, "get_command", built)
        monkeypatch.setattr(typer.testing, "_get_command", built)
        yield


@pytest.fixture(autouse=True)
def _the_same_draws_in_any_order(request: pytest.FixtureRequest) -> None:
    """What a test draws from torch without a generator of its own depends on no earlier test and on no worker."""
    torch.default_generator.manual_seed(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def registry() -> Iterator[None]:
    """Methods and checks that the test registers, or an example in a docstring before it, are forgotten."""
    _forget_registered()
    yield
    _forget_registered()


def _forget_registered() -> None:
    index._REGISTERED.clear()
    index._REGISTERED_CHECKS.clear()
    index.methods.cache_clear()
    index.checks.cache_clear()


@dataclass
class Collected:
    """What the session collected: acceptance points by the tests that name them, and whether it was the whole suite."""

    points: dict[str, list[str]] = field(default_factory=dict)
    whole: bool = True


SUITE = Path(__file__).parent
COLLECTED = pytest.StashKey[Collected]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--system-data",
        choices=("auto", "hide", "require"),
        default="auto",
        help="data sets that the system installs: use what is there (auto), act as if none were (hide), or fail the "
        "tests that lack theirs (require)",
    )
    parser.addoption(
        "--every-write",
        action="store_true",
        help="let every write of every verb fail once, those of slow verbs too, of which two are tried otherwise",
    )


#: A folder that is nowhere, for data sets that are hidden.
NOWHERE = "/nonexistent/snellen"


@pytest.fixture(scope="session", autouse=True)
def _system_data(pytestconfig: pytest.Config) -> Iterator[None]:
    """Hide what the system has installed, on a machine that has it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if pytestconfig.getoption("--system-data") == "hide":
            monkeypatch.setenv(FASHION_MNIST_VARIABLE, NOWHERE)
            looked = catalogue.find_source

            def hidden(source: PackageSource, *, path: Path | None = None) -> Path | None:
                found = looked(source, path=path)
                return None if path is None and found is not None and found.is_relative_to("/usr/share") else found

            monkeypatch.setattr(catalogue, "find_source", hidden)
        yield


def installed(name: str) -> bool:
    """Whether the files of a set of the catalogue are installed."""
    return all(catalogue.find_source(source) is not None for source in known_set(name).sources)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("system_data"):
        (name,) = mark.args
        wanted = item.config.getoption("--system-data")
        if wanted != "hide" and installed(name):
            continue
        told = f"{name} is not installed: {known_set(name).sources[0].install}"
        if wanted == "require":
            pytest.fail(told)
        pytest.skip(told)


def _whole(config: pytest.Config) -> bool:
    """Whether nothing of the suite was left out by a path; -k and -m leave it whole."""
    arguments = [config.invocation_params.dir / argument.split("::")[0] for argument in config.args]
    everything = any(SUITE.is_relative_to(argument.resolve()) for argument in arguments)
    return everything and not any(config.getoption(name) for name in ("ignore", "ignore_glob", "deselect"))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COLLECTED] = Collected(whole=_whole(config))
    if _smoke(config) and config.args_source is config.ArgsSource.TESTPATHS:
        config.args = [str(SUITE)]  # examples in docstrings have no marks


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One process for a part of the suite, which is done sooner than others would have started; None: all cores."""
    return None if _whole(config) and not _smoke(config) else 0


def _smoke(config: pytest.Config) -> bool:
    """Whether marked tests alone were asked for."""
    return config.getoption("markexpr") == "smoke"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With one mark alone, read only files that name it: to import the others would take longer than all else."""
    mark = config.getoption("markexpr")
    if mark in ("smoke", "system_data") and collection_path.suffix == ".py" and collection_path.name != "conftest.py":
        return f"pytest.mark.{mark}" not in collection_path.read_text(encoding="utf-8") or None
    return None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: to search it for rubbish, again and again, would find none."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for examples in the docstrings of the package, not in those of its tests."""
    found = yield
    return [one for one in found if not isinstance(one, DoctestModule)]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:  # a file whose package is not installed: its marks are not known
        collector.config.stash[COLLECTED].whole = False
    return report


@pytest.hookimpl(tryfirst=True)  # before -k and -m take items away: they leave the suite whole
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("covers"):
            for point in mark.args or ("",):
                config.stash[COLLECTED].points.setdefault(point, []).append(item.nodeid)


@pytest.fixture(scope="session")
def collected(pytestconfig: pytest.Config) -> Collected:
    """Acceptance points that the collected tests name."""
    return pytestconfig.stash[COLLECTED]
