"""From what a loader found to a classifier: a probe of the outputs, class names, one check that all agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier, Normalization, Task, hash_tensors
from snellen.core.errors import InputError, ModelError
from snellen.core.images import MANY_CLASSES
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.models.classifiers.grey_models import NOTE, of_one_channel, one_channel, takes_one_channel
from snellen.models.classifiers.output_kind import (
    OutputKind,
    log_probabilities,
    one_hot,
    one_hot_of_labels,
    output_kind,
)

#: Largest file of class names that is read, bytes.
MAX_BYTES = 16 * 2**20


def read_class_names(classes: Sequence[str] | str | Path) -> tuple[str, ...]:
    """Read class names from a list, or from a UTF-8 text file with one name a line (empty lines at the end ignored).

    Among many, names may occur twice: ImageNet has two kinds of crane.

    >>> read_class_names(["cat", "dog"])
    ('cat', 'dog')

    Raises:
        InputError: no such file, not text, no names, an empty name in between, or a name that occurs twice among fewer
            than :data:`~snellen.core.images.MANY_CLASSES`.
    """
    if not isinstance(classes, str | Path):
        names, source = list(classes), "the list of class names"
        if not all(isinstance(name, str) for name in names):
            odd = next(name for name in names if not isinstance(name, str))
            raise InputError(f"class names are strings; got {odd!r} ({type(odd).__name__})")
    else:
        names, source = _lines(Path(classes)), str(classes)
    if not names:
        raise InputError(f"{source} is empty; expected one name for each output of the model")
    stripped = tuple(name.strip() for name in names)
    if "" in stripped:
        raise InputError(f"{source}: name {stripped.index('') + 1} is empty; expected one name a line")
    twice = next((name for name, times in Counter(stripped).items() if times > 1), None)
    if twice is not None and len(stripped) < MANY_CLASSES:
        raise InputError(f"{source}: {twice!r} occurs twice; classes of one name cannot be distinguished")
    return stripped


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"no file of class names at {path}; expected a text file with one name a line")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InputError(f"{path}: {size} bytes is too large for a file of class names (at most {MAX_BYTES})")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text with one class name a line: {error}") from error
    return text.rstrip().splitlines()


#: What a loader may have to assume.
Field = Literal["class_names", "preparation", "normalization"]

Network = nn.Module | Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedModel:
    """A model before it becomes a classifier: overrides, class names and a probe of its outputs are still to come.

    Attributes:
        network: normalised images (n, 3, h, w) → outputs (n, k) or labels (n,).
        name: shown in reports and messages.
        preparation: the model's own resize and crop; None when its files do not state it, and it cannot be guessed.
        normalization: per-channel mean and std, or None for images in [0, 1].
        task: what the outputs decide.
        output: what the outputs are; None when only some outputs can show it.
        thresholds: of several labels, probability above which some are given, where its files state it.
        class_names: names of the outputs, when the model brings them.
        outputs: number of outputs, when it is known without running the model.
        identity: hash of the weights, when the loader has it; else it is computed from the parameters.
        differentiable: whether gradients exist; None: they do for modules alone.
        feature_layer: the pooled layer before the last linear layer, when that is certain.
        recipe: what trained it, where its files state it.
        history: figures of each epoch of its training, where its files hold them.
        bag_decision: how a bag is decided from its images, where its files state it.
        notes: what the loader changed or found remarkable.
        assumed: what the loader assumed, by field: reported only where the caller does not give that field.
        sent_to: the host that images are sent to; None where the model runs in this process.
        advice: how a user supplies what is missing; the end of an error message.
    """

    network: Network
    name: str
    preparation: Preprocessing | None
    normalization: Normalization | None = None
    task: Task = "single"
    output: OutputKind | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    outputs: int | None = None
    identity: str | None = None
    differentiable: bool | None = None
    feature_layer: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()
    bag_decision: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    assumed: Mapping[Field, str] = field(default_factory=dict)
    sent_to: str | None = None
    advice: str = "pass preparation=Preprocessing(...) to load_classifier()"


#: Images that a model is shown at loading to learn what it returns; one is enough where that is known.
PROBES = 4

_FIX = "pass the right list with --classes FILE (one name a line) or class_names=[...]"


def assemble(
    loaded: LoadedModel, *, classes: Sequence[str] | str | Path | None = None, device: torch.device
) -> Classifier:
    """Make a classifier: find out what the model returns, bring it to scores (n, k), and name the classes.

    Raises:
        InputError: class names are missing or too many or too few, or the input size is unknown.
        ModelError: the model fails on an image of its own size, or gives NaN, infinity or a wrong shape.
    """
    given = None if classes is None else read_class_names(classes)
    if loaded.preparation is None:
        raise InputError(f"{loaded.name} does not state the size of its images: {loaded.advice}")
    if isinstance(loaded.network, nn.Module):
        loaded.network.eval().to(device)
    loaded, probed = _probe(loaded, loaded.preparation, device)
    kind, outputs, note = _inspect(loaded, probed)
    names = _names(loaded, outputs, given)
    if probed is not None and kind == "labels" and outputs is None:
        one_hot_of_labels(probed, len(names), name=loaded.name)
    made = Classifier(
        _in_form(loaded.network, kind, len(names), loaded.name),
        class_names=names,
        preparation=loaded.preparation,
        normalization=loaded.normalization,
        task=loaded.task,
        differentiable=False if kind == "labels" else loaded.differentiable,
        output="log-probabilities" if kind == "probabilities" else kind,
        name=loaded.name,
        identity=_identity(loaded, kind),
        notes=(*loaded.notes, *loaded.assumed.values(), *((note,) if note else ())),
        feature_layer=_feature_layer(loaded, kind),
        recipe=loaded.recipe,
        history=loaded.history,
        bag_decision=loaded.bag_decision,
        sent_to=loaded.sent_to,
        device=device,
    )
    _give_thresholds(made, loaded.thresholds)
    return made


def _give_thresholds(made: Classifier, thresholds: Mapping[str, float]) -> None:
    """Let a classifier of several labels decide as the description beside it says.

    Raises:
        InputError: thresholds of a model of one class an image, or of decisions, or outside (0, 1).
        UnknownNameError: a label that is none of its own.
    """
    if not thresholds:
        return
    if made.task != "multilabel":
        raise InputError(f"{made.name}: its description states thresholds, which only models of several labels have")
    made.thresholds = made.with_thresholds(thresholds).thresholds
    stated = ", ".join(f"{name} {value:.3g}" for name, value in thresholds.items())
    made.notes += (f"labels are given above the probabilities that its description states: {stated}; others: 0.5",)


def probe_images(size: tuple[int, int], count: int = PROBES) -> Tensor:
    """Seeded noise, from dark to bright: float32 (count, 3, h, w) in [0, 1], the same on every machine."""
    noise = Randomness(0).bind(count).uniform("probe", (3, *size))
    return noise * ((torch.arange(count) + 1.0) / count).view(-1, 1, 1, 1)


def _probe(loaded: LoadedModel, preparation: Preprocessing, device: torch.device) -> tuple[LoadedModel, Tensor | None]:
    """Outputs for a few images, None when the input size is not known; a model of one channel is made one of three."""
    if preparation.size is None:
        one_channel_only = isinstance(loaded.network, nn.Module) and takes_one_channel(loaded.network)
        return (_of_one_channel(loaded) if one_channel_only else loaded), None
    images = probe_images(preparation.size, PROBES if loaded.output is None else 1).to(device)
    try:
        outputs = _outputs(loaded, images)
    except ModelError:
        raise
    except Exception as error:
        grey = _of_one_channel(loaded)
        try:
            loaded, outputs = grey, _outputs(grey, images)
        except Exception:
            size = "x".join(map(str, preparation.size))
            raise ModelError(f"{loaded.name} fails on {size} images: {type(error).__name__}: {error}") from error
    return loaded, _checked(loaded, outputs, images)


def _outputs(loaded: LoadedModel, images: Tensor) -> object:
    mean, std = (
        torch.tensor(values, device=images.device).view(-1, 1, 1) for values in loaded.normalization or Normalization()
    )
    with torch.no_grad():
        return loaded.network((images - mean) / std)


def _of_one_channel(loaded: LoadedModel) -> LoadedModel:
    """The model of one channel as one of three, with its weights' identity and the name of its feature layer."""
    module = loaded.network if isinstance(loaded.network, nn.Module) else None
    own = loaded.identity if loaded.identity is not None or module is None else hash_tensors(module.state_dict())
    inside = module is not None and loaded.feature_layer is not None
    return replace(
        loaded,
        network=one_channel(loaded.network),
        normalization=None if loaded.normalization is None else of_one_channel(loaded.normalization),
        identity=own,
        feature_layer=f"model.{loaded.feature_layer}" if inside else loaded.feature_layer,
        notes=(*loaded.notes, NOTE),
    )


