"""The desk from Python."""

import http.client
import importlib.util
import sys
import threading
import types

import pytest

import snellen
from snellen.auditing.report import in_notebook
from snellen.core.errors import InputError, MissingExtraError
from snellen.desk import inline
from snellen.desk.inline import Review
from snellen.desk.run_folder import finding_id
from tests.auditing.example_reports import report


def test_a_report_opens_a_desk_and_gives_the_decisions_back(place, socket_enabled):
    review = snellen.open_report(place / "first").review()
    try:
        assert isinstance(review, Review)
        assert review.link in repr(review)
        port = int(review.link.split(":")[2].split("/")[0])
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        client.request("GET", review.link.split(str(port))[1])
        assert client.getresponse().status == 200
        client.close()
        desk = review._desk
        (run,) = desk.workplace.runs()
        queue = desk.queue(run, run.findings[0])
        desk.decisions.add(run.key, finding_id(queue.finding), queue.items[0].key, "Ada", "drop")
        (row,) = review.decisions()
        assert (row["finding"], row["images"], row["verdict"]) == ("label_noise", queue.items[0].images, "drop")
        assert list(review.to_pandas().columns) == list(row)
    finally:
        review.stop()
    assert not review._thread.is_alive()
    assert len(review.decisions()) == 1, "also after its end"


def test_inside_a_notebook_nothing_listens_before_the_link_is_read(place, monkeypatch):
    """Here no socket can be opened at all."""

    class ZMQInteractiveShell:
        pass

    class Shell(ZMQInteractiveShell):
        """As that of Colab."""

    shell = types.ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", shell)
    shell.get_ipython = lambda: None
    assert not in_notebook()
    shell.get_ipython = Shell
    assert in_notebook()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    review = snellen.open_report(place / "first").review()
    try:
        assert review.decisions() == []
        assert "token" not in repr(review)
        assert review._repr_html_() is None
        assert review._start().startswith("/runs/")
        assert not [one for one in threading.enumerate() if one.name == "snellen-desk"]
        shell.get_ipython = lambda: None  # a terminal shows no widget, also where the package is installed
        assert not inline._inside()
    finally:
        review.stop()
    with pytest.raises(InputError, match="was stopped"):
        review.link  # noqa: B018 - it would open a port
    with pytest.raises(InputError, match="was stopped"):
        review.view()


def test_a_report_without_a_folder_says_what_to_do():
    with pytest.raises(InputError, match="out=FOLDER"):
        report().review()


def test_a_missing_extra_is_named(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"snellen\[ui\]"):
        snellen.open_report(place / "first").review()
    assert not (place / "snellen-desk").exists(), "no desk was opened before"
