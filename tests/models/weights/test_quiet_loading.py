import logging
import sys
import warnings

import pytest
import torch

from snellen.models.weights.quiet_loading import quiet_loading


def test_nothing_is_said_and_the_generator_is_put_back(capfd: pytest.CaptureFixture[str]) -> None:
    state = torch.random.get_rng_state()
    level = logging.getLogger("timm").level
    with quiet_loading():
        warnings.warn("noise", stacklevel=1)
        logging.getLogger("timm.models").warning("noise")
        sys.stdout.write("noise")
        torch.rand(3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert logging.getLogger("timm").level == level
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_the_root_logger_is_silent_inside_and_as_before_outside(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    root.handlers.clear()
    try:
        with quiet_loading():
            logging.warning("noise")  # where there is no handler, this would install one for good
            logging.getLogger("open_clip.factory").error("noise")
        assert root.handlers == []
        assert root.level == level
    finally:
        root.handlers[:] = handlers
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_progress_bars_are_off_inside_and_as_before_outside() -> None:
    hub = pytest.importorskip("huggingface_hub.utils")
    for shown in (True, False):
        (hub.enable_progress_bars if shown else hub.disable_progress_bars)()
        with quiet_loading():
            assert hub.are_progress_bars_disabled()
        assert hub.are_progress_bars_disabled() is not shown
    hub.enable_progress_bars()


def test_all_is_put_back_after_an_error() -> None:
    state, level, out = torch.random.get_rng_state(), logging.getLogger("transformers").level, sys.stdout

    def fail() -> None:
        with quiet_loading():
            torch.rand(3)
            raise ValueError("inner")

    with pytest.raises(ValueError, match="inner"):
        fail()
    assert torch.equal(state, torch.random.get_rng_state())
    assert logging.getLogger("transformers").level == level
    assert sys.stdout is out
