"""System 4: does a classifier lean less on a background once it saw images that were generated without it.

Stars stand on grass and rings on sand in 95 % of the training images; half of them show a small white or purple circle
that follows nothing. A student is examined on its own training images; what was found teaches one token a class, and
the generator draws images from it. 32 pixels, since the embedded generator draws no more. The seed decides all but the
test images.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.data.files.joining import join
from snellen.data.files.labels import align_labels
from snellen.data.worlds.optotypes.factors import Background
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.small_world import BACKGROUNDS, WORLD
from snellen.data.worlds.planting.planted_defect import uniform_by_id
from snellen.data.worlds.planting.scene_shortcuts import BackgroundShortcut, ObjectShortcut, scenes_of, with_scenes
from snellen.data.worlds.planting.truth import set_column
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Manifested, Source
from snellen.methods.treatments.generated_images import generated
from snellen.methods.treatments.group_robustness import GroupDRO, TrainTwice
from snellen.methods.treatments.treatment import FineTuning, Patient
from snellen.models.classifiers.trainable import last_layer
from snellen.reproduction.language_guided_augmentation.full import full
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.language_guided_augmentation.augmenting import Looked, look, teachable, write_edits
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.systems.language_guided_augmentation.personalising import SMALL as SMALL_TOKENS
from snellen.systems.language_guided_augmentation.personalising import TokenFit, personalised
from snellen.training.batches import ImageStore
from snellen.training.evaluation import layer_inputs
from snellen.training.feature_reweighting import DFR, Features, reweighted
from snellen.training.fine_tuning import TuningPlan, fine_tune
from snellen.training.students import StudentPlan, as_classifier, measured, store_to_measure, train_student
from snellen.training.transforms import in_sequence, random_flips, random_resized_crops

CLASSES, GROUNDS = ("star", "ring"), ("grass", "sand")

#: Baselines that are trained on with and without generated images.
TREATMENTS: Mapping[str, FineTuning] = {"group_dro": GroupDRO(), "jtt": TrainTwice()}


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        train: training images.
        test: test images, and half as many to validate with; both backgrounds are as common for either class.
        made: generated images of each class.
        steps: of the sampler.
        updates: of each student, and steps of each fine-tuning.
        fit: numbers of the tokens.
        dfr: numbers of DFR.
        support: images that a phrase needs.
        stand_ins: training images that stand for edits where nothing flips, after two updates for instance; a figure of
            such a run measures nothing. 0: what depends on edits is not measured then.
    """

    train: int
    test: int
    made: int
    steps: int
    updates: int
    fit: TokenFit
    dfr: DFR
    support: int = 5
    stand_ins: int = 0


SMALL = Size(train=600, test=800, made=100, steps=12, updates=120, fit=SMALL_TOKENS, dfr=DFR())
SMOKE = Size(
    train=24, test=16, made=2, steps=1, updates=2, fit=SMALL_TOKENS.model_copy(update={"steps": 1, "batch_size": 2}),
    dfr=DFR(costs=(1.0,), weights=(1.0,), fits=1, steps=2), support=1,
    stand_ins=10,
)  # fmt: skip

#: Networks and fits that depend on generated images.
GENERATED = ("generated", "by_name", "edited", "random", "group_dro_generated", "jtt_generated", "jtt_by_name",
             "dfr_generated")  # fmt: skip


