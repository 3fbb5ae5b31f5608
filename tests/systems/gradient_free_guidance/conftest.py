"""Tiny generators and a tiny classifier that steers them."""

from tests.methods.generation.conftest import (
    classifier,
    counted,
    folders,
    generator,
    smoke,
    smoke_folder,
    teacher,
    weak,
)

__all__ = ["classifier", "counted", "folders", "generator", "smoke", "smoke_folder", "teacher", "weak"]
