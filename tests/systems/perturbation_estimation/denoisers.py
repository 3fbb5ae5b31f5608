"""Denoisers as artifacts, for tests that need one and not a good one."""

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.preprocessing import Preprocessing
from snellen.models.residual_denoiser import ResidualDenoiser, architecture


def save_denoiser(folder, network, built, *, size=28, metrics=None):
    """Save a network as the recipe does."""
    card = Card(
        name="denoiser",
        kind="denoiser",
        architecture=built,
        preparation=Preprocessing(size=(size, size)).model_dump(mode="json"),
        metrics=metrics or {},
        lineage=Lineage(recipe={}, data="", seed=0, code_version="0"),
    )
    return Artifact(network.state_dict(), card).save(folder)


def save_untrained(folder):
    """The identity."""
    return save_denoiser(folder, ResidualDenoiser(depth=2, width=1), architecture(2, 1))
