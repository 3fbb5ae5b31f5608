"""A network that follows a policy: it flips when a category is removed, and is one file."""

import pytest
import torch
from safetensors.torch import save_file

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.reproduction.unsafe_content.symbols import POLICY as SYMBOLS
from snellen.systems.unsafe_content.network import PolicyNetwork, categories_classifier, load_policy_network, words_of
from snellen.systems.unsafe_content.safety import ByScores
from snellen.systems.unsafe_content.training import PolicyFit, decisions, fit_policy_network, flips_when_removed
from tests.systems.unsafe_content.symbol_network import POLICY, squares, trained


def unsafe_squares():
    shown = squares(120, seed=1)
    rows = [at for at, bad in enumerate(shown.unsafe) if bad]
    return shown.images[rows], [shown.categories[at] for at in rows]


@pytest.mark.covers("29.4")
def test_an_unsafe_image_is_safe_once_its_category_is_removed():
    named, flipped = flips_when_removed(trained(), *unsafe_squares(), POLICY)
    assert sum(named) > 0.9 * len(named)
    assert sum(a and b for a, b in zip(named, flipped, strict=True)) > 0.9 * sum(named)


@pytest.mark.covers("29.4")
def test_removing_another_category_leaves_the_answer():
    images, categories = unsafe_squares()
    others = [next(one for one in POLICY.names if one != name) for name in categories]
    _, flipped = flips_when_removed(trained(), images, others, POLICY)
    assert sum(flipped) < 0.05 * len(flipped)


@pytest.mark.covers("29.4")
def test_negatives_teach_it():
    images, categories = unsafe_squares()
    named, flipped = flips_when_removed(trained(negatives=False), images, categories, POLICY)
    assert sum(named) > 0.9 * len(named)
    assert sum(a and b for a, b in zip(named, flipped, strict=True)) < 0.7 * sum(named)


def test_followers_with_and_without_negatives_take_equal_steps(monkeypatch):
    shown, taken, usual = squares(30), [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *rest: taken.append(kind) or usual(self, *rest))
    for kind in (True, False):
        fit_policy_network(
            shown.images, shown.unsafe, shown.categories, POLICY, rng=Randomness(0),
            network=PolicyNetwork(width=16, blocks=1, heads=2, side=16),
            fit=PolicyFit(steps=7, batch_size=16, negatives=kind),
        )  # fmt: skip
    assert taken.count(True) == taken.count(False) == 7


def test_the_status_is_decided_before_the_category():
    network, images = PolicyNetwork(width=32, side=16).eval(), torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        network.score_safe.weight.zero_()
        network.score_safe.bias.fill_(-0.4)  # unsafe with a probability of 0.6, spread over three categories
        network.score_category.weight.mul_(0.01)
        scores = network(images, words_of(POLICY).expand(4, -1, -1))
    assert torch.allclose(scores.exp().sum(1), torch.ones(4), atol=1e-5)
    assert (scores.argmax(1) == 0).all(), "safe is the likeliest single answer"
    found = ByScores(categories_classifier(network, POLICY), POLICY).judge(images)
    assert found.outcomes == (1,) * 4
    assert torch.allclose(found.logits[:, 1] - found.logits[:, 0], torch.full((4,), 0.4), atol=1e-5)
    lists = [POLICY.names] * 4
    assert min(decisions(network, (255 * images).to(torch.uint8), lists, POLICY)) > 0


def test_tokens_of_categories_differ_as_much_as_they_have_in_common():
    torch.manual_seed(0)
    network, seen = PolicyNetwork(), []
    network.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        network(torch.rand(8, 3, 48, 48), words_of(SYMBOLS).expand(8, -1, -1))
    listed = seen[0][:, 1:]
    between, common = float(listed.std(1).mean()), float(listed.mean(1).abs().mean())
    assert between > 0.4, "of the size of what the blocks add"
    assert between > 0.94 * common


@pytest.mark.covers("29.5")
def test_another_order_of_the_categories_changes_few_answers():
    shown = squares(120, seed=2)
    orders = [POLICY.names, POLICY.names[::-1], (POLICY.names[1], POLICY.names[2], POLICY.names[0])]
    answers = []
    for order in orders:
        found = decisions(trained(), shown.images, [order] * 120, POLICY)
        answers.append([None if one == 0 else order[one - 1] for one in found])
    truth = [name if bad else None for bad, name in zip(shown.unsafe, shown.categories, strict=True)]
    for one in answers:
        assert sum(a == b for a, b in zip(one, truth, strict=True)) > 0.9 * 120
        assert sum(a == b for a, b in zip(one, answers[0], strict=True)) > 0.95 * 120


def test_places_count_so_that_order_is_learned_and_not_built_in():
    network = PolicyNetwork(width=32, side=16).eval()
    words = words_of(POLICY)[None]
    images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        forward, backward = network(images, words), network(images, words.flip(1))
    assert not torch.allclose(forward[:, 1:], backward[:, 1:].flip(1), atol=1e-6)


def test_absent_places_change_nothing_and_stay_finite():
    network, images = trained(), torch.rand(2, 3, 16, 16)
    words = words_of(POLICY)[None].expand(2, 3, -1)
    padded = torch.cat([words, torch.randn(2, 2, words.shape[2])], dim=1)
    present = torch.tensor([[True, True, True, False, False]]).expand(2, 5)
    with torch.no_grad():
        assert torch.allclose(network(images, words), network(images, padded, present)[:, :4], atol=1e-5)
        assert network(images, padded, present).isfinite().all()


def test_a_network_is_one_file_and_judges_as_before(tmp_path):
    network = trained()
    path = network.save(tmp_path / "my folder" / "follower.safetensors", POLICY)
    again, policy = load_policy_network(path)
    assert policy == POLICY
    images = to_unit(squares(8).images)
    ours, theirs = (ByScores(categories_classifier(one, POLICY), POLICY).judge(images) for one in (network, again))
    assert torch.equal(ours.logits, theirs.logits)
    assert ours.categories == theirs.categories
    assert not network.training
    assert all(one.requires_grad for one in network.parameters()), "the classifier froze a copy"
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"\x80\x04no pickle is read")
    for name in ("other.safetensors", "broken.safetensors", "absent.safetensors"):
        with pytest.raises(InputError, match="is no network that follows a policy"):
            load_policy_network(tmp_path / name)


def test_training_refuses_what_it_cannot_use():
    shown = squares(12)
    for images, unsafe, reason in (
        (to_unit(shown.images), shown.unsafe, "takes bytes"),
        (shown.images, shown.unsafe[:3], "3 truths"),
        (shown.images, [True] * 12, "one kind alone"),
    ):
        with pytest.raises(InputError, match=reason):
            fit_policy_network(images, unsafe, shown.categories, POLICY, rng=Randomness(0))
