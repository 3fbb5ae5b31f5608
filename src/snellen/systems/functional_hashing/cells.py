"""Cells of NASBench-101: graphs of 7 vertices and at most 9 edges, the inner five of 3 operations.

Ying et al., *NAS-Bench-101*, ICML 2019; sampling and mutation as Gillard et al. (arXiv 2302.05433) search it. A cell is
pruned to the vertices on a path from the input to the output. Its canonical form is the smallest among all orders of
its inner vertices, 120 at most. The role of a vertex is what it computes: its operation and the roles of its inputs;
equal roles are ranked by the canonical order. Initial weights follow from roles, and never from the order of creation.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from snellen.core.errors import InputError

VERTICES, MOST_EDGES = 7, 9

#: Operations of the inner vertices, as the table of NASBench-101 names them.
OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")

INPUT, OUTPUT = "input", "output"

#: Pairs of vertices that may have an edge: 21 of 7 vertices.
_PAIRS = tuple((one, two) for one in range(VERTICES) for two in range(one + 1, VERTICES))

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Cell:
    """A graph as it was drawn.

    Attributes:
        matrix: upper triangular, v × v of 0 and 1, v at most 7; vertex 0 is the input and the last one the output.
        operations: of the inner vertices, v − 2.
    """

    matrix: Matrix
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        size = len(self.matrix)
        square = all(len(row) == size for row in self.matrix)
        if size < 2 or not square or len(self.operations) != size - 2:
            raise InputError(
                f"a cell has a square matrix and an operation for each inner vertex; got {size} rows and "
                f"{len(self.operations)} operations"
            )
        if size > VERTICES:  # a canonical form tries every order
            raise InputError(f"a cell has at most {VERTICES} vertices; got {size}")
        lower = any(self.matrix[row][column] for row in range(size) for column in range(row + 1))
        if lower or any(value not in (0, 1) for row in self.matrix for value in row):
            raise InputError("the matrix of a cell is upper triangular and holds 0 and 1 alone")
        if unknown := sorted(set(self.operations) - set(OPERATIONS)):
            raise InputError(f"unknown operation {unknown[0]!r} in a cell; known: {', '.join(OPERATIONS)}")

    @property
    def edges(self) -> int:
        """Number of edges."""
        return sum(map(sum, self.matrix))

    @property
    def labels(self) -> tuple[str, ...]:
        """Operations of all vertices, input and output included."""
        return (INPUT, *self.operations, OUTPUT)

    def encode(self) -> str:
        """The cell in one line: rows of the matrix, and operations.

        >>> Cell(((0, 1), (0, 0)), ()).encode()
        '01/00 '
        """
        return "/".join("".join(map(str, row)) for row in self.matrix) + " " + ",".join(self.operations)

    @classmethod
    def decode(cls, text: str) -> Cell:
        """Read what :meth:`encode` wrote.

        Raises:
            InputError: not a cell.
        """
        rows, _, names = text.partition(" ")
        try:
            matrix = tuple(tuple(int(value) for value in row) for row in rows.split("/"))
        except ValueError:
            raise InputError(f"{text!r} is no cell: expected rows such as 011/001/000 and operations") from None
        return cls(matrix, tuple(names.split(",")) if names else ())

    def permuted(self, order: Sequence[int]) -> Cell:
        """The same graph with its vertices in another order; input and output stay at the ends.

        Raises:
            InputError: an edge would lead back.
        """
        labels = self.labels
        matrix = tuple(tuple(self.matrix[one][two] for two in order) for one in order)
        return Cell(matrix, tuple(labels[vertex] for vertex in order[1:-1]))


def pruned(cell: Cell) -> Cell | None:
    """The cell without vertices that are on no path from the input to the output; None where there is no path."""
    size = len(cell.matrix)
    forward, backward = {0}, {size - 1}
    for vertex in range(1, size):
        if any(cell.matrix[before][vertex] for before in forward):
            forward.add(vertex)
    for vertex in range(size - 2, -1, -1):
        if any(cell.matrix[vertex][after] for after in backward):
            backward.add(vertex)
    kept = sorted(forward & backward)
    if 0 not in kept or size - 1 not in kept:
        return None
    matrix = tuple(tuple(cell.matrix[one][two] for two in kept) for one in kept)
    labels = cell.labels
    return Cell(matrix, tuple(labels[vertex] for vertex in kept[1:-1]))


def is_valid(cell: Cell) -> bool:
    """Whether input and output are connected by at most 9 edges that are used."""
    rest = pruned(cell)
    return rest is not None and rest.edges <= MOST_EDGES


def used(cell: Cell) -> Cell:
    """The pruned cell.

    Raises:
        InputError: the output does not depend on the input.
    """
    rest = pruned(cell)
    if rest is None:
        raise InputError("a cell whose output does not depend on its input computes nothing")
    return rest


@lru_cache(maxsize=65536)
def canonical_order(cell: Cell) -> tuple[int, ...]:
    """The order of the vertices of a pruned cell that gives its canonical form."""
    last = len(cell.matrix) - 1
    edges = [(one, two) for one, row in enumerate(cell.matrix) for two, value in enumerate(row) if value]

    def form(order: tuple[int, ...]) -> tuple[tuple[str, ...], Matrix]:
        return (
            tuple(cell.operations[vertex - 1] for vertex in order[1:-1]),
            tuple(tuple(cell.matrix[one][two] for two in order) for one in order),
        )

    def keeps_direction(order: tuple[int, ...]) -> bool:
        place = {vertex: position for position, vertex in enumerate(order)}
        return all(place[one] < place[two] for one, two in edges)

    orders = ((0, *inner, last) for inner in permutations(range(1, last)))
    return min(filter(keeps_direction, orders), key=form)


def canonical(cell: Cell) -> Cell:
    """The one representative of all cells that are equal but for unused vertices and the order of the others."""
    rest = used(cell)
    return rest.permuted(canonical_order(rest))


def roles(cell: Cell) -> tuple[str, ...]:
    """The role of each vertex of a pruned cell: the same for a vertex wherever it stands in the order.

    A role is a hash of what the vertex computes, and a rank among vertices that compute the same: parallel twins need
    different weights.
    """
    cones: list[str] = []
    for vertex, label in enumerate(cell.labels):
        inputs = sorted(cones[before] for before in range(vertex) if cell.matrix[before][vertex])
        cones.append(hashlib.sha256(f"{label}({','.join(inputs)})".encode()).hexdigest()[:16])
    seen: dict[str, int] = {}
    found = [""] * len(cones)
    for vertex in canonical_order(cell):
        rank = seen[cones[vertex]] = seen.get(cones[vertex], -1) + 1
        found[vertex] = f"{cones[vertex]}.{rank}"
    return tuple(found)


def sample(rng: random.Random) -> Cell:
    """A random valid cell: edges with probability ½, operations uniform; drawn until valid."""

    def draw() -> Cell:
        bits = {pair: rng.randrange(2) for pair in _PAIRS}
        return _of_edges(bits, tuple(rng.choice(OPERATIONS) for _ in range(VERTICES - 2)))

    return _first_valid(draw)


def mutate(cell: Cell, rng: random.Random, rate: float = 1.0) -> Cell:
    """A valid neighbour: each edge flips with rate/7, each operation changes with rate/5; drawn until valid.

    Raises:
        InputError: a cell of another size than the space.
    """
    if len(cell.matrix) != VERTICES:
        raise InputError(f"cells of {VERTICES} vertices are mutated; got {len(cell.matrix)}")

    def draw() -> Cell:
        bits = {
            (one, two): cell.matrix[one][two] ^ int(rng.random() < rate / VERTICES) for one, two in _PAIRS
        }  # fmt: skip
        names = tuple(
            rng.choice([other for other in OPERATIONS if other != name])
            if rng.random() < rate / (VERTICES - 2)
            else name
            for name in cell.operations
        )
        return _of_edges(bits, names)

    return _first_valid(draw)


def _of_edges(bits: dict[tuple[int, int], int], operations: tuple[str, ...]) -> Cell:
    matrix = tuple(tuple(bits.get((one, two), 0) for two in range(VERTICES)) for one in range(VERTICES))
    return Cell(matrix, operations)


def _first_valid(draw: Callable[[], Cell]) -> Cell:
    while not is_valid(cell := draw()):
        pass
    return cell
