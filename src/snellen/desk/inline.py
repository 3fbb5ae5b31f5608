"""The desk from Python: a link in a notebook, and the decisions as rows."""

from __future__ import annotations

import atexit
import threading
from pathlib import Path
from typing import Any

from markupsafe import escape

from snellen.core.errors import InputError, import_extra
from snellen.desk.agreement import settled
from snellen.desk.serving import Served, prepared
from snellen.desk.workplace import RunFolder


class Review:
    """A desk that is served from this process, until :meth:`stop` or the end of Python.

    Attributes:
        link: to be opened in a browser on this machine; anyone who has it can do what the desk can.
    """

    def __init__(self, served: Served) -> None:
        self._served, self.link = served, served.link
        self._thread = threading.Thread(target=served.run, name="snellen-desk", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def decisions(self) -> list[dict[str, Any]]:
        """What was decided: a row for each item, with its images, state, verdict, label and reviewers."""
        desk = self._served.desk
        rows: list[dict[str, Any]] = []
        for run in _audits(self._served):
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
        self._served.stop()
        self._thread.join(15)

    def _repr_html_(self) -> str:
        return (
            f'<p>The desk, on this machine: <a href="{escape(self.link)}" target="_blank" rel="noopener">review</a></p>'
        )

    def __repr__(self) -> str:
        return f"Review({self.link})"


def review(folder: Path | None) -> Review:
    """Open the desk on one run.

    Raises:
        InputError: there is no run directory.
        MissingExtraError: the extra ``ui`` is not installed.
    """
    if folder is None:
        raise InputError("this audit wrote no run directory, and the desk reads one; audit with out=FOLDER")
    return Review(prepared(folder))


def _audits(served: Served) -> list[RunFolder]:
    return [run for run in served.desk.workplace.runs() if run.kind == "audit" and run.status == "finished"]
