"""The parameters that all contenders share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Equal for all: sizes in [0, 1] pixel units, steps as each package counts its gradient steps."""

    epsilon: float
    pgd_steps: int = 10
    searches: int = 5
    cw_steps: int = 100
    first_weight: float = 1e-2
    learning_rate: float = 0.01
    auto_steps: int = 100
    targets: int = 9
    queries: int = 5000
    patience: float = 0.25

    @property
    def step_size(self) -> float:
        """Of PGD."""
        return self.epsilon / 4
