"""``snellen treat`` as a user calls it, and the commands that reports print."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil

import pytest

import snellen
from snellen.auditing.compare.run_record import open_report
from snellen.checks.treatments import TRAINING_IMAGES, UNTREATED
from snellen.core import index
from snellen.core.finding import KINDS
from tests.document_blocks import ROOT

SHAPES = "size=32&sizes=large&shapes=ring,star,heart,square,triangle,cross&seed=5"
IMAGES, TRAIN = (f"optotypes:scenes?count=300&{SHAPES}#test", f"optotypes:scenes?count=1000&{SHAPES}#train")


#: Stands for the folder of a test in what was printed in another one.
HERE = "{here}"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder for the audits that were made once, and what each printed."""
    return tmp_path_factory.mktemp("kept"), {}


@pytest.fixture
def audited(run, kept, tmp_path):
    """What an audit prints, of a classifier of which the training images are known, and of one where they are not."""
    folder, printed = kept
    for name, more in (("known", ["--train", TRAIN]), ("unknown", [])):
        out = tmp_path / "runs of" / name
        if name in printed:
            shutil.copytree(folder / name, out)
            continue
        code, found, err = run("audit", "bundled:scene-cnn", IMAGES, *more, "--checks", "clean", "--out", out)
        assert code == 0, err
        shutil.copytree(out, folder / name)
        printed[name] = found.replace(str(tmp_path), HERE)
    return {name: found.replace(HERE, str(tmp_path)) for name, found in printed.items()}


def words(command):
    first, *rest = shlex.split(command)
    assert first == "snellen"
    return rest


def test_the_command_that_the_terminal_prints_runs_as_printed(run, audited, tmp_path):
    command = re.search(r"Treat the first: (.*)", audited["known"])[1]
    assert TRAINING_IMAGES not in command
    code, out, err = run(*words(command))
    assert code == 0, err
    assert "mended" in out
    (reference,) = shlex.split(re.search(r"use it as (.*)", out)[1])
    snellen.load_classifier(reference)  # a folder whose name holds a space
    card = (tmp_path / "runs of" / "known-treated" / "README.md").read_text(encoding="utf-8")
    assert ast.literal_eval(re.search(r"load_classifier\((.*)\)", card)[1]) == reference
    assert (tmp_path / "runs of" / "known-treated" / "treatment.json").is_file()


def test_the_command_under_a_finding_runs_in_the_folder_of_the_report(run, audited, tmp_path, monkeypatch):
    folder = tmp_path / "runs of" / "unknown"
    finding = next(one for one in open_report(folder).findings if one.subject == "star")
    (command,) = finding.treatments
    monkeypatch.chdir(folder)
    code, out, err = run(*words(command.replace(TRAINING_IMAGES, TRAIN)), "--treatment", "last_layer_retraining")
    assert code == 0, err
    assert "mended" in out
    made = json.loads((folder / "treated" / "treatment.json").read_bytes())
    assert [one["key"] for one in made["findings"]] == ["worst_class:star"]


def test_the_terminal_says_what_stands_for_training_images_and_treats_the_first_that_can_be(capsys, tmp_path):
    from snellen.cli.audit_summary import show_report

    report = snellen.audit(
        "bundled:fashion-cnn", snellen.load_images("bundled:fashion-mnist").limit(300), checks=["clean"]
    )
    first = next(one for one in report.findings if one.kind == "worst_class")
    first = first.model_copy(
        update={"harm": 0.1, "treatments": (f"snellen treat . --train {TRAINING_IMAGES} --out treated",)}
    )
    other = first.model_copy(update={"kind": "coverage", "harm": 0.2, "treatments": ("images must be collected",)})
    show_report(report.model_copy(update={"findings": (first,)}), tmp_path, data="bundled:fashion-mnist")
    printed = capsys.readouterr().out
    assert "Treat the first: snellen treat" in printed
    assert f"{TRAINING_IMAGES} stands for labelled images" in printed
    assert "Others of their source are known:fashion-mnist#train" in printed
    show_report(report.model_copy(update={"findings": (other, first)}), tmp_path)
    printed = capsys.readouterr().out
    assert f"Treat the first that can be ({first.key}): snellen treat" in printed
    assert "known:" not in printed, "other images may bear the same name"
    show_report(report.model_copy(update={"findings": (other,)}), tmp_path)
    assert "No command treats the first: images must be collected" in capsys.readouterr().out


