"""Fine-tuning against natural edits of the training images, where one known group or a slice is decided much worse.

The same edits as in :mod:`snellen.systems.natural_transformations.method`, beside clean images, from the weights that
the classifier has. ε is whole from the beginning, and edits pass the network in a batch of their own: a fine-tuning
adds its terms one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.models.classifiers.factor_judge import FactorNetwork
from snellen.models.classifiers.trainable import PreparedNetwork, trainable
from snellen.systems.natural_transformations.autoencoder import Autoencoder, AutoencoderSettings, fit_autoencoder
from snellen.systems.natural_transformations.editing import Editing, EditSettings, inverted, prepare_editing
from snellen.systems.natural_transformations.inversion import InversionSettings
from snellen.systems.natural_transformations.method import JUDGE_VIEW, Judge
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch
from snellen.training.fine_tuning import Term
from snellen.training.loop import train
from snellen.training.objectives import cross_entropy
from snellen.training.plan import TrainingPlan

#: Largest side of images, and least number of them, for which a generator is trained within a treatment.
LARGEST_SIDE, FEWEST = 64, 500

#: Layers and training of the judge of directions.
_JUDGE = ((16, 2), (32, 1), (48, 2), (64, 1))
_JUDGE_PLAN = TrainingPlan(epochs=8, batch_size=64, learning_rate=3e-3, weight_decay=0.01)


class NaturalTuning(FineTuning):
    """Train on with edits of the training images along latent directions that keep the class: light, colours and more.

    >>> NaturalTuning().treats
    ('group_gap', 'slice')
    """

    name: ClassVar[str] = "natural_tuning"
    treats: ClassVar[tuple[str, ...]] = ("group_gap", "slice")
    passes: ClassVar[float] = 120.0

    generator: Path | None = Field(
        None, description="folder of a generator with its encoder, for images of this size; none: train one"
    )
    autoencoder: AutoencoderSettings = Field(AutoencoderSettings(), description="numbers of the generator's training")
    inversion: InversionSettings = Field(
        InversionSettings(steps=5, expansion_steps=5, rate=0.03), description="numbers of the inversion"
    )
    edits: EditSettings = Field(EditSettings(), description="numbers of directions, filter and edits")
    beta: float = Field(1.0, gt=0, description="weight of edited images beside the others")

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Images that no generator can be trained on here, or that the named one does not make."""
        count, (channels, height, width) = len(patient.training), patient.training.images.shape[1:]
        if patient.training.targets.ndim != 1:
            return "needs images with one label each"
        if self.generator is not None:
            try:
                side = Autoencoder.load(self.generator).generator.shape.side
            except InputError as error:
                return f"cannot use its generator: {error}"
            fits = (channels, height, width) == (3, side, side)
            return None if fits else f"has a generator of {side} × {side} pixels, and images are {height} × {width}"
        if height != width or height > LARGEST_SIDE or height < 8 or height & (height - 1):
            return (
                f"trains a generator of 8, 16, 32 or {LARGEST_SIDE} pixels, and images are {height} × {width}: name "
                f"the folder of one (generator)"
            )
        if count < FEWEST:
            return f"trains a generator on {FEWEST} training images or more, and there are {count}"
        return None

    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """Cross-entropy of the edits that are hardest for the classifier as it is."""
        supply = self.editing(patient, rng).supply()

        def edited(model: nn.Module, batch: Batch) -> Tensor:
            images, rows, _ = supply(model, batch, 1.0)
            losses = batch.images.new_zeros(len(batch.images))
            if not len(rows):
                return losses
            at = rows.to(losses.device)
            return losses.index_add(0, at, self.beta * cross_entropy(model(images).float(), batch.targets[at]))

        return Term(objective=edited)

    def editing(self, patient: Patient, rng: Randomness) -> Editing:
        """What edits the training images; those of a patient are made once.

        Raises:
            InputError: no image is reconstructed well enough, or no direction keeps the class.
        """
        key = f"{self.name} {self.model_dump_json(exclude={'plan', 'beta'})}"
        known = patient.remembered.get(key)
        if isinstance(known, Editing):
            return known
        store = patient.training
        if self.generator is not None:
            autoencoder = Autoencoder.load(self.generator)
        else:
            autoencoder = fit_autoencoder(store, self.autoencoder, rng=rng.child("generator"))
        generator, codes, psnr = inverted(autoencoder, store, self.inversion, rng=rng)
        count = len(patient.classifier.class_names)
        with seeded(rng.generator("judge").initial_seed(), torch.device("cpu")):
            network = FactorNetwork(count, _JUDGE)
        plan = _JUDGE_PLAN.model_copy(update={"seed": rng.generator("judging").initial_seed() % 2**31})
        network.load_state_dict(dict(train(network, store, plan=plan, transform=JUDGE_VIEW).weights))
        made = prepare_editing(
            generator, codes, psnr, store.targets, Judge(network), self.edits,
            rng=rng.child("directions"), trained=trainable(patient.classifier).cpu(),
        )  # fmt: skip
        patient.remembered[key] = made
        return made
