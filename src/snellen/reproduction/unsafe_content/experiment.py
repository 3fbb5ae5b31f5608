"""System 29: safety classifiers on photographs, on generated images and under attack, and a policy follower.

Harmless symbols stand for unsafe content (:mod:`snellen.reproduction.unsafe_content.symbols`). The conventional
classifiers are heads on one frozen encoder, which saw photographs and sentences alone, as do their heads, on other
photographs; a further head sees both sources. The policy follower and its rival, a network without a policy, begin with
an encoder that saw both sources, as CLIP did, and all their parts are trained on the same images, in as many steps. All
are measured on the same test images.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.methods.attacks.robust_accuracy import measure_robustness
from snellen.metrics.detection_f1 import f1_of
from snellen.models.encoders.margin_heads import FeatureNetwork, HeadFit, SafetyNetwork, fit_head, published_heads
from snellen.models.encoders.small_alignment import WORDS, Alignment, ImageEncoder, ImageTrunk, word_vector
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.unsafe_content.full import full
from snellen.reproduction.unsafe_content.symbols import POLICY, Source, Symbols, draw_symbols
from snellen.systems.unsafe_content.network import PolicyNetwork, categories_classifier
from snellen.systems.unsafe_content.policy import Policy
from snellen.systems.unsafe_content.safety import CLASSES, ByScores
from snellen.systems.unsafe_content.training import PolicyFit, decisions, fit_policy_network, flips_when_removed

#: Categories that each conventional classifier claims, as many as its original.
CLAIMS: Mapping[str, tuple[str, ...]] = {
    "q16": POLICY.names[:9],
    "multi-headed": POLICY.names[2:7],
    "sd-filter": ("Star",),
    "nsfw-detector": ("Triangle", "Star"),
    "features": POLICY.names,
}


SOURCES: tuple[Source, Source] = ("real", "generated")


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        train: training images of each source; heads see half as many others.
        test: test images of each source.
        epochs: of the contrastive encoders.
        head: numbers of the heads.
        policy: numbers of the policy followers.
        attacked: correctly judged photographs that are attacked.
        steps: of PGD and DeepFool.
        epsilon: size of noise and attacks, L-infinity.
    """

    train: int
    test: int
    epochs: int
    head: HeadFit
    policy: PolicyFit
    attacked: int
    steps: int
    epsilon: float = 2 / 255


SMALL = Size(4400, 880, 6, HeadFit(), PolicyFit(steps=800), 120, 100)
SMOKE = Size(66, 44, 1, HeadFit(epochs=1, batch_size=16), PolicyFit(steps=2), 4, 2)


