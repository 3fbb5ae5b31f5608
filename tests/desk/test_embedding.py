"""The desk inside a notebook: answers without a port, and its pages in a frame that may load nothing."""

# ruff: noqa: E501 - sources of scripts in one line each

import json
import re

import pytest

from snellen.desk.embedding import Embedded, complete, heard
from snellen.desk.gatekeeping import LARGEST_BODY
from snellen.desk.rendering import script_source, static
from snellen.desk.run_folder import finding_id
from tests.desk.browser import Browser
from tests.desk.made_runs import EVIL


@pytest.fixture
def embedded(desk):
    made = Embedded(desk)
    yield made
    made.close()


def test_pages_are_complete_and_may_load_nothing(embedded, first):
    queue = finding_id(first.findings[0])
    addresses = ("", "/gallery", f"/review/{queue}", "/decided", "/treat", "/report")
    for address in ("/", "/requirements", "/jobs", "/nothing", *(f"/runs/{first.id}{one}" for one in addresses)):
        text = embedded.ask("GET", address).body.decode()
        assert "/static/" not in text
        assert "<x-evil" not in text
        (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)  # of two both hold
        assert policy.startswith("default-src 'none'; img-src data:;")
        assert "unsafe" not in policy
        assert all(script_source(one) in policy for one in re.findall(r"<(?:style|script)>(.*?)</", text, re.DOTALL))
        assert text.index("window.deskEmbedded") < text.find("const desk =") or address.endswith("/report")
        assert "window.deskEmbedded" in text


def test_a_style_or_script_that_is_none_of_ours_is_not_allowed():
    page = complete('<html lang="en"><meta charset="utf-8"><style>x{}</style><script>x()</script><body></body>', "/")
    assert "x()" in page
    policy = re.search(r'content="([^"]*)"', page)[1]
    assert script_source("x()") not in policy
    assert script_source("x{}") not in policy


def test_an_address_cannot_leave_its_attribute(embedded):
    assert '"><b>' not in complete('<html lang="en"><meta charset="utf-8"><body></body>', '/"><b>')


def test_a_decision_goes_into_the_same_file(embedded, desk, first):
    queue = desk.queue(first, first.findings[0])
    address = f"/runs/{first.id}/review/{finding_id(queue.finding)}/decide"
    given = {"item": queue.items[0].key, "reviewer": "Ada", "verdict": "drop"}
    found = embedded.ask("POST", address, json.dumps(given), "application/json")
    assert (found.status, json.loads(found.body)["verdict"]) == (200, "drop")
    (kept,) = desk.decisions.standing(first.key, finding_id(queue.finding))
    assert (kept.reviewer, kept.verdict) == ("Ada", "drop")


def test_what_is_no_request_is_refused_or_left_alone(embedded, first):
    for method, address in (("PUT", "/"), ("GET", "http://evil.com/"), ("GET", "/" + "a" * 9000), ("GET", "")):
        assert embedded.ask(method, address).status == 400
    assert embedded.ask("POST", "/jobs/start", "x" * (LARGEST_BODY + 1), "application/json").status == 413
    sent = []
    for message in (None, [], {}, {"id": 3}, {"id": "a", "method": 3}, {"id": "a", "address": ["x"]}):
        heard(embedded, lambda *given: sent.append(given), message)
    assert sent == []
    heard(
        embedded, lambda *given: sent.append(given), {"id": "a", "method": "GET", "address": f"/runs/{first.id}/rows"}
    )
    ((answer, (body,)),) = sent
    assert (answer["id"], answer["status"], json.loads(body)["total"]) == ("a", 200, 24)


def test_a_fault_is_an_answer(embedded, monkeypatch):
    monkeypatch.setattr(Embedded, "ask", lambda *_, **__: 1 / 0)
    sent = []
    heard(embedded, lambda *given: sent.append(given), {"id": "a", "method": "GET", "address": "/"})
    assert sent[0][0]["status"] == 500


def test_a_view_that_is_still_shown_says_that_its_review_was_stopped(embedded, first):
    assert embedded.ask("GET", f"/runs/{first.id}").status == 200
    embedded.close()
    found = embedded.ask("GET", f"/runs/{first.id}")
    assert (found.status, found.kind) == (410, "text/plain")
    assert b"report.review()" in found.body


