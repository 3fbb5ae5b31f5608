"""What treatments have in common that train on with images of a generator beside the real ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from snellen.core import index
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.data.files.joining import join
from snellen.data.files.labels import align_labels
from snellen.methods.generation.made_images import generating_on
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.synthesizing import drawn
from snellen.methods.treatments.treatment import TRAINING, Patient, Stage, Treating, Treatment, trained_on
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import ImageStore
from snellen.training.fine_tuning import TuningPlan
from snellen.training.real_and_synthetic import REAL_SHARE, pooled, term_of_sources

#: Images that are generated at once.
TOGETHER = 32


class GeneratedImages(Treatment):
    """Train on with generated images beside the real ones; a subclass says which images. It needs a generator."""

    stage: ClassVar[Stage] = Stage.FINE_TUNING
    packages = TRAINING

    count: int = Field(100, ge=1, description="generated images of each class or group that was found")
    real_share: float = Field(REAL_SHARE, ge=0, le=1, description="of the real images in the loss (λ)")
    plan: TuningPlan = Field(TuningPlan(), description="numbers of the training")

    @abstractmethod
    def sets(self, patient: Patient, rng: Randomness, progress: Progress) -> Iterator[ImageSet]:
        """Sets of images with labels in classes of any order, with ids that differ between the sets.

        Raises:
            InputError: nothing can be generated.
        """

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Generate, and train on real and generated images together."""
        made = self.made(patient, call.rng.child("images"), call.progress)
        store = ImageStore.of_images(made, patient.classifier.preparation, progress=call.progress)
        examples, flags = pooled(patient.training, store)
        terms, records = [term_of_sources(flags, self.real_share)], [self.record()]
        return trained_on(examples, terms, self.plan, records, network, patient, call)

    def made(self, patient: Patient, rng: Randomness, progress: Progress | None = None) -> ImageSet:
        """The generated images, labelled; those of a patient are made once.

        Args:
            patient: with a generator, and findings that it can make images for.
            rng: of the noise.
            progress: callback that receives progress updates.

        Raises:
            InputError: nothing is drawn in any of them.
        """
        key = f"{self.name} {self.record()}"
        known = patient.remembered.get(key)
        if isinstance(known, ImageSet):
            return known
        with generating_on(str(patient.classifier.device)):
            sets = [one for one in self.sets(patient, rng, progress or Silent()) if len(one)]
            found = [align_labels(one, patient.classifier.class_names) for one in sets]
        if not found:
            raise InputError("the generator draws nothing: every image is blank; name another one, or leave it out")
        patient.remembered[key] = made = replace(join(found, name="synthesized"), split="train")
        return made


def generated(
    method: ByName, requests: Sequence[Mapping[str, Any]], rng: Randomness, progress: Progress
) -> Iterator[ImageSet]:
    """Generate images of requests, those in which nothing is drawn again; see :func:`drawn`."""
    for start in range(0, len(requests), TOGETHER):
        batch = requests[start : start + TOGETHER]
        images, _ = drawn(method, batch, rng)
        yield from images
        progress.advance("generating images", len(batch))


def kinds_of_generated() -> tuple[str, ...]:
    """Kinds of findings that a generator makes images for."""
    loaded = (entry.load() for entry in index.methods("treatments").values())
    return tuple(sorted({kind for one in loaded if issubclass(one, GeneratedImages) for kind in one.treats}))
