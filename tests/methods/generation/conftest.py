"""Tiny generators in the exact form of the public models, as the tests of the sampler make them."""

import pytest

from snellen.methods.generation.teachers import classifier_teacher
from tests.methods.generation.gradient_free_runs import classifier, folders, generator, weak
from tests.methods.generation.tiny_guided import tiny_classifier
from tests.models.diffusion.conftest import counted, smoke, smoke_folder

__all__ = ["classifier", "counted", "folders", "generator", "smoke", "smoke_folder", "teacher", "weak"]


@pytest.fixture
def teacher():
    """The tiny classifier as a teacher."""
    return classifier_teacher(tiny_classifier())
