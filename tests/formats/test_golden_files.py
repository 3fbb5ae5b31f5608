"""Files of every version of every format are read; those of a newer version are refused by each reader, in words."""

import importlib
import json
import shutil
from pathlib import Path

import jsonschema
import pytest

import snellen
from snellen.auditing.checks.corruption_reference import find_reference
from snellen.auditing.compare.compare import compare
from snellen.auditing.compare.run_record import RunRecord
from snellen.core import formats, index, package
from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, RunConflictError
from snellen.core.formats import FORMATS, MANIFEST, Format
from snellen.core.run import Run
from snellen.core.system import load_system
from snellen.models.weights.bundled_folders import read_card
from snellen.runs.unfinished import complete
from snellen.verbs.attacked_set import AttackedSet
from snellen.verbs.certified_set import CertifiedSet
from snellen.verbs.explained_set import ExplainedSet
from snellen.verbs.generated_set import GeneratedSet
from snellen.verbs.scanned_set import ScannedSet
from snellen.verbs.shifted_set import ShiftedSet
from snellen.verbs.treated import TreatmentRecord
from snellen.version import __version__

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
FOLDERS = sorted(path for path in HERE.iterdir() if path.is_dir() and not path.name.startswith("__"))
RECORDS = {
    "attack": AttackedSet,
    "certify": CertifiedSet,
    "explain": ExplainedSet,
    "generate": GeneratedSet,
    "scan": ScannedSet,
    "shift": ShiftedSet,
}

#: Files that are kept, by the name of their format.
KEPT = {f"{verb}.json": f"{verb}/{verb}.json" for verb in RECORDS} | {
    "card.json": "artifact/card.json",
    "inputs.json": "audit/inputs.json",
    "manifest.json": "audit/manifest.json",
    "report.json": "audit/report.json",
    "treatment.json": "treat/treatment.json",
}


def read(path):
    return json.loads(path.read_bytes())


