"""``snellen label``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli.asking import answer_by_key
from snellen.cli.clarifying import clarified_concept
from snellen.cli.engine_options import DryRunOption, ThreadsOption
from snellen.cli.filled_folder import carry_out, check_named, free_folder
from snellen.cli.privacy_options import AllowRemoteOption
from snellen.cli.progress import loading
from snellen.cli.run_options import DeviceOption, JsonOption, SeedOption
from snellen.core import index
from snellen.core.errors import InputError

SIZES, LIMITS = "How many images", "What it may cost"


def label(
    concept: Annotated[
        str,
        typer.Argument(
            help="'NAME: DESCRIPTION', or a TOML or JSON file with name, description and, if you like, conditions."
        ),
    ],
    pool: Annotated[str, typer.Argument(help="Images without labels, by reference: a folder, a manifest.")],
    language: Annotated[
        str,
        typer.Option(
            help="Language model that writes definition, questions and queries: http://HOST:PORT/v1#MODEL, or "
            "file:FILE.toml with your own."
        ),
    ],
    captioner: Annotated[
        str, typer.Option(help="Describes images: hf:FOLDER, bundled:NAME, or a language model that sees images.")
    ],
    answers: Annotated[
        str,
        typer.Option(
            help="Answers questions about images: hf:FOLDER of BLIP, a language model that sees images, or two towers "
            "(bundled:NAME, hf:FOLDER, openclip:FOLDER)."
        ),
    ],
    towers: Annotated[
        str,
        typer.Option(help="Two towers for queries and for the classifier: bundled:NAME, hf:FOLDER, openclip:FOLDER."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="New folder; the same command resumes where it stopped.", show_default="snellen-label-N"),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Your labels, about 100: CSV with the columns id and label. They validate; none is trained on."
        ),
    ] = None,
    clarify: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10,
            help="Questions of the language model about the concept that you answer first; resumes where you stopped. "
            "--most-calls and --most-tokens do not limit this request.",
        ),
    ] = None,
    review: Annotated[
        int | None,
        typer.Option(min=2, max=100, help="Label so many images first, by a key each; resumes where you stopped."),
    ] = None,
    correct: Annotated[
        list[str] | None, typer.Option(help="A correction of the definition, in words; repeatable.")
    ] = None,
    rules: Annotated[
        bool | None,
        typer.Option(
            "--rules/--no-rules",
            help="Decide by the answers alone, and not by the language model from caption and answers.",
            show_default="rules, where the language model is a file",
        ),
    ] = None,
    early_exit: Annotated[
        bool,
        typer.Option(
            "--early-exit/--no-early-exit",
            help="Where rules decide: no further question once an answer excludes an image.",
        ),
    ] = True,
    queries: Annotated[
        int, typer.Option(min=1, help="Queries for the concept, and as many for near misses.", rich_help_panel=SIZES)
    ] = 10,
    per_query: Annotated[int, typer.Option(min=1, help="Images of each query.", rich_help_panel=SIZES)] = 20,
    initial: Annotated[int, typer.Option(min=2, help="Images of the first batch.", rich_help_panel=SIZES)] = 100,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of active learning.", rich_help_panel=SIZES)] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Images of each round.", rich_help_panel=SIZES)] = 100,
    most_calls: Annotated[
        int | None, typer.Option(min=1, help="Calls of all models.", show_default="no limit", rich_help_panel=LIMITS)
    ] = None,
    most_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of the language model.", show_default="no limit", rich_help_panel=LIMITS),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Folder of the pool's embeddings, for several concepts.", show_default="OUT-embeddings"),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="File of labels that were paid for.", show_default="in the cache folder")
    ] = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    allow_remote: AllowRemoteOption = None,
    seed: SeedOption = 0,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a concept in words into a classifier. Language and vision models label the images."""
    folder = out or free_folder("snellen-label")
    check_named(folder, "embeddings")
    if labels is not None and review is not None:
        raise InputError(
            f"--labels {labels} names labels that you have, and --review {review} lets you label images, into "
            f"{folder.name}-review/labels.csv; leave one out. To use both, label with --review first, join the two "
            f"tables, and name the joined one with --labels"
        )
    if labels is not None and not labels.is_file():
        raise InputError(f"no table of labels at {labels}")
    with loading("loading models"):
        verb, given_labels = (index.form("label", name).load() for name in ("concept", "review"))
        settings = index.form("label", "settings").load()
        options = settings(
            language=language,
            captioner=captioner,
            answers=answers,
            towers=towers,
            decides=None if rules is None else not rules,
            device=device,
            sizes={
                "queries": queries, "per_query": per_query, "initial": initial, "rounds": rounds, "batch": batch
            },
            limits={"calls": most_calls, "tokens": most_tokens},
            embeddings=embeddings or folder.with_name(f"{folder.name}-embeddings"),
            store=store,
            corrections=correct or (),
            seed=seed,
        )  # fmt: skip
    wanted: object = concept
    if clarify is not None and not dry_run:
        wanted = clarified_concept(concept, pool, language, most=clarify, folder=folder, given=out)
        if wanted is None:
            typer.echo(f"the questions stopped; the same command resumes them ({folder.name}-clarified.json)")
            return
    if review is not None and not dry_run:
        labels = given_labels(wanted, pool, answer_by_key, folder=folder, labels=labels, count=review, options=options)
        if labels is None:
            typer.echo(f"the review stopped; the same command resumes it ({folder.name}-review)")
            return
    carry_out(
        verb,
        wanted,
        pool,
        folder=folder,
        given=out,
        as_json=as_json,
        dry_run=dry_run,
        labels=labels,
        early_exit=early_exit,
        threads=threads,
        **options,
    )
