"""``snellen scan generator``: what a user may ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from snellen.core.command import Argument, Option
from snellen.core.errors import InputError

if TYPE_CHECKING:
    from snellen.core.method import Method
    from snellen.core.progress import Progress
    from snellen.runs.record import RunResult
    from snellen.runs.runner import Running


def generator(
    methods: list[Method],
    *,
    model: Annotated[str, Argument("The text-to-image model, by reference: diffusers:FOLDER, bundled:NAME.")],
    classifiers: Annotated[
        list[str], Option("Classifier that decides whether a class is missing; several with commas, or repeatedly.")
    ],
    classes: Annotated[
        list[str], Option("Classes as prompts spell them and all classifiers know them; several with commas.")
    ],
    robust: Annotated[
        list[str] | None, Option("Further classifier, trained against adversarial images; repeatable.")
    ] = None,
    judge: Annotated[
        str | None, Option("Classifier that took no part and confirms what was found.", default="none")
    ] = None,
    space: Annotated[
        Literal["prompts", "latents", "token", "all"], Option("Where to look: words, first noise, one embedding.")
    ] = "prompts",
    prior: Annotated[
        str | None,
        Option(
            "Language prior that proposes words: captions, file:FILE of prompts, hf:FOLDER, http://HOST/v1#MODEL.",
            default="captions, for bundled generators",
        ),
    ] = None,
    synonyms: Annotated[
        str | None, Option("file:FILE, for each class further words that name it; other classes avoid these.")
    ] = None,
    towers: Annotated[
        str | None, Option("Two towers that measure what a token does to similarity: bundled:NAME, hf:FOLDER.")
    ] = None,
    searches: Annotated[int, Option("Searches of each class in each space.", minimum=1)] = 4,
    calls: Annotated[
        int | None, Option("Most generated images of a search.", minimum=1, default="400; of a latent 100")
    ] = None,
    fresh: Annotated[int, Option("Latents of a check, and fresh ones of a confirmation.", minimum=2)] = 8,
    perplexity_ratio: Annotated[
        float, Option("Most perplexity of a prompt, as a multiple of that of the first prompt.", minimum=0.1)
    ] = 4.0,
    threshold: Annotated[float, Option("Probability below which a classifier misses the class.")] = 0.1,
    quorum: Annotated[
        int | None, Option("So many classifiers must miss the class.", minimum=1, default="all of them")
    ] = None,
    rule: Annotated[
        Literal["residual", "backprop", "evolution"], Option("How latents are searched; the first is the method.")
    ] = "residual",
    directions: Annotated[int, Option("Directions in which the region of a latent is grown; 0: none.", minimum=0)] = 0,
    batch_size: Annotated[int, Option("Images that are generated at once.", minimum=1)] = 16,
    review: Annotated[
        bool, Option("Confirm each case yourself afterwards, by a key; resumes where you stopped.")
    ] = False,
    allow_remote: list[str] | None = None,
    ask: Callable[[str, Path], str] | None = None,
    out: Path,
    device: str,
    seed: int,
    pseudonyms: Path | None,
    running: Running,
    progress: Progress | None = None,
) -> RunResult:
    """Search a text-to-image model for natural inputs on which it draws the wrong content (SAGE, Liu et al. 2024)."""
    if pseudonyms is not None:
        raise InputError("a search for failures reads no images of yours; leave out --pseudonyms")
    from snellen.core.rehearsal import rehearsing
    from snellen.methods.synthesis.by_name import ByName
    from snellen.models.classifiers.references import load_classifier
    from snellen.models.references import load_two_tower
    from snellen.runs.unfinished import check_free
    from snellen.systems.generator_failure.language_prior import load_prior
    from snellen.systems.generator_failure.latent_search import LatentSearch
    from snellen.systems.generator_failure.prompt_search import PromptSearch
    from snellen.systems.generator_failure.record import RECORD, WHAT, Space
    from snellen.systems.generator_failure.review import review_cases
    from snellen.systems.generator_failure.searching import find_failures
    from snellen.systems.generator_failure.space_searches import SearchNumbers
    from snellen.systems.generator_failure.synonyms import read_synonyms
    from snellen.systems.generator_failure.token_search import TokenSearch

    if len(methods) != 1 or not isinstance(methods[0], ByName):
        raise InputError(f"one setting of the generator is searched, and {len(methods)} were given; name one")
    method = methods[0]
    if method.solver != "ddim":
        raise InputError(
            f"latents and images belong together only without noise: --solver is ddim; got {method.solver}"
        )
    if directions == 1:
        raise InputError("--directions 1 gives no standard error; give 2 or more, or 0 for no region")
    check_free(out, RECORD, WHAT)
    names, members = _listed(classes), _listed(classifiers)
    spaces: tuple[Space, ...] = ("prompts", "latents", "token") if space == "all" else (space,)
    known = prior or ("captions" if model.startswith("bundled:") else None)
    hosts = tuple(allow_remote or ())
    loaded = [load_classifier(one, device=device, allow_remote=hosts) for one in [*members, *_listed(robust or [])]]
    most = {} if calls is None else {"calls": calls}
    result = find_failures(
        model,
        loaded,
        names,
        out=out,
        spaces=spaces,
        templates=method.templates,
        prior=load_prior(known, allow_remote=hosts, device=device) if known and "prompts" in spaces else None,
        synonyms=read_synonyms(synonyms, names, world=known == "captions"),
        judge=None if judge is None else load_classifier(judge, device=device, allow_remote=hosts),
        towers=None if towers is None else load_two_tower(towers, device=device),
        robust=[one.name for one in loaded[len(members) :]],
        threshold=threshold,
        quorum=quorum,
        numbers=SearchNumbers(
            searches=searches,
            steps=method.steps,
            guidance_scale=method.guidance_scale,
            together=batch_size,
            prompts=PromptSearch(latents=fresh, perplexity_ratio=perplexity_ratio, **most),
            latents=LatentSearch(rule=rule, **most),
            token=TokenSearch(**most),
            directions=directions,
        ),
        device=device,
        seed=seed,
        progress=progress,
        **running,
    )
    if review and ask is not None and not rehearsing() and result.note is None:
        return review_cases(result, ask)
    return result


def _listed(values: list[str]) -> list[str]:
    """Values of an option that may hold commas and be repeated."""
    return [part.strip() for one in values for part in one.split(",") if part.strip()]
