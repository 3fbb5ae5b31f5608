"""A trained explainer as a folder: weights in safetensors, and a card that says for which classifier it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from snellen.core.artifact import Artifact, Card, Lineage, rounded
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.systems.style_counterfactuals.networks import StyleExplainer
from snellen.systems.style_counterfactuals.plan import StylePlan
from snellen.systems.style_counterfactuals.training import Training, images_hash, train_explainer
from snellen.training.environment import record_environment
from snellen.version import __version__

ARCHITECTURE = "style_explainer"

#: File of an unfinished training, inside of the folder.
CHECKPOINT = "training.safetensors"


def explainer_artifact(training: Training, name: str = "style-explainer") -> Artifact:
    """What a finished training gives, with its card."""
    classifier = training.seen.classifier
    identity = training.identity()
    card = Card(
        name=name,
        kind="other",
        architecture={
            "name": ARCHITECTURE,
            "plan": training.plan.model_dump(mode="json"),
            "classifier": classifier.fingerprint(),
        },
        description="Rebuilds images, and moves single style coordinates of them, for one classifier.",
        class_names=classifier.class_names,
        metrics=rounded({key: value for key, value in training.history[-1].items() if key != "step"}),
        history=tuple(training.history),
        lineage=Lineage(
            recipe={"method": "style_counterfactuals", **training.plan.model_dump(mode="json")},
            data=identity["images"],
            seed=training.rng.seed,
            code_version=__version__,
            parent=classifier.identity,
            environment=record_environment(),
        ),
    )
    tensors = {key: value.detach().cpu().clone() for key, value in training.explainer.saved().items()}
    return Artifact(tensors, card)


def load_explainer(folder: Path, classifier: Classifier) -> StyleExplainer:
    """The explainer of a folder, in evaluation mode.

    Raises:
        InputError: another kind of artifact, one for another classifier, or damaged files.
    """
    artifact = Artifact.load(folder)
    described: Mapping[str, object] = artifact.card.architecture
    if described.get("name") != ARCHITECTURE:
        raise InputError(f"{folder} holds {artifact.card.name}, and no generator of style counterfactuals")
    if artifact.card.class_names != classifier.class_names or described.get("classifier") != classifier.fingerprint():
        raise InputError(
            f"{folder} holds a generator that was trained for another classifier than {classifier.name}: the logits "
            f"of that one are a part of the code; name another folder, and one is trained there"
        )
    plan = _plan(folder, described)
    with torch.random.fork_rng(devices=[]):
        explainer = StyleExplainer(plan.sizes, len(classifier.class_names), device=classifier.device)
    try:
        explainer.restore(dict(artifact.tensors))
    except RuntimeError as error:
        raise InputError(f"{folder}: the weights do not fit the card: {error}") from error
    return explainer.eval()


def trained_by(folder: Path) -> tuple[StylePlan, str]:
    """Plan of the finished generator of a folder, and the hash of the images that it was trained on.

    Raises:
        InputError: it holds something else.
    """
    card = Artifact.load(folder).card
    return _plan(folder, card.architecture), card.lineage.data


def _plan(folder: Path, described: Mapping[str, object]) -> StylePlan:
    try:
        return StylePlan.model_validate(described.get("plan"))
    except ValidationError as error:
        raise InputError(f"{folder}: the card describes no plan of this version: {error}") from error


def finished(folder: Path | None) -> bool:
    """Whether a trained generator lies there."""
    return folder is not None and (folder / "card.json").is_file()


def trained_explainer(
    folder: Path | None,
    classifier: Classifier,
    images: Tensor,
    plan: StylePlan,
    rng: Randomness,
    *,
    size: tuple[int, int] | None,
    progress: Progress | None = None,
) -> StyleExplainer:
    """Load the generator of a folder, or train one; a training that was stopped there resumes.

    Args:
        folder: where it lies, or is kept; None: it is trained and kept nowhere.
        classifier: that it is for.
        images: uint8 (n, 3, side, side), for the training.
        plan: numbers of the training.
        rng: of everything random.
        size: at which the classifier sees images.
        progress: callback that receives progress updates.

    Raises:
        InputError: a folder that holds something else, or a generator of another plan or of other images.
    """
    if folder is not None and finished(folder):
        _check_same(folder, images, plan)
        return load_explainer(folder, classifier)
    if folder is not None:
        check_place(folder)
        folder.mkdir(parents=True, exist_ok=True)
    checkpoint = None if folder is None else folder / CHECKPOINT
    training = train_explainer(classifier, images, plan, rng, size=size, checkpoint=checkpoint, progress=progress)
    if folder is not None and checkpoint is not None:
        explainer_artifact(training).save(folder)
        checkpoint.unlink(missing_ok=True)
    return training.explainer


def _check_same(folder: Path, images: Tensor, plan: StylePlan) -> None:
    kept, data = trained_by(folder)
    if kept != plan:
        raise InputError(f"{folder} holds a generator that {differing(kept, plan)}; name a new folder")
    if data != images_hash(images):
        raise InputError(
            f"{folder} holds a generator that was trained on other images, maybe on those that are held back now; name "
            f"a new folder"
        )


def differing(kept: StylePlan, wanted: StylePlan) -> str:
    """The first number in which the plan of a generator is another than the one that is wanted, in words."""
    both = [{**one.model_dump(exclude={"sizes"}), **one.sizes.model_dump()} for one in (kept, wanted)]
    name = next(name for name, value in both[0].items() if value != both[1][name])
    return f"was trained with {name} {both[0][name]}, and {both[1][name]} is asked for"


def check_place(folder: Path) -> None:
    """Refuse a folder that holds neither a generator nor an unfinished training, but something.

    Raises:
        InputError: it does.
    """
    if folder.is_file():
        raise InputError(f"{folder} is a file; a generator is kept in a folder: name one that is new or empty")
    if folder.is_dir():
        others = [one.name for one in folder.iterdir() if not one.name.startswith(CHECKPOINT)]
        if (folder / CHECKPOINT).is_file():  # stopped while a finished training was saved: it is saved again
            others = [name for name in others if not name.startswith("weights.safetensors")]
        if others and not finished(folder):
            raise InputError(f"{folder} holds {others[0]!r} and no generator; name a folder that is new or empty")
