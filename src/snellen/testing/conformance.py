"""The conformance suite: what every method promises, as plain functions that raise ``AssertionError``.

>>> from snellen.core import index
>>> entry = index.entry("shifts", "corruption")
>>> check_method(entry)
>>> check_shift(entry.load()(kind="contrast"))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Set
from dataclasses import replace

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import InputError
from snellen.core.finding import KINDS
from snellen.core.images import ImageSet, Provenance
from snellen.core.index import AREAS, MethodEntry, methods
from snellen.core.method import VERBS, Attack, Defect, Editing, Method, Need, Scanner, Shift, World, build
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays


def check_method(method: MethodEntry | type[Method]) -> None:
    """What holds for a method of any area: its row in the index, its parameters, its record, its needs.

    Args:
        method: its row in the index, or a class that is packaged or registered.
    """
    entry = method if isinstance(method, MethodEntry) else _entry_of(method)
    cls = entry.load()
    assert issubclass(cls, Method), f"{entry.target} is not a Method"
    assert cls.name == entry.name, f"{entry.target} calls itself {cls.name!r}, the index {entry.name!r}"
    assert (cls.__doc__ or "").strip(), f"{entry.target} has no docstring"
    # A plugin's row is its entry point, which has no room for a summary: the docstring begins with one.
    summary = entry.summary or str(cls.__doc__).strip().split("\n")[0]
    assert summary.endswith("."), f"{entry.name}: the summary is one sentence with a full stop, got {summary!r}"
    for name, field in cls.model_fields.items():
        assert field.description, f"{entry.target}: field {name!r} has no description"
        assert not field.is_required(), f"{entry.target}: field {name!r} has no default"
    own = cls()
    assert isinstance(own, VERBS[AREAS[entry.area]]), f"{entry.target} lacks the verb {AREAS[entry.area]!r}"
    for kind in (*cls.finds, *cls.treats):
        assert kind in KINDS or kind.startswith("x-"), f"{entry.target}: unknown kind of finding {kind!r}"
    _check_parameters(own, entry)
    check_names_what_it_lacks(cls.needs, own.missing)


def _entry_of(method: type[Method]) -> MethodEntry:
    """The row of a class in the index."""
    for area in AREAS:
        entry = methods(area).get(method.name)
        if entry is not None and entry.load() is method:
            return entry
    raise AssertionError(f"{method.__qualname__} is not in the index: register it with snellen.register")


def check_names_what_it_lacks(needs: Set[Need], missing: Callable[[Classifier, ImageSet], str | None]) -> None:
    """A method with needs says in words what it lacks, for a callable that only decides and for bare pixels."""
    decides = Classifier(
        lambda images: images.flatten(1)[:, :2],
        class_names=["a", "b"],
        output="labels",
        differentiable=False,
        name="decides",
    )
    bare = load_arrays(np.zeros((2, 4, 4, 3), dtype=np.uint8), name="bare")
    reason = missing(decides, bare)
    assert reason or not needs, f"needs {', '.join(sorted(needs))}, and does not say so where they are missing"


def _check_parameters(method: Method, entry: MethodEntry) -> None:
    """Frozen, closed, and equal after a trip through JSON."""
    assert build(entry.area, json.loads(json.dumps(method.record()))) == method, (
        f"{entry.name}: record does not rebuild it"
    )
    assert build(entry.area, method.record()).cache_key() == method.cache_key()
    json.dumps(type(method).model_json_schema())
    try:
        type(method).model_validate({"no_such_parameter": 1})
    except ValidationError:
        pass
    else:
        raise AssertionError(f"{entry.target} accepts unknown parameters")
    for name in type(method).model_fields:
        try:
            setattr(method, name, getattr(method, name))
        except ValidationError:
            continue
        raise AssertionError(f"{entry.target}: field {name!r} can be changed after construction")


def small_problem(count: int = 12, size: int = 8, seed: int = 0) -> tuple[Classifier, Tensor, Tensor]:
    """A tiny random network with the images it classifies: classifier, (n, 3, h, w), predictions (n,)."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 5)
    )
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.data = (
            torch.randn(parameter.shape, generator=generator) * (2.0 / fan_in) ** 0.5 * (parameter.ndim > 1)
        )
    classifier = Classifier(model, class_names=list("abcde"), preparation=Preprocessing(size=(size, size)))
    images = torch.rand(count, 3, size, size, generator=generator)
    with torch.no_grad():
        # Centred scores: every class occurs, and small changes flip some images but not all.
        model[-1].bias.data = -model(images).mean(0)
        labels = classifier(images).argmax(1)
    return classifier, images, labels


