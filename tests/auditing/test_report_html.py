"""The report's page: structure, policy, escaping, the budget of its pictures. What a browser draws is not tested."""

import base64
import hashlib
import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from snellen.auditing.check import Measured
from snellen.auditing.eye_chart import Cell, EyeChart, column
from snellen.auditing.figure_picture import evidence_of, figures_with_evidence, finding_evidence
from snellen.auditing.finding_picture import OPEN, SHARED_FROM, embed_pictures
from snellen.auditing.html import LISTED, ROWS, render_report, verdict
from snellen.auditing.panels import Line, Panel, Point
from snellen.auditing.report import AuditReport, CheckStatus
from snellen.finding import Finding, FindingExample
from tests.auditing.parsed_page import Page

EVIL = "</title></script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e\udcff"


def picture(seed, side=16):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", lossless=True)
    return hashlib.sha256(stream.getvalue()).hexdigest(), stream.getvalue()


def pictured(harm, *names, kind="corruption", subject="", captions=None):
    captions = captions or [f"cat → {place}" for place, _ in enumerate(names)]
    examples = tuple(
        FindingExample(example_id=f"image {place}", caption=caption, image=name)
        for place, (name, caption) in enumerate(zip(names, captions, strict=True))
    )
    return Finding(kind=kind, subject=subject, harm=harm, title=f"{kind} {subject}", examples=examples)


def share(value):
    return Measured(value=value, low=max(value - 0.1, 0), high=min(value + 0.1, 1), n=100)


def fog(name="fog"):
    cells = [Cell(severity=s, retained=1.1 - 0.2 * s, low=1 - 0.2 * s, high=1.2 - 0.2 * s, n=100) for s in (1, 2, 3)]
    return EyeChart(clean_accuracy=0.9, chance=0.1, columns=(column(name, "corruption", cells),))


def report(**changes):
    given = {
        "model": {"name": "net", "identity": "ab12", "classes": 10, "output": "logits", "notes": ["a model note"]},
        "data": {
            "name": "photos",
            "fingerprint": "cd34",
            "images": 103,
            "used": 100,
            "units": 50,
            "rejected": 3,
            "labelled": True,
        },
        "metrics": {
            "clean.accuracy": share(0.9),
            "corruption.fog.1.accuracy": share(0.8),
            "corruption.fog.3.accuracy": share(0.3),
            "corruption.error": share(0.4),
        },
        "findings": (
            Finding(
                kind="corruption",
                subject="fog",
                harm=0.3,
                p_value=1e-9,
                title="Fog costs 40 points",
                facts={"corruption": "fog", "mean_drop": 0.41234},
                treatments=("snellen train targeted_augmentation IMAGES",),
            ),
            Finding(kind="duplicate", subject="exact", harm=0.0, title="2 images are copies"),
        ),
        "tested": {"hypotheses": 7, "findings": 1, "rate": 0.05},
        "eye_chart": fog(),
        "panels": (
            Panel(check="clean", title="A curve", lines=(Line(name="l", points=(Point(x=0, y=0), Point(x=1, y=1))),)),
            Panel(check="clean", title="A table", head=("class", "images"), rows=(("cat", 3), ("dog", 40))),
        ),
        "checks": (
            CheckStatus(name="clean", status="done"),
            CheckStatus(name="group_gap", status="skipped", reason="needs groups"),
        ),
        "notes": ("Intervals are 95 %.",),
    }
    return AuditReport(**{**given, **changes})


REJECTED = [{"id": f"{place}.png", "reason": "not an image"} for place in range(3)]


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
    tables, captions = page.all("table"), page.all("caption")
    assert len(tables) == len(captions) == 5
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
    assert said.startswith("1 severe finding. Weakest against fog: reads to severity 1.5 of 3 (1–2).")
    leading = [dt.text for dt in page.all("dt") if dt.within("dl", "leading")]
    assert leading == ["clean accuracy", "error under corruption", "worst corruption: fog, severity 3"]
    assert [s.attributes["aria-labelledby"] for s in page.all("section")[:2]] == ["overview", "findings"]


@pytest.mark.parametrize(
    ("harms", "start"),
    [
        ((), "Nothing that is certain and more than a note."),
        ((0.0,), "Nothing that is certain and more than a note."),
        ((0.3, 0.06), "1 severe and 1 moderate findings."),
        ((0.3, 0.25, 0.06, 0.01, 0.0), "2 severe, 1 moderate and 1 mild findings."),
    ],
)
def test_verdicts(harms, start):
    findings = tuple(Finding(kind="drift", harm=harm, title=str(harm)) for harm in harms)
    assert verdict(report(findings=findings, eye_chart=None)) == start


