"""Descriptions of units: what is told of each, of silent ones too, and what is told when something is wrong."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import snellen
from snellen.core.artifact import Lineage
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError, UnknownNameError
from snellen.core.method import Describer as Verb
from snellen.core.method import Explainer
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.models.classifiers.references import load_classifier
from snellen.systems.neuron_descriptions.captioner import RegionCaptioner
from snellen.systems.neuron_descriptions.describer import Describer, load_describer
from snellen.systems.neuron_descriptions.exemplars import find_exemplars
from snellen.systems.neuron_descriptions.method import DIMMED, LONGEST, NeuronDescriptions, _dimmed
from snellen.systems.neuron_descriptions.region_encoder import RegionEncoder
from snellen.systems.neuron_descriptions.regions_of_units import reader, unit_regions
from snellen.systems.neuron_descriptions.sentence_model import SentenceModel
from snellen.systems.neuron_descriptions.vocabulary import Vocabulary
from tests.auditing.kept_files import mentions

WORDS = ["blue", "letters", "red", "things"]


class Channels(nn.Module):
    """Units that are red, nothing at all, blue, and minus green."""

    def forward(self, images):
        red, green, blue = images.unbind(1)
        return torch.stack([red, torch.zeros_like(red), blue, -green], 1)


@pytest.fixture(scope="module")
def classifier():
    network = nn.Sequential(Channels(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return Classifier(network, class_names=["a", "b"], preparation=Preprocessing(size=(12, 12)), name="channels")


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 255, (20, 12, 12, 3), dtype=np.uint8)
    return load_arrays(pixels, np.zeros(20, dtype=np.int64), class_names=["something else"])


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A describer that was never trained: what it says is nonsense, but the same nonsense every time."""
    torch.manual_seed(1)
    vocabulary = Vocabulary(WORDS)
    captioner = RegionCaptioner(32, len(vocabulary), embedding=4, hidden=8)
    language = SentenceModel(len(vocabulary), embedding=4, hidden=8)
    for parameter in (*captioner.parameters(), *language.parameters()):
        nn.init.normal_(parameter, std=0.8)
    captioner.output.bias.data[vocabulary.stop] -= 4  # else it says nothing at all
    encoder = RegionEncoder(load_classifier("bundled:scene-cnn"), ["body.2"])
    folder = tmp_path_factory.mktemp("describers") / "nonsense"
    lineage = Lineage(recipe={}, data="-", seed=0, code_version="0")
    Describer(encoder, captioner, language, vocabulary).artifact(
        lineage, name="nonsense", metrics={}, description=""
    ).save(folder)
    return f"artifact:{folder}"


def described(classifier, images, reference, **fields):
    method = NeuronDescriptions(layer=("0",), describer=reference, exemplars=6, beams=4, **fields)
    return method.describe(classifier, images, rng=Randomness(0))


@pytest.mark.covers("17.13")
def test_every_unit_is_reported_with_its_images_and_a_silent_one_says_why(classifier, images, reference):
    found = described(classifier, images, reference, shown=3)
    assert found.parts == ("0/unit 0", "0/unit 1", "0/unit 2", "0/unit 3")
    assert found.status == ("ok", "never active on these images", "ok", "ok")
    assert found.text[1] == ""
    assert all(set(text.split()) <= set(WORDS) for text in found.text)
    assert [tuple(one.shape) for one in found.pictures] == [
        (3, 3, 12, 12),
        (0, 3, 12, 12),
        (3, 3, 12, 12),
        (3, 3, 12, 12),
    ]
    assert [len(one) for one in found.sources] == [3, 0, 3, 3]
    for name in ("likelihood", "prior", "score"):
        values = found.figures[name]
        assert values.isnan().tolist() == [False, True, False, False]
    assert torch.allclose(
        found.figures["score"], found.figures["likelihood"] - 0.2 * found.figures["prior"], equal_nan=True, atol=1e-4
    )
    assert found.controls["likelihood"].isnan().tolist() == [False, True, False, False]
    assert found.spent.queries == 20
    assert any("6 images" in one for one in found.assumptions)
    assert found.records[0]["regions"] >= 3
    assert found.records[1]["peak"] == 0.0


def test_a_sentence_stands_beside_itself_for_another_unit(classifier, images, reference):
    found = described(classifier, images, reference)
    describer = load_describer(reference)
    exemplars, _ = find_exemplars(classifier, images, ["0"], count=6)
    regions = unit_regions(exemplars["0"], describer.encoder, reader(images, classifier.preparation))
    active = [0, 2, 3]
    texts = [found.text[unit] for unit in active]
    likely = torch.tensor([describer.likelihoods(regions.of([unit] * 3), texts) for unit in active]).T
    assert found.figures["likelihood"][active].tolist() == pytest.approx(likely.diagonal().tolist(), abs=1e-3)
    others = [
        (likely[row] - found.controls["likelihood"][unit]).abs().argmin().item() for row, unit in enumerate(active)
    ]
    assert sorted(others) == [0, 1, 2], "each unit is another's control once"
    assert all(other != row for row, other in enumerate(others))