def test_the_plan_is_shown_and_nothing_is_written(run, audited, tmp_path):
    before = set(tmp_path.rglob("*"))
    code, out, err = run("treat", tmp_path / "runs of" / "known", "--plan-only")
    assert code == 0, err
    assert "last_layer_retraining, then" in out
    assert "Chosen on 100 images that were held out of 1000 training images; 100 others of them fit" in out
    assert set(tmp_path.rglob("*")) == before


def test_a_generator_is_used_where_it_is_named(run, audited, tmp_path):
    folder, star = tmp_path / "runs of" / "known", ("--finding", "worst_class:star", "--plan-only")
    code, out, err = run("treat", folder, *star)
    assert code == 0, err
    assert "Not tried: synthesized_images (needs a generator of images (--generator REF))." in out
    maker = ("--generator", "bundled:scene-diffusion", "--prompt", "a {}", "--prompt", "a red {}")
    code, out, err = run("treat", folder, *star, *maker)
    assert code == 0, err
    assert ", then synthesized_images" in out
    for wrong, words_of_error in (
        (("--prompt", "a {}"), "--adapter and --prompt belong to a generator"),
        ((*maker, "--prompt", "a star"), "must say where the class stands"),
        ((*maker, "--adapter", tmp_path), "holds no adapters of a generator"),
    ):
        code, _, err = run("treat", folder, *star, *wrong)
        assert code == 2
        assert words_of_error in err


def test_wrong_input_is_refused_in_one_sentence(run, audited, tmp_path):
    folder = tmp_path / "runs of" / "unknown"
    for arguments, message in (
        ([folder], "name a new folder for the treated classifier with --out FOLDER"),
        ([folder, "--out", "new"], "give training images with train=... (--train DATA)"),
        (
            [folder, "--train", TRAIN, "--finding", "worst_class:stars", "--out", "new"],
            "did you mean 'worst_class:star'",
        ),
        ([folder, "--train", TRAIN, "--treatment", "balanced", "--out", "new"], "did you mean 'balanced_tuning'"),
        ([tmp_path / "nothing", "--train", TRAIN, "--out", "new"], "there is no such folder"),
        ([folder, "--train", "nowhere", "--out", "new"], "nowhere"),
        ([folder, "--without", "scanned", "--out", "new"], "name these images, too, with --train"),
        ([folder, "--train", TRAIN, "--without", "scanned", "--out", "new"], "no evidence of a scan"),
        ([folder, "--train", IMAGES, "--out", "new"], "holds test images"),
        ([folder, "--train", TRAIN, "--out", folder], "is not an empty folder; name a new one with --out"),
    ):
        code, _, err = run("treat", *arguments)
        assert code == 2, err
        assert message in " ".join(err.split()), err
        assert "Traceback" not in err
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("damaged", "code"), [(3, 0), (60, 2)])
def test_damaged_training_images_are_left_out_and_counted(run, audited, tmp_path, damaged, code):
    snellen.write_images(snellen.load_images(TRAIN), tmp_path / "train")
    files = sorted((tmp_path / "train").rglob("*.png"))
    pictures = [file for file in files if "mask" not in str(file)]
    for file in pictures[:damaged]:
        file.write_bytes(file.read_bytes()[:60])
    found, out, err = run(
        "treat", tmp_path / "runs of" / "unknown", "--train", tmp_path / "train" / "manifest.csv", "--out", "made",
        "--finding", "worst_class:star", "--treatment", "last_layer_retraining",
    )  # fmt: skip
    assert found == code, err
    assert "Traceback" not in err
    said = " ".join((out + err).split())
    assert re.search(r"\d of \d+ images of .* were left out" if code == 0 else "cannot be used|rejected", said), said


def test_json_is_the_record(run, audited, tmp_path):
    code, out, err = run("treat", tmp_path / "runs of" / "known", "--finding", "worst_class", "--out", "made", "--json")
    assert code == 0, err
    assert json.loads(out) == json.loads((tmp_path / "made" / "treatment.json").read_bytes())


def test_what_is_advised_instead_of_a_treatment_exists():
    known = {name.replace("_", "-") for name in index.methods("recipes")}
    listings = (ROOT / "src").rglob("*.py")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in listings)
    for kind, sentence in UNTREATED.items():
        assert kind in KINDS
        for command in re.findall(r"snellen train ([\w-]+)", sentence):
            assert command in known, f"{kind}: there is no snellen train {command}"
        for listing in re.findall(r"lists/(\w+)\.json", sentence):
            assert re.search(
                rf'name: ClassVar\[str\] = "{listing}"|[A-Z]+ = "{listing}"|"{listing}": \[|\{{"{listing}":', sources
            ), kind
