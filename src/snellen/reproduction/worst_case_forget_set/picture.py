"""The picture of worst-case forget sets: images of the hardest set, of a random and of the easiest one, with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from snellen.core.images import ImageSet
from snellen.core.progress import Silent
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.worst_case_forget_set.experiment import SMALL, Experiment

#: Sets of the experiment, and how the picture calls them.
ROWS = {
    "worst": "hardest to forget: a network that never saw them gets them right",
    "random 1": "random",
    "easiest": "easiest to forget: only a network that learned them by heart gets them right",
}

#: Images of a row, edge of one in pixels, and space between them.
SHOWN, EDGE, GAP = 14, 56, 4


def spread(rows: Sequence[int], count: int) -> list[int]:
    """So many rows of a set, at equal distances.

    >>> spread(range(10), 5)
    [0, 2, 4, 6, 8]
    """
    return [rows[place * len(rows) // count] for place in range(min(count, len(rows)))]


def sheet(images: ImageSet, sets: Mapping[str, Sequence[int]], edge: int = EDGE) -> Image.Image:
    """A row of labelled images for each set, below its title.

    Args:
        images: that rows of sets are of.
        sets: rows to show, by title.
        edge: of an image in pixels.
    """
    large, small, names = ImageFont.load_default(14), ImageFont.load_default(10), images.class_names or ()
    height = edge + 44
    columns = max(map(len, sets.values()))
    made = Image.new("RGB", (columns * (edge + GAP) + GAP, len(sets) * height), "white")
    pen, labels = ImageDraw.Draw(made), images.labels
    for number, (title, rows) in enumerate(sets.items()):
        top = number * height
        pen.text((GAP, top + 4), title, fill="black", font=large)
        for column, row in enumerate(rows):
            left = GAP + column * (edge + GAP)
            shown = images.read(row).convert("RGB").resize((edge, edge), Image.Resampling.LANCZOS)
            made.paste(shown, (left, top + 24))
            pen.text((left, top + 26 + edge), names[labels[row]].partition("/")[0], fill="black", font=small)
    return made


def draw_sets(root: Path, target: Path) -> None:
    """Draw the sets of the first seed of the record."""
    experiment = Experiment(SMALL, 2000, Silent())
    sets = experiment.sets({})
    shown = {title: spread(sets[name].tolist(), SHOWN) for name, title in ROWS.items()}
    sheet(experiment.case.images, shown).save(target, "WEBP", quality=90, method=6)


PICTURES: Pictures = {"forget-sets": draw_sets}
