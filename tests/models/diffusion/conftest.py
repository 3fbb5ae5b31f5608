"""Tiny generators in the exact form of the public models, written once, and what counts the calls of a network."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.models.weights.quiet_loading import quiet_loading


@pytest.fixture(scope="session")
def smoke_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a smoke generator, by name."""
    written: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in written:
            written[name] = write_smoke_folder(name, tmp_path_factory.mktemp("smoke") / name)
        return written[name]

    return folder


@pytest.fixture(scope="session")
def smoke(smoke_folder: Callable[[str], Path]) -> Callable[[str], Generator]:
    """Loaded smoke generator, by name."""
    loaded: dict[str, Generator] = {}

    def generator(name: str) -> Generator:
        if name not in loaded:
            loaded[name] = load_generator(f"diffusers:{smoke_folder(name)}")
        return loaded[name]

    return generator


@pytest.fixture(scope="session")
def pipeline(smoke_folder: Callable[[str], Path]) -> Callable[..., object]:
    """The library's own pipeline of a smoke folder, with one of its schedulers; the networks are loaded once."""
    loaded: dict[str, tuple[Any, dict[str, object]]] = {}

    def build(name: str, scheduler: str, **settings: object) -> object:
        if name not in loaded:
            with quiet_loading():
                built = diffusers.DiffusionPipeline.from_pretrained(
                    smoke_folder(name), local_files_only=True, low_cpu_mem_usage=False
                )
            built.set_progress_bar_config(disable=True)
            loaded[name] = built, dict(built.scheduler.config)
        built, own = loaded[name]
        built.scheduler = getattr(diffusers, scheduler).from_config({**own, **settings})
        return built

    return build


class Counter:
    """Rows of each call of a network."""

    def __init__(self) -> None:
        self.calls: list[int] = []


@pytest.fixture(scope="session")
def counted() -> Callable[[torch.nn.Module], contextlib.AbstractContextManager[Counter]]:
    @contextlib.contextmanager
    def counting(network: torch.nn.Module) -> Iterator[Counter]:
        counter = Counter()
        handle = network.register_forward_pre_hook(lambda _, given: counter.calls.append(len(given[0])))
        try:
            yield counter
        finally:
            handle.remove()

    return counting


@pytest.fixture
def quietly() -> Iterator[None]:
    """What pipelines of the library warn of is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