def test_findings_say_how_harmful_how_sure_what_treats_them_and_where_the_evidence_is(page):
    first = page.all("article")[0]
    assert first.text.startswith("severe Fog costs 40 points")
    for words in ("harm at least 30.0% of the images", "p value below 0.0001", "mean drop 0.412"):
        assert words.replace(" ", "") in first.text.replace(" ", "")
    assert "evidence/corruption.parquet, settings that begin with fog" in first.text
    assert page.one("code", "command").text == "snellen train targeted_augmentation IMAGES"
    assert "7 hypotheses were tested together, 1 became findings" in page.one("main").text


def test_every_figure_names_its_evidence(page):
    rows = [tr for tr in page.all("tr") if tr.attributes.get("id", "").startswith("figure-")]
    assert len(rows) == 4
    assert rows[1].text.endswith("evidence/corruption.parquetfog.1")
    assert evidence_of("adversarial.linf.8.fgsm.accuracy") == ("evidence/adversarial.parquet", "linf.8.fgsm")
    assert evidence_of("x-new.thing") == ("evidence/x-new.parquet", "all settings")


@pytest.mark.parametrize(
    ("kind", "subject", "words", "figure"),
    [
        ("corruption", "fog", "evidence/corruption.parquet, settings that begin with fog", "corruption.fog.1.accuracy"),
        ("gradient_masking", "", "evidence/adversarial.parquet, all settings", None),
        ("worst_class", "cat", "evidence/clean.parquet, setting clean", "clean.accuracy"),
        ("slice", "1: cat", "evidence/clean.parquet, setting clean", "clean.accuracy"),
        ("leakage", "exact", "evidence/clean.parquet, setting clean, and the same of the images compared with", None),
        ("x-new", "a", "evidence/x-new.parquet, all settings", None),
    ],
)
def test_every_finding_names_its_evidence(kind, subject, words, figure):
    figures = figures_with_evidence(report().metrics)
    told, first = finding_evidence(Finding(kind=kind, subject=subject, harm=0, title=""), figures)
    assert told == words
    if figure is not None:
        assert first.name == figure


def test_skipped_checks_rejected_images_and_provenance_are_told(page):
    told = page.one("main").text
    for words in ("needs groups", "0.png", "ab12", "cd34", "manifest.json", "Model: a model note", "50 independent"):
        assert words in told
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


def test_a_ninth_finding_of_a_kind_is_folded_away():
    findings = tuple(pictured(0.3 - n / 100, kind="slice", subject=str(n)) for n in range(OPEN + 2))
    page = Page(render_report(report(findings=findings), {}, []))
    inside = [article.within("details") for article in page.all("article")]
    assert inside == [False] * OPEN + [True] * 2
    assert page.one("summary").text == "2 more findings of the kind slice, each of less harm"


def test_slices_are_walls_and_duplicates_stand_in_groups():
    (a, first), (b, second) = picture(0), picture(1)
    wall = pictured(0.2, a, b, kind="slice")
    pairs = pictured(0.1, a, a, b, b, kind="duplicate", captions=["group 1, cat", "group 1, dog", "group 2", "group 2"])
    page = Page(render_report(report(findings=(wall, pairs)), {a: first, b: second}, []))
    assert len(page.all("ul", "wall")) == 1
    groups = page.all("li", "group")
    captions = [[p.text for p in page.all("p", "caption") if group in p.parents] for group in groups]
    assert captions == [["group 1, catimage 0", "group 1, dogimage 1"], ["group 2image 2", "group 2image 3"]]


def test_every_picture_has_words_and_a_size():
    (small, first), (large, second) = picture(0), picture(1, side=100)
    assert len(second) > SHARED_FROM
    findings = (pictured(0.2, small, large, subject="a"), pictured(0.1, large, subject="b"))
    source = render_report(report(findings=findings), {small: first, large: second}, [])
    page = Page(source)
    (image,) = page.all("img")
    assert image.attributes["alt"] == "image 0, as it is"
    assert (image.attributes["width"], image.attributes["height"]) == ("16", "16")
    assert "pixels" in image.classes
    shared = page.all("svg", "picture")
    assert [svg.attributes["aria-label"] for svg in shared] == ["image 1, as it is", "image 0, as it is"]
    assert all(svg.attributes["role"] == "img" for svg in shared)
    assert source.count(base64.b64encode(second).decode()) == 1, "a large picture is stored once"


