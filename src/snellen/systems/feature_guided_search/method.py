"""Search for small changes around salient features, by queries alone, as a game of two players.

Wicker, Huang and Kwiatkowska, "Feature-guided black-box safety testing of deep neural networks", TACAS 2018, arXiv
1710.07859: SIFT keypoints as features, a Gaussian mixture as saliency, a turn-based game whose reward is the inverse of
the severity, and Monte Carlo tree search for the first player's strategy. The game's rules are in
:mod:`snellen.systems.feature_guided_search`; what the paper calls tau is ``step``, its distance d is ``epsilon``.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.errors import UnsupportedError
from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import refuse_levels
from snellen.methods.attacks.perturbation import L2Ball, LinfBall, Search
from snellen.methods.attacks.perturbation.absolute_sum import AbsoluteSum
from snellen.methods.attacks.perturbation.pixel_count import PixelCount
from snellen.methods.attacks.perturbation.projections import Projection
from snellen.methods.attacks.search_attack import SearchAttack
from snellen.systems.feature_guided_search.features import Detector, detect
from snellen.systems.feature_guided_search.image_game import ImageGame
from snellen.systems.feature_guided_search.manipulation import Manipulation, manipulated
from snellen.systems.feature_guided_search.oracle import Oracle
from snellen.systems.feature_guided_search.play import Play
from snellen.systems.feature_guided_search.rounds import play_all
from snellen.systems.feature_guided_search.salience import Salience
from snellen.systems.feature_guided_search.severity import Severity, SeverityNorm
from snellen.systems.feature_guided_search.tree import Rules, SecondPlayer


@dataclass(frozen=True, eq=False)
class GameAttacked(Attacked):
    """Result of the search on n images: what every attack returns, and how the games went.

    Attributes:
        endings: what came of each image and why its search ended, in words: ``already misclassified``; or ``found`` or
            ``not found``, then ``budget`` (queries are spent), ``exhausted`` (every game was played), ``visits``, or
            ``not finite``; then ``no keypoints`` where blobs on a grid stood in for features.
        fallback: bool (n,), an image without keypoints.
        curves: for each image the least severity so far, as (queries, severity) at each improvement.
        value: float64 (n,), reward (1 / severity) at the end of the game that the search came to play; 0 where that is
            not adversarial. With an adversarial second player, what the first can force; with a random one, a mean.
        batch_sizes: of every call of the classifier, in order.
    """

    endings: tuple[str, ...] = ()
    fallback: Tensor = dataclasses.field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    curves: tuple[tuple[tuple[int, float], ...], ...] = ()
    value: Tensor = dataclasses.field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    batch_sizes: tuple[int, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """How each search ended, and where an even grid of blobs stood in for keypoints."""
        plain = super().reasons
        return tuple(
            reason if status == "not finite" else ending
            for status, reason, ending in zip(self.status, plain, self.endings, strict=True)
        )


class FeatureGuidedSearch(SearchAttack):
    """Few pixels around keypoints, by queries alone: a game of two players, searched by Monte Carlo trees.

    The first player picks a feature, the second pixels inside its Gaussian; the reward is 1 / severity. The second
    player helps (``cooperative``: the smallest change), opposes (``adversarial``: what the first can force), or is
    chance (``random``). Visits of the tree run side by side, and those of all images share their batches. The image
    that is returned is scored once more at the end, within the budget.

    Decisions are enough, and no gradient is taken; the shaped reward needs probabilities of one class. Distances are
    severities in the norm of the game, and what comes back is a :class:`GameAttacked`. The detector of OpenCV needs its
    extra.

    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> _ = torch.manual_seed(0)
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), class_names=["a", "b"])
    >>> images = torch.rand(2, 3, 8, 8)
    >>> labels = classifier(images).argmax(1)
    >>> attacked = FeatureGuidedSearch(queries=200).attack(classifier, images, labels)
    >>> attacked.success.tolist(), int(attacked.queries.max()) <= 200
    ([True, True], True)
    """

    name: ClassVar[str] = "feature_guided_search"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    queries: int = Field(2000, ge=3, description="largest number of queries an image, all looks included")
    norm: SeverityNorm = Field("l0", description="norm of the severity: changed pixels, or a norm of all values")
    epsilon: float | None = Field(
        None, ge=0, description="largest severity (d), in the norm and [0, 1] pixel units; left out: any"
    )
    manipulation: Manipulation = Field(
        "extreme", description="of a pixel: to the opposite extreme, a step up or down, to white, or to black"
    )
    step: float = Field(0.5, gt=0, le=1, description="size of the manipulation step (tau), in [0, 1] units")
    second_player: SecondPlayer = Field("cooperative", description="who picks the pixels, and for whom")
    choice: Literal["features", "uniform"] = Field(
        "features", description="where pixels are looked for: around keypoints, or anywhere alike (no guidance)"
    )
    detector: Detector = Field("auto", description="of keypoints: OpenCV's SIFT if installed, that one, or our own")
    features: int = Field(64, ge=1, description="keypoints of an image, the strongest ones, at most")
    inflation: int = Field(
        4, ge=1, description="factor by which images with a side under 50 pixels are enlarged for the detector"
    )
    extra_spread: float = Field(
        0.0, ge=0, description="added to a keypoint's size as the standard deviation of its Gaussian, in pixels"
    )
    pixels: int = Field(2, ge=1, description="pixels manipulated in one move")
    leaves: int = Field(64, ge=1, description="visits of an image's tree that are under way at a time")
    exploration: float = Field(0.5, ge=0, description="weight of the bonus for little visited children (c of UCB)")
    widening: float = Field(
        2.0, gt=0, description="children of a node, at most, in units of the square root of its visits"
    )
    depth: int = Field(64, ge=0, description="moves of the tree, at most; 0 only plays by chance from the clean image")
    chance_moves: int = Field(4096, ge=1, description="moves played by chance in a visit, at most")
    every_move: bool = Field(
        False, description="ask after each move played by chance, not after 1, 2, 4, … of them and then by halving"
    )
    visits: int | None = Field(None, ge=1, description="visits of a tree, at most; left out: twice the queries")
    backtracking: int = Field(
        64, ge=0, description="pixels of the largest clusters that are put back on trial; 0 puts nothing back"
    )
    overshoot: float = Field(
        2.0, ge=1, description="paths end at this multiple of the least severity so far, as pixels may be put back"
    )
    adapting: float = Field(
        0.5, ge=0, lt=1, description="share of the draws by chance that follow the features of the best image so far"
    )
    shaped: bool = Field(
        False, description="reward the fall of the label's probability, too, where no adversarial image is reached"
    )
    batch_size: int = Field(512, ge=1, description="images sent through the classifier at once, at most")

    @model_validator(mode="after")
    def _epsilon_is_in_pixel_units(self) -> Self:
        refuse_levels(self.norm, self.epsilon)
        return self

    def _allowed(self) -> Projection:
        largest = math.inf if self.epsilon is None else self.epsilon
        if self.norm == "l0":
            return PixelCount(largest)
        if self.norm == "l1":
            return AbsoluteSum(largest)
        return L2Ball(largest) if self.norm == "l2" else LinfBall(largest)

    def _search(self, search: Search, rng: Randomness) -> GameAttacked:
        classifier, log = search.classifier, list[int]()
        if self.shaped and (classifier.output == "labels" or classifier.task == "multilabel"):
            raise UnsupportedError(
                f"{classifier.name} gives no probability of one class; the shaped reward needs it: use shaped=False"
            )

        def decide(candidates: Tensor, _labels: Tensor, _positions: Tensor) -> tuple[Tensor, Tensor]:
            log.append(len(candidates))
            scores = classifier(candidates)
            return scores, scores.new_zeros(len(scores))

        search.evaluate, search.keep = decide, "closest"
        search.judge_clean()
        positions = search.open_positions()
        changes = manipulated(search.images[positions], self.manipulation, step=self.step)
        oracle = Oracle(
            classifier, changes, search.labels[positions], criterion=search.criterion, budget=self.queries - 2,
            severity=Severity(changes, self.norm), batch_size=self.batch_size, confidence=self.shaped,
        )  # fmt: skip
        games = self._games(search, positions, oracle, rng)
        play_all(games, oracle)
        log += oracle.batch_sizes
        search.queries[positions] += torch.from_numpy(oracle.queries).to(search.queries)
        self._verify(search, positions, games, oracle)
        return _result(search, positions, games, log)

    def _play(self) -> Play:
        return Play(
            rules=Rules(self.second_player, self.exploration, self.widening),
            pixels=self.pixels,
            epsilon=math.inf if self.epsilon is None else self.epsilon,
            overshoot=self.overshoot,
            cluster=self.backtracking,
            leaves=self.leaves,
            visits=self.visits or 2 * self.queries,
            depth=self.depth,
            most_moves=self.chance_moves,
            every_move=self.every_move,
            adapting=self.adapting,
            shaped=self.shaped,
        )

    def _games(self, search: Search, positions: Tensor, oracle: Oracle, rng: Randomness) -> list[ImageGame]:
        """A game for each image that still wants a search; each has its own generator, seeded by its id."""
        if not len(positions):
            return []
        images, height, width = search.images[positions], *search.images.shape[2:]
        confidences = [math.nan] * len(positions)
        if self.shaped:
            own = search.classifier.probabilities(search.scores[positions])
            confidences = own.gather(1, search.labels[positions][:, None]).squeeze(1).tolist()
        seeds = rng[positions].integers("game", (1,), 0, 2**62).squeeze(1).tolist()
        games = []
        for row in range(len(positions)):
            found = None
            if self.choice == "features":
                found = detect(images[row], detector=self.detector, most=self.features, inflation=self.inflation)
            games.append(
                ImageGame(
                    row,
                    self._play(),
                    Salience(found, height, width, self.extra_spread),
                    instructions=oracle.images.instructions,
                    farthest=oracle.severity.farthest(row),
                    confidence=confidences[row],
                    rng=np.random.default_rng(seeds[row]),
                )
            )
        return games

    def _verify(self, search: Search, positions: Tensor, games: list[ImageGame], oracle: Oracle) -> None:
        """Score the best images once more, in one batch; only what meets the criterion again is kept."""
        rows, told = [], []
        for game in games:
            if game.best is not None:
                rows.append(game.row)
                told.append(game.best)
            search.not_finite[positions[game.row]] |= game.ending == "not finite" and game.best is None
        if rows:
            chosen = torch.tensor(rows, device=positions.device)
            instructions = torch.from_numpy(np.stack(told)).to(positions.device)
            search.look(oracle.images.candidates(chosen, instructions), positions[chosen])


def _result(search: Search, positions: Tensor, games: list[ImageGame], log: list[int]) -> GameAttacked:
    """Pack up, with the results of the games."""
    packed = search.result()
    endings = ["already misclassified" if status == "already" else status for status in packed.status]
    fallback = torch.zeros(len(endings), dtype=torch.bool)
    value = torch.zeros(len(endings), dtype=torch.float64)
    curves: list[tuple[tuple[int, float], ...]] = [()] * len(endings)
    for position, game in zip(positions.tolist(), games, strict=True):
        found = game.salience.features
        fallback[position] = found is not None and found.fallback
        result = "found" if packed.status[position] == "found" else "not found"
        said = [result, str(game.ending), *(["no keypoints"] if fallback[position] else [])]
        endings[position] = ", ".join(said)
        # One query of the clean image came before.
        curves[position] = tuple((queries + 1, severity) for queries, severity in game.curve)
        value[position] = game.value
    fields = {field.name: getattr(packed, field.name) for field in dataclasses.fields(packed)}
    return GameAttacked(
        **fields, endings=tuple(endings), fallback=fallback, curves=tuple(curves), value=value, batch_sizes=tuple(log)
    )
