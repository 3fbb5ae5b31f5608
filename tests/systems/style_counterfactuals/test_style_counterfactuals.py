"""The explanation from a user's side: rows, pictures, figures beside controls, and what is refused."""

import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.systems.style_counterfactuals import method as module
from snellen.systems.style_counterfactuals import rows as rows_module
from snellen.systems.style_counterfactuals.method import StyleCounterfactuals
from snellen.systems.style_counterfactuals.plan import PRESETS
from snellen.systems.style_counterfactuals.study import (
    Search,
)
from tests.systems.style_counterfactuals.small import PLAN, Brightness, classifier, images

METHOD = StyleCounterfactuals(held_back=24, agreement=0.0, steps=4, attributes=3, shown=2)


@pytest.fixture(autouse=True)
def _small_plan(monkeypatch):
    monkeypatch.setattr(module, "PRESETS", {**PRESETS, "small": PLAN})


def image_set(count=48, **options):
    return load_arrays(images(count).permute(0, 2, 3, 1).numpy(), **options)


@pytest.fixture(scope="module")
def described():
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "PRESETS", {**PRESETS, "small": PLAN})
    with patch.context():
        yield METHOD.describe(classifier(), image_set(), rng=Randomness(0))


@pytest.mark.covers("32.11")
def test_flips_stand_beside_those_of_random_coordinates_and_beside_what_they_cost(described):
    row = described.parts.index("top 3 together")
    for name in ("flipped", "distance", "off_manifold"):
        assert 0 <= float(described.figures[name][row]) < math.inf
        assert 0 <= float(described.controls[name][row]) < math.inf
    assert 0 < float(described.figures["agreement"][row]) <= 1
    assert float(described.figures["distance"][row]) > 0
    alone = [row for row, part in enumerate(described.parts) if ", attribute " in part]
    assert set(described.figures["effect"].isfinite().nonzero().flatten().tolist()) <= set(alone)
    for name, rows in (("flipped", [row]), ("flipped_alone", alone)):  # one figure is never a mean of both
        for figures in (described.figures, described.controls):
            assert set(figures[name].isfinite().nonzero().flatten().tolist()) <= set(rows)


def test_attributes_of_a_second_classifier_are_a_control(monkeypatch):
    """It may have other classes: its coordinates are moved in the directions that change this classifier."""
    monkeypatch.setattr(module, "load_classifier", lambda *_, **__: classifier(3))
    method = METHOD.model_copy(update={"judge": "second", "share": 0.1, "shown": 0})
    found = method.describe(classifier(), image_set(), rng=Randomness(0))
    (row,) = (at for at, part in enumerate(found.parts) if part.endswith(" together"))
    rate = float(found.figures["flipped_by_judge"][row])
    assert 0 <= rate <= 1
    assert f"as many attributes of the second classifier flip {rate:.0%}" in found.text[row]


def test_every_row_has_a_sentence_and_heads_for_its_pictures(described):
    assert all(described.text)
    assert [len(row) for row in described.heads] == [len(row) for row in described.pictures]
    assert len(set(described.parts)) == len(described.parts)
    examples = [row for row, part in enumerate(described.parts) if part.startswith("image ")]
    assert len(examples) == 2
    for row in examples:
        heads = described.heads[row]
        assert [head.partition(" class ")[0] for head in heads[:2]] == ["image,", "rebuilt,"]
        assert [head.split(",")[0] for head in heads[2:4]] == ["1 toward", "1 away"]
        assert all(0 <= float(head.rpartition(" ")[2]) <= 1 for head in heads)


@pytest.mark.covers("32.6")
def test_the_probability_above_a_picture_is_that_of_the_picture(described):
    judge = classifier()
    row = next(row for row, part in enumerate(described.parts) if part.startswith("image "))
    for head, picture in zip(described.heads[row], described.pictures[row], strict=True):
        target = int(head.split("class ")[1].split(" ")[0])
        chance = judge.probabilities(judge(to_unit(picture)[None]))[0, target]
        assert float(head.rpartition(" ")[2]) == pytest.approx(float(chance), abs=0.06)  # bytes, and two digits


def test_the_images_that_are_explained_are_not_those_of_the_training(monkeypatch):
    kept = {}
    real_train, real_study = module.trained_explainer, module.study
    monkeypatch.setattr(module, "trained_explainer", lambda *a, **k: kept.update(train=a[2]) or real_train(*a, **k))
    monkeypatch.setattr(module, "study", lambda *a, **k: kept.update(study=a[2]) or real_study(*a, **k))
    METHOD.describe(classifier(), image_set(), rng=Randomness(0))
    rows = {one.numpy().tobytes() for one in kept["train"]}
    held = {one.mul(255).round().to(torch.uint8).numpy().tobytes() for one in kept["study"]}
    assert (len(rows), len(held)) == (24, 24)
    assert not rows & held


