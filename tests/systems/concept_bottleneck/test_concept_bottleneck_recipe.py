"""The recipe: concepts go in and come out with the model, towers stay, controls are told, leaks are named."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core import index
from snellen.core.artifact import Artifact
from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.folder import load_folder
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.data.worlds.planting.truth import set_column
from snellen.models.classifiers.artifact_models import build_network
from snellen.models.classifiers.references import load_classifier
from snellen.models.dual_encoders.towers import Towers
from snellen.models.random_folders import write_random_clip
from snellen.systems.concept_bottleneck import control_phrases
from snellen.systems.concept_bottleneck import recipe as module
from snellen.systems.concept_bottleneck.bottleneck import ConceptBottleneck
from snellen.systems.concept_bottleneck.filtering import DroppedConceptsWarning
from snellen.systems.concept_bottleneck.recipe import ConceptBottleneckRecipe, NoBetterThanWordsWarning
from snellen.testing import check_method
from snellen.verbs.train import train

# A text–image model of random weights knows no word.
pytestmark = pytest.mark.filterwarnings("ignore:as many phrases of random words")

LISTS = {"colour": ["red", "green", "blue"], "thing": ["a star", "a ring", "a square"]}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "lists.json"
    path.write_text(json.dumps(LISTS))
    return path


def blobs(count: int, seed: int, split: str | None = None) -> ImageSet:
    """Reddish and bluish noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = rng.integers(0, 120, (count, 32, 32, 3))
    pixels[labels == 0, ..., 0] += 100
    pixels[labels == 1, ..., 2] += 100
    images = load_arrays(pixels.astype(np.uint8), labels, class_names=["warm", "cold"], name=f"blobs{seed}")
    return images if split is None else as_split(images, split)  # type: ignore[arg-type]


@cache
def both() -> ImageSet:
    return join([blobs(30, 0, "train"), blobs(16, 1, "val")])


