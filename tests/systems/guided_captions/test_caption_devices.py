"""Captions on a pretended GPU: what is drawn, decoded and judged there does not mix devices, and is that of the CPU."""

import copy

import torch

from snellen.core.randomness import Randomness
from snellen.models.references import load_captioner, load_two_tower
from snellen.reproduction.guided_captions.curves import curve_of
from snellen.reproduction.guided_captions.judging import Judge, self_recall
from snellen.systems.guided_captions.caption_rules import ClassifierFree
from snellen.systems.guided_captions.caption_tuning import CaptionRows
from snellen.training.batches import Batch
from tests.pretended_gpu import GPU, pretended_gpu


def test_drawn_captions_are_where_the_images_are():
    rows = CaptionRows(torch.arange(12).view(2, 2, 3), torch.ones(2, 2, 3, dtype=torch.long))

    def drawn(images):
        rng = Randomness(0).for_examples(["a", "b"])
        return rows.draw(Batch(images, torch.zeros(2), torch.ones(2), torch.arange(2), rng))

    expected, _ = drawn(torch.zeros(2, 1))
    with pretended_gpu():
        tokens, mask = drawn(torch.zeros(2, 1).to(GPU))
        assert tokens.device == mask.device == GPU
        assert torch.equal(tokens.cpu(), expected)


def moved(made):
    """A copy of a captioner on the pretended GPU."""
    there = copy.deepcopy(made)
    there.device = GPU
    there.module.to(GPU)
    there._scale = tuple(one.to(GPU) for one in there._scale)
    return there


def test_curves_are_decoded_and_judged_on_a_gpu_as_on_the_cpu():
    captioner = load_captioner("bundled:scene-captioner")
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    states = captioner.encode(images).detach()
    expected = curve_of(captioner, states, (1.0, 2.0), ClassifierFree, 6)
    recall = self_recall(captioner, states, expected[1.0])
    with pretended_gpu():
        there = moved(captioner)
        found = curve_of(there, states, (1.0, 2.0), ClassifierFree, 6)
        assert found == expected
        assert self_recall(there, states, expected[1.0]) == recall


def test_texts_that_towers_on_a_gpu_read_are_judged_beside_images_of_the_cpu():
    towers = load_two_tower("bundled:scene-clip")
    images = towers.encode_images(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))).detach()
    references, captions = [["a red star"], ["a ring on grass"]], ["a red star", "a ring"]
    expected = Judge(towers, images, references).figures(captions)

    class There:
        def encode_texts(self, texts, *, truncate):
            return towers.encode_texts(texts, truncate=truncate).to(GPU)

    with pretended_gpu():
        assert Judge(There(), images, references).figures(captions) == expected
