"""Audits without pictures and without names: what is kept is what is promised, and the figures are the same."""

import hashlib
import json
import stat
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.auditing import completion, shard_work
from snellen.auditing.audit import audit
from snellen.auditing.checks.adversarial import Adversarial
from snellen.auditing.checks.bags import BagDecisions
from snellen.auditing.checks.clean import Clean
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.compare.compare import compare
from snellen.auditing.threat import Threat
from snellen.checks.check import CheckResult
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError, RunConflictError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.run import Run
from snellen.core.run_plan import code_hash
from snellen.data.privacy.pseudonyms import Pseudonyms
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.testing.conformance import small_problem
from tests.auditing.kept_files import mentions, pictures, texts

QUICK = [
    "clean", "discrimination", "calibration", "selective", "group_gap", "slices", "label_noise", "duplicates",
    "leakage", "drift", "data_quality", BagDecisions(shown=2),
    CommonCorruptions(kinds=("brightness", "gaussian_noise"), severities=(1, 5)),
    Adversarial(threats=(Threat(norm="linf", size=1),), steps=3),
]  # fmt: skip

CLINICS = ("Klinik <am> Rosengarten", "St. Mary's & Jöhn")
PATIENTS = ("Doe, Jane *1951", "Müller\nHans *1952", "Ωmega *1953", "<b>Bob</b> *1954")


