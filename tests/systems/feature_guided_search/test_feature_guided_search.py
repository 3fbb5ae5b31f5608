"""Feature-guided search: it keeps its books, stays in its neighbourhood, and asks by queries alone."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.systems.feature_guided_search import method as module
from snellen.systems.feature_guided_search.features import Features
from snellen.systems.feature_guided_search.method import FeatureGuidedSearch
from snellen.testing.conformance import check_attack, small_problem
from tests.systems.feature_guided_search.norms import severities


@pytest.mark.covers("15.1")
def test_asks_by_calls_alone_and_takes_no_gradient():
    plain, images, labels = small_problem(count=6)
    seen = []

    def watched(candidates):
        assert not candidates.requires_grad
        assert not torch.is_grad_enabled()
        seen.append(len(candidates))
        return plain.module(candidates)

    oracle = Classifier(watched, class_names=plain.class_names)
    attacked = FeatureGuidedSearch(queries=120).attack(oracle, images, labels)
    assert not attacked.gradients.any()
    assert tuple(seen) == attacked.batch_sizes
    assert sum(seen) == attacked.spent.queries == oracle.spent.queries
    decisions = Classifier(
        lambda x: nn.functional.one_hot(plain.module(x).argmax(1), 5).float(), class_names="abcde", output="labels"
    )
    same = FeatureGuidedSearch(queries=120).attack(decisions, images, labels)
    assert torch.equal(same.images, attacked.images), "decisions are enough"


@pytest.mark.covers("15.2")
def test_a_feature_is_picked_by_its_share_of_all_responses(monkeypatch):
    # Three features far apart and a wide image, so that a pixel tells whose it is. Each image gives one first move.
    responses = np.array([0.6, 0.3, 0.1])
    features = Features(np.array([10.0, 40.0, 70.0]), np.full(3, 10.0), np.full(3, 3.0), responses)
    monkeypatch.setattr(module, "detect", lambda *_args, **_options: features)
    seen = []

    def watched(candidates):
        seen.extend(candidates[:, 0].sum(1).argmax(1).tolist())
        return torch.tensor([1.0, 0.0]).expand(len(candidates), 2)

    classifier, images = Classifier(watched, class_names="ab"), torch.zeros(700, 3, 21, 81)
    for depth in (0, 1):  # by chance, and in the tree
        seen.clear()
        method = FeatureGuidedSearch(queries=3, visits=1, leaves=1, depth=depth, pixels=1, manipulation="white")
        method.attack(classifier, images, torch.zeros(700, dtype=torch.int64))
        picked = np.array([round((column - 10) / 30) for column in seen[700:]])
        assert len(picked) == 700
        assert stats.chisquare(np.bincount(picked, minlength=3), responses * 700).pvalue > 1e-3


@pytest.mark.covers("15.4")
def test_counts_in_the_tree_add_up():
    classifier, images, labels = small_problem(count=1)
    games = []
    method = FeatureGuidedSearch(queries=150, leaves=4, second_player="adversarial", epsilon=12)
    play_all = module.play_all
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "play_all", lambda given, oracle: games.extend(given) or play_all(given, oracle))
        method.attack(classifier, images, labels)
    nodes, (game,) = [games[0].root], games
    while nodes:
        node = nodes.pop()
        assert node.visits >= sum(child.visits for child in node.children)
        assert node.under_way >= 0
        assert 0 <= node.total <= node.visits, "rewards of L0 are at most 1"
        nodes += node.children
    assert game.root.visits > 10
    assert len(game.root.children) > 1


@pytest.mark.covers("15.6")
def test_every_visit_begins_with_the_clean_image():
    seen = []

    def never(candidates):
        seen.extend((candidates != 0).any(1).flatten(1).sum(1).tolist())
        return torch.tensor([1.0, 0.0]).expand(len(candidates), 2)

    method = FeatureGuidedSearch(
        queries=60, leaves=1, depth=0, pixels=2, epsilon=6, every_move=True, manipulation="white", choice="uniform"
    )
    classifier = Classifier(never, class_names="ab")
    attacked = method.attack(classifier, torch.zeros(1, 3, 16, 16), torch.tensor([0]))
    paths = seen[1:]
    assert paths[:9] == [2, 4, 6] * 3
    assert set(paths) == {2, 4, 6}
    assert attacked.endings == ("not found, budget",)


@pytest.mark.covers("15.6", "15.8")
@pytest.mark.parametrize("norm", ["l0", "l1", "l2", "linf"])
@pytest.mark.parametrize("manipulation", ["extreme", "step", "white", "black"])
def test_severities_are_those_of_the_images_and_stay_below_epsilon(norm, manipulation):
    classifier, images, labels = small_problem(count=8)
    epsilon = {"l0": 9, "l1": 8.0, "l2": 2.5, "linf": 0.4}[norm]
    seen = []

    def watched(candidates):
        seen.append(candidates)
        return classifier.module(candidates)

    method = FeatureGuidedSearch(
        norm=norm, manipulation=manipulation, epsilon=epsilon, step=0.3, queries=80, pixels=1, leaves=4
    )
    attacked = method.attack(Classifier(watched, class_names="abcde"), images, labels)
    for candidates in seen:
        nearest = torch.stack([severities(candidates, image[None], norm) for image in images]).amin(0)
        assert nearest.max() <= epsilon + 1e-5
        assert candidates.min() >= 0
        assert candidates.max() <= 1
    found = attacked.success
    assert torch.allclose(
        attacked.distance[found].double(), severities(attacked.images, images, norm)[found], atol=1e-5
    )
    for distance, curve in zip(attacked.distance.tolist(), attacked.curves, strict=True):
        assert [severity for _, severity in curve] == sorted((s for _, s in curve), reverse=True)
        assert not curve or curve[-1][1] == pytest.approx(distance, abs=1e-5)


@pytest.mark.covers("15.9")
def test_the_returned_image_is_looked_at_once_more():
    plain, images, labels = small_problem(count=10)
    labels = labels.clone()
    labels[:2] = (labels[:2] + 1) % 5
    seen = []
    watching = Classifier(lambda x: seen.append(x) or plain.module(x), class_names="abcde")
    attacked = FeatureGuidedSearch(queries=100, leaves=8, epsilon=2).attack(watching, images, labels)
    assert torch.equal(seen[0], images)
    assert torch.equal(seen[-1], attacked.images[[status == "found" for status in attacked.status]])
    assert attacked.endings[:2] == ("already misclassified",) * 2
    assert torch.equal(attacked.images[:2], images[:2])
    assert any(ending.startswith("found, ") for ending in attacked.endings)
    failed = [place for place, ending in enumerate(attacked.endings) if ending.startswith("not found")]
    assert failed
    assert torch.equal(attacked.images[failed], images[failed])
    evidence = attacked.evidence(watching, [str(n) for n in range(10)], labels, setting="game")
    assert evidence.table["reason"].to_pylist() == list(attacked.endings)


def test_an_image_that_fails_the_last_look_is_not_found():
    calls = []

    def moody(candidates):
        calls.append(len(candidates))
        flipped = candidates.flatten(1).sum(1) > 0
        # The classifier changes its mind about everything in the last batch, which has one image.
        flipped &= len(calls) == 1 or len(candidates) > 1
        return torch.stack([1.0 - flipped.float(), flipped.float()], 1)

    method = FeatureGuidedSearch(queries=40, leaves=8, manipulation="white", choice="uniform")
    attacked = method.attack(Classifier(moody, class_names="ab"), torch.zeros(1, 3, 16, 16), torch.tensor([0]))
    assert calls[-1] == 1
    assert attacked.status == ("not found",)
    assert not attacked.distance.any()


def test_a_class_change_in_the_first_move_is_found():
    def touchy(candidates):
        flipped = (candidates > 0).flatten(1).any(1).float()
        return torch.stack([0.5 * torch.ones_like(flipped), flipped], 1)

    method = FeatureGuidedSearch(queries=3, leaves=1, pixels=1, manipulation="white", detector="own")
    attacked = method.attack(Classifier(touchy, class_names="ab"), torch.zeros(1, 3, 16, 16), torch.tensor([0]))
    assert attacked.distance.tolist() == [1.0]
    assert attacked.fallback.tolist() == [True]
    assert attacked.endings[0].endswith("no keypoints")


@pytest.mark.covers("15.12")
@pytest.mark.parametrize("second_player", ["cooperative", "adversarial", "random"])
def test_seeds_decide_everything_and_every_query_counts(second_player):
    classifier, images, labels = small_problem(count=6)
    method = FeatureGuidedSearch(queries=90, leaves=6, second_player=second_player)
    rng = Randomness(0).for_examples([f"image {n}" for n in range(6)])
    with classifier.counting() as spent:
        first = method.attack(classifier, images, labels, rng=rng)
        assert spent().queries == first.spent.queries == sum(first.batch_sizes)
    assert int(first.queries.max()) <= 90
    again = method.attack(classifier, images, labels, rng=rng)
    assert torch.equal(first.images, again.images)
    assert (first.curves, first.batch_sizes) == (again.curves, again.batch_sizes)
    alone = method.attack(classifier, images[[3]], labels[[3]], rng=rng[[3]])
    assert torch.equal(alone.images[0], first.images[3])
    assert alone.queries[0] == first.queries[3]
    other = method.attack(classifier, images, labels, rng=Randomness(1).for_examples(rng.ids))
    assert other.curves != first.curves


def test_one_image_fills_its_batches():
    # The second class wins where thirty white pixels lie in the upper half.
    def scores(images):
        white = (images == 1).all(1)[:, :16].flatten(1).sum(1)
        return torch.stack([torch.full_like(white, 29), white], 1).float()

    image = torch.zeros(1, 3, 32, 32)
    attacked = FeatureGuidedSearch().attack(Classifier(scores, class_names="ab"), image, torch.tensor([0]))
    assert 30 <= attacked.distance.item() < 100
    assert sum(attacked.batch_sizes) / len(attacked.batch_sizes) > 32


def test_reaches_a_target_and_keeps_the_conventions_of_attacks():
    classifier, images, labels = small_problem(count=10)
    targets = (labels + 1) % 5
    attacked = FeatureGuidedSearch(queries=200, leaves=8).attack(classifier, images, targets, criterion=Targeted())
    assert attacked.success.float().mean() > 0.6
    assert torch.equal(classifier(attacked.images).argmax(1)[attacked.success], targets[attacked.success])
    for options in ({"norm": "l2", "manipulation": "step"}, {"second_player": "random"}, {"shaped": True}):
        check_attack(FeatureGuidedSearch(queries=40, leaves=4, **options))


def test_scores_that_are_not_finite_end_only_their_own_search():
    plain, images, labels = small_problem(count=4)

    def broken(candidates):
        scores = plain.module(candidates)
        scores[(candidates[:, :, 0, 0] == 0.25).all(1)] = torch.nan
        return scores

    images = images.clone()
    images[1, :, 0, 0] = 0.25
    labels = plain(images).argmax(1)
    attacked = FeatureGuidedSearch(queries=60, leaves=4).attack(Classifier(broken, class_names="abcde"), images, labels)
    assert attacked.status[1] == "not finite"
    assert all(status in {"found", "not found"} for place, status in enumerate(attacked.status) if place != 1)


def test_what_it_cannot_do_is_said():
    _, images, labels = small_problem()
    labels_only = Classifier(lambda x: x.flatten(1)[:, :5], class_names="abcde", output="labels", name="oracle")
    with pytest.raises(UnsupportedError, match="oracle gives no probability of one class"):
        FeatureGuidedSearch(shaped=True).attack(labels_only, images, labels)
    for wrong in ({"queries": 2}, {"norm": "l3"}, {"step": 0}, {"second_player": "nobody"}, {"overshoot": 0.5}):
        with pytest.raises(InputError):
            FeatureGuidedSearch(**wrong)
    empty = FeatureGuidedSearch().attack(small_problem()[0], images[:0], labels[:0])
    assert (len(empty.images), empty.endings, empty.batch_sizes) == (0, (), ())
