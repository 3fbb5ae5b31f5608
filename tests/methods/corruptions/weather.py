"""What the tests of fog, frost, snow and spatter share: the published settings, the peer's figures, the contract."""

import json
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from skimage.data import astronaut
from torch import Tensor

from snellen.core.randomness import Randomness

#: Figures of the peer, imagecorruptions-imaug 1.1.5; the file says how they were taken.
GOLDEN = json.loads((Path(__file__).parent / "golden" / "weather.json").read_text())
BANDS = ((1, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 112))


def picture() -> Tensor:
    """(3, 224, 224) in [0, 1]: the picture that the peer's figures belong to."""
    return torch.from_numpy(astronaut()[::2, ::2][16:240, 16:240].copy()).permute(2, 0, 1).float() / 255


def published(kind: str, size: str = "large") -> list[dict[str, float]]:
    """Parameters of a kind at the five severities."""
    table = tomllib.loads(resources.files("snellen.methods.corruptions").joinpath("imagenet_c.toml").read_text("utf-8"))
    columns = {name: values for name, values in table[size][kind].items() if name not in {"jumps", "strict"}}
    return [{name: float(values[severity]) for name, values in columns.items()} for severity in range(5)]


def figures(change: Tensor) -> np.ndarray:
    """Of changes (n, 3, 224, 224): means, standard deviations, log10 power of the luminance in bands: (n, 12)."""
    change = change.double()
    grey = (change * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(1, 3, 1, 1)).sum(1)
    power = torch.fft.fft2(grey - grey.mean((1, 2), keepdim=True)).abs() ** 2 / grey[0].numel()
    frequency = 224 * torch.hypot(torch.fft.fftfreq(224)[:, None], torch.fft.fftfreq(224))
    bands = [power[:, (frequency >= low) & (frequency < high)].mean(1).log10() for low, high in BANDS]
    return torch.cat([change.mean((2, 3)), change.std((2, 3), correction=0), torch.stack(bands, 1)], 1).numpy()


def deviations(operator: Callable[..., Tensor], draws: int, **extra: object) -> tuple[np.ndarray, np.ndarray]:
    """Ours minus the peer's figures at each severity, (5, 12), and the standard errors of these differences.

    ``extra`` is handed to the operator.
    """
    kind = operator.__name__
    return beside(operator, draws, [{**one, **extra} for one in published(kind)], GOLDEN["kinds"][kind])


def beside(
    operator: Callable[..., Tensor], draws: int, settings: list[dict[str, object]], golden: list[dict[str, object]]
) -> tuple[np.ndarray, np.ndarray]:
    """The same at any settings and for any figures of a peer."""
    images = picture().expand(draws, 3, 224, 224)
    differences, errors = [], []
    for number, (parameters, peer) in enumerate(zip(settings, golden, strict=True)):
        rng = Randomness(number).bind(draws)  # independent draws, as the peer's are
        ours = figures(operator(images, rng, **parameters) - images)
        differences.append(ours.mean(0) - peer["mean"])
        count = peer.get("draws", GOLDEN["draws"])
        errors.append(np.sqrt(ours.var(0, ddof=1) / draws + np.square(peer["deviation"]) / count))
    return np.stack(differences), np.stack(errors)


def keeps_the_contract(operator: Callable[..., Tensor], parameters: list[dict[str, float]]) -> None:
    """Shape, type and range at any size; an example alone as in a batch; draws shared by strengths and left alone."""
    generator = torch.Generator().manual_seed(0)
    for height, width in ((1, 1), (1, 9), (7, 2), (23, 40), (130, 100)):
        images = torch.rand(3, 3, height, width, generator=generator)
        before = images.clone()
        rng = Randomness(3).for_examples(["a", "b", "c"])
        remembering = rng.remembering()
        drawn = set()
        for values in parameters:
            changed = operator(images, rng, **values)
            assert changed.shape == images.shape
            assert changed.dtype == torch.float32
            assert changed.data_ptr() != images.data_ptr()
            assert bool(((changed >= 0) & (changed <= 1)).all())
            assert torch.equal(images, before)
            for _ in range(2):
                assert torch.equal(operator(images, remembering, **values), changed)
            # The memory is the record of what was drawn: the same at every strength.
            drawn.add(len(remembering._memory or ()))
            alone = operator(images[1:2], rng[[1]], **values)
            torch.testing.assert_close(alone, changed[1:2], rtol=0, atol=1e-6)
        assert len(drawn) == 1
        assert operator(images[:0], rng[[]], **parameters[0]).shape == (0, 3, height, width)
        if height * width > 100:
            assert not torch.equal(operator(images, Randomness(4).for_examples(["a", "b", "c"]), **values), changed)


def distances(operator: Callable[..., Tensor], parameters: list[dict[str, float]]) -> list[float]:
    """Mean absolute change of a picture for each set of parameters."""
    images = picture()[None, :, 50:170, 40:180].expand(4, 3, 120, 140).contiguous()
    rng = Randomness(2).bind(4)
    return [float((operator(images, rng, **values) - images).abs().mean()) for values in parameters]