def _checked(loaded: LoadedModel, outputs: object, images: Tensor) -> Tensor:
    """The outputs, where they are a tensor for these images."""
    if not isinstance(outputs, Tensor) or not outputs.ndim or len(outputs) != len(images):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ModelError(f"{loaded.name} returned {shape} for {len(images)} images; expected one tensor (n, k)")
    if outputs.ndim > 2 and loaded.task != "segment":
        hint = (
            ' (a model that decides each pixel is loaded with task="segment", or --task segment)'
            if outputs.ndim == 4
            else ""
        )
        raise ModelError(
            f"{loaded.name} returned {tuple(outputs.shape)}; expected scores (n, k), one for each class{hint}"
        )
    return outputs


def _inspect(loaded: LoadedModel, probed: Tensor | None) -> tuple[OutputKind, int | None, str]:
    """What the model returns, how many outputs it has (None: not known), and notes about it."""
    if probed is None:
        kind = loaded.output or "logits"
        return kind, loaded.outputs, f"outputs were not probed, because no input size is known; taken as {kind}"
    found = output_kind(probed, name=loaded.name)
    if found == "labels":
        if loaded.output not in (None, "labels"):
            raise ModelError(f"{loaded.name} returns integer labels, but is declared to give {loaded.output}")
        return "labels", None, "the model returns labels only; scores are one-hot"
    outputs = probed.shape[1]
    if outputs == 1 and loaded.task in ("single", "ordinal"):
        raise ModelError(
            f"{loaded.name} gives one score per image, which cannot separate classes; expected one score for each "
            f"class (for one sigmoid output, return log p and log (1 - p) as two columns)"
        )
    single = loaded.task in ("single", "ordinal", "segment")
    if loaded.output is not None:
        if loaded.task == "multilabel" and loaded.output == "probabilities" and not _within(probed):
            raise ModelError(
                f"{loaded.name} is declared to give probabilities, but its outputs leave [0, 1] on probe images: they "
                f'are logits; say output="logits" (--output logits), or nothing'
            )
        odd = single and found != "logits" and found != loaded.output
        return loaded.output, outputs, f"declared as {loaded.output}, but looks like {found}" if odd else ""
    if single:
        return found, outputs, _WORDS[found]
    if loaded.task == "multilabel":
        return _of_labels(loaded.network, probed, outputs)
    return "logits", outputs, ""


