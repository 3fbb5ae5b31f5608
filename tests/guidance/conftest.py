"""Tiny generators in the exact form of the public models, as the tests of the sampler make them."""

from tests.diffusion.conftest import counted, smoke, smoke_folder

__all__ = ["counted", "smoke", "smoke_folder"]
