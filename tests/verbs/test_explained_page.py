"""The page of explanations: names are text, it loads nothing, it stays small, and it says what it shows."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pyarrow as pa

import snellen
from tests.verbs.small_explanations import Layers, LeftHalf, brightness, grey_images

#: Ends an attribute, a tag, the title and the style, and begins what acts.
HOSTILE = """'"></title></style><script>alert(1)</script><img src=http://x.test/ onerror=alert(2)>{{ 7 * 7 }}"""


class Tags(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


class Hostile(LeftHalf):
    """Everything that a method names is hostile."""

    name = "left_half"

    def explain(self, classifier, images, targets, *, rng):
        found = super().explain(classifier, images, targets, rng=rng)
        return replace(
            found,
            maps={HOSTILE: found.maps["evidence"]},
            regions={HOSTILE: found.regions["left half"]},
            edits={HOSTILE: found.edits["left half alone"]},
            parts=(HOSTILE, "right"),
            figures={HOSTILE: found.figures["drop"]},
            controls={HOSTILE: found.controls["drop"]},
            text=tuple(HOSTILE for _ in found.text),
            status=tuple(one if one == "ok" else HOSTILE for one in found.status),
            assumptions=(HOSTILE,),
        )


class HostileLayers(Layers):
    """A model whose layers have hostile names."""

    name = "layers"

    def describe(self, classifier, images, *, rng, progress=None):
        found = super().describe(classifier, images, rng=rng, progress=progress)
        return replace(found, parts=(HOSTILE, "body/2"), text=(HOSTILE, ""), status=("ok", HOSTILE))


def page_of(tmp_path, *methods, images=None, classifier=None, **options):
    images = grey_images() if images is None else images
    options = {"out": tmp_path / "out", "allow_rejected": True, **options}
    snellen.explain(classifier or brightness(), images, list(methods), **options)
    return (tmp_path / "out" / "explain.html").read_text(encoding="utf-8")


def test_hostile_names_are_text_and_nothing_is_loaded(tmp_path):
    images = grey_images((0, 20, 200, 255))
    ids = pa.array([f"{HOSTILE}{row}" for row in range(4)])
    images = replace(images, table=images.table.drop_columns("id").append_column("id", ids), name=HOSTILE)
    images = replace(images, class_names=(HOSTILE, "light"))
    classifier = brightness()
    classifier.class_names, classifier.name = (HOSTILE, "light"), HOSTILE
    page = page_of(tmp_path, Hostile(), HostileLayers(), images=images, classifier=classifier, target=0)
    read = Tags(page)
    assert {tag for tag, _ in read.tags} <= {
        "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "p", "main", "section", "div",
        "table", "thead", "tbody", "tr", "th", "td", "code", "br", "span", "article", "ul", "li", "img", "svg", "rect",
        "b", "dl", "dt", "dd", "footer",
    }  # fmt: skip
    names = {name for _, attributes in read.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("href", "style", "srcset", "action")}
    sources = [attributes["src"] for _, attributes in read.tags if "src" in attributes]
    assert sources
    assert all(re.fullmatch(r"data:image/webp;base64,[A-Za-z0-9+/=]+", source) for source in sources)
    alternatives = {attributes["alt"] for tag, attributes in read.tags if tag == "img"}
    assert HOSTILE in alternatives, "what a picture shows is told, whole"
    # As a name of the model, the data, an image, a class, a part, a figure, a sentence, a reason, an assumption.
    assert "".join(read.words).count(HOSTILE) > 15


def test_the_policy_allows_its_own_style_and_pictures_within_the_page_alone(tmp_path):
    page = page_of(tmp_path, LeftHalf())
    (policy,) = [one["content"] for tag, one in Tags(page).tags if one.get("http-equiv") == "Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'", "base-uri 'none'", "form-action 'none'"
    ]  # fmt: skip
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_pictures_that_do_not_fit_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("snellen.verbs.explained_page.PICTURE_BYTES", 900)
    page = page_of(tmp_path, LeftHalf())
    shown = page.count('<ul class="strip">')
    assert 0 < shown < 5
    assert f"Pictures of {5 - shown} would make the page too large; they are in the folder left_half." in page
    sizes = [len(source) for source in re.findall(r"base64,([^\"]+)", page)]
    assert sum(sizes) <= 900
    monkeypatch.setattr("snellen.verbs.explained_page.PICTURE_BYTES", 10**6)
    whole = page_of(tmp_path / "whole", LeftHalf())
    assert "would make the page too large" not in whole
    assert "would make the page too large" not in page_of(tmp_path / "none", LeftHalf(), save_images=False)


def test_a_page_of_parts_does_not_speak_of_decisions(tmp_path):
    parts = page_of(tmp_path / "parts", Layers())
    assert "What brightness is made of" in parts
    assert "Orange" not in parts
    both = page_of(tmp_path / "both", LeftHalf(), Layers())
    assert "Why brightness decides so" in both
    assert both.count("random part of equal size") == 1
