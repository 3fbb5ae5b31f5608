"""The same work again, in another process: models, images and methods are made anew, and compared with those here."""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, WorkerError
from snellen.core.images import ImageSet
from snellen.core.method import Method, build
from snellen.core.progress import Silent
from snellen.core.run import canonical_json
from snellen.core.run_plan import describe_machine, describe_model
from snellen.data.references import load_images_again
from snellen.models.classifiers.references import load_classifier_again
from snellen.models.remote.permission import permitted, permitting
from snellen.models.remote.sent_log import sent_log
from snellen.runs.engines.engine import attribute_of
from snellen.runs.engines.frames import error_frame
from snellen.runs.measuring import Job, Work, hash_of, measure_items
from snellen.runs.shard import Shard

#: What must be the same of a worker's model, and of its machine.
_MODEL = ("name", "fingerprint", "class_names", "task", "output", "preparation")
_MACHINE = ("device", "processor", "threads", "code", "versions")

_FIX = 'or leave it to this process (engine "in_process")'


@dataclass(frozen=True)
class Obstacle:
    """Why workers cannot do some work.

    Attributes:
        why: in a sentence.
        fix: what to do about it.
    """

    why: str
    fix: str


@dataclass(frozen=True)
class Reopening:
    """From what a worker makes the same work.

    Attributes:
        maker: ``module:function`` that takes classifiers, image sets by name, and the arguments, and returns the work.
        classifiers: that run.
        sets: images by name.
        methods: by area, which are written as records among the arguments.
        arguments: JSON values.
    """

    maker: str
    classifiers: Sequence[Classifier] = ()
    sets: Mapping[str, ImageSet] = field(default_factory=dict)
    methods: Mapping[str, Sequence[Method]] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """See that a worker can make everything again.

        Raises:
            InputError: model, images or a method were handed in as objects, or the model cannot be identified.
        """
        found = self.obstacle()
        if found is not None:
            raise InputError(f"{found.why}: {found.fix}, {_FIX}")

    def obstacle(self) -> Obstacle | None:
        """Why a worker cannot make everything again; None where it can."""
        for classifier in self.classifiers:
            if (found := _obstacle_of(classifier)) is not None:
                return found
        for images in self.sets.values():
            if images.reference is None:
                return Obstacle(
                    f"workers read the images themselves, and {images.name} was made of objects",
                    "load it by a reference, such as load_images(FOLDER), FILE.csv or FILE.npz",
                )
        for area, methods in self.methods.items():
            for method in methods:
                if not _is_found(area, method):
                    return Obstacle(
                        f"workers make the methods themselves, and {method.name} is not one that is installed, by "
                        f"name and parameters",
                        "install it as a plugin",
                    )
        return None

    def setup(self) -> dict[str, Any]:
        """Everything from which :func:`open_work` makes the same work, as JSON values."""
        first = self.classifiers[0] if self.classifiers else None
        return {
            "maker": self.maker,
            "machine": _only(describe_machine(first), _MACHINE),
            "classifiers": [
                {"reference": one.reference, "described": _only(describe_model(one), _MODEL)}
                for one in self.classifiers
            ],
            "sets": {name: described_images(images) for name, images in self.sets.items()},
            "arguments": dict(self.arguments),
            "allow_remote": permitted(),
        }


