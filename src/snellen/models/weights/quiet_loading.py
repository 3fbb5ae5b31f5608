"""Build a model of another library without noise, network or change of the random state; whether weights are here."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from snellen.core.errors import InputError
from snellen.models.remote.permission import host_of

_LOGGERS = ("timm", "transformers", "huggingface_hub", "torchvision")


@contextlib.contextmanager
def quiet_loading(*, offline: bool = True) -> Iterator[None]:
    """Inside a ``with`` block: no warnings, log lines, progress bars or prints, and torch's CPU generator is put back.

    Libraries initialise weights from the global generator before they load a file over them. Their warnings matter only
    when loading fails, and then it is in the exception.

    Args:
        offline: ask the hub of models for nothing, either. A folder on this machine may name parts that its library
            would fetch from there.
    """
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.random.fork_rng(devices=[]))
        if offline:
            stack.enter_context(hub_offline())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(_no_progress_bars())
        stack.enter_context(_root_silent())
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def hub_offline() -> Iterator[None]:
    """Inside a ``with`` block, ``huggingface_hub`` reads its cache and contacts no host, not even to check that it is
    fresh.
    """
    try:
        constants: Any = importlib.import_module("huggingface_hub.constants")
    except ModuleNotFoundError:  # then nothing that is installed can ask it
        yield
        return
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def first_line(error: BaseException) -> str:
    r"""First line of what another library's error says.

    >>> first_line(ValueError("no such file\nTraceback ..."))
    'no such file'
    """
    return (str(error).strip().splitlines() or ["no message"])[0]


@contextlib.contextmanager
def _root_silent() -> Iterator[None]:
    """Silence the root logger, to which open_clip writes, and keep that from getting a handler of its own."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    root.handlers[:] = [logging.NullHandler()]  # with no handler at all, logging.warning() would install one
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Switch off the bars of transformers and of the hub, as far as these libraries are loaded."""
    transformers = sys.modules.get("transformers.utils.logging")
    hub = sys.modules.get("huggingface_hub.utils")
    # In this order: transformers switches the hub's bars along with its own.
    hub_shown = hub is not None and not hub.are_progress_bars_disabled()
    transformers_shown = transformers is not None and transformers.is_progress_bar_enabled()
    if transformers is not None and transformers_shown:
        transformers.disable_progress_bar()
    if hub is not None and hub_shown:
        hub.disable_progress_bars()
    try:
        yield
    finally:
        if transformers is not None and transformers_shown:
            transformers.enable_progress_bar()
        if hub is not None:
            (hub.enable_progress_bars if hub_shown else hub.disable_progress_bars)()


def cached_by_torch(url: str) -> bool:
    """Whether a file that ``torch.hub`` loads from an address lies in its cache; then it is not requested again."""
    return (Path(torch.hub.get_dir()) / "checkpoints" / url.partition("?")[0].rpartition("/")[2]).exists()


def hub_host() -> str:
    """The host that ``huggingface_hub`` contacts: ``huggingface.co``, or the mirror of ``$HF_ENDPOINT``."""
    constants: Any = importlib.import_module("huggingface_hub.constants")
    return host_of(constants.ENDPOINT)


def no_weights(reference: str, host: str | None, *, allowed: bool, error: Exception | None = None) -> InputError:
    """The error for published weights that are not available.

    Args:
        reference: of the model, without a file.
        host: that has them, if any has.
        allowed: whether it may be contacted.
        error: what went wrong.
    """
    why = "" if error is None else f" ({type(error).__name__}: {first_line(error)})"
    give = f"give a file: {reference}@FILE.safetensors"
    if allowed or host is None:
        return InputError(
            f"the weights of {reference} could neither be read from the local cache nor downloaded{why}; {give}"
        )
    return InputError(
        f"the weights of {reference} are not in the local cache{why}, and {host} is not contacted for them "
        f"without permission; allow it with --allow-remote {host} (in Python: allow_remote=[{host!r}]), or {give}"
    )