def unsafe_content(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 29.

    Returns:
        Of each classifier ``NAME.real``, ``NAME.generated`` and ``NAME.both``: F1 on what it claims; ``NAME.gap``: the
        first less the second; ``.balanced`` behind a name or source: the mean of the shares of unsafe and of safe
        images that are judged rightly, which is 0.5 where all get one answer. Of followers ``removed``, ``permuted``
        and ``named``; of two classifiers ``robust.ATTACK``.
    """
    if scale == "full":
        return full(seed, progress)
    return Experiment(SMOKE if scale == "smoke" else SMALL, seed, progress).figures()


unsafe_content.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("as small, with a few images and one pass of everything",),
    "small": (
        "eleven harmless symbols for eleven categories of unsafe content, 48 pixels, two renderers for two sources",
        "convolutional encoders that were trained on sentences about images for CLIP ViT-L/14",
        "a network of 0.4 million parameters for LLaVA-1.5-7B with LoRA, and the categories' words for its prompt",
    ),
    "full": ("UnsafeBench by path and LLaVA-1.5-7B with LoRA; the five further test sets where their paths are given",),
}


class Experiment:
    """One seed, which decides images, weights and draws."""

    def __init__(self, size: Size, seed: int, progress: Progress) -> None:
        self.size, self.rng, self.progress = size, Randomness(seed), progress
        self.real, self.made = (draw_symbols(size.train, source, 3 * seed) for source in SOURCES)
        self.tests = {source: draw_symbols(size.test, source, 3 * seed + 1) for source in SOURCES}

    def figures(self) -> dict[str, Figure]:
        """All figures of a seed."""
        pooled = _joined(self.real, self.made)
        models = self.baselines(*self.encoder(self.real, "photographs")[:2])
        encoder, _, align = self.encoder(pooled, "both sources")
        models["end_to_end"] = self.end_to_end(pooled, encoder)
        start, found = (encoder.trunk, align), dict[str, Figure]()
        for name, model in models.items():
            found |= self._scores(name, model, CLAIMS.get(name, POLICY.names))
        follower = self.follower(pooled, start, self.size.policy)
        without = self.size.policy.model_copy(update={"negatives": False})
        fixed = self.size.policy.model_copy(update={"shuffle": False})
        others = {"without_negatives": self.follower(pooled, start, without)}
        others["fixed_order"] = self.follower(pooled, start, fixed)
        for name, network in {"follower": follower, **others}.items():
            found |= self._policy(name, network)
            found |= self._scores(name, self._follower_model(network, POLICY), POLICY.names)
        attacked = {"features": models["features"], "follower": self._follower_model(follower, POLICY)}
        for name, model in attacked.items():
            found |= self._robust(name, model)
        return found

    # -- models ---------------------------------------------------------------------------------------------------

    def encoder(self, shown: Symbols, name: str) -> tuple[ImageEncoder, nn.Linear, Alignment]:
        """An image encoder that was trained to match images with sentences, as a whole and token by token."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.rng.generator(f"encoder of {name}").initial_seed())
            encoder, words, align = ImageEncoder(), nn.Linear(WORDS, 64), Alignment()
        texts = sorted(set(shown.sentences))
        vectors = torch.stack([word_vector(one) for one in texts])
        targets = torch.tensor([texts.index(one) for one in shown.sentences])
        steps = self.size.epochs * (-(-len(targets) // 64))
        optimiser = torch.optim.AdamW(
            [*encoder.parameters(), *words.parameters(), *align.parameters()], lr=2e-3, weight_decay=1e-4
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps + 1, pct_start=0.15)
        order = self.rng.generator(f"order of {name}")
        for _ in range(self.size.epochs):
            for rows in torch.randperm(len(targets), generator=order).split(64):
                tokens = encoder.trunk(to_unit(shown.images[rows]))
                seen = F.normalize(encoder.pooled(tokens), dim=1)
                # Each image against every sentence: images with one sentence are no negatives of each other.
                scores = 15 * seen @ F.normalize(words(vectors), dim=1).T
                loss = F.cross_entropy(scores, targets[rows])
                loss = loss + F.cross_entropy(15 * align(tokens, vectors), targets[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        return encoder.eval().requires_grad_(False), words.requires_grad_(False), align.requires_grad_(False)

    def baselines(self, encoder: ImageEncoder, words: nn.Linear) -> dict[str, ByScores]:
        """The conventional classifiers, trained on photographs of what they claim; and one trained on both sources."""
        concepts = words(torch.stack([word_vector(POLICY[one].definition) for one in CLAIMS["sd-filter"]]))
        fresh = [draw_symbols(self.size.train // 2, source, 3 * self.rng.seed + 2) for source in SOURCES]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.rng.generator("heads").initial_seed())
            heads = published_heads(64, concepts, len(CLAIMS["multi-headed"]))
            heads |= {"features": FeatureNetwork(64), "features_both": FeatureNetwork(64)}
            found = {}
            for name, head in heads.items():
                claims = CLAIMS.get(name, POLICY.names)
                shown = (_joined(*fresh) if name == "features_both" else fresh[0]).of(claims)
                features = _features(encoder, shown.images)
                several = name == "multi-headed"
                places = torch.tensor([claims.index(one) for one in shown.categories])
                unsafe = torch.tensor(shown.unsafe).long()
                fit_head(
                    head,
                    features,
                    unsafe,
                    heads=places if several else None,
                    fit=self.size.head,
                    rng=self.rng.child(name),
                )
                found[name] = _uniform(SafetyNetwork(encoder, head), name, POLICY.of(claims))
        return found

    def follower(self, shown: Symbols, start: tuple[ImageTrunk, Alignment], fit: PolicyFit) -> PolicyNetwork:
        """A policy follower; all of them begin alike and see the same images."""
        return fit_policy_network(
            shown.images,
            shown.unsafe,
            shown.categories,
            POLICY,
            fit=fit,
            start=start,
            rng=self.rng.child("follower"),
            progress=self.progress,
        )

    def end_to_end(self, shown: Symbols, encoder: ImageEncoder) -> ByScores:
        """A network without a policy that begins with the encoder and is trained as the follower is, in all its parts.

        Args:
            shown: the images of the follower.
            encoder: stays as it is.
        """
        fit = self.size.policy
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.rng.generator("end to end").initial_seed())
            head = nn.Sequential(nn.GELU(), nn.Linear(64, 1), nn.Flatten(0))
        network = SafetyNetwork(copy.deepcopy(encoder).requires_grad_(True), head).train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, fit.learning_rate, total_steps=fit.steps + 1, pct_start=0.15
        )
        truth, order = torch.tensor(shown.unsafe).long(), self.rng.generator("order of the rival")
        for _ in range(fit.steps):
            rows = torch.randint(len(truth), (fit.batch_size,), generator=order)
            loss = F.cross_entropy(network(to_unit(shown.images[rows])), truth[rows])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        return _uniform(network.eval().requires_grad_(False), "end_to_end", POLICY)

    def _follower_model(self, network: PolicyNetwork, policy: Policy) -> ByScores:
        return ByScores(categories_classifier(network, policy), policy)

    # -- figures --------------------------------------------------------------------------------------------------

    def _scores(self, name: str, model: ByScores, claims: Sequence[str]) -> dict[str, Figure]:
        """F1 and balanced accuracy on the images of the claimed categories, for each source and both, and the gap."""
        truth, decided, found = list[bool](), list[bool](), dict[str, Figure]()
        for source, test in self.tests.items():
            shown = test.of(claims)
            outcomes = [one == 1 for part in shown.images.split(128) for one in model.judge(to_unit(part)).outcomes]
            found |= _rates(f"{name}.{source}", shown.unsafe, outcomes)
            truth, decided = [*truth, *shown.unsafe], [*decided, *outcomes]
        found |= _rates(f"{name}.both", truth, decided)
        real, made = found[f"{name}.real"], found[f"{name}.generated"]
        gap = real - made if isinstance(real, float) and isinstance(made, float) else None
        return {**found, f"{name}.gap": gap, f"{name}.balanced": found.pop(f"{name}.both.balanced")}

    def _policy(self, name: str, network: PolicyNetwork) -> dict[str, Figure]:
        """What a follower makes of removed categories and of another order, on the unsafe test images that it finds.

        ``removed`` is the share that is safe without its own category less the share that is safe without another one.
        ``permuted`` is the share of images with the right category whose answer another order leaves.
        """
        both = _joined(*self.tests.values())
        rows = [at for at, bad in enumerate(both.unsafe) if bad]
        images, categories = both.images[rows], [both.categories[at] for at in rows]
        named, safe = flips_when_removed(network, images, categories, POLICY)
        rng = np.random.default_rng(self.rng.generator("permutation").initial_seed())
        lists = [[POLICY.names[at] for at in rng.permutation(len(POLICY))] for _ in categories]
        others = [next(one for one in names if one != own) for names, own in zip(lists, categories, strict=True)]
        control = flips_when_removed(network, images, others, POLICY)[1]
        flips = [float(a) - float(b) for a, b, there in zip(safe, control, named, strict=True) if there]
        whole = [POLICY.names] * len(lists)
        first = _names(decisions(network, images, whole, POLICY), whole)
        second = _names(decisions(network, images, lists, POLICY), lists)
        right = zip(first, second, categories, strict=True)
        stays = [float(after == before) for before, after, own in right if before == own]
        return {
            f"{name}.named": Sample.of([float(one) for one in named]),
            f"{name}.removed": Sample.of(flips) if flips else None,
            f"{name}.permuted": Sample.of(stays) if stays else None,
        }

    def _robust(self, name: str, model: ByScores) -> dict[str, Figure]:
        """Whether each correctly judged photograph stands noise and each attack."""
        test, size = self.tests["real"], self.size
        assert model.classifier is not None
        found = measure_robustness(
            model.classifier,
            to_unit(test.images),
            torch.tensor(test.unsafe).long(),
            [str(at) for at in range(len(test.unsafe))],
            count=size.attacked,
            epsilon=size.epsilon,
            steps=size.steps,
        )
        return {
            f"{name}.robust.{attack}": Sample.of(stands.double().numpy()) if bool(found.finite[attack].all()) else None
            for attack, stands in found.stands.items()
        }


def _rates(name: str, unsafe: Sequence[bool], decided: Sequence[bool]) -> dict[str, Figure]:
    """F1 of unsafe, and balanced accuracy; None where nothing is unsafe, or nothing else."""
    truth, found = np.array(unsafe, dtype=bool), np.array(decided, dtype=bool)
    f1 = f1_of(truth, found)(np.ones(len(truth)))
    both = 0 < truth.sum() < len(truth)
    balanced = float((found[truth].mean() + (~found[~truth]).mean()) / 2) if both else None
    return {name: f1 if truth.any() else None, f"{name}.balanced": balanced}


def _names(decided: Sequence[int], lists: Sequence[Sequence[str]]) -> list[str | None]:
    return [None if one == 0 else names[one - 1] for one, names in zip(decided, lists, strict=True)]


def _joined(*parts: Symbols) -> Symbols:
    return Symbols(
        torch.cat([one.images for one in parts]),
        tuple(bad for one in parts for bad in one.unsafe),
        tuple(name for one in parts for name in one.categories),
        tuple(text for one in parts for text in one.sentences),
        parts[0].source,
    )


@torch.no_grad()
def _features(encoder: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([encoder(to_unit(part)) for part in images.split(256)])


def _uniform(network: nn.Module, name: str, policy: Policy) -> ByScores:
    return ByScores(Classifier(network, class_names=CLASSES, name=name), policy)
