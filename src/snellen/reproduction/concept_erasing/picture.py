"""Picture of erased concepts: the same prompts without an edit, erased, and under what erasing is compared with.

Takes a minute: the autoencoder is fitted as in seed 0 of the small experiment.
"""

from __future__ import annotations

from pathlib import Path

from snellen.core.progress import Silent
from snellen.reproduction.concept_erasing.baselines import mean_directions, mean_states, projected_out
from snellen.reproduction.concept_erasing.experiment import SMALL, set_up
from snellen.reproduction.concept_erasing.pictures import drawn, negative_prompt
from snellen.reproduction.shared.documents import Pictures
from snellen.runs.picture_grid import picture_grid
from snellen.systems.concept_erasing.text_edit import encode_erased

HEADS = ("no edit", "erased", "all edited", "negative", "direction")


def draw(root: Path, target: Path) -> None:
    """Draw one prompt with a synonym of each concept and two prompts without a concept, each way."""
    ready = set_up(SMALL, 0, Silent())
    generator, eraser = ready.generator, ready.eraser
    prompts = [*(part[0] for part in ready.synonyms), *ready.kept[:2]]
    texts = [prompt.text for prompt in prompts]
    plain, (erased, verdict) = generator.encode_prompts(texts), encode_erased(generator, texts, [eraser])
    always, _ = encode_erased(generator, texts, [eraser.always()])
    kept = mean_states(eraser.layer.states(ready.keep))
    shows = [mean_states(eraser.layer.states(one.prompts)) for one in eraser.concepts.values()]
    with projected_out(eraser.layer, mean_directions(shows, kept), kept.mean(0)):
        projected = generator.encode_prompts(texts)
    columns = [
        drawn(generator, texts, condition, steps=SMALL.steps, negative=negative)
        for condition, negative in (
            (plain, None),
            (erased, None),
            (always, None),
            (plain, negative_prompt(ready.concepts)),
            (projected, None),
        )
    ]
    names = [concept.value for concept in ready.concepts] + ["none"] * 2
    rows = [
        (
            [(column[row] * 255).round().byte() for column in columns],
            f"{names[row]}: {'flagged' if verdict.flagged[row] else 'passes'}. {texts[row]}",
        )
        for row in range(len(texts))
    ]
    title = f"Erased: {negative_prompt(ready.concepts)}; asked for in other words"
    picture_grid(title, HEADS, rows).save(target, quality=88, method=6)


PICTURES: Pictures = {"concept-erasing": draw}
