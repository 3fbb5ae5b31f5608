"""System 7: does a search find likely inputs on which a generator fails, more often than chance, and true failures.

A generator with three planted gaps and one without are searched for prompts; the one without is searched for latents,
by the method and by its rivals with the same most generator calls, and for a token. The embedded judge says what is
true.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.models.classifiers.factor_judge import FactorJudge, load_judge
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.generator import Generator
from snellen.models.references import load_two_tower
from snellen.reproduction.generator_failure.full import full
from snellen.reproduction.generator_failure.materials import (
    PLANTED,
    SMALL,
    SMOKE,
    Size,
    drawn,
    scenes_of,
    trained_classifier,
    trained_generators,
)
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.generator_failure.discriminator import Discriminator, Views, WeakEnsembleWarning
from snellen.systems.generator_failure.drawing import Drawing
from snellen.systems.generator_failure.language_prior import caption_prior, caption_synonyms
from snellen.systems.generator_failure.latent_search import (
    LatentFind,
    LatentSearch,
    Prompts,
    gradient_norms,
    search_latents,
)
from snellen.systems.generator_failure.normality import normality
from snellen.systems.generator_failure.prompt_search import PromptFind, PromptSearch, PromptSearcher
from snellen.systems.generator_failure.token_search import TokenSearch, search_token

#: Guidance, and views of each gradient.
GUIDANCE, VIEWS = 2.0, Views(count=1, scale=0.95, noise=0.01)

#: Steps of the sampler for which both gradients are measured.
MANY_STEPS = 50


def generator_failure(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 7.

    Returns:
        ``gaps``, ``sound``: searches for prompts in the generator with planted gaps and the one without, with
        ``prompts``, ``likely`` and ``random`` search; ``planted_found`` for each gap. ``latents.RULE.found`` and
        ``.ngr`` of each search; ``single`` and ``ensemble``: ``false`` for each find. ``token``: ``rate`` and ``clean``
        of each held-out image. ``gradient.residual`` and ``.backprop``. Gates: ``planted.wrong``, ``others.wrong``,
        ``sound.wrong``, ``judge.accuracy``, ``members.accuracy``.
    """
    if scale == "full":
        return full(seed, progress)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEnsembleWarning)  # the single classifier is the control
        return Experiment(SMOKE if scale == "smoke" else SMALL, seed).figures()


generator_failure.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with one update of every network and one search",),
    "small": (
        "the embedded scene-diffusion, fitted on with wrong pictures for three pairs, for Stable Diffusion",
        "trigrams of scene captions for LLaMA",
        "scene-cnn, a classifier trained with noise and one trained against PGD, for robust ImageNet classifiers",
        "the embedded judge of scenes for people",
        "DDIM with 8 steps of 32 pixels for 50 of 512",
    ),
}


