"""Small networks of the experiment: classifiers of lesions and garments, and one that reads factors off images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.reproduction.shared.small_networks import narrow_network


def small_cnn(name: str, images: Tensor, targets: Tensor, updates: int, rng: Randomness) -> nn.Sequential:
    """A small network; classes (int64 targets) by cross-entropy, factors by squared error.

    What reads factors sees images blurred at random, by as much as reconstructions are.
    """
    draws = rng.generator(f"network {name}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.initial_seed() % 2**31)
        classes = not targets.is_floating_point()
        network = nn.Sequential(*narrow_network(2 if classes else targets.shape[1], widths=(12, 24, 48, 48)).children())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=max(updates, 2))
    for _ in range(updates):
        rows = torch.randint(len(targets), (64,), generator=draws)
        seen = to_unit(images[rows])
        if not classes:
            seen = seen.lerp(blurred(seen), torch.rand(len(seen), 1, 1, 1, generator=draws))
        given = network(seen)
        loss = F.cross_entropy(given, targets[rows]) if classes else F.mse_loss(given, targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def blurred(images: Tensor) -> Tensor:
    """Images (n, c, h, w) under a binomial filter of three pixels, a deviation of 0.7."""
    line = torch.tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(images.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=images.shape[1])
