"""Tiny generators in the exact form of the public models, as the tests of the sampler make them."""

import pytest

from snellen.guidance.teachers import classifier_teacher
from tests.diffusion.conftest import counted, smoke, smoke_folder
from tests.guidance.gradient_free_runs import classifier, folders, generator, weak
from tests.guidance.tiny_guided import tiny_classifier

__all__ = ["classifier", "counted", "folders", "generator", "smoke", "smoke_folder", "teacher", "weak"]


@pytest.fixture
def teacher():
    """The tiny classifier as a teacher."""
    return classifier_teacher(tiny_classifier())
