"""A report as Markdown and as PDF: the same content, escaped, with pictures, and the same bytes each time."""

import re

import pytest
from PIL import Image

from snellen.auditing.findings_table import Findings
from snellen.auditing.markdown import PICTURES, plain, render_markdown
from snellen.core.finding import Finding
from tests.auditing.example_reports import EVIL, picture, pictured, report


def with_pictures(title="Fog costs 40 points"):
    key, content = picture(1)
    changed, other = picture(2, side=30)
    first = pictured(0.3, key, subject="fog")
    (example,) = first.examples
    finding = first.model_copy(update={"title": title, "examples": (example.model_copy(update={"after": changed}),)})
    made = report(findings=(finding, *report().findings))
    return made.keeping(folder=None, pictures={key: content, changed: other})


def test_markdown_has_figures_findings_in_order_and_what_was_skipped():
    text = report().to_markdown()
    assert text.startswith("# Audit of net\n")
    assert "| clean accuracy | 90.0% | 80.0% – 100.0% |" in text
    assert "| fog | 90 | (70) | (50) | 1.5 | 1–2 |" in text
    assert text.index("### 1. Fog costs 40 points") < text.index("### 2. 2 images are copies")
    assert "**severe**, harm: at least 30.0% of the images, p below 0.0001." in text
    assert "corruption fog; mean drop 0.412." in text
    assert "Treat, in the folder of this report: `snellen treat . --finding corruption:fog --out treated`" in text
    assert "\n- group gap skipped: needs groups\n" in text
    assert "| corruption.error | 0.4000 | 0.3000 – 0.5000 | 100 |" in text
    assert "corruption.fog.1" not in text, "accuracies at each severity are in the eye chart"
    assert "No significant problems found" in report(findings=()).to_markdown()


def test_a_note_without_harm_claims_no_share():
    harmless, little = (Finding(kind="drift", harm=harm, title=f"Drift {harm}") for harm in (0.0004, 0.0006))
    found = report(findings=(harmless, little))
    text = found.to_markdown()
    assert "**note**, harm: none that is certain." in text
    assert "**note**, harm: at least 0.1% of the images." in text
    assert "<dt>harm</dt><dd>none that is certain</dd>" in found.html
    assert "<dt>harm at least</dt><dd>0.1% of the images</dd>" in found.html
    assert "0.0% of the images" not in text + found.html


def test_pictures_are_files_beside_the_text(tmp_path):
    text = with_pictures().to_markdown(tmp_path / "new" / "report.md")
    assert (tmp_path / "new" / "report.md").read_text() == text
    (path,) = re.findall(r"!\[image 0: cat → 0\]\((.*?)\)", text)
    assert path.startswith(f"{PICTURES}/")
    with Image.open(tmp_path / "new" / path) as shown:
        assert shown.size == (112 + 4 + 112, 112)
        assert shown.getpixel((113, 0)) == (255, 255, 255), "before and after stand apart"
    assert len(list((tmp_path / "new" / PICTURES).iterdir())) == 1
    assert with_pictures().to_markdown(tmp_path / "again" / "report.md") == text
    assert "![" not in with_pictures().to_markdown()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x00b\x1b[2J\u202e\ud800", "a�b�&#91;2J��"),
        ("1. a", "&#49;&#46; a"),
        ("- a", "&#45; a"),
        ("---", "&#45;--"),
        ("__init__", "&#95;&#95;init&#95;&#95;"),
        ("https://a.b www.a.b", "https&#58;//a.b www&#46;a.b"),
        ("-0.5 1.5 a_b a-b x:y", "-0.5 1.5 a_b a-b x:y"),
    ],
)
def test_what_markdown_or_a_terminal_would_obey_is_shown(name, shown):
    assert plain(name) == shown


def test_a_name_in_a_command_cannot_end_the_code():
    treatments = ("snellen treat . --finding 'slice:`<b>\x1b`'", "look at <b>")
    finding = Finding(kind="slice", harm=0.1, title="a", treatments=treatments)
    text = render_markdown(report(findings=(finding,)), {})
    assert "``snellen treat . --finding 'slice:`<b>�`'``" in text
    assert "Look at &lt;b&gt;" in text
    assert "\x1b" not in text


