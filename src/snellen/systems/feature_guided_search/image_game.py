"""The game on one image: visits of its tree, many under way at a time, and the least severe adversarial image so far.

Nothing here depends on other images: the same image with the same seed plays the same game in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import numpy as np

from snellen.systems.feature_guided_search.manipulation import Instructions
from snellen.systems.feature_guided_search.oracle import Oracle, Request, key_of
from snellen.systems.feature_guided_search.paths import Answer, play_on, put_back
from snellen.systems.feature_guided_search.play import Play
from snellen.systems.feature_guided_search.salience import Places, Salience
from snellen.systems.feature_guided_search.tree import Choice, Node, State, close, enter, game_value, leave

#: Moves that are drawn before a node is taken to have no new one.
_DRAWS = 8
#: Ways down that are tried before a visit is put off.
_DESCENTS = 100

Visit = Generator[Instructions, Answer, None]


class ImageGame:
    """One image's search.

    Args:
        row: position of the image in the batch of the oracle.
        play: how it is played.
        salience: where pixels are searched. instructions: the changes of a pixel.
        farthest: severity of the image in which every pixel is manipulated.
        confidence: probability of the label on the clean image.
        rng: of this image alone.
    """

    def __init__(
        self,
        row: int,
        play: Play,
        salience: Salience,
        *,
        instructions: tuple[int, ...],
        farthest: float,
        confidence: float,
        rng: np.random.Generator,
    ) -> None:
        self.row, self.play, self.salience = row, play, salience
        self.root = State(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int8), queried=True)
        self.best: Instructions | None = None
        self.severity = math.inf
        self.curve: list[tuple[int, float]] = []
        self.ending: str | None = None
        self._clean = np.zeros(salience.height * salience.width, dtype=np.int8)
        self._signs, self._rng = np.array(instructions, dtype=np.int8), rng
        self._confidence = confidence
        self._scale_of_shape = 1 / min(play.epsilon, max(farthest, 1e-12))
        self._cumulated = salience.weights.cumsum()
        self._seen: set[bytes] = {key_of(self._clean)}
        self._begun = 0
        self._running: list[tuple[Visit, Instructions]] = []

    @property
    def cooperative(self) -> bool:
        """Whether both players want the same."""
        return self.play.rules.second_player == "cooperative"

    @property
    def value(self) -> float:
        """Reward at the end of the game that the search came to play; 0 where that is not adversarial."""
        if self.cooperative:
            return 1 / self.severity if self.best is not None else 0.0
        return game_value(self.root, self.play.rules.second_player)

    # -- visits side by side -------------------------------------------------------------------------------------

    def requests(self, oracle: Oracle) -> list[Request]:
        """What the visits under way want to know; an empty list says that the game is over."""
        while self.ending is None and len(self._running) < self.play.leaves and self._begun < self.play.visits:
            visit = self._visit()
            if visit is None:
                break
            self._begun += 1
            self._go_on(visit, None, oracle)
        if not self._running and self.ending is None:
            spent = self._begun >= self.play.visits
            self.ending = "exhausted" if self.root.exhausted else "visits" if spent else "no new move"
        return [Request(self.row, directions) for _, directions in self._running]

    def receive(self, answers: list[Answer | None], oracle: Oracle) -> None:
        """Go on with every visit, in order, by the answers to :meth:`requests`."""
        running, self._running = self._running, []
        for (visit, directions), answer in zip(running, answers, strict=True):
            if answer is None:
                self.ending = "budget"
                continue
            self._note(directions, answer, oracle)
            self._go_on(visit, answer, oracle)
        if self.row in oracle.not_finite:
            self.ending = "not finite"
        elif self.root.exhausted and self.ending is None:
            self.ending = "exhausted"

    def _go_on(self, visit: Visit, answer: Answer | None, oracle: Oracle) -> None:
        """Let a visit run until it needs a new query, or ends."""
        try:
            directions = next(visit) if answer is None else visit.send(answer)
            while (known := self._known(directions, oracle)) is not None:
                directions = visit.send(known)
            self._running.append((visit, directions))
        except StopIteration:
            return

    def _known(self, directions: Instructions, oracle: Oracle) -> Answer | None:
        # Where the players are opponents, the game must not end at what another path reached.
        below = self.severity * self.play.overshoot if self.cooperative else math.inf
        return oracle.recall(self.row, directions, limit=self.play.epsilon + 1e-6, below=below)

    def _note(self, directions: Instructions, answer: Answer, oracle: Oracle) -> None:
        """Keep the least severe adversarial image."""
        if answer.met and answer.severity < self.severity:
            self.best, self.severity = directions, answer.severity
            self.curve.append((int(oracle.queries[self.row]), answer.severity))
            if self.play.adapting:
                near = self.salience.shares(np.flatnonzero(directions))
                mixed = (1 - self.play.adapting) * self.salience.weights + self.play.adapting * near
                self._cumulated = mixed.cumsum()

    # -- one visit -----------------------------------------------------------------------------------------------

    def _visit(self) -> Visit | None:
        """Selection and expansion, then a visit that queries; None where no visit can enter now."""
        descended = None
        for _ in range(_DESCENTS):
            # A way that ends nowhere is marked as exhausted, and the next one avoids it.
            descended = self._descend()
            if descended is not None or self.root.exhausted or not self.cooperative:
                break
        if descended is None:
            return None
        path, directions = descended
        enter(path)
        return self._asking(path, directions)

    def _asking(self, path: list[Node], directions: Instructions) -> Visit:
        leaf, reward = path[-1], 0.0
        assert isinstance(leaf, State)
        if not leaf.queried:
            answer = yield directions
            leaf.queried, leaf.terminal = True, answer.met or answer.outside
            if answer.met:
                leaf.reward = yield from self._ended(directions)
        if leaf.terminal:
            leaf.exhausted, reward = self.cooperative, leaf.reward
        else:
            heard: list[Answer] = []
            reached = yield from play_on(
                directions, self._moves, every_move=self.play.every_move, most_moves=self.play.most_moves, heard=heard
            )
            if reached is not None:
                reward = yield from self._ended(reached)
            elif self.play.shaped and heard:
                fall = self._confidence - min(answer.confidence for answer in heard)
                reward = max(fall, 0.0) * self._scale_of_shape
        leave(path, reward)
        if self.cooperative:
            close(path, self.salience.count)

    def _ended(self, directions: Instructions) -> Generator[Instructions, Answer, float]:
        """Reward of an adversarial image, 1 / severity; what can be put back counts where both players want the same.

        Both images were scored already, so that another request costs nothing.
        """
        answer = yield directions
        if self.cooperative or answer.severity <= self.severity:
            reduced = yield from put_back(directions, self.play.cluster, self._rng)
            if self.cooperative and reduced is not None:
                answer = yield reduced
        return 1 / max(answer.severity, 1e-12)

    # -- the tree ------------------------------------------------------------------------------------------------

    def _descend(self) -> tuple[list[Node], Instructions] | None:
        """From the root to a new state, to one at the tree's depth, or to a terminal one; with its instructions."""
        path, directions, state = list[Node]([self.root]), self._clean.copy(), self.root
        scale = self.severity if math.isfinite(self.severity) else 1.0
        while not state.terminal and len(path) // 2 < self.play.depth:
            if directions.all():
                state.terminal = True
                break
            choice = self._feature(state, scale)
            if choice is None:
                break
            path.append(choice)
            new = (
                self._new_state(choice, directions) if not choice.closed and self.play.rules.may_widen(choice) else None
            )
            chosen = new or self.play.rules.second(choice, scale, self._rng)
            if chosen is None:
                if self.cooperative:
                    close(path, self.salience.count)
                return None
            directions[chosen.pixels] = chosen.directions
            path.append(chosen)
            state = chosen
            if new is not None:
                break
        return None if state.exhausted else (path, directions)

    def _feature(self, state: State, scale: float) -> Choice | None:
        """The first player's pick: a feature that was not tried, by its weight, or the one of the highest bound."""
        if len(state.children) < self.salience.count and self.play.rules.may_widen(state):
            weights = self.salience.weights.copy()
            weights[[child.feature for child in state.children]] = 0
            if weights.sum() > 0:
                state.children.append(Choice(int(self._rng.choice(len(weights), p=weights / weights.sum()))))
                return state.children[-1]
        return self.play.rules.first_player(state, scale)

    def _new_state(self, choice: Choice, directions: Instructions) -> State | None:
        """A move of the second player that was not tried, drawn by the feature's Gaussian, or None.

        Where both players want the same, the order of manipulations does not matter, and an image that is in the tree
        already is not added again. Against an opponent, a feature has each move once; chance may repeat itself.
        """
        owners = np.full(self.play.pixels, choice.feature)
        free = int((directions == 0).sum())
        for _ in range(_DRAWS):
            pixels = self.salience.draw(owners, directions != 0, self._rng)
            pixels = np.sort(pixels[pixels >= 0])
            signs = self._signs[self._rng.integers(0, len(self._signs), len(pixels))]
            if self._is_new(choice, directions, pixels, signs):
                return self._added(choice, pixels, signs)
        # Few enough to go through: all that are left, or else one pixel with each instruction.
        places = np.flatnonzero(directions == 0)
        singles = free > self.play.pixels or free == 1
        sets = [places[[place]] for place in range(free)] if singles else [places]
        for pixels in sets:
            for sign in self._signs:
                signs = np.full(len(pixels), sign)
                if self._is_new(choice, directions, pixels, signs):
                    return self._added(choice, pixels, signs)
        choice.closed = singles or len(self._signs) == 1
        return None

    def _is_new(self, choice: Choice, directions: Instructions, pixels: Places, signs: Instructions) -> bool:
        if self.play.rules.second_player == "random":
            return True
        changed = directions.copy()
        changed[pixels] = signs
        key = key_of(changed) if self.cooperative else repr(id(choice)).encode() + key_of(changed)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _added(self, choice: Choice, pixels: Places, signs: Instructions) -> State:
        choice.children.append(State(pixels, signs))
        return choice.children[-1]

    def _moves(self, directions: Instructions, count: int) -> list[Instructions]:
        """Moves by chance: the images after each of them; features by their weights, as they are by now."""
        picked = np.searchsorted(self._cumulated, self._rng.random(count) * self._cumulated[-1], side="right")
        owners = np.repeat(picked, self.play.pixels)
        pixels = self.salience.draw(owners, directions != 0, self._rng)
        signs = self._signs[self._rng.integers(0, len(self._signs), len(pixels))]
        path, current = [], directions
        for first in range(0, len(pixels), self.play.pixels):
            drawn = slice(first, first + self.play.pixels)
            fits = pixels[drawn] >= 0
            if not fits.any():
                break
            current = current.copy()
            current[pixels[drawn][fits]] = signs[drawn][fits]
            path.append(current)
        return path
