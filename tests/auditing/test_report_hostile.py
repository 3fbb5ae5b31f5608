"""Names in the page and in a notebook are data: hostile ones are shown, never obeyed."""

import re

from snellen.auditing.html import render_report
from snellen.auditing.report import CheckStatus
from snellen.checks.panels import Line, Panel, Point
from snellen.core.finding import Finding, FindingExample
from tests.auditing.example_reports import EVIL, fog, picture, pictured, report, share
from tests.auditing.parsed_page import Page


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
    large = picture(0, side=100)[1]
    for source in (
        render_report(everywhere, {EVIL: picture(0)[1]}, [{"id": EVIL, "reason": EVIL}]),
        render_report(everywhere, {EVIL: large}, []),
        everywhere._repr_html_(),
    ):
        source.encode("utf-8")
        page = Page(source)
        assert len(page.all("script")) == source.count("<script") <= 1
        assert "alert(1)" not in "".join(script.text for script in page.all("script"))
        assert all(image.attributes["src"].startswith("data:") for image in page.all("img"))
        assert not any(name.startswith("on") for element in page.elements for name in element.attributes)


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
