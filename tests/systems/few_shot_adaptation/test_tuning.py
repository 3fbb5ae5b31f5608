"""Adapters of both towers: where they lie, packed attention taken apart, the mixture, the selection."""

from dataclasses import replace
from types import SimpleNamespace

import open_clip
import pytest
import torch
from torch import nn

import snellen
from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.files.joining import join
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.models.classifiers.references import load_classifier
from snellen.models.dual_encoders.adapted import QUERY_AND_VALUE, AdaptedTowers, SplitAttention, adapt
from snellen.models.dual_encoders.openclip_towers import OpenClipImageTower
from snellen.models.dual_encoders.zero_shot import zero_shot_classifier
from snellen.models.random_folders import write_random_clip
from snellen.models.references import load_two_tower
from snellen.systems.few_shot_adaptation import tuning
from snellen.systems.few_shot_adaptation.tuning import AdaptedTower, published_view
from snellen.training.batches import ImageStore
from snellen.training.plan import TrainingPlan
from tests.models.dual_encoders.test_openclip_towers import converted

NAMES = ("star", "ring")
TEXTS = {name: (f"a {name}", f"a red {name}") for name in NAMES}
SMALL = QUERY_AND_VALUE.model_copy(update={"rank": 2, "alpha": 4.0})


def scenes(split="train", count=16) -> ImageSet:
    return WORLD.model_copy(update={"shapes": NAMES, "count": count}).images(split=split)


def made(images: ImageSet) -> ImageSet:
    """The same as if a generator had made them."""
    flags = [["1"] * len(images)]
    ids = [[f"made/{one}" for one in images.ids]]
    table = images.table.drop_columns(["id"]).append_column("id", ids).append_column("synthetic", flags)
    return replace(images, table=table)


@pytest.fixture(scope="module")
def towers():
    return load_two_tower("bundled:scene-clip")


def images_of(towers, count=2):
    side = towers.preparation.size[0]
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


# -- the adapters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_attention_that_was_taken_apart_is_the_same_function(batch_first, masked):
    torch.manual_seed(0)
    packed = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    nn.init.normal_(packed.in_proj_bias)
    own, other = torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    mask = torch.full((5, 5), -torch.inf).triu(1) if masked and batch_first else None
    expected, _ = packed(own, other, other, need_weights=False, attn_mask=mask)
    found, weights = SplitAttention(packed)(own, other, other, need_weights=False, attn_mask=mask)
    torch.testing.assert_close(found, expected)
    assert weights is None


@pytest.mark.parametrize("kind", ["hf", "openclip"])
def test_adapters_lie_on_query_and_value_of_every_block_of_both_towers_and_start_at_nothing(kind, tmp_path):
    if kind == "hf":
        towers = load_two_tower(f"hf:{write_random_clip(tmp_path / 'clip')}")
    else:
        folder = converted(write_random_clip(tmp_path / "hf"), tmp_path / "clip", activation="quick_gelu")
        towers = load_two_tower(f"openclip:{folder}")
    network = AdaptedTowers(towers, TEXTS, SMALL, Randomness(0)).eval()
    images = images_of(towers)
    zero = zero_shot_classifier(towers, TEXTS)
    with torch.no_grad(), network.acting():
        torch.testing.assert_close(network(images), zero(images), rtol=1e-4, atol=1e-4)
    trained = [name for name, one in network.named_parameters() if one.requires_grad]
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == {"q_proj", "v_proj"}
    for tower, side in ((towers.image_tower, "image_tower"), (towers.text_tower, "text_tower")):
        packed = [one for one in tower.modules() if isinstance(one, nn.MultiheadAttention)]
        loose = [name for name, _ in tower.named_modules() if name.endswith("q_proj")]
        assert sum(name.startswith(side) for name in trained) == 4 * (len(packed) + len(loose)) > 0


def test_a_residual_network_is_refused_because_its_projections_are_read_and_not_called():
    resnet = open_clip.model.ModifiedResNet(layers=[1] * 4, output_dim=8, heads=2, image_size=32, width=8)
    with pytest.raises(UnsupportedError, match="residual network"):
        adapt(OpenClipImageTower(resnet), SMALL, Randomness(0), what="the image tower")


def test_texts_of_a_class_are_averaged_and_their_mean_is_normalised_again(towers):
    network = AdaptedTowers(towers, TEXTS, SMALL, Randomness(0)).eval()
    with torch.no_grad(), network.acting():
        vectors = network.class_vectors()
    own = towers.encode_texts([text for texts in TEXTS.values() for text in texts]).view(2, 2, -1).mean(1)
    torch.testing.assert_close(vectors, own / own.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)


# -- the recipe --------------------------------------------------------------------------------------------------------

FAST = {
    "augment": False,
    "templates": ("a {}",),
    "rank": 2,
    "plan": {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3},
}


@pytest.fixture
def synthetic_set(monkeypatch):
    """What a reference of generated images gives."""
    found = made(scenes(count=24))
    monkeypatch.setattr(tuning, "load_images", lambda _: found)
    return found


def test_an_artifact_computes_what_was_trained_and_keeps_no_weights_of_the_tower(towers, tmp_path):
    identity = towers.identity()
    artifact = AdaptedTower(**FAST).fit(scenes(), rng=Randomness(0))
    assert towers.identity() == identity
    artifact.save(tmp_path / "tuned")
    again = load_classifier(f"artifact:{tmp_path / 'tuned'}")
    names = {name for name in Artifact.load(tmp_path / "tuned").tensors if name != "vectors"}
    assert names
    assert all(".lora_" in name for name in names)
    images = images_of(towers, 4)
    changed = zero_shot_classifier(towers, {name: (f"a {name}",) for name in NAMES})(images)
    assert (again(images) - changed).abs().max() > 1e-3
    captured = {}
    plain = AdaptedTowers.trained

    def trained(self):
        captured["scores"] = self.eval()(images).detach()
        return plain(self)

    AdaptedTowers.trained = trained
    try:
        AdaptedTower(**FAST).fit(scenes(), rng=Randomness(0))
    finally:
        AdaptedTowers.trained = plain
    torch.testing.assert_close(again(images), captured["scores"], rtol=1e-3, atol=1e-3)


