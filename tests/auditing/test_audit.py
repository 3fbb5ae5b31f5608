"""The audit end to end: files, figures, resume, rejected images, skipped checks, errors."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from snellen.auditing import plan
from snellen.auditing.audit import audit
from snellen.auditing.checks import resolve_checks
from snellen.auditing.checks.adversarial import Adversarial
from snellen.auditing.checks.clean import Clean
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.threat import Threat
from snellen.checks.treatments import AUDITED_IMAGES, AUDITED_MODEL, TRAINING_IMAGES
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, RejectedImageError, RunConflictError, UnknownNameError
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.methods.corruptions.corruption import Corruption
from snellen.models.classifiers.references import load_classifier

QUICK = [
    CommonCorruptions(kinds=("brightness", "gaussian_noise"), severities=(1, 5)),
    Adversarial(threats=(Threat(norm="linf", size=1),), steps=3),
]


def content(folder):
    """Every file of a run by name, but for the clock readings."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "timing.json"
    }


def test_the_run_directory_holds_what_is_promised(problem, tmp_path):
    classifier, images, _ = problem
    report = audit(classifier, images, out=tmp_path / "run", checks=QUICK)
    assert report.folder == tmp_path / "run"
    for name in ("report.html", "report.json", "manifest.json", "timing.json", "rejected.json"):
        assert (tmp_path / "run" / name).is_file()
    record = json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(record) >= {"model", "data", "metrics", "findings", "checks"}
    assert record["metrics"]["clean.accuracy"].keys() == {"value", "low", "high", "n"}
    assert set(record["metrics"]) == {
        "clean.accuracy", "clean.balanced_accuracy",
        "corruption.clean_error", "corruption.error",
        "corruption.brightness.error", "corruption.gaussian_noise.error",
        "corruption.brightness.1.accuracy", "corruption.brightness.5.accuracy",
        "corruption.gaussian_noise.1.accuracy", "corruption.gaussian_noise.5.accuracy",
        "adversarial.linf.1.accuracy", "adversarial.linf.1.fgsm.accuracy",
    }  # fmt: skip
    assert record["findings"][0].keys() >= {
        "kind", "subject", "key", "harm", "level", "p_value", "title", "facts", "examples", "treatments",
    }  # fmt: skip
    assert record["tested"] == {"hypotheses": 8, "findings": 2, "rate": 0.05}, "guessing, classes, corruptions"
    assert [column["name"] for column in record["eye_chart"]["columns"]] == ["brightness", "gaussian_noise", "linf.1"]
    assert [check["name"] for check in record["checks"]] == ["clean", "corruption", "adversarial"]
    tables = {path.stem: pq.read_table(path) for path in (tmp_path / "run" / "evidence").glob("*.parquet")}
    assert set(tables) == {"clean", "corruption", "adversarial"}
    assert len(tables["clean"]) == 150
    assert len(tables["corruption"]) == 150 * 2 * 3


@pytest.mark.smoke
def test_figures_equal_a_calculation_by_hand(problem, tmp_path):
    classifier, images, labels = problem
    metrics = audit(classifier, images, checks=QUICK).metrics
    batch = torch.stack([classifier.prepare(example.image) for example in images])
    assert metrics["clean.accuracy"].value == pytest.approx(0.9)
    bright = Corruption(kind="brightness").shift(batch, 5)
    by_hand = (classifier(bright).argmax(1) == labels).double().mean()
    assert metrics["corruption.brightness.5.accuracy"].value == pytest.approx(float(by_hand))
    right = classifier(batch).argmax(1) == labels
    rng = Randomness(0).for_examples(images.ids)
    by_fgsm = FGSM(epsilon=1 / 255).attack(classifier, batch, labels).success & right
    by_pgd = PGD(epsilon=1 / 255, steps=3).attack(classifier, batch, labels, rng=rng).success & right
    assert 0 < by_fgsm.sum() < right.sum()
    unbroken = (right & ~by_fgsm).double().mean()
    assert metrics["adversarial.linf.1.fgsm.accuracy"].value == pytest.approx(float(unbroken))
    unbroken = (right & ~by_fgsm & ~by_pgd).double().mean()
    assert metrics["adversarial.linf.1.accuracy"].value == pytest.approx(float(unbroken))


