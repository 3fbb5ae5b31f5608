"""Numpy's linear algebra has one thread while an audit runs, and behind it as many as before."""

import os

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - brings threads of its own, which are counted too
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from snellen.auditing.audit import audit
from snellen.cli import main


def blas_threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_an_audit_has_one_thread_of_linear_algebra_and_gives_the_others_back():
    seen = []

    def network(images):
        seen.append(blas_threads())
        return torch.stack([images.mean((1, 2, 3)), 1 - images.mean((1, 2, 3))], 1)

    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}, "what the test relies on"
        audit(network, (pixels, [0, 1] * 20), class_names=["dark", "bright"], checks=["clean"])
        assert blas_threads() == {2}
    assert seen[-1] == {1}, "of the images; a call before tries the model"


def test_the_command_asks_for_one_thread_and_leaves_a_choice_of_the_user(monkeypatch):
    for given, expected in (("", "1"), ("3", "3")):
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        if given:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
        monkeypatch.setattr("sys.argv", ["snellen", "--version"])
        with pytest.raises(SystemExit):
            main()
        assert os.environ["OPENBLAS_NUM_THREADS"] == expected
