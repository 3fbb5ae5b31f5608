"""What the script of a report's page leaves visible, in Chromium."""

import pytest

from snellen.auditing.html import render_report
from tests.auditing.example_reports import report
from tests.desk.browser import Browser, browser_path

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_the_filter_of_findings_does_not_hide_what_figures_are(tmp_path):
    browser_path()
    file = tmp_path / "report.html"
    file.write_text(render_report(report(), {}, []), encoding="utf-8")
    browser = Browser()
    try:
        browser.size(420)
        browser.open(f"file://{file}")
        folds = "[...document.querySelectorAll('details')].filter(one => /each figure/.test(one.innerText))"
        assert browser.js(f"{folds}.map(one => one.getBoundingClientRect().height > 10)") == [True]
        browser.js(f"{folds}[0].open = true")
        assert browser.js("document.documentElement.scrollWidth - window.innerWidth") <= 0
    finally:
        browser.close()
