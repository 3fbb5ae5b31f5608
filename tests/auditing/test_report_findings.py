"""Findings and figures in the report's page: what leads it, what is said, folded, and where the evidence lies."""

import pytest

from snellen.auditing.figure_picture import evidence_of, figures_with_evidence, finding_evidence
from snellen.auditing.finding_picture import OPEN
from snellen.auditing.html import render_report, verdict
from snellen.auditing.text_summary import text_summary
from snellen.core.finding import Finding
from tests.auditing.example_reports import REJECTED, pictured, report
from tests.auditing.parsed_page import Page


@pytest.fixture(scope="module")
def page():
    return Page(render_report(report(), {}, REJECTED))


@pytest.mark.parametrize(
    ("harms", "start"),
    [
        ((), "No significant problems found."),
        ((0.0,), "No significant problems found."),
        ((0.01,), "1 mild finding. First: 0.01."),
        ((0.3, 0.06), "1 severe and 1 moderate findings. First: 0.3."),
        ((0.3, 0.25, 0.06, 0.01, 0.0), "2 severe, 1 moderate and 1 mild findings. First: 0.3."),
    ],
)
def test_verdicts(harms, start):
    findings = tuple(Finding(kind="drift", harm=harm, title=str(harm)) for harm in harms)
    assert verdict(report(findings=findings, eye_chart=None)) == start


def test_few_images_or_none_are_no_clean_bill():
    few = report(findings=(), eye_chart=None)
    few = few.model_copy(update={"data": {**few.data, "images": 12, "rejected": 3}})
    assert verdict(few) == "No significant problems found; 9 images can only show large ones."
    assert few.nothing_found in few.to_markdown()
    assert few.nothing_found in text_summary(few)
    unlabelled = few.model_copy(update={"metrics": {}})
    assert verdict(unlabelled) == "Nothing could be measured: no usable image has a label."


def test_findings_say_how_harmful_how_sure_what_treats_them_and_where_the_evidence_is(page):
    first = page.all("article")[0]
    assert first.text.startswith("severe Fog costs 40 points")
    for words in ("harm at least 30.0% of the images", "p value below 0.0001", "mean drop 0.412"):
        assert words.replace(" ", "") in first.text.replace(" ", "")
    assert "evidence/corruption.parquet, settings that begin with fog" in first.text
    one, all_of_it = page.all("code", "command")
    assert one.text == "snellen treat . --finding corruption:fog --out treated"
    assert all_of_it.text == "snellen treat . --out treated"
    assert "Next: read the first finding, then treat it." in page.one("main").text
    plan = next(table for table in page.all("table") if "tried in this order" in table.text)
    assert "corruption30.0%batchnorm reestimation, corruption tuning" in plan.text.replace("\n", "")
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


def test_a_ninth_finding_of_a_kind_is_folded_away():
    findings = tuple(pictured(0.3 - n / 100, kind="slice", subject=str(n)) for n in range(OPEN + 2))
    page = Page(render_report(report(findings=findings), {}, []))
    inside = [article.within("details") for article in page.all("article")]
    assert inside == [False] * OPEN + [True] * 2
    assert page.all("summary")[0].text == "2 more findings of the kind slice, each of less harm"
