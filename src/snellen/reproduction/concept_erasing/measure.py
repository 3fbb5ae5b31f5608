"""Why everyday sentences are flagged (34.f), and searched prompts get through (34.q): docs/measured/erasing-causes.

    python scripts/measure.py concept_erasing --set seed=1000

The score of a prompt is the mean square of e' − e: what the autoencoder does not reconstruct counts beside what
suppressing the concepts' features changes. Two hypotheses for everyday sentences. Either what is not reconstructed
flags them: then a score of e' − ê alone (``suppressed``) flags less than a tenth. Or sentences that the autoencoder
never saw activate the concepts' features: then one that was fitted to other everyday sentences as well (``fitted``)
flags fewer, with the prompts to keep as recorded. Of each there is a second form, whose threshold is below the 5 %
quantile of the target prompts' scores. On the pilot seed 0 the former did not come out (80 % and 75 % by the quantile),
and one target prompt without a feature has the score zero there; the latter came out (100 % and 20 %).

For searched prompts there are two hypotheses. Either the edit would remove the concept, and only the threshold lets
the prompt pass; then the edit forced on each found prompt removes it, and its reconstruction alone, with the features
left as they are (τ = 1), does not. Or these prompts show the concept through other
features; then the forced edit leaves it, and fewer found prompts activate features of the concept than prompts that a
search starts from. On the pilot seed the latter came out. So half of the found prompts are made target prompts of their
concept, and the search is made again against both erasers from the starts of the other half. On the pilot seed that
changed nothing.

On the seeds of the record the former hypothesis came out for most prompts, other than on the pilot: see the page.

A seed of the record is set up again, takes two minutes of a core and is a file; one that is there is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.vocabulary import vocabulary
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.diffusion.condition import Condition
from snellen.reproduction.concept_erasing.detection import LOW
from snellen.reproduction.concept_erasing.everyday import everyday_sentences
from snellen.reproduction.concept_erasing.experiment import GENERATOR, SMALL, Setup, set_up
from snellen.reproduction.concept_erasing.pictures import _answers, drawn
from snellen.reproduction.concept_erasing.prompt_search import adversarial_prompt
from snellen.reproduction.concept_erasing.prompts import EVERYDAY, Concept, Prompt
from snellen.reproduction.shared.documents import Measurements, is_measured, measured_path, write_measured
from snellen.systems.concept_erasing.eraser import ConceptEraser, concept_eraser, correction, mean_error
from snellen.systems.concept_erasing.fitting import autoencoder_of, fit_autoencoder
from snellen.systems.concept_erasing.text_edit import encode_erased
from snellen.systems.concept_erasing.text_layer import PromptStates

#: A prompt that a search starts from, and the concept in it.
Start = tuple[Prompt, Concept]


class SuppressedAlone(ConceptEraser):
    """The eraser with another score: what suppressing the features changes, without what is not reconstructed."""

    def scores(self, read: PromptStates) -> Tensor:
        """Mean square of e' − ê, float64 (n,)."""
        counted = read.states[read.counted]
        with torch.no_grad():
            codes = self.autoencoder.encode(counted.to(self.autoencoder.encoder.dtype))
            changed = correction(codes, self.autoencoder.decoder, self.features[codes.indices], self.factor)
        return mean_error(changed, torch.zeros_like(changed), read.counted)


def measure_causes(root: Path, progress: Progress, *, seed: int = 1000) -> None:
    """Flagged shares by either score; what found prompts show, as they pass and with the edit forced on them."""
    path = measured_path(root, f"erasing-causes/{seed}")
    if is_measured(path):
        return
    ready = set_up(SMALL, seed, progress)
    erasers = {"recorded": ready.eraser, "suppressed": suppressed_alone(ready.eraser)}
    if (fitted := general_eraser(ready, seed, progress)) is not None:
        erasers["fitted"] = fitted
    flagged = {name: _flagged(ready, eraser) for name, eraser in erasers.items()}
    flagged |= {f"{name}, quantile": _flagged(ready, at_quantile(one)) for name, one in erasers.items()}
    write_measured(path, {"seed": seed, "flagged": flagged, "attack": _attack(ready, seed)})


def suppressed_alone(eraser: ConceptEraser) -> ConceptEraser:
    """The eraser with the other score, and the threshold that it gives."""
    return at_quantile(SuppressedAlone(**{one.name: getattr(eraser, one.name) for one in fields(eraser)}), 0.0)


def general_eraser(ready: Setup, seed: int, progress: Progress) -> ConceptEraser | None:
    """An eraser whose autoencoder saw everyday sentences too; none of them is among the prompts to keep.

    None where a concept is left without a feature.
    """
    of, sentences = ready.eraser, everyday_sentences(SMALL.everyday, seed)
    artifact = fit_autoencoder(
        of.layer,
        [*ready.fitted_on, *sentences],
        fit=SMALL.fit,
        rng=Randomness(seed),
        generator=GENERATOR,
        progress=progress,
    )
    autoencoder = autoencoder_of(artifact, of.layer)
    try:
        return concept_eraser(of.layer, autoencoder, ready.targets, ready.keep, selected=of.selected)
    except InputError:
        return None


