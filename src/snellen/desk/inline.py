"""The desk from Python: inline in a notebook, as a link elsewhere, and the decisions as rows."""

from __future__ import annotations

import atexit
import importlib.util
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from snellen.auditing.report import in_notebook
from snellen.core.errors import InputError, import_extra
from snellen.desk.agreement import settled
from snellen.desk.desk import Desk
from snellen.desk.rendering import static
from snellen.desk.serving import Served, prepared, served

if TYPE_CHECKING:
    from snellen.desk.embedding import Embedded


class Review:
    """A desk in this process, until :meth:`stop` or the end of Python. It listens nowhere before its link is read.

    Args:
        desk: runs, decisions and jobs.
        opened: the same desk with a port that is open; None: it gets one when its link is read.
    """

    def __init__(self, desk: Desk, opened: Served | None = None) -> None:
        self._desk = desk
        self._served: Served | None = None
        self._thread: threading.Thread | None = None
        self._answers: Embedded | None = None
        self._view: Any = None
        self._stopped = False
        atexit.register(self.stop)
        if opened is not None:
            self._serve(opened)

    @property
    def link(self) -> str:
        """To be opened in a browser on this machine; anyone who has it can do what the desk can.

        Raises:
            InputError: the review was stopped before.
            MissingExtraError: the extra ``ui`` is not installed.
        """
        if self._served is None:
            self._refuse_if_stopped()
            return self._serve(served(self._desk)).link
        return self._served.link

    def _serve(self, opened: Served) -> Served:
        self._served = opened
        self._thread = threading.Thread(target=opened.run, name="snellen-desk", daemon=True)
        self._thread.start()
        return opened

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise InputError("this review was stopped; open another with report.review()")

    def decisions(self) -> list[dict[str, Any]]:
        """What was decided: a row for each item, with its images, state, verdict, label and reviewers."""
        desk = self._desk
        rows: list[dict[str, Any]] = []
        for run in desk.workplace.audits():
            for queue, decisions in desk.reviewed(run):
                outcomes = settled(decisions)
                rows += [
                    {
                        "finding": queue.finding.key,
                        "images": item.images,
                        "state": found.state,
                        "verdict": found.verdict,
                        "label": found.label,
                        "reviewers": found.reviewers,
                    }
                    for item in queue.items
                    if (found := outcomes.get(item.key)) is not None
                ]
        return rows

    def to_pandas(self) -> Any:  # noqa: ANN401 - of an extra
        """The decisions as a data frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return import_extra("pandas", "pandas", "a data frame").DataFrame(self.decisions())

    def stop(self) -> None:
        """End the desk and its jobs; decisions stay in its file."""
        atexit.unregister(self.stop)
        self._stopped = True
        if self._served is not None:
            self._served.stop()
        if self._answers is not None:
            self._answers.close()
        if self._thread is not None:
            self._thread.join(15)
        self._desk.jobs.close()

    def view(self, height: int = 760) -> Any:  # noqa: ANN401 - a widget of an extra
        """The desk inline, in Jupyter, VS Code or Colab. Its requests go over the notebook's channel, and no port.

        Args:
            height: of the view, pixels.

        Raises:
            InputError: the review was stopped before.
            MissingExtraError: anywidget is not installed.
        """
        self._refuse_if_stopped()
        anywidget = import_extra("anywidget", "notebook", "the desk inside a notebook")
        traitlets = import_extra("traitlets", "notebook", "the desk inside a notebook")
        import_extra("starlette", "notebook", "the desk inside a notebook")
        from snellen.desk.embedding import heard

        fields = {
            "_esm": static("notebook.js").decode(),
            "start": traitlets.Unicode("/").tag(sync=True),
            "height": traitlets.Int(height).tag(sync=True),
        }
        made = type("DeskView", (anywidget.AnyWidget,), fields)(start=self._start(), height=height)
        embedded = self._embedded()
        made.on_msg(lambda widget, message, _: heard(embedded, widget.send, message))
        return made

    def _embedded(self) -> Embedded:
        from snellen.desk.embedding import Embedded

        if self._answers is None:
            self._answers = Embedded(self._desk)
        return self._answers

    def _start(self) -> str:
        """The one run, where there is one; else all."""
        own = [run for run in self._desk.workplace.audits() if run.path == self._desk.workplace.folder]
        return f"/runs/{own[0].id}" if own else "/"

    def _repr_mimebundle_(self, **given: object) -> Any:  # noqa: ANN401 - of IPython
        """The view where it can be shown: then no link, whose token would stay in the notebook's file."""
        if not _inside():
            return {"text/plain": repr(self), "text/html": self._repr_html_()}
        if self._view is None:
            self._view = self.view()
        found = self._view._repr_mimebundle_(**given)
        data = found[0] if isinstance(found, tuple) else found
        return {**data, "text/plain": "Review: run the cell again to see it"}

    def _repr_html_(self) -> str | None:
        if _inside():
            return None
        return (
            f'<p>The desk, on this machine: <a href="{escape(self.link)}" target="_blank" rel="noopener">review</a></p>'
        )

    def __repr__(self) -> str:
        return f"Review({self.link})" if self._served is not None else "Review(inside this notebook, or .link)"


def _inside() -> bool:
    """Whether the desk can be shown inside a notebook, and this is one: a terminal shows no widget."""
    return in_notebook() and importlib.util.find_spec("anywidget") is not None


def review(folder: Path | None) -> Review:
    """Open the desk on one run. Where it can be shown inside, no port is opened.

    Raises:
        InputError: there is no run directory.
        MissingExtraError: the extra ``ui`` is not installed.
    """
    if folder is None:
        raise InputError("this audit wrote no run directory, and the desk reads one; audit with out=FOLDER")
    import_extra("starlette", "ui", "the desk")
    if _inside():
        return Review(Desk(folder))
    opened = prepared(folder)
    return Review(opened.desk, opened)
