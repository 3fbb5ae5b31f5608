"""How a game is played: everything that does not depend on the image."""

from __future__ import annotations

from dataclasses import dataclass

from snellen.systems.feature_guided_search.tree import Rules


@dataclass(frozen=True)
class Play:
    """How a game is played.

    Attributes:
        rules: choice of children, and the second player.
        pixels: manipulated in one move.
        epsilon: largest severity, in the norm of the game.
        overshoot: paths end at this multiple of the best severity so far (where the second player cooperates).
        cluster: pixels of the first clusters that are put back; 0 puts nothing back.
        leaves: visits under way at a time.
        visits: of the tree, at most.
        depth: of the tree, in moves; 0 only plays by chance.
        most_moves: played by chance in a visit, at most.
        every_move: whether play by chance queries after each move.
        adapting: share of the draws by chance that follow the features of the best image so far.
        shaped: reward the fall of the label's probability where no adversarial image was reached.
    """

    rules: Rules
    pixels: int
    epsilon: float
    overshoot: float
    cluster: int
    leaves: int
    visits: int
    depth: int
    most_moves: int
    every_move: bool
    adapting: float
    shaped: bool