class Experiment:
    """One seed."""

    def __init__(self, size: Size, seed: int) -> None:
        self.size, self.seed, self.rng = size, seed, Randomness(seed).child("generator failure")
        self.judge: FactorJudge = load_judge()
        self.members = (
            load_classifier("bundled:scene-cnn"),
            trained_classifier(size, seed, attacked=False),
            trained_classifier(size, seed, attacked=True),
        )
        self.ensemble = Discriminator(self.members, SHAPES, views=VIEWS)
        self.single = Discriminator(self.members[1:2], SHAPES, views=VIEWS)
        self.gaps, self.sound = trained_generators(size, seed)

    def figures(self) -> dict[str, Figure]:
        """All figures."""
        return {**self.gates(), **self.prompts(), **self.latents(), **self.token(), **self.gradients()}

    # -- gates ----------------------------------------------------------------------------------------------------

    def gates(self) -> dict[str, Figure]:
        """Judge and members on real images; both generators on planted pairs and on others."""
        scenes = scenes_of(self.size.judged * 16, self.seed + 2)
        pictures, shapes = drawn(scenes), [one.objects[0].shape for one in scenes]
        answers = self.judge.answers(pictures)["shape"]
        right = [
            [
                float(member.class_names[int(index)] == shape)
                for index, shape in zip(member(pictures).argmax(1), shapes, strict=True)
            ]
            for member in self.members
        ]
        pairs = list(PLANTED)
        others = [(colour, shape) for (colour, _), (_, shape) in zip(pairs, pairs[1:] + pairs[:1], strict=True)]
        return {
            "judge.accuracy": Sample.of([one == shape for one, shape in zip(answers, shapes, strict=True)]),
            "members.accuracy": Sample.of(min(right, key=sum)),
            "planted.wrong": self._wrong(self.gaps, pairs),
            "others.wrong": self._wrong(self.gaps, others),
            "sound.wrong": self._wrong(self.sound, pairs),
        }

    def _wrong(self, generator: Generator, pairs: Sequence[tuple[str, str]]) -> Figure:
        drawing, found = self._drawing(generator), list[bool]()
        for colour, shape in pairs:
            images = drawing.draw(
                drawing.latents(range(self.size.judged)), drawing.condition([f"a {colour} {shape}"] * self.size.judged)
            )
            found += [not one for one in self._shown(images, shape)]
        return Sample.of(found)

    # -- prompts --------------------------------------------------------------------------------------------------

    def prompts(self) -> dict[str, Figure]:
        """Searches for prompts of the shapes with gaps, in both generators, and their rivals with as many calls."""
        figures: dict[str, Figure] = {}
        prior = caption_prior()
        for name, generator in (("gaps", self.gaps), ("sound", self.sound)):
            finds: dict[str, list[PromptFind]] = {"gradient": [], "likely": [], "random": []}
            causes = dict.fromkeys(finds, 0)
            for colour, shape in PLANTED:
                hit = dict.fromkeys(finds, False)
                for number in range(self.size.searches):
                    for rule, kept in finds.items():
                        numbers = PromptSearch(
                            rule=rule,
                            latents=self.size.fresh,
                            gradient_latents=2,
                            checked=6,
                            beam=2,
                            calls=self.size.prompt_calls,
                        )
                        searcher = PromptSearcher(
                            self._drawing(generator), self.ensemble, prior, shape, "a {}", numbers,
                            caption_synonyms(shape),
                        )  # fmt: skip
                        find = searcher.search(self.rng.child("prompts", name, shape, number))
                        kept.append(find)
                        hit[rule] |= find.mode is not None and colour in _colours(find.prompt)
                for rule in finds:
                    causes[rule] += hit[rule]
            for rule, kept in finds.items():
                run = [one for one in kept if not one.reason and not one.invalid]
                figures[f"{name}.{rule}.found"] = Sample.of([one.mode is not None for one in run]) if run else None
                figures[f"{name}.{rule}.planted"] = causes[rule] / len(PLANTED)
                false = [self._false(one) for one in kept if one.images is not None]
                figures[f"{name}.{rule}.false"] = Sample.of(false) if false else None
        return figures

    def _false(self, find: PromptFind) -> bool:
        """Whether the judge misses the class in too few images of a find: the share that acceptance needs."""
        assert find.images is not None
        shown = self._shown(find.images, self._label(find))
        return shown.count(False) < PromptSearch().share * len(shown)

    def _label(self, find: PromptFind) -> str:
        return next(shape for shape in SHAPES if shape in find.prompt.split())

    # -- latents --------------------------------------------------------------------------------------------------

    def latents(self) -> dict[str, Figure]:
        """The method and its rivals with the same most calls; without the prior; and with one classifier alone."""
        own = LatentSearch(calls=self.size.latent_calls)
        rules = {
            "residual": own,
            "unconstrained": own.model_copy(update={"projected": False, "prior": 0.0}),
            **{rule: own.model_copy(update={"rule": rule}) for rule in ("random", "evolution", "backprop")},
        }
        found: dict[str, list[tuple[str, LatentFind]]] = {name: [] for name in (*rules, "single")}
        for label in self.size.classes:
            prompts = Prompts(label, (f"a {label}",), tuple((f"a {name}", name) for name in SHAPES if name != label))
            rng = self.rng.child("latents", label).for_examples([str(row) for row in range(2 * self.size.searches)])
            drawing = self._drawing(self.sound)
            for name, numbers in rules.items():
                finds = search_latents(drawing, self.ensemble, prompts, numbers, rng)
                found[name] += [(label, one) for one in finds]
            found["single"] += [(label, one) for one in search_latents(drawing, self.single, prompts, own, rng)]
        figures: dict[str, Figure] = {}
        for name, kept in found.items():
            figures[f"latents.{name}.found"] = Sample.of([one.mode is not None for _, one in kept])
            true = [not any(self._shown(one.images, label)) for label, one in kept if one.images is not None]
            figures[f"latents.{name}.false"] = Sample.of([not one for one in true]) if true else None
            rejected = [normality(one.latent).rejected for _, one in kept]
            figures[f"latents.{name}.ngr"] = Sample.of(rejected)
        return figures

    # -- token and gradients ----------------------------------------------------------------------------------------

    def token(self) -> dict[str, Figure]:
        """A token that should make prompts of other classes show a heart."""
        searched = [f"a {name}" for name in SHAPES if name != "heart"] + ["a red star", "a cross on grass"]
        numbers = TokenSearch(calls=self.size.token_calls, measured=4 if self.size is SMALL else 1)
        held_out = ["a green ring", "a blue square on sand", "a white triangle"]
        towers, rng = load_two_tower("bundled:scene-clip"), self.rng.child("token")
        found = search_token(
            self._drawing(self.sound), self.ensemble, "heart", searched, held_out, numbers, rng, towers=towers
        )
        return {
            "token.rate": found.rate,
            "token.clean": found.clean_rate,
            "token.similarity": found.similarity,
            "token.judged": Sample.of(self._shown(found.images, "heart")),
        }

    def gradients(self) -> dict[str, Figure]:
        """Norm of the gradient of latents with the residual connection, and through all of many steps."""
        steps = MANY_STEPS if self.size is SMALL else self.size.steps
        drawing = Drawing(self.sound, steps=steps, guidance_scale=GUIDANCE, together=4)
        norms = gradient_norms(
            drawing, self.ensemble, Prompts("star", ("a star",)), drawing.latents(range(8)), self.rng.child("gradients")
        )
        return {f"gradient.{name}": float(one.clamp_min(1e-30).log10().mean()) for name, one in norms.items()}

    # -- parts ----------------------------------------------------------------------------------------------------

    def _drawing(self, generator: Generator) -> Drawing:
        return Drawing(generator, steps=self.size.steps, guidance_scale=GUIDANCE)

    def _shown(self, images: Tensor, label: str) -> list[bool]:
        """Whether the judge sees the class in each image."""
        answers = self.judge.answers(torch.nan_to_num(images).clamp(0, 1))["shape"]
        return [one == label for one in answers]


def _colours(prompt: str) -> set[str]:
    """Colours of a prompt, by their canonical words."""
    from snellen.data.worlds.optotypes.vocabulary import forms

    colours = {colour for colour, _ in PLANTED}
    return {one for one in colours for form in forms("colour", one) if form in prompt.split()}
