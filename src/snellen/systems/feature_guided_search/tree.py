"""The tree of the game, with counts at every node, and the choice of a child.

Levels alternate. At a *state* the first player picks a feature; at a *feature* the second player picks pixels and
instructions, which lead to the next state. A child is chosen by upper confidence bounds (Kocsis and Szepesvari 2006:
mean reward + c sqrt(2 ln N / n), n the visits of the child and N those of its parent); children are added as visits
grow (progressive widening, Couetoux et al. 2011), and a visit that is still under way counts as one without reward
(virtual loss, Chaslot et al. 2008), so that visits at the same time go apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from snellen.systems.feature_guided_search.manipulation import Instructions
from snellen.systems.feature_guided_search.salience import Places

SecondPlayer = Literal["cooperative", "adversarial", "random"]


@dataclass(eq=False)
class State:
    """An image of the game: what leads here, and what is known of it.

    Attributes:
        pixels: manipulated on the way from the parent: (m,).
        directions: their instructions, int8 (m,).
        visits: ended visits.
        under_way: visits that have not ended.
        total: sum of the rewards of ended visits.
        queried: the classifier was queried; until then no visit passes.
        terminal: the game ends here: the class changed, the distance was left, or every pixel was manipulated.
        reward: of a terminal state.
        exhausted: everything below was tried.
        children: a feature node for each feature that was tried.
    """

    pixels: Places
    directions: Instructions
    visits: int = 0
    under_way: int = 0
    total: float = 0.0
    queried: bool = False
    terminal: bool = False
    reward: float = 0.0
    exhausted: bool = False
    children: list[Choice] = field(default_factory=list)

    @property
    def passable(self) -> bool:
        """Whether a visit may come here."""
        return self.queried and not self.exhausted


@dataclass(eq=False)
class Choice:
    """A feature that the first player picked; the second player moves.

    Attributes:
        feature: number of the feature.
        visits: ended visits.
        under_way: visits that have not ended.
        total: sum of the rewards of ended visits.
        closed: no further move is left to be tried.
        exhausted: closed, and everything below was tried.
        children: states that its moves lead to.
    """

    feature: int
    visits: int = 0
    under_way: int = 0
    total: float = 0.0
    closed: bool = False
    exhausted: bool = False
    children: list[State] = field(default_factory=list)

    @property
    def passable(self) -> bool:
        """Whether a visit may come here."""
        return not self.exhausted and (not self.closed or any(child.passable for child in self.children))


Node = State | Choice


@dataclass(frozen=True)
class Rules:
    """How children are chosen and added.

    Attributes:
        second_player: cooperative picks as the first player does; adversarial picks the lowest mean reward, less the
            same bonus; random picks by chance alone.
        exploration: c of the bound; rewards are scaled so that the best image so far has 1.
        widening: a node with n visits has at most ceil(widening · sqrt(n)) children, unless none can be entered.
    """

    second_player: SecondPlayer = "cooperative"
    exploration: float = 0.5
    widening: float = 2.0

    def may_widen(self, node: Node) -> bool:
        """Whether a child should be added."""
        visits = node.visits + node.under_way
        return len(node.children) < math.ceil(self.widening * math.sqrt(visits + 1)) or not passable(node)

    def bound(self, child: Node, parent: Node, scale: float, *, lowest: bool = False) -> float:
        """Upper confidence bound of a child, or its lower one with the sign turned, for who wants little reward.

        >>> rules, parent = Rules(exploration=1.0), Choice(0, visits=20)
        >>> tried = [Choice(feature, visits=visits, total=2.0) for feature, visits in enumerate((4, 10))]
        >>> [round(rules.bound(child, parent, 1.0), 3) for child in tried]
        [1.724, 0.974]
        """
        visits = child.visits + child.under_way
        if not visits:
            return math.inf
        # A visit under way counts as lost for who chooses: no reward for the first player, all of it for an opponent.
        lost = child.under_way if lowest else 0.0
        mean = (scale * child.total + lost) / visits
        bonus = self.exploration * math.sqrt(2 * math.log(max(parent.visits + parent.under_way, 1)) / visits)
        return (-mean if lowest else mean) + bonus

    def first_player(self, state: State, scale: float) -> Choice | None:
        """The feature of the highest bound, or None where none can be entered."""
        open_ = [child for child in state.children if child.passable]
        return max(open_, key=lambda child: self.bound(child, state, scale), default=None)

    def second(self, choice: Choice, scale: float, rng: np.random.Generator) -> State | None:
        """The move of the second player among those that were tried, or None where none can be entered."""
        open_ = [child for child in choice.children if child.passable]
        if not open_:
            return None
        if self.second_player == "random":
            return open_[int(rng.integers(len(open_)))]
        lowest = self.second_player == "adversarial"
        return max(open_, key=lambda child: self.bound(child, choice, scale, lowest=lowest))


def passable(node: Node) -> list[State] | list[Choice]:
    """Children that a visit may enter."""
    if isinstance(node, State):
        return [child for child in node.children if child.passable]
    return [child for child in node.children if child.passable]


def enter(path: list[Node]) -> None:
    """A visit along a path begins."""
    for node in path:
        node.under_way += 1


def leave(path: list[Node], reward: float) -> None:
    """A visit along a path ends: every node of it counts the visit and its reward."""
    for node in path:
        node.under_way -= 1
        node.visits += 1
        node.total += reward


def close(path: list[Node], features: int) -> None:
    """Mark what is exhausted, from the end of a path to its root; there are so many features to choose from."""
    for node in reversed(path):
        below = all(child.exhausted for child in node.children)
        if isinstance(node, Choice):
            node.exhausted = node.closed and below
        elif not node.exhausted:
            node.exhausted = node.terminal or (len(node.children) == features and below)


def game_value(state: State, second_player: SecondPlayer) -> float:
    """Reward of the game as the tree knows it: each player makes the move that the search came to visit most.

    For a random second player, the mean over the moves that were drawn. Where nothing was tried, that of the visits.
    Where both players want the same, the best image so far is more informative: the tree leaves out what is no better.
    """
    if state.terminal or not state.children:
        return state.total / state.visits if state.visits else 0.0
    choice = max(state.children, key=lambda child: child.visits)
    if not choice.children:
        return choice.total / choice.visits if choice.visits else 0.0
    if second_player == "random":
        return sum(game_value(child, second_player) for child in choice.children) / len(choice.children)
    return game_value(max(choice.children, key=lambda child: child.visits), second_player)
