"""The same work again, in another process: model, images and checks are made anew, and compared with the plan."""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from snellen.auditing.checks import CHECKS, build_check
from snellen.auditing.shard_work import ShardWork, WorkingSet, carried_columns
from snellen.checks.check import Check, Kept
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, WorkerError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.core.run import canonical_json
from snellen.core.run_plan import describe_machine, describe_model
from snellen.data.privacy.nameless import nameless_source
from snellen.data.references import load_images_again
from snellen.models.classifiers.references import load_classifier_again
from snellen.models.remote.permission import permitted
from snellen.models.remote.sent_log import sent_log

#: What an engine calls in each worker.
WORK = "snellen.auditing.reopening:open_work"

#: What the plan says of the model that a worker's model must say, too; and of the machine.
_MODEL = ("name", "fingerprint", "class_names", "task", "output", "preparation")
_MACHINE = ("device", "processor", "threads", "code", "versions")


def check_reopening(classifier: Classifier, sets: Mapping[str, tuple[ImageSet, Sequence[Check]]]) -> None:
    """See that a worker can make everything again.

    Raises:
        InputError: model, images or a check were handed in as objects, or the model cannot be told from another.
    """
    fix = 'or leave it to this process (engine "in_process")'
    if classifier.reference is None:
        raise InputError(
            f"workers load the model themselves, and {classifier.name} was handed in as an object: load it by a "
            f'reference, such as load_classifier("onnx:FILE") or "artifact:FOLDER", {fix}'
        )
    if classifier.fingerprint() is None:
        raise InputError(
            f"workers load the model themselves, and nobody can tell whether theirs is {classifier.name}, which "
            f"cannot be hashed: it is a plain callable, or edited; undo the edit, {fix}"
        )
    for name, (images, checks) in sets.items():
        if images.reference is None:
            raise InputError(
                f"workers read the images themselves, and {images.name} ({name}) was made of objects: load it by a "
                f"reference, such as load_images(FOLDER), FILE.csv or FILE.npz, {fix}"
            )
        for check in checks:
            if CHECKS.get(check.name) is not type(check) or _rebuilt(check.record()) != check:
                raise InputError(
                    f"workers make the checks themselves, and {check.name} is not one that comes with this package, "
                    f"by name and parameters: leave it out, {fix}"
                )


def setup_of(
    plan: Mapping[str, Any],
    classifier: Classifier,
    sets: Mapping[str, tuple[ImageSet, Sequence[Check]]],
    keep: Collection[Kept],
    batch_size: int,
    workers: int,
    seed: int,
) -> dict[str, Any]:
    """Everything from which :func:`open_work` makes the same work, as JSON values."""
    return {
        "model": {name: plan["model"][name] for name in _MODEL},
        "machine": {name: plan[name] for name in _MACHINE},
        "classifier": classifier.reference,
        "sets": {
            name: {
                "reference": images.reference,
                "class_names": images.class_names,
                "hidden": images.hidden,
                "carried": carried_columns(images),
                "checks": [check.record() for check in checks],
            }
            for name, (images, checks) in sets.items()
        },
        "keep": sorted(keep),
        "batch_size": batch_size,
        "workers": workers,
        "seed": seed,
        "allow_remote": permitted(),
    }


def open_work(setup: Mapping[str, Any]) -> ShardWork:
    """Load the model and the images again, and see that they are those of the plan.

    Raises:
        WorkerError: model, package or machine is another one.
        InputError: something is not there.
    """
    torch.set_num_threads(setup["machine"]["threads"])
    with sent_log(alone=True):  # noise images that a loader sends are no images of the run
        classifier = load_classifier_again(setup["classifier"])
    _compare("model", setup["model"], describe_model(classifier))
    _compare("machine", setup["machine"], describe_machine(classifier))
    sets = {}
    for name, own in setup["sets"].items():
        images = load_images_again(own["reference"])
        sets[name] = WorkingSet(
            nameless_source(images) if own["reference"].get("nameless") else images.source,
            None if own["class_names"] is None else tuple(own["class_names"]),
            own["hidden"],
            own["carried"],
            [_rebuilt(record) for record in own["checks"]],
        )
    rng = Randomness(setup["seed"])
    return ShardWork(
        classifier,
        sets,
        setup["keep"],
        setup["batch_size"],
        setup["workers"],
        rng,
        allow_remote=setup["allow_remote"],
    )


def _compare(what: str, planned: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    own = json.loads(canonical_json(found))
    differing = [name for name, value in planned.items() if own.get(name) != value]
    if differing:
        told = "; ".join(f"{name}: planned {planned[name]}, here {own.get(name)}" for name in differing)
        raise WorkerError(
            f"the {what} of a worker on {platform.node()} is not that of the run: {told[:1000]}. "
            f"Every worker must find the same files and the same packages"
        )


def _rebuilt(record: Mapping[str, Any]) -> Check:
    return build_check(record["check"], {name: value for name, value in record.items() if name != "check"})