def test_a_lead_is_followed(embedded, first):
    """A finding without images leads to its place on the page of the run."""
    other = finding_id(first.findings[-1])
    found = embedded.ask("GET", f"/runs/{first.id}/review/{other}")
    assert (found.status, found.address) == (200, f"/runs/{first.id}#finding-{other}")


HARNESS = """<!doctype html><meta charset="utf-8"><div id="cell"></div><script>
window.sent = []; window.heard = []; window.seen = [];
addEventListener("message", (event) => seen.push(event.data.address || ""));
window.model = { get: (name) => ({ height: 760, start: START })[name], on: (name, call) => heard.push(call), off: () => {},
  send: (message) => sent.push(message) };
window.answer = (message, text) => { const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0)); heard.forEach((call) => call(message, [new DataView(bytes.buffer)])); };
const run = SCRIPT;
run({ model, el: document.getElementById("cell") });
</script>"""


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_review_in_a_cell_as_a_notebook_shows_it(embedded, desk, first, tmp_path):
    """In a real browser; the channel of the notebook is this test."""
    import base64
    import time

    queue = desk.queue(first, first.findings[0])
    start = f"/runs/{first.id}/review/{finding_id(queue.finding)}"
    source = static("notebook.js").decode().replace("export default { render };", "return render;")
    page = HARNESS.replace("START", json.dumps(start)).replace("SCRIPT", "(() => {" + source + "})()")
    (tmp_path / "cell.html").write_text(page)
    browser = Browser()
    asked = []

    def carry():
        for message in browser.js("sent.splice(0)"):
            asked.append(message["address"].partition("?")[0])
            heard(
                embedded,
                lambda answer, buffers: browser.js(
                    f"answer({json.dumps(answer)}, {json.dumps(base64.b64encode(buffers[0]).decode())})"
                ),
                message,
            )

    def until(done):
        end = time.monotonic() + 60
        while not done() and time.monotonic() < end:
            carry()
            time.sleep(0.02)
        assert done(), (asked, browser.problems())

    def standing():
        return desk.decisions.standing(first.key, finding_id(queue.finding))

    try:
        browser.size(1000)
        browser.open((tmp_path / "cell.html").as_uri())
        until(lambda: any(one.endswith("/large") for one in asked))
        frame = browser.js("document.querySelector('iframe').getAttribute('sandbox')")
        assert frame == "allow-scripts", "no origin: it reads nothing of the notebook"
        browser.js("document.querySelector('iframe').focus()")
        browser.press("1")  # no name yet: the field gets the focus
        time.sleep(0.3)
        browser.type("Ada")
        browser.press("Enter")
        until(lambda: sum(one.endswith("/items") for one in asked) >= 2)
        time.sleep(0.3)
        browser.press("3")
        until(standing)
        (kept,) = standing()
        assert (kept.reviewer, kept.verdict, kept.item) == ("Ada", "drop", queue.items[0].key)
        # The report beside it has a way back, and the script of the frame runs in it.
        browser.js(
            "run({ model: { ...model, get: (name) => ({ height: 300, start: REPORT })[name] }, el: document.body })".replace(
                "REPORT", json.dumps(f"/runs/{first.id}/report")
            )
        )
        browser.js("document.querySelectorAll('iframe')[1].addEventListener('load', () => seen.push('loaded'))")
        until(lambda: browser.js("seen.includes('loaded')"))
        browser.js("document.querySelectorAll('iframe')[1].scrollIntoView()")
        browser.js("document.querySelectorAll('iframe')[1].focus()")
        time.sleep(0.3)  # the frame is another process, which must have the focus before it is given keys
        browser.press("Tab")
        time.sleep(0.3)
        browser.press("Enter")
        until(lambda: asked[-1] == f"/runs/{first.id}")
        assert [one for one in browser.problems() if "cell.html" not in one] == []
        # Another page in the frame asks as ours does, without its key.
        evil = "<script>parent.postMessage({ id: 1, method: 'POST', address: '/jobs/start', body: '' }, '*')</script>"
        browser.js(
            "(() => { const one = document.querySelector('iframe'); one.removeAttribute('srcdoc'); one.src = 'data:text/html,' + encodeURIComponent("
            + json.dumps(evil)
            + "); })()"
        )
        until(lambda: browser.js("seen.includes('/jobs/start')"))
        carry()
        assert "/jobs/start" not in asked
        assert EVIL not in page
    finally:
        browser.close()
