"""The built site in Chromium without a network: accessible, searchable, and not wider than the window.

Needs a built site, SNELLEN_SITE=FOLDER (``python scripts/build_site.py FOLDER``); for axe also SNELLEN_AXE=axe.min.js.
"""

import os
from pathlib import Path

import pytest

from tests.desk.browser import Browser, browser_path

SITE, AXE = "SNELLEN_SITE", "SNELLEN_AXE"

pytestmark = [
    pytest.mark.skipif(
        SITE not in os.environ, reason=f"no built site; scripts/build_site.py FOLDER, and {SITE}=FOLDER"
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

#: One page of each kind.
PAGES = (
    "index",
    "metrics",
    "statistics",
    "gating",
    "peers",
    "quickstart",
    "reference/commands",
    "reference/python",
    "reference/attacks",
    "reference/records/report",
    "schemas/README",
    "systems/README",
    "systems/smooth_inversion",
    "project/CHANGELOG",
    "search",
    "genindex",
)

#: Widths and colours at which each page is seen.
VIEWS = [(420, False), (1280, True)]


@pytest.fixture(scope="module")
def page():
    browser_path()
    browser = Browser()
    try:
        browser.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )
        yield browser
    finally:
        browser.close()


def opened(page, name, width=1280, *, dark=False):
    page.size(width, 900, dark=dark)
    page.open(f"file://{Path(os.environ[SITE]).resolve()}/{name}.html")
    page.until("document.readyState === 'complete'")


@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_the_window_and_fetch_nothing_from_elsewhere(page, name):
    for width, dark in VIEWS:
        opened(page, name, width, dark=dark)
        assert page.js("document.documentElement.scrollWidth - window.innerWidth") <= 0, width
        assert page.js("document.title")
    assert all(one.startswith(("file:", "data:")) for one in page.requested())


@pytest.mark.parametrize(
    ("words", "wanted"), [("acuity", "metrics"), ("calibration.ece", "metrics"), ("pgd", "attack")]
)
def test_search_works_without_a_network(page, words, wanted):
    page.size(1280)
    page.open(f"file://{Path(os.environ[SITE]).resolve()}/search.html?q={words}")
    page.until("document.querySelectorAll('ul.search li a').length")
    found = page.js("[...document.querySelectorAll('ul.search li a')].map(one => one.getAttribute('href')).join(' ')")
    assert wanted in found


@pytest.mark.skipif(AXE not in os.environ, reason=f"axe-core is not here; npm pack axe-core, and {AXE}=axe.min.js")
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(page, name):
    source = Path(os.environ[AXE]).read_text(encoding="utf-8")
    for dark in (False, True):
        opened(page, name, dark=dark)
        page.js(source + ";0")
        found = page.js(
            "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).slice(0, 3)))"
        )
        assert found == [], dark
