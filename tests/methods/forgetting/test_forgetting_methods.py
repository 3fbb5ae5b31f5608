"""Unlearning methods: what each reads, what it changes, and by which loss."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.forgetting import (
    BoundaryExpanding,
    BoundaryShrink,
    CatastrophicLastLayers,
    ExactLastLayers,
    FineTuning,
    GradientAscent,
    RandomLabels,
    Retraining,
    Scrub,
    SelectiveDampening,
    SparseFineTuning,
)
from snellen.methods.forgetting import forgetter
from snellen.methods.forgetting.boundary import nearest_other_class
from snellen.methods.forgetting.dampening import kept_share
from snellen.methods.forgetting.forget_split import ForgetSplit, rows_of_classes, rows_of_ids
from snellen.methods.forgetting.initial_weights import last_layers, redraw
from snellen.methods.forgetting.random_labels import drawn_labels
from snellen.methods.forgetting.retraining import PUBLISHED, as_trained, of_lineage
from snellen.methods.forgetting.scrub import softened_divergence
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import ImageStore, load_batch
from snellen.training.evaluation import accuracy, score_examples
from snellen.training.loop import train as train_loop
from snellen.training.plan import TrainingPlan
from tests.methods.forgetting.learned import PLAN, learned, split_of

FAST = {"epochs": 2, "batch_size": 16}


class Audited(ImageStore):
    """Examples that note which of them are read."""

    def read(self, positions):
        self.__dict__.setdefault("seen", set()).update(positions.tolist())
        return super().read(positions)


def audited():
    store = learned()[1]
    return Audited(store.images, store.targets, store.ids, store.weights)


def wrong(network, split):
    return 1 - accuracy(network.eval(), split.forgotten)["accuracy"]


@pytest.mark.smoke
@pytest.mark.covers("24.8")
def test_retraining_begins_anew_with_the_same_numbers_and_never_reads_the_forget_set(monkeypatch):
    network, _ = learned()
    store = audited()
    split, begun = ForgetSplit(store, torch.arange(5, 17)), []

    def watched(model, examples, **options):
        begun.append((copy.deepcopy(model.state_dict()), examples, options["plan"]))
        return train_loop(model, examples, **options)

    monkeypatch.setattr(forgetter, "train", watched)
    method = Retraining(plan=PLAN)
    made = method.forget(network, split, rng=Randomness(1))
    ((initial, examples, plan),) = begun
    assert store.seen == set(range(96)) - set(range(5, 17))
    assert set(examples.ids) == {str(row) for row in store.seen}
    assert not torch.equal(initial["network.4.weight"], network.state_dict()["network.4.weight"])
    assert torch.equal(initial["network.1.running_mean"], torch.zeros(16)), "statistics begin anew as well"
    assert plan.model_dump(exclude={"seed"}) == PLAN.model_dump(exclude={"seed"})
    assert wrong(made, split) > wrong(network, split) == 0
    assert accuracy(made, split.remaining)["accuracy"] > 0.9


def test_initial_weights_are_drawn_as_the_layers_draw_them():
    network = copy.deepcopy(learned()[0])
    redraw(network.modules(), Randomness(3))
    limit = 1 / 1024**0.5
    assert network.network[4].weight.abs().max() <= limit
    again = copy.deepcopy(learned()[0])
    torch.manual_seed(99)
    redraw(again.modules(), Randomness(3))
    assert torch.equal(again.network[4].weight, network.network[4].weight)


def test_a_module_that_cannot_draw_its_weights_is_named():
    class Free(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(3))

    with pytest.raises(UnsupportedError, match="Free: these modules have no reset_parameters"):
        redraw(nn.Sequential(nn.Linear(2, 2), Free()).modules(), Randomness(0))


def test_the_recipe_of_a_lineage_is_repeated_and_others_are_refused():
    recipe = {"method": "supervised", "plan": {"epochs": 3, "learning_rate": 0.5}, "flips": True, "side": 28}
    made = of_lineage(recipe)
    assert (made.plan.epochs, made.plan.learning_rate, made.flips) == (3, 0.5, True)
    with pytest.raises(InputError, match="names the recipe 'cutmix'"):
        of_lineage({"method": "cutmix"})


@pytest.mark.parametrize("method", [FineTuning, SparseFineTuning, ExactLastLayers, CatastrophicLastLayers])
def test_methods_that_tune_on_the_remaining_images_read_no_other(method):
    store = audited()
    rows = torch.arange(5, 17)
    method(**FAST).forget(learned()[0], ForgetSplit(store, rows), rng=Randomness(0))
    # One image is looked at to see in which order layers run.
    assert store.seen - {0} <= set(range(96)) - set(rows.tolist())


def test_gradient_ascent_reads_the_forget_set_alone_and_raises_its_loss():
    store = audited()
    split = ForgetSplit(store, torch.arange(5, 17))
    made = GradientAscent(epochs=5, batch_size=4, learning_rate=1e-3).forget(learned()[0], split, rng=Randomness(0))
    assert store.seen == set(range(5, 17))
    assert accuracy(made, split.forgotten)["loss"] > accuracy(learned()[0], split.forgotten)["loss"]


def test_the_nearest_other_class_lies_beyond_a_step_across_the_boundary():
    """Scores are mean colours: a step raises the loss by darkening the own channel, so the next brighter one wins."""

    class Means(nn.Module):
        def forward(self, images):
            return images.mean((2, 3)) * 20

    images = torch.tensor([[0.9, 0.5, 0.4], [0.2, 0.6, 0.3]])[:, :, None, None].expand(-1, -1, 4, 4)
    labels = torch.tensor([0, 1])
    assert nearest_other_class(Means(), images, labels, 0.1).tolist() == [1, 2]
    wrong_already = torch.tensor([1, 0])
    assert nearest_other_class(Means(), images, wrong_already, 0.1).tolist() == [0, 1]
    assert not images.requires_grad


@pytest.mark.parametrize("method", [BoundaryShrink, BoundaryExpanding])
def test_boundary_methods_read_the_forget_set_alone_and_raise_its_loss(method):
    network, store = learned()
    seen = audited()
    split = ForgetSplit(seen, torch.arange(5, 17))
    before = {name: one.clone() for name, one in network.state_dict().items()}
    made = method(epochs=6, batch_size=4, learning_rate=3e-3).forget(network, split, rng=Randomness(0))
    loss, own_loss = (accuracy(one, split.forgotten)["loss"] for one in (made, network))
    assert loss > 2 * own_loss
    assert method is BoundaryExpanding or wrong(made, split) > 0.3
    # Boundary expanding reads one image to find the last layer.
    assert seen.__dict__["seen"] - set(range(5, 17)) <= {0}
    assert made(torch.rand(2, 3, 8, 8)).shape == (2, 2), "no further class is left"
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())
    assert len(store) == 96


def test_boundary_expanding_needs_a_linear_last_layer():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    prepared = PreparedNetwork(network, (0, 0, 0), (1, 1, 1))
    with pytest.raises(UnsupportedError, match=r"is a Conv2d; use boundary-shrink"):
        BoundaryExpanding().forget(prepared, split_of(), rng=Randomness(0))


def test_a_rate_that_is_too_high_is_an_error_with_a_reason():
    with pytest.raises(ModelError, match="not finite"):
        GradientAscent(epochs=50, batch_size=4, learning_rate=1e6).forget(learned()[0], split_of(), rng=Randomness(0))


def test_the_penalty_falls_in_a_line_and_makes_weights_smaller():
    assert [SparseFineTuning(epochs=4, sparsity=0.4).strength(epoch) for epoch in (1, 2, 3, 4)] == pytest.approx(
        [0.4, 0.3, 0.2, 0.1]
    )
    size = {
        name: sum(float(one.detach().abs().sum()) for one in made.parameters())
        for name, made in {
            "plain": FineTuning(**FAST).forget(learned()[0], split_of(), rng=Randomness(0)),
            "sparse": SparseFineTuning(**FAST, sparsity=0.05).forget(learned()[0], split_of(), rng=Randomness(0)),
        }.items()
    }
    assert size["sparse"] < size["plain"]


def test_random_labels_are_drawn_again_at_each_pass_for_the_forget_set_alone():
    store = ImageStore.of_tensors(torch.zeros(60, 3, 2, 2, dtype=torch.uint8), torch.full((60,), 3))
    gone = torch.arange(60) < 40
    drawn = []
    for epoch in (1, 2):
        rng = Randomness(0).child("training", epoch, 0)
        batch = load_batch(store, torch.arange(60), rng, torch.device("cpu"), epoch=epoch)
        drawn.append(drawn_labels(batch, gone, 10))
    assert all(torch.equal(one[40:], torch.full((20,), 3)) for one in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    assert set(drawn[0][:40].tolist()) <= set(range(10))
    assert 3 in torch.cat([one[:40] for one in drawn]), "a drawn label may be the true one"


def test_random_labels_make_forget_images_wrong():
    made = RandomLabels(epochs=30, batch_size=16, learning_rate=0.02).forget(
        learned()[0], split_of(), rng=Randomness(0)
    )
    assert wrong(made, split_of()) > 0.1


@pytest.mark.parametrize(("method", "redrawn"), [(ExactLastLayers, True), (CatastrophicLastLayers, False)])
def test_the_last_layers_alone_are_trained_and_statistics_of_others_stay(method, redrawn):
    network, _ = learned()
    made = method(**FAST, learning_rate=1e-9).forget(network, split_of(), rng=Randomness(0))
    old, new = network.state_dict(), made.state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert "network.4.weight" in changed
    assert changed <= {"network.4.weight", "network.4.bias"}
    nearly = torch.allclose(old["network.4.weight"], new["network.4.weight"], atol=1e-5)
    assert nearly != redrawn, "EU-k begins at initial weights, CF-k at those of the network"


def test_layers_are_counted_in_the_order_in_which_they_run():
    network, store = learned()
    found = last_layers(network, store.images[:1].float() / 255, 1)
    assert [name for name, _ in found] == ["network.4"]
    with pytest.raises(UnsupportedError, match="k = 2 would be all"):
        last_layers(network, store.images[:1].float() / 255, 2)


def test_scrub_leaves_its_teacher_on_the_forget_set_and_stays_elsewhere():
    network, store = learned()
    split = split_of()

    def parted(ascents, seed):
        """How much farther from the teacher forget images are than others."""
        method = Scrub(epochs=8, ascents=ascents, batch_size=16, learning_rate=0.02)
        made = method.forget(network, split, rng=Randomness(seed))
        assert accuracy(made, split.remaining)["accuracy"] > 0.9
        taught, found = (score_examples(one, store)[0] for one in (network, made))
        divergence = softened_divergence(taught, found, 4.0)
        return float(divergence[split.is_forgotten].mean() / divergence[~split.is_forgotten].mean())

    # The mean of three orders of the images: single ones differ with the processor.
    many, one = (np.mean([parted(ascents, seed) for seed in range(3)]) for ascents in (6, 1))
    assert many > 1.5
    assert one < 1, "a single pass over the forget set is undone by those that follow"


def test_the_divergence_is_that_of_torch():
    taught, scores = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(5, 3)
    oracle = nn.functional.kl_div((scores / 4).log_softmax(1), (taught / 4).softmax(1), reduction="none").sum(1)
    assert torch.allclose(softened_divergence(taught, scores, 4.0), 16 * oracle, atol=1e-6)


def test_dampening_shrinks_what_stands_out_and_trains_nothing():
    whole, own = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([40.0, 9.0, 0.0])
    assert kept_share(whole, own, 10.0, 2.0).tolist() == pytest.approx([0.05, 1.0, 1.0])
    network, split = learned()[0], split_of()
    made = SelectiveDampening(selection=1.0).forget(network, split, rng=Randomness(0))
    old, new = dict(network.named_parameters()), dict(made.named_parameters())
    assert all(bool((new[name].abs() <= old[name].abs() + 1e-9).all()) for name in old)
    assert any(bool((new[name] != old[name]).any()) for name in old)
    unchanged = SelectiveDampening(selection=1e9).forget(network, split, rng=Randomness(0))
    assert all(torch.equal(one, old[name]) for name, one in unchanged.named_parameters())


def test_bad_forget_sets_are_refused_in_one_sentence():
    store = learned()[1]
    cases = {
        "the forget set is empty": torch.arange(0),
        "stands twice": torch.tensor([1, 1]),
        "nothing would remain": torch.arange(96),
        "lie in 0": torch.tensor([96]),
    }
    for message, rows in cases.items():
        with pytest.raises(InputError, match=message):
            ForgetSplit(store, rows)
    with pytest.raises(InputError, match="no image is named"):
        rows_of_ids(store, [])
    with pytest.raises(InputError, match="1 ids stand twice in the forget set, the first is '3'"):
        rows_of_ids(store, ["3", "3"])
    with pytest.raises(InputError, match="1 of 2 ids are of no training image, the first is 'x'"):
        rows_of_ids(store, ["3", "x"])
    with pytest.raises(InputError, match="no class 'blue'"):
        rows_of_classes(store, ["blue"], ("dark", "bright"))


def test_a_class_that_is_wiped_out_is_named():
    store = learned()[1]
    rows = rows_of_classes(store, ["bright"], ("dark", "bright"))
    assert ForgetSplit(store, rows).lost_classes(("dark", "bright")) == ("bright",)
    assert split_of().lost_classes(("dark", "bright")) == ()


def test_published_numbers_are_the_defaults():
    assert (PUBLISHED.epochs, PUBLISHED.batch_size, PUBLISHED.learning_rate, PUBLISHED.weight_decay) == (
        182, 256, 0.1, 5e-4,
    )  # fmt: skip
    scrub = Scrub()
    assert (scrub.label_weight, scrub.obedience, scrub.temperature) == (0.99, 1e-3, 4.0)
    assert SparseFineTuning().sparsity == 1e-3


def test_a_partial_plan_lies_over_the_lineage():
    recipe = {"method": "supervised", "plan": {**PUBLISHED.model_dump(), "epochs": 7, "learning_rate": 0.3}}
    # 0.1 is the published number as well: it counts because it was given.
    found = as_trained(Retraining(plan={"learning_rate": 0.1}), recipe, "dots", "--plan")
    assert (found.plan.epochs, found.plan.learning_rate) == (7, 0.1)
    built = as_trained(Retraining(plan=TrainingPlan(learning_rate=0.1)), recipe, "dots", "--plan")
    assert built == found
    assert as_trained(Retraining(), recipe, "dots", "--plan") == of_lineage(recipe)
    assert as_trained(Retraining(plan={"epochs": 3}), {}, "dots", "--plan").plan.epochs == 3
    assert as_trained(Retraining(plan={"epochs": 3}), {"method": "cutmix"}, "dots", "--plan").plan.epochs == 3
    with pytest.raises(InputError, match=r"how dots was trained is not known.*give numbers: --plan"):
        as_trained(Retraining(), {}, "dots", "--plan")
    with pytest.raises(InputError, match="how dots was trained is not known"):
        as_trained(Retraining(flips=True), {}, "dots", "--plan")


def test_ids_that_stand_twice_are_counted_once_each():
    store = learned()[1]
    with pytest.raises(InputError, match="2 ids stand twice in the forget set, the first is '3'"):
        rows_of_ids(store, ["7", "3", "7", "3", "3"])