@pytest.mark.covers("8.6")
@pytest.mark.covers("8.7")
def test_both_kinds_are_weighed_and_real_images_repeated(synthetic_set, monkeypatch):
    seen = {}

    def watched(network, examples, flags, **options):
        seen.update(examples=examples, flags=flags, share=options["real_share"])
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "adapt_towers", watched)
    with pytest.raises(KeyboardInterrupt):
        AdaptedTower(**FAST, synthetic="made").fit(scenes(count=8), rng=Randomness(0))
    assert seen["share"] == 0.8
    assert int(seen["flags"].sum()) == 24
    assert int((~seen["flags"]).sum()) == 24
    told = {one.partition("/")[0] for one, flag in zip(seen["examples"].ids, seen["flags"], strict=True) if flag}
    assert told == {"synthetic"}


@pytest.mark.covers("8.8")
def test_the_epoch_is_chosen_on_validation_images_and_test_images_are_refused(synthetic_set):
    marked = join([scenes(), scenes("val", 8)])
    card = AdaptedTower(**FAST, synthetic="made").fit(marked, rng=Randomness(0)).card
    best = max(card.history, key=lambda row: row["val.accuracy"])
    assert card.metrics["val.accuracy"] == best["val.accuracy"]
    with pytest.raises(InputError, match="test"):
        AdaptedTower(**FAST).fit(scenes("test", 8), rng=Randomness(0))
    with pytest.raises(InputError, match="test"):
        AdaptedTower(**FAST).fit(join([scenes(), scenes("test", 8)]), rng=Randomness(0))


@pytest.mark.covers("8.11")
def test_synthetic_images_alone_and_with_real_ones_are_two_trainings(synthetic_set):
    alone = AdaptedTower(**FAST, synthetic="made", real=False).fit(scenes(), rng=Randomness(0))
    both = AdaptedTower(**FAST, synthetic="made").fit(scenes(), rng=Randomness(0))
    only_real = AdaptedTower(**FAST).fit(scenes(), rng=Randomness(0))
    assert len({one.card.lineage.data for one in (alone, both, only_real)}) == 3
    assert [one.card.lineage.recipe["synthetic_images"] for one in (alone, both, only_real)] == [24, 24, 0]
    with pytest.raises(InputError, match="nothing to train on"):
        AdaptedTower(**FAST, real=False).fit(scenes(), rng=Randomness(0))


@pytest.mark.covers("8.6")
def test_the_training_weighs_the_two_means_and_not_the_numbers_of_images():
    class Scores(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(2))

        def forward(self, images):
            return self.bias.expand(len(images), 2)

    flags = torch.arange(8) >= 2
    examples = ImageStore.of_tensors(torch.zeros(8, 3, 4, 4, dtype=torch.uint8), flags.long())
    plan = TrainingPlan(epochs=60, batch_size=8, learning_rate=0.1, weight_decay=0, schedule="constant")
    trained = tuning.adapt_towers(Scores(), examples, flags, plan=plan, real_share=0.8, class_count=2)
    assert float(trained.weights["bias"].softmax(0)[0]) == pytest.approx(0.8, abs=0.03)


def call_on(images):
    """What a recipe is given, as far as the choice of examples needs it."""
    return SimpleNamespace(data=images, progress=None)


def test_generated_images_are_not_taken_for_real_ones_and_classes_go_by_name(synthetic_set, monkeypatch):
    with pytest.raises(InputError, match="name them by --synthetic"):
        AdaptedTower(**FAST).fit(made(scenes()), rng=Randomness(0))
    for names, refused in ((("ring", "star"), None), (("heart", "star"), "'heart'")):
        monkeypatch.setattr(tuning, "load_images", lambda _, names=names: replace(synthetic_set, class_names=names))
        recipe = AdaptedTower(**FAST, synthetic="made", real=False)
        if refused is None:
            examples, _ = recipe._examples(call_on(scenes()), load_two_tower("bundled:scene-clip"))
            assert torch.equal(examples.targets, 1 - torch.from_numpy(synthetic_set.labels))
            continue
        with pytest.raises(InputError, match=refused):
            recipe._examples(call_on(scenes()), load_two_tower("bundled:scene-clip"))


def test_shots_are_those_that_the_generator_was_adapted_to():
    from snellen.systems.few_shot_adaptation.shots import few_shots

    images = scenes(count=24)
    recipe = AdaptedTower(**FAST, shots=3, shot_seed=5)
    examples, flags = recipe._examples(call_on(images), load_two_tower("bundled:scene-clip"))
    assert set(examples.ids) == set(few_shots(images, 3, seed=5).images.ids)
    assert not flags.any()


def test_the_published_view_keeps_size_and_range():
    pytest.importorskip("torchvision")
    images = torch.rand(3, 3, 32, 32)
    changed, targets = published_view(images, torch.arange(3), Randomness(0).for_examples(["a", "b", "c"]))
    assert changed.shape == images.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert targets.tolist() == [0, 1, 2]
    assert not torch.allclose(changed, images)


def test_the_acronym_trains_it(tmp_path):
    delivered = snellen.train({"method": "datadream", **FAST}, scenes(), out=tmp_path / "out", onnx=False)
    assert delivered.artifact.card.architecture["name"] == "adapted_tower"
