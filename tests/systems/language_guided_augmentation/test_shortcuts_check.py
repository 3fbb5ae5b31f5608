"""The check ``shortcuts``: planted shortcuts come first and harmless objects last, and edits alone are no evidence."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from snellen.auditing.audit import audit
from snellen.auditing.compare.compare import compare
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.truth import set_column
from snellen.systems.language_guided_augmentation import check as module
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.systems.language_guided_augmentation.discovery import (
    Discovery,
    EditRow,
    captions_of,
    class_statuses,
)
from snellen.systems.language_guided_augmentation.edits import SceneEditor
from snellen.systems.language_guided_augmentation.phrases import ImagePhrases
from tests.models.detectors.small_detectors import owl
from tests.systems.language_guided_augmentation.leaning import (
    BACKGROUND,
    CLASSES,
    HARMLESS,
    LETTERING,
    OBJECT,
    reader,
    scenes,
    the_corner,
    the_ground,
    the_letters,
    the_object,
)


def examined(reads, images, out=None, **fields):
    checks = ["clean", {"check": "shortcuts", "examples": 2, **fields}]
    return audit(reader(reads), images, checks=checks, out=out)


def shortcuts(report):
    return [one for one in report.findings if one.kind == "shortcut"]


def rows_of(report):
    """Class and phrase → images, flipped, control, beyond, score, in the order of the table."""
    (panel,) = (one for one in report.panels if one.check == "shortcuts")
    return {(label, phrase): tuple(figures) for label, phrase, *figures in panel.rows}


def captioned(images: ImageSet, captions) -> ImageSet:
    return replace(images, table=set_column(images.table, "caption", pa.array(captions, pa.string())))


@pytest.mark.covers("4.2")
def test_a_planted_background_comes_first_in_both_classes_and_a_frequent_harmless_object_last():
    report = examined(the_ground, scenes(BACKGROUND, HARMLESS, count=40))
    assert {one.subject for one in shortcuts(report)} == {"red: grass", "blue: sand"}
    table = rows_of(report)
    assert {one for one, _ in zip(table, range(2), strict=False)} == {("red", "grass"), ("blue", "sand")}
    harmless = {key: figures for key, figures in table.items() if "circle" in key[1]}
    assert len(harmless) == 4
    for images, flipped, _, beyond, score in harmless.values():
        assert images >= 5
        assert (flipped, beyond, score) == (0.0, 0.0, 0.0)
    finding = shortcuts(report)[0]
    assert finding.facts["flip_share"] == finding.facts["score"] == 1.0
    assert finding.p_value == pytest.approx(0.5 ** finding.facts["images"])
    assert 0 < finding.harm < finding.facts["images"] / 40
    assert all(example.after is not None for example in finding.examples)
    assert report.metrics["shortcuts.red: grass.lost"].value == 1.0
    assert finding.treatments[0].startswith("snellen treat . --finding 'shortcut:")


@pytest.mark.parametrize(
    ("planted", "reads", "subject"),
    [(OBJECT, the_corner, "red: cyan circle"), (LETTERING, the_letters, "red: text MMMM")],
)
def test_a_planted_object_and_planted_letters_are_named(planted, reads, subject):
    report = examined(reads, scenes(planted, count=30))
    assert [one.subject for one in shortcuts(report)] == [subject]
    assert all(figures[1] == 0 for key, figures in rows_of(report).items() if ": ".join(key) != subject)


def test_a_classifier_that_reads_the_object_has_no_finding():
    report = examined(the_object, scenes(BACKGROUND, HARMLESS, count=30))
    assert report.metrics["clean.accuracy"].value == 1.0
    assert shortcuts(report) == []
    assert all(figures[1:] == (0.0, 0.0, 0.0, 0.0) for figures in rows_of(report).values())
    assert report.metrics["shortcuts.red: grass.lost"].value == 0.0


class Blackens(SceneEditor):
    """Leaves a trace in every edit, and in every control: a black line."""

    name = "blackens"

    def edit(self, subject, wish, lent, rng):
        found = super().edit(subject, wish, lent, rng)
        for image in (found.image, found.control):
            if image is not None:
                image[:, 0] = 0
        return found


@pytest.mark.covers("4.2")
def test_traces_of_editing_flip_controls_as_well_and_are_subtracted(monkeypatch):
    """Without the control every phrase would have the score 1."""
    monkeypatch.setattr(module, "SceneEditor", Blackens)
    report = examined(lambda images: images[:, :, 0].amax((1, 2)) - 0.01 - 9 * (the_object(images) < 0).float(),
                      scenes(HARMLESS, count=30))  # fmt: skip
    assert report.metrics["clean.accuracy"].value == 1.0
    assert shortcuts(report) == []
    reported = [figures for (label, _), figures in rows_of(report).items() if label == "red"]
    assert reported
    assert all((flipped, control, beyond, score) == (1, 1, 0, 1) for _, flipped, control, beyond, score in reported)


@pytest.mark.covers("4.1")
def test_only_right_images_are_edited_and_a_broken_classifier_has_an_empty_report():
    images = scenes(BACKGROUND, count=24)
    wrong = examined(lambda shown: -the_object(shown), images)
    constant = examined(lambda shown: torch.ones(len(shown)), images)
    for report, why in ((wrong, "no decision is right"), (constant, "all decisions are one class")):
        assert shortcuts(report) == []
        assert not any(one.check == "shortcuts" for one in report.panels)
        assert f"Shortcuts: of 24 images {why}, so that no edit can show anything." in report.notes
    noise = examined(lambda shown: (shown.sum((1, 2, 3)) * 1e4).sin(), images)
    assert shortcuts(noise) == [], "controls flip as often"


@pytest.mark.covers("4.1", "4.12")
def test_every_edit_is_stored_with_its_provenance_and_wrong_images_have_none(tmp_path):
    """Half of the images stand before the other class's background: the classifier is wrong there."""
    images = scenes(BACKGROUND.model_copy(update={"strength": 0.5}), HARMLESS, count=40)
    report = examined(the_ground, images, tmp_path, kept=7, first=4, later=2)
    right = [key for key, label, ground in zip(images.ids, images.labels, images.column("attributes"), strict=True)
             if ("grass" in ground) == (label == 0)]  # fmt: skip
    rows = json.loads((tmp_path / "lists" / "shortcut_edits.json").read_text())
    assert 0 < len(right) < 40
    assert {row["example_id"] for row in rows} == set(right)
    assert len(rows) == 2 * len(right), "a background and an object each"
    for row in rows:
        assert row["editor"] == "scenes drawn anew"
        assert row["before"] == row["label"] == row["control"]
        if row["kind"] == "background":
            assert {row["phrase"], row["alternative"]} == {"grass", "sand"}
            assert row["after"] == next(name for name in CLASSES if name != row["label"])
        else:
            assert (row["phrase"].split()[1], row["alternative"], row["after"]) == ("circle", None, row["label"])
    kept = load_file(tmp_path / "arrays" / "shortcuts.safetensors")
    chosen = [row for row in rows if row["selected"]]
    assert sorted(kept) == sorted(f"{row['label']}/{row['phrase']}/{row['example_id']}" for row in chosen)
    assert len(chosen) == 8, "four of either class"
    assert {(image.dtype, tuple(image.shape)) for image in kept.values()} == {(torch.uint8, (3, 32, 32))}
    assert report.findings


