"""Training images without shortcuts: from edits that flip decisions, by a token for each class, without groups."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

import snellen
from snellen.core.errors import InputError, RunConflictError
from snellen.core.images import ImageSet, Provenance
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.truth import set_column
from snellen.methods.generation.made_images import generator_of
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Source
from snellen.models.diffusion.generator_adapters import GeneratorAdapters, model_hashes
from snellen.models.diffusion.learned_tokens import TOKENS, load_tokens, row_of
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.systems.language_guided_augmentation import augmenting
from snellen.systems.language_guided_augmentation.augmenting import (
    FewEditsWarning,
    edited_images,
    teachable,
    without_shortcuts,
)
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.systems.language_guided_augmentation.personalising import (
    SMALL,
    TEMPLATES,
    TokenFit,
    personalised,
    tokens_of,
)
from tests.systems.language_guided_augmentation.leaning import (
    BACKGROUND,
    CLASSES,
    HARMLESS,
    OBJECT,
    reader,
    scenes,
    the_corner,
    the_ground,
    the_object,
)

TINY = SMALL.model_copy(update={"steps": 2, "batch_size": 2, "crops": 1})
FAST = ByName(steps=2)


@pytest.fixture(scope="module")
def leaning():
    return reader(the_ground), scenes(BACKGROUND, HARMLESS, count=30)


@pytest.fixture(scope="module")
def made(leaning, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "set"
    fit = TINY.model_copy(update={"trials": 2})
    return without_shortcuts(*leaning, out=folder, method=FAST, check=Shortcuts(kept=8, first=6), fit=fit, count=2)


def grouped(images: ImageSet, groups) -> ImageSet:
    return replace(images, table=set_column(images.table, "group", pa.array(groups, pa.string())))


def test_the_published_numbers_are_one_preset():
    fit = TokenFit()
    assert (fit.steps, fit.batch_size, fit.peak, fit.weight_decay, fit.word) == (1000, 4, 5e-4 * 4, 1e-2, "the")
    assert (fit.trials, fit.prompt, fit.guidance) == (8, "a photo of a {}", 7.5)
    assert SMALL.guidance == 2.0
    prompts = {fit.prompt, *TEMPLATES}
    assert len(prompts) == 27
    assert all(one.count("{}") == 1 for one in prompts)


@pytest.mark.covers("4.7")
def test_learning_a_token_changes_one_row_and_no_other(leaning, made, monkeypatch):
    """Rows of the table, bit for bit, before, during and after; what is written is the new row alone."""
    generator = generator_of(FAST.generator)
    table = generator.text.towers[0].network.get_input_embeddings()
    before, weights = table.weight.detach().clone(), model_hashes(generator)
    seen = []
    plain = torch.optim.AdamW

    class Watched(plain):
        def __init__(self, parameters, **options):
            seen.append((parameters, options))
            super().__init__(parameters, **options)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    folder = made.folder.with_name("set-edits")
    source, few = teachable(snellen.load_images(folder / "manifest.csv"), CLASSES, "")
    assert few == []
    asking = personalised(FAST, source, made.folder.with_name("again"), fit=TINY)
    assert len(seen) == 2
    for parameters, options in seen:
        assert [tuple(one.shape) for one in parameters] == [(1, before.shape[1])]
        assert options == {"lr": TINY.peak, "weight_decay": TINY.weight_decay}
    assert torch.equal(table.weight, before)
    assert model_hashes(generator) == weights
    tokens = asking.adapters()
    for name, start in (("red", "<red>"), ("blue", "<blue>")):
        file = tokens.folder / tokens.card.adapters[name].folder / "text_encoder" / TOKENS
        ((token, row),) = load_tokens(file).items()
        assert token == start
        assert row.shape == before.shape[1:]
        assert not torch.equal(row, row_of(generator, TINY.word))
        with tokens.acting(generator, name):
            rows = generator.text.towers[0].network.get_input_embeddings()
            assert torch.equal(rows.table.weight, before)
            assert torch.equal(rows.rows[0], row)


@pytest.mark.covers("4.7")
def test_a_token_begins_as_the_word_and_learns_what_its_images_show(leaning, tmp_path):
    """Of red images and of blue ones: what is generated from the tokens differs as they do."""
    _, images = leaning
    source = Source.of_images(images)
    fit = SMALL.model_copy(update={"steps": 60, "crops": 1})
    asking = personalised(ByName(steps=8), source, tmp_path / "tokens", fit=fit)
    rows = asking.rows(Source(source.classes), 6, 0)
    shown = asking.generate([asking.request(row, source) for row in rows], rng=Randomness(0))
    redness = {name: [] for name in source.classes}
    for number, row in enumerate(rows):
        pixels = np.asarray(shown.read(number), float)[8:24, 8:24]
        redness[row.label].append(pixels[..., 0].mean() - pixels[..., 2].mean())
    assert np.mean(redness["red"]) > np.mean(redness["blue"]) + 40


@pytest.mark.covers("4.8")
def test_images_come_from_the_tokens_and_not_from_the_edited_images(made):
    assert made.written == {f"trial-{trial}": {"red": 2, "blue": 2} for trial in (0, 1)}
    tokens = made.folder.with_name("set-tokens")
    for trial in (0, 1):
        identity = GeneratorAdapters.load(tokens / f"trial-{trial}").identity
        assert made.plan["models"][f"trial-{trial}"]["adapters"] == identity
    images = snellen.load_images(made.manifest)
    origins = [Provenance.model_validate_json(one) for one in images.column("provenance")]
    assert {one.origin for one in origins} == {"generated"}
    assert {one.prompt for one in origins} == {"a <red>", "a <blue>", "a <red-1>", "a <blue-1>"}
    assert set(images.column("synthetic")) == {"1"}
    edits = snellen.load_images(made.folder.with_name("set-edits") / "manifest.csv")
    pixels = {np.asarray(images.read(row)).tobytes() for row in range(len(images))}
    assert pixels.isdisjoint(np.asarray(edits.read(row)).tobytes() for row in range(len(edits)))
    assert all(found.of_real == 0 for found in made.copies.values()), "copies of edited images are counted"
    for row, origin in enumerate(origins):
        assert images.class_names[images.labels[row]] in origin.prompt


def test_what_is_generated_without_the_tokens_is_something_else(made):
    """The same noise and prompts, and a token that is left as it began."""
    asking = FAST.model_copy(
        update={"words": {"red": "<red>"}, "adapter": made.folder.with_name("set-tokens") / "trial-0"}
    )
    request = {"id": "a", "label": "red", "index": 0, "prompt": "a <red>", "seed": 3}
    learned = np.asarray(asking.generate([request], rng=Randomness(0)).read(0), int)
    plain = np.asarray(FAST.generate([request], rng=Randomness(0)).read(0), int)
    assert np.abs(learned - plain).max() > 1


@pytest.mark.covers("4.9")
def test_groups_change_nothing_up_to_the_generated_set(leaning, made, tmp_path, monkeypatch):
    """Other groups: the same edits, tokens and images, byte for byte; nothing ever asks for them."""
    classifier, images = leaning
    asked = []
    plain = ImageSet.column
    monkeypatch.setattr(ImageSet, "column", lambda self, name: (asked.append(name), plain(self, name))[1])
    other = grouped(images, [f"group {row % 3}" for row in range(len(images))])
    fit = TINY.model_copy(update={"trials": 2})
    again = without_shortcuts(
        classifier, other, out=tmp_path / "set", method=FAST, check=Shortcuts(kept=8, first=6), fit=fit, count=2
    )
    monkeypatch.undo()
    assert "group" not in asked
    for name in ("set/manifest.csv", "set-edits/manifest.csv"):
        assert (tmp_path / name).read_bytes() == (made.folder.parent / name).read_bytes()
    for file in sorted((made.folder / "images").iterdir()):
        assert (again.folder / "images" / file.name).read_bytes() == file.read_bytes()
    for file in sorted(made.folder.parent.glob(f"set-tokens/*/*/*/{TOKENS}")):
        assert (tmp_path / file.relative_to(made.folder.parent)).read_bytes() == file.read_bytes()


@pytest.mark.covers("4.11", "4.12")
def test_edits_are_a_data_set_with_quotas_and_provenance(leaning, made):
    folder = made.folder.with_name("set-edits")
    record = json.loads((folder / "edits.json").read_text())
    assert record["statuses"] == {"red": "examined", "blue": "examined"}
    assert record["selected"] == {"red": 6, "blue": 6}, "the quota of the first phrase"
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    chosen = {(row["example_id"], row["phrase"]) for row in record["edits"] if row["selected"]}
    assert {(Provenance.model_validate_json(row["provenance"]).source_id, row["phrase"]) for row in rows} == chosen
    edits = snellen.load_images(folder / "manifest.csv")
    with torch.no_grad():
        for row, name in enumerate(edits.class_names[label] for label in edits.labels):
            prepared = leaning[0].prepare(edits.read(row))[None]
            assert CLASSES[int(leaning[0](prepared).argmax())] != name, "each flips the decision"
    assert Counter(row["phrase"] for row in rows) == {"grass": 6, "sand": 6}


def test_a_stopped_call_goes_on_and_another_classifier_is_refused(leaning, made, monkeypatch):
    def never(*_, **__):
        raise AssertionError("finished edits and tokens are taken as they are")

    monkeypatch.setattr(augmenting, "look", never)
    monkeypatch.setattr("snellen.systems.language_guided_augmentation.personalising.learn_token", never)
    fit = TINY.model_copy(update={"trials": 2})
    again = without_shortcuts(
        *leaning, out=made.folder, method=FAST, check=Shortcuts(kept=8, first=6), fit=fit, count=2
    )
    assert again.written == made.written
    with pytest.raises(RunConflictError, match="edits of another classifier, other images or other settings"):
        without_shortcuts(*leaning, out=made.folder, method=FAST, check=Shortcuts(kept=9), fit=fit, count=2)


def test_few_edits_teach_no_token(leaning, tmp_path):
    edits = edited_images(*leaning, tmp_path / "edits", check=Shortcuts(kept=8, first=6))
    names = [edits.class_names[label] for label in edits.labels]
    red, blue = ([row for row, own in enumerate(names) if own == name] for name in CLASSES)
    with pytest.warns(FewEditsWarning, match=r"fewer than 5 edited images teach no token: red \(4\); so it is"):
        source, few = teachable(edits.select([*red[:4], *blue]), CLASSES, "so it is")
    assert (source.classes, few) == (("blue",), ["red"])
    assert source.images.class_names == ("blue",)
    assert set(source.images.labels.tolist()) == {0}
    with (
        pytest.warns(FewEditsWarning, match=r"token: red \(3\), blue \(3\); these are generated"),
        pytest.raises(InputError, match=r"no class has 5 edited images.*train with the edited images alone"),
    ):
        without_shortcuts(*leaning, out=tmp_path / "set", method=FAST, check=Shortcuts(first=3), fit=TINY)
    assert len(snellen.load_images(tmp_path / "set-edits" / "manifest.csv")) == 6


def test_without_a_shortcut_nothing_is_generated_and_the_reason_is_given(leaning, tmp_path):
    _, images = leaning
    with pytest.raises(InputError, match=r"no edit of .* shows a shortcut of reader.*red: examined; blue: examined"):
        without_shortcuts(reader(the_object), images, out=tmp_path / "none", method=FAST, fit=TINY)
    assert json.loads((tmp_path / "none-edits" / "edits.json").read_text())["edits"]
    wrong = reader(lambda shown: -the_object(shown))
    with pytest.raises(InputError, match="of 30 images no decision is right, so that no edit can show anything"):
        without_shortcuts(wrong, images, out=tmp_path / "wrong", method=FAST, fit=TINY)
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_used_is_refused_before_anything_is_edited(leaning, tmp_path, monkeypatch):
    classifier, images = leaning
    monkeypatch.setattr(augmenting, "look", lambda *_, **__: pytest.fail("nothing is edited"))
    with pytest.raises(InputError, match="name another word"):
        without_shortcuts(classifier, images, out=tmp_path / "a", method=FAST, fit=TokenFit(word="unforeseen"))
    with pytest.raises(InputError, match=r"one text tower.*takes classes"):
        without_shortcuts(classifier, images, out=tmp_path / "a", method=ByName(generator="bundled:fashion-diffusion"))
    with pytest.raises(InputError, match="leave out the adapter"):
        without_shortcuts(classifier, images, out=tmp_path / "a", method=ByName(adapter=tmp_path))
    with pytest.raises(InputError, match="at least 1 image"):
        without_shortcuts(classifier, images, out=tmp_path / "a", method=FAST, count=0)
    marked = replace(images, table=images.table.append_column("synthetic", [["1"] * len(images)]))
    with pytest.raises(InputError, match="real images, and 30 of"):
        without_shortcuts(classifier, marked, out=tmp_path / "a", method=FAST)
    tested = replace(images, table=set_column(images.table, "split", pa.array(["test"] * len(images))), split="test")
    with pytest.raises(InputError, match="no training images"):
        without_shortcuts(classifier, tested, out=tmp_path / "a", method=FAST)


def test_images_without_captions_or_a_detector_say_what_to_give(leaning, tmp_path):
    classifier, images = leaning
    plain = replace(images, table=images.table.drop_columns(["caption"]))
    with pytest.raises(InputError, match="needs captions"):
        without_shortcuts(classifier, plain, out=tmp_path / "a", method=FAST, fit=TINY)


@pytest.mark.covers("4.7", "4.8")
def test_stable_diffusion_goes_the_same_way(leaning, tmp_path):
    """The exact classes with random weights: a token is learned with the published prompts, and images are made."""
    folder = write_smoke_folder("stable-diffusion-1.5", tmp_path / "sd")
    maker, fit = ByName(generator=f"diffusers:{folder}", steps=1, guidance_scale=7.5), TokenFit(word="a", steps=2)
    source = Source.of_images(leaning[1].select(range(8)))
    asking = personalised(maker, source, tmp_path / "tokens", fit=fit.model_copy(update={"crops": 1}))
    card = asking.adapters().card
    assert card.prompts["red"][:2] == ("a photo of a <red>", "a photograph of a <red>")
    assert len(card.prompts["red"]) == 27
    assert card.models == model_hashes(generator_of(maker.generator))
    rows = asking.rows(Source(source.classes), 1, 0)
    asking.check(rows, Source(source.classes))
    made = asking.generate([asking.request(row, source) for row in rows], rng=Randomness(0))
    assert len(made) == 2
    assert {row.prompt for row in rows} == {"a photo of a <red>", "a photo of a <blue>"}


def test_a_class_without_an_edit_is_named_and_gets_as_many_images(leaning, tmp_path):
    """The classifier leans on a cyan object for "red" alone: "blue" has no edit that flips, and stays in the set."""
    images = scenes(OBJECT, count=40)
    with pytest.warns(FewEditsWarning, match=r"blue \(none\); these are generated from their names by the generator"):
        made = without_shortcuts(
            reader(the_corner), images, out=tmp_path / "set", method=FAST, check=Shortcuts(first=6), fit=TINY, count=3
        )
    assert json.loads((tmp_path / "set-edits" / "edits.json").read_text())["selected"] == {"red": 6}
    assert made.written == {"trial-0": {"red": 3, "blue": 3}}, "balanced"
    found = snellen.load_images(made.manifest)
    names = [found.class_names[label] for label in found.labels]
    prompts = {
        (name, Provenance.model_validate_json(one).prompt)
        for name, one in zip(names, found.column("provenance"), strict=True)
    }
    assert prompts == {("red", "a <red>"), ("blue", "a blue")}
    # Those of "blue" are the generator's own, to the last byte.
    row = names.index("blue")
    seed = Provenance.model_validate_json(found.column("provenance")[row]).seed
    plain = FAST.generate([{"id": "a", "label": "blue", "prompt": "a blue", "seed": seed}], rng=Randomness(0))
    assert np.abs(np.asarray(found.read(row), int) - np.asarray(plain.read(0), int)).max() <= 1


def test_guidance_is_that_of_the_tokens_unless_it_is_set(leaning, tmp_path):
    source = Source.of_images(leaning[1])
    folder = tmp_path / "tokens"
    assert personalised(FAST, source, folder, fit=TINY).guidance_scale == 2.0
    higher = TINY.model_copy(update={"guidance": 7.5})
    assert personalised(FAST, source, folder, fit=higher).guidance_scale == 7.5, "and the tokens are the same"
    own = ByName(steps=2, guidance_scale=4.0)
    assert personalised(own, source, folder, fit=higher).guidance_scale == 4.0


def test_tokens_of_other_settings_name_the_setting_and_both_values(leaning, tmp_path):
    source = Source.of_images(leaning[1])
    personalised(FAST, source, tmp_path / "tokens", fit=TINY)
    other = TINY.model_copy(update={"steps": 3})
    with pytest.raises(RunConflictError, match=r"other settings: steps \(there 2, now 3\)\. Give those settings again"):
        personalised(FAST, source, tmp_path / "tokens", fit=other)


def test_names_that_are_spelled_alike_get_tokens_of_their_own():
    names = ["St. Bernard", "st bernard", "st bernard 0", "雪", "月", "a" * 60, "a" * 70]
    for trial in (0, 1):
        found = tokens_of(names, trial)
        assert list(found) == names
        assert len(set(found.values())) == len(names)
    assert tokens_of(["star", "ring"], 1) == {"star": "<star-1>", "ring": "<ring-1>"}