def check_attack(attack: Attack, *, epsilon: float | None = None) -> None:
    """What every attack promises.

    Images in [0, 1]; the clean image, distance 0, wherever it failed; a success mask that is true; a distance that is
    the one of the returned image, measured here for attacks with a field ``norm``; counts that agree with the
    classifier's; untouched inputs; the same result again, in any batch and beside any other image.
    """
    classifier, images, labels = small_problem()
    # A few wrong labels: these images meet the criterion before anything is done to them.
    labels = labels.clone()
    labels[:2] = (labels[:2] + 1) % len(classifier.class_names)
    kept, rng = images.clone(), Randomness(0).for_examples([f"image-{n}" for n in range(len(images))])
    with classifier.counting() as spent:
        attacked = attack.attack(classifier, images, labels, criterion=Misclassified(), rng=rng)
    assert torch.equal(images, kept), "the attack changed its input in place"
    assert attacked.images.shape == images.shape
    assert _in_unit_range(attacked.images), "images leave [0, 1]"
    assert attacked.spent.counts() == spent().counts(), "query or gradient counts differ from the classifier's"
    with torch.no_grad():
        fooled = classifier(attacked.images).argmax(1) != labels
    assert torch.equal(fooled, attacked.success), "the success mask is not what the classifier says"
    failed = ~attacked.success
    assert torch.equal(attacked.images[failed], images[failed]), "a failed attack must return the clean image"
    assert not bool(attacked.distance[failed].any()), "a failed attack has distance 0"
    assert attacked.success[:2].all(), "an image that is misclassified already counts as success"
    assert torch.equal(attacked.images[:2], images[:2]), "an image that is misclassified already is returned unchanged"
    change = (attacked.images - images).flatten(1)
    assert torch.equal(attacked.distance > 0, change.any(1)), "the distance is not zero exactly where nothing changed"
    order = {"linf": torch.inf, "l2": 2}.get(getattr(attack, "norm", ""))
    if order is not None:
        measured = torch.linalg.vector_norm(change, order, dim=1)
        assert torch.allclose(attacked.distance, measured, rtol=0, atol=1e-5), "the distance is not that of the image"
    if epsilon is not None:
        assert float(attacked.distance.max()) <= epsilon + 1e-6, "the distance passes epsilon"
    assert not bool(attacked.zero_gradient[attacked.gradients == 0].any()), "a zero gradient where none was taken"
    for chosen in ([5], [7, 3, 5]):
        part = attack.attack(classifier, images[chosen], labels[chosen], criterion=Misclassified(), rng=rng[chosen])
        assert torch.allclose(part.images, attacked.images[chosen], atol=1e-5), "another batch gives another result"
        assert torch.equal(part.success, attacked.success[chosen])
        assert torch.equal(part.zero_gradient, attacked.zero_gradient[chosen])


