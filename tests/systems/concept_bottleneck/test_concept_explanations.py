"""What concepts add, corrections, and the card of a bottleneck's concepts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnknownNameError, UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.models.classifiers.references import load_classifier
from snellen.models.random_folders import write_random_clip
from snellen.systems.concept_bottleneck.bottleneck import ConceptBottleneck
from snellen.systems.concept_bottleneck.concept_card import ConceptCard
from snellen.systems.concept_bottleneck.concept_contributions import ConceptContributions
from snellen.systems.concept_bottleneck.recipe import ConceptBottleneckRecipe
from snellen.testing import check_method
from snellen.testing.conformance import small_problem
from snellen.verbs.explain import explain

PHRASES = ["red", "green", "blue", "a star", "a ring"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("cbm")
    (folder / "c.txt").write_text("\n".join(PHRASES))
    recipe = ConceptBottleneckRecipe(tower=f"hf:{write_random_clip(folder / 'clip')}", concepts=str(folder / "c.txt"))
    recipe.fit(blobs(30), rng=Randomness(0)).save(folder / "cbm")
    return load_classifier(f"artifact:{folder / 'cbm'}")


def blobs(count: int, seed: int = 0) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pixels = rng.integers(0, 120, (count, 32, 32, 3))
    for label in range(3):
        pixels[labels == label, ..., label] += 100
    return load_arrays(pixels.astype(np.uint8), labels, class_names=["one", "two", "three"], name="blobs")


def shown(classifier: Classifier, count: int = 5) -> torch.Tensor:
    images = blobs(count, 1)
    return torch.stack([classifier.prepare(images.read(row)) for row in range(count)])


def bottleneck(classifier: Classifier) -> ConceptBottleneck:
    assert isinstance(classifier.module, ConceptBottleneck)
    return classifier.module


def test_both_are_found_and_keep_the_promises_of_methods() -> None:
    assert index.entry("explanations", "concepts").load() is ConceptContributions
    for name in ("concept_contributions", "concept_card"):
        check_method(index.entry("explanations", name))


@pytest.mark.covers("1.9")
def test_contributions_and_the_bias_add_up_to_the_score_of_the_target(classifier: Classifier) -> None:
    images, targets = shown(classifier), torch.tensor([0, 1, 2, 0, 2])
    found = ConceptContributions().explain(classifier, images, targets, rng=Randomness(0))
    logits = classifier(images).gather(1, targets[:, None])[:, 0]
    assert found.parts == tuple(PHRASES)
    assert found.scores is not None
    bias = bottleneck(classifier).head.linear.bias[targets]
    assert torch.allclose(found.scores.sum(1) + bias, logits, atol=1e-5)
    assert found.figures["completeness_gap"].abs().max() < 1e-5
    for row, record in enumerate(found.records):
        adds = sum(one["adds"] for one in record["concepts"].values())
        assert adds + record["bias"] == pytest.approx(record["logit"], abs=1e-4)
        assert record["logit"] == pytest.approx(float(logits[row]), abs=1e-4)
    assert found.spent.queries == 5


def test_the_sentence_names_what_speaks_most_for_and_against(classifier: Classifier) -> None:
    found = ConceptContributions(top=2).explain(classifier, shown(classifier, 1), torch.tensor([1]), rng=Randomness(0))
    assert found.scores is not None
    added = dict(zip(PHRASES, found.scores[0].tolist(), strict=True))
    speaking = [one for one in sorted(added, key=lambda one: -added[one])[:2] if added[one] > 0]
    against = [one for one in sorted(added, key=lambda one: added[one])[:2] if added[one] < 0]
    told = [", ".join(f"{one} ({added[one]:+.2f})" for one in of) for of in (speaking, against)]
    assert found.text == (f"For two: {told[0] or 'nothing'}" + (f"; against it: {told[1]}." if against else "."),)


def test_what_is_lost_without_the_concepts_that_add_most(classifier: Classifier) -> None:
    images = shown(classifier)
    targets = classifier(images).argmax(1)
    found = ConceptContributions(top=1).explain(classifier, images, targets, rng=Randomness(0))
    head = bottleneck(classifier).head
    scores = classifier.features(images)
    assert found.scores is not None
    most = found.scores.argmax(1)
    for row in range(5):
        without = scores[row].clone()
        without[most[row]] = head.standardise.mean[most[row]]
        both = [head(one[None]).double().softmax(1)[0, targets[row]] for one in (scores[row], without)]
        assert float(found.figures["drop"][row]) == pytest.approx(float(both[0] - both[1]), abs=1e-6)
    # The control leaves out other concepts, and depends on the image's name alone.
    bound = Randomness(0).for_examples([f"i{row}" for row in range(5)])
    whole = ConceptContributions(top=1).explain(classifier, images, targets, rng=bound)
    part = ConceptContributions(top=1).explain(classifier, images[[3]], targets[[3]], rng=bound[[3]])
    assert torch.allclose(whole.controls["drop"][3], part.controls["drop"][0], atol=1e-6)
    everything = ConceptContributions(top=5).explain(classifier, images, targets, rng=Randomness(0))
    assert "drop" not in everything.figures


@pytest.mark.covers("1.11")
def test_a_correction_computes_the_last_layer_again(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    images = shown(classifier)
    targets = classifier(images).argmax(1)
    method = ConceptContributions(correct=("red=present", "blue=absent"))
    found = method.explain(classifier, images, targets, rng=Randomness(0))
    head, scores = bottleneck(classifier).head, classifier.features(images).clone()
    scores[:, 0], scores[:, 2] = head.present[0], head.absent[2]
    names = [classifier.class_names[int(one)] for one in head(scores).argmax(1)]
    assert [record["after"] for record in found.records] == names
    assert {record["corrected"]["red"] for record in found.records} == {True}
    assert found.text is not None
    for text, before, after in zip(found.text, targets.tolist(), names, strict=True):
        told = (
            "as before" if classifier.class_names[before] == after else f"instead of {classifier.class_names[before]}"
        )
        assert f"With red=present, blue=absent it is taken for {after}" in text
        assert told in text
    # Each image went through the towers once.
    assert found.spent.queries == len(images)
    with pytest.raises(UnknownNameError, match="did you mean 'red'"):
        ConceptContributions(correct=("rad=present",)).explain(classifier, images, targets, rng=Randomness(0))
    with pytest.raises(InputError, match="PHRASE=present"):
        ConceptContributions(correct=("red",)).explain(classifier, images, targets, rng=Randomness(0))


@pytest.mark.covers("1.15")
def test_the_card_tells_weights_pictures_and_whether_scores_tell(classifier: Classifier) -> None:
    images = blobs(12, 2)
    texts: list[str | None] = [json.dumps({"red": int(label == 0), "other": 1}) for label in images.labels]
    texts[3:5] = [None, "no object"]
    known = replace(images, table=images.table.append_column("attributes", pa.array(texts)))
    found = ConceptCard(shown=2).describe(classifier, known, rng=Randomness(0))
    scores = classifier.features(shown_of(classifier, images))
    assert found.parts == tuple(PHRASES)
    for place in range(5):
        best = scores[:, place].argsort(descending=True)[:2].tolist()
        assert list(found.sources[place]) == [images.ids[row] for row in best]
        assert torch.equal(found.pictures[place][0], (shown_of(classifier, images)[best[0]] * 255).round().byte())
    told = [row for row in range(12) if row not in (3, 4)]
    red = scores[told, 0]
    positive = torch.tensor([images.labels[row] == 0 for row in told])
    wins = (red[positive][:, None] > red[~positive][None]).double().mean()
    assert float(found.figures["auroc"][0]) == pytest.approx(float(wins))
    assert bool(found.figures["auroc"][1:].isnan().all())
    weights = bottleneck(classifier).head.linear.weight
    names = classifier.class_names
    for place, text in enumerate(found.text):
        column = weights[:, place]
        assert text.startswith(f"Speaks for {names[int(column.argmax())]} ({float(column.max()):+.2f})")
        assert f"against {names[int(column.argmin())]}" in text
    assert "auroc" not in ConceptCard().describe(classifier, images, rng=Randomness(0)).figures


def shown_of(classifier: Classifier, images: ImageSet) -> torch.Tensor:
    return torch.stack([classifier.prepare(images.read(row)) for row in range(len(images))])


def test_other_classifiers_are_refused_in_words() -> None:
    other, images, labels = small_problem()
    for method in (ConceptContributions(), ConceptCard()):
        assert "make one with snellen train concept-bottleneck" in str(method.missing(other))
    with pytest.raises(UnsupportedError, match="decide by concepts"):
        ConceptContributions().explain(other, images, labels, rng=Randomness(0))
    with pytest.raises(UnsupportedError, match="decides by concepts"):
        ConceptCard().describe(other, blobs(3), rng=Randomness(0))


def test_both_are_written_as_any_explanation(classifier: Classifier, tmp_path: Path) -> None:
    made = explain(classifier, blobs(4, 3), [ConceptContributions(), ConceptCard()], out=tmp_path / "out", batch_size=3)
    assert made.settings["concept_contributions"].explained == 4
    assert made.settings["concept_card"].explained == 5
    page = (tmp_path / "out" / "explain.html").read_text()
    assert "a star" in page
    whole = explain(classifier, blobs(4, 3), ConceptContributions(), batch_size=4)
    assert made.evidence is not None
    assert whole.evidence is not None
    first, second = (
        np.array([row["scores"] for row in of.table.to_pylist() if row["setting"] == "concept_contributions"])
        for of in (made.evidence, whole.evidence)
    )
    assert np.allclose(first, second, atol=1e-4)
