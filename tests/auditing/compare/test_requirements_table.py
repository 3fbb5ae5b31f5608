"""Many models against written requirements: verdicts, their level in simulation, files, and names that are data."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
from markupsafe import escape

import snellen
from snellen.auditing.compare.required_cell import required_cell
from snellen.auditing.compare.requirements_file import WrittenRequirements, parse_requirements, read_requirements
from snellen.auditing.compare.requirements_table import judge_models
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.markdown import plain
from snellen.auditing.report import AuditReport, CheckStatus, Judged
from snellen.checks.check import CheckFigure
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.metrics.clustered import clustered_share
from tests.auditing.compare.simulated_runs import run_of

SHARES = (
    "clean.accuracy",
    "clean.balanced_accuracy",
    "corruption.fog.1.accuracy",
    "corruption.snow.3.accuracy",
    "adversarial.linf.2.accuracy",
    "corruption.error",
    "corruption.fog.error",
    "corruption.snow.error",
)


def written(*rows):
    return WrittenRequirements.model_validate(
        {"requirement": [{"id": f"R{n}", "text": f"text {n}", **row} for n, row in enumerate(rows, start=1)]}
    )


def record(metrics, name="model", findings=(), failed=False):
    checks = [CheckStatus(name="clean", status="done")]
    checks += [CheckStatus(name="calibration", status="failed", reason="no scores")] if failed else []
    report = AuditReport(
        model={"name": name, "identity": "0" * 64, "task": "single"},
        data={"name": "images", "used": 100, "images": 100},
        metrics=metrics,
        findings=findings,
        tested=Judged(hypotheses=1, findings=len(findings), rate=0.05),
        checks=tuple(checks),
    )
    one = run_of(np.ones(100, dtype=bool), np.full(100, 0.9), {})
    return RunRecord(report, one.plan, one.evidence)


def of(value, low, high):
    return CheckFigure(value=value, low=low, high=high, n=100)


def cell(metric, metrics, **more):
    found = judge_models(written({"metric": metric}), ["a"], [record(metrics, **more)])
    return found.rows[0].cells[0]


@pytest.mark.parametrize(
    ("metric", "ends", "verdict"),
    [
        ("clean.accuracy >= 0.9", (0.95, 0.91, 0.97), "met"),
        ("clean.accuracy >= 0.9", (0.92, 0.89, 0.94), "undecided"),
        ("clean.accuracy >= 0.9", (0.85, 0.80, 0.89), "not met"),
        ("clean.accuracy >= 0.9", (0.85, 0.80, 0.90), "undecided"),  # the bound itself would meet it
        ("clean.accuracy > 0.9", (0.85, 0.80, 0.90), "not met"),
        ("clean.accuracy.value >= 0.9", (0.92, 0.5, 0.99), "met"),
        ("corruption.error <= 0.1", (0.05, 0.03, 0.09), "met"),
        ("corruption.error <= 0.1", (0.2, 0.15, 0.25), "not met"),
        ("corruption.error <= 0.1", (0.09, 0.05, 0.2), "undecided"),
    ],
)
def test_both_ends_of_the_interval_decide(metric, ends, verdict):
    name = metric.split()[0].removesuffix(".value")
    found = cell(metric, {"clean.accuracy": of(0.9, 0.8, 0.95), name: of(*ends)})
    assert found.verdict == verdict
    assert (found.images is not None) == (verdict == "undecided")


def test_what_is_not_measured_comes_with_the_command_that_measures_it():
    found = cell("calibration.ece <= 0.05", {"clean.accuracy": of(0.9, 0.8, 0.95)})
    assert (found.verdict, found.value) == ("not measured", None)
    assert found.command == "snellen audit MODEL DATA --checks clean,calibration --out RUN"
    assert cell("findings.severe <= 0", {"clean.accuracy": of(0.9, 0.8, 0.95)}).verdict == "met"
    assert cell("findings.severe <= 0", {"clean.accuracy": of(0.9, 0.8, 0.95)}, failed=True).verdict == "not measured"


def test_the_number_of_images_that_decides_decides_in_nine_of_ten_audits():
    count = 200
    low, high = clustered_share(np.arange(count) < 0.93 * count)
    found = judge_models(
        written({"metric": "clean.accuracy >= 0.9"}), ["a"], [record({"clean.accuracy": of(0.93, low, high)})]
    )
    wanted = found.rows[0].cells[0].images * count // 100  # the record of the test has 100 images
    rng = np.random.default_rng(0)
    met = [clustered_share(rng.random(wanted) < 0.93).low >= 0.9 for _ in range(300)]
    assert 0.8 <= np.mean(met) <= 1.0


def test_five_models_by_eight_requirements_are_seldom_judged_wrongly():
    """Of models just beyond each bound, on either side, at most 2.5 % of the cells are called the other way."""
    rng, count = np.random.default_rng(1), 1000
    bounds = np.array([0.9, 0.85, 0.8, 0.7, 0.6, 0.1, 0.15, 0.3])
    rows = [
        {"metric": f"{name} {'<=' if bound < 0.5 else '>='} {bound}"}
        for name, bound in zip(SHARES, bounds.tolist(), strict=True)
    ]
    file, wrong, cells, seen = written(*rows), 0, 0, set()
    for repeat in range(60):
        # Three models at the bound of each requirement to a hair, one clearly better and one clearly worse.
        better = np.where(bounds < 0.5, -1.0, 1.0)
        gaps = np.array([1e-9, -1e-9, (-1e-9) ** (repeat % 2 + 1), 0.05, -0.05])
        truth = bounds + gaps[:, None] * better
        records = []
        for row in truth:
            metrics = {}
            for name, share in zip(SHARES, row, strict=True):
                hits = rng.random(count) < share
                low, high = clustered_share(hits)
                metrics[name] = of(float(hits.mean()), low, high)
            records.append(record(metrics))
        found = judge_models(file, list("abcde"), records)
        for place in range(5):
            meets = (truth[place] - bounds) * better > 0
            for requirement, holds in zip(found.rows, meets, strict=True):
                verdict = requirement.cells[place].verdict
                seen.add(verdict)
                wrong += verdict == ("not met" if holds else "met")
                cells += 1
    assert seen == {"met", "not met", "undecided"}
    # Of 2,400 cells, 1,440 lie at a bound: there 2.5 % are called wrongly, and elsewhere none.
    assert wrong / (cells * 3 / 5) <= 0.025 + 2.5 * np.sqrt(0.025 * 0.975 / (cells * 3 / 5))
    assert wrong / cells <= 0.025


def test_the_table_of_real_runs(audits, tmp_path):
    file = tmp_path / "requirements.toml"
    file.write_text(
        'title = "Rel <i>ease"\n'
        '[[requirement]]\nid = "R1"\ntext = "Right in <b>most</b> | cases"\nmetric = "clean.accuracy >= 0.8"\n'
        'source = "SRS 4.2"\n'
        '[[requirement]]\nid = "R2"\ntext = "As good as before"\nmetric = "clean.accuracy"\nnot_worse_than = "5pt"\n'
        f"baseline = '{audits / 'a'}'\n"
        '[[requirement]]\nid = "R3"\ntext = "Withstands"\nmetric = "membership.attack_auroc <= 0.6"\n',
        encoding="utf-8",
    )
    found = snellen.requirements(file, [audits / name for name in ("a", "again", "constant")])
    assert [[one.verdict for one in row.cells] for row in found.rows] == [
        ["met", "met", "not met"],
        ["undecided", "undecided", "not met"],
        ["not measured"] * 3,
    ]
    assert [model.counts["met"] for model in found.models] == [1, 1, 0]
    assert len({model.name for model in found.models}) == 3
    assert found.rows[1].cells[2].quantity == "loss"
    assert not found.met
    page = found.save(tmp_path / "out")
    assert {one.name for one in page.parent.iterdir()} == {
        f"requirements.{kind}" for kind in ("json", "html", "md", "pdf")
    }
    text = page.read_text(encoding="utf-8")
    assert "<b>most</b>" not in text
    assert "<b>\x1b" not in text
    assert "Rel &lt;i&gt;ease" in text
    assert (page.parent / "requirements.pdf").read_bytes().startswith(b"%PDF")
    again = snellen.requirements(file, [audits / name for name in ("a", "again", "constant")]).save(tmp_path / "twice")
    for kind in ("json", "html", "md", "pdf"):
        pair = [(place.parent / f"requirements.{kind}").read_bytes() for place in (page, again)]
        assert pair[0] == pair[1], kind
    assert json.loads((page.parent / "requirements.json").read_bytes())["title"] == "Rel <i>ease"
    markdown = (page.parent / "requirements.md").read_text(encoding="utf-8")
    for row, model, missing in found.not_measured:
        assert (row.id, missing.verdict) == ("R3", "not measured")
        assert f"<li><b>R3</b>, <bdi>{escape(model.name)}</bdi>: " in text
        assert missing.command.partition("--checks ")[2].partition(" --out")[0] in text
        assert f"- R3, {plain(model.name)}: " in markdown
    assert [model for _, model, _ in found.not_measured] == list(found.models)
    assert "&lt;b&gt;most&lt;/b&gt; &#124; cases" in markdown
    named = snellen.requirements(file, {"old": audits / "a", "new": audits / "constant"})
    assert [model.name for model in named.models] == ["old", "new"]
    with pytest.raises(InputError, match="the run a came twice"):
        snellen.requirements(file, [audits / "a", audits / "a"])


def test_long_names_and_texts_go_over_pages(tmp_path):
    row = {"metric": "clean.accuracy >= 0.9", "text": "W" * 2000, "source": "s" * 400}
    found = judge_models(written(row), ["m" * 300], [record({"clean.accuracy": of(0.95, 0.91, 0.97)})])
    assert found.to_pdf(tmp_path / "long.pdf").read_bytes().startswith(b"%PDF")


def test_images_without_labels_are_not_to_be_audited_again():
    one = record({})
    table = one.evidence["clean"].table
    at = table.column_names.index("label")
    unlabelled = Evidence(table.set_column(at, "label", pa.nulls(len(table), table["label"].type)))
    bare = RunRecord(one.report, one.plan, {**one.evidence, "clean": unlabelled})
    cell = judge_models(written({"metric": "clean.accuracy >= 0.9"}), ["a"], [bare]).rows[0].cells[0]
    assert cell.command == "snellen audit MODEL LABELLED_DATA --checks clean --out RUN"


def test_a_class_is_decided_by_more_images_of_the_whole_set():
    rng, sure = np.random.default_rng(2), np.full(400, 0.9)
    runs = [run_of(rng.random(400) < 0.9, sure, {}) for _ in range(2)]
    one = written({"metric": "class.cat.accuracy", "not_worse_than": 0.05, "baseline": "x"}).requirement[0]
    cell = required_cell(one, runs[1], None, {"x": runs[0]})
    assert cell.verdict == "undecided"
    assert cell.images > 400, "a quarter of the images are cats"


def test_the_command_audits_the_run_that_lacks_a_figure_with_all_that_its_checks_need():
    rng, sure = np.random.default_rng(3), np.full(400, 0.9)
    bare, whole = (run_of(rng.random(400) < 0.9, sure, {}) for _ in range(2))
    checks = (*bare.report.checks, CheckStatus(name="drift", status="done"))
    kept = {name: one for name, one in bare.report.metrics.items() if not name.startswith("calibration.")}
    update = {"checks": tuple(one for one in checks if one.name != "calibration"), "metrics": kept}
    bare = dataclasses.replace(bare, report=bare.report.model_copy(update=update))
    one = written({"metric": "calibration.ece", "not_worse_than": 0.05, "baseline": "x"}).requirement[0]
    for record, baseline, out in ((bare, whole, "RUN"), (whole, bare, "x-more")):
        found = required_cell(one, record, None, {"x": baseline})
        assert found.verdict == "not measured"
        assert "calibration" in found.command.split("--checks ")[1].split()[0].split(",")
        assert found.command.endswith(f"--train TRAIN --out {out}")
    no_class = written({"metric": "class.cow.accuracy", "not_worse_than": 0.05, "baseline": "x"}).requirement[0]
    assert required_cell(no_class, whole, None, {"x": whole}).command is None, "no audit would measure it"


ROW = '[[requirement]]\nid = "R1"\ntext = "t"\nmetric = "clean.accuracy >= 0.9"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no requirement; expected one or more such as"),
        (ROW + ROW, "the id 'R1' stands at two requirements"),
        (ROW.replace(">= 0.9", "> a lot"), "requirement 1.*expected METRIC>=VALUE"),
        (ROW.replace("0.9", "90%"), "'90%' is no finite number"),
        (ROW.replace("text", "txt"), "unknown key 'txt'.*text"),
        ("[[requirement]]\nid = 'a'\nmetric = 'clean.accuracy>=0'\n", "the key 'text' is missing"),
        (ROW + "not_worse_than = '1pt'\n", "not_worse_than and baseline go together"),
        (ROW + "not_worse_than = '1pt'\nbaseline = 'x'\n", "the name of a figure alone"),
        (ROW.replace(" >= 0.9", "") + "not_worse_than = 1\nbaseline = 'x'\n", "is 1: write 1pt for one point"),
        (ROW + "not_worse_than = '1%'\nbaseline = 'x'\n", "expected points such as 1pt"),
        ("requirement = 3", "requirement"),
        ("[[[", "is not TOML"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "requirements.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"(?s){message}"):
        read_requirements(file)


def test_a_figure_that_no_audit_has_is_an_error_with_the_nearest_ones():
    wrong = r"R1: no audit has a figure 'clean\.accurcy'; did you mean 'clean\.accuracy'"
    with pytest.raises(InputError, match=wrong):
        cell("clean.accurcy >= 0.9", {"clean.accuracy": of(0.9, 0.8, 0.95)})
    for text in ("corruption.fgo.3.accuracy", "corruption.fgo.error", "corruption.edema.present.fgo.error"):
        with pytest.raises(InputError, match=f"no audit has a figure '{text}'; did you mean 'corruption"):
            cell(f"{text} <= 0.9", {"clean.accuracy": of(0.9, 0.8, 0.95)})
    with pytest.raises(InputError, match="no audit has a figure 'adversarial"):
        cell("adversarial.linff.8.accuracy >= 0.1", {"clean.accuracy": of(0.9, 0.8, 0.95)})
    with pytest.raises(InputError, match=r"'segmentation\.miouu'; did you mean 'segmentation\.miou'"):
        cell("segmentation.miouu >= 0.1", {"clean.accuracy": of(0.9, 0.8, 0.95)})
    other_settings = (
        "segmentation.class.road.iou",
        "corruption.stain_deposit.2.5.accuracy",
        "adversarial.l2.0.25.accuracy",
        "corruption.x.absent.error",
        "acuity.stain_deposit",
    )
    for text in other_settings:
        assert cell(f"{text} >= 0.1", {"clean.accuracy": of(0.9, 0.8, 0.95)}).verdict == "not measured"
    with pytest.raises(InputError, match="cannot be read"):
        read_requirements("no/such/file.toml")
    with pytest.raises(InputError, match="auroc has no better side"):
        judge_models(
            written({"metric": "drift.auroc", "not_worse_than": 0.01, "baseline": "x"}),
            ["a"],
            [record({"clean.accuracy": of(0.9, 0.8, 0.95)})],
        )
    assert parse_requirements({"requirement": [{"id": "a", "text": "b", "metric": "clean.accuracy>=0"}]}, "f").title
