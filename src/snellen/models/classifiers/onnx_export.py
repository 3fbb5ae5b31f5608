"""Write a classifier as an ONNX file that any runtime can run, with a description beside it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, SnellenError, UnsupportedError, import_extra
from snellen.core.run import canonical_json, write_atomically
from snellen.models.classifiers.assembly import probe_images
from snellen.models.classifiers.model_record import MeanAndStd, ModelRecord

#: Largest difference of scores, relative to the largest score, between the module and the exported file; scores that
#: are all smaller than ``FAINT`` are compared as if the largest were that.
TOLERANCE, FAINT = 1e-3, 1e-3

#: Smallest threshold of a probability by which the file decides as the module does. Below it, ONNX Runtime's sigmoid
#: is off by a tenth and more, and it is 0 below 1.5e-8.
LEAST_THRESHOLD = 1e-6


class _Deployed(nn.Module):
    """Normalisation and network in one graph: images in [0, 1] → scores."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        assert classifier.module is not None
        self.network, self._classifier = classifier.module, classifier

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(self._classifier.normalise(images))
        return scores


def export_onnx(classifier: Classifier, path: Path | str) -> Path:
    """Write ``path`` and ``path``.json, and check that ONNX Runtime gives the same scores for three images of noise.

    The graph takes RGB images, float32 (n, 3, h, w) in [0, 1] with any n, and contains the model's own normalisation.
    The description holds class names, resize and crop, task and kind of output: ``onnx:FILE`` loads it back as the
    same classifier.

    Raises:
        UnsupportedError: the classifier is no torch module, torch cannot export it, or it decides labels by
            probabilities below 1e-6.
        InputError: the size of its images is not known, or the suffix is not .onnx.
        ModelError: the exported file gives other scores; it is removed.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    path = Path(path)
    for module in ("onnx", "onnxscript"):
        import_extra(module, "onnx", "exporting to ONNX")
    onnxruntime = import_extra("onnxruntime", "onnx", "exporting to ONNX")
    if path.suffix != ".onnx":
        raise InputError(f"{path}: an ONNX file is named .onnx")
    if classifier.module is None:
        raise UnsupportedError(f"{classifier.name} is no torch module; only modules can be written as ONNX")
    of_probabilities = classifier.task == "multilabel" and classifier.output == "log-probabilities"
    if of_probabilities and classifier.thresholds and min(classifier.thresholds) < LEAST_THRESHOLD:
        least = min(classifier.thresholds)
        label = classifier.class_names[classifier.thresholds.index(least)]
        raise UnsupportedError(
            f"{classifier.name} gives {label!r} from a probability of {least:g} on, and ONNX Runtime's sigmoid is "
            f"wrong there: the file would decide otherwise. Raise the threshold to {LEAST_THRESHOLD:g}, or let the "
            f"module return logits, without its sigmoid"
        )
    size = classifier.preparation.size
    if size is None:
        raise InputError(f"{classifier.name} does not state the size of its images; give its preparation a size")
    network = _Deployed(classifier).eval()
    images = probe_images(size).to(classifier.device)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with torch.no_grad(), _quietly():
            torch.onnx.export(
                network,
                (images,),
                path,
                dynamo=True,
                input_names=["images"],
                output_names=["scores"],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        path.unlink(missing_ok=True)
        cause = error.__cause__ or error  # the exporter puts an error of its own around that of the network
        if isinstance(cause, SnellenError):
            raise cause from None
        lines = str(cause).strip().splitlines() or [""]
        raise UnsupportedError(
            f"torch cannot write {classifier.name} as ONNX: {type(cause).__name__}: {lines[0]}"
        ) from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    # Another number of images than the graph was traced with.
    shown = images[1:]
    with torch.no_grad():
        expected = network(shown).cpu()
    try:
        found = torch.from_numpy(session.run(None, {"images": shown.cpu().numpy()})[0])
    except Exception as error:
        path.unlink()
        raise ModelError(
            f"the ONNX file of {classifier.name} takes {len(images)} images at once and no other number"
        ) from error
    if of_probabilities and bool(found.isfinite().all()):
        # Small probabilities differ: other logarithms, and the same decisions by the thresholds that are possible here.
        found, expected = found.exp(), expected.exp()
    difference = float((found - expected).abs().max() / expected.abs().max().clamp_min(FAINT))
    if not difference <= TOLERANCE:
        path.unlink()
        raise ModelError(f"the ONNX file of {classifier.name} gives other scores: they differ by {difference:.2g}")
    record = ModelRecord(
        class_names=classifier.class_names,
        preparation=classifier.preparation.model_dump(mode="json"),
        normalization=MeanAndStd(),  # none: it is in the graph
        task=classifier.task,
        output=classifier.output,
        thresholds=dict(zip(classifier.class_names, classifier.thresholds, strict=True))
        if classifier.thresholds
        else None,
    )
    write_atomically(
        path.with_name(path.name + ".json"), canonical_json(record.model_dump(mode="json", exclude_none=True))
    )
    return path


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's own warnings: deprecations inside of it, missing optional packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
