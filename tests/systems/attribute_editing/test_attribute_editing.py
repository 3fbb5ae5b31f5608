"""The method of edits of one attribute: every kind, by copy and paste and by diffusion."""

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.index import entry
from snellen.core.method import Editing, build
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.edits.masked_object import removed
from snellen.reproduction.attribute_editing.materials import shown
from snellen.systems.attribute_editing import method as attribute_editing
from snellen.systems.attribute_editing.editing import sized
from snellen.systems.attribute_editing.editor import complexity
from snellen.systems.attribute_editing.method import AttributeEditing
from snellen.systems.attribute_editing.object_layer import ObjectLayer
from snellen.systems.attribute_editing.published import KINDS, SETTINGS
from snellen.testing import check_edit, check_method

#: Of the diffusion model, in the small.
SHORT = {"generator": "bundled:scene-diffusion", "steps": 8, "made": 2, "classifier": "bundled:scene-cnn"}

FREE = [kind for kind in KINDS if not SETTINGS[kind].guided]


@pytest.fixture(scope="module")
def scenes():
    return shown("test", 4, 5)


def edited(method, scenes, severity=5.0, seed=0, backgrounds=True):
    rng = Randomness(seed).for_examples(scenes.ids)
    behind = scenes.backgrounds.roll(1, 0) if method.borrows else scenes.backgrounds
    return method.edit(scenes.images, scenes.masks, severity, rng=rng, backgrounds=behind if backgrounds else None)


def test_it_keeps_what_methods_promise():
    check_method(entry("shifts", "imagenet-e"))
    assert isinstance(build("shifts", "attribute_editing"), Editing)


@pytest.mark.parametrize("kind", FREE)
def test_it_keeps_what_edits_promise(kind):
    check_edit(AttributeEditing(kind=kind))


@pytest.mark.covers("27.1", "27.12")
@pytest.mark.parametrize("kind", KINDS)
def test_objects_keep_their_pixels_in_every_kind(kind, scenes):
    """Pasted and painted pictures have the same object, bit for bit; where it is not moved, it is the given one."""
    painted = edited(AttributeEditing(kind=kind, **SHORT), scenes)
    assert painted.status == ("ok",) * 4
    pixels = painted.images.movedim(1, -1)[painted.masks]
    if kind in FREE:
        pasted = edited(AttributeEditing(kind=kind), scenes)
        assert torch.equal(pasted.masks, painted.masks)
        assert torch.equal(pixels, pasted.images.movedim(1, -1)[pasted.masks])
        assert float((painted.images - pasted.images).abs().max()) > 0.01
    if SETTINGS[kind].attribute in ("control", "background"):
        assert torch.equal(painted.masks, scenes.masks)
        assert torch.equal(pixels, scenes.images.movedim(1, -1)[scenes.masks])
    else:
        assert not torch.equal(painted.masks, scenes.masks)


def test_what_is_moved_is_what_the_motion_makes(scenes):
    found = edited(AttributeEditing(kind="size_8"), scenes)
    for row in range(4):
        layer = sized(ObjectLayer(scenes.images[row], scenes.masks[row]), 0.08)
        assert torch.equal(found.masks[row], layer.mask)
        assert torch.equal(found.images[row][:, layer.mask], layer.image[:, layer.mask])
        assert torch.equal(found.images[row][:, ~layer.mask], scenes.backgrounds[row][:, ~layer.mask])


@pytest.mark.covers("27.4")
def test_backgrounds_are_plainer_and_busier_where_their_kinds_say_so(scenes):
    kinds = ("plain_background", "inver", "complex_background")
    plain, control, busy = (
        complexity(edited(AttributeEditing(kind=kind, weight=80.0, **SHORT), scenes).images) for kind in kinds
    )
    assert bool((plain < control).all())
    assert bool((control < busy).all())


def test_a_classifier_is_misled_from_what_it_says_of_the_image_at_its_own_size(scenes, monkeypatch):
    class Small(torch.nn.Module):
        """Two classes by the mean brightness; takes 8 pixels alone."""

        def forward(self, images):
            assert images.shape[2:] == (8, 8)
            light = images.mean((1, 2, 3)) * 4 - 2
            return torch.stack([light, -light], 1)

    small = Classifier(Small(), class_names=["light", "dark"], preparation=Preprocessing(size=(8, 8)))
    monkeypatch.setattr(attribute_editing, "_classifier", lambda reference: small)
    images, masks = torch.cat([scenes.images[:1] * 0.5 + 0.5, scenes.images[1:2] * 0.5]), scenes.masks[:2]
    method = AttributeEditing(kind="adversarial_background", adversarial_weight=60.0, **SHORT)
    unlabelled, own, other = (
        method.edit(images, masks, 5.0, labels=labels).images
        for labels in (None, torch.tensor([0, 1]), torch.tensor([1, 0]))
    )
    assert torch.equal(unlabelled, own), "the classes are its decisions of the unedited images: light, dark"
    lighter = (other - own).mean((1, 2, 3))
    assert lighter[0] > 1e-3, "away from light is darker"
    assert lighter[1] < -1e-3