def test_names_are_data_in_markdown():
    text = render_markdown(report(model={**report().model, "name": EVIL}, sight=(f"a class {EVIL}",), findings=(
        Finding(kind="corruption", harm=0.1, title=f"{EVIL} | [a](javascript:b) `c`"),
    )), {})  # fmt: skip
    assert "<script" not in text
    assert "<img" not in text
    assert "](javascript" not in text
    assert "`c`" not in text


def test_pdf_is_of_a_few_pages_and_equal_bytes(tmp_path):
    pytest.importorskip("reportlab", reason="reportlab is not installed")
    first = with_pictures().to_pdf(tmp_path / "first.pdf").read_bytes()
    second = with_pictures().to_pdf(tmp_path / "second.pdf").read_bytes()
    assert first == second, "no clock"
    assert first.startswith(b"%PDF-")
    assert 1 <= first.count(b"/Type /Page\n") <= 3
    assert first.count(b"/Subtype /Image") == 1
    assert b"/ToUnicode" in first, "text can be selected and searched"
    assert len(report().to_pdf(tmp_path / "plain.pdf").read_bytes()) < len(first)


def test_pdf_shows_what_its_fonts_have_and_marks_the_rest(tmp_path):
    pytest.importorskip("reportlab", reason="reportlab is not installed")
    from snellen.auditing.pdf import marked

    assert marked("≥ 5 → 猫") == '≥ 5 <font name="Symbol">→</font> <font name="STSong-Light">猫</font>'
    assert marked(EVIL).count("<") == marked(EVIL).count("</font>") * 2
    assert marked(EVIL).endswith("??")
    evil = report(model={**report().model, "name": EVIL}, findings=with_pictures(EVIL).findings)
    assert evil.to_pdf(tmp_path / "evil.pdf").stat().st_size > 10_000


def test_both_say_what_can_be_treated_and_by_which_command(tmp_path, monkeypatch):
    first, second = report().findings
    command = "snellen treat . --train TRAINING_IMAGES --out treated"
    printed = "snellen treat . --finding corruption:fog --train TRAINING_IMAGES --out treated"
    treatable = report(findings=(first.model_copy(update={"treatments": (printed,)}), second))
    text = treatable.to_markdown()
    section = text[text.index("## Treatment") : text.index("## Skipped checks")]
    assert f"All of it, in the folder of this report: `{command}`" in section
    assert "TRAINING_IMAGES stands for labelled images that it may be trained on." in section
    assert "| corruption (1) | 30.0% | batchnorm_reestimation, corruption_tuning" in section
    assert "TRAINING_IMAGES" not in report().to_markdown(), "the training images are known"
    assert "## Treatment" not in report(findings=()).to_markdown()

    pytest.importorskip("reportlab", reason="reportlab is not installed")
    from snellen.auditing import pdf

    shown = []
    monkeypatch.setattr(pdf, "treat_all_words", lambda *words: shown.append(words) or list(words))
    treatable.to_pdf(tmp_path / "report.pdf")
    assert shown == [(command, command)]
    report(findings=()).to_pdf(tmp_path / "healthy.pdf")
    assert len(shown) == 1


def test_findings_are_a_tuple_that_is_a_table():
    found = report().findings
    assert isinstance(found, tuple)
    assert found == tuple(found)
    assert repr(found).splitlines() == [
        " harm  level     finding",
        "30.0%  severe    Fog costs 40 points",
        " 0.0%  note      2 images are copies",
    ]
    assert repr(found[:1]).splitlines()[1:] == repr(found).splitlines()[1:2]
    assert found[0].kind == "corruption"
    many = Findings(Finding(kind="slice", harm=0.1, title=f"slice {EVIL}") for _ in range(30))
    assert len(repr(many).splitlines()) == 22
    assert repr(many).endswith("… and 10 more")
    assert "<script" not in many._repr_html_()
    assert many._repr_html_().count("<tr>") == 21
    assert "\u202e" not in repr(many)
    assert repr(report(findings=()).findings) == "No findings."
