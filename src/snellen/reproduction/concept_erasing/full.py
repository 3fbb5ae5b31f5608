"""The paper's experiment on a GPU: persons, styles and explicit content taken out of Stable Diffusion 1.4.

Everything comes by reference, from environment variables and a table, and nothing is downloaded. Prompts are judged and
images are made and judged one batch at a time. Estimated from numbers of calls and not measured, on one H100: 12 GiB
and an hour for each autoencoder of 805 million numbers, which are kept; then 16,000 images of 50 steps, 6 hours.

The distance of all images of COCO prompts to those without the eraser is not measured. A prompt that passes has the
model's own image to the bit, so the share of prompts that are flagged bounds it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import to_image
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.reproduction.concept_erasing.detection import area, share
from snellen.reproduction.concept_erasing.full_tasks import (
    EVERYDAY,
    FOLDER,
    GENERATOR,
    NEEDED,
    SELECTED,
    TASKS,
    read_pairs,
    read_tasks,
    tables,
)
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.concept_erasing.eraser import ConceptEraser, concept_eraser
from snellen.systems.concept_erasing.fitting import AutoencoderFit, autoencoder_of, fit_autoencoder, prompts_hash
from snellen.systems.concept_erasing.method import prompts_of
from snellen.systems.concept_erasing.text_edit import encode_erased
from snellen.systems.concept_erasing.text_layer import TextLayer, text_layer

#: As published; features are dead after as many tokens, which the published code counts in steps.
PUBLISHED_FIT = AutoencoderFit(
    latents=524_288, active=64, steps=6000, batch_size=50 * 77, learning_rate=1e-4, dead_after=10_000_000
)


@dataclass(frozen=True)
class FullSize:
    """Numbers of the experiment, as published.

    Attributes:
        fit: of the autoencoders.
        layer: of the text encoder.
        images: of each prompt of persons and styles; one of each other prompt.
        steps: of the sampler.
        guidance: classifier-free.
        batch: prompts and images at a time.
    """

    fit: AutoencoderFit = PUBLISHED_FIT
    layer: int | None = 8
    images: int = 5
    steps: int = 50
    guidance: float = 7.5
    batch: int = 16


PUBLISHED_SIZE = FullSize()


def full(seed: int, progress: Progress, *, size: FullSize = PUBLISHED_SIZE) -> Mapping[str, Figure]:
    """Detection of the concepts, and what a judge sees on images with and without the eraser.

    Args:
        seed: of the autoencoder that is fitted first, and of the images.
        progress: callback that receives progress updates.
        size: numbers of the experiment.

    Returns:
        For each TASK: ``TASK.auroc`` of the score on tested against kept prompts, and ``TASK.flagged``,
        ``TASK.kept_flagged`` and ``TASK.everyday_flagged``, with a value for each prompt; ``TASK.named`` and
        ``TASK.named_before``, whether the judge sees the class of a tested prompt with the eraser and without;
        ``TASK.kept_loss``, 1 where the class of a kept prompt is seen without the eraser alone, −1 where with it alone;
        ``TASK.kept_seen`` without it; ``TASK.attacked``, as ``named``, of prompts that an attack found (None without);
        ``TASK.passes``, share of unflagged prompts whose text states are the model's own, bit for bit;
        ``TASK.explained_variance`` and ``TASK.features`` of the autoencoder and the concepts.

    Raises:
        InputError: a variable is not set, the table or a file of it cannot be used, or a judge without the classes.
    """
    if absent := [name for name in (GENERATOR, TASKS, EVERYDAY, FOLDER) if not os.environ.get(name)]:
        raise InputError(f"the full experiment needs {', '.join(absent)}. {NEEDED}")
    tasks, everyday = read_tasks(Path(os.environ[TASKS])), prompts_of(os.environ[EVERYDAY])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = load_generator(os.environ[GENERATOR], device=device)
    if generator.text is None:
        raise InputError(f"{os.environ[GENERATOR]} takes {generator.takes}, not prompts: there is no text to edit")
    layer = text_layer(generator.text, 0, size.layer)
    figures: dict[str, Figure] = {}
    for name, task in tasks.items():
        judge = load_classifier(task.judge, device=device)
        sets = {kind: read_pairs(Path(path), judge) for kind, path in tables(task).items()}
        made = _autoencoder(layer, prompts_of(task.fit), size.fit, seed, progress)
        targets: dict[str, list[str]] = {}
        for concept, prompt in sets["targets"]:
            targets.setdefault(concept, []).append(prompt)
        eraser = concept_eraser(
            layer, autoencoder_of(made, layer), targets, prompts_of(task.keep), selected=SELECTED[name]
        )
        repeats = 1 if name == "explicit" else size.images
        measured = _Measured(generator, eraser, judge, size, derive_seed(seed, name))
        found = {
            **_detected(eraser, sets["tested"], sets["kept"], everyday),
            **measured.figures(sets, repeats, progress),
            "explained_variance": float(made.card.metrics["explained_variance"]),
            "features": float(eraser.features.sum()),
        }
        figures |= {f"{name}.{figure}": value for figure, value in found.items()}
    return figures


def _autoencoder(
    layer: TextLayer, prompts: Sequence[str], fit: AutoencoderFit, seed: int, progress: Progress
) -> Artifact:
    """The autoencoder of these prompts and this seed: fitted, or as it was kept; a stopped fit resumes."""
    folder = Path(os.environ[FOLDER]) / f"seed-{seed}" / prompts_hash(prompts)[:16]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        stopped = folder.with_suffix(".checkpoint")
        made = fit_autoencoder(
            layer, prompts, fit=fit, rng=Randomness(seed), generator=os.environ[GENERATOR], checkpoint=stopped,
            progress=progress,
        )  # fmt: skip
        made.save(folder)
    return Artifact.load(folder)


def _detected(
    eraser: ConceptEraser, tested: Sequence[tuple[str, str]], kept: Sequence[tuple[str, str]], everyday: Sequence[str]
) -> dict[str, Figure]:
    shown, others = (eraser.score_prompts([prompt for _, prompt in part]).cpu() for part in (tested, kept))
    return {
        "auroc": area(shown, others),
        "flagged": share(eraser.flags(shown)),
        "kept_flagged": share(eraser.flags(others)),
        "everyday_flagged": share(eraser.flags(eraser.score_prompts(everyday).cpu())),
    }


@dataclass(frozen=True, eq=False)
class _Measured:
    """Images of one task, and what the judge sees on them."""

    generator: Generator
    eraser: ConceptEraser
    judge: Classifier
    size: FullSize
    seed: int

    def figures(
        self, sets: Mapping[str, Sequence[tuple[str, str]]], repeats: int, progress: Progress
    ) -> dict[str, Figure]:
        """What the judge sees on images of tested, kept and attacked prompts."""
        seen: dict[str, list[tuple[bool, bool]]] = {}
        same = list[bool]()
        for kind in ("tested", "kept", "attacked"):
            rows = [pair for pair in sets.get(kind, ()) for _ in range(repeats)]
            progress.begin(f"images of {kind} prompts", len(rows))
            seen[kind] = []
            for before, after, identical in self._batches(rows):
                seen[kind] += zip(before, after, strict=True)
                same += identical
                progress.advance(f"images of {kind} prompts", len(before))
            progress.finish(f"images of {kind} prompts")
        attacked = [after for _, after in seen["attacked"]]
        return {
            "named": Sample.of([after for _, after in seen["tested"]]),
            "named_before": Sample.of([before for before, _ in seen["tested"]]),
            "kept_loss": Sample.of([int(before) - int(after) for before, after in seen["kept"]]),
            "kept_seen": Sample.of([before for before, _ in seen["kept"]]),
            "attacked": Sample.of(attacked) if attacked else None,
            "passes": sum(same) / len(same) if same else None,
        }

    def _batches(self, rows: Sequence[tuple[str, str]]) -> Iterator[tuple[list[bool], list[bool], list[bool]]]:
        """Whether the class of each row is seen without the eraser and with it; and what passed bit for bit."""
        for first in range(0, len(rows), self.size.batch):
            part = rows[first : first + self.size.batch]
            prompts = [prompt for _, prompt in part]
            seeds = [derive_seed(self.seed, first + at, prompt) % 2**31 for at, prompt in enumerate(prompts)]
            different = list(dict.fromkeys(prompts))  # encoded together, as those through the eraser are
            plain = self.generator.encode_prompts(different).select([different.index(prompt) for prompt in prompts])
            edited, verdict = encode_erased(self.generator, prompts, [self.eraser])
            assert plain.text is not None and edited.text is not None  # noqa: PT018
            before = self._seen(part, plain, seeds)
            after, flagged = list(before), verdict.flagged.nonzero().flatten().tolist()
            if flagged:  # what passes has the model's own text states, and so its image
                again = self._seen([part[at] for at in flagged], edited.select(flagged), [seeds[at] for at in flagged])
                for at, value in zip(flagged, again, strict=True):
                    after[at] = value
            passed = (~verdict.flagged).to(plain.text.device)
            yield before, after, (plain.text[passed] == edited.text[passed]).flatten(1).all(1).tolist()

    def _seen(self, part: Sequence[tuple[str, str]], condition: Condition, seeds: Sequence[int]) -> list[bool]:
        images: Tensor = generate(
            Sampler(self.generator, steps=self.size.steps), seeds, prompts=[prompt for _, prompt in part],
            condition=condition, guidance_scale=self.size.guidance, batch_size=self.size.batch,
        ).images  # fmt: skip
        shown = torch.stack([self.judge.prepare(to_image(image.cpu())) for image in images]).to(self.judge.device)
        with torch.no_grad():
            decided = self.judge.predict(self.judge(shown)).tolist()
        return [self.judge.class_names[one] == concept for one, (concept, _) in zip(decided, part, strict=True)]
