"""The metric: tiling, invariances, input, references."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.systems.tileability.network import TileabilityConfig
from snellen.systems.tileability.tileability import DEVIATION, MEAN, Tileability, load_tileability
from tests.systems.tileability.test_network import TINY


class Seen(nn.Module):
    """Keeps the picture, and gives its mean."""

    def forward(self, pictures: Tensor) -> Tensor:
        self.pictures = pictures
        return pictures.mean((1, 2, 3))


@pytest.fixture
def metric():
    torch.manual_seed(0)
    return Tileability.of(TINY).eval().requires_grad_(False)


@pytest.mark.covers("21.1")
def test_the_image_is_tiled_before_it_is_resized_and_normalised():
    seen = Seen()
    image = torch.rand(1, 3, 32, 32)
    Tileability(seen, 64).logits(image)
    shown = seen.pictures * torch.tensor(DEVIATION)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    for rows in (slice(0, 32), slice(32, 64)):
        for columns in (slice(0, 32), slice(32, 64)):
            assert torch.allclose(shown[..., rows, columns], image, atol=1e-6)
    Tileability(seen, 32).logits(image)
    assert seen.pictures.shape == (1, 3, 32, 32)
    Tileability(seen, 64, tiles=1).logits(image)
    blown = seen.pictures * torch.tensor(DEVIATION)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    assert not torch.allclose(blown[..., :32, :32], image, atol=1e-2)


@pytest.mark.covers("21.1")
def test_a_gradient_reaches_every_border(metric):
    image = torch.rand(2, 3, 40, 48, requires_grad=True)
    metric.logits(image).sum().backward()
    for border in (image.grad[:, :, 0], image.grad[:, :, -1], image.grad[..., 0], image.grad[..., -1]):
        assert bool((border != 0).any(1).all())


@pytest.mark.covers("21.6")
@pytest.mark.parametrize("size", [(32, 32), (50, 32), (64, 200)])
def test_any_size_from_32_on(metric, size):
    images = torch.rand(3, 3, *size)
    logits = metric.logits(images)
    assert logits.shape == (3,)
    assert torch.allclose(logits[1:2], metric.logits(images[1:2]), atol=1e-5)


@pytest.mark.covers("21.6")
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(1, 3, 31, 40), "32 pixels or more"),
        (torch.rand(3, 40, 40), "expected images"),
        (torch.rand(1, 1, 40, 40), "expected images"),
        (torch.zeros(1, 3, 40, 40, dtype=torch.uint8), "divide bytes by 255"),
        (torch.full((1, 3, 40, 40), 2.0), r"in \[0, 1\]"),
        (torch.full((1, 3, 40, 40), float("nan")), r"in \[0, 1\]"),
    ],
)
def test_other_input_is_refused(metric, images, message):
    with pytest.raises(InputError, match=message):
        metric.logits(images)


@pytest.mark.covers("21.9")
def test_a_score_is_made_of_the_logit(metric):
    images = torch.rand(2, 3, 40, 40)
    logits = metric.logits(images)
    assert torch.allclose(metric(images), 1 / (1 + torch.exp(-0.25 * logits)))
    assert torch.allclose(metric(images, scale=1.0), logits.sigmoid())
    for scale in (0.0, 1.5):
        with pytest.raises(InputError, match="lambda"):
            metric(images, scale=scale)


@pytest.mark.covers("21.11")
def test_released_weights_load_by_their_names_and_nothing_else_does(tmp_path, monkeypatch, metric):
    monkeypatch.setattr("snellen.systems.tileability.tileability.TileabilityConfig", lambda: TINY)
    torch.save(metric.network.state_dict(), tmp_path / "released.pth")
    images = torch.rand(1, 3, 40, 40)
    loaded = load_tileability(f"textile:{tmp_path / 'released.pth'}")
    assert torch.equal(loaded.logits(images), metric.logits(images))
    assert not loaded.training
    assert not any(one.requires_grad for one in loaded.parameters())
    lacking = {name: one for name, one in metric.network.state_dict().items() if "gamma" not in name}
    torch.save(lacking, tmp_path / "lacking.pth")
    with pytest.raises(InputError, match="2 missing"):
        load_tileability(f"textile:{tmp_path / 'lacking.pth'}")
    torch.save(metric, tmp_path / "pickle.pth")
    with pytest.raises(InputError, match="without running code"):
        load_tileability(f"textile:{tmp_path / 'pickle.pth'}")


def test_a_folder_says_its_sizes(tmp_path, metric):
    save_file(metric.network.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="describes no tileability network"):
        load_tileability(f"folder:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps(TINY.model_dump(mode="json")))
    images = torch.rand(1, 3, 40, 40)
    assert torch.equal(load_tileability(f"folder:{tmp_path}").logits(images), metric.logits(images))
    (tmp_path / "config.json").write_text(json.dumps({**TINY.model_dump(mode="json"), "channels": [8, 12, 16, 24]}))
    with pytest.raises(InputError, match="does not fit"):
        load_tileability(f"folder:{tmp_path}")


@pytest.mark.parametrize("reference", ["tileability", "hub:crp94/textile", "textile:"])
def test_references_that_name_nothing(reference):
    with pytest.raises(InputError, match="names no tileability metric"):
        load_tileability(reference)


def test_the_published_sizes_are_the_default():
    config = TileabilityConfig()
    assert (config.side, config.heads, config.head_width) == (512, 16, (128, 256))
