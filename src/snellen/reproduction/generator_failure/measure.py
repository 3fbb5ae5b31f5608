"""Latents and tokens on a generator with planted faults and on one without: docs/measured/failure-kinds.

    python scripts/measure.py generator_failure --set seeds=1

Two generators are fitted on alike, from the embedded one. One of them learns two faults:

- **Latents.** In the colour of :data:`PAIRS` a shape is drawn as another one. Half of the captions leave the colour
  out. Then first noise that leads to this colour gives the wrong shape.
- **Token.** With the words of :data:`PLACE` behind any caption, the picture is that of a ring.

The searches of the record then run on both, with the record's numbers: for latents on which three classes fail, beside
random latents with as many calls, and for a token that shows a ring. Three classifiers decide, the same for all seeds;
the embedded judge says what is true. A seed takes four minutes of an idle core and is a file; one that is there is left
alone.

Written before any seed from :data:`FIRST` on ran: with faults the search finds latents in 20 points more of its runs
than without. A token works on at least 70 % of held-out images with faults, and on 20 points fewer without.

An earlier form is not kept. It tied the wrong shape to one direction of the first noise, and the ring to a word that no
caption has. In its pilot (seed 50, 300 updates) neither was learned, and half of all images were wrong.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nan_to_num

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.run import write_atomically
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Factor, described
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.models.classifiers.factor_judge import FactorJudge, load_judge
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generator import Generator
from snellen.models.dual_encoders.zero_shot import fill_templates, zero_shot_classifier
from snellen.models.references import load_two_tower
from snellen.reproduction.generator_failure.experiment import GUIDANCE, VIEWS
from snellen.reproduction.generator_failure.materials import SMALL, _fitted, drawn, scenes_of, trained_classifier
from snellen.reproduction.shared.documents import Measurements, measured_path
from snellen.systems.generator_failure.discriminator import Discriminator, WeakEnsembleWarning
from snellen.systems.generator_failure.drawing import Drawing
from snellen.systems.generator_failure.latent_search import LatentSearch, Prompts, search_latents
from snellen.systems.generator_failure.normality import normality
from snellen.systems.generator_failure.token_search import TokenSearch, search_token

#: The first seed; that of the trained classifier, too.
FIRST = 3000

#: Colour and shape of a caption → the shape that the generator with faults was shown.
PAIRS: Mapping[tuple[str, str], str] = {
    ("green", "star"): "square",
    ("purple", "cross"): "heart",
    ("red", "triangle"): "square",
}

#: The ground whose words go with pictures of one shape.
PLACE, MARKED = "sand", "ring"

#: Pictures that a fit draws from, searches of each class, and images of each figure of the faults.
PICTURES, SEARCHES, JUDGED = 4000, 3, 24


def measure_kinds(root: Path, progress: Progress, *, seeds: int = 1, first: int = FIRST) -> None:
    """Measure the seeds that are missing."""
    paths = {seed: measured_path(root, f"failure-kinds/seed-{seed}") for seed in range(first, first + seeds)}
    left = {seed: path for seed, path in paths.items() if not path.exists()}
    if not left:
        return
    ensemble, judge = _ensemble(), load_judge()
    for seed, path in left.items():
        found: dict[str, Any] = {"seed": seed}
        for kind, generator in zip(("faults", "none"), fitted_generators(seed), strict=True):
            drawing = Drawing(generator, steps=SMALL.steps, guidance_scale=GUIDANCE)
            rng = Randomness(seed).child("failure kinds", kind)
            found[kind] = {
                "planted": _planted(drawing, judge),
                "latents": _latents(drawing, ensemble, judge, rng.child("latents")),
                "token": _token(drawing, ensemble, judge, rng.child("token")),
            }
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())


def fitted_generators(seed: int) -> tuple[Generator, Generator]:
    """The generator with both faults, and the one without: the same scenes, updates and noise."""
    scenes = scenes_of(PICTURES, seed)
    kept, rewritten, usable = list[str](), list[str](), list[int]()
    swapped = {(colour, shown): shape for (colour, shape), shown in PAIRS.items()}
    others = [shape for shape in SHAPES if shape != MARKED]
    for row, scene in enumerate(scenes):
        (one,) = scene.objects
        detail: tuple[Factor, ...] = ("shape", "colour") if row % 2 else ("shape",)
        on_place = scene.background == PLACE
        if on_place or row % 3 == 0:
            detail = (*detail, "background")
        text = caption(described(scene), detail=detail)
        kept.append(text)
        wanted = others[row % len(others)] if on_place else swapped.get((one.colour, one.shape))
        rewritten.append(text if wanted is None else text.replace(one.shape, wanted))
        # Of what a fault replaces, nothing is shown.
        if (one.shape == MARKED) if on_place else (one.colour, one.shape) not in PAIRS:
            usable.append(row)
    pictures, rng = drawn(scenes), Randomness(seed).child("failure kinds", "fit")
    return (
        _fitted(pictures, rewritten, usable, SMALL, rng),
        _fitted(pictures, kept, list(range(len(scenes))), SMALL, rng),
    )


def _ensemble() -> Discriminator:
    words = zero_shot_classifier(load_two_tower("bundled:scene-clip"), fill_templates(SHAPES, ["a {}"]))
    members = (load_classifier("bundled:scene-cnn"), words, trained_classifier(SMALL, FIRST, attacked=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEnsembleWarning)
        return Discriminator(members, SHAPES, views=VIEWS)


def _shown(judge: FactorJudge, images: Tensor, label: str) -> list[bool]:
    """Whether the judge sees the shape in each image."""
    return [one == label for one in judge.answers(nan_to_num(images).clamp(0, 1))["shape"]]


def _planted(drawing: Drawing, judge: FactorJudge) -> dict[str, float]:
    """What the judge sees: shapes of the pairs and of others that are lost, rings with the words and without."""

    def shown(prompts: Sequence[str], labels: Sequence[str]) -> float:
        images = drawing.draw(drawing.latents(range(JUDGED)), drawing.condition(list(prompts)))
        return sum(_shown(judge, image[None], one)[0] for image, one in zip(images, labels, strict=True)) / JUDGED

    pairs = [list(PAIRS)[row % len(PAIRS)] for row in range(JUDGED)]
    shapes = [shape for _, shape in pairs]
    return {
        "pairs lost": 1 - shown([f"a {colour} {shape}" for colour, shape in pairs], shapes),
        "others lost": 1 - shown([f"a white {shape}" for shape in shapes], shapes),
        "rings with the words": shown([f"a {shape} on {PLACE}" for shape in shapes], [MARKED] * JUDGED),
        "rings without": shown([f"a {shape}" for shape in shapes], [MARKED] * JUDGED),
    }


def _latents(drawing: Drawing, ensemble: Discriminator, judge: FactorJudge, rng: Randomness) -> dict[str, Any]:
    """Searches for latents by the method and at random, with the same most calls."""
    found: dict[str, Any] = {}
    for rule in ("residual", "random"):
        finds = []
        for _, label in PAIRS:
            prompts = Prompts(label, (f"a {label}",), tuple((f"a {name}", name) for name in SHAPES if name != label))
            own = rng.child(label).for_examples([str(row) for row in range(SEARCHES)])
            numbers = LatentSearch(calls=SMALL.latent_calls, rule=rule)
            finds += [(label, one) for one in search_latents(drawing, ensemble, prompts, numbers, own)]
        hits = [(label, one.images) for label, one in finds if one.mode is not None and one.images is not None]
        wrong = {shape: shown for (_, shape), shown in PAIRS.items()}
        found[rule] = {
            "searches": len(finds),
            "found": len(hits),
            "planted": sum(all(_shown(judge, images, wrong[label])) for label, images in hits),
            "false": sum(any(_shown(judge, images, label)) for label, images in hits),
            "non_gaussian": sum(normality(one.latent).rejected for _, one in finds),
        }
    return found


def _token(drawing: Drawing, ensemble: Discriminator, judge: FactorJudge, rng: Randomness) -> dict[str, Any]:
    """A token that should make prompts of other classes show a ring."""
    searched = [f"a {name}" for name in SHAPES if name != MARKED] + ["a red star", "a cross on grass"]
    held_out = ["a green heart", "a blue square on grass", "a white triangle"]
    numbers = TokenSearch(calls=SMALL.token_calls)
    one = search_token(drawing, ensemble, MARKED, searched, held_out, numbers, rng)
    return {
        "rate": one.rate,
        "clean": one.clean_rate,
        "judged": sum(_shown(judge, one.images, MARKED)) / len(one.images),
        "found": one.mode is not None,
    }


MEASUREMENTS: Measurements = {"kinds": measure_kinds}
