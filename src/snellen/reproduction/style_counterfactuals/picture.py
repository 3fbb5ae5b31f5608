"""A picture of the experiment: lesions, their reconstructions, and each attribute moved toward the other class."""

from __future__ import annotations

from pathlib import Path

import torch

from snellen.core.progress import Silent
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.style_counterfactuals.experiment import SEARCH, SMALL, Experiment
from snellen.runs.picture_grid import picture_grid
from snellen.systems.style_counterfactuals.attributes import moved_styles
from snellen.systems.style_counterfactuals.flips import SHIFT, runners_up
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.systems.style_counterfactuals.study import Study, study

#: Images of each class.
EACH = 2


def panel(found: Study, seen: Seen, target: Path) -> None:
    """Draw some images that nothing was chosen on, with every attribute moved and the probability of class "large"."""
    encoded, decided = found.measured_on, found.measured_on.base.argmax(1)
    shown = torch.cat([(decided == one).nonzero().flatten()[:EACH] for one in (0, 1)]).tolist()
    toward, rows = runners_up(encoded.base).tolist(), []
    for at in shown:
        tiles = [encoded.images[at], encoded.remade[at]]
        for one in found.lists[toward[at]]:
            moved = moved_styles(encoded.styles[at : at + 1], [one], found.bounds, SHIFT)
            with torch.no_grad():
                tiles.append(found.renderer.images(moved)[0])
        with torch.no_grad():
            chances = seen.scores(torch.stack(tiles)).softmax(1)[:, 1].tolist()
        line = "large: " + "   ".join(f"{chance:.2f}" for chance in chances)
        rows.append(([one.mul(255).round().to(torch.uint8) for one in tiles], line))
    most = max(len(tiles) for tiles, _ in rows)
    heads = ["image", "rebuilt", *(f"attribute {number}" for number in range(1, most - 1))]
    blank = torch.full_like(rows[0][0][0], 255)
    filled = [([*tiles, *[blank] * (most - len(tiles))], line) for tiles, line in rows]
    picture_grid("What would take it for the other class", heads, filled).save(target, "WEBP", lossless=True)


def draw(root: Path, target: Path) -> None:
    """Train seed 0 (minutes), search, and draw."""
    own = Experiment(SMALL, 0, Silent())
    training = own.generator("pyramid")
    found = study(training.explainer, own.seen, own.images, SEARCH, own.rng)
    panel(found, own.seen, target)


PICTURES: Pictures = {"style-counterfactuals": draw}