def language_guided_augmentation(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 4.

    Returns:
        ``shortcut.beyond`` and ``harmless.beyond``, for each image whether an edit alone flips its decision; ``first``
        and ``last``, shares of classes whose own background ranks first, and before all harmless objects;
        ``erm.found`` and ``oracle.found``, phrases that are significant; ``drawn``, whether a judge recognises each
        generated image, ``generated.off_ground`` and ``by_name.off_ground``, whether another judge sees another
        background than the class's own in it, and ``probe.right``, whether that judge is right about test images; and
        of each training ``worst``, ``mean`` and ``conflicting``. None is what there was nothing to measure with.
    """
    if scale == "full":
        return full(seed, progress)
    with tempfile.TemporaryDirectory() as scratch:
        return Experiment(SMOKE if scale == "smoke" else SMALL, seed, Path(scratch), progress).figures()


language_guided_augmentation.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with 24 images and one or two steps of everything",),
    "small": (
        "600 scenes of two shapes, 32 pixels, for Waterbirds, CelebA, SpuCo Dogs and Hard ImageNet",
        "captions of the scenes read by rules for GIT and GPT-4; scenes drawn anew for Grounding DINO, SAM, LaMa and "
        "InstructPix2Pix",
        "the embedded scene-diffusion for Stable Diffusion 1.4, one trial of 300 steps for eight of 1,000",
        "the embedded small CNN, 120 updates from scratch, for ResNet-50",
    ),
    "full": ("Waterbirds or another data set with groups, Stable Diffusion 1.4 and detectors, all by reference",),
}


def world(
    split: Split, count: int, strength: float, seed: int, backgrounds: tuple[Background, ...] | None = None
) -> ImageSet:
    """Scenes with the background of the class in a share of them; ``group`` is the background.

    With ``backgrounds``, it is one of these, drawn without regard to the class, and ``strength`` counts for nothing.
    """
    drawn = WORLD.model_copy(
        update={"count": count, "shapes": CLASSES, "backgrounds": backgrounds or GROUNDS, "captions": True,
                "nuisance_share": 0.0, "seed": seed}
    )  # fmt: skip
    ground = BackgroundShortcut(backgrounds=GROUNDS, strength=strength, touch_test=True)
    images = with_circles(drawn.images(split=split), Randomness(seed))
    images = images if backgrounds else ground.plant(images, rng=Randomness(seed + 1))
    grounds = [Scene.from_json(str(one)).background for one in images.column("attributes")]
    return replace(images, table=set_column(images.table, "group", pa.array(grounds, pa.string())))


def with_circles(images: ImageSet, rng: Randomness) -> ImageSet:
    """The scenes, half of them with a white or a purple circle in a corner.

    The embedded generator draws no second object. Were the circle in every scene, its absence would part generated
    images from real ones, and the student could keep to the background wherever it sees a circle.
    """
    circle = ObjectShortcut(colours=("white", "purple"), correlation="neutral", radius=0.15)
    scenes = scenes_of(images)
    names, ids = images.class_names or (), images.ids
    changed, _ = circle.on_scenes(scenes, images.labels, class_names=names, ids=ids, rng=rng)
    shown = uniform_by_id(rng, ids, "circle") < 0.5
    return with_scenes(
        images, [one if circled else plain for circled, one, plain in zip(shown, changed, scenes, strict=True)]
    )


def pairs(images: ImageSet) -> torch.Tensor:
    """The group of each image: pair of class and background, int64 (n,)."""
    return torch.tensor([
        2 * label + GROUNDS.index(str(group))
        for label, group in zip(images.labels.tolist(), images.column("group"), strict=True)
    ])  # fmt: skip


def grounds_of(images: ImageSet) -> torch.Tensor:
    """Number of the background of each image among all backgrounds, int64 (n,)."""
    return torch.tensor([BACKGROUNDS.index(str(group)) for group in images.column("group")])


class Experiment:
    """One seed; the folder is for edits, tokens and images."""

    def __init__(self, size: Size, seed: int, folder: Path, progress: Progress) -> None:
        self.size, self.seed, self.folder, self.progress = size, seed, folder, progress
        self.train = world("train", size.train, 0.95, 10 * seed)
        self.balanced = world("train", size.train, 0.5, 10 * seed + 3)
        self.val, self.test = world("val", size.test // 2, 0.5, 10 * seed + 5), world("val", size.test, 0.5, 7)
        self.plan = StudentPlan(amount=size.updates)
        self.tested, self.groups = store_to_measure(self.test, self.plan), pairs(self.test)
        self.check = Shortcuts(most=None, support=size.support)

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        erm, oracle = self.student(self.train), self.student(self.balanced)
        found, clean = self.looked(erm), self.looked(oracle)
        figures = {**self.discovered(found), "erm.found": self.significant(found)}
        figures["oracle.found"] = self.significant(clean)
        edits = write_edits(found, self.folder / "edits", {})
        networks = {"erm": erm, "oracle": oracle}
        for name, treatment in TREATMENTS.items():
            networks[name] = self.tuned(treatment, erm, self.train)
        figures |= self.judged("dfr", self.reweighted(erm, None))
        taught, few = (None, []) if edits is None else teachable(edits, CLASSES, "generated from their names")
        if taught is None and self.size.stand_ins:
            edits, few = self.train.select(range(self.size.stand_ins)), []
            taught = Source.of_images(edits)
        if edits is None or taught is None:
            figures |= dict.fromkeys(("drawn", "generated.off_ground", "by_name.off_ground", "probe.right"))
            figures |= {f"{name}.{kind}": None for name in GENERATED for kind in ("worst", "mean", "conflicting")}
        else:
            made, plain = self.both(taught, few)
            figures["drawn"] = Sample.of(measured(oracle, self.store(made)).right.astype(float))
            figures |= self.grounds({"generated": made, "by_name": plain})
            own = self.bare(edits, "edited/")
            # What edits alone a class has when they are too few for a token goes into both.
            rest = own.select([row for row, label in enumerate(own.labels.tolist()) if CLASSES[label] in few])
            sets = {
                "generated": self.with_train(made, rest),
                "by_name": self.with_train(plain, rest),
                "edited": self.with_train(own),
            }
            networks |= {name: self.student(one) for name, one in sets.items()}
            networks["random"] = self.student(self.train, again=len(made) + len(rest))
            for name, treatment in TREATMENTS.items():
                networks[f"{name}_generated"] = self.tuned(treatment, erm, sets["generated"])
            networks["jtt_by_name"] = self.tuned(TREATMENTS["jtt"], erm, sets["by_name"])
            figures |= self.judged("dfr_generated", self.reweighted(erm, made))
        for name, network in networks.items():
            figures |= self.judged(name, torch.from_numpy(measured(network, self.tested).right))
        return figures

    # -- discovery -------------------------------------------------------------------------------------------------

    def looked(self, network: nn.Module) -> Looked:
        """What the decisions of a student on its training images lean on."""
        classifier = as_classifier(network, self.plan, CLASSES, "student")
        return look(classifier, self.train, self.check, Randomness(self.seed).child("looking"), Silent())

    def discovered(self, looked: Looked) -> dict[str, Figure]:
        """Flips beyond controls of each class's own background and of circles, and whether these rank behind it."""
        leans = {} if looked.found is None else looked.found.leans
        values: dict[str, list[float]] = {"shortcut": [], "harmless": []}
        first, last = list[bool](), list[bool | None]()
        for label, of in leans.items():
            phrases = [one.phrase for one in of if one.supported]
            circles = [place for place, phrase in enumerate(phrases) if phrase not in GROUNDS]
            own = phrases.index(GROUNDS[label]) if GROUNDS[label] in phrases else len(phrases)
            first.append(own == 0)
            # Without a harmless object that was examined, there is none to rank behind the background.
            last.append(all(place > own for place in circles) if circles else None)
            for one in of:
                kind = "shortcut" if one.phrase == GROUNDS[label] else "harmless" if one.phrase not in GROUNDS else None
                if one.supported and kind is not None:
                    values[kind] += one.lost().values()
        beyond = {f"{name}.beyond": Sample.of(found) if found else None for name, found in values.items()}
        known = [one for one in last if one is not None]
        return {
            **beyond,
            "first": sum(first) / len(CLASSES) if leans else None,
            "last": sum(known) / len(known) if len(known) == len(CLASSES) else None,
        }

    @staticmethod
    def significant(looked: Looked) -> float | None:
        """Phrases with a p value below 5 % by Bonferroni's correction; None where none was tested."""
        tested = [] if looked.found is None else looked.found.tested
        if not tested:
            return None
        return float(sum(one.p_value() < 0.05 / len(tested) for one in tested))

    # -- images and networks ---------------------------------------------------------------------------------------

    def both(self, taught: Source, few: Sequence[str]) -> tuple[ImageSet, ImageSet]:
        """Images from tokens, and as many from names: the same template, guidance, steps and noise."""
        method = ByName(steps=self.size.steps)
        asking = personalised(
            method, taught, self.folder / "tokens", fit=self.size.fit, plain=few, seed=self.seed,
            progress=self.progress,
        )  # fmt: skip
        source = Source(CLASSES)
        rows = asking.rows(source, self.size.made, self.seed)
        (template,) = asking.templates
        named = asking.model_copy(update={"words": {}, "adapter": None})
        plain = [replace(row, prompt=named.filled(template, row.label)) for row in rows]
        return self.images(asking, rows, source), self.images(named, plain, source)

    def images(self, method: ByName, rows: Sequence[Manifested], source: Source) -> ImageSet:
        """Generated images of rows, in the classes of the real ones."""
        requests = [method.request(row, source) for row in rows]
        self.progress.begin("generating images", len(requests))
        parts = [one for one in generated(method, requests, Randomness(self.seed), self.progress) if len(one)]
        self.progress.finish("generating images")
        return join([self.bare(align_labels(one, CLASSES)) for one in parts])

    def grounds(self, sets: Mapping[str, ImageSet]) -> dict[str, Figure]:
        """Whether another background than the class's own is seen in each image, by a judge of all backgrounds.

        The judge is trained on scenes in which background and class are independent.
        """
        scenes = world("train", self.size.train, 0.5, 10 * self.seed + 8, BACKGROUNDS)
        store, test = self.store(scenes), store_to_measure(self.test, self.plan)
        assert isinstance(test, ImageStore), "small images are kept in memory"
        probe = train_student(replace(store, targets=grounds_of(scenes)), self.plan, len(BACKGROUNDS), self.seed)
        found: dict[str, Figure] = {
            "probe.right": Sample.of(measured(probe, replace(test, targets=grounds_of(self.test))).right.astype(float))
        }
        own = torch.tensor([BACKGROUNDS.index(ground) for ground in GROUNDS])
        for name, images in sets.items():
            asked = self.store(images)
            seen = measured(probe, replace(asked, targets=own[asked.targets])).right
            found[f"{name}.off_ground"] = Sample.of(1.0 - seen)
        return found

    def with_train(self, *added: ImageSet) -> ImageSet:
        """The training images and others, which are a group of their own in each class."""
        named = [
            replace(one, table=set_column(one.table, "group", pa.array(["generated"] * len(one), pa.string())))
            for one in added
            if len(one)
        ]
        return join([self.bare(self.train), *named])

    @staticmethod
    def bare(images: ImageSet, prefix: str = "") -> ImageSet:
        """Images with id, label, split and group alone, so that sets can be joined."""
        kept = images.table.select([name for name in ("id", "label", "group") if name in images.table.column_names])
        kept = set_column(kept, "id", pa.array([f"{prefix}{one}" for one in images.ids]))
        return align_labels(replace(images, table=kept, split="train"), CLASSES)

    def store(self, images: ImageSet) -> ImageStore:
        """Images in memory."""
        return ImageStore.of_images(images, self.plan.preparation)

    def student(self, images: ImageSet, again: int = 0) -> nn.Module:
        """A student of the same recipe and number of updates; ``again`` of its images also come changed at random."""
        store = self.store(images)
        if again:
            rng = Randomness(self.seed).child("random")
            rows = torch.randint(len(store), (again,), generator=rng.generator("rows"))
            change = in_sequence(random_resized_crops(), random_flips)
            changed, _ = change(to_unit(store.images[rows]), store.targets[rows], rng.bind(again))
            pixels = torch.cat([store.images, (changed * 255).round().byte()])
            store = ImageStore.of_tensors(pixels, torch.cat([store.targets, store.targets[rows]]))
        return train_student(store, self.plan, len(CLASSES), self.seed)

    def tuned(self, treatment: FineTuning, network: nn.Module, images: ImageSet) -> nn.Module:
        """A student that is trained on by a treatment; its own training is the first of JTT."""
        store = self.store(images)
        classifier = as_classifier(network, self.plan, CLASSES, "student")
        patient = Patient(classifier, (), store, store, images)
        rng = Randomness(self.seed).child(treatment.name)
        plan = TuningPlan(steps=self.size.updates, batch_size=self.plan.batch_size)
        own = copy.deepcopy(network).requires_grad_(True)  # a classifier freezes what it is given
        return fine_tune(own, store, [treatment.term(patient, rng=rng)], plan=plan, rng=rng)

    def reweighted(self, network: nn.Module, added: ImageSet | None) -> torch.Tensor:
        """Whether DFR decides rightly on each test image, bool (n,)."""
        layer = last_layer(network, self.tested.read(torch.arange(8))[0].float() / 255)
        assert layer is not None, "a student ends in a linear layer"

        def features(images: ImageSet, groups: bool = True) -> Features:
            store = store_to_measure(images, self.plan)
            targets = torch.from_numpy(images.labels)
            return Features(layer_inputs(layer, network, store), targets, pairs(images) if groups else None)

        test = features(self.test)
        fitted = reweighted(
            features(self.train), features(self.val), classes=len(CLASSES), plan=self.size.dfr,
            added=None if added is None else features(added, groups=False), rng=Randomness(self.seed).child("dfr"),
        )  # fmt: skip
        return fitted.predict(test) == test.targets

    def judged(self, name: str, right: torch.Tensor) -> dict[str, Figure]:
        """Accuracy of the worst group, mean over groups, and decisions on images of the other class's background."""
        by_group = [float(right[self.groups == group].double().mean()) for group in self.groups.unique()]
        conflicting = (self.groups == 1) | (self.groups == 2)
        return {
            f"{name}.worst": min(by_group),
            f"{name}.mean": float(np.mean(by_group)),
            f"{name}.conflicting": Sample.of(right[conflicting].double().numpy()),
        }