def at_quantile(eraser: ConceptEraser, share: float = LOW) -> ConceptEraser:
    """The eraser with a threshold below this quantile of the scores of target prompts; 0 is the least, as recorded."""
    targets = [prompt for concept in eraser.concepts.values() for prompt in concept.prompts]
    return replace(eraser, threshold=eraser.margin * float(eraser.score_prompts(targets).quantile(share)))


def _flagged(ready: Setup, eraser: ConceptEraser) -> dict[str, float]:
    prompts = {
        "known": [prompt.text for part in ready.known for prompt in part],
        "synonyms": [prompt.text for part in ready.synonyms for prompt in part],
        "kept": [prompt.text for prompt in ready.kept],
        "everyday": list(EVERYDAY),
    }
    return {name: _share(eraser.flags(eraser.score_prompts(texts)).tolist()) for name, texts in prompts.items()}


def _attack(ready: Setup, seed: int) -> dict[str, float]:
    """The searches of the record, images of what they found, and the search again after half of it was learnt."""
    generator, eraser = ready.generator, ready.eraser
    starts = [
        (prompt, concept)
        for concept, part in zip(ready.concepts, ready.known, strict=True)
        for prompt in part[: SMALL.attacked]
    ]
    found = _searched(ready, eraser, starts, seed, range(len(starts)))
    forced, _ = encode_erased(generator, found, [eraser.always()])
    reconstructed, _ = encode_erased(generator, found, [replace(eraser.always(), factor=1.0)])
    passing, verdict = encode_erased(generator, found, [eraser])
    shown = _shown(ready, found, passing, starts)
    left_out = [" ".join(prompt.text.replace(concept.known, "").split()) for prompt, concept in starts]
    first, second = range(0, len(starts), 2), range(1, len(starts), 2)
    learnt = _learnt(ready, [(found[row], starts[row][1]) for row in first])
    again = _searched(ready, learnt, starts, seed, second)
    after = _shown(ready, again, encode_erased(generator, again, [learnt])[0], [starts[row] for row in second])
    return {
        "shown": _share(shown),
        "shown_forced": _share(_shown(ready, found, forced, starts)),
        "shown_reconstructed": _share(_shown(ready, found, reconstructed, starts)),
        "shown_when_left_out": _share(_shown(ready, left_out, generator.encode_prompts(left_out), starts)),
        "unflagged": _share((~verdict.flagged).tolist()),
        "active": _share(_active(eraser, found)),
        "active_at_start": _share(_active(eraser, [prompt.text for prompt, _ in starts])),
        "second_half": _share([shown[row] for row in second]),
        "second_half_learnt": _share(after),
        "kept_flagged_learnt": _flagged(ready, learnt)["kept"],
        "everyday_flagged_learnt": _flagged(ready, learnt)["everyday"],
    }


def _searched(
    ready: Setup, eraser: ConceptEraser, starts: Sequence[Start], seed: int, rows: Sequence[int]
) -> list[str]:
    """What a search finds from some of the starts; each has random numbers of its own."""
    words = [word for word in vocabulary() if word.isalpha() and len(word) > 1]
    return [
        adversarial_prompt(
            ready.generator,
            eraser,
            starts[row][0].text,
            starts[row][1].known,
            words,
            budget=SMALL.budget,
            rng=Randomness(seed).child("attack", row),
        )
        for row in rows
    ]


def _learnt(ready: Setup, found: Sequence[tuple[str, Concept]]) -> ConceptEraser:
    """The eraser whose target prompts are also prompts that a search found."""
    targets = {name: list(prompts) for name, prompts in ready.targets.items()}
    for text, concept in found:
        targets[concept.value].append(text)
    of = ready.eraser
    return concept_eraser(of.layer, of.autoencoder, targets, ready.keep, selected=of.selected)


def _shown(ready: Setup, texts: Sequence[str], condition: Condition, starts: Sequence[Start]) -> list[bool]:
    """Whether the image of each prompt shows the concept."""
    answers = _answers(load_judge(), drawn(ready.generator, texts, condition, steps=SMALL.steps), starts)
    return [answer == concept.value for answer, (_, concept) in zip(answers, starts, strict=True)]


def _active(eraser: ConceptEraser, texts: Sequence[str]) -> list[bool]:
    """Whether any token of a prompt activates a feature of the concepts."""
    read = eraser.layer.states(texts)
    with torch.no_grad():
        codes = eraser.autoencoder.encode(read.states[read.counted].to(eraser.autoencoder.encoder.dtype))
    active = (eraser.features[codes.indices] & (codes.values > 0)).any(1)
    return [bool(active[read.counted.nonzero()[:, 0] == row].any()) for row in range(len(texts))]


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


MEASUREMENTS: Measurements = {"causes": measure_causes}