def _of_labels(network: Network, probed: Tensor, outputs: int) -> tuple[OutputKind, int, str]:
    """Whether outputs for labels (n, k) are sigmoid probabilities, and how that was decided."""
    last = list(network.modules())[-1] if isinstance(network, nn.Module) else None
    within = _within(probed)
    if within and isinstance(last, nn.Sigmoid):
        return "probabilities", outputs, "the model ends in a sigmoid: outputs are probabilities, one for each label"
    if within:
        return "probabilities", outputs, _PERHAPS_SIGMOID
    return "logits", outputs, "outputs leave [0, 1] on probe images: they are logits, one for each label"


def _within(probed: Tensor) -> bool:
    return bool(((probed >= 0) & (probed <= 1)).all())


_WORDS: dict[OutputKind, str] = {
    "logits": "",
    "probabilities": "the model returns softmax probabilities; scores are their logarithms",
    "log-probabilities": "the model returns log-probabilities",
}
_PERHAPS_SIGMOID = (
    "outputs lie in [0, 1] on all probe images and are taken as sigmoid probabilities, one for each label. If they are "
    'logits, say output="logits" (--output logits)'
)


def _names(loaded: LoadedModel, outputs: int | None, given: tuple[str, ...] | None) -> tuple[str, ...]:
    names = given if given is not None else loaded.class_names
    if names is None:
        count = "" if outputs is None else f"{outputs} "
        raise InputError(f"{loaded.name} does not name its {count}outputs: {_FIX}")
    if outputs is not None and outputs != len(names):
        if given is not None:
            raise InputError(f"{loaded.name} has {outputs} outputs, but {len(names)} class names came: {_FIX}")
        raise ModelError(f"{loaded.name} has {outputs} outputs, but names {len(names)} classes: {_FIX}")
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None and len(names) < MANY_CLASSES:
        raise InputError(f"{loaded.name} names two classes {twice!r}, which cannot be distinguished: {_FIX}")
    return names


def _in_form(network: Network, kind: OutputKind, classes: int, name: str) -> Network:
    if kind == "probabilities":
        return log_probabilities(network)
    return one_hot(network, classes, name=name) if kind == "labels" else network


def _identity(loaded: LoadedModel, kind: OutputKind) -> str | None:
    # A wrapper renames the parameters, or hides them; the identity is that of the model inside.
    if loaded.identity is None and kind in ("probabilities", "labels") and isinstance(loaded.network, nn.Module):
        return hash_tensors(loaded.network.state_dict())
    return loaded.identity


def _feature_layer(loaded: LoadedModel, kind: OutputKind) -> str | None:
    if loaded.feature_layer is None or kind == "labels":
        return None
    wrapped = kind == "probabilities" and isinstance(loaded.network, nn.Module)
    return f"model.{loaded.feature_layer}" if wrapped else loaded.feature_layer
