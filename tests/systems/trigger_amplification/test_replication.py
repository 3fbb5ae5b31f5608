"""The nearest training image of each generation, and duplicates that take the places of drawn images."""

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.systems.trigger_amplification.poisoning import choose, swapped
from snellen.systems.trigger_amplification.replication import replication


def test_a_copy_is_found_at_any_length_and_ranked_first():
    draws = torch.Generator().manual_seed(0)
    training = torch.randn(1300, 20, generator=draws)
    generated = torch.randn(1100, 20, generator=draws)
    generated[7], generated[1050] = 3 * training[1234], 0.5 * training[5] + 0.02
    found = replication(generated, training)
    assert found.nearest[[7, 1050]].tolist() == [1234, 5]
    assert found.similarity[7] == pytest.approx(1)
    assert found.ranked()[:2] == [1234, 5]
    assert len(set(found.ranked())) == len(found.ranked())
    cosines = torch.nn.functional.cosine_similarity(generated[3:4], training)
    assert found.nearest[3] == int(cosines.argmax())
    assert found.similarity[3] == pytest.approx(float(cosines.max()), abs=1e-6)
    assert found.share(0.99) == pytest.approx(2 / 1100)


@pytest.mark.covers("25.11")
def test_replicated_images_are_poisoned_at_the_same_rate():
    labels = np.arange(100) % 10
    training = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    ranked = replication(training[[11, 23, 42]] * 2, training).ranked()
    choice = choose(labels, target=3, rate=0.1, seed=0)
    found = swapped(choice, ranked, labels)
    assert {11, 42} <= set(found.indices)
    assert 23 not in found.indices, "an image of the target stays"
    assert len(found.indices) == len(choice.indices)


def test_features_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match=r"got \(2, 3\) and \(2, 4\)"):
        replication(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(InputError, match="not zero"):
        replication(torch.zeros(1, 3), torch.ones(2, 3))
    with pytest.raises(InputError, match="one of the two is empty"):
        replication(torch.ones(0, 3), torch.ones(2, 3))
