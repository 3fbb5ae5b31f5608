"""Pairs: only what the victim got right and then wrong, the same for any batch, rounded where that is asked for."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.fgsm import FGSM
from snellen.systems.perturbation_estimation.fitting import stored
from snellen.systems.perturbation_estimation.pairs import attack_pairs, joined, limited, make_cells
from tests.systems.perturbation_estimation.blobs import brightness

NAMES = ("victim", "fgsm")


def images(*levels):
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()


def cell(levels, labels, epsilon=0.1, threshold=0.5, **changes):
    ids = [f"image {row}" for row in range(len(levels))]
    return attack_pairs(
        brightness(threshold), FGSM(epsilon=epsilon), images(*levels), torch.tensor(labels), ids, names=NAMES,
        rng=Randomness(0), **changes,
    )  # fmt: skip


@pytest.mark.covers("5.11")
def test_only_successful_attacks_on_right_images_are_pairs():
    # Right and near, right and far, wrong from the start, right and near from above.
    found = cell([0.45, 0.1, 0.45, 0.55], [0, 0, 1, 1])
    assert found.ids == ("image 0", "image 3")
    assert found.attacked == 3
    assert found.success_rate == pytest.approx(2 / 3)
    victim = brightness()
    assert (victim(found.clean).argmax(1) != victim(found.adversarial).argmax(1)).all()
    assert (found.clean - found.adversarial).abs().max() <= 0.1 + 1e-6
    assert cell([0.1], [1]).success_rate == 0.0, "nothing was attacked"


@pytest.mark.covers("5.12")
def test_rounding_is_said_and_a_success_that_it_undoes_is_none():
    near = {"levels": [127 / 255], "labels": [0], "epsilon": 0.001, "threshold": 127.1 / 255}
    assert len(cell(**near, eight_bits=False).ids) == 1
    assert cell(**near).ids == (), "a quarter of a level does not outlast the rounding"
    bytes_of = cell([0.4], [0], epsilon=0.15).adversarial * 255
    assert torch.allclose(bytes_of, bytes_of.round(), atol=1e-4)
    raw = cell([0.4], [0], epsilon=0.15, eight_bits=False).adversarial * 255
    assert not torch.allclose(raw, raw.round(), atol=1e-2)
    assert stored(cell([0.4], [0], epsilon=0.15)).targets.dtype == torch.uint8
    assert stored(cell([0.4], [0], epsilon=0.15, eight_bits=False)).targets.dtype == torch.float32


def test_every_attack_meets_every_victim_and_batches_change_nothing():
    victims = {"plain": brightness(name="plain"), "shy": brightness(0.4, name="shy")}
    attacks = {"weak": FGSM(epsilon=0.02), "strong": FGSM(epsilon=0.2)}
    seen, labels, ids = images(0.3, 0.35, 0.49, 0.6), torch.tensor([0, 0, 0, 1]), list("abcd")
    cells = make_cells(victims, attacks, seen, labels, ids, rng=Randomness(0))
    assert [(one.victim, one.attack) for one in cells] == [
        ("plain", "weak"), ("plain", "strong"), ("shy", "weak"), ("shy", "strong")
    ]  # fmt: skip
    assert [one.ids for one in cells] == [("c",), ("b", "c", "d"), (), ("a", "b")]
    everything = joined(cells)
    assert len(set(everything.ids)) == len(everything.clean) == 6
    assert everything.ids[0] == "plain/weak/c"
    assert limited(everything, 2).ids == everything.ids[:2]
    alone = attack_pairs(
        victims["plain"], attacks["strong"], seen, labels, ids, names=("plain", "strong"),
        rng=Randomness(0).child("pairs", "plain", "strong"), batch_size=1,
    )  # fmt: skip
    assert torch.equal(alone.adversarial, cells[1].adversarial)


def test_no_pair_at_all_is_reported_with_the_rates():
    with pytest.raises(InputError, match=r"no attack succeeded.*fgsm on victim: 0 of 1"):
        joined([cell([0.1], [0])])
