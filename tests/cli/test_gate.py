"""``snellen audit`` as a gate: options, exit codes, what is refused before the audit runs."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import snellen
from snellen.cli.gate_options import check_baseline
from snellen.core.index import checks

#: Clean scores of fifty bundled images: a second or two.
QUICK = ("audit", "--limit", "50", "--checks", "clean,calibration")


def flat(text):
    return " ".join(text.replace("│", " ").split())


def test_the_names_in_the_help_are_those_of_the_checks():
    from snellen.auditing.checks import CHECKS

    assert tuple(CHECKS) == tuple(checks())


def test_what_is_met_exits_with_0_and_what_is_not_with_3(run, tmp_path):
    code, out, _ = run(*QUICK, "--out", "one", "--require", "clean.accuracy>=0.5", "--junit", "one.xml")
    assert code == 0
    assert "met      clean.accuracy>=0.5: lower end 0." in out
    code, out, _ = run(
        *QUICK, "--out", "one", "--require", "clean.accuracy>=0.5", "--require", "clean.accuracy>0.999",
        "--junit", "two.xml", "--sarif", "two.sarif",
    )  # fmt: skip
    assert code == 3
    assert "not met  clean.accuracy>0.999: lower end 0." in out
    assert (tmp_path / "one" / "report.html").is_file(), "the report is there all the same"
    failures = [int(ElementTree.parse(tmp_path / name).getroot().get("failures")) for name in ("one.xml", "two.xml")]
    assert failures == [0, 1]
    (log,) = json.loads((tmp_path / "two.sarif").read_text(encoding="utf-8"))["runs"]
    (missed,) = [one for one in log["results"] if one["ruleId"] == "requirement"]
    assert missed["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "one/report.json"


def test_sarif_names_the_file_of_the_images_unless_names_are_hidden(run, tmp_path):
    images = snellen.load_images("bundled:fashion-mnist").limit(30)
    for row, label in enumerate(images.labels):
        folder = tmp_path / "Jane Doe" / str(images.class_names[label]).replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        images.read(row).save(folder / f"{row}.png")
    audit = ("audit", "bundled:fashion-cnn", "Jane Doe", "--checks", "clean", "--require", "clean.accuracy>0.999")
    for number, more in enumerate(([], ["--pseudonyms", "key"])):
        code, _, err = run(*audit, "--out", f"run{number}", "--sarif", f"{number}.sarif", *more)
        assert code == 3, err
    plain, hidden = ((tmp_path / f"{number}.sarif").read_text(encoding="utf-8") for number in (0, 1))
    assert '"uri": "Jane%20Doe/"' in plain
    assert "Jane" not in hidden
    assert '"uri": "run1/report.json"' in hidden


def test_json_stays_json_and_the_gate_speaks_on_standard_error(run):
    code, out, err = run(*QUICK, "--json", "--require", "calibration.ece<=0")
    assert code == 3
    assert json.loads(out)["metrics"]["calibration.ece"]["high"] > 0
    assert "not met  calibration.ece<=0: upper end" in err


def test_fail_on_a_level(run):
    corruption = ("audit", "--limit", "50", "--checks", "corruption", "--set", 'corruption.kinds=["contrast"]')
    code, out, _ = run(*corruption, "--out", "run", "--fail-on", "severe")
    assert code == 3
    assert "not met  findings.severe<=0: 1 finding of this level or worse: corruption:light" in out
    assert run(*corruption, "--out", "run", "--require", "findings.severe<=1")[0] == 0


def test_where_nothing_was_judged_fail_on_does_not_pass(run, tmp_path):
    (tmp_path / "photos").mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    unlabelled = ("audit", "bundled:fashion-cnn", "photos", "--checks", "clean,duplicates", "--out", "run")
    code, out, _ = run(*unlabelled, "--fail-on", "note")
    assert code == 3
    assert "not met findings.note<=0: not known, because no labelled image was judged" in flat(out)
    # Nor can it be a baseline, which is told before the audit.
    code, _, err = run(*QUICK, "--out", "now", "--baseline", "run")
    assert code == 2
    assert "judged no labelled image" in flat(err)
    assert not (tmp_path / "now").exists()


def test_a_baseline_that_has_another_meaning_is_distinguished_from_the_model_alone(run):
    import snellen
    from snellen.auditing.compare.run_record import RunRecord
    from snellen.core.classifier import Classifier
    from snellen.core.errors import InputError

    assert run(*QUICK, "--out", "base")[0] == 0
    baseline = RunRecord.read("base")
    classifier, images = snellen.load_classifier("bundled:fashion-cnn"), snellen.load_images("bundled:fashion-mnist")
    check_baseline(baseline, classifier, images)
    check_baseline(None, classifier, images)
    names = classifier.class_names

    def other(class_names, task="single"):
        return Classifier(classifier.module, class_names=class_names, preparation=classifier.preparation, task=task)

    with pytest.raises(InputError, match="the baseline and the model have other classes") as told:
        check_baseline(baseline, other([*names[:-1], "sock"]), images)
    assert f"{names[-1]} only in the baseline; sock only in the model" in str(told.value)
    with pytest.raises(InputError, match=r"have other tasks \(single and ordinal\)"):
        check_baseline(baseline, other(names, "ordinal"), images)
    with pytest.raises(InputError, match="has no labels: nothing can be compared with the baseline"):
        check_baseline(baseline, classifier, snellen.load_images(np.zeros((3, 28, 28, 3), dtype=np.uint8)))


def test_a_baseline_that_is_equal_passes(run):
    assert run(*QUICK, "--out", "base")[0] == 0
    code, out, _ = run(*QUICK, "--out", "now", "--baseline", "base")
    assert code == 0
    assert "met      baseline bundled:fashion-cnn: 0 of" in out
    assert "each image with itself" in out


def test_a_loss_since_the_baseline_exits_with_3(run, tmp_path):
    """The same network with the names of its classes mixed up is wrong almost everywhere."""
    import snellen

    names = snellen.load_classifier("bundled:fashion-cnn").class_names
    (tmp_path / "mixed.txt").write_text("\n".join([*names[1:], names[0]]) + "\n")
    assert run(*QUICK, "--out", "base")[0] == 0
    mixed = ("--classes", "mixed.txt", "--junit", "gate.xml", "--baseline", "base")
    code, out, _ = run("audit", "bundled:fashion-cnn", "bundled:fashion-mnist", *QUICK[1:], "--out", "now", *mixed)
    assert code == 3
    assert "not met  baseline bundled:fashion-cnn:" in out
    assert "clean.accuracy is worse than in the baseline: 0.9" in out
    assert int(ElementTree.parse(tmp_path / "gate.xml").getroot().get("failures")) > 0
    code, out, _ = run("compare", "base", "now", "--fail-on-loss")
    assert code == 3
    assert "clean.accuracy" in out
    assert run("compare", "now", "base", "--fail-on-loss")[0] == 0


def test_a_threat_is_declared_and_images_to_compare_with_are_read(run, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("Trouser", "Bag"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (28, 28), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    code, _, _ = run(
        "audit", "bundled:fashion-cnn", "photos", "--checks", "leakage,calibration,adversarial", "--out", "run",
        "--threat", "linf:2/255", "--set", "adversarial.threats=[]", "--set", "adversarial.steps=1",
        "--train", "photos", "--val", "photos",
    )  # fmt: skip
    assert code == 0
    plan = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert set(plan["companions"]) == {"train", "val"}
    declared = next(check for check in plan["checks"] if check["check"] == "adversarial")["declared"]
    assert declared == [{"norm": "linf", "size": 2.0}]


@pytest.mark.usefixtures("unread_images")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--require", "clean.acuracy>=0.9"], "did you mean 'clean.accuracy'"),
        (["--require", "clean.accuracy=0.9"], "expected METRIC>=VALUE"),
        (["--require", "clean.accuracy>=90%"], "'90%' is no finite number"),
        (["--require", "corruption.error<=0.5"], "the check corruption does not run in this audit"),
        (["--require", "findings.severe.value<=0"], "leave .value out"),
        (["--require", "findings.bad<=0"], "no figure of this audit has that name"),
        (["--fail-on", "bad"], "'bad' is not one of"),
        (["--baseline", "nowhere"], "nowhere cannot be read: there is no such folder"),
        (["--baseline", "run"], "is also the folder of this audit"),
        (["--junit", "."], "is a folder"),
        (["--sarif", "."], "name a file, such as snellen.sarif"),
        (["--threat", "linf:8"], "the check 'adversarial' does not run"),
    ],
)
def test_what_would_fail_after_the_audit_is_refused_before_it(run, arguments, message):
    code, _, err = run(*QUICK, "--out", "run", *arguments)
    assert code == 2
    assert message in flat(err)
    assert "Traceback" not in err


def test_a_requirement_on_a_check_that_was_skipped_fails(run):
    code, out, _ = run(
        "audit", "--limit", "20", "--checks", "clean,group_gap", "--require", "group_gap.worst_accuracy>=0"
    )
    assert code == 3
    assert "not measured: the check group_gap was skipped, because it needs groups" in flat(out)
