"""Through a defence: what looks robust to plain PGD falls to it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.methods.attacks.adaptive import through_defence
from snellen.methods.attacks.pgd import PGD
from snellen.testing.conformance import small_problem


def few_levels(images):
    return (images * 15).round() / 15


def jpeg(images):
    """Each image through a JPEG file of quality 60."""
    saved = []
    for image in images:
        buffer = io.BytesIO()
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
        saved.append(torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).to(images) / 255)
    return torch.stack(saved)


@pytest.mark.parametrize("defence", [few_levels, jpeg])
def test_a_defence_that_looks_robust_to_plain_pgd_falls(defence):
    plain = snellen.load_classifier("bundled:fashion-cnn")
    examples = snellen.load_images("bundled:fashion-mnist").limit(12)
    images = torch.stack([plain.prepare(example.image) for example in examples])

    class Behind(nn.Module):
        """The defence inside the module, as a user would have it: its gradient is zero."""

        def forward(self, batch):
            saved = defence(batch.detach().clamp(0, 1))
            return plain.module(plain.normalise(saved + 0 * batch))

    naive = Classifier(Behind(), class_names=plain.class_names)
    defended = through_defence(plain, defence)
    with torch.no_grad():
        labels = naive(images).argmax(1)
        assert torch.equal(naive(images), defended(images))
    attack = PGD(epsilon=24 / 255, steps=10, random_start=False)
    blind = attack.attack(naive, images, labels)
    assert not blind.success.any()
    assert blind.zero_gradient.all()
    adaptive = attack.attack(defended, images, labels)
    assert adaptive.success.float().mean() >= 0.5
    assert torch.equal(naive(adaptive.images).argmax(1) != labels, adaptive.success)


def test_the_forward_pass_is_the_defence_and_the_backward_pass_the_stand_in():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    plain = Classifier(model, class_names=["a", "b"])
    defended = through_defence(plain, few_levels, backward=lambda images: 0.5 * images)
    images = torch.rand(3, 3, 4, 4, requires_grad=True)
    scores = defended(images)
    assert torch.equal(scores, plain(few_levels(images.detach())))
    (gradient,) = torch.autograd.grad(scores[:, 0].sum(), images)
    assert torch.allclose(gradient, 0.5 * model[1].weight[0].view(3, 4, 4).expand(3, -1, -1, -1))


def test_both_classifiers_count_each_call():
    classifier, images, labels = small_problem()
    defended = through_defence(classifier, few_levels)
    with classifier.counting() as inside, defended.counting() as outside:
        attacked = PGD(epsilon=0.05, steps=3).attack(defended, images, labels)
    assert inside().counts() == outside().counts() == attacked.spent.counts()


def test_a_defence_that_changes_the_shape_is_refused():
    classifier, images, _ = small_problem()
    with pytest.raises(InputError, match=r"the defence turned images \(12, 3, 8, 8\) into \(12, 3, 4, 4\)"):
        through_defence(classifier, lambda batch: batch[:, :, ::2, ::2])(images)
    with pytest.raises(InputError, match="the backward function"):
        through_defence(classifier, few_levels, backward=lambda b: b[:, :1])(images.clone().requires_grad_(True))