@pytest.fixture
def schemas(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("format_schemas").schemas()


@pytest.fixture
def newer(tmp_path):
    """A copy of the golden files that a version 9 of each format could be."""
    copy = tmp_path / "newer"
    shutil.copytree(HERE / "version-1", copy)
    for kept in KEPT.values():
        value = read(copy / kept) | {"schema_version": 9, "written_by": "7.1.0"}
        (copy / kept).write_text(json.dumps(value), encoding="utf-8")
    return copy


# -- versions that were written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", KEPT)
def test_every_version_up_to_todays_is_kept(file):
    kept = {read(folder / KEPT[file]).get("schema_version", 1) for folder in FOLDERS}
    assert kept == set(range(1, FORMATS[file].version + 1))
    assert any("schema_version" not in read(folder / KEPT[file]) for folder in FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
@pytest.mark.parametrize("verb", RECORDS)
def test_a_record_is_read(folder, verb):
    file = f"{verb}.json"
    written = read(folder / verb / file)
    found = complete(folder / verb, file, RECORDS[verb], written["plan"], verb)
    again = found.to_json()
    assert (again.pop("schema_version"), again.pop("written_by")) == (FORMATS[file].version, __version__)
    assert again == {key: value for key, value in written.items() if key not in ("schema_version", "written_by")}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_an_audit_is_read(folder):
    record = RunRecord.read(folder / "audit")
    assert record.report.metrics["clean.accuracy"].n == len(record.images) == 6
    assert not {"schema_version", "written_by"} & {*record.plan}
    with pytest.raises(InputError, match="measured no corruption"):  # what it read was whole
        find_reference(str(folder / "audit"))


def test_audits_of_two_versions_are_compared():
    found = compare(HERE / "unversioned" / "audit", HERE / "version-1" / "audit")
    assert found.paired
    assert {figure.difference for figure in found.figures} == {0.0}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_an_artifact_is_read(folder):
    artifact = Artifact.load(folder / "artifact")
    assert artifact.tensors["weight"].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert artifact.card.class_names == ("left", "right")


def test_cards_of_earlier_versions_call_the_validation_split_val():
    """Whole words only, and nothing else of the card."""
    card = {"name": "tune.x", "metrics": {"tune.accuracy": 0.5, "test.tune.x": 1.0}, "history": [{"tune.loss": 2.0}]}
    assert FORMATS["card.json"].read(card, "card.json") == {
        "name": "tune.x",
        "metrics": {"val.accuracy": 0.5, "test.tune.x": 1.0},
        "history": [{"val.loss": 2.0}],
    }
    assert FORMATS["card.json"].read({"name": "a folder of files"}, "card.json") == {"name": "a folder of files"}
    assert all(Artifact.load(folder / "artifact").card.metrics == {"val.accuracy": 0.5} for folder in FOLDERS)


def test_reports_of_earlier_versions_name_the_setting_that_a_check_lacked():
    reasons = "needs a detector: --set edits.detector=FOLDER", "needs labels", None
    checks = [{"name": "a", "status": "skipped" if why else "done", "reason": why} for why in reasons]
    checks += [{"name": "b", "status": "failed", "reason": "try --set b.size=3"}]
    found = FORMATS["report.json"].read({"schema_version": 2, "checks": checks}, "report.json")["checks"]
    assert [one["setting"] for one in found] == ["detector", None, None, None]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_treatment_is_read_and_cited(folder):
    record = TreatmentRecord.read(folder / "treat")
    assert (record.findings[0].outcome, record.cost.n) == ("mended", 150)
    assert "Kirichenko" in snellen.cite(folder / "treat").text


# -- the schemas -------------------------------------------------------------------------------------------------------


def test_every_format_has_a_schema(schemas):
    assert set(schemas) == set(FORMATS)
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("file", KEPT)
def test_todays_files_follow_their_schema(schemas, file):
    written = [read(folder / KEPT[file]) for folder in FOLDERS]
    for value in written:
        todays = value.get("schema_version") == FORMATS[file].version
        assert jsonschema.Draft202012Validator(schemas[file]).is_valid(value) is todays
    assert not jsonschema.Draft202012Validator(schemas[file]).is_valid({**written[-1], "kind": 3, "plan": 3})


def test_embedded_cards_follow_the_schema_as_they_are_read(schemas):
    for name in package.EMBEDDED:
        card = FORMATS["card.json"].read(read(package.asset(name) / "card.json"), name)
        jsonschema.validate(FORMATS["card.json"].stamped(card), schemas["card.json"])


def test_every_system_follows_the_schema(schemas):
    tables = index.system_tables()
    assert len(tables) == 39
    for table in tables.values():
        jsonschema.validate(dict(table), schemas["system.toml"])
        assert not jsonschema.Draft202012Validator(schemas["system.toml"]).is_valid({**table, "titel": "?"})


# -- newer versions ----------------------------------------------------------------------------------------------------

NEWER = r"format version 9, written by Snellen 7\.1\.0; Snellen .* reads versions up to [123]: upgrade"


@pytest.mark.parametrize("verb", RECORDS)
def test_a_newer_record_is_refused(newer, verb):
    with pytest.raises(InputError, match=NEWER):
        complete(newer / verb, f"{verb}.json", RECORDS[verb], {}, verb)


@pytest.mark.parametrize("file", ["manifest.json", "report.json"])
def test_a_newer_audit_is_refused(newer, file):
    other = "report.json" if file == "manifest.json" else "manifest.json"
    shutil.copy(HERE / "version-1" / "audit" / other, newer / "audit" / other)
    with pytest.raises(InputError, match=f"{file} is a .*{NEWER}"):
        RunRecord.read(newer / "audit")
    with pytest.raises(InputError, match=NEWER):
        find_reference(str(newer / "audit"))


def test_a_newer_treatment_is_refused(newer):
    for read_again in (TreatmentRecord.read, snellen.cite):
        with pytest.raises(InputError, match=f"treatment.json is a record of a treatment of {NEWER}"):
            read_again(newer / "treat")


def test_what_a_newer_audit_examined_is_not_opened(newer):
    for file in ("manifest.json", "report.json"):
        shutil.copy(HERE / "version-1" / "audit" / file, newer / "audit" / file)
    with pytest.raises(InputError, match=f"inputs.json is a description of what an audit examined of {NEWER}"):
        snellen.treatment_plan(newer / "audit")


def test_a_newer_run_is_not_continued(newer):
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    images = snellen.load_images("bundled:fashion-mnist").limit(6)
    before = (newer / "audit" / "manifest.json").read_bytes()
    with pytest.raises(InputError, match=NEWER):
        snellen.audit(classifier, images, checks=["clean"], out=newer / "audit")
    assert (newer / "audit" / "manifest.json").read_bytes() == before
    unfinished = newer / "attack" / "unfinished"
    (unfinished / "shards" / "000000").mkdir(parents=True)
    (newer / "attack" / "attack.json").unlink()
    (unfinished / "manifest.json").write_bytes(before)
    with pytest.raises(InputError, match=NEWER):
        snellen.attack(classifier, images, "fgsm", out=newer / "attack")


def test_a_newer_card_is_refused(newer):
    with pytest.raises(InputError, match=f"card.json is a model card of {NEWER}"):
        Artifact.load(newer / "artifact")
    with pytest.raises(InputError, match=f"card.json is a model card of {NEWER}"):
        read_card(newer / "artifact")


def test_a_newer_system_is_refused(tmp_path):
    (tmp_path / "system.toml").write_text('schema_version = 9\nwritten_by = "7.1.0"\nnumber = 40\n', encoding="utf-8")
    with pytest.raises(InputError, match=NEWER):
        load_system(tmp_path)


def test_an_older_run_is_not_continued(tmp_path, monkeypatch):
    run = Run.open(tmp_path / "run", {"seed": 1})
    assert Run.open(run.folder, {"seed": 1}).plan == {"seed": 1}
    later = Format(MANIFEST.file, MANIFEST.content, (dict,))
    monkeypatch.setattr(importlib.import_module("snellen.core.run"), "MANIFEST", later)
    with pytest.raises(RunConflictError) as refused:
        Run.open(run.folder, {"seed": 1})
    told = f"holds a run of format version 1, written by Snellen {__version__}; Snellen {__version__} continues runs of"
    assert told in str(refused.value)
    assert "finish it with the Snellen that began it, or choose another --out" in str(refused.value)


def test_a_run_that_was_begun_before_versions_is_continued(tmp_path):
    run = Run.open(tmp_path / "run", {"seed": 1})
    manifest = run.folder / "manifest.json"
    assert read(manifest) == {"schema_version": formats.MANIFEST.version, "written_by": __version__, "seed": 1}
    manifest.write_text('{"seed": 1}', encoding="utf-8")
    assert Run.open(run.folder, {"seed": 1}).plan == {"seed": 1}