@pytest.mark.covers("4.5")
def test_no_alternative_no_edit():
    images = scenes(count=12)
    labels = dict(zip(images.ids, images.labels.tolist(), strict=True))
    found = Discovery(images, labels, [("red",), ("blue",)], SceneEditor(), reader(the_object), Randomness(0))
    (row,) = found.examine([ImagePhrases(images.ids[0], "x", background="grass")])
    assert (row.after, row.control, row.reason) == (None, None, "no alternative for its background")


def test_what_is_missing_is_said_for_each_class(tmp_path):
    """Of one class no image has a caption, of another no caption has a phrase, and one is never right."""
    images = scenes(BACKGROUND, count=24)
    captions = [None if label == 0 else "a blue square" for label in images.labels.tolist()]
    report = examined(the_object, captioned(images, captions), tmp_path)
    assert "Shortcuts: nothing is known of red: no caption." in report.notes
    assert "Shortcuts: nothing is known of blue: no phrase." in report.notes
    assert json.loads((tmp_path / "lists" / "shortcut_edits.json").read_text()) == []
    lost = captioned(images, ["a blue square on sand"] * 24)
    assert (
        "Shortcuts: nothing is known of red, blue: no alternative for its background."
        in examined(the_object, lost).notes
    )
    said = ["a blue square with a yellow star"] * 24
    assert "Shortcuts: nothing is known of red, blue: not found." in examined(the_object, captioned(images, said)).notes
    never = examined(lambda shown: the_object(shown).abs() - 9 * (shown[:, 0, 0, 0] < -1), scenes(HARMLESS, count=24))
    assert any("all decisions are one class" in note for note in never.notes)


def test_phrases_of_few_images_are_listed_and_not_tested(tmp_path):
    report = examined(the_ground, scenes(BACKGROUND, count=20), tmp_path, support=19)
    assert len(json.loads((tmp_path / "lists" / "shortcut_edits.json").read_text())) == 20
    assert shortcuts(report) == []
    assert not any(name.startswith("shortcuts") for name in report.metrics)
    assert any("2 phrases occur in fewer than 19 images with an edit and a control" in note for note in report.notes)


