"""report.show() and report.review() in a real JupyterLab, seen by a real browser. Skipped where either is not there.

Once: ``pip install jupyterlab 'snellen[notebook]'``; with SNELLEN_SEEN=FOLDER it leaves pictures of what it saw.
"""

import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from snellen.desk.desk import Desk
from snellen.desk.run_folder import finding_id
from tests.desk.browser import Browser, browser_path

for needed in ("jupyterlab", "ipykernel", "anywidget", "nbformat"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed", allow_module_level=True)

pytestmark = [
    pytest.mark.usefixtures("socket_enabled"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(600),
]

VIEW = "document.querySelector('iframe[title=Snellen]')"

#: The frame of the notebook's own output that the report is drawn in.
REPORT = "Array.from(document.querySelectorAll('.jp-OutputArea-output')).find(o => o.innerText.includes('Labels look'))"


@pytest.fixture
def lab(place, tmp_path):
    """A JupyterLab over a folder with one notebook; its link."""
    import nbformat

    browser_path()
    cells = [
        f"import snellen\nreport = snellen.open_report({str(place / 'first')!r})\nreport.show()",
        "review = report.review()\nreview",
        "print('decided:', [(one['verdict'], one['reviewers']) for one in review.decisions()])",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (tmp_path / "lab").mkdir()
    nbformat.write(notebook, tmp_path / "lab" / "review.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, own = secrets.token_hex(12), tmp_path / "own"
    environment = {
        **os.environ, "JUPYTER_CONFIG_DIR": str(own), "JUPYTER_DATA_DIR": str(own), "JUPYTER_RUNTIME_DIR": str(own),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }  # fmt: skip
    process = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
            "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={tmp_path / 'lab'}",
            "--LabApp.expose_app_in_browser=True", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "lab.log").open("wb"),
    )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "lab.log").read_text()[-3000:]
                time.sleep(0.3)
        else:
            raise AssertionError(f"JupyterLab did not start: {(tmp_path / 'lab.log').read_text()[-3000:]}")
        yield f"http://127.0.0.1:{port}/lab/tree/review.ipynb?token={token}"
    finally:
        process.terminate()
        process.wait(60)


def seen(browser, name):
    """Leave a picture of what is seen, where somebody wants it."""
    if folder := os.environ.get("SNELLEN_SEEN"):
        time.sleep(1)
        browser.picture(Path(folder) / f"{name}.png")


def patient(browser, source, seconds=240):
    """Wait longer than for a page: a kernel starts, and loads what it imports."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if browser.js(f"Boolean({source})"):
            return
        time.sleep(0.3)
    raise AssertionError(f"never true: {source}; the page says: {browser.js('document.body.innerText')!r:.900}")


def command(browser, name, values="{}"):
    browser.js(f"jupyterapp.commands.execute({name!r}, {values}).then(() => 0)")


@contextmanager
def inside(browser):
    """Scripts and keys are those of the frame of the view: it is a page of its own, without an origin."""
    outer, until = browser._session, time.monotonic() + 60
    frames = []
    while not frames and time.monotonic() < until:
        frames = [one for one in browser.call("Target.getTargets")["targetInfos"] if one["type"] == "iframe"]
    assert frames, "the view has no frame of its own"
    found = browser.call("Target.attachToTarget", targetId=frames[0]["targetId"], flatten=True)
    browser._session = found["sessionId"]
    try:
        yield
    finally:
        browser._session = outer


def test_a_report_and_a_review_in_jupyterlab(lab, place):
    desk = Desk(place)
    run = next(one for one in desk.workplace.runs() if one.name == "first")
    queue = next(one for one in desk.queues(run) if one.finding.kind == "label_noise")
    queue_address = f"/review/{finding_id(queue.finding)}"
    browser = Browser()
    try:
        browser.size(1280, 1000)
        browser.open(lab)
        patient(browser, "window.jupyterapp && document.querySelector('.jp-Notebook .jp-Cell')")
        patient(browser, "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
        browser.js("jupyterapp.commands.execute('notebook:run-all-cells'); 0")
        patient(browser, VIEW)
        patient(browser, REPORT)
        assert browser.js(f"{VIEW}.getAttribute('sandbox')") == "allow-scripts"
        for theme, dark in (("JupyterLab Light", False), ("JupyterLab Dark", True)):
            browser.size(1280, 1000, dark=dark)
            command(browser, "apputils:change-theme", f"{{theme: {theme!r}}}")
            time.sleep(2)
            browser.js(f"{REPORT}.scrollIntoView(); 0")
            seen(browser, f"lab-report-{'dark' if dark else 'light'}")
            browser.js(f"{VIEW}.scrollIntoView(); 0")
            seen(browser, f"lab-run-{'dark' if dark else 'light'}")
        # A person goes from the run to a queue, and decides, by keys alone.
        browser.js(f"{VIEW}.focus(); 0")
        with inside(browser):
            for _ in range(60):
                browser.press("Tab")
                if queue_address in browser.js("document.activeElement.href || ''"):
                    break
            assert queue_address in browser.js("document.activeElement.href || ''")
            browser.press("Enter")
        with inside(browser):
            browser.until("document.querySelector('.item img')?.complete")
            browser.press("1")  # no name yet: the field gets the focus
            browser.until("document.activeElement.name === 'reviewer'")
            browser.type("Ada")
            browser.press("Enter")
            browser.press("3")
            browser.until("document.querySelector('[data-progress]').textContent === '2 of 7 · 1 decided'")
        seen(browser, "lab-review-dark")
        (kept,) = desk.decisions.standing(run.key, finding_id(queue.finding))
        assert (kept.reviewer, kept.verdict, kept.item) == ("Ada", "drop", queue.items[0].key)
        # The next cell knows of it, and the file of the notebook holds no token.
        browser.js("jupyterapp.commands.execute('notebook:run-all-cells'); 0")
        patient(browser, "document.body.innerText.includes(\"decided: [('drop', ('Ada',))]\")")
        command(browser, "docmanager:save")
        written = (place.parent / "lab" / "review.ipynb").read_text()
        assert "token=" not in written
        assert "widget-view" in written
    finally:
        browser.close()
        desk.close()
