"""Training of a describer: what is split, what stays as it was, which weights come back; and artifacts of it."""

import pytest
import torch

from snellen.core.artifact import Artifact, Lineage
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.randomness import Randomness
from snellen.models.classifiers.references import load_classifier
from snellen.systems.neuron_descriptions.captioner import Regions, word_losses
from snellen.systems.neuron_descriptions.describer import describer_of, load_describer
from snellen.systems.neuron_descriptions.fitting import Sizes, UnitSentences, fit_describer, said_by, split_units
from snellen.systems.neuron_descriptions.region_encoder import RegionEncoder
from snellen.training.plan import TrainingPlan

#: What each kind of unit is called, in two ways.
NAMES = (("red things", "things in red"), ("blue things", "things in blue"), ("letters", "text"))


def toy(count=60, seed=0):
    """Units of three kinds that their regions tell apart."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.arange(count) % 3
    vectors = torch.randn(count, 4, 6, generator=generator) * 0.3
    vectors[torch.arange(count), :, kinds] += 3
    return UnitSentences(Regions(vectors, torch.ones(count, 4, dtype=torch.bool)), tuple(NAMES[kind] for kind in kinds))


@pytest.fixture(scope="module")
def encoder():
    return RegionEncoder(load_classifier("bundled:scene-cnn"), ["body.2"])


def fitted(encoder, units, held, epochs=12, seed=0, learning_rate=1e-2):
    plan = TrainingPlan(epochs=epochs, batch_size=16, learning_rate=learning_rate)
    return fit_describer(
        units,
        held,
        encoder,
        sizes=Sizes(8, 16, 12, 0.0),
        plan=plan,
        language_plan=plan,
        rng=Randomness(seed),
    )


@pytest.fixture(scope="module")
def learnt(encoder):
    units, held = split_units(toy(), 0.2, Randomness(0))
    return (*fitted(encoder, units, held), held)


@pytest.mark.covers("17.8")
def test_units_are_split_with_all_their_sentences():
    sentences = tuple((f"first of {unit}", f"second of {unit}") for unit in range(20))
    units = UnitSentences(Regions(torch.rand(20, 2, 3), torch.ones(20, 2, dtype=torch.bool)), sentences)
    kept, held = split_units(units, 0.25, Randomness(3))
    assert (len(kept.sentences), len(held.sentences)) == (15, 5)
    assert set(kept.sentences) | set(held.sentences) == set(sentences)
    assert not {one for told in kept.sentences for one in told} & {one for told in held.sentences for one in told}
    for part in (kept, held):
        for row, told in enumerate(part.sentences):
            assert torch.equal(part.regions.vectors[row], units.regions.vectors[sentences.index(told)])
    assert split_units(units, 0.25, Randomness(4))[1].sentences != held.sentences


@pytest.mark.covers("17.7")
def test_no_word_of_a_held_out_unit_is_known_to_either_model(encoder):
    units, held = toy(12), toy(3, seed=5)
    held = UnitSentences(held.regions, (("secret dots", "dots of secret"),) * 3)
    describer, trained, alone = fitted(encoder, units, held, epochs=1)
    assert not {"secret", "dots"} & set(describer.vocabulary.words)
    # Nothing but the choice of the epoch depends on what is held out.
    other = fitted(encoder, units, UnitSentences(held.regions, (("letters", "text"),) * 3), epochs=1)
    for ours, theirs in zip((trained, alone), other[1:], strict=True):
        assert ours.history[0]["train.loss"] == theirs.history[0]["train.loss"]
        assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in ours.weights)


def test_a_describer_learns_to_tell_kinds_apart(learnt):
    describer, trained, _, held = learnt
    said = describer.describe(held.regions, width=5)
    right = [one.text in told for one, told in zip(said, held.sentences, strict=True)]
    assert sum(right) / len(right) > 0.9
    assert trained.history[trained.best_epoch - 1]["val.bleu"] > 0.9


@pytest.mark.covers("17.11")
def test_the_weights_of_the_best_epoch_come_back(encoder):
    units, held = split_units(toy(30), 0.3, Randomness(1))
    # So fast that later epochs spoil what earlier ones have learnt.
    describer, trained, alone = fitted(encoder, units, held, epochs=8, learning_rate=0.3)
    figures = [row["val.loss"] for row in alone.history]
    assert alone.best_epoch == figures.index(min(figures)) + 1
    assert max(figures[alone.best_epoch :], default=0) > min(figures) or alone.best_epoch == 8
    scores = [row["val.bleu"] for row in trained.history]
    assert trained.best_epoch == scores.index(max(scores)) + 1
    for network, found in ((describer.captioner, trained), (describer.language, alone)):
        assert all(torch.equal(value, found.weights[name]) for name, value in network.state_dict().items())
    rows = describer.vocabulary.rows([one for told in held.sentences for one in told], length=15)
    again = float(word_losses(describer.language(rows), rows, pad=describer.vocabulary.pad).mean())
    assert again == pytest.approx(min(figures), abs=1e-5)


@pytest.mark.covers("17.9")
def test_the_encoder_stays_frozen_and_in_evaluation_mode(encoder, learnt):
    module = encoder.classifier.module
    assert not any(layer.training for layer in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert load_classifier("bundled:scene-cnn").fingerprint() == encoder.classifier.fingerprint()


def test_an_artifact_says_the_same_and_one_of_another_kind_or_encoder_is_refused(learnt, tmp_path):
    describer, *_, held = learnt
    lineage = Lineage(recipe={}, data="-", seed=0, code_version="0")
    saved = describer.artifact(lineage, name="toy", metrics={}, description="").save(tmp_path / "toy")
    loaded = load_describer(f"artifact:{tmp_path / 'toy'}")
    assert loaded.describe(held.regions, width=5) == describer.describe(held.regions, width=5)
    half = {name: value.half() if value.is_floating_point() else value for name, value in saved.tensors.items()}
    assert describer_of(Artifact(half, saved.card), source="half").captioner.gate.weight.dtype == torch.float32
    for changes, match in (({"identity": "other"}, "other weights"), ({"name": "linear"}, "no describer")):
        architecture = {**saved.card.architecture, **changes}
        wrong = Artifact(saved.tensors, saved.card.model_copy(update={"architecture": architecture}))
        with pytest.raises(InputError, match=match):
            describer_of(wrong, source="wrong")
    lacking = {**saved.card.architecture}
    del lacking["words"]
    with pytest.raises(InputError, match="does not say"):
        describer_of(Artifact(saved.tensors, saved.card.model_copy(update={"architecture": lacking})), source="lacking")


def test_references_that_are_none_are_reported():
    with pytest.raises(InputError, match="bundled:NAME or artifact:FOLDER"):
        load_describer("scene-describer")
    with pytest.raises(UnknownNameError):
        load_describer("bundled:milan-base")
    with pytest.raises(InputError, match="not an artifact"):
        load_describer("artifact:nowhere")


def test_units_without_regions_have_no_sentence(learnt):
    describer, *_, held = learnt
    present = held.regions.present.clone()
    present[1] = False
    said = describer.describe(Regions(held.regions.vectors, present), width=3)
    assert [one is None for one in said][:3] == [False, True, False]
    assert describer.describe(Regions(held.regions.vectors, torch.zeros_like(present)), width=3)[0] is None
    with pytest.raises(InputError, match="without a region"):
        UnitSentences(Regions(held.regions.vectors, present), held.sentences)
    with pytest.raises(InputError, match="same number of sentences"):
        UnitSentences(held.regions, (("one",), *held.sentences[1:]))


def test_the_most_frequent_sentence():
    assert said_by([("a", "b"), ("b", "c"), ("c", "d")]) == "b"
