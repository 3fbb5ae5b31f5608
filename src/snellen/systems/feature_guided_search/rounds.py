"""All images at once: in each round every game says what it wants to know, and one batch answers."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.systems.feature_guided_search.image_game import ImageGame
from snellen.systems.feature_guided_search.oracle import Oracle


def play_all(games: Sequence[ImageGame], oracle: Oracle) -> None:
    """Play until every game has ended.

    A game takes part in a round with as many requests as it has visits under way, independent of the others.
    """
    playing = list(games)
    while playing:
        wanted = [game.requests(oracle) for game in playing]
        answers = oracle.ask([request for requests in wanted for request in requests]) if any(wanted) else []
        first = 0
        for game, requests in zip(playing, wanted, strict=True):
            game.receive(answers[first : first + len(requests)], oracle)
            first += len(requests)
        playing = [game for game in playing if game.ending is None]
