"""The spinner before the bars: what it says of work that tells how far it is."""

import io

from rich.console import Console

from snellen.cli.progress import Spinner, loading
from snellen.data.references import load_images


def test_a_spinner_says_how_far_a_task_is(monkeypatch):
    said = []
    console = Console(file=io.StringIO(), force_terminal=True)
    spinner = Spinner(console, "reading images")
    monkeypatch.setattr(spinner._status, "update", said.append)
    with spinner:
        spinner.begin("indexing slides", 3)
        spinner.advance("indexing slides", 1, "[red]a name[/red]")
        spinner.finish("indexing slides")
    assert said == [
        "reading images: indexing slides, 0 of 3",
        "reading images: indexing slides, 1 of 3",
        "reading images",
    ]


def test_nobody_watches_nobody_is_told():
    with loading("reading images") as spinner:
        assert spinner is None
        assert len(load_images("bundled:fashion-mnist", progress=spinner)) == 2000
