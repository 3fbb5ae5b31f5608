"""System 8: does a generator that was adapted to a few shots make better training images, where its prior is wrong.

The embedded generator was trained on six shapes; of four others it knows the words alone. Classes are these four and
two known ones. Each seed draws its own shots, adapters, images and classifiers. All classifiers are the embedded CLIP
under one recipe and as many updates; what they are trained on differs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.data.class_balance import first_of_each
from snellen.data.files.labels import align_labels
from snellen.data.files.manifest import load_manifest
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.small_world import BACKGROUNDS, COLOURS, WORLD
from snellen.methods.synthesis.by_image import ByImage
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.conditioned import Conditioned
from snellen.methods.synthesis.manifest_rows import Source
from snellen.methods.synthesis.nearness import COPY, nearness, spread_of, thumbnails
from snellen.methods.synthesis.synthesizing import synthesize_into
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.models.dual_encoders.adapted import QUERY_AND_VALUE, AdaptedTowers
from snellen.models.dual_encoders.zero_shot import zero_shot_classifier
from snellen.models.references import load_two_tower
from snellen.reproduction.few_shot_adaptation.full import full
from snellen.reproduction.sample import Figure, Sample
from snellen.runs.settings import Setting
from snellen.systems.few_shot_adaptation.adapting import SMALL as SMALL_FIT
from snellen.systems.few_shot_adaptation.adapting import AdapterFit
from snellen.systems.few_shot_adaptation.few_shot import fit_adapters
from snellen.systems.few_shot_adaptation.shots import few_shots
from snellen.systems.few_shot_adaptation.tuning import adapt_towers
from snellen.training.batches import ImageStore
from snellen.training.plan import TrainingPlan
from snellen.training.real_and_synthetic import pooled
from snellen.training.students import measured

#: Shapes whose words the generator reads and which it never saw, and two that it draws well.
NEW: tuple[Shape, ...] = ("circle", "crescent", "arrow", "hourglass")
KNOWN: tuple[Shape, ...] = ("star", "heart")


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        shots: K.
        made: generated images of each class.
        many: real images of each class for the oracle, and for comparisons.
        test: test images of each class.
        steps: of the sampler.
        updates: of each classifier.
        fit: numbers of the adapters; the one of the set takes as many passes, and half as many checks for a step.
    """

    shots: int
    made: int
    many: int
    test: int
    steps: int
    updates: int
    fit: AdapterFit


SMALL = Size(
    shots=8, made=48, many=80, test=60, steps=12, updates=100,
    fit=SMALL_FIT.model_copy(
        update={
            "learning_rate": 1e-2, "epochs": 120, "most_steps": None, "batch_size": 8, "check_every": 60, "checked": 32
        }
    ),
)  # fmt: skip
SMOKE = Size(
    shots=2, made=2, many=3, test=3, steps=2, updates=1,
    fit=SMALL_FIT.model_copy(update={"most_steps": 1, "check_every": 0, "crops": 1, "rank": 2, "batch_size": 2}),
)  # fmt: skip

#: The recipe of every classifier: LoRA of CLIP, its rate for the small towers.
PLAN = TrainingPlan(epochs=1, batch_size=32, learning_rate=3e-3, weight_decay=1e-4, warmup_steps=3)

#: Training sets by the generator as it is: from the prompts of the adapters; from prompts that vary, as in FakeIt; from
#: the shots, image to image, as in DISEF and IsSynth.
AS_IT_IS: Mapping[str, Conditioned] = {
    "unadapted": ByName(),
    "varied": ByName(templates=tuple(f"a {colour} {{}} on {place}" for colour in COLOURS for place in BACKGROUNDS)),
    "variation": ByImage(),
}


