"""A treated classifier in the form that the audited one came in: written, read back, compared, and its card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from snellen.auditing.markdown import plain, table
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.classifier import Classifier
from snellen.core.errors import ModelError, SnellenError, UnsupportedError
from snellen.core.package import asset
from snellen.core.run import canonical_json, write_atomically
from snellen.methods.treatments.label_scores import ScaledLabels
from snellen.methods.treatments.score_scaling import ScaledScores
from snellen.models.classifiers.assembly import probe_images
from snellen.models.classifiers.bundled_models import ARTIFACTS
from snellen.models.classifiers.checkpoint_description import described_beside
from snellen.models.classifiers.grey_models import OneChannel
from snellen.models.classifiers.model_record import MeanAndStd, ModelRecord
from snellen.models.classifiers.onnx_export import export_onnx
from snellen.models.classifiers.onnx_graph.module import OnnxModule
from snellen.models.classifiers.onnx_graph.writing import with_numbers_of
from snellen.models.classifiers.onnx_models import read_model
from snellen.models.classifiers.output_kind import LogProbabilities
from snellen.models.classifiers.references import load_classifier
from snellen.models.classifiers.trainable import Called
from snellen.training.environment import record_environment
from snellen.verbs.treated import Treated
from snellen.version import __version__


def treatment_card(treated: Treated, classifier: Classifier) -> str:
    """Write the card as Markdown; names are escaped, they are data.

    Args:
        treated: the result.
        classifier: as it was audited.
    """
    parts = [f"# {plain(classifier.name)}, treated", "\n".join(_found(treated))]
    if treated.cost is not None:
        one = treated.cost
        ends = "" if one.low is None or one.high is None else f" (95 % interval {one.low:+.4f} to {one.high:+.4f})"
        parts.append(
            f"{treated.clean_words} on {one.n} images: {one.first:.4f} before, {one.second:.4f} after, "
            f"{one.difference:+.4f}{ends}."
        )
    if treated.reference is not None:
        parts.append(
            "## Use\n\n```python\nimport snellen\n\n"
            f"classifier = snellen.load_classifier({json.dumps(treated.reference, ensure_ascii=False)})\n```"
        )
    parts.append("\n".join(["## How it was treated", "", *_how(treated)]))
    if treated.comparison is not None:
        parts.append(
            "`treated.html` shows what became of each finding, with pictures; `comparison.html` shows every figure "
            "before and after; `audits/before` and `audits/after` hold both."
        )
    return "\n\n".join(parts) + "\n"


def _found(treated: Treated) -> list[str]:
    rows = [
        (
            one.title,
            one.outcome,
            one.treatment,
            "" if one.difference is None else f"{one.difference:+.3f}",
            "" if one.low is None or one.high is None else f"{one.low:+.3f} to {one.high:+.3f}",
            one.reason,
        )
        for one in treated.findings
    ]
    return table(("finding", "became", "by", "change", "95 % interval", ""), rows)


def _how(treated: Treated) -> list[str]:
    lines = [
        f"Tried on a copy of the weights, and judged on the validation images ({len(treated.tried)}):",
        "",
        *(f"- {plain(words)}" for words in treated.tried),
        "",
    ]
    return [*lines, *(f"{plain(note)}" for note in treated.notes)]


#: Largest difference of probabilities between the classifier in memory and what is loaded from the files.
TOLERANCE = 1e-4

#: What is written of a classifier that is queried, and has no file that could hold it.
NUMBERS = "scores.json"


def delivered(
    classifier: Classifier, treated: Classifier, folder: Path, recipe: Mapping[str, Any], data: str, seed: int
) -> tuple[str | None, tuple[str, ...]]:
    """Write a treated classifier.

    ==========================================  ======================================================================
    came as                                     is written as
    ==========================================  ======================================================================
    ``artifact:``, ``bundled:`` of one          ``weights.safetensors`` and ``card.json``: an artifact
    ``timm:``, ``torchvision:``, a checkpoint   ``weights.safetensors`` and a description beside it
    ``hf:``, a classifier of transformers       the folder ``model`` as ``save_pretrained`` writes it
    ``onnx:``                                   ``model.onnx``, the same graph, and a description beside it
    a torch module                              ``weights.safetensors``, for its ``load_state_dict``, and ``model.onnx``
    a function, a server, ONNX Runtime          ``scores.json``: what is done to its scores, and its thresholds
    ==========================================  ======================================================================

    Where the form cannot hold what was done to the scores, an ONNX file holds all of it. Thresholds of labels stand in
    the description beside the file.

    Args:
        classifier: as it was audited.
        treated: what became of it.
        folder: to write into.
        recipe: what was done, for the lineage of an artifact.
        data: fingerprint of the images that it was trained on.
        seed: of the treatment.

    Returns:
        The reference by which :func:`snellen.load_classifier` loads it, None where none can; and what was not written.

    Raises:
        ModelError: what was written gives other probabilities.
    """
    assert treated.module is not None
    network, wrapped = _unwrapped(treated.module)
    if isinstance(network, Called):
        return None, (_beside_its_scores(treated, folder),)
    ref = _located(classifier)
    notes: tuple[str, ...] = ()
    if wrapped or (treated.thresholds and (_artifact_folder(ref) is not None or _is_transformers(network))):
        reference, notes = _as_onnx(treated, folder)
    elif (source := _artifact_folder(ref)) is not None:
        reference = _as_artifact(source, classifier, network, folder, recipe, data, seed)
    elif _is_transformers(network):
        reference = _as_transformers(classifier, network, folder)
    elif (described := _description(classifier, treated, ref)) is not None:
        save_file(_tensors(network), folder / "weights.safetensors")
        write_atomically(folder / "weights.safetensors.json", canonical_json(_plain(described)))
        reference = f"checkpoint:{folder / 'weights.safetensors'}"
    elif isinstance(network, OnnxModule) and (source_file := _onnx_file(classifier)) is not None:
        reference, notes = _into_its_graph(classifier, treated, network, source_file, folder)
    else:
        if not ref and network.state_dict():
            save_file(_tensors(network), folder / "weights.safetensors")
        reference, notes = _as_onnx(treated, folder)
    if reference is not None:
        _check(treated, reference)
    return reference, notes


def _unwrapped(module: nn.Module) -> tuple[nn.Module, bool]:
    """The network as its library knows it, and whether scores are scaled behind it."""
    scaled = False
    while isinstance(module, LogProbabilities | OneChannel | ScaledScores | ScaledLabels):
        scaled = scaled or isinstance(module, ScaledScores | ScaledLabels)
        module = module.model
    return module, scaled


def _beside_its_scores(treated: Classifier, folder: Path) -> str:
    """Write the numbers that stand behind a model which no file here can hold, and say what they are."""
    steps = []
    module = treated.module
    while isinstance(module, ScaledScores | ScaledLabels):
        steps.append({"scale": module.scale.tolist(), "shift": module.shift.tolist()})
        module = module.model
    logits = treated.task == "multilabel" and treated.output != "logits"
    numbers = {
        "class_names": list(treated.class_names),
        "of": "logits of the labels" if logits else treated.output,
        "scaled": steps[::-1],
        "thresholds": _thresholds(treated),
    }
    write_atomically(folder / NUMBERS, canonical_json(numbers))
    return (
        f"The model itself has no file here. {NUMBERS} holds what is done to its scores: scale times the scores plus "
        f"shift, in this order. It holds the thresholds, too. From Python the treated classifier is at hand, as "
        f".classifier"
    )


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    # A copy of each: tensors that share memory cannot be stored under two names.
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}


def _located(classifier: Classifier) -> str:
    """The reference that a classifier was loaded by, with the path that it had there; empty: it was an object."""
    if classifier.reference is None:
        return ""
    ref, folder = str(classifier.reference["ref"]), Path(classifier.reference["folder"])
    scheme, colon, rest = ref.partition(":")
    if scheme in ("artifact", "checkpoint", "hf", "onnx") and colon:
        return f"{scheme}:{folder / rest}"
    if scheme in ("timm", "torchvision") and "@" in rest:
        name, _, file = rest.partition("@")
        return f"{scheme}:{name}@{folder / file}"
    return str(folder / ref) if not colon or (folder / ref).exists() else ref


def _artifact_folder(ref: str) -> Path | None:
    scheme, _, rest = ref.partition(":")
    if scheme == "bundled" and rest in ARTIFACTS:
        return asset(rest)
    folder = Path(rest if scheme == "artifact" else ref)
    return folder if ref and (folder / "card.json").is_file() else None


def _as_artifact(
    source: Path,
    classifier: Classifier,
    network: nn.Module,
    folder: Path,
    recipe: Mapping[str, Any],
    data: str,
    seed: int,
) -> str:
    card = Artifact.load(source).card
    lineage = Lineage(
        recipe=dict(recipe),
        data=data,
        seed=seed,
        code_version=__version__,
        parent=card.sha256,
        environment=record_environment(),
    )
    changed: Card = card.model_copy(
        update={
            "name": f"{card.name}-treated",
            "class_names": classifier.class_names,
            "preparation": classifier.preparation.model_dump(mode="json"),
            "normalization": {name: list(values) for name, values in classifier.normalization._asdict().items()},
            "lineage": lineage,
            "metrics": {},
            "history": (),
            "licence": "",
        }
    )
    Artifact(_tensors(network), changed).save(folder)
    return f"artifact:{folder}"


def _is_transformers(network: nn.Module) -> bool:
    inner = getattr(network, "model", None)
    return type(network).__name__ == "Logits" and hasattr(inner, "save_pretrained")


def _as_transformers(classifier: Classifier, network: Any, folder: Path) -> str:  # noqa: ANN401 - of an extra
    place = folder / "model"
    network.model.config.id2label = dict(enumerate(classifier.class_names))
    network.model.config.label2id = {name: number for number, name in enumerate(classifier.class_names)}
    network.model.save_pretrained(place, safe_serialization=True)
    source = Path(_located(classifier).removeprefix("hf:") or str(getattr(network.model, "name_or_path", "")))
    if (source / "preprocessor_config.json").is_file():
        shutil.copyfile(source / "preprocessor_config.json", place / "preprocessor_config.json")
        return f"hf:{place}"
    processor = _processor_of(classifier)
    (place / "preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n", encoding="utf-8")
    return f"hf:{place}"


def _processor_of(classifier: Classifier) -> dict[str, Any]:
    """Preparation and normalisation as an image processor of transformers holds them."""
    preparation, (mean, std) = classifier.preparation, classifier.normalization
    size = preparation.resize_to or preparation.size
    assert size is not None, "a classifier of transformers has images of one size"
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": preparation.resize == "exact",
        "size": {"height": size[0], "width": size[1]},
        "resample": {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}.get(preparation.interpolation, 2),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    }


def _description(classifier: Classifier, treated: Classifier, ref: str) -> ModelRecord | None:
    """What stands beside a file of weights: architecture, arguments, and all settings of the reference."""
    scheme, _, rest = ref.partition(":")
    given = dict((classifier.reference or {}).get("model_args") or {})
    if scheme in ("timm", "torchvision"):
        name, _, file = rest.partition("@")
        beside = described_beside(Path(file)) if file else ModelRecord()
        architecture: str | None = f"{scheme}:{name}"
    elif scheme == "checkpoint" or Path(ref).suffix == ".safetensors":
        beside = described_beside(Path(rest if scheme == "checkpoint" else ref))
        architecture = str(given.pop("architecture", None) or beside.architecture)
    else:
        return None
    mean, std = (tuple(values) for values in treated.normalization)
    arguments = {**(beside.arguments or {}), **given}
    if scheme == "timm":
        arguments.setdefault("num_classes", len(treated.class_names))
    return ModelRecord(
        class_names=treated.class_names,
        preparation=treated.preparation.model_dump(mode="json"),
        normalization=MeanAndStd.model_validate({"mean": mean, "std": std}),
        task=treated.task,
        thresholds=_thresholds(treated),
        architecture=architecture,
        arguments=arguments or None,
    )


def _thresholds(treated: Classifier) -> dict[str, float] | None:
    return dict(zip(treated.class_names, treated.thresholds, strict=True)) if treated.thresholds else None


def _plain(record: ModelRecord) -> dict[str, Any]:
    return {name: value for name, value in record.model_dump(mode="json").items() if value is not None}


def _as_onnx(treated: Classifier, folder: Path) -> tuple[str | None, tuple[str, ...]]:
    try:
        return f"onnx:{export_onnx(treated, folder / 'model.onnx')}", ()
    except SnellenError as error:
        return None, (f"no model.onnx: {error}",)


def _onnx_file(classifier: Classifier) -> Path | None:
    """The ONNX file that a classifier was loaded from."""
    known = classifier.reference or {}
    scheme, _, rest = str(known.get("ref", "")).partition(":")
    file = Path(str(known.get("folder", "."))) / (rest if scheme == "onnx" else str(known.get("ref", "")))
    return file if file.suffix == ".onnx" and file.is_file() else None


def _into_its_graph(
    classifier: Classifier, treated: Classifier, network: OnnxModule, source: Path, folder: Path
) -> tuple[str | None, tuple[str, ...]]:
    """The file that the classifier came from with other numbers; an export, where these have no place in it."""
    try:
        content = with_numbers_of(network, read_model(source), source.parent)
    except UnsupportedError:
        return _as_onnx(treated, folder)
    mean, std = (tuple(values) for values in treated.normalization)
    stated = (classifier.reference or {}).get("output")
    record = ModelRecord(
        class_names=treated.class_names,
        preparation=treated.preparation.model_dump(mode="json"),
        normalization=MeanAndStd.model_validate({"mean": mean, "std": std}),
        task=treated.task,
        thresholds=_thresholds(treated),
        output=stated or described_beside(source).output,
    )
    write_atomically(folder / "model.onnx", content)
    write_atomically(folder / "model.onnx.json", canonical_json(_plain(record)))
    return f"onnx:{folder / 'model.onnx'}", ()


def _check(treated: Classifier, reference: str) -> None:
    """Load what was written, and compare.

    Raises:
        ModelError: other probabilities.
    """
    size = treated.preparation.size
    if size is None:
        return
    images = probe_images(size).to(treated.device)
    again = load_classifier(reference, device=str(treated.device))
    with torch.no_grad():
        mine, theirs = (one.probabilities(one(images)) for one in (treated, again))
    off = float((mine - theirs).abs().max())
    alike = (again.class_names, again.preparation, again.thresholds) == (
        treated.class_names,
        treated.preparation,
        treated.thresholds,
    )
    if off > TOLERANCE or not alike:
        raise ModelError(
            f"what was written to {reference} gives other probabilities than the treated classifier (by {off:.2g}), "
            f"prepares its images otherwise, or decides otherwise; from Python the treated classifier itself is at "
            f"hand, as .classifier"
        )
