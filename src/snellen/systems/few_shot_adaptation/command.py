"""``snellen synthesize few-shot``: what a user may ask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from snellen.core.command import Argument, Option
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.core.progress import Progress
    from snellen.runs.record import RunResult
    from snellen.runs.runner import Running


def few_shot(
    methods: list[Method],
    *,
    data: Annotated[str, Argument("Labelled real images by reference; shots are training images alone.")],
    shots: Annotated[int, Option("Real images of each class that the generator is adapted to (K).", minimum=1)] = 16,
    adapters: Annotated[
        Literal["class", "set"], Option("One adapter for each class, or one for the whole set.")
    ] = "class",
    domain: Annotated[
        str | None,
        Option("What your images are, in one word, for the prompt 'a DOMAIN photo of a CLASS'.", default="--templates"),
    ] = None,
    preset: Annotated[
        Literal["published", "small"], Option("Numbers of the fitting: the paper's, or those for bundled generators.")
    ] = "published",
    most_steps: Annotated[
        int | None, Option("Optimizer steps of each adapter at most.", minimum=1, default="of the preset")
    ] = None,
    learning_rate: Annotated[str | None, Option("Of the fitting.", default="of the preset")] = None,
    rank: Annotated[
        int | None, Option("Of the adapters; alpha follows it.", minimum=1, default="of the preset")
    ] = None,
    text: Annotated[bool, Option("Adapt the text towers too.")] = True,
    check_every: Annotated[
        int | None, Option("Steps between checks for copies of shots; 0: never.", minimum=0, default="of the preset")
    ] = None,
    count: Annotated[int, Option("Generated images of each class.", minimum=1)] = 500,
    batch_size: Annotated[int, Option("Generated images at once, and what a stopped run loses.", minimum=1)] = 32,
    out: Path,
    device: str,
    seed: int,
    pseudonyms: Path | None,
    running: Running,
    progress: Progress | None = None,
) -> RunResult:
    """Adapt a generator to a few images of each class, and generate a training set (DataDream, Kim et al. 2024)."""
    if pseudonyms is not None:
        raise InputError("few-shot takes no pseudonyms: it writes no id of a real image; leave out --pseudonyms")
    from snellen.methods.synthesis.by_name import ByName
    from snellen.systems.few_shot_adaptation.adapting import PRESETS
    from snellen.systems.few_shot_adaptation.few_shot import few_shot as generate
    from snellen.systems.few_shot_adaptation.shots import domain_template

    if len(methods) != 1 or not isinstance(methods[0], ByName):
        raise InputError(f"few-shot takes one setting, and {len(methods)} were given; name one guidance scale")
    method = methods[0]
    if domain is not None and method.templates != ByName().templates:
        raise InputError("--domain is a word of the published prompt, and --templates another prompt; leave one out")
    if domain is not None:
        method = method.model_copy(update={"templates": (domain_template(domain),)})
    given: dict[str, object] = {
        "variant": adapters,
        "text": text,
        "most_steps": most_steps,
        "learning_rate": None if learning_rate is None else _number(learning_rate),
        "rank": rank,
        "alpha": None if rank is None else float(rank),
        "check_every": check_every,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    return generate(
        data,
        out=out,
        method=method,
        shots=shots,
        count=count,
        fit=PRESETS[preset].model_copy(update=changed),
        batch_size=batch_size,
        seed=seed,
        device=device,
        progress=progress,
        **running,
    )


def _number(text: str) -> float:
    """A learning rate from text.

    Raises:
        InputError: not a number above 0.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"--learning-rate {text!r}: expected a number above 0, such as 1e-4")
    return value