def test_the_verb_writes_a_panel_for_each_image_and_a_page(tmp_path):
    done = snellen.explain(classifier(), image_set(), METHOD, out=tmp_path / "out here")
    names = [one.name for one in (tmp_path / "out here/style_counterfactuals").glob("*.png")]
    assert len(names) == 2 + sum("attribute" in one for one in done.evidence.table["example_id"].to_pylist())
    page = (tmp_path / "out here/explain.html").read_text()
    assert "1 toward, class" in page
    figures = done.settings["style_counterfactuals"].figures
    assert figures["flipped"].control is not None
    again = snellen.explain(classifier(), image_set(), METHOD, out=tmp_path / "second")
    assert again.settings == done.settings


def test_a_generator_is_kept_and_used_again_at_its_own_side(tmp_path):
    kept = METHOD.model_copy(update={"generator": tmp_path / "g"})
    first = kept.describe(classifier(), image_set(), rng=Randomness(0))
    second = kept.model_copy(update={"steps": None, "side": 32}).describe(classifier(), image_set(), rng=Randomness(0))
    assert first.text == second.text
    assert any("trained on none of them" in one for one in second.assumptions)
    third = kept.describe(classifier(), image_set(40), rng=Randomness(0))
    assert any("may have seen some of them" in one for one in third.assumptions)
    for name, value in (("steps", 9), ("side", 64), ("encoder", "single")):
        with pytest.raises(InputError, match=f"finished generator with {name} .* leave --{name} out"):
            kept.model_copy(update={name: value}).load()
    for preset, differs in (("published", "batch_size 4, and 64"), ("small", None)):
        named = StyleCounterfactuals(generator=tmp_path / "g", preset=preset, steps=4)
        if differs is None:
            named.load()
        else:
            with pytest.raises(InputError, match=f"trained with .*{differs} is asked for; leave --preset out"):
                named.load()


def test_of_three_classes_those_that_an_image_is_next_to_have_rows():
    found = METHOD.model_copy(update={"attributes": 1, "shown": 99}).describe(
        classifier(3), image_set(60), rng=Randomness(0)
    )
    own = [part.split(",")[0] for part in found.parts if "attribute" in part]
    next_to = {text.rpartition("next to it ")[2] for text in found.text if "next to it" in text}
    assert sorted(own) == sorted(next_to)


def test_filters_leave_images_out_and_say_so():
    found = METHOD.model_copy(update={"unstable": 0, "realistic": 1e9, "share": 0.5})
    with pytest.raises(InputError, match="more than 0 coordinates move 12 of 12 images, and two must be left"):
        found.describe(classifier(), image_set(), rng=Randomness(0))
    with pytest.raises(InputError, match="the critic takes their reconstruction for made"):
        METHOD.model_copy(update={"realistic": -1e9}).describe(classifier(), image_set(), rng=Randomness(0))


# -- what means nothing is an error ----------------------------------------------------------------------------


def test_a_verb_ends_with_that_error_and_no_record(tmp_path):
    with pytest.raises(ModelError, match="attributes of such a generator would mean nothing"):
        snellen.explain(classifier(3), image_set(), METHOD.model_copy(update={"agreement": 1.0}), out=tmp_path / "out")
    assert not (tmp_path / "out/explain.json").exists()