def test_what_pushes_and_how_long_go_by_the_severity(scenes):
    method = AttributeEditing(kind="complex_background", weight=80.0, **SHORT)
    none, half, all_of_it = (
        complexity(made.images)
        for made in (
            edited(AttributeEditing(kind="inver", **SHORT), scenes),
            *(edited(method, scenes, severity) for severity in (2.5, 5.0)),
        )
    )
    assert bool((none < half).all())
    assert bool((half < all_of_it).all())
    calls = []
    network = attribute_editing._generator("bundled:scene-diffusion").denoiser.network
    handle = network.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    control = AttributeEditing(kind="inver", **SHORT | {"made": 4})
    try:
        steps = []
        for severity in (5.0, 2.5, 0.1):
            edited(control, scenes, severity)
            steps.append(len(calls))
            calls.clear()
    finally:
        handle.remove()
    assert steps == [4, 2, 1]


@pytest.mark.parametrize(("fill", "ring", "pixels"), [("moved", 0.0, 1), ("telea", 0.0, 1), ("moved", 0.1, 3)])
def test_an_own_background_is_filled_as_stated(scenes, fill, ring, pixels):
    method = AttributeEditing(kind="random_position", fill=fill, ring=ring)
    found = edited(method, scenes, backgrounds=False)
    behind = removed(scenes.images, scenes.masks, fill, ring=pixels)
    at = ~found.masks[:, None].expand(-1, 3, -1, -1)
    assert torch.equal(found.images[at], behind[at])
    wide = AttributeEditing(ring=0.9).edit(scenes.images, scenes.masks, 5.0).status
    assert all("no background is left" in told for told in wide)


def test_a_classifier_that_cannot_be_misled_is_refused_when_it_is_loaded(monkeypatch):
    blind = Classifier(lambda images: images.flatten(1)[:, :2], class_names=["a", "b"])
    monkeypatch.setattr(attribute_editing, "_classifier", lambda reference: blind)
    monkeypatch.setattr(attribute_editing, "_generator", lambda reference: None)
    AttributeEditing(kind="complex_background", **SHORT).load()
    with pytest.raises(UnsupportedError, match="no gradients"):
        AttributeEditing(kind="adversarial_background", **SHORT).load()


def test_every_image_has_noise_of_its_own_that_its_edits_share(scenes):
    """One image under two ids: what is painted differs with the id, and not with the kind where nothing pushes."""
    images, masks, behind = (part[[0, 0]] for part in (scenes.images, scenes.masks, scenes.backgrounds))
    rng = Randomness(0).for_examples(["one", "other"])
    made = {
        kind: AttributeEditing(kind=kind, **SHORT).edit(images, masks, 5.0, rng=rng, backgrounds=behind).images
        for kind in ("inver", "random_background")
    }
    assert float((made["inver"][0] - made["inver"][1]).abs().max()) > 0.01
    assert torch.equal(made["inver"], made["random_background"])


