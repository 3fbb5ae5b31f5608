"""Severities measured on images, independently of the search."""

import torch

ORDERS = {"l1": 1, "l2": 2, "linf": torch.inf}


def severities(candidates, image, norm):
    change = (candidates - image).flatten(1)
    if norm == "l0":
        return (candidates != image).any(1).flatten(1).sum(1).double()
    return torch.linalg.vector_norm(change.double(), ORDERS[norm], dim=1)