def open_work(setup: Mapping[str, Any]) -> Callable[[bytes], bytes]:
    """Load models and images again, see that they are those of the run, and make the work.

    Raises:
        WorkerError: model, package or machine is another one.
        InputError: something is not there.
    """
    torch.set_num_threads(setup["machine"]["threads"])
    with sent_log(alone=True):  # noise images that a loader sends are no images of the run
        classifiers = [load_classifier_again(one["reference"]) for one in setup["classifiers"]]
    for classifier, one in zip(classifiers, setup["classifiers"], strict=True):
        _compare("model", one["described"], describe_model(classifier))
    _compare("machine", setup["machine"], describe_machine(classifiers[0] if classifiers else None))
    sets = _sets(setup)
    work: Work = attribute_of(setup["maker"])(classifiers, sets, setup["arguments"])
    allow_remote = setup["allow_remote"]

    def answer(content: bytes) -> bytes:
        job = Job.from_bytes(content)
        if job.contents is not None and hash_of(sets[job.of].content_hash(row) for row in job.seen) != job.contents:
            raise WorkerError(
                f"on {platform.node()} some {job.of} images are not those that the run was planned with: give every "
                f"machine the same files at the same place, and do not change them during a run"
            )
        files: dict[str, bytes] = {}
        with permitting(allow_remote), sent_log(alone=True) as log:
            try:
                shard = measure_items(work, job.of, job.items, files.__setitem__, Silent())
            except Exception as error:  # what was sent until then is recorded in any case
                return Shard(sent=log.lines, error=error_frame(error).content).to_bytes()
        return replace(shard, files=files, sent=log.lines).to_bytes()

    return answer


def sets_again(setup: Mapping[str, Any]) -> dict[str, ImageSet]:
    """The images of work that needs no model, on a machine like that of the run, with as many threads.

    Raises:
        WorkerError: package or machine is another one.
    """
    torch.set_num_threads(setup["machine"]["threads"])
    _compare("machine", setup["machine"], describe_machine(None))
    return _sets(setup)


def _sets(setup: Mapping[str, Any]) -> dict[str, ImageSet]:
    return {name: images_again(one) for name, one in setup["sets"].items()}


def _obstacle_of(classifier: Classifier) -> Obstacle | None:
    if classifier.reference is None:
        return Obstacle(
            f"workers load the model themselves, and {classifier.name} was handed in as an object",
            'load it by a reference, such as load_classifier("onnx:FILE") or "artifact:FOLDER"',
        )
    if classifier.fingerprint() is None:
        return Obstacle(
            f"workers load the model themselves, and theirs cannot be compared with {classifier.name}, which "
            f"cannot be hashed",
            "it is a plain callable, or edited; undo the edit",
        )
    return None


def _is_found(area: str, method: Method) -> bool:
    """Whether another process finds the method by its name, with the same parameters."""
    try:
        return index.entry(area, method.name).registered is None and build(area, method.record()) == method
    except InputError:
        return False


def described_images(images: ImageSet) -> dict[str, Any]:
    """A set of images as JSON values: what its source was loaded from, and the table as it is here."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")  # columns of a million images are written out here
    with pa.ipc.new_stream(sink, images.table.schema, options=options) as writer:
        writer.write_table(images.table)
    return {
        "reference": images.reference,
        "table": base64.b64encode(sink.getvalue().to_pybytes()).decode(),
        "rows": base64.b64encode(np.asarray(images.rows, dtype="<i8").tobytes()).decode(),
        "class_names": images.class_names,
        "name": images.name,
        "split": images.split,
        "hidden": images.hidden,
    }


def images_again(described: Mapping[str, Any]) -> ImageSet:
    """The images that :func:`described_images` described; see :func:`~snellen.data.references.load_images_again`."""
    opened = load_images_again(described["reference"])
    names = described["class_names"]
    table = pa.ipc.open_stream(base64.b64decode(described["table"])).read_all()
    table.validate(full=True)  # what is read unchecked may point anywhere in memory
    return ImageSet(
        opened.source,
        table,
        None if names is None else tuple(names),
        described["name"],
        np.frombuffer(base64.b64decode(described["rows"]), dtype="<i8").astype(np.int64),
        described["split"],
        described["hidden"],
    )


def _only(found: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: found[name] for name in names}


def _compare(what: str, planned: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    own = json.loads(canonical_json(found))
    differing = [name for name, value in planned.items() if own.get(name) != value]
    if differing:
        shown = "; ".join(f"{name}: planned {planned[name]}, here {own.get(name)}" for name in differing)
        raise WorkerError(
            f"the {what} of a worker on {platform.node()} is not that of the run: {shown[:1000]}. "
            f"Every worker must find the same files and the same packages"
        )