def test_a_detector_and_answers_of_a_language_model_work_through_the_audit(tmp_path):
    """Of random weights, on photographs with masks, as it were: nothing is meant, and everything is recorded."""
    images = scenes(count=6)
    images = replace(images, table=images.table.drop_columns(["attributes"]))
    answers = {key: {"foreground": ["a fence"], "background": ["a lawn"]} for key in images.ids[1:]}
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    fields = {"detector": f"hf:{owl(tmp_path / 'owl')}", "language": f"file:{tmp_path / 'answers.json'}", "support": 1}
    examined(the_object, images, tmp_path / "run", threshold=0.0, dilate=1, **fields)
    rows = json.loads((tmp_path / "run" / "lists" / "shortcut_edits.json").read_text())
    assert {(row["kind"], row["phrase"]) for row in rows} == {("object", "a fence"), ("background", "a lawn")}
    assert {row["example_id"] for row in rows} == set(images.ids[1:])
    assert {row["reason"] for row in rows if row["kind"] == "background"} == {"no alternative for its background"}
    assert {row["editor"] for row in rows} == {"hf:owl"}


def test_what_cannot_run_says_what_to_give(tmp_path):
    images = scenes(count=4)
    classifier = reader(the_object)
    silent = captioned(images, [None] * 4)
    assert "--set shortcuts.captioner" in (Shortcuts().missing(classifier, silent, frozenset()) or "")
    plain = replace(images, table=images.table.drop_columns(["attributes"]))
    assert "--set shortcuts.detector=hf:FOLDER" in (Shortcuts().missing(classifier, plain, frozenset()) or "")
    assert Shortcuts(detector="hf:x").missing(classifier, plain, frozenset()) is None
    (tmp_path / "synonyms.toml").write_text('green = ["lime"]\n')
    with pytest.raises(InputError, match="'green', which is no class"):
        Shortcuts(synonyms=f"file:{tmp_path / 'synonyms.toml'}").resolved(classifier)
    with pytest.raises(InputError, match="is file:FILE with a list for each class"):
        Shortcuts(synonyms="lime").resolved(classifier)
    with pytest.raises(InputError, match="download it first"):
        Shortcuts(detector="hf:IDEA-Research/grounding-dino-tiny").resolved(classifier)


def test_synonyms_leave_phrases_out(tmp_path):
    (tmp_path / "synonyms.toml").write_text('red = ["cyan"]\nblue = ["yellow circle"]\n')
    report = examined(the_corner, scenes(OBJECT, count=20), synonyms=f"file:{tmp_path / 'synonyms.toml'}")
    assert {phrase for _, phrase in rows_of(report)} == {"grass", "sand"}


def test_two_audits_are_compared_phrase_by_phrase(tmp_path):
    """The second model reads the object: what the first one leaned on is mended, image by image."""
    images = scenes(BACKGROUND, count=30)
    for name, reads in (("leans", the_ground), ("healed", the_object)):
        examined(reads, images, tmp_path / name)
    found = {one.key: one for one in compare(tmp_path / "leans", tmp_path / "healed").findings}
    assert found["shortcut:red: grass"].verdict in ("mended", "better")
    assert found["shortcut:red: grass"].difference == pytest.approx(-1.0)


def test_each_class_has_a_status_in_words():
    records = [ImagePhrases("a", "x", ("a boat",)), ImagePhrases("b", ""), ImagePhrases("c", "x")]
    records.append(ImagePhrases("d", "x", ("a tree",)))
    rows = [
        EditRow("a", 0, "object", "a boat", None, "test", after=0, control=0),
        EditRow("d", 3, "object", "a tree", None, "test", reason="not found"),
    ]
    found = class_statuses([0, 1, 2, 4, 3], [True, True, True, False, True], records, rows, 6)
    assert found == ["examined", "no caption", "no phrase", "not found", "no correct image", "no image"]


def test_images_without_a_caption_get_one_of_the_captioner():
    images = scenes(count=3)
    images = captioned(images, ["a red square", "", None])
    seen = []

    class Captions:
        preparation = Preprocessing(size=(16, 16), resize="exact", resize_to=(16, 16))

        def caption(self, shown, *, max_tokens):
            seen.append((tuple(shown.shape), max_tokens))
            return SimpleNamespace(texts=("a dog", "a cat"))

    assert captions_of(images, [2, 0, 1], Captions()) == ["a dog", "a red square", "a cat"]
    assert seen == [((2, 3, 16, 16), 100)]
    assert captions_of(images, [1, 0], None) == ["", "a red square"]
