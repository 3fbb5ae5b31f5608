"""Documents that auditors want: every item is there, what was measured is filled in, and nothing is made up."""

import html
import re
from html.parser import HTMLParser

import pytest

import snellen
from snellen.auditing.forms.form import FOR_THE_AUTHOR, FORMS, NOT_MEASURED, form_named
from snellen.auditing.forms.form_file import write_form
from snellen.auditing.html import content_hash
from snellen.auditing.report import CheckStatus
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.finding import KINDS, Finding
from snellen.core.index import checks
from tests.auditing.compare.test_junit import HOSTILE


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    images = snellen.load_images("bundled:fashion-mnist").limit(40)
    chosen = ["clean", "calibration", "duplicates", "group_gap", "leakage"]
    return snellen.audit("bundled:fashion-cnn", images, checks=chosen, out=tmp_path_factory.mktemp("run"))


def items_of(text):
    """Body by number of item."""
    parts = re.split(r"^### (\S+)\. .*$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_each_form_has_the_items_of_the_published_list():
    numbers = [item.number for item in form_named("claim").items]
    assert numbers == [str(number) for number in range(1, 45)]
    parts = [item.number for item in form_named("tripod-ai").items]
    assert list(dict.fromkeys(re.sub("[a-z]", "", number) for number in parts)) == [str(n) for n in range(1, 28)]
    letters = {number: "".join(part[len(number):] for part in parts if re.fullmatch(number + "[a-z]?", part))
               for number in map(str, range(1, 28))}  # fmt: skip
    assert {number: found for number, found in letters.items() if found} == {
        "3": "abc", "5": "ab", "6": "abc", "8": "abc", "9": "abc", "12": "abcdefg", "18": "abcdef", "20": "abc",
        "23": "ab", "27": "abc",
    }  # fmt: skip
    headings = [heading for heading, _ in form_named("model-card").sections]
    assert headings == [
        "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
        "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
    ]  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_item_is_answered_or_says_who_or_why_not(report, name):
    items = items_of(report.to_form(name))
    assert list(items) == [item.number for item in form_named(name).items]
    for item in form_named(name).items:
        assert items[item.number].strip().startswith("- "), item.number
        assert (f"*{FOR_THE_AUTHOR}*" in items[item.number]) == bool(item.author or not item.sources)


def test_what_was_measured_is_the_figure_of_the_report_and_the_rest_says_why_not(report):
    items = items_of(report.to_form("claim"))
    figure = report.metrics["clean.accuracy"]
    assert f"{figure.value:.4f} (95 % interval {figure.low:.4f} to {figure.high:.4f}, n = {figure.n})" in items["37"]
    assert f"*{NOT_MEASURED}*: the check corruption did not run" in items["30"]
    assert f"*{NOT_MEASURED}*: the check leakage was skipped: compares with train images" in items["20"]
    assert "- The check leakage was skipped: compares with train images" in items["40"]
    assert "torch " in items["23"]
    assert items["44"].strip() == f"- *{FOR_THE_AUTHOR}*."
    without = report.keeping(folder=None).to_form("claim")
    assert f"*{NOT_MEASURED}*: versions of the audit's software" in items_of(without)["23"]
    nothing = report.model_copy(update={"metrics": {}, "findings": (), "checks": ()})
    assert f"*{NOT_MEASURED}*: no labelled image was judged" in items_of(nothing.to_form("claim"))["37"]
    bodies = items_of(nothing.keeping(folder=None).to_form("claim")).values()
    assert not re.search(r"\d\.\d{4}", "".join(bodies))


def test_what_was_recorded_is_written_and_what_was_not_measured_does_not_count(report):
    about = {"task": "segment", "preprocessing": "scaled to 9 pixels", "notes": ["channels are RGB"]}
    recorded = {"rejected": 3, "rejected_reasons": {}, "drawn_from": 2000}
    changed = {"model": {**report.model, **about}, "data": {**report.data, **recorded}}
    text = report.model_copy(update=changed).to_form("claim")
    items = items_of(text)
    assert "drawn at random from 2000, in" in items["7"]
    assert "3 of 40 images were rejected as unusable." in items["8"]
    for words in ("the class of each pixel", "Preprocessing: scaled to 9 pixels.", "Assumed: channels are RGB."):
        assert words in items["22"]
    assert "pipeline_tag: image-segmentation" in report.model_copy(update=changed).to_form("model-card")
    held = [one for one in items.values() if re.search(rf"^- (?!\*{FOR_THE_AUTHOR}|\*{NOT_MEASURED})", one, flags=re.M)]
    assert f"Snellen: {len(held)} of 44 items hold" in text
    nothing = report.model_copy(update={"metrics": {}, "findings": ()}).to_form("claim")
    assert f"*{NOT_MEASURED}*: Nothing could be measured" in items_of(nothing)["39"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"versions": 1, "seed": 0, "device": "cpu"}'])
def test_a_manifest_that_cannot_be_read_leaves_the_software_out(report, tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    body = items_of(report.keeping(folder=tmp_path).to_form("claim"))["23"]
    assert f"*{NOT_MEASURED}*: versions of the audit's software: manifest.json in its run directory cannot be" in body


def test_no_answer_names_a_check_or_a_kind_that_is_none():
    from snellen.auditing.forms import answers

    sources = {source for name in FORMS for item in form_named(name).items for source in item.sources}
    by_check = [one for one in sources if isinstance(one, answers._ByCheck)]
    assert len(by_check) > 8
    for one in by_check:
        assert one._check in checks()
        assert set(one._kinds) <= set(KINDS)


def test_a_check_that_failed_and_one_that_found_something(report):
    found = Finding(kind="group_gap", subject="B", harm=0.2, title="clinic B is served worse")
    states = (
        CheckStatus(name="group_gap", status="done"),
        CheckStatus(name="drift", status="failed", reason="no disk"),
    )
    items = items_of(report.model_copy(update={"findings": (found,), "checks": states}).to_form("tripod-ai"))
    assert "clinic B is served worse (severe; harm: at least 20.0% of the images; at 95 % confidence)." in items["23b"]
    assert f"*{NOT_MEASURED}*: the check drift failed: no disk" in items["16"]


class Page(HTMLParser):
    """Items of a page by number: text of each line, with its class."""

    def __init__(self, text):
        super().__init__()
        self.items, self.tags, self._number = {}, set(), None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        if found.get("class") == "item":
            self._number = found["id"].removeprefix("item-")
            self.items[self._number] = []
        if tag == "h2":
            self._number = None
        elif tag == "li" and self._number:
            self.items[self._number].append([found.get("class", ""), ""])

    def handle_data(self, text):
        if self._number and self.items[self._number]:
            self.items[self._number][-1][1] += text


@pytest.mark.parametrize("name", FORMS)
def test_the_page_holds_what_the_markdown_holds(report, tmp_path, name):
    text = report.to_form(name, tmp_path / "form.html")
    assert (tmp_path / "form.html").read_text(encoding="utf-8") == text
    page, markdown = Page(text).items, items_of(report.to_form(name))
    assert list(page) == list(markdown)
    for number, lines in page.items():
        shown = [html.unescape(line[2:].replace("*", "")) for line in markdown[number].splitlines() if line[:2] == "- "]
        assert [words.strip() for _, words in lines] == shown, number
        for kind, words in lines:
            assert (kind == "author") == words.startswith(FOR_THE_AUTHOR)
            assert (kind == "left-out") == words.startswith(NOT_MEASURED)
    assert "pipeline_tag" not in text, "only a hub reads it"
    assert not {"script", "link", "img"} & Page(text).tags
    style = re.search("<style>(.*)</style>", text, flags=re.S)[1]
    assert f"style-src 'sha256-{content_hash(style)}'" in text


def test_hostile_names_are_data_on_a_page(report, tmp_path):
    found = (Finding(kind="slice", subject=HOSTILE, harm=0.3, title=HOSTILE),)
    changed = report.model_copy(update={"findings": found, "model": {**report.model, "name": HOSTILE}})
    text = changed.to_form("model-card", tmp_path / "card.htm")
    assert "b" not in Page(text).tags
    assert not {"\x1b", "\x00"} & set(text)


@pytest.mark.parametrize("file", ["claim.pdf", "claim.DOCX"])
def test_no_markdown_is_named_like_a_document_of_another_program(report, tmp_path, file):
    with pytest.raises(InputError, match=r"end the file in \.md or \.html"):
        report.to_form("claim", tmp_path / file)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMS)
def test_hostile_names_are_data(report, name):
    """Escaped in every line, and none begins a list of its own."""
    findings = (Finding(kind="slice", subject=HOSTILE, harm=0.3, title=HOSTILE),)
    changed = {
        "findings": findings,
        "model": {**report.model, "name": HOSTILE},
        "data": {**report.data, "name": HOSTILE},
    }
    text = write_form(report.model_copy(update=changed), name)
    listed = report.model_copy(update={"model": {**report.model, "name": "1. # a"}})
    assert "- 1. " not in write_form(listed, name)
    assert "<b>" not in text.rpartition("---\n")[2], "in the front matter it is a quoted string"
    assert not {"\x1b", "\x00"} & set(text)


def test_the_hub_reads_the_front_matter(report):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    card = hub.ModelCard(report.to_form("model-card"))
    (result,) = card.data.eval_results
    assert (result.task_type, result.metric_type) == ("image-classification", "accuracy")
    assert result.metric_value == pytest.approx(report.metrics["clean.accuracy"].value, abs=1e-6)
    assert card.data.model_name == "bundled:fashion-cnn"
    assert card.data.license is None, "nobody but the author knows it"
    named = report.model_copy(update={"model": {**report.model, "name": 'a"\n: {b}\\ \u2028# é'}})
    assert hub.ModelCard(named.to_form("model-card")).data.model_name == 'a" : {b}\\ # é'


#: What no audit knows or measures: items without an answer of the audit.
AUTHORS = {
    "claim": "1 3 4 5 6 11 13 14 15 16 17 18 19 24 25 26 27 32 33 34 36 41 42 43 44",
    "tripod-ai": "1 3a 3b 3c 4 5b 6a 6c 8a 8b 8c 9a 9b 9c 12d 12f 13 17 18a 18b 18c 18d 18e 18f 19 20b 24 27b 27c",
    "model-card": "1.2 2.1 2.2 4.2 8.1",
}


@pytest.mark.parametrize("name", FORMS)
def test_what_no_audit_measures_is_the_authors(report, name):
    items = items_of(report.to_form(name))
    for number in AUTHORS[name].split():
        (line,) = [one for one in items[number].splitlines() if one and not one.startswith("#")]
        assert line.startswith(f"- *{FOR_THE_AUTHOR}*"), number
    answers = {item.number for item in form_named(name).items if item.sources}
    assert sorted([*AUTHORS[name].split(), *answers]) == sorted(items)


def test_figures_of_training_images_say_so_and_do_not_reach_the_hub(report):
    found = Finding(kind="in_sample", harm=0.2, title="it was trained on these images")
    text = report.model_copy(update={"findings": (found,)}).to_form("model-card")
    assert "it was trained on these images" in items_of(text)["4.1"]
    assert "model-index" not in text
    assert "model-index" in report.to_form("model-card")


def test_outputs_are_named_as_recorded_or_not_at_all(report):
    for kind, words in (("log-probabilities", "logarithms of probabilities"), ("other", "was not recorded")):
        changed = report.model_copy(update={"model": {**report.model, "output": kind}})
        assert words in items_of(changed.to_form("claim"))["22"]


def test_findings_count_without_figures_and_what_is_not_listed_is_counted(report):
    found = tuple(Finding(kind="group_gap", subject=str(n), harm=0.2, title=f"gap {n}") for n in range(15))
    states = (CheckStatus(name="group_gap", status="done"),)
    items = items_of(report.model_copy(update={"metrics": {}, "findings": found, "checks": states}).to_form("claim"))
    assert "- gap 11 (severe" in items["39"]
    assert "found nothing significant (a known group" not in items["37"]
    assert items["37"].count("And 3 more in the report.") == items["39"].count("And 3 more in the report.") == 1


def test_a_form_that_is_none(report):
    with pytest.raises(UnknownNameError, match="did you mean 'claim'"):
        report.to_form("clam")