def test_a_second_run_and_an_interrupted_one_give_the_same_bytes(problem, tmp_path, monkeypatch):
    classifier, images, _ = problem
    monkeypatch.setattr(plan, "BATCHES_PER_SHARD", 1)
    whole = audit(classifier, images, out=tmp_path / "whole", checks=QUICK, batch_size=16)
    first = content(tmp_path / "whole")
    audit(classifier, images, out=tmp_path / "whole", checks=QUICK, batch_size=16)
    assert content(tmp_path / "whole") == first

    measure = CommonCorruptions.measure

    def interrupted(check, batch):
        if batch.ids[0] == images.ids[64]:
            raise KeyboardInterrupt
        return measure(check, batch)

    monkeypatch.setattr(CommonCorruptions, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        audit(classifier, images, out=tmp_path / "killed", checks=QUICK, batch_size=16)
    monkeypatch.setattr(CommonCorruptions, "measure", measure)
    assert len(list((tmp_path / "killed" / "shards").iterdir())) == 4
    assert not (tmp_path / "killed" / "report.json").exists()
    measured = []

    def watched(check, batch):
        measured.append(batch.ids[0])
        return measure(check, batch)

    monkeypatch.setattr(CommonCorruptions, "measure", watched)
    resumed = audit(classifier, images, out=tmp_path / "killed", checks=QUICK, batch_size=16)
    assert content(tmp_path / "killed") == first
    assert resumed.metrics == whole.metrics
    assert measured == images.ids[64::16], "shards that were done are not run again, the others are"


def test_a_damaged_shard_is_done_again(problem, tmp_path):
    classifier, images, _ = problem
    audit(classifier, images, out=tmp_path / "run", checks=["clean"])
    first = content(tmp_path / "run")
    (tmp_path / "run" / "shards" / "000000" / "clean.parquet").write_bytes(b"")
    audit(classifier, images, out=tmp_path / "run", checks=["clean"])
    assert content(tmp_path / "run") == first
    seconds = json.loads((tmp_path / "run" / "timing.json").read_text())
    assert seconds["clean"] > 0, "clock readings of earlier runs are kept"


def test_a_run_of_a_model_that_cannot_be_distinguished_from_another_is_not_taken_up(problem, tmp_path):
    classifier, images, _ = problem
    module = classifier.module
    arguments = {"class_names": "abcde", "preparation": classifier.preparation, "name": "plain"}
    audit(Classifier(lambda x: module(x), **arguments), images, out=tmp_path / "plain", checks=["clean"])
    with pytest.raises(InputError, match="cannot be hashed"):
        audit(Classifier(lambda x: -module(x), **arguments), images, out=tmp_path / "plain", checks=["clean"])
    audit(classifier, images, out=tmp_path / "module", checks=["clean"])
    with classifier.edit("0", torch.zeros_like), pytest.raises(InputError, match="an edited model"):
        audit(classifier, images, out=tmp_path / "module", checks=["clean"])
    module[-1].bias.data += 1
    with pytest.raises(RunConflictError, match="differs in: model"):
        audit(classifier, images, out=tmp_path / "module", checks=["clean"])


def test_workers_change_nothing_and_batch_size_next_to_nothing(problem, tmp_path):
    classifier, images, _ = problem
    one = audit(classifier, images, out=tmp_path / "one", checks=QUICK, workers=0)
    audit(classifier, images, out=tmp_path / "two", checks=QUICK, workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    other = audit(classifier, images, checks=QUICK, batch_size=1)
    for name, figure in one.metrics.items():
        assert other.metrics[name].value == pytest.approx(figure.value, abs=0.02), name


def test_another_plan_in_the_same_folder_is_refused_and_named(problem, tmp_path):
    classifier, images, _ = problem
    audit(classifier, images, out=tmp_path / "run", checks=["clean"])
    with pytest.raises(RunConflictError, match=r"holds another run \(differs in: seed\)"):
        audit(classifier, images, out=tmp_path / "run", checks=["clean"], seed=1)


def test_bad_images_are_named_and_counted_nowhere(problem, tmp_path):
    classifier, images, labels = problem
    for index in range(40):
        folder = tmp_path / "data" / "abcde"[int(labels[index])]
        folder.mkdir(parents=True, exist_ok=True)
        images.read(index).save(folder / f"{index:03d}.png")
    (tmp_path / "data" / "a" / "broken<b>.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    report = audit(classifier, load_images(tmp_path / "data"), out=tmp_path / "run", checks=["clean"], batch_size=8)
    assert report.metrics["clean.accuracy"].n == 40
    assert report.metrics["clean.accuracy"].value == pytest.approx(25 / 40)
    rejected = json.loads((tmp_path / "run" / "rejected.json").read_text())
    assert [row["id"] for row in rejected] == ["a/broken<b>.png"]
    assert rejected[0]["reason"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "broken<b>" not in page
    assert "broken&lt;b&gt;" in page
    assert report.data["rejected"] == 1


@pytest.mark.parametrize("batch_size", [1, 64])
def test_images_on_which_the_model_gives_nan_are_set_aside_in_any_batch(problem, batch_size):
    classifier, images, _ = problem
    module = classifier.module

    def sometimes(batch):
        scores = module(batch)
        scores[batch[:, 0, 0, 0] > 0.95] = float("nan")
        return scores

    flaky = Classifier(sometimes, class_names="abcde", preparation=classifier.preparation, name="flaky")
    lost = sum(example.image.getpixel((0, 0))[0] / 255 > 0.95 for example in images)
    assert lost > 0
    checks = [CommonCorruptions(kinds=("brightness",), severities=(5,))]
    report = audit(flaky, images, checks=checks, batch_size=batch_size, allow_rejected=True)
    assert report.data["rejected"] == lost
    assert report.metrics["clean.accuracy"].n == 150 - lost
    bright = report.metrics["corruption.brightness.5.accuracy"]
    steady = audit(classifier, images, checks=checks, batch_size=batch_size).metrics["corruption.brightness.5.accuracy"]
    assert bright.n == 150 - lost
    assert bright.value < steady.value, "brighter corners are not finite either: decisions that are lost"
    assert any("Check corruption" in note and "rows failed" in note for note in report.notes)
    never = Classifier(
        lambda x: module(x) * float("nan"), class_names="abcde", preparation=classifier.preparation, name="never"
    )
    with pytest.raises(ModelError, match="never gives no finite scores"):
        audit(never, images, checks=["clean"], batch_size=batch_size)


def test_checks_that_cannot_run_are_skipped_with_the_reason(problem):
    classifier, images, _ = problem
    module = classifier.module
    blind = Classifier(lambda x: module(x), class_names="abcde", preparation=classifier.preparation, name="blind")
    report = audit(blind, images, checks=QUICK)
    status = {check.name: (check.status, check.reason) for check in report.checks}
    assert status["adversarial"] == ("skipped", "needs gradients, and blind gives none")
    assert status["corruption"] == ("done", None)
    pixels = np.stack([np.asarray(example.image) for example in images])
    assert not audit(classifier, images.unlabelled(), checks=QUICK).metrics
    unlabelled = audit(classifier, load_images(pixels), checks=QUICK)
    assert not unlabelled.metrics
    assert {c.name for c in unlabelled.checks if c.status == "skipped"} == {"corruption", "adversarial"}


def test_labels_only_models_are_audited_without_confidence(problem):
    classifier, images, _ = problem
    module = classifier.module

    def one_hot(batch):
        return torch.nn.functional.one_hot(module(batch).argmax(1), 5).float()

    model = Classifier(one_hot, class_names="abcde", preparation=classifier.preparation, output="labels", name="l")
    report = audit(model, images, checks=QUICK)
    assert "calibration.ece" not in report.metrics
    assert report.metrics["clean.accuracy"].value == pytest.approx(0.9)
    assert report.metrics["corruption.brightness.5.accuracy"].n == 150


#: What a command must name of classifier and images that were objects.
OBJECTS = f"--model {AUDITED_MODEL} --images {AUDITED_IMAGES}"


def test_a_page_says_how_a_classifier_in_memory_is_treated(problem):
    classifier, images, _ = problem
    report = audit(classifier, images, checks=["clean", "calibration"])
    page = report.html
    assert "In Python the report knows them" in page
    assert "treated = snellen.treat(report, train=TRAINING_IMAGES)\ntreated.show()\ntreated.module" in page
    assert f"({AUDITED_MODEL}: what opens the same classifier again" in page
    assert "treated.show()" in report.to_markdown()


def test_findings_are_ranked_and_no_adversarial_harm_without_a_threat(problem):
    classifier, images, _ = problem
    findings = audit(classifier, images, checks=QUICK).findings
    assert [f.harm for f in findings] == sorted((f.harm for f in findings), reverse=True)
    adversarial = next(f for f in findings if f.kind == "adversarial")
    assert adversarial.harm == 0
    assert "no threat was declared" in adversarial.title
    brightness = next(f for f in findings if f.facts.get("corruption") == "brightness")
    assert brightness.key == "corruption:light"
    command = f"snellen treat . --finding corruption:light --train {TRAINING_IMAGES} {OBJECTS} --out treated"
    assert brightness.treatments == (command,)
    assert 0 < brightness.harm < brightness.facts["mean_drop"]
    assert brightness.examples[0].image != brightness.examples[0].after


def test_a_planted_weak_class_is_the_worst_class(problem):
    classifier, images, labels = problem
    worse = labels.clone()
    worse[:15] = classifier(torch.stack([classifier.prepare(e.image) for e in images]))[:15].argmax(1)
    of_class_two = (worse == 2).nonzero().flatten()
    assert len(of_class_two) > 12
    pixels = np.stack([np.asarray(example.image) for example in images])
    # Twelve images of other classes are called class 2: wrong in a third or more of it, right everywhere else.
    others = (worse != 2).nonzero().flatten()[:12]
    worse[others] = 2
    report = audit(classifier, load_images((pixels, worse.numpy())), checks=["clean"])
    (finding,) = [f for f in report.findings if f.kind == "worst_class"]
    assert finding.facts["class"] == "c"
    assert finding.facts["accuracy"] == pytest.approx(len(of_class_two) / (len(of_class_two) + 12))
    assert {e.example_id for e in finding.examples} <= {images.ids[int(i)] for i in others}


def test_the_page_is_self_contained_under_a_strict_policy(problem, tmp_path):
    classifier, images, _ = problem
    audit(classifier, images, out=tmp_path / "run", checks=QUICK)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "default-src 'none'" in page
    assert page.count("<script") == 1, "one script of our own, by its hash"
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert " style=" not in page, "inline style attributes would be blocked by the page's own policy"
    assert page.count("<img ") >= 4
    assert all("alt=" in tag for tag in re.findall(r"<img [^>]*>", page))
    assert len(page) < 1_000_000


def test_hostile_names_are_text(problem, tmp_path):
    classifier, images, _ = problem
    evil = "</title><script>alert(1)</script>"
    pixels = np.stack([np.asarray(example.image) for example in images])
    named = Classifier(classifier.module, class_names=[evil, *"bcde"], preparation=classifier.preparation, name=evil)
    audit(named, load_images((pixels, images.labels), name=evil), out=tmp_path / "run", checks=QUICK)
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("<script") == 1
    assert "alert(1)</script>" not in page


def test_errors(problem, tmp_path):
    classifier, images, _ = problem
    with pytest.raises(UnknownNameError, match="unknown check 'adverserial'; did you mean 'adversarial'"):
        audit(classifier, images, checks=["adverserial"])
    with pytest.raises(InputError, match="requested twice"):
        resolve_checks(["clean", Clean()])
    with pytest.raises(InputError, match="no check is named"):
        audit(classifier, images, checks=[])
    with pytest.raises(InputError, match="holds no images"):
        audit(classifier, images.select([]))
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        audit(classifier, images, batch_size=0)
    two = Classifier(classifier.module, class_names=["a", "b"], preparation=classifier.preparation)
    with pytest.raises((InputError, ModelError), match="5"):
        audit(two, images)
    several = load_images((np.zeros((4, 12, 12, 3), dtype=np.uint8), np.eye(5, dtype=np.uint8)[:4]))
    with pytest.raises(InputError, match="several"):
        audit(classifier, several)
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the 1 images .* could be used"):
        audit(classifier, load_images(tmp_path), checks=["clean"])
    file = tmp_path / "file"
    Image.new("RGB", (2, 2)).save(file, "PNG")
    with pytest.raises(InputError, match="cannot write to"):
        audit(classifier, images, out=file / "run", checks=["clean"])


def test_a_file_that_vanishes_after_it_was_measured_costs_the_pictures_alone(problem, monkeypatch):
    classifier, images, _ = problem
    whole = audit(classifier, images, checks=QUICK)

    def gone(_set, index):
        raise RejectedImageError("the file is gone")

    concluded = CommonCorruptions.conclude

    def conclude(check, reading):
        monkeypatch.setattr(type(images), "read", gone)  # after the last shard, before the pictures
        return concluded(check, reading)

    monkeypatch.setattr(CommonCorruptions, "conclude", conclude)
    report = audit(classifier, images, checks=QUICK)
    assert report.metrics == whole.metrics
    assert [f.title for f in report.findings] == [f.title for f in whole.findings]
    assert whole.findings[0].examples[0].image is not None
    assert all(e.image is None for f in report.findings for e in f.examples)


def test_whoever_waits_hears_the_accuracy_so_far_and_the_report_does_not_hold_it():
    class Listening(Silent):
        def __init__(self):
            self.notes = []

        def advance(self, task, amount, note=""):
            self.notes.append(note)

    listener = Listening()
    images = load_images("bundled:fashion-mnist").limit(30)
    checks = ["clean", {"check": "corruption", "kinds": ["contrast"], "severities": [1]}]
    report = audit(load_classifier("bundled:fashion-cnn"), images, checks=checks, batch_size=10, progress=listener)
    said = [note.partition("; ")[2] for note in listener.notes if note.startswith("clean")]
    assert [words.rpartition(" (")[2] for words in said] == ["10 images)", "20 images)", "30 images)"]
    assert said[-1] == f"provisional accuracy {report.metrics['clean.accuracy'].value:.1%} (30 images)"
    assert "provisional" not in str(report.to_json())