def test_pictures_are_the_images_dark_outside_the_region(classifier, images, reference):
    found = described(classifier, images, reference, shown=2)
    exemplars, _ = find_exemplars(classifier, images, ["0"], count=6)
    for unit in (0, 2):
        row = int(exemplars["0"].positions[unit, 0])
        assert found.sources[unit][0] == images.ids[row]
        original = classifier.preparation.pixels(images.read(row)).float()
        mask = exemplars["0"].masks(unit)[0]
        assert bool(mask.any())
        assert not bool(mask.all())
        picture = found.pictures[unit][0].float()
        assert torch.equal(picture[:, mask], original[:, mask])
        assert float((picture - DIMMED * original)[:, ~mask].abs().max()) <= 0.51


def test_the_same_twice_and_units_alone_as_among_others(classifier, images, reference):
    whole, again = (described(classifier, images, reference) for _ in range(2))
    assert whole.text == again.text
    assert torch.equal(whole.controls["likelihood"], again.controls["likelihood"]) or bool(
        whole.controls["likelihood"].isnan().any()
    )
    first = described(classifier, images, reference, units=1)
    assert first.parts == whole.parts[:1]
    assert first.text == whole.text[:1]
    assert bool(first.controls["likelihood"].isnan().all())  # there is no other unit to hold it against


def test_only_units_with_a_word_are_reported_when_words_are_given(classifier, images, reference):
    whole = described(classifier, images, reference)
    word = next(text for text in whole.text if text).split()[0]
    wanted = [part for part, text in zip(whole.parts, whole.text, strict=True) if word in text.split()]
    found = described(classifier, images, reference, words=(word,))
    assert list(found.parts) == wanted
    assert len(found.pictures) == len(found.records) == len(found.figures["score"]) == len(wanted)
    assert described(classifier, images, reference, words=("nowhere",)).parts == ()


def test_without_a_layer_it_is_the_last_one_that_gives_a_map(classifier, images, reference):
    found = NeuronDescriptions(describer=reference, exemplars=6, beams=4, units=1).describe(
        classifier, images, rng=Randomness(0)
    )
    assert found.parts == ("0/unit 0",)
    unread = load_arrays(np.zeros((2, 12, 12, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="can be read: broken"):
        NeuronDescriptions(describer=reference).describe(
            classifier, replace(unread, source=Broken()), rng=Randomness(0)
        )


def test_what_is_written_names_every_unit_and_the_images_may_be_of_any_classes(classifier, images, reference, tmp_path):
    method = NeuronDescriptions(layer=("0",), describer=reference, exemplars=6, beams=4, shown=2)
    told = snellen.explain(classifier, images, method, out=tmp_path / "out")
    rows = told.evidence.table.to_pylist()
    assert [row["example_id"] for row in rows] == [f"0/unit {number}" for number in range(4)]
    assert [row["text"] or "" for row in rows] == list(described(classifier, images, reference).text)
    assert rows[1]["status"] != "ok"
    page = (tmp_path / "out" / "explain.html").read_text(encoding="utf-8")
    assert "0/unit 2" in page
    assert "never active on these images" in page
    assert len(list((tmp_path / "out" / "neuron_descriptions").glob("*.png"))) == 3


def test_under_pseudonyms_neither_images_nor_the_describer_are_named(classifier, images, reference, tmp_path):
    home = tmp_path / "home Doe"
    shutil.copytree(reference.removeprefix("artifact:"), home / "describer")
    named = replace(
        images, table=images.table.drop_columns("id").append_column("id", pa.array([f"Doe {n}" for n in range(20)]))
    )
    method = NeuronDescriptions(layer=("0",), describer=f"artifact:{home / 'describer'}", exemplars=6, beams=4)
    snellen.explain(classifier, named, method, out=tmp_path / "out", pseudonyms=tmp_path / "names.json")
    assert mentions(tmp_path / "out", ("Doe",)) == {}


def test_that_no_unit_has_a_word_is_reported_and_not_laid_on_the_images(classifier, images, reference, tmp_path):
    method = NeuronDescriptions(layer=("0",), describer=reference, exemplars=6, beams=4, words=("nowhere",))
    with pytest.raises(InputError, match=r"neuron_descriptions describes no part of channels: .*option"):
        snellen.explain(classifier, images, method, out=tmp_path / "out")


class Broken:
    def read(self, index):
        raise RejectedImageError("broken")

    def content_hash(self, index):
        return str(index)


def test_what_cannot_be_described_is_reported(classifier, images, reference):
    method = NeuronDescriptions(describer=reference)
    assert isinstance(method, Verb)
    assert not isinstance(method, Explainer)
    assert method.missing(classifier, images) is None
    by_url = Classifier(lambda batch: batch.flatten(1)[:, :2], class_names=["a", "b"], name="by-url")
    assert "needs layers" in NeuronDescriptions(layer=("0",)).missing(by_url, images)
    with pytest.raises(UnknownNameError):
        NeuronDescriptions(layer=("nowhere",), describer=reference).describe(classifier, images, rng=Randomness(0))


def test_pictures_of_large_images_are_small():
    images, masks = torch.rand(2, 3, 224, 112), torch.ones(2, 224, 112, dtype=torch.bool)
    shown = _dimmed(images, masks, (224, 112))
    assert shown.shape == (2, 3, LONGEST, LONGEST // 2)
    blocks = images.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    assert (shown.float() / 255 - blocks).abs().max() < 0.003
    assert _dimmed(images[:0], masks[:0], (224, 112)).shape == (0, 3, LONGEST, LONGEST // 2)