def check_shift(shift: Shift, severities: tuple[float, ...] = (1.0, 2.5, 5.0)) -> None:
    """What every shift promises.

    Severity 0 is the identity; range, shape and inputs kept; the same pixels again and in any batch; a mean distance to
    the clean images that grows with severity.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 16, 12, generator=generator)
    rng = Randomness(0).for_examples(["a", "b", "c", "d"])
    kept = images.clone()
    assert torch.equal(shift.shift(images, 0.0, rng=rng), images), "severity 0 must be the identity"
    last = 0.0
    for severity in severities:
        shifted = shift.shift(images, severity, rng=rng)
        assert shifted.shape == images.shape
        assert shifted.dtype == images.dtype
        assert _in_unit_range(shifted), "images leave [0, 1]"
        assert torch.equal(images, kept), "the shift changed its input in place"
        assert torch.equal(shift.shift(images, severity, rng=rng), shifted), "the same seed gives other pixels"
        single = shift.shift(images[2:3], severity, rng=rng[[2]])
        assert torch.allclose(single, shifted[2:3], atol=1e-6), "another batch gives other pixels"
        distance = float((shifted - images).abs().mean())
        assert distance > last, f"severity {severity} changes the images no more than a lower one"
        last = distance


def check_scan(scanner: Scanner, images: ImageSet, classifier: Classifier | None = None) -> None:
    """What every scan promises.

    The set and the classifier stay as they are; rows name each scanned item once, rejected images with their reason;
    the same seed finds the same again; a figure and guarded words; pictures in [0, 1], of the same kinds in every row.

    Args:
        scanner: with parameters under which it takes a moment.
        images: at least one can be used.
        classifier: where it needs one.
    """
    before = images.fingerprint(), None if classifier is None else classifier.fingerprint()
    rng = Randomness(0)
    found = scanner.scan(images, classifier=classifier, rng=rng)
    assert (images.fingerprint(), None if classifier is None else classifier.fingerprint()) == before, (
        "images or classifier were changed"
    )
    rows = found.evidence.table.to_pylist()
    assert any(row["status"] != "rejected" for row in rows), "no row that counts"
    named = [(row["setting"], row["example_id"]) for row in rows]
    assert len(set(named)) == len(named), "an item has two rows of one setting"
    assert all(row["reason"] for row in rows if row["status"] == "rejected"), "rejected without a reason"
    assert found.statistic is None or found.statistic == found.statistic, "a statistic that is unknown is None"
    assert found.verdict.strip(), "no verdict"
    assert found.evidence.assumptions, "the verdict names no assumptions"
    for row in found.pictures:
        assert list(row.pictures) == list(found.pictures[0].pictures), "rows of pictures that show different kinds"
        for picture in row.pictures.values():
            assert picture.ndim == 3, "a picture is (3, h, w)"
            assert _in_unit_range(picture), "a picture leaves [0, 1]"
    again = scanner.scan(images, classifier=classifier, rng=rng)
    assert again.evidence.table.equals(found.evidence.table), "the same seed finds something else"
    assert (again.statistic, again.verdict) == (found.statistic, found.verdict), "the same seed gives another verdict"


def check_world(world: World, count: int = 12) -> None:
    """What every world with a field ``count`` promises.

    An image does not depend on how many there are; the same parameters give the same images again, in any order; splits
    share neither ids nor units nor pictures; labels, masks and provenance are there and fit; another seed gives another
    set.

    Args:
        world: small, so that its splits are made in a moment.
        count: images of a split that are checked.
    """
    first = {split: world.images(split=split) for split in ("train", "val", "test")}
    again = world.images(split="train")
    assert first["train"].fingerprint() == again.fingerprint(), "the same parameters give another set"
    chosen = list(range(min(count, len(again))))
    for index in reversed(chosen):
        assert again.read(index).tobytes() == first["train"].read(index).tobytes(), "another order, other pixels"
    for split, images in first.items():
        assert images.split == split
        assert set(images.column("split")) == {split}, "the table does not say the split"
        assert all(0 <= label < len(images.class_names or ()) for label in images.labels.tolist()), (
            "labels without name"
        )
        made = [Provenance.model_validate_json(str(text)) for text in images.column("provenance")]
        assert {one.origin for one in made} == {"generated"}, "what is made must say so"
        for index in chosen[: len(images)]:
            mask = images.read_mask(index)
            assert mask is None or mask.size == images.read(index).size, "a mask of another size than its image"
    for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
        for column in ("id", "unit_id"):
            shared = (set(first[one].column(column)) & set(first[other].column(column))) - {None}
            assert not shared, f"{one} and {other} share {column} {shared}"
    assert isinstance(world, Method)
    values = world.model_dump()
    if "count" in values:
        more = world.model_copy(update={"count": values["count"] + 3}).images(split="train")
        kept = first["train"].ids
        assert more.ids[: len(kept)] == kept, "more images, other ids"
        assert all(more.content_hash(index) == again.content_hash(index) for index in range(len(kept)))
    reseeded = world.model_copy(update={"seed": values["seed"] + 1}).images(split="train")
    assert reseeded.fingerprint() != again.fingerprint(), "another seed gives the same set"


def check_defect(defect: Defect, images: ImageSet) -> None:
    """What every planted defect promises.

    The set it is given stays as it is; the same seed plants the same again; the truth stands in the column ``planted``,
    and ``true_label`` where labels changed; test images are left alone unless the defect says otherwise.

    Args:
        defect: with its defaults.
        images: labelled training images that it can be planted in.
    """
    before, rng = images.fingerprint(), Randomness(0)
    planted = defect.plant(images, rng=rng)
    assert images.fingerprint() == before, "the set was changed in place"
    assert defect.plant(images, rng=rng).fingerprint() == planted.fingerprint(), "the same seed plants something else"
    truth = [json.loads(str(text)) for text in planted.column("planted")]
    assert len(truth) == len(planted)
    labels = dict(zip(images.ids, images.labels.tolist(), strict=True))
    known = planted.column("true_label")
    for example_id, label, true in zip(planted.ids, planted.labels.tolist(), known, strict=True):
        if example_id in labels and label != labels[example_id]:
            assert true == labels[example_id], f"{example_id}: the label changed and the truth is lost"
    test = replace(images, split="test")
    try:
        untouched = defect.plant(test, rng=rng)
    except InputError:
        return  # a set of test images alone is refused
    assert untouched.ids == test.ids, "test images were touched"


def _in_unit_range(images: Tensor) -> bool:
    low, high = torch.aminmax(images)
    return bool(low >= 0) and bool(high <= 1)


def check_edit(editing: Editing, severities: tuple[float, ...] = (1.0, 2.5, 5.0)) -> None:
    """What every edit of objects promises.

    Severity 0 is the identity; range, shape and inputs kept; the same pixels again and in any batch; masks that show an
    object; a mask that names none has a status, and its image stays as it is.
    """
    generator = torch.Generator().manual_seed(0)
    images, masks = torch.rand(4, 3, 16, 20, generator=generator), torch.zeros(4, 16, 20, dtype=torch.bool)
    for row in range(3):
        masks[row, 4 + row : 10 + row, 6:11] = True
    backgrounds = torch.rand(4, 3, 16, 20, generator=generator)
    kept = images.clone(), masks.clone(), backgrounds.clone()
    rng = Randomness(0).for_examples(["a", "b", "c", "d"])
    same = editing.edit(images, masks, 0.0, rng=rng, backgrounds=backgrounds)
    assert torch.equal(same.images, images), "severity 0 must be the identity"
    assert torch.equal(same.masks, masks), "severity 0 must leave the masks as they are"
    for severity in severities:
        edited = editing.edit(images, masks, severity, rng=rng, backgrounds=backgrounds)
        assert edited.images.shape == images.shape
        assert edited.images.dtype == images.dtype
        assert edited.masks.shape == masks.shape
        assert edited.masks.dtype == torch.bool
        assert bool(((edited.images >= 0) & (edited.images <= 1)).all()), "images leave [0, 1]"
        for given, before in zip((images, masks, backgrounds), kept, strict=True):
            assert torch.equal(given, before), "the edit changed its input in place"
        assert edited.status[:3] == ("ok",) * 3, f"a plain object cannot be edited: {edited.status}"
        assert edited.status[3] not in ("ok", ""), "an empty mask passes for an object"
        assert torch.equal(edited.images[3], images[3]), "an image that cannot be edited must stay as it is"
        assert bool(edited.masks[:3].flatten(1).any(1).all()), "an edited image shows no object"
        again = editing.edit(images, masks, severity, rng=rng, backgrounds=backgrounds)
        assert torch.equal(again.images, edited.images), "the same seed gives other pixels"
        single = editing.edit(images[2:3], masks[2:3], severity, rng=rng[[2]], backgrounds=backgrounds[2:3])
        assert torch.allclose(single.images, edited.images[2:3], atol=1e-6), "another batch gives other pixels"
        assert torch.equal(single.masks, edited.masks[2:3]), "another batch gives other masks"
