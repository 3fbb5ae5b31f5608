"""A style generator, as `snellen train natural-transformations --keep` trains one, is controlled like any other."""

import torch

from snellen.core.artifact import Lineage
from snellen.core.randomness import Randomness
from snellen.models.latent_generators.references import load_latent_generator
from snellen.models.latent_generators.style_network import StyleNetwork, StyleShape, style_artifact
from snellen.systems.distributional_control.control import Control
from snellen.systems.distributional_control.energies import Weighted
from snellen.systems.distributional_control.fitting import ControlFit, fit_control

LINEAGE = Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0")
FIT = ControlFit(steps=150, batch_size=32, blocks=4, hidden=32, check_every=50, checked=64, learning_rate=3e-3)


class Brightness:
    """−mean value of an image."""

    name, needs_neutral = "brightness", False

    def __call__(self, images, pairing, draws):
        return -images.mean((1, 2, 3))


def test_a_control_moves_the_images_of_a_style_generator(tmp_path):
    torch.manual_seed(0)
    shape = StyleShape(latent=8, widths=(12, 8), mapping_layers=1, bounded=True)
    style_artifact(StyleNetwork(shape).eval(), "small", LINEAGE).save(tmp_path / "generator")
    generator = load_latent_generator(f"artifact:{tmp_path / 'generator'}")
    assert generator.dimension == 8
    own = generator.images(torch.randn(256, 8, generator=torch.Generator().manual_seed(1)))
    fitted = fit_control(generator, [Weighted(Brightness(), 200.0)], fit=FIT, rng=Randomness(0))
    controlled = Control(generator, fitted.network).images(256)
    assert controlled.shape == own.shape == (256, 3, 8, 8)
    assert controlled.mean() > own.mean() + 0.5 * own.mean((1, 2, 3)).std()
