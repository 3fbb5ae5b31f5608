"""The method: made in a surrogate, judged in the classifier."""

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified, Targeted
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.attacks.pgd import PGD
from snellen.systems.representation_transfer import method as module
from snellen.systems.representation_transfer.method import RepresentationTransfer
from snellen.testing.conformance import small_problem


@pytest.fixture
def surrogate(monkeypatch):
    """Another network, which ``load_classifier`` gives for any reference."""
    classifier, _, _ = small_problem(seed=9)
    monkeypatch.setattr(module, "load_classifier", lambda _: classifier)
    return classifier


def fit_images(count=40):
    """A set of images that are not attacked, with labels."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 8, 8, 3), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 5, (count,), generator=generator)
    return load_arrays(pixels.numpy(), labels.numpy(), class_names=list("abcde"))


@pytest.mark.covers("16.10")
def test_by_default_it_is_pgd():
    classifier, images, labels = small_problem()
    ours = RepresentationTransfer(epsilon=0.03, steps=5).attack(classifier, images, labels)
    data = PGD(epsilon=0.03, steps=5).attack(classifier, images, labels)
    assert torch.equal(ours.images, data.images)
    assert torch.equal(ours.scores, data.scores)
    assert ours.status == data.status
    assert (ours.place, ours.epsilon) == ("pixels", 0.03)


def test_only_the_surrogate_needs_gradients(surrogate):
    target, images, labels = small_problem()
    blind = Classifier(target.module, class_names=target.class_names, differentiable=False, name="blind")
    with pytest.raises(UnsupportedError, match="representation_transfer needs gradients, and blind gives none"):
        RepresentationTransfer(epsilon=0.1).attack(blind, images, labels)
    attack = RepresentationTransfer(surrogate="any", epsilon=0.1, steps=5)
    assert attack.missing(blind) is None
    assert torch.equal(attack.attack(blind, images, labels).images, attack.attack(target, images, labels).images)


@pytest.mark.covers("16.3")
@pytest.mark.parametrize("layer", ["pixels", "1", "3"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_success_is_judged_once_on_the_classifier_with_the_tensor_of_the_surrogate(surrogate, layer, norm):
    target, images, labels = small_problem(count=16)
    labels = labels.clone()
    labels[:2] = (labels[:2] + 1) % 5
    epsilon = 0.1 if norm == "linf" and layer == "pixels" else 1.0
    attack = RepresentationTransfer(surrogate="any", layer=layer, norm=norm, epsilon=epsilon, steps=5)
    with surrogate.counting() as made:
        attacked = attack.attack(target, images, labels, rng=Randomness(1))
    assert target.spent.gradients == 0
    assert made().gradients > 0
    assert not attacked.gradients.any()
    assert attacked.status[:2] == ("already",) * 2
    assert 0 < attacked.success.sum() < 16 + (layer != "pixels")
    # By hand: the kept changes, added, give the scores that are told.
    with torch.no_grad():
        if layer == "pixels":
            again = target(attacked.images)
            assert torch.allclose(attacked.images - images, attacked.changes, atol=1e-6)
        else:
            assert torch.equal(attacked.images, images)
            behind = int(layer) + 1
            again = target.module[behind:](target.module[:behind](images) + attacked.changes)
    assert torch.equal(again.argmax(1) != labels, attacked.success)
    failed = ~attacked.success
    assert not attacked.changes[failed].any()
    assert not attacked.distance[failed].any()
    order = torch.inf if norm == "linf" else 2
    length = torch.linalg.vector_norm(attacked.changes.flatten(1), order, dim=1)
    assert torch.allclose(attacked.distance, length, atol=1e-5)


@pytest.mark.covers("16.11", "16.3")
def test_a_universal_tensor_is_found_on_other_images_and_is_the_same_for_all(surrogate, monkeypatch):
    monkeypatch.setattr(module, "load_images", lambda _: fit_images())
    target, images, labels = small_problem(count=16)
    attack = RepresentationTransfer(
        surrogate="any", layer="1", epsilon=3.0, steps=5, scope="universal", fit_on="others"
    )
    attacked = attack.attack(target, images, labels)
    changed = attacked.changes[attacked.success]
    assert len(changed) > 1
    assert torch.allclose(changed, changed[:1].expand_as(changed), atol=1e-5)
    own = RepresentationTransfer(layer="pixels", epsilon=0.3, scope="universal", fit_on="others")
    assert own.attack(target, images, labels).success.any()


def test_a_map_brings_the_tensors_into_the_basis_of_the_target(monkeypatch):
    """The surrogate is the target with its channels in another order: the map undoes that."""
    target, images, labels = small_problem(count=16)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    twin, _, _ = small_problem()
    twin.module.load_state_dict(target.module.state_dict())
    twin.module[0].weight.data, twin.module[0].bias.data = target.module[0].weight[order], target.module[0].bias[order]
    last = target.module[4].weight.view(5, 8, 16)[:, order].reshape(5, 128)
    twin.module[4].weight.data, twin.module[4].bias.data = last, target.module[4].bias.data
    assert torch.allclose(twin(images), target(images), atol=1e-5)
    monkeypatch.setattr(module, "load_classifier", lambda _: twin)
    monkeypatch.setattr(module, "load_images", lambda _: fit_images())
    fields = {"surrogate": "any", "layer": "1", "epsilon": 0.05, "steps": 8}
    own = RepresentationTransfer(**{**fields, "surrogate": None}).attack(target, images, labels)
    raw = RepresentationTransfer(**fields).attack(target, images, labels)
    mapped = RepresentationTransfer(**fields, map="orthogonal", fit_on="others").attack(target, images, labels)
    assert mapped.channel_map.held_out_residual < 0.01
    assert raw.channel_map is None
    assert raw.success.sum() + 4 < mapped.success.sum()
    assert mapped.success.sum() >= 0.9 * own.success.sum() > 0


@pytest.mark.covers("16.13")
def test_side_and_reach_are_fields_and_recorded():
    classifier, images, labels = small_problem()
    after = RepresentationTransfer(layer="1", epsilon=1.0, steps=3, reachable=True).attack(classifier, images, labels)
    before = RepresentationTransfer(layer="1", side="before", epsilon=1.0, steps=3).attack(classifier, images, labels)
    assert (after.place, before.place) == (
        "1, after the nonlinearity ReLU",
        "1, before the nonlinearity ReLU",
    )
    assert (classifier.features(images, "1") + after.changes).min() >= 0
    assert after.relative_epsilon == pytest.approx(1.0)


def test_targets_no_images_and_images_that_are_all_wrong_already(surrogate):
    target, images, labels = small_problem()
    wanted = (labels + 1) % 5
    attacked = RepresentationTransfer(layer="3", epsilon=2.0).attack(target, images, wanted, criterion=Targeted())
    assert attacked.success.any()
    assert (attacked.scores.argmax(1) == wanted)[attacked.success].all()
    assert len(RepresentationTransfer(layer="3").attack(target, images[:0], labels[:0]).images) == 0
    wrong = RepresentationTransfer(surrogate="any", layer="3").attack(target, images, wanted, criterion=Misclassified())
    assert set(wrong.status) == {"already"}


def test_what_cannot_be_is_refused(surrogate):
    target, images, labels = small_problem()
    with pytest.raises(InputError, match=r"scope='universal' and map='ridge' needs fit_on"):
        RepresentationTransfer(scope="universal", map="ridge")
    with pytest.raises(InputError, match="set surrogate and layer"):
        RepresentationTransfer(map="ridge", fit_on="others")
    other = Classifier(target.module, class_names=list("edcba"), name="other")
    with pytest.raises(InputError, match=r"the surrogate classifier has other classes \(5\) than other \(5\)"):
        RepresentationTransfer(surrogate="any").attack(other, images, labels)
