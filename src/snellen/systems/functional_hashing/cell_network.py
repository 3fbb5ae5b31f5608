"""A network of one repeated cell, as NASBench-101 builds it, at a size of the user's.

A 3 × 3 convolution, stacks of cells with a halved side and doubled channels between them, the mean over the image, one
linear layer. Inside a cell an edge from the input is a 1 × 1 projection, a vertex takes the sum of its inputs, and the
output concatenates the vertices that lead to it, to which a projected input is added. Channels are divided among them;
a vertex takes the first channels of a wider input. Remainders and concatenation follow the canonical order.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snellen.core.randomness import derive_seed
from snellen.systems.functional_hashing.cells import Cell, canonical_order, roles, used


class _ConvolutionBlock(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


def vertex_channels(cell: Cell, inputs: int, outputs: int) -> list[int]:
    """Channels of each vertex of a pruned cell whose input and output have so many.

    >>> vertex_channels(Cell(((0, 1, 1), (0, 0, 1), (0, 0, 0)), ("maxpool3x3",)), 4, 8)
    [4, 8, 8]
    """
    size = len(cell.matrix)
    channels = [0] * size
    channels[0], channels[-1] = inputs, outputs
    last = [vertex for vertex in canonical_order(cell)[1:-1] if cell.matrix[vertex][-1]]
    for place, vertex in enumerate(last):
        channels[vertex] = outputs // len(last) + (place < outputs % len(last))
    for vertex in range(size - 2, 0, -1):
        if not cell.matrix[vertex][-1]:
            channels[vertex] = max(channels[after] for after in range(vertex + 1, size) if cell.matrix[vertex][after])
    return channels


class CellModule(nn.Module):
    """One cell; its vertices are computed in the order in which they were drawn."""

    def __init__(self, cell: Cell, inputs: int, outputs: int) -> None:
        super().__init__()
        self.cell = cell
        self.channels = vertex_channels(cell, inputs, outputs)
        size = len(cell.matrix)
        self.projections = nn.ModuleDict(
            {
                str(vertex): _ConvolutionBlock(inputs, self.channels[vertex], 1)
                for vertex in range(1, size)
                if cell.matrix[0][vertex]
            }
        )
        self.operations = nn.ModuleDict(
            {str(vertex): self._operation(name, vertex) for vertex, name in enumerate(cell.operations, start=1)}
        )
        self.joined = [vertex for vertex in canonical_order(cell)[1:-1] if cell.matrix[vertex][-1]]

    def _operation(self, name: str, vertex: int) -> nn.Module:
        channels = self.channels[vertex]
        if name == "maxpool3x3":
            return nn.MaxPool2d(3, stride=1, padding=1)
        return _ConvolutionBlock(channels, channels, 3 if name == "conv3x3-bn-relu" else 1)

    def forward(self, images: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h, w)."""
        matrix = self.cell.matrix
        size = len(matrix)
        found: dict[int, Tensor] = {}
        for vertex in range(1, size - 1):
            parts = [found[before][:, : self.channels[vertex]] for before in range(1, vertex) if matrix[before][vertex]]
            if matrix[0][vertex]:
                parts.append(self.projections[str(vertex)](images))
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            found[vertex] = self.operations[str(vertex)](total)
        joined = torch.cat([found[vertex] for vertex in self.joined], 1) if self.joined else None
        if not matrix[0][-1]:
            assert joined is not None, "a pruned cell has a path to its output"
            return joined
        projected: Tensor = self.projections[str(size - 1)](images)
        return projected if joined is None else joined + projected


class CellNetwork(nn.Module):
    """A classifier of one repeated cell. Its initial weights follow from ``seed`` and the roles of the vertices.

    Args:
        cell: as :meth:`~snellen.systems.functional_hashing.cells.Cell.encode` writes it; unused vertices are left out.
        class_count: of the scores.
        channels: of the first stack; each further stack has twice as many.
        stacks: of cells; the side is halved between them.
        cells: of each stack.
        seed: of initial weights.
    """

    def __init__(
        self, cell: str, class_count: int, channels: int = 8, stacks: int = 2, cells: int = 1, seed: int = 0
    ) -> None:
        super().__init__()
        graph = used(Cell.decode(cell))
        self.stem = _ConvolutionBlock(3, channels, 3)
        layers: list[nn.Module] = []
        inputs = channels
        for stack in range(stacks):
            outputs = channels * 2**stack
            if stack:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            for _ in range(cells):
                layers.append(CellModule(graph, inputs, outputs))
                inputs = outputs
        self.body = nn.Sequential(*layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(inputs, class_count)
        _initialise(self, roles(graph), seed)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (n, k) of images (n, 3, h, w) in [0, 1]."""
        scores: Tensor = self.head(self.pool(self.body(self.stem(images))))
        return scores


@torch.no_grad()
def _initialise(network: CellNetwork, names: tuple[str, ...], seed: int) -> None:
    """Draw every weight from a generator of its own, named by where it acts: the layer, and the role of its vertex."""
    for path, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        parts = path.split(".")
        if parts[0] == "body":  # body.LAYER.KIND.VERTEX.…
            parts[3] = names[int(parts[3])]
        generator = torch.Generator().manual_seed(derive_seed(seed, "initial weights", *parts))
        inputs = module.weight[0].numel()
        scale = math.sqrt((2 if isinstance(module, nn.Conv2d) else 1) / inputs)
        module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * scale)
        if module.bias is not None:
            module.bias.zero_()