def test_images_of_one_decision_are_refused_before_a_training(monkeypatch):
    monkeypatch.setattr(module, "trained_explainer", lambda *_, **__: pytest.fail("trained"))
    dark = load_arrays(np.random.default_rng(0).integers(0, 9, (20, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="explained images are taken for class 0"):
        METHOD.model_copy(update={"agreement": 0.5}).describe(classifier(), dark, rng=Randomness(0))


def test_a_weak_agreement_is_said_in_the_result(monkeypatch):
    monkeypatch.setattr(rows_module, "SOUND", 1.01)
    found = METHOD.describe(classifier(), image_set(), rng=Randomness(0))
    assert any("attributes may mislead" in one for one in found.assumptions)
    assert "Careful" in found.text[found.parts.index("top 3 together")]


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="12 images of arrays are usable, and style_counterfactuals takes 16"):
        METHOD.describe(classifier(), image_set(12), rng=Randomness(0))


def test_broken_and_grey_images(tmp_path):
    for number, one in enumerate(images(40)):
        Image.fromarray(one[0].numpy(), mode="L").save(tmp_path / f"grey {number}.png")
    (tmp_path / "broken one.png").write_bytes(b"no image")
    found = METHOD.describe(classifier(), snellen.load_images(tmp_path), rng=Randomness(0))
    assert [key for key, _ in found.rejected] == ["broken one.png"]


@pytest.mark.parametrize("odd_first", [True, False])
def test_images_of_another_size_than_most_are_left_out_in_any_order(odd_first, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_TOGETHER", 4)
    free = Classifier(Brightness(), class_names=["dark", "bright"], preparation=Preprocessing(), name="any size")
    for number, one in enumerate(images(24)):
        odd = number < 4 if odd_first else number >= 20
        picture = Image.fromarray(one[0].numpy(), mode="L")
        (picture.resize((48, 40)) if odd else picture).save(tmp_path / f"{number:02d}.png")
    read = module.read_images(free, snellen.load_images(tmp_path), 32)
    assert (len(read.ids), read.size) == (20, (32, 32))
    others = range(4) if odd_first else range(20, 24)
    assert [key for key, _ in read.rejected] == [f"{number:02d}.png" for number in others]
    assert "size 48×40 differs from 32×32, that of most images" in read.rejected[0][1]


def test_classifiers_that_cannot_be_explained_are_refused():
    several = Classifier(
        classifier().module,
        class_names=["a", "b"],
        task="multilabel",
        preparation=Preprocessing(size=(32, 32)),
    )
    with pytest.raises(UnsupportedError, match="is multilabel with 2"):
        METHOD.describe(several, image_set(), rng=Randomness(0))
    plain = Classifier(lambda given: given.flatten(1)[:, :2], class_names=["a", "b"], name="by-url")
    assert METHOD.missing(plain) == "needs gradients, and by-url gives none"


def test_options_that_cannot_be_used_are_refused_before_a_run(tmp_path):
    with pytest.raises(ValueError, match="power of two"):
        StyleCounterfactuals(side=33)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no generator"):
        StyleCounterfactuals(generator=tmp_path).load()
    with pytest.raises(InputError):
        StyleCounterfactuals(judge="bundled:nothing").load()
    with pytest.raises(InputError):
        StyleCounterfactuals(backbone="bundled:nothing", generator=tmp_path / "new").load()
    assert not (tmp_path / "new").exists()


def test_a_target_is_refused_for_a_method_that_describes_all_classes(tmp_path):
    with pytest.raises(InputError, match=r"style_counterfactuals: .* leave the target \(--target\) out"):
        snellen.explain(classifier(), image_set(), METHOD, target="class 1", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_presets_and_options_make_the_plan():
    given = StyleCounterfactuals(preset="published", steps=7, side=32, encoder="single")
    assert (given.plan.steps, given.plan.sizes.side, given.plan.sizes.encoder, given.plan.batch_size) == (
        7,
        32,
        "single",
        64,
    )
    assert given.search == Search(attributes=4, agreement=0.8)
    assert given.plan.average_start < given.plan.steps


def test_the_result_says_how_many_decisions_the_reduction_keeps():
    """A classifier of stripes of one pixel sees nothing of them at half of their size."""

    class Stripes(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Conv2d(3, 4, 3)

        def forward(self, given):
            level = (given[..., ::2] - given[..., 1::2]).mean((1, 2, 3)) + 0 * self.map(given).mean((1, 2, 3))
            return 50 * torch.stack([0.05 - level, level - 0.05], 1)

    fine = torch.rand(32, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.3
    fine[::2, ..., ::2] += 0.4
    arrays = fine.mul(255).to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    of_stripes = Classifier(
        Stripes().eval(), class_names=["plain", "striped"], preparation=Preprocessing(size=(64, 64)), name="stripes"
    )
    read = module.read_images(of_stripes, load_arrays(arrays), 32)
    assert read.decided.tolist() == [1, 0] * 16
    found = METHOD.model_copy(update={"held_back": 16}).describe(of_stripes, load_arrays(arrays), rng=Randomness(0))
    said = " ".join(found.assumptions)
    kept = re.search(r"draws 32x32 pixels; reduced to these, (.*?)% of", said)
    assert kept is not None
    assert 20 < float(kept[1]) < 80, "only those without stripes keep it"
    with pytest.raises(ModelError, match="would mean nothing"):
        METHOD.model_copy(update={"held_back": 16, "agreement": 0.8}).describe(
            of_stripes, load_arrays(arrays), rng=Randomness(0)
        )