def few_shot_adaptation(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 8.

    Returns:
        Of each training set: ``accuracy`` on all test images, ``new_accuracy`` and ``known_accuracy`` on those of new
        and of known shapes; of each generated set also ``new_recognised`` and ``known_recognised`` by the oracle,
        ``copied`` of each image, and ``feature_distance``; of adapters the ``steps`` that were kept.
    """
    if scale == "full":
        return full(seed, progress)
    with tempfile.TemporaryDirectory() as scratch:
        return Experiment(SMOKE if scale == "smoke" else SMALL, seed, Path(scratch), progress).figures()


few_shot_adaptation.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with two shots, two images of each class and one or two steps of everything",),
    "small": (
        "scenes of 32 pixels with four shapes that the generator never saw and two that it knows, for ten data sets",
        "the embedded scene-diffusion for Stable Diffusion 2.1, 8 shots for 16, 48 images of each class for 500",
        "the embedded scene-clip for CLIP ViT-B/16, 100 updates of 32 images, no augmentation",
    ),
    "full": ("Stable Diffusion 2.1 and CLIP ViT-B/16 by reference, EuroSAT or another data set by reference",),
}


def world(split: Split, per_class: int, seed: int) -> ImageSet:
    """As many scenes of each shape."""
    count = per_class * len(NEW + KNOWN) * 2 + 80
    drawn = WORLD.model_copy(update={"shapes": NEW + KNOWN, "count": count, "nuisance_share": 0.2, "seed": seed})
    return first_of_each(drawn.images(split=split), per_class)


class Experiment:
    """One seed, which decides shots, adapters, images and classifiers; the folder is for adapters and images."""

    def __init__(self, size: Size, seed: int, folder: Path, progress: Progress) -> None:
        self.size, self.seed, self.folder, self.progress = size, seed, folder, progress
        self.steps: dict[str, float] = {}
        self.tower = load_two_tower("bundled:scene-clip")
        self.pool = world("train", size.many, 0)
        self.shots = few_shots(self.pool, size.shots, seed)
        self.test = self.store(world("val", size.test, 0))
        self.classes = self.shots.classes
        self.texts = {name: (f"a {name}",) for name in self.classes}
        self.new = np.isin(np.array(self.classes)[self.test.targets.numpy()], NEW)

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        assert self.shots.images is not None
        real = self.store(self.shots.images)
        fresh = self.store(world("train", self.size.many, 7))
        oracle = self.trained(fresh, torch.zeros(len(fresh), dtype=torch.bool))
        called = zero_shot_classifier(self.tower, self.texts)
        assert called.module is not None
        zero = PreparedNetwork(called.module, *called.normalization).eval()
        figures = {**self.judged("oracle", oracle), **self.judged("zero_shot", zero)}
        figures |= self.judged("real", self.trained(real, torch.zeros(len(real), dtype=torch.bool)))
        sets = self.generated()
        for name, made in sets.items():
            figures |= self.judged(name, self.trained(made, torch.ones(len(made), dtype=torch.bool)))
            if name in (*AS_IT_IS, "class", "set"):
                figures |= self.judged(f"{name}_real", self.trained(*pooled(real, made)))
                figures |= self._drawn(name, made, oracle)
                figures[f"{name}.feature_distance"] = self._distance(made, fresh)
        others = self.store(world("train", self.size.many, 8))
        figures["real.feature_distance"] = self._distance(others, fresh)
        compared = {**{key: sets[key] for key in (*AS_IT_IS, "class", "set")}, "real": others}
        figures |= {f"{name}.steps": steps for name, steps in self.steps.items()}
        return {**figures, **self._copied(compared, real)}

    # -- images ---------------------------------------------------------------------------------------------------

    def generated(self) -> dict[str, ImageStore]:
        """Images of the generator as it is and adapted; parts and permutations of them for curves and controls."""
        size, count = self.size, len(self.classes)
        # Passes over the shots decide the steps, as published: as many as the adapters of all classes take together.
        together = size.fit.model_copy(update={"variant": "set", "check_every": 2 * size.fit.check_every})
        few = few_shots(self.pool, max(size.shots // 2, 1), self.seed)
        found = {name: self.images(name, method, self.shots) for name, method in AS_IT_IS.items()}
        adapted = {"class": (size.fit, self.shots), "set": (together, self.shots), "set_few": (together, few)}
        for name, (fit, shots) in adapted.items():
            found[name] = self.images(name, self.adapted(name, fit, shots), shots)
        own = found["class"]
        per_class = {label: (own.targets == label).nonzero().flatten() for label in range(count)}
        quarter = torch.cat([rows[: max(size.made // 4, 1)] for rows in per_class.values()])
        found["class_quarter"] = ImageStore.of_tensors(own.images[quarter], own.targets[quarter])
        # Adapters and labels that do not belong together: the gain must vanish.
        found["wrong"] = ImageStore.of_tensors(own.images, (own.targets + 1) % count)
        return found

    def adapted(self, name: str, fit: AdapterFit, shots: Source) -> Conditioned:
        """Generation by name, with adapters that are fitted to shots first."""
        method, adapters = ByName(), self.folder / f"{name}-adapters"
        fitted = fit_adapters(method, shots, adapters, fit=fit, seed=self.seed, progress=self.progress)
        self.steps[name] = float(np.mean([one.steps for one in fitted.card.adapters.values()]))
        return method.model_copy(update={"adapter": adapters})

    def images(self, name: str, method: Conditioned, shots: Source) -> ImageStore:
        """A generated set; the method knows the names of the classes, or also the shots."""
        wanted = method.model_copy(update={"steps": self.size.steps})
        made = synthesize_into(
            [Setting(name, wanted)], shots, self.folder / name, count=self.size.made, seed=self.seed, sheet=False,
            progress=self.progress,
        )  # fmt: skip
        return self.store(align_labels(load_manifest(made.manifest), self.classes))

    def store(self, images: ImageSet) -> ImageStore:
        """Images in memory, as the towers take them."""
        return ImageStore.of_images(images, self.tower.preparation)

    def _drawn(self, name: str, made: ImageStore, oracle: nn.Module) -> dict[str, Figure]:
        right = measured(oracle, made).right.astype(float)
        new = np.isin(np.array(self.classes)[made.targets.numpy()], NEW)
        return {
            f"{name}.new_recognised": float(right[new].mean()),
            f"{name}.known_recognised": float(right[~new].mean()),
        }

    def _copied(self, sets: Mapping[str, ImageStore], real: ImageStore) -> dict[str, Figure]:
        shots = thumbnails(to_unit(real.images))
        near = {name: nearness(to_unit(made.images), shots, spread_of(shots)) for name, made in sets.items()}
        return {f"{name}.copied": Sample.of((found < COPY).numpy()) for name, found in near.items()}

    def _distance(self, made: ImageStore, fresh: ImageStore) -> float:
        """Mean over the new classes of the distance of mean features, in CLIP as it is."""
        with torch.no_grad():
            own, other = (self.tower.encode_images(to_unit(one.images)) for one in (made, fresh))
        places = [place for place, name in enumerate(self.classes) if name in NEW]
        found = [(own[made.targets == at].mean(0) - other[fresh.targets == at].mean(0)).norm() for at in places]
        return float(torch.stack(found).mean())

    # -- classifiers ----------------------------------------------------------------------------------------------

    def trained(self, store: ImageStore, synthetic: Tensor) -> nn.Module:
        """CLIP with adapters in both towers, after the same number of updates for every training set."""
        plan, wanted = PLAN.model_copy(update={"seed": self.seed}), self.size.updates * PLAN.batch_size
        rows = torch.arange(wanted) % len(store)
        many = ImageStore.of_tensors(store.images[rows], store.targets[rows])
        rng = Randomness(self.seed).child("classifier")
        network = AdaptedTowers(self.tower, self.texts, QUERY_AND_VALUE, rng)
        with network.acting():
            adapt_towers(network, many, synthetic[rows], plan=plan, class_count=len(self.classes))
            return _Fixed(network)

    def judged(self, name: str, network: nn.Module) -> dict[str, Figure]:
        """Right or wrong on each test image."""
        right = measured(network, self.test).right.astype(float)
        return {
            f"{name}.accuracy": Sample.of(right),
            f"{name}.new_accuracy": Sample.of(right[self.new]),
            f"{name}.known_accuracy": Sample.of(right[~self.new]),
        }


class _Fixed(nn.Module):
    """A trained pair of towers whose adapters always act."""

    def __init__(self, network: AdaptedTowers) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with self.network.acting():
            scores: Tensor = self.network(images)
        return scores
