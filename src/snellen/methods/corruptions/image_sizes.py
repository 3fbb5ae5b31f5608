"""The image sizes that strengths are published for."""

from __future__ import annotations

#: Sides of ImageNet-C and MedMNIST-C, and of CIFAR-10-C, pixels.
LARGE_SIDE, SMALL_SIDE = 224, 32

#: Images whose shorter side is below this are treated as CIFAR-10-C treats its own, where a benchmark says how.
SMALL_BELOW = 96
