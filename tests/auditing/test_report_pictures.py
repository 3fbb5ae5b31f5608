"""Pictures in the report's page: words and sizes, groups, and the budget of their bytes."""

import base64

from snellen.auditing.finding_picture import SHARED_FROM, embed_pictures
from snellen.auditing.html import render_report
from tests.auditing.example_reports import picture, pictured, report
from tests.auditing.parsed_page import Page


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


def test_a_finding_without_room_shows_no_picture_even_if_another_finding_does():
    (small, first), (large, second) = picture(0), picture(1, side=60)
    findings = (pictured(0.3, small, subject="a"), pictured(0.2, small, large, subject="b"))
    source = render_report(report(findings=findings), {small: first, large: second}, [], picture_bytes=len(first) * 2)
    assert source.count("<img ") == 1
