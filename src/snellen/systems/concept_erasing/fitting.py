"""Fit a sparse autoencoder to the states of prompts, and keep it as an artifact that says what it belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.models.weights.state_dict_file import load_strictly
from snellen.systems.concept_erasing.autoencoder import SparseAutoencoder
from snellen.systems.concept_erasing.feature_sets import top_prompts
from snellen.systems.concept_erasing.reconstruction import Reconstruction, explained_variance
from snellen.systems.concept_erasing.text_layer import TextLayer, distinct_states
from snellen.training.acceleration import seeded
from snellen.training.environment import record_environment
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan
from snellen.version import __version__

#: States from which the centre and the scale of the loss are taken: of up to so many prompts, up to so many.
_FIRST_PROMPTS, _FIRST_STATES = 500, 32_768

#: Features whose prompts the card lists, prompts for each, and prompts that are searched.
_TOLD, _EXAMPLES, _LOOKED_AT = 256, 3, 2000


class AutoencoderFit(BaseModel):
    """Sizes of an autoencoder and numbers of its training; the paper's are 524288, 64, 10,000,000 and 50 prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latents: int = Field(2048, ge=1, description="features, n")
    active: int = Field(8, ge=1, description="features that are active in one state at most, K")
    steps: int = Field(2000, ge=1, description="optimizer steps, rounded up to whole passes over the states")
    batch_size: int = Field(1024, ge=1, description="states (tokens) of one step")
    learning_rate: float = Field(1e-3, gt=0, description="of Adam after the warm-up, which is a tenth of the steps")
    dead_after: int = Field(200_000, ge=1, description="states (tokens) without activation after which one is dead")
    dead_active: int = Field(256, ge=1, description="dead features that explain what is left of one state")
    dead_share: float = Field(1 / 32, ge=0, description="weight of the loss of dead features")
    most_states: int = Field(1_000_000, ge=1, description="different states that are kept in memory")


def fit_autoencoder(
    layer: TextLayer,
    prompts: Sequence[str],
    *,
    fit: AutoencoderFit,
    rng: Randomness,
    generator: str = "",
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Fit to the states of prompts at all token positions.

    Args:
        layer: whose states.
        prompts: texts as users write them, the concepts to erase and others; labels are not needed.
        fit: sizes and numbers.
        rng: seeds initial directions and order.
        generator: reference of the generator, for the lineage.
        checkpoint: file to save to, and to go on from if it exists.
        progress: callback that receives progress updates.

    Raises:
        InputError: no prompts, one that is too long, or states that are all the same.
    """
    seed = rng.generator("autoencoder").initial_seed() % 2**31
    examples = distinct_states(layer, prompts, most=fit.most_states, seed=seed, progress=progress)
    first = _first_states(layer, prompts)
    variance = float(first.var(unbiased=False))
    if variance == 0:
        raise InputError("all states of these prompts are the same, so there is nothing to fit to; give more prompts")
    with seeded(rng.generator("initial directions").initial_seed(), torch.device("cpu")):
        network = SparseAutoencoder(layer.width, fit.latents, fit.active)
    network.start_at(first)
    passes = -(-fit.steps // -(-len(examples) // fit.batch_size))
    plan = TrainingPlan(
        epochs=passes,
        batch_size=fit.batch_size,
        learning_rate=fit.learning_rate,
        weight_decay=0,
        schedule="constant",
        warmup_steps=fit.steps // 10,
        seed=seed,
    )
    objective = Reconstruction(1 / variance, fit.dead_after, fit.dead_active, fit.dead_share)
    trained = train(network, examples, plan=plan, objective=objective, checkpoint=checkpoint, progress=progress)
    network.load_state_dict(dict(trained.weights))
    # Columns are brought to length 1 before each use in training; once more after the last step.
    network.normalise()
    network.eval().requires_grad_(False)
    again, codes = network(first)
    card = Card(
        name=f"sparse autoencoder of {layer.name}",
        kind="sae",
        architecture={
            **network.architecture(),
            "layer": layer.index,
            "layer_name": layer.name,
            "text_encoder": encoder_hash(layer),
            "top_prompts": top_prompts(
                network, layer, list(dict.fromkeys(prompts))[:_LOOKED_AT], features=_TOLD, count=_EXAMPLES
            ),
        },
        description="Sparse features of a text encoder's states; top_prompts says what the commonest stand for.",
        metrics={
            "explained_variance": round(explained_variance(first, again), 6),
            "dead_share": round(float((network.idle > fit.dead_after).double().mean()), 6),
            "active": round(float((codes.values > 0).double().sum(1).mean()), 6),
        },
        history=tuple({key: round(value, 6) for key, value in row.items()} for row in trained.history),
        lineage=Lineage(
            recipe={
                "method": "sparse_autoencoder",
                "generator": generator,
                "prompts": prompts_hash(prompts),
                **fit.model_dump(mode="json"),
            },
            data=trained.data,
            seed=rng.seed,
            code_version=__version__,
            parent=encoder_hash(layer),
            environment=record_environment(),
        ),
    )
    return Artifact(dict(network.state_dict()), card)


def autoencoder_of(artifact: Artifact, layer: TextLayer) -> SparseAutoencoder:
    """The autoencoder of an artifact, for the encoder and layer that it was fitted to.

    Raises:
        InputError: another kind of artifact, or one of another encoder or layer.
    """
    card = artifact.card
    built: dict[str, Any] = card.architecture
    if card.kind != "sae" or built.get("name") != "sparse_autoencoder":
        raise InputError(f"{card.name!r} is a {card.kind} ({built.get('name')}); expected a sparse autoencoder")
    if built["text_encoder"] != encoder_hash(layer) or built["layer"] != layer.index:
        raise InputError(
            f"{card.name!r} was fitted to layer {built['layer']} of another or the same text encoder, "
            f"{built['text_encoder'][:16]}…; this is layer {layer.index} of {encoder_hash(layer)[:16]}…: fit one to it"
        )
    with torch.random.fork_rng(devices=[]):
        network = SparseAutoencoder(int(built["width"]), int(built["latents"]), int(built["active"]))
    load_strictly(network, artifact.tensors, source=card.name)
    return network.to(next(layer.network.parameters()).device).eval().requires_grad_(False)


def prompts_hash(prompts: Sequence[str]) -> str:
    """Hash of the prompts that an autoencoder is fitted to, in their order (sha256, hex); its card keeps it.

    >>> prompts_hash(["a red star", "a ring"])[:12], prompts_hash(["a ring", "a red star"])[:12]
    ('d70444acc27e', '0e3b7de51f10')
    """
    return hashlib.sha256(json.dumps([*prompts]).encode()).hexdigest()


def encoder_hash(layer: TextLayer) -> str:
    """Hash of the text encoder's weights (sha256, hex)."""
    return hash_tensors(dict(layer.network.state_dict()))


def _first_states(layer: TextLayer, prompts: Sequence[str]) -> Tensor:
    """A sample of states of the first prompts, (m, d): of text, not of padding."""
    read = layer.states(list(dict.fromkeys(prompts))[:_FIRST_PROMPTS])
    return read.states[read.counted][:_FIRST_STATES].float().cpu()