def recipe(clip: Path, lists: Path, **changes: object) -> ConceptBottleneckRecipe:
    """One penalty unless said otherwise: to choose it takes five fits, of the concepts and of each control."""
    fixed = {"tower": f"hf:{clip}", "concepts": str(lists), "penalty": 0.01}
    return ConceptBottleneckRecipe(**{**fixed, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def chosen(clip: Path, lists: Path) -> Artifact:
    """What is made of both splits, the penalty chosen."""
    return recipe(clip, lists, penalty=None).fit(both(), rng=Randomness(0))


@pytest.fixture
def towers(monkeypatch: pytest.MonkeyPatch) -> list[Towers]:
    """Every tower that the recipe loads."""
    seen: list[Towers] = []
    load = module.load_two_tower
    monkeypatch.setattr(module, "load_two_tower", lambda reference: seen.append(load(reference)) or seen[-1])
    return seen


def test_the_recipe_is_found_and_keeps_the_promises_of_its_verb() -> None:
    for name in ("concept-bottleneck", "medcbm", "cbm"):
        assert index.entry("recipes", name).load() is ConceptBottleneckRecipe
    check_method(index.entry("recipes", "concept_bottleneck"))


@pytest.mark.covers("1.1")
def test_towers_are_the_same_after_a_fit_and_no_gradient_reaches_them(
    clip: Path, lists: Path, towers: list[Towers]
) -> None:
    recipe(clip, lists, kept=3, selection="learned").fit(both(), rng=Randomness(0))
    (tower,) = towers
    fresh = module.load_two_tower(f"hf:{clip}")
    for side in ("image_tower", "text_tower"):
        used, new = getattr(tower, side), getattr(fresh, side)
        assert hash_tensors(used.state_dict()) == hash_tensors(new.state_dict())
        assert all(not one.requires_grad and one.grad is None for one in used.parameters())


@pytest.mark.covers("1.3")
@pytest.mark.parametrize("scoring", ["cosine", "answer"])
def test_a_saved_model_loads_with_the_same_concepts_in_the_same_order(
    clip: Path, lists: Path, tmp_path: Path, scoring: str
) -> None:
    made = recipe(clip, lists, scoring=scoring).fit(both(), rng=Randomness(0)).save(tmp_path / "cbm")
    phrases = [phrase for of in LISTS.values() for phrase in of]
    assert made.card.architecture["phrases"] == phrases
    classifier = load_classifier(f"artifact:{tmp_path / 'cbm'}")
    assert isinstance(classifier.module, ConceptBottleneck)
    assert list(classifier.module.phrases) == phrases
    assert classifier.class_names == ("warm", "cold")
    test = blobs(20, 2)
    shown = torch.stack([classifier.prepare(test.read(row)) for row in range(20)])
    accuracy = (classifier(shown).argmax(1).numpy() == test.labels).mean()
    assert accuracy > 0.8
    assert made.card.metrics["val.accuracy"] > 0.8
    # Its scores can be read, and replaced, as a layer.
    scores = classifier.features(shown)
    assert scores.shape == (20, 6)
    if scoring == "answer":
        assert torch.allclose(scores[:, :3].sum(1), torch.ones(20))
    # As a classifier it scores as the head was fitted: training scores have the mean and deviation of the head.
    learnt = blobs(30, 0)
    scored = classifier.features(torch.stack([classifier.prepare(learnt.read(row)) for row in range(30)]))
    standard = classifier.module.head.standardise(scored)
    assert torch.allclose(standard.mean(0), torch.zeros(6), atol=1e-2)
    assert torch.allclose(standard.std(0, correction=0), torch.ones(6), atol=1e-2)
    with classifier.edit("concepts", lambda found: found.flip(0)):
        assert torch.allclose(classifier(shown), classifier(shown.flip(0).flip(0)))


@pytest.mark.covers("1.6")
def test_statistics_are_those_of_the_train_split(clip: Path, lists: Path, towers: list[Towers]) -> None:
    made = recipe(clip, lists).fit(both(), rng=Randomness(0))
    (tower,) = towers
    train_images = blobs(30, 0)
    shown = torch.stack([tower.preparation(train_images.read(row)) for row in range(30)])
    texts = tower.encode_texts([phrase for of in LISTS.values() for phrase in of])
    scores = tower.encode_images(shown) @ texts.T
    assert torch.allclose(made.tensors["head.standardise.mean"], scores.mean(0), atol=1e-5)
    assert torch.allclose(made.tensors["head.standardise.deviation"], scores.std(0, correction=0), atol=1e-5)
    assert torch.allclose(made.tensors["head.present"], torch.quantile(scores, 0.95, dim=0), atol=1e-5)
    alone = recipe(clip, lists).fit(blobs(30, 0, "train"), rng=Randomness(0))
    assert torch.equal(alone.tensors["head.standardise.mean"], made.tensors["head.standardise.mean"])


@pytest.mark.covers("1.7")
def test_the_val_split_chooses_the_penalty_and_without_one_it_is_fixed(
    clip: Path, lists: Path, chosen: Artifact
) -> None:
    assert chosen.card.lineage.recipe["used_penalty"] in (0.1, 0.01, 1e-3, 1e-4, 1e-5)
    assert set(chosen.card.metrics) == {"val.accuracy", "val.random_words", "val.shuffled_text"}
    fixed = recipe(clip, lists, penalty=None).fit(blobs(30, 0), rng=Randomness(0))
    assert fixed.card.lineage.recipe["used_penalty"] == 1e-3
    assert fixed.card.metrics == {}
    assert set(fixed.card.lineage.recipe["on_training_images"]) == {"accuracy", "random_words", "shuffled_text"}
    with pytest.raises(InputError, match="test images"):
        recipe(clip, lists).fit(blobs(30, 0, "test"), rng=Randomness(0))


@pytest.mark.covers("1.10")
def test_controls_are_fitted_as_the_concepts_are_and_follow_from_the_seed(
    clip: Path, lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the random words are the concepts themselves, they do as well to the last bit.
    monkeypatch.setattr(module, "random_phrases", lambda phrases, _rng, avoid: tuple(phrases))
    with pytest.warns(NoBetterThanWordsWarning, match="phrases of random words decide as well on the val split"):
        made = recipe(clip, lists, scoring="answer").fit(both(), rng=Randomness(0))
    assert made.card.metrics["val.random_words"] == made.card.metrics["val.accuracy"]
    monkeypatch.undo()
    asked: list[tuple[str, ...]] = []
    score = module.score_images

    def seen(images: ImageSet, tower: Towers, lists: dict[str, tuple[str, ...]], **options: object) -> object:
        asked.append(lists["random_words"])
        return score(images, tower, lists, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "score_images", seen)
    for seed in (0, 0, 1):
        recipe(clip, lists).fit(blobs(10, 0), rng=Randomness(seed))
    assert asked[0] == asked[1] != asked[2]
    assert len(asked[0]) == 6
    # A word of a class or a confounder is no random one.
    monkeypatch.setattr(control_phrases, "WORDS", ("tigers", "river", "warmth", "warm", "star", "iron"))
    recipe(clip, lists, confounders=("tiger",)).fit(blobs(10, 0), rng=Randomness(0))
    assert set(" ".join(asked[3]).split()) <= {"river", "warmth", "iron"}


@pytest.mark.covers("1.4")
def test_a_planted_leak_is_dropped_named_and_recorded(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "leaky.txt"
    path.write_text("red\nwarm colours\nblue\non grass\nBlue.\n")
    with pytest.warns(DroppedConceptsWarning, match="'warm colours' names the class 'warm'; 'on grass' names the conf"):
        made = recipe(clip, path, confounders=("grass",)).fit(both(), rng=Randomness(0))
    assert made.card.architecture["phrases"] == ["red", "blue"]
    assert made.card.lineage.recipe["dropped"] == [
        "warm colours (names the class 'warm')",
        "on grass (names the confounder 'grass')",
        "Blue. (says the same as 'blue')",
    ]


@pytest.mark.covers("1.5")
@pytest.mark.parametrize("selection", ["elastic_net", "learned"])
def test_a_second_fit_encodes_no_image(clip: Path, lists: Path, tmp_path: Path, selection: str) -> None:
    kept = recipe(clip, lists, keep=tmp_path / "kept", kept=2, selection=selection)
    first = kept.fit(both(), rng=Randomness(0))
    shown: list[int] = []
    load = module.load_two_tower

    def counted(reference: str) -> Towers:
        tower = load(reference)
        assert isinstance(tower, Towers)
        tower.image_tower.register_forward_pre_hook(lambda _module, inputs: shown.append(len(inputs[0])))
        return tower

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_two_tower", counted)
        again = kept.model_copy(update={"penalty": 0.5}).fit(both(), rng=Randomness(0))
        same = kept.fit(both(), rng=Randomness(0))
    # One image each is the probe of an encoder: of scores of both splits, and of vectors where they choose concepts.
    assert shown == [1] * (6 if selection == "learned" else 4)
    assert hash_tensors(dict(same.tensors)) == hash_tensors(dict(first.tensors))
    assert not torch.equal(again.tensors["head.linear.weight"], first.tensors["head.linear.weight"])


@pytest.mark.parametrize("selection", ["elastic_net", "learned"])
def test_few_concepts_leave_the_others_without_weight(clip: Path, lists: Path, selection: str) -> None:
    made = recipe(clip, lists, kept=2, selection=selection, scoring="answer").fit(both(), rng=Randomness(0))
    used = made.tensors["head.linear.weight"].abs().sum(0) > 0
    assert 1 <= int(used.sum()) <= 2
    assert made.card.lineage.recipe["used_concepts"] == int(used.sum())
    assert len(made.card.architecture["phrases"]) == 6


def test_groups_have_a_worst_one(clip: Path, lists: Path) -> None:
    images = both()
    groups = pa.array(["east" if row % 4 < 2 else "west" for row in range(len(images))])
    labels = images.labels.copy()
    labels[[30, 34]] = 1 - labels[[30, 34]]  # two that are right to be taken wrong
    table = set_column(images.table, "label", pa.array(labels.tolist(), pa.int64()))
    grouped = replace(images, table=table.append_column("group", groups))
    made = recipe(clip, lists).fit(grouped, rng=Randomness(0))
    network, held = build_network(made.card.architecture, "here").eval(), blobs(16, 1)
    network.load_state_dict(dict(made.tensors))
    prepare = Preprocessing.model_validate(made.card.preparation)
    with torch.no_grad():
        decided = network(torch.stack([prepare(held.read(row)) for row in range(16)])).argmax(1).numpy()
    right = decided == labels[30:]
    cells = [(groups[30 + row].as_py(), labels[30 + row]) for row in range(16)]
    shares = [right[[one == cell for one in cells]].mean() for cell in set(cells)]
    assert made.card.metrics["val.worst_group"] == pytest.approx(min(shares))
    assert made.card.metrics["val.accuracy"] == pytest.approx(right.mean())
    assert min(shares) < right.mean()


def test_an_image_that_cannot_be_read_counts_nowhere_and_moves_no_label(
    clip: Path, lists: Path, tmp_path: Path
) -> None:
    images = blobs(12, 0)
    for row in range(12):
        place = tmp_path / "data" / ("warm" if row % 2 == 0 else "cold") / f"{row:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        images.read(row).save(place)
    whole = recipe(clip, lists).fit(load_folder(tmp_path / "data"), rng=Randomness(0))
    broken = tmp_path / "data" / "cold" / "00.png"
    broken.write_bytes(b"no picture")
    made = recipe(clip, lists).fit(load_folder(tmp_path / "data"), rng=Randomness(0))
    assert made.card.lineage.recipe["rejected"] == 1
    assert torch.allclose(made.tensors["head.linear.weight"], whole.tensors["head.linear.weight"], atol=1e-5)


@pytest.mark.covers("1.13")
def test_what_cannot_be_used_is_refused(clip: Path, lists: Path, tmp_path: Path, chosen: Artifact) -> None:
    assert "needs concepts" in str(ConceptBottleneckRecipe().missing())
    with pytest.raises(InputError, match="needs concepts: a file of phrases or a language model"):
        ConceptBottleneckRecipe(tower=f"hf:{clip}").fit(both(), rng=Randomness(0))
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    with pytest.raises(InputError, match=r"empty\.txt"):
        recipe(clip, empty).fit(both(), rng=Randomness(0))
    with pytest.raises(InputError, match="there are 6 concepts, of which 7 are to be kept"):
        recipe(clip, lists, kept=7).fit(both(), rng=Randomness(0))
    one = tmp_path / "one.txt"
    one.write_text("red\nblue\n")
    with pytest.raises(InputError, match="give the concepts as lists by question"):
        recipe(clip, one, scoring="answer").fit(both(), rng=Randomness(0))
    single = load_arrays(np.zeros((3, 32, 32, 3), np.uint8), np.zeros(3, np.int64), class_names=["all"], name="single")
    with pytest.raises(InputError, match="single has one class, 'all'"):
        recipe(clip, lists).fit(single, rng=Randomness(0))
    unlabelled = load_arrays(np.zeros((3, 32, 32, 3), np.uint8), name="bare")
    with pytest.raises(InputError, match="needs labels, and bare has none"):
        recipe(clip, lists).fit(unlabelled, rng=Randomness(0))
    with pytest.raises(InputError, match="takes no base"):
        recipe(clip, lists).fit(both(), base=chosen, rng=Randomness(0))


def test_delivery_writes_a_classifier_with_an_onnx_file_that_agrees(clip: Path, lists: Path, tmp_path: Path) -> None:
    made = train(recipe(clip, lists, scoring="answer"), blobs(30, 0), out=tmp_path / "out", val=blobs(16, 1))
    assert made.onnx is not None, made.notes
    artifact, exported = load_classifier(f"artifact:{tmp_path / 'out'}"), load_classifier(f"onnx:{made.onnx}")
    shown = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(exported(shown), artifact(shown), atol=1e-4)
    assert "random_words" in (tmp_path / "out" / "README.md").read_text()
    # A card with fewer concepts than its head has columns is not loaded quietly.
    whole = Artifact.load(tmp_path / "out")
    record = dict(whole.card.architecture)
    record |= {name: record[name][1:] for name in ("phrases", "questions")}
    edited = whole.card.model_copy(update={"architecture": record})
    Artifact(whole.tensors, edited).save(tmp_path / "edited")
    with pytest.raises(InputError, match="head"):
        load_classifier(f"artifact:{tmp_path / 'edited'}")