@pytest.mark.covers("27.10")
@pytest.mark.parametrize("kind", ["random_position", "random_direction"])
def test_what_is_random_follows_from_seed_and_id(kind, scenes):
    method = AttributeEditing(kind=kind)
    one, again, other = (edited(method, scenes, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.masks, other.masks)
    torch.manual_seed(5)
    assert torch.equal(edited(method, scenes).images, one.images)
    places = {ObjectLayer(scenes.images[0], mask).box for mask in one.masks}
    assert len(places) > 1


def test_severity_goes_from_nothing_to_the_published_edit(scenes):
    shares = [
        [float(mask.double().mean()) for mask in edited(AttributeEditing(kind="size_5"), scenes, severity).masks]
        for severity in (0.0, 1.0, 3.0, 5.0)
    ]
    for row in range(4):
        one = [share[row] for share in shares]
        assert one == sorted(one, reverse=True)
        assert abs(one[-1] - 0.05) < 0.005
        assert abs(one[2] - one[0] ** 0.4 * 0.05**0.6) < 0.005
    moved = [
        [ObjectLayer(scenes.images[row], found.masks[row]).centre for row in range(4)]
        for found in (
            edited(AttributeEditing(kind="random_position"), scenes, severity) for severity in (0.0, 2.5, 5.0)
        )
    ]
    for start, half, end in zip(*moved, strict=True):
        assert all(abs(h - (s + e) / 2) <= 0.51 for s, h, e in zip(start, half, end, strict=True))
    mixed = edited(AttributeEditing(kind="random_background", fill="telea"), scenes, 2.5)
    assert (
        0
        < float((mixed.images - scenes.images).abs().mean())
        < float((edited(AttributeEditing(kind="random_background"), scenes).images - scenes.images).abs().mean())
    )


@pytest.mark.covers("27.9")
def test_bad_masks_and_images_are_reported_one_by_one(scenes):
    images, masks = scenes.images.clone(), scenes.masks.clone()
    masks[0] = False
    masks[1] = True
    images[2, 0, 0, 0] = float("nan")
    found = AttributeEditing(kind="random_position").edit(images, masks, 5.0)
    assert [
        word in told for word, told in zip(("empty", "no background", "not finite", "ok"), found.status, strict=True)
    ]
    assert all(told for told in found.status)
    assert "empty" in found.status[0]
    assert "not finite" in found.status[2]
    assert found.status[3] == "ok"
    assert torch.equal(found.images[0], images[0])
    border = torch.ones_like(masks)
    border[:, 0] = False
    assert "no background is left" in AttributeEditing().edit(images[3:], border[3:], 5.0).status[0]
    lent = AttributeEditing(kind="random_background")
    told = [lent.edit(images[3:], border[3:], at, backgrounds=images[:1]).status[0] for at in (5.0, 2.5)]
    assert told[0] == "ok"
    assert "no background is left" in told[1], "half of it would be its own"


def test_an_image_that_the_generator_cannot_make_is_reported(scenes):
    cut = scenes.images[:, :, :30], scenes.masks[:, :30]
    found = AttributeEditing(kind="inver", **SHORT).edit(*cut, 5.0)
    assert torch.equal(found.images, cut[0])
    assert all("multiples of 4" in told for told in found.status)


def test_of_two_parts_the_largest_moves_and_none_is_left_behind(scenes):
    masks, images = torch.zeros(1, 32, 32, dtype=torch.bool), torch.full((1, 3, 32, 32), 0.3)
    masks[0, 4:14, 4:14] = masks[0, 22:28, 22:28] = True
    images[:, :, masks[0]] = 1.0
    found = AttributeEditing(kind="random_direction").edit(images, masks, 5.0)
    assert 80 < int(found.masks.sum()) < 120
    assert float(found.images[:, :, 21:29, 21:29].max()) < 0.4, "the smaller part stayed as a second object"
    both = AttributeEditing(kind="size_5", parts="all").edit(images, masks, 5.0)
    assert abs(float(both.masks.double().mean()) - 0.05) < 0.015


def test_what_is_lacking_is_reported_before_anything_is_loaded(scenes):
    assert "needs a generator" in str(AttributeEditing(kind="plain_background").missing())
    assert "misleads" in str(
        AttributeEditing(kind="adversarial_background", generator="bundled:scene-diffusion").missing()
    )
    assert "of 10 steps" in str(AttributeEditing(steps=10).missing())
    with pytest.raises(InputError, match="needs a generator"):
        edited(AttributeEditing(kind="complex_background"), scenes)
    with pytest.raises(InputError, match="backgrounds of other images"):
        edited(AttributeEditing(kind="random_background"), scenes, backgrounds=False)
    with pytest.raises(InputError, match=r"severity lies in \[0, 5\]"):
        edited(AttributeEditing(), scenes, 6.0)
    with pytest.raises(InputError, match="masks of images"):
        AttributeEditing().edit(scenes.images, scenes.masks[:2], 5.0)
    maskless = load_arrays((scenes.images * 255).byte().permute(0, 2, 3, 1).numpy(), scenes.labels.numpy())
    assert "needs masks" in str(AttributeEditing().missing(images=maskless))


def test_left_out_it_stands_for_all_that_can_be_made():
    assert AttributeEditing.when_left_out({"kind": "inver"}) == {}
    assert list(AttributeEditing.when_left_out({})["kind"]) == FREE
    full = AttributeEditing.when_left_out({"generator": "g", "classifier": "c"})["kind"]
    assert list(full) == list(KINDS)
    assert "adversarial_background" not in AttributeEditing.when_left_out({"generator": "g"})["kind"]
