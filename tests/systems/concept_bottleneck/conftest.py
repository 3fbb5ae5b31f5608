"""A small text–image model of random weights."""

from tests.models.dual_encoders.conftest import clip_folder, openclip_folder

__all__ = ["clip_folder", "openclip_folder"]
