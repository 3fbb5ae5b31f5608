"""Every page in a real browser: each action, by keys alone, from 420 to 2,560 pixels, light and dark."""

# ruff: noqa: E501 - sources of scripts in one line each

import json
import os
import shlex
import time
from pathlib import Path

import pytest

from snellen.desk.export import reference_of
from tests.desk.browser import Browser, browser_path
from tests.desk.made_runs import EVIL, write_images, write_run
from tests.desk.served import served

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

#: axe-core, where somebody has it: SNELLEN_AXE=…/axe.min.js.
AXE = "SNELLEN_AXE"

REQUIREMENTS = """
[[requirement]]
id = "R1"
text = "Nine of ten images are recognised."
metric = "clean.accuracy >= 0.9"
[[requirement]]
id = "R2"
text = "It is calibrated."
metric = "calibration.ece <= 0.1"
"""

#: Widths and colours at which each page is seen.
VIEWS = [(420, False), (1100, True), (2560, False)]

#: Those at which axe looks, where it is there.
AXE_VIEWS = [(width, dark) for width in (420, 1280, 2560) for dark in (False, True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    browser_path()
    place = tmp_path_factory.mktemp("seen")
    names = write_images(place / "pictures", 300)
    for seed, name in enumerate(("first", "second")):
        write_run(place / "runs" / name, names, images=place / "pictures", seed=seed)
    write_run(place / "runs" / "begun", names, seed=2, finished=False)
    (place / "requirements.toml").write_text(REQUIREMENTS)
    record = {"plan": {"model": {"name": EVIL}}, "files": ["a.png"], "count": 3}
    (place / "runs" / "attacked").mkdir()
    (place / "runs" / "attacked" / "attack.json").write_text(json.dumps(record))
    return place / "runs"


@pytest.fixture(scope="module")
def desk(folder):
    with served(folder) as found:
        yield found


@pytest.fixture(scope="module")
def page(desk):
    """A browser that has opened the first link."""
    browser = Browser()
    try:
        browser.size(1100)
        browser.open(desk.link)
        browser.until("location.search === '' && document.querySelector('h1')")
        yield browser
    finally:
        browser.close()


@pytest.fixture
def runs(page, desk):
    """Address of each run by name."""
    page.size(1100)
    page.open(desk.base)
    page.problems()
    return dict(
        page.js("Array.from(document.querySelectorAll('.card h2 a, main h2 + ul a')).map(a => [a.textContent, a.href])")
    )


def queues(page, run):
    page.open(run)
    return dict(
        page.js(
            "Array.from(document.querySelectorAll('.look > li')).filter(l => l.querySelector('a.button'))"
            ".map(l => [l.querySelector('p').innerText.trim().split(/\\s+/).slice(1, 3).join(' '), l.querySelector('a.button').href])"
        )
    )


def addresses(page, desk, runs):
    ids = {name: address.rsplit("/", 1)[1] for name, address in runs.items()}
    first = runs["first"]
    return [
        desk.base, first, runs["begun"], f"{first}/gallery", *queues(page, first).values(), f"{first}/decided",
        f"{first}/treat", f"{desk.base}/compare", f"{desk.base}/compare?first={ids['first']}&second={ids['second']}",
        f"{desk.base}/jobs", f"{desk.base}/jobs/new", f"{desk.base}/nothing", f"{desk.base}/requirements",
        runs["attacked"],
    ]  # fmt: skip


#: Roles, names, widths and contrast, of what is seen: an independent look where axe is not there.
CHECKS = """(() => {
  const found = [];
  const seen = (e) => e.getClientRects().length && getComputedStyle(e).visibility !== 'hidden';
  if (document.documentElement.scrollWidth > innerWidth) found.push('wider than the window: ' + document.documentElement.scrollWidth);
  for (const e of document.querySelectorAll('a[href], button, input:not([type=hidden]), select')) {
    if (!seen(e)) continue;
    const labels = e.labels ? Array.from(e.labels).map(l => l.textContent).join('') : '';
    if (!(e.getAttribute('aria-label') || labels || e.textContent).trim()) found.push('no name: ' + e.outerHTML.slice(0, 120));
  }
  for (const e of document.querySelectorAll('img')) if (!e.hasAttribute('alt')) found.push('no alt');
  const levels = Array.from(document.querySelectorAll('h1, h2, h3, h4')).filter(seen).map(h => Number(h.tagName[1]));
  if (levels[0] !== 1 || levels.filter(l => l === 1).length !== 1) found.push('headings ' + levels);
  if (document.querySelectorAll('main').length !== 1 || !document.querySelector('nav[aria-label]')) found.push('landmarks');
  for (const e of document.querySelectorAll('main *')) {
    const moves = ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1;
    if (moves && seen(e) && e.tabIndex < 0) found.push('scrolls, and no key does it: ' + e.outerHTML.slice(0, 120));
  }
  const ids = Array.from(document.querySelectorAll('[id]')).map(e => e.id);
  if (new Set(ids).size !== ids.length) found.push('ids twice');
  const channel = (c) => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
  const light = (c) => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
  const colour = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = colour(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !seen(e) || e.closest('script, style, option, svg, [disabled], .unseen')) continue;
    const a = light(colour(getComputedStyle(e).color)), b = light(ground(e));
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) found.push('contrast ' + contrast.toFixed(2) + ': ' + walker.currentNode.textContent.trim().slice(0, 40));
  }
  return found;
})()"""


def test_every_page_at_every_width_in_both_colours(page, desk, runs, tmp_path):
    for address in addresses(page, desk, runs):
        for width, dark in VIEWS:
            page.size(width, 900, dark=dark)
            page.open(address)
            if "gallery" in address or "compare?" in address:
                page.until("document.querySelector('.cell img')?.complete")
            if "/review/" in address:
                page.until("document.querySelector('.item img')?.complete")
            assert page.js(CHECKS) == [], (address, width, dark)
            elsewhere = [one for one in page.requested() if not one.startswith((desk.base, "data:", "about:"))]
            assert elsewhere == [], "nothing is fetched from elsewhere"
            found = [one for one in page.problems() if "/nothing" not in one]
            assert found == [], (address, width, dark)


@pytest.mark.skipif(AXE not in os.environ, reason=f"axe-core is not here; npm pack axe-core, and {AXE}=axe.min.js")
def test_axe_finds_nothing(page, desk, runs):
    source = Path(os.environ[AXE]).read_text()
    for address in addresses(page, desk, runs):
        for width, dark in AXE_VIEWS:
            page.size(width, 900, dark=dark)
            page.open(address)
            time.sleep(0.3)
            page.js(source + ";0")
            found = page.js(
                "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).slice(0, 3)))"
            )
            assert found == [], (address, width, dark)


def test_lists_of_a_report_keep_their_form_in_the_output_of_a_notebook(page, runs):
    """JupyterLab floats the terms of every list in the output of a cell, and makes them a fifth of its width."""
    page.open(runs["first"])
    page.js(
        "(() => { const sheet = new CSSStyleSheet(); sheet.replaceSync('body dt { float: left; width: 20%; } body dd { float: left; width: 80%; }');"
        " document.adoptedStyleSheets = [sheet]; })()"
    )
    terms = page.js(
        "Array.from(document.querySelectorAll('.snellen .facts dt, .snellen .leading dt')).map(t => [getComputedStyle(t).float, t.scrollWidth <= t.clientWidth + 1, t.getClientRects().length, t.offsetHeight])"
    )
    assert terms
    assert all(one[0] == "none" and one[1] and one[3] < 30 for one in terms), terms


#: Counts what the Tab key must reach. Of what gets the focus it notes the number among them, and whether that is seen.
TABBED = """(() => {
  const stops = Array.from(document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary, [tabindex]')).filter(e =>
    e.checkVisibility() && e.getClientRects().length && e.tabIndex >= 0 && !e.disabled && getComputedStyle(e).visibility !== 'hidden');
  window.unreached = new Map(stops.map(e => [e, 'not reached']));
  document.addEventListener('focusin', event => { if (!unreached.has(event.target)) return;
    const style = getComputedStyle(event.target), seen = style.outlineStyle !== 'none' && style.outlineWidth !== '0px';
    if (seen) unreached.delete(event.target); else unreached.set(event.target, 'its focus is not seen'); });
  return stops.length;
})()"""

MISSED = "Array.from(unreached, ([e, why]) => why + ': ' + e.outerHTML.slice(0, 100))"


def test_the_tab_key_reaches_all_that_can_be_used_and_is_seen(page, desk, runs):
    page.size(1100)
    of_one_form = [*queues(page, runs["first"]).values()][2:]
    for address in addresses(page, desk, runs):
        if address in of_one_form:  # these are built as the first one is
            continue
        page.open(address)
        if "gallery" in address or "compare?" in address:
            page.until("document.querySelector('.cell img')?.complete")
        stops = page.js(TABBED)
        assert stops > 3, address
        for _ in range(stops + 2):
            page.press("Tab")
        assert page.js(MISSED) == [], address


def test_a_review_by_keys_alone(page, desk, runs):
    address = queues(page, runs["first"])["Labels look"]
    page.js("document.cookie = 'snellen-reviewer=; Path=/; Max-Age=0'")  # the name of another test
    page.open(address)
    page.until("document.querySelector('.item img')?.complete")
    page.press("1")
    page.until("document.activeElement.name === 'reviewer'")
    assert "name first" in page.js("document.querySelector('[data-problem]').textContent")
    page.type("Ada")
    page.press("Enter")

    def at(place, decided):
        page.until(f"document.querySelector('[data-progress]').textContent === '{place} of 7 · {decided} decided'")

    def verdict():
        return page.js("document.querySelector('[data-field=verdict]').textContent")

    page.press("1")
    at(2, 1)
    page.press("2")
    at(3, 2)
    page.press("3")
    at(4, 3)
    page.press("4")
    at(5, 4)
    page.press("ArrowLeft")
    at(4, 4)
    assert verdict() == "unsure"
    page.press("u")
    at(4, 3)
    page.until("document.querySelector('[data-field=verdict]').textContent === 'none yet'")
    page.press("5")
    page.until("document.activeElement.matches('[data-class]')")
    page.press("ArrowDown")
    page.js("document.activeElement.dispatchEvent(new Event('change', {bubbles: true}))")
    at(5, 4)
    page.press("ArrowLeft")
    page.until("document.querySelector('[data-field=verdict]').textContent === 'relabel: cat'")
    page.press("n")
    at(5, 4)
    page.press("z")
    page.until("document.querySelector('.review.zoomed')")
    page.press("z")
    page.open(address)
    at(1, 4)
    assert verdict() == "keep", "kept, and the name is known again"
    assert page.js("document.querySelector('[name=reviewer]').value") == "Ada"
    page.js(
        "document.querySelector('[name=reviewer]').value = 'Ben'; document.querySelector('[name=reviewer]').dispatchEvent(new Event('change'))"
    )
    at(1, 0)
    assert verdict() == "none yet", "each decides alone"
    for key in ("1", "1", "3"):
        before = page.js("document.querySelector('[data-progress]').textContent")
        page.press(key)
        page.until(f"document.querySelector('[data-progress]').textContent !== '{before}'")
    page.open(f"{runs['first']}/decided")
    shown = page.js("document.querySelector('main').innerText")
    assert "Ada and Ben: 2 of 3 alike (66.7%), Cohen's kappa 0.50" in shown
    assert "1 disputed" in shown
    assert page.problems() == []


def test_a_decision_is_about_the_image_that_is_seen(page, runs):
    page.open(queues(page, runs["first"])["A class"])
    page.until("document.querySelector('.item img')?.complete")
    page.press("ArrowRight")
    page.until("document.querySelector('[data-progress]').textContent.startsWith('2 of')")
    image = page.js("document.querySelector('[data-field=id]').textContent")
    page.js(
        "window.held = []; window.real = window.fetch; window.fetch = (address, given) => given.method === 'POST' ? real(address, given) : new Promise(go => held.push(() => go(real(address, given)))); 0"
    )
    page.js(
        "document.querySelector('[name=reviewer]').value = 'Cleo'; document.querySelector('[name=reviewer]').dispatchEvent(new Event('change')); 0"
    )
    page.press("ArrowRight")  # the third is on its way, and the second is still seen
    page.press("1")
    page.until("held.length > 0")
    page.js("window.fetch = real; held.forEach(go => go()); 0")
    page.until("document.querySelector('[data-progress]').textContent.match(/^3 of .* 1 decided$/)")
    page.press("ArrowLeft")
    page.until("document.querySelector('[data-field=verdict]').textContent === 'keep'")
    assert page.js("document.querySelector('[data-field=id]').textContent") == image
    assert page.problems() == []


def test_an_answer_that_comes_late_does_not_move_who_went_back(page, runs):
    page.open(queues(page, runs["first"])["A class"])
    page.until("document.querySelector('.item img')?.complete")
    page.press("ArrowRight")
    page.until("document.querySelector('[data-progress]').textContent.startsWith('2 of')")
    page.js(
        "window.held = []; window.late = []; window.real = window.fetch; window.fetch = (address, given) => given.method === 'POST' ? real(address, given).then(found => new Promise(go => late.push(() => go(found)))) : new Promise(go => held.push(() => go(real(address, given)))); 0"
    )
    page.js(
        "document.querySelector('[name=reviewer]').value = 'Dora'; document.querySelector('[name=reviewer]').dispatchEvent(new Event('change')); 0"
    )
    page.press("ArrowRight")
    page.press("1")
    page.until("late.length > 0")  # it is kept, and the page does not know
    page.js("held.forEach(go => go()); 0")
    page.until("document.querySelector('[data-progress]').textContent.match(/^3 of .* 1 decided$/)")
    page.press("ArrowLeft")
    page.until("document.querySelector('[data-field=verdict]').textContent === 'keep'")
    page.js("window.fetch = real; late.forEach(go => go()); new Promise(go => setTimeout(() => go(0), 200))")
    assert page.js("document.querySelector('[data-progress]').textContent").startswith("2 of")
    assert page.problems() == []


def test_pairs_are_the_same_or_not(page, runs):
    page.open(queues(page, runs["first"])["Copies"])
    page.until("document.querySelectorAll('.item img').length === 2")
    page.js("document.querySelector('[name=reviewer]').focus()")
    page.js("document.querySelector('[name=reviewer]').value = 'Ada'")
    page.press("Enter")
    for key in ("1", "2"):
        before = page.js("document.querySelector('[data-progress]').textContent")
        page.press(key)
        page.until(f"document.querySelector('[data-progress]').textContent !== '{before}'")
    page.press("ArrowLeft")
    page.until("document.querySelector('[data-field=verdict]').textContent === 'different'")


def test_the_export_prints_a_command_of_the_files_that_it_wrote(page, runs, folder):
    page.open(queues(page, runs["second"])["Labels look"])
    page.until("document.querySelector('.item img')?.complete")
    page.js("document.querySelector('[name=reviewer]').value = 'Ada'")
    page.press("3")
    page.until("document.querySelector('[data-progress]').textContent.includes('1 decided')")
    page.open(f"{runs['second']}/decided")
    page.js("document.querySelector('form button').click()")
    page.until("document.querySelector('[role=status]')?.textContent.includes('1 dropped')")
    lines = [
        shlex.split(one) for one in page.js("Array.from(document.querySelectorAll('.command')).map(c => c.textContent)")
    ]
    treat = next(one for one in lines if one[1] == "treat")
    table = Path(treat[treat.index("--table") + 1])
    assert table.is_file()
    assert treat[2] == str(folder / "first"), "what audits of other images found"
    assert treat[treat.index("--train") + 1] == str(folder.parent / "pictures")
    assert lines[-1][:3] == ["snellen", "audit", "bundled:scene-cnn"]
    assert page.problems() == []


def test_the_gallery_by_keys_filters_and_scrolling(page, runs):
    page.open(f"{runs['first']}/gallery")
    page.until("document.querySelectorAll('.cell img').length > 10")
    assert page.js("document.querySelectorAll('.cell').length") < 120, "only what is seen is in the page"
    page.js("document.querySelector('[data-window]').focus()")
    page.press("ArrowRight")
    page.until("document.activeElement.closest('.cell')?.getAttribute('aria-posinset') === '1'")
    page.press("ArrowRight")
    page.until("document.activeElement.closest('.cell')?.getAttribute('aria-posinset') === '2'")
    page.press("End")
    page.until("document.activeElement.closest('.cell')?.getAttribute('aria-posinset') === '300'")
    page.until("document.activeElement.querySelector('img')?.complete")
    page.press("Enter")
    page.until("document.querySelector('dialog').open && document.querySelector('dialog img')")
    page.press("ArrowLeft")
    page.until("document.querySelector('[data-words]').textContent.endsWith('299 of 300')")
    page.press("Escape")
    page.until("!document.querySelector('dialog').open")
    page.until("document.activeElement.closest('.cell')?.getAttribute('aria-posinset') === '299'")
    page.js(
        "document.querySelector('[name=outcome]').value = 'wrong'; document.querySelector('[name=outcome]').dispatchEvent(new Event('input', {bubbles: true}))"
    )
    page.until("location.search.includes('outcome=wrong') && document.querySelectorAll('.cell.wrong').length > 5")
    assert page.js("document.querySelectorAll('.cell:not(.wrong)').length") == 0
    page.js("document.querySelector('button[type=reset]').click()")
    page.until("document.querySelector('[data-total]').textContent === '300 images'")
    assert page.js(f"document.body.innerHTML.includes({EVIL!r})") is False
    assert page.problems() == []


def test_two_runs_side_by_side(page, desk, runs):
    ids = [runs[name].rsplit("/", 1)[1] for name in ("first", "second")]
    page.open(f"{desk.base}/compare?first={ids[0]}&second={ids[1]}")
    page.until("document.querySelector('.cell .duo img')?.complete")
    page.js(
        "document.querySelector('[name=which]').value = 'lost'; document.querySelector('[name=which]').dispatchEvent(new Event('input', {bubbles: true}))"
    )
    page.until("!document.querySelector('[data-total]').textContent.startsWith('300')")
    page.js("document.querySelector('.cell button').click()")
    page.until("document.querySelectorAll('dialog img').length === 2")
    page.press("Escape")
    assert page.problems() == []


def test_the_command_is_shown_as_it_is_typed_and_a_job_ends_with_its_output(page, desk, runs):
    page.open(f"{desk.base}/jobs/new")
    page.js("document.querySelector('[name=model]').focus()")
    page.type("bundled:scene-cnn")
    page.js("document.querySelector('[name=data]').focus()")
    page.type("no such; $(folder)")
    page.js("document.querySelector('[name=budget]').focus()")
    page.type("1h")
    page.until("document.querySelector('[data-line]').textContent.includes('--budget 1h')")
    line = page.js("document.querySelector('[data-line]').textContent")
    assert line.startswith("snellen audit bundled:scene-cnn 'no such; $(folder)' --budget 1h --out ")
    page.js("document.querySelector('button[value=plan]').click()")
    page.until(
        "location.pathname.startsWith('/jobs/') && document.querySelector('[data-field=state]')?.textContent === 'failed'"
    )
    assert "error:" in page.js("document.querySelector('[data-field=output]').textContent")
    assert not Path("hacked").exists()
    assert page.problems() == []


def test_a_verdict_leads_to_its_figure_and_a_model_to_its_run(page, desk, runs):
    page.open(f"{desk.base}/requirements")
    page.js("document.querySelector('.grid .seen a').click()")
    page.until("location.pathname.endsWith('/report') && document.querySelector(':target')")
    assert "clean.accuracy" in page.js("document.querySelector(':target').innerText")
    page.open(f"{desk.base}/requirements")
    page.js("document.querySelectorAll('[name=run]')[0].closest('details').open = true")
    page.js("document.querySelectorAll('[name=run]')[0].click()")
    page.js("document.querySelector('form.filters button').click()")
    page.until("location.search.includes('run=') && document.querySelectorAll('.grid thead th').length === 2")
    page.js("document.querySelector('.grid thead a').click()")
    page.until("location.pathname.startsWith('/runs/') && document.querySelector('.look')")
    assert page.problems() == []


def test_a_run_is_seen_while_it_runs(page, runs, folder):
    page.open(runs["begun"])
    assert "1 of 4" in page.js("document.querySelector('[data-field=parts]').textContent")
    assert "95" in page.js("document.querySelector('[data-field=accuracy]').textContent")
    (folder / "begun" / "shards" / "000001").mkdir()
    page.until("document.querySelector('[data-field=parts]').textContent === '2 of 4'")


def test_the_references_of_a_run_hold_from_every_folder(folder):
    from snellen.desk.workplace import Workplace

    run = next(one for one in Workplace(folder).runs() if one.name == "first")
    assert reference_of(run).data == str(folder.parent / "pictures")
