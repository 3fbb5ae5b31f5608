"""The picture of system 1: scenes, the words that decided each, and what a network of pixels decides.

It encodes fewer scenes than the small experiment, and trains its small network on them: seconds.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from snellen.core.preprocessing import to_image, to_unit
from snellen.core.progress import Silent
from snellen.models.references import load_two_tower
from snellen.reproduction.concept_bottleneck.arms import Arms
from snellen.reproduction.concept_bottleneck.experiment import NETWORK_PLAN, STRENGTH, TOWER, TUNED_PLAN
from snellen.reproduction.concept_bottleneck.materials import scene_material
from snellen.reproduction.concept_bottleneck.scenes_with_findings import CLASSES, Sizes
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.reproduction.shared.tile_sheet import FRAME, GAP, INK, RIGHT, WRONG, stack, verdict
from snellen.training.acceleration import seeded
from snellen.training.loop import train

#: Seed of no record, and scenes: as in training, to choose by, and of each test set.
SEED, SIZES = 0, Sizes(train=800, val=200, test=200)

#: Words that are listed, and scenes of each class.
WORDS, EACH = 6, 2

#: Sides of an image, and of a panel; height of a line; longest bar; pixels.
SIDE, WIDTH, LINE, BAR = 128, 366, 19, 88


def panel(
    pixels: Tensor, truth: str, decided: dict[str, str], words: list[tuple[str, float, float]], longest: float
) -> Image.Image:
    """An image with both decisions, and its words with bars: to the right for the decision, to the left against it.

    Args:
        pixels: uint8 (3, h, w).
        truth: name of the class.
        decided: by way of deciding.
        words: phrase, share among the answers to its question, and what it added to the score of the decision.
        longest: size of the contribution with the longest bar.
    """
    sheet = Image.new("RGB", (WIDTH, SIDE + 3 * LINE + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    sheet.paste(to_image(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST), (GAP, GAP))
    frame = verdict(decided["words"], truth)
    draw.rectangle([GAP, GAP, GAP + SIDE - 1, GAP + SIDE - 1], outline=frame, width=FRAME)
    lines = [("truth", truth), *decided.items()]
    for number, (called, name) in enumerate(lines):
        colour = INK if called == "truth" else verdict(name, truth)
        draw.text((GAP, GAP + SIDE + 1 + number * (LINE - 2)), f"{called}: {name}", colour, font)
    left, middle = SIDE + 3 * GAP, WIDTH - BAR - GAP
    for number, (phrase, share, added) in enumerate(words):
        y = GAP + number * (LINE + 6)
        draw.text((left, y), f"{100 * share:3.0f} %  {phrase}", INK, font)
        length = abs(added) / longest * BAR * 0.5
        start = middle + BAR * 0.5
        ends = (start, start + length) if added > 0 else (start - length, start)
        draw.rectangle([ends[0], y + 3, ends[1], y + 13], fill=RIGHT if added > 0 else WRONG)
    return sheet


def short(phrase: str) -> str:
    """The word of a phrase.

    >>> short("a striped object")
    'striped'
    """
    return phrase.removeprefix("a ").removesuffix(" object")


def draw(root: Path, target: Path) -> str:
    """Fit both ways on scenes with a shortcut, and show the first reversed scenes that the pixels get wrong."""
    material = scene_material(load_two_tower(TOWER), "two_of_three", SIZES, SEED, strength=STRENGTH)
    arms = Arms(material, network_plan=NETWORK_PLAN, tuned_plan=TUNED_PLAN, progress=Silent())
    said, part = material.concepts, material.reversed
    head = arms.decided(arms.answers(said)).head
    scores = arms.answers(said)(part)
    by_words = head.logits(scores).argmax(1)
    with seeded(arms.rng.generator("end to end").initial_seed(), torch.device("cpu")):
        network = narrow_network(material.class_count)
    plan = NETWORK_PLAN.model_copy(update={"seed": SEED})
    trained = train(network, material.train.examples(), plan=plan, val=material.val.examples(), progress=Silent())
    network.load_state_dict(dict(trained.weights))
    with torch.no_grad():
        by_pixels = network.eval()(to_unit(part.images)).argmax(1)
    added = head.contributions(scores, by_words)
    right_words, right_pixels = by_words == part.labels, by_pixels == part.labels
    # Nothing is chosen by what the words decide.
    misled = [(~right_pixels & (part.labels == label)).nonzero().flatten()[:EACH] for label in range(len(CLASSES))]
    chosen = torch.cat(misled).tolist()
    longest = float(added[chosen].abs().max())
    panels = []
    for at in chosen:
        order = added[at].abs().argsort(descending=True)[:WORDS].tolist()
        words = [(short(said.phrases[one]), float(scores[at, one]), float(added[at, one])) for one in order]
        decided = {"words": CLASSES[int(by_words[at])], "pixels": CLASSES[int(by_pixels[at])]}
        panels.append(panel(part.images[at], CLASSES[int(part.labels[at])], decided, words, longest))
    halves = [stack(panels[start::2]) for start in (0, 1)]
    sheet = Image.new("RGB", (sum(one.width for one in halves), halves[0].height), "white")
    for number, one in enumerate(halves):
        sheet.paste(one, (number * WIDTH, 0))
    sheet.save(target, "WEBP", quality=85, method=6)
    return (
        f"right on reversed scenes: words {right_words.double().mean():.0%}, pixels {right_pixels.double().mean():.0%}"
    )


PICTURES: Pictures = {"concept-bottleneck": draw}