def test_the_least_harmful_findings_lose_their_pictures_first_and_the_page_says_so():
    blobs = dict(picture(seed, side=60) for seed in range(6))
    names = sorted(blobs)
    findings = [pictured(0.3 - place / 10, *names[2 * place : 2 * place + 2], subject=str(place)) for place in range(3)]
    length = {name: len(base64.b64encode(blob)) for name, blob in blobs.items()}
    exactly = sum(length[name] for name in names[:4])
    assert embed_pictures(findings, blobs, budget=exactly).without == {"corruption:2"}
    assert sorted(embed_pictures(findings, blobs, budget=exactly).sources) == names[:4]
    assert embed_pictures(findings, blobs, budget=exactly - 1).without == {"corruption:1", "corruption:2"}
    assert not embed_pictures(findings, blobs, budget=10**6).without
    assert not embed_pictures(findings, blobs, budget=0).sources


def test_a_page_with_too_many_pictures_stays_small():
    blobs = dict(picture(seed, side=60) for seed in range(4))
    names = sorted(blobs)
    findings = tuple(pictured(0.3 - n / 10, *names[2 * n : 2 * n + 2], subject=str(n)) for n in range(2))
    budget = sum(len(base64.b64encode(blobs[name])) for name in names[:2])
    page = Page(render_report(report(findings=findings), blobs, [], picture_bytes=budget))
    shown = [[img for img in page.all("img") if article in img.parents] for article in page.all("article")]
    assert [len(images) for images in shown] == [2, 0]
    assert "1 finding of less harm is shown without its pictures" in page.one("main").text
    assert "in the folder blobs of the run" in page.all("article")[1].text
    assert "image 1" in page.all("article")[1].text, "the examples are still named"


def test_every_name_may_be_hostile():
    everywhere = report(
        model={"name": EVIL, "identity": EVIL, "classes": 10, "output": EVIL, "notes": [EVIL]},
        data={**report().data, "name": EVIL, "fingerprint": EVIL},
        metrics={f"{EVIL}.accuracy": share(0.5), "corruption.fog.1.accuracy": share(0.5)},
        findings=(
            Finding(
                kind=f"x-{EVIL}",
                subject=EVIL,
                harm=0.1,
                title=EVIL,
                facts={EVIL: EVIL},
                treatments=(EVIL,),
                examples=(FindingExample(example_id=EVIL, caption=EVIL, image=EVIL, after=EVIL),),
            ),
        )
        * 2,
        eye_chart=fog(EVIL),
        panels=(
            Panel(
                check=EVIL,
                title=EVIL,
                about=EVIL,
                x_label=EVIL,
                y_label=EVIL,
                lines=(Line(name=EVIL, points=(Point(x=0, y=0),)),) * 2,
                head=(EVIL,),
                rows=((EVIL,),),
            ),
        ),
        checks=(CheckStatus(name=EVIL, status="skipped", reason=EVIL),),
        notes=(EVIL,),
    )
    for source in (
        render_report(everywhere, {EVIL: picture(0)[1]}, [{"id": EVIL, "reason": EVIL}]),
        everywhere._repr_html_(),
    ):
        source.encode("utf-8")
        page = Page(source)
        assert len(page.all("script")) == source.count("<script") <= 1
        assert "alert(1)" not in "".join(script.text for script in page.all("script"))
        assert all(image.attributes["src"].startswith("data:") for image in page.all("img"))
        assert not any(name.startswith("on") for element in page.elements for name in element.attributes)


def test_an_audit_of_unlabelled_images_says_that_nothing_was_measured():
    nothing = report(metrics={}, findings=(), eye_chart=None, panels=(), data={**report().data, "labelled": False})
    page = Page(render_report(nothing, {}, []))
    assert "Nothing could be measured: no usable image has a label." in page.one("h2", "verdict").text
    assert "no accuracy is measured" in page.one("header").text
    assert not page.all("form")


def test_the_notebook_shows_the_same_parts_without_a_script(tmp_path):
    name, blob = picture(0)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / name).write_bytes(blob)
    (tmp_path / "secret").write_text("secret")
    findings = (pictured(0.2, name, "../secret", "0" * 64),)
    source = report(findings=findings, folder=tmp_path)._repr_html_()
    page = Page(source)
    assert not page.all("script")
    assert len(page.all("article")) == 1
    assert len(page.all("img")) == 1, "neither files outside of the folder nor missing ones"
    assert page.one("table", "letters")
    style = page.one("style").text
    for selector in re.findall(r"(?:^|[}{;]\s*)([^{}@;]+)\{", style):
        assert all(part.strip().startswith(".snellen") for part in selector.split(",")), selector
    assert not Page(report(findings=findings)._repr_html_()).all("img")
