"""Training with added views: searched, random, and what is written down."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.data.worlds.solids.solid_set import Solids
from snellen.data.worlds.view_set import view_set
from snellen.data.worlds.viewpoints import CENTRES
from snellen.models.classifiers.artifact_models import build_network
from snellen.systems.viewpoints.pool import LabelledObjects, MixturePool
from snellen.systems.viewpoints.recipe import ViewpointTraining
from snellen.systems.viewpoints.view_augmentation import RandomViews, ViewAugmentation
from snellen.systems.viewpoints.view_training import WithSupply, render_added_views, training_objects
from snellen.training.batches import ImageStore, load_batch
from snellen.training.fitting.frame import Fitting
from snellen.training.fitting.groundwork import lay_groundwork
from tests.data.worlds.glowing_objects import glowing_set

WORLD = Solids(classes=("mug", "car"), objects=2, views=3, size=16, shadow=False)
COMMON = {"architecture": "fashion_cnn", "side": 16, "added_views": 3}
SEARCH = {"components": 2, "popsize": 5, "iterations": 1, "warm_iterations": 1}


@pytest.fixture(scope="module")
def views():
    return WORLD.images(split="train")


def plan(**fields):
    return {"epochs": 3, "batch_size": 6, **fields}


def same(one, other):
    return all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


@pytest.mark.covers("11.6")
def test_a_training_searches_in_every_epoch_and_goes_on_bit_by_bit_after_a_stop(views, tmp_path, monkeypatch):
    recipe, epochs = ViewpointTraining(**COMMON, **SEARCH, clean_epochs=1, plan=plan(checkpoint_every=1)), []
    follow = MixturePool.follow

    def followed(self, epoch, look, score, rng, progress=None):
        epochs.append(epoch)
        follow(self, epoch, look, score, rng, progress)

    monkeypatch.setattr(MixturePool, "follow", followed)
    whole = recipe.fit(views, rng=Randomness(0))
    assert epochs == [2, 3]
    told = whole.card.lineage.recipe
    # 4 objects, then one of each class; 6 views a step. 2 steps in each of 2 epochs, 3 added views in each.
    assert (told["objects"], told["views_searched"], told["views_added"]) == (4, 24 + 12, 12)
    assert set(whole.tensors) == set(
        ViewAugmentation(**COMMON, plan=plan(epochs=1)).fit(views, rng=Randomness(0)).tensors
    )

    class StoppedError(Exception):
        pass

    class Stopping:
        steps = 0

        def begin(self, task, total=None): ...
        def finish(self, task): ...
        def advance(self, task, amount=1, note=""):
            self.steps += task == "train" and amount == 1
            if self.steps == 5:
                raise StoppedError

    with pytest.raises(StoppedError):
        recipe.fit(views, rng=Randomness(0), checkpoint=tmp_path / "c", progress=Stopping())
    assert same(recipe.fit(views, rng=Randomness(0), checkpoint=tmp_path / "c"), whole)


def test_random_cameras_differ_from_searched_ones_and_put_pictures_behind(views):
    plain = ViewAugmentation(**COMMON, clean_epochs=0, plan=plan(epochs=1))
    made = plain.fit(views, rng=Randomness(0))
    assert made.card.lineage.recipe["views_searched"] == 0
    for other in ({"viewpoints": "natural"}, {"behind": True}, {"clean_epochs": 1}):
        assert not same(made, plain.model_copy(update=other).fit(views, rng=Randomness(0)))
    assert same(made, plain.fit(views, rng=Randomness(0)))


@pytest.mark.covers("11.10")
def test_added_views_are_prepared_as_the_images_are_and_blank_ones_are_left_out(views):
    renderer = views.source.renderer
    owners = tuple(dict.fromkeys(views.source.owners))
    objects = LabelledObjects(owners, (0, 0, 1, 1))
    preparation = Preprocessing(size=(8, 8), resize="shorter", resize_to=(8, 8))
    rows = torch.tensor([0, 4, 9])

    def drawn(rng):
        return torch.tensor([owners.index(views.source.owners[row]) for row in rows]), views.source.viewpoints[rows]

    made = render_added_views(
        renderer, objects, drawn, steps=1, each=3, preparation=preparation, least_coverage=0.005, behind=None,
        rng=Randomness(0),
    )  # fmt: skip
    pixels, labels = made.of_step(0)
    # The renderer's own white is what lies behind these views too.
    expected = torch.stack([preparation.pixels(views.read(int(row))) for row in rows])
    assert torch.equal(pixels, expected)
    assert labels.tolist() == views.labels[rows].tolist()
    grey = ImageStore.of_tensors(torch.full((1, 3, 8, 8), 90, dtype=torch.uint8), torch.tensor([0]))
    before = render_added_views(
        renderer, objects, drawn, steps=1, each=3, preparation=preparation, least_coverage=0.99, behind=grey,
        rng=Randomness(0),
    )  # fmt: skip
    assert before.images[0, :, :, 0, 0].unique().tolist() == [90]
    assert len(before.of_step(0)[0]) == 0


@pytest.mark.covers("11.9")
def test_an_object_in_two_splits_is_refused_and_val_objects_are_not_searched(views):
    renderer = views.source.renderer
    middle = torch.tensor([CENTRES, CENTRES], dtype=torch.float64)
    data = view_set(renderer, dict.fromkeys(renderer.objects, middle))

    def with_splits(splits):
        return replace(data, table=data.table.append_column("split", pa.array(splits)))

    recipe = ViewpointTraining(**COMMON, **SEARCH, clean_epochs=0, plan=plan(epochs=1))
    with pytest.raises(InputError, match="is in two splits, train and val; split by object"):
        recipe.fit(with_splits(["train", "val"] * 4), rng=Randomness(0))
    fitted = recipe.fit(with_splits((["train"] * 2 + ["val"] * 2) * 2), rng=Randomness(0))
    assert (fitted.card.lineage.recipe["objects"], fitted.card.lineage.recipe["views_searched"]) == (2, 12)


@pytest.mark.parametrize("recipe", [ViewpointTraining(**COMMON, **SEARCH), ViewAugmentation(**COMMON)])
def test_an_object_that_cannot_be_looked_at_is_left_out_by_name_and_stops_nothing(recipe):
    some = glowing_set(("light-a", "dark-b", "damaged-c", "blank-d"))
    recipe = recipe.model_copy(update={"plan": recipe.plan.model_copy(update={"epochs": 1}), "clean_epochs": 0})
    told = recipe.fit(some, rng=Randomness(0)).card.lineage.recipe
    assert (told["objects"], told["rejected"]) == (3, 6)
    assert {name for name, count in some.source.renderer.calls if count > 1} >= {"light-a", "dark-b"}


@pytest.mark.covers("11.6")
def test_what_is_followed_is_the_classifier_as_it_is_by_then_in_evaluation_mode(views):
    heard, image = [], torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    class Listening(RandomViews):
        def follow(self, epoch, look, score, rng, progress=None):
            heard.append(score(image).detach())

    class Followed(ViewAugmentation):
        def supply(self, objects):
            return Listening(objects, "any")

    base = ViewAugmentation(**COMMON, plan=plan(epochs=1)).fit(views, rng=Randomness(0))
    Followed(**COMMON, plan=plan()).fit(views, base=base, rng=Randomness(0))
    network = build_network(base.card.architecture, "the test")
    network.load_state_dict(dict(base.tensors))
    assert torch.allclose(heard[0], network.eval()(image), atol=1e-6)
    assert not torch.allclose(network.train()(image), heard[0], atol=1e-3), "the mode makes no difference here"
    assert len({tuple(scores.flatten().tolist()) for scores in heard}) == 3


def test_the_loss_is_the_mean_over_images_and_renderings_and_views_seen_are_counted(views):
    recipe = ViewAugmentation(**COMMON, clean_epochs=0, plan=plan())
    source = views.source
    ground = lay_groundwork(Fitting(views, Randomness(0)), architecture="fashion_cnn", side=16, plan=recipe.plan)
    objects = training_objects(views, ground.examples.ids)
    module = WithSupply(ground.network, recipe.supply(objects)).eval()
    rng = Randomness(ground.plan.seed)
    batch = load_batch(ground.examples, torch.arange(5), rng.child("training", 1, 1), torch.device("cpu"), epoch=1)
    losses = recipe.with_added_views(ground, source.renderer, objects)(module, batch)
    pixels, labels = render_added_views(
        source.renderer, objects, module.supply.draw, steps=2, each=3, preparation=ground.preparation,
        least_coverage=0.005, behind=None, rng=rng.child("added views", 1),
    ).of_step(1)  # fmt: skip
    all_of_them = torch.cat([batch.images, to_unit(pixels)])
    expected = torch.nn.functional.cross_entropy(module.network(all_of_them), torch.cat([batch.targets, labels]))
    assert losses.mean().item() == pytest.approx(expected.item(), rel=1e-5)
    assert (len(losses), int(module.shown)) == (5, 3)


@pytest.mark.covers("11.9")
def test_images_that_choose_the_epoch_may_come_from_elsewhere_but_not_of_the_same_objects(views):
    recipe = ViewpointTraining(**COMMON, **SEARCH, clean_epochs=0, plan=plan(epochs=1))
    photos = load_arrays(np.zeros((2, 16, 16, 3), np.uint8), np.array([0, 1]), class_names=views.class_names)
    for other in (WORLD.images(split="val"), photos):
        whole = join([as_split(views, "train"), as_split(other, "val")])
        assert recipe.missing(images=whole) is None
        card = recipe.fit(whole, rng=Randomness(0)).card
        assert card.lineage.recipe["objects"] == 4
        assert "val.accuracy" in card.metrics
    again = replace(views, table=views.table.set_column(0, "id", pa.array([f"again {n}" for n in range(len(views))])))
    with pytest.raises(InputError, match="is in two splits, train and val; split by object"):
        recipe.fit(join([as_split(views, "train"), as_split(again, "val")]), rng=Randomness(0))
    with pytest.raises(InputError, match="needs a set of views"):
        recipe.fit(join([as_split(photos, "train"), as_split(views, "val")]), rng=Randomness(0))


def test_images_that_are_no_views_are_refused_and_reported():
    plain = load_arrays(np.zeros((4, 16, 16), np.uint8), np.array([0, 1, 0, 1]), class_names=["a", "b"])
    recipe = ViewpointTraining(**COMMON, plan=plan())
    assert "needs a set of views" in recipe.missing(images=plain)
    assert "optotypes:solids" in recipe.missing(images=plain)
    with pytest.raises(InputError, match="needs a set of views"):
        recipe.fit(plain, rng=Randomness(0))


def test_random_views_lie_in_their_range_and_follow_the_examples():
    objects = LabelledObjects(("a", "b", "c"), (0, 0, 1))
    rng = Randomness(0).for_examples([str(n) for n in range(200)])
    shown, anywhere = RandomViews(objects, "any").draw(rng)
    _, natural = RandomViews(objects, "natural").draw(rng)
    assert float(anywhere[:, 1].abs().max()) > 150
    assert 8 <= float(natural[:, 2].min()) <= float(natural[:, 2].max()) <= 35
    assert float((shown == 2).double().mean()) == pytest.approx(0.5, abs=0.1)
    again, same_views = RandomViews(objects, "any").draw(rng[[7, 3]])
    assert torch.equal(again, shown[[7, 3]])
    assert torch.equal(same_views, anywhere[[7, 3]])
    json.dumps(ViewpointTraining().record())