class Named:
    """Images in memory whose files have names, and say them when they cannot be read."""

    def __init__(self, pixels, names, broken=()):
        self.pixels, self.names, self.broken = pixels, names, set(broken)

    def read(self, index):
        if index in self.broken:
            raise RejectedImageError(f"damaged: {self.names[index]} is no image")
        return Image.fromarray(self.pixels[index])

    def content_hash(self, index):
        return f"{index}: {self.pixels[index].sum()}"

    def bag_thumbnail(self, bag_id, longest):
        assert bag_id.startswith("slide of")
        return Image.new("RGB", (longest, longest), (200, 120, 160))

    def tile_boxes(self, rows):
        rows = np.asarray(rows)
        return np.stack([rows % 6 / 6, rows // 6 / 6, rows % 6 / 6 + 1 / 6, rows // 6 / 6 + 1 / 6], 1)


def named_set(name, seed, count=72, broken=(5, 40)):
    """Images with hostile names of everything, several of each patient, some equal, two that cannot be read."""
    rng = np.random.default_rng(seed)
    classifier, images, labels = small_problem(count=count, size=16)
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    pixels[count - 6 :] = pixels[:6]  # copies, and nearly
    pixels[count - 12 : count - 6] = (pixels[6:12] * 0.8).astype(np.uint8)
    with torch.no_grad():
        labels = classifier(torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    labels = np.where(rng.random(count) < 0.3, (labels + 1) % 2, labels % 2)
    names = [f"{PATIENTS[row % 4]}/scan {seed}-{row:03d}.png" for row in range(count)]
    table = pa.table(
        {
            "id": names,
            "label": labels,
            "unit_id": [PATIENTS[row % 4] if row % 3 else None for row in range(count)],
            "group": [CLINICS[row % 2] for row in range(count)],
            "bag_id": [f"slide of {PATIENTS[row % 4]} no. {row % 12}" for row in range(count)],
            "bag_label": [row % 12 % 2 for row in range(count)],
            "caption": [f"seen by Dr. {CLINICS[0]}"] * count,
        }
    )
    return ImageSet(Named(pixels, names, broken), table, ("healthy", "ill"), name=name)


def made_clinic():
    """A model of two classes, audited images and training images that share patients and pictures."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.ReLU(), nn.Linear(8, 2))
    classifier = small_problem(count=4, size=16)[0]
    model = Classifier(
        module,
        class_names=("healthy", "ill"),
        preparation=classifier.preparation,
        name="onnx:model of Dr. Doe.onnx",
        notes=("model of Dr. Doe.onnx was not asked",),
        feature_layer="2",
    )
    return model, named_set("audited at Rosengarten", 0), named_set("trained at Rosengarten", 1, 48, ())


def run(clinic, folder, **options):
    classifier, images, train = clinic
    return audit(classifier, images, train=train, checks=QUICK, batch_size=9, out=folder, **options)


@pytest.fixture(scope="module", autouse=True)
def _one_code():
    """The hash of the package's code is read once, not for each of many runs."""
    code = code_hash()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: code)
        yield


@pytest.fixture
def clinic():
    return made_clinic()


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    """An ordinary audit, which keeps pictures and names."""
    folder = tmp_path_factory.mktemp("ordinary")
    run(made_clinic(), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def pictureless(tmp_path_factory):
    """The same without pictures."""
    folder = tmp_path_factory.mktemp("pictureless")
    run(made_clinic(), folder / "run", save_images=False)
    return folder / "run"


@pytest.fixture(scope="module")
def nameless(tmp_path_factory):
    """The same under pseudonyms; the file of names lies beside it."""
    folder = tmp_path_factory.mktemp("nameless")
    run(made_clinic(), folder / "run", pseudonyms=folder / "names.json")
    return folder / "run"


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def strings(value):
    """Every text in JSON."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


def names_in(folder):
    """What the file of names beside a run says."""
    return json.loads((folder.parent / "names.json").read_text())


def names_of(clinic):
    classifier, images, train = clinic
    found = {classifier.name, "Dr. Doe", "Rosengarten", "scan 0-", "scan 1-", *CLINICS, *PATIENTS}
    for one in (images, train):
        for column in ("id", "unit_id", "group", "bag_id", "caption"):
            found |= set(one.column(column)) - {None}
        found.add(one.name)
    return sorted(found | {part for name in PATIENTS for part in name.split()[:1]})


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_the_walk_finds_every_sort_of_picture_of_an_ordinary_audit(ordinary):
    """What the next test relies on."""
    found = pictures(ordinary)
    assert {place.split("/")[0] for place, _ in found} == {"blobs", "evidence", "report.html", "shards", "train"}
    assert {sort for _, sort in found} >= {
        "WebP", "data URL of image/webp", "image element", "column fingerprint.thumbnails", "column fingerprint.chroma",
    }  # fmt: skip


def test_without_images_no_picture_is_anywhere_in_the_run(pictureless):
    assert pictures(pictureless) == []
    assert not (pictureless / "blobs").exists()
    clean = texts(pictureless)["evidence/clean.parquet, unpacked"]
    for column in ("pixel_hash", "features", "scores", "property.brightness"):
        assert column in clean, "what stays, as docs/privacy.md says"


def test_without_images_the_report_is_the_same_but_for_pictures(ordinary, pictureless):
    ours, theirs = report_of(pictureless), report_of(ordinary)
    assert any(finding["subject"].startswith("near") for finding in theirs["findings"]), "needs fingerprints"
    assert any(panel.get("heat") for panel in theirs["panels"])
    assert any(example["image"] for finding in theirs["findings"] for example in finding["examples"])
    for finding in theirs["findings"]:
        for example in finding["examples"]:
            example |= {"image": None, "after": None}
    theirs["panels"] = [panel for panel in theirs["panels"] if not panel.get("heat")]
    assert [note for note in ours["notes"] if "No picture" in note] == [ours["notes"].pop(3)]
    assert ours == theirs
    for listing in ("duplicates", "leakage", "bags"):
        assert (pictureless / f"lists/{listing}.json").read_bytes() == (ordinary / f"lists/{listing}.json").read_bytes()
    assert "No picture of an image was kept" in (pictureless / "report.html").read_text()


def test_with_images_and_without_are_two_runs(clinic, pictureless):
    with pytest.raises(RunConflictError, match=r"differs in: save_images\)"):
        run(clinic, pictureless)


def test_an_image_that_is_gone_at_the_end_is_reported(clinic, tmp_path, monkeypatch):
    conclude = completion.conclude

    def late(classifier, images, *arguments, **options):
        images.source.broken.add(7)
        return conclude(classifier, images, *arguments, **options)

    monkeypatch.setattr(completion, "conclude", late)
    with pytest.raises(InputError, match=r"1 of 70 images of .* were readable before and are not any more"):
        run(clinic, tmp_path / "run", save_images=False)


def test_images_without_finite_scores_are_not_fingerprinted_again(clinic, monkeypatch):
    classifier, images, _ = clinic
    score = shard_work.score_batch

    def spoil(model, batch, keep):
        scores, features = score(model, batch, keep)
        scores[0] = torch.nan
        return scores, features

    monkeypatch.setattr(shard_work, "score_batch", spoil)
    checks = ["clean", "duplicates"]
    ours, theirs = (
        audit(classifier, images, checks=checks, batch_size=9, save_images=one, allow_rejected=True)
        for one in (False, True)
    )
    assert ours.data["rejected"] == theirs.data["rejected"] == 2 + 8, "one of each batch"
    assert [check.status for check in ours.checks] == ["done", "done"]
    assert ours.metrics == theirs.metrics


class Painter(Clean):
    """A check of somebody else's that keeps pictures beside its evidence, and shows some."""

    name: ClassVar[str] = "painter"

    def measure(self, batch):
        blob = b"\x89PNG\r\n\x1a\n" + batch.ids[0].encode()
        return replace(
            Evidence.of(batch.ids, setting="painted", model="m"), blobs={hashlib.sha256(blob).hexdigest(): blob}
        )

    def conclude(self, reading):
        return CheckResult(pictures={"0" * 64: b"RIFF1234WEBP"})


@pytest.mark.parametrize("save_images", [True, False])
def test_pictures_of_other_peoples_checks_are_kept_or_not(clinic, tmp_path, save_images):
    classifier, images, _ = clinic
    audit(classifier, images, checks=["clean", Painter()], out=tmp_path / "run", save_images=save_images)
    assert {sort for _, sort in pictures(tmp_path / "run")} >= ({"PNG", "WebP"} if save_images else set())
    assert bool(pictures(tmp_path / "run")) is save_images


# -- names ------------------------------------------------------------------------------------------------------------


def test_the_search_finds_every_name_in_an_ordinary_audit(clinic, ordinary):
    """What the next test relies on."""
    found = mentions(ordinary, names_of(clinic))
    assert {name for told in found.values() for name in told} >= {*PATIENTS, *CLINICS, *clinic[1].ids[:4], "Dr. Doe"}
    assert {"manifest.json", "rejected.json", "report.json", "report.html", "lists/leakage.json"} <= set(found)


def test_under_pseudonyms_no_name_is_in_any_byte_of_the_run(clinic, nameless):
    assert mentions(nameless, names_of(clinic)) == {}
    assert len(report_of(nameless)["findings"]) > 3
    rejected = json.loads((nameless / "rejected.json").read_text())
    assert [row["reason"] for row in rejected] == ["damaged: … is no image"] * 2
    assert names_in(nameless)["key"] not in str(texts(nameless))
    assert any("pseudonyms" in note for note in report_of(nameless)["notes"])


def test_the_owner_can_look_names_up(clinic, nameless):
    names = names_in(nameless)["names"]
    assert stat.S_IMODE((nameless.parent / "names.json").stat().st_mode) == 0o600
    rejected = json.loads((nameless / "rejected.json").read_text())
    assert {names[row["id"]] for row in rejected} == {clinic[1].ids[5], clinic[1].ids[40]}
    assert {*PATIENTS, *CLINICS, *clinic[1].ids, *clinic[2].ids} <= set(names.values())
    assert names[report_of(nameless)["data"]["name"]] == "audited at Rosengarten"


def test_under_pseudonyms_figures_that_nothing_random_decides_are_the_same(ordinary, nameless):
    plain, hidden = report_of(ordinary), report_of(nameless)
    alike = [
        name
        for name in plain["metrics"]
        if name.startswith(("clean.", "discrimination.", "bags.", "selective.", "corruption.brightness"))
    ]
    assert len(alike) > 10
    for name in alike:
        assert hidden["metrics"][name]["value"] == pytest.approx(plain["metrics"][name]["value"], abs=1e-6), name
    assert hidden["data"]["units"] == plain["data"]["units"]
    leaks = [json.loads((folder / "lists/leakage.json").read_text()) for folder in (ordinary, nameless)]
    names = names_in(nameless)["names"]
    found = [{(row["sort"], row["id"]) for row in one} for one in leaks]
    assert {(sort, names[key]) for sort, key in found[1]} == found[0], "what both sets share is found"
    assert {row["sort"] for row in leaks[1]} >= {"exact", "unit"}


def test_pictures_of_slides_are_still_found(nameless):
    heat = [one for panel in report_of(nameless)["panels"] for one in panel.get("heat", ())]
    assert heat
    assert all(one["plain"] is not None for one in heat)
    assert all(one["title"].startswith("p-") for one in heat)


def test_the_same_file_gives_the_same_bytes_and_another_key_is_another_run(clinic, nameless, tmp_path):
    whole = {place: text for place, text in texts(nameless).items() if not place.endswith("timing.json")}
    for folder in (nameless, tmp_path / "again"):
        run(clinic, folder, pseudonyms=nameless.parent / "names.json")
        assert {place: text for place, text in texts(folder).items() if not place.endswith("timing.json")} == whole
    with pytest.raises(RunConflictError, match="pseudonyms"):
        run(clinic, tmp_path / "again", pseudonyms=tmp_path / "other.json")
    with pytest.raises(RunConflictError, match="pseudonyms"):
        run(clinic, tmp_path / "again")


def test_runs_are_compared_image_by_image_under_one_key_alone(clinic, nameless, tmp_path):
    for name, file in (("one", nameless.parent / "names.json"), ("other", tmp_path / "other.json")):
        run(clinic, tmp_path / name, pseudonyms=file)
    assert compare(nameless, tmp_path / "one").paired
    assert not compare(nameless, tmp_path / "other").paired


def test_the_file_may_not_lie_in_the_run(clinic, tmp_path):
    for place in ("run/names.json", "run/../run/x/names.json"):
        with pytest.raises(InputError, match="is to hold no names"):
            run(clinic, tmp_path / "run", pseudonyms=tmp_path / place)
    assert not (tmp_path / "run").exists()


def test_names_are_in_the_file_before_anything_is_written(clinic, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "write_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(clinic, tmp_path / "run", pseudonyms=tmp_path / "names.json")
    assert set(clinic[1].ids) <= set(Pseudonyms.open(tmp_path / "names.json").names.values())


def test_both_together_keep_neither(clinic, tmp_path):
    run(clinic, tmp_path / "run", pseudonyms=tmp_path / "names.json", save_images=False)
    assert pictures(tmp_path / "run") == []
    assert mentions(tmp_path / "run", names_of(clinic)) == {}


def test_other_models_that_checks_name_lose_their_names_too(clinic, tmp_path):
    classifier, images, _ = clinic
    corruption = {"check": "corruption", "kinds": ["brightness"], "severities": [1, 5]}
    audit(classifier, images, checks=["clean", corruption], out=tmp_path / "earlier")
    reference = {**corruption, "reference": str(tmp_path / "earlier")}
    masking = {"check": "masking", "share": 1e-9, "surrogate": "onnx:/home/Dr. Doe/surrogate.onnx"}
    checks = ["clean", reference, "adversarial", masking]
    audit(classifier, images, checks=checks, out=tmp_path / "run", pseudonyms=tmp_path / "names.json")
    assert mentions(tmp_path / "run", names_of(clinic)) == {}
    assert "corruption.mce" in report_of(tmp_path / "run")["metrics"]
    said = json.loads((tmp_path / "run" / "manifest.json").read_text())["checks"]
    replaced = {word.partition(":")[2] for word in strings(said) if word.startswith("onnx:")}
    known = names_in(tmp_path / "run")["names"]
    assert {known[key] for key in replaced} == {"/home/Dr. Doe/surrogate.onnx", "model of Dr. Doe.onnx"}, "looked up"


def test_workers_write_no_names_either(tmp_path):
    """What cannot be read is told by processes that have no key."""
    data = tmp_path / "Rosengarten"
    for number in range(8):
        place = data / "ab"[number % 2] / f"Jane Doe {number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (number * 30,) * 3).save(place)
    (data / "a" / "John Roe.png").symlink_to(tmp_path / "John Roe.png")
    (tmp_path / "names.txt").write_text("a\nb\n" + "\n".join("cdefghij"))
    classifier = load_classifier("bundled:fashion-cnn", tmp_path / "names.txt", name="hf:Dr. Doe")
    for engine, options in (("in_process", {}), ("local", {"processes": 1})):
        audit(
            classifier, load_images(data), checks=["clean"], out=tmp_path / engine, batch_size=2, engine=engine,
            threads=1, pseudonyms=tmp_path / "names.json", allow_rejected=True, **options,
        )  # fmt: skip
        assert mentions(tmp_path / engine, ["Rosengarten", "Jane", "Doe", "John", "Roe"]) == {}
    kept = [{p: t for p, t in texts(tmp_path / name).items() if "timing" not in p} for name in ("in_process", "local")]
    assert kept[0] == kept[1]
    assert len(json.loads(kept[1]["rejected.json"].encode("latin-1"))) == 1
