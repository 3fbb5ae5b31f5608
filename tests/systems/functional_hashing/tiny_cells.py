"""A space of cells on a few random images, and cells that are equal but for order and unused parts."""

import torch

from snellen.systems.functional_hashing.cell_space import CellSettings, CellSpace
from snellen.systems.functional_hashing.cells import Cell
from snellen.training.batches import ImageStore

CONV3, CONV1, POOL = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"


def tiny_space(seed=0, **settings):
    draws = torch.Generator().manual_seed(3)
    images = torch.randint(256, (24, 3, 8, 8), dtype=torch.uint8, generator=draws)
    targets = torch.arange(24) % 3
    train, val = (ImageStore.of_tensors(images[part], targets[part]) for part in (slice(16), slice(16, 24)))
    how = CellSettings(**{"channels": 4, "epochs": 1, "batch_size": 8, "probe_images": 4, **settings})
    return CellSpace(train, val, 3, how, seed)


def cell(edges, operations, size=7):
    """A cell by its edges; inner vertices that are not named have the first operation."""
    names = [operations.get(vertex, CONV3) for vertex in range(1, size - 1)]
    matrix = tuple(tuple(int((one, two) in edges) for two in range(size)) for one in range(size))
    return Cell(matrix, tuple(names))


#: Two branches of different length that meet before the output.
PLAIN = cell({(0, 1), (0, 2), (1, 3), (2, 4), (3, 4), (4, 6)}, {1: CONV3, 2: POOL, 3: CONV1, 4: CONV3})

#: The same with a branch that leads nowhere, one that comes from nowhere, and other operations of unused vertices.
DEAD = cell({(0, 1), (0, 2), (1, 3), (2, 4), (3, 4), (4, 6), (1, 5)}, {1: CONV3, 2: POOL, 3: CONV1, 4: CONV3, 5: POOL})

#: The same with its vertices in another order, which also commutes the inputs of the sum.
TURNED = cell({(0, 2), (0, 1), (2, 3), (1, 4), (3, 4), (4, 6)}, {2: CONV3, 1: POOL, 3: CONV1, 4: CONV3})

#: The same graph with one other operation.
OTHER = cell({(0, 1), (0, 2), (1, 3), (2, 4), (3, 4), (4, 6)}, {1: CONV3, 2: POOL, 3: CONV3, 4: CONV3})

#: Two parallel vertices that compute the same from the same input, before different ones.
TWINS = cell({(0, 1), (0, 2), (1, 3), (2, 4), (3, 6), (4, 6)}, {1: CONV3, 2: CONV3, 3: POOL, 4: CONV1})
TWINS_TURNED = cell({(0, 1), (0, 2), (2, 3), (1, 4), (3, 6), (4, 6)}, {1: CONV3, 2: CONV3, 3: POOL, 4: CONV1})
