"""Images that a generator makes of classes and groups that are served worse, in one training with the real ones.

L = λ · mean over the real images + (1 − λ) · mean over the synthetic ones, in each batch, with λ = 0.8: the mixture of
Kim et al., *DataDream*, ECCV 2024, arXiv 2407.10910 (:mod:`snellen.training.real_and_synthetic`). Images are made by
name (:mod:`snellen.methods.synthesis.by_name`). The training images may lack a class that was found.

Nothing is generated unless the caller names a generator. Whether its images help is decided on validation images, like
any other candidate: a generator may draw something else than the class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.generation.made_images import generating_on
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Manifested, Source
from snellen.methods.treatments.generated_images import GeneratedImages, generated
from snellen.methods.treatments.treatment import Patient
from snellen.models.classifiers.trainable import PreparedNetwork

#: What stands for the name of a group in a prompt.
GROUP = "{group}"


class SynthesizedImages(GeneratedImages):
    """Train on with generated images of the classes and groups that were found, beside the real ones.

    >>> SynthesizedImages().treats
    ('worst_class', 'group_gap')
    """

    name: ClassVar[str] = "synthesized_images"
    treats: ClassVar[tuple[str, ...]] = ("worst_class", "group_gap")
    passes: ClassVar[float] = 20.0

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """No generator, no prompt for what was found, or words that the generator does not know."""
        if patient.generator is None:
            return "needs a generator of images (--generator REF)"
        parts = list(self._parts(patient))
        if not parts:
            return (
                f"needs a prompt that names the group (--prompt 'a photo of a {{}}, {GROUP}')"
                if patient.subjects("group_gap")
                else f"needs a prompt without {GROUP}, for a class (--prompt 'a photo of a {{}}')"
            )
        try:
            with generating_on(str(patient.classifier.device)):
                for method, rows in parts:
                    method.check(rows, Source(tuple(dict.fromkeys(row.label for row in rows))))
        except InputError as error:
            return f"cannot make these images: {error}"
        return None

    def sets(self, patient: Patient, rng: Randomness, progress: Progress) -> Iterator[ImageSet]:
        """Images of each class and group that was found."""
        parts = list(self._parts(patient, seed=rng.seed))
        progress.begin("generating images", sum(len(rows) for _, rows in parts))
        for part, (method, rows) in enumerate(parts):
            source = Source(tuple(dict.fromkeys(row.label for row in rows)))
            requests = [{**method.request(row, source), "id": f"{part}/{row.id}"} for row in rows]
            yield from generated(method, requests, rng, progress)
        progress.finish("generating images")

    def _parts(self, patient: Patient, seed: int = 0) -> Iterator[tuple[ByName, list[Manifested]]]:
        """What is made: classes in one part, each group in its own; those without a prompt are left out."""
        assert patient.generator is not None
        names = patient.classifier.class_names
        poor = patient.subjects("worst_class")
        classes = tuple(name for name in names if name in poor)
        plain = tuple(one for one in patient.generator.templates if GROUP not in one)
        if classes and plain:
            method = patient.generator.model_copy(update={"templates": plain})
            yield method, method.rows(Source(classes), self.count, seed)
        of_groups = tuple(one for one in patient.generator.templates if GROUP in one)
        for group in patient.subjects("group_gap") if of_groups else ():
            prompts = tuple(one.replace(GROUP, group) for one in of_groups)
            method = patient.generator.model_copy(update={"templates": prompts})
            # In turns over the classes.
            yield method, method.rows(Source(tuple(names)), -(-self.count // len(names)), seed)[: self.count]
