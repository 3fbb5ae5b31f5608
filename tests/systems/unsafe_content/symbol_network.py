"""A small policy follower of harmless symbols, trained once for all tests that need one."""

from functools import cache

import torch

from snellen.core.randomness import Randomness
from snellen.reproduction.unsafe_content.symbols import POLICY, Symbols
from snellen.systems.unsafe_content.network import PolicyNetwork
from snellen.systems.unsafe_content.training import PolicyFit, fit_policy_network

COLOURS = {"Triangle": (220, 30, 30), "Ring": (30, 190, 60), "Plus": (40, 60, 220)}
POLICY = POLICY.of(COLOURS)


def squares(count: int, seed: int = 0) -> Symbols:
    """Grey images of 16 pixels; the unsafe ones hold a square in the colour of their category."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(90, 160, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)
    names, unsafe = list(COLOURS), [at // 3 % 2 == 0 for at in range(count)]
    categories = [names[at % 3] for at in range(count)]
    for at, (bad, name) in enumerate(zip(unsafe, categories, strict=True)):
        x, y = torch.randint(0, 8, (2,), generator=generator).tolist()
        if bad:
            images[at, :, y : y + 8, x : x + 8] = torch.tensor(COLOURS[name], dtype=torch.uint8)[:, None, None]
    sentences = tuple(
        POLICY[name].definition if bad else "nothing" for bad, name in zip(unsafe, categories, strict=True)
    )
    return Symbols(images, tuple(unsafe), tuple(categories), sentences, "real")


@cache
def trained(*, negatives: bool = True) -> PolicyNetwork:
    """A network of 32 channels after some hundred steps."""
    shown = squares(180)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PolicyNetwork(width=32, blocks=1, heads=2, side=16)
    return fit_policy_network(
        shown.images, shown.unsafe, shown.categories, POLICY, network=network, rng=Randomness(0),
        fit=PolicyFit(steps=240, batch_size=60, learning_rate=6e-3, negatives=negatives),
    )  # fmt: skip
