"""The spinner before the bars: what it says of work that tells how far it is."""

import io

from rich.console import Console

from snellen.cli.progress import Spinner, TerminalProgress, loading
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


def test_a_name_in_brackets_is_no_markup(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr("rich.console.Console", lambda **_: Console(file=shown, force_terminal=True, width=120))
    with TerminalProgress() as progress:
        progress.begin("indexing slides", 2)
        progress.advance("indexing slides", 1, "a[/b].tif")
        progress._bars.refresh()
    assert "a[/b].tif" in shown.getvalue()


def test_nobody_watches_nobody_is_reported():
    with loading("reading images") as spinner:
        assert spinner is None
        assert len(load_images("bundled:fashion-mnist", progress=spinner)) == 2000
