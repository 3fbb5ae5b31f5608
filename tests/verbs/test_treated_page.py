"""The page before and after: what it says, what it shows, and what it must not."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

import snellen
from snellen.auditing.compare.run_record import RunRecord
from snellen.verbs.treated import Cost, Treated, TreatedFinding
from snellen.verbs.treated_page import PAGE, render_treated
from tests.verbs.ill_classifiers import blind_to, classifier_of, garments

EVIL = '<script>alert("x")</script>'


def treated(folder, **audit):
    report = snellen.audit(
        classifier_of(blind_to(8)), garments()["audited"], checks=["clean"], out=folder / "run", **audit
    )
    return snellen.treat(
        report, garments()["train"], val=garments()["val"], findings="worst_class:Bag", out=folder / "treated"
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return treated(tmp_path_factory.mktemp("page"))


def test_it_shows_images_of_the_class_with_both_decisions(made):
    page = (made.folder / PAGE).read_text(encoding="utf-8")
    assert "1 mended. Clean accuracy" in page
    captions = re.findall(
        r'caption">(.*?):<br>before <span class="(\w+)">(.*?)</span><br>after <span class="(\w+)">', page
    )
    assert captions
    assert {label for label, *_ in captions} == {"Bag"}
    assert all((was, now) == ("wrong", "right") for _, was, _, now in captions)
    assert page.count("data:image/webp;base64,") == len(captions) <= 8
    assert 'href="audits/before/report.html"' in page
    assert (made.folder / "audits" / "before" / "report.html").is_file()


def test_no_picture_is_kept_where_the_audit_was_to_keep_none(tmp_path):
    found = treated(tmp_path, save_images=False)
    assert found.findings[0].outcome == "mended"
    assert "data:image" not in (found.folder / PAGE).read_text(encoding="utf-8")
    assert not [file for file in found.folder.rglob("blobs/*") if file.is_file()]


def test_names_are_data(made):
    record = RunRecord.read(made.folder / "audits" / "before")
    one = TreatedFinding(key=f"worst_class:{EVIL}", title=EVIL, treatment=EVIL, outcome="unproven", reason=EVIL)
    told = replace(made, findings=(one,), tried=(EVIL,), notes=(EVIL,))
    classifier = made.classifier
    classifier.name = EVIL
    page = render_treated(told, classifier, None, record, record)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_a_rise_is_drawn_as_one():
    risen = TreatedFinding(key="calibration", title="", outcome="worse", first=0.1, second=0.2, difference=0.1)
    cost = Cost(first=0.9, second=0.8, difference=-0.1, low=None, high=None, n=10)
    made = Treated(SimpleNamespace(task="single"), None, None, (risen,), cost, None, (), ())
    from snellen.verbs.treated_page import _bar, verdict

    bar = _bar(risen, made.findings)
    assert (bar.before, bar.after) == (50, 100)
    assert verdict(made) == "1 worse. Clean accuracy 90.0% before, 80.0% after."
    several = replace(made, classifier=SimpleNamespace(task="multilabel"))
    assert verdict(several) == "1 worse. Share of right decisions 90.0% before, 80.0% after."
