"""What a change does to other images, and how like the truth it is: counted by hand."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.metrics.intervals import clopper_pearson
from snellen.systems.smooth_inversion.fidelity import alignment, concentration, energy_inside
from snellen.systems.smooth_inversion.transfer import decisions, transfer


class Bright(nn.Module):
    """Class 1 above a mean of one half, class 2 above 0.9."""

    def forward(self, images):
        value = images.flatten(1).mean(1)
        return torch.stack([0.5 - value, value - 0.5, 10 * (value - 0.9)], 1)


BRIGHT = Classifier(Bright(), class_names=["dark", "light", "white"])


def shades(*values):
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, 2, 2).clone()


@pytest.mark.covers("33.6")
def test_the_bare_model_counts_and_images_of_the_target_class_are_left_out():
    images, labels = shades(0.1, 0.35, 0.45, 0.6, 0.7), torch.tensor([0, 0, 0, 0, 1])
    found = transfer(BRIGHT, torch.full((3, 2, 2), 0.2), images, labels, 1)
    # The last one is of the target's class. The fourth is taken for it without the change too.
    assert (found.sent, found.already, found.counted) == (3, 1, 4)
    assert found.rate == 0.75
    assert found.interval() == clopper_pearson(3, 4)
    assert found.interval(0.5).low > found.interval().low


def test_changed_images_are_cut_to_the_box():
    found = decisions(BRIGHT, shades(0.95), torch.full((1, 3, 2, 2), 0.6))
    assert found.tolist() == [[2]]


def test_nothing_to_count_is_no_share_and_labels_must_fit():
    found = transfer(BRIGHT, torch.zeros(3, 2, 2), shades(0.6), torch.tensor([1]), 1)
    assert (found.rate, found.counted) == (0.0, 0)
    assert found.interval() == (0.0, 1.0)
    with pytest.raises(InputError, match="2 images came with 1 labels"):
        transfer(BRIGHT, torch.zeros(3, 2, 2), shades(0.6, 0.1), torch.tensor([1]), 1)
    assert decisions(BRIGHT, shades(0.5)[:0], torch.zeros(2, 3, 2, 2)).shape == (2, 0)


@pytest.mark.covers("33.12")
def test_energy_and_cosine_by_hand():
    changes = torch.zeros(2, 3, 2, 2)
    changes[0, 0, 0, 0], changes[0, 1, 1, 1] = 3.0, -4.0
    region = torch.tensor([[[True, False], [False, False]]])
    assert energy_inside(changes, region).tolist() == pytest.approx([9 / 25, 0.0])
    assert energy_inside(changes, ~region).tolist() == pytest.approx([16 / 25, 0.0])
    truth = torch.zeros(2, 3, 2, 2)
    truth[0, 0, 0, 0] = 0.5
    assert alignment(changes, truth).tolist() == pytest.approx([0.6, 0.0])
    assert concentration(changes, share=0.25).tolist() == pytest.approx([16 / 25, 0.0])
    with pytest.raises(InputError, match="region"):
        energy_inside(changes, region[0])
