"""The report's page: structure, policy, contrast. What a browser draws is not tested."""

import base64
import hashlib
import itertools
import re

import pytest

from snellen.auditing.html import LISTED, ROWS, render_report
from snellen.checks.panels import Panel
from snellen.core.finding import Finding
from tests.auditing.example_reports import REJECTED, report
from tests.auditing.parsed_page import Page


@pytest.fixture(scope="module")
def source():
    return render_report(report(), {}, REJECTED)


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_the_policy_allows_its_own_style_and_script_by_their_bytes_and_nothing_else(source, page):
    policy = next(m.attributes["content"] for m in page.all("meta") if "Content" in m.attributes.get("http-equiv", ""))
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        content = re.search(f"<{tag}>(.*?)</{tag}>", source, re.DOTALL).group(1)
        expected = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{expected}'" in policy
        page.one(tag)
    assert "unsafe" not in policy


def test_nothing_is_loaded_and_nothing_is_inline(source, page):
    for element in page.elements:
        for name, value in element.attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value.startswith(("data:image/webp;base64,", "#"))
    assert not re.search(r"https?://|@import|url\(|\beval\b|innerHTML|document\.write|localStorage|fetch\(", source)


def test_links_lead_to_something_and_ids_are_used_once(page):
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for link in [*page.all("a"), *page.all("use")]:
        assert link.attributes["href"].removeprefix("#") in ids
    for element in page.elements:
        for reference in element.attributes.get("aria-labelledby", "").split():
            assert reference in ids


def test_headings_are_in_order_tables_have_captions_and_landmarks_have_names(page):
    levels = [int(e.tag[1]) for e in page.elements if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    named = {e.attributes["id"]: e.tag for e in page.elements if "id" in e.attributes}
    assert {named[section.attributes["aria-labelledby"]] for section in page.all("section")} == {"h2"}
    tables, captions = page.all("table"), page.all("caption")
    assert len(tables) == len(captions) == 7
    assert all(caption.text for caption in captions)
    assert all(section.attributes["aria-labelledby"] for section in page.all("section"))
    for tag in ("main", "header", "footer", "nav"):
        page.one(tag)
    first = next(e for e in page.elements if e.tag == "a")
    assert first.attributes["href"] == "#main", "the first link skips to the content"
    assert all(th.attributes.get("scope") for th in page.all("th"))
    controls = [*page.all("input"), *page.all("select")]
    assert controls
    assert all(control.within("label") for control in controls)


def test_the_page_opens_with_the_verdict_the_eye_chart_and_the_figures(page):
    overview = next(s for s in page.all("section") if "overview" in s.classes)
    assert page.all("section")[0] is overview
    said = page.one("h2", "verdict").text
    assert said.startswith(
        "1 severe finding. First: Fog costs 40 points. Weakest against fog: reads to severity 1.5 of 3 (1–2)."
    )
    leading = [dt.text for dt in page.all("dt") if dt.within("dl", "leading")]
    assert leading == ["clean accuracy", "error under corruption", "accuracy, worst corruption: fog, severity 3"]
    assert [s.attributes["aria-labelledby"] for s in page.all("section")[:2]] == ["overview", "findings"]


def test_skipped_checks_rejected_images_and_provenance_are_reported(page):
    told = page.one("main").text
    for words in ("needs groups", "0.png", "ab12", "cd34", "manifest.json", "50 independent"):
        assert words in told
    assert "A model note." in page.one("header").text
    many = [{"id": f"{place}.png", "reason": "no"} for place in range(LISTED + 20)]
    source = render_report(report(), {}, many)
    assert f"The first {LISTED} of {LISTED + 20}; all are in" in source
    assert f"{LISTED - 1}.png" in source
    assert f"<code>{LISTED}.png" not in source


def test_long_tables_are_cut_and_say_so():
    long = Panel(check="clean", title="Long", head=("row",), rows=tuple((f"row {n}",) for n in range(ROWS + 5)))
    source = render_report(report(panels=(long,)), {}, [])
    assert f"The first {ROWS} of {ROWS + 5} rows" in source
    assert f"<td>row {ROWS}</td>" not in source


def luminance(colour):
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_text_stands_out_from_the_paper(page, scheme):
    blocks = re.findall(r"\.snellen \{ (--ink:[^}]*)\}", page.one("style").text)
    assert len(blocks) == 3, "light, dark, print"
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]+)", blocks[scheme]))
    texts = [name for name in colours if name not in ("paper", "faint", "rule")]
    assert len(texts) == 12
    for name in texts:
        for ground in ("paper", "faint"):
            light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def test_an_audit_of_unlabelled_images_says_that_nothing_was_measured():
    nothing = report(metrics={}, findings=(), eye_chart=None, panels=(), data={**report().data, "labelled": False})
    page = Page(render_report(nothing, {}, []))
    assert "Nothing could be measured: no usable image has a label." in page.one("h2", "verdict").text
    assert "no accuracy is measured" in page.one("header").text
    assert not page.all("form")


def test_what_would_have_been_found_and_what_is_usual_stand_on_the_page():
    usual = Finding(kind="corruption", subject="fog", harm=0.3, usual=0.4, title="Fog costs 32 points")
    page = render_report(report(sight=("a class <b> that is worse by 9 points",), findings=(usual,)), {}, REJECTED)
    assert "nine of ten audits would find it: a class &lt;b&gt; that is worse by 9 points." in page
    assert 'class="badge note">usual<' in page


def test_the_page_says_what_each_figure_is_once(page):
    folded = next(e for e in page.all("table") if e.within("details"))
    names = [e.text for e in page.all("code") if e.within("details")]
    assert folded
    assert "clean.accuracy" in names
    assert len(names) == len(set(names))
