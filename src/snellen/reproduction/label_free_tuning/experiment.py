"""System 35, NoLA: is a text–image model that is tuned to unlabelled images better than by its descriptions alone.

On scenes under noise, which the embedded text–image model was not fitted to, and on captioned cut-outs, with a
model that is made here of what there is. The teacher's encoder is an ImageNet classifier without its head: it has no
words, no text–image training and no label of these images, but labels of others, where DINO has none.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.system import Scale
from snellen.models.classifiers.references import load_classifier
from snellen.models.dual_encoders.zero_shot import TEMPLATE
from snellen.models.encoders.feature_store import frozen_features
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.references import load_encoder
from snellen.models.encoders.sentence_encoder import load_text_encoder
from snellen.models.references import load_two_tower
from snellen.reproduction.label_free_tuning.arms import Setting, Study
from snellen.reproduction.label_free_tuning.caption_towers import fit_caption_towers, imagenet_scores, named_vectors
from snellen.reproduction.label_free_tuning.cutouts import LARGE, SENTENCES, Cutouts, load_cutouts
from snellen.reproduction.label_free_tuning.noisy_scenes import all_sentences, noisy_scenes
from snellen.reproduction.label_free_tuning.scales import full, smoke
from snellen.systems.label_free_tuning.tuning import TUNING_PLAN, StrongView
from snellen.training.batches import ImageStore

#: The teacher's encoder sees images of 128 pixels, which is faster than its own 224.
ENCODER = "bundled:efficientnet-lite0"

COLLECTED, TESTED = 1500, 800

#: A scene of 32 pixels holds one object: crops that cut it, and a blur of pixels of 224, would leave nothing to see.
VIEW = StrongView(smallest_crop=0.5, blur=(0.1, 0.5))

#: The paper's numbers but for length and batch: its collections have more images.
SCENE_PLAN = TUNING_PLAN.model_copy(update={"epochs": 6, "batch_size": 128})
CUTOUT_PLAN = TUNING_PLAN.model_copy(update={"epochs": 30, "batch_size": 64})

PROMPTS, MORE_PROMPTS = 4, 16


def label_free_tuning(scale: Scale, seed: int, progress: Progress) -> Mapping[str, float]:
    """Measure the claims of system 35.

    Returns:
        Of ``scenes`` and ``cutouts``: accuracies of names, description, teacher, ``nola`` (``nola.agreeing`` and
        ``nola.oracle`` at other epochs), ``clip_teacher``, linear_probe and few_shot; precision of the chosen images.
        Of scenes, the ablations ``share_05``, ``share_50``, ``prompts_0``, ``prompts_16``, ``frozen_norms`` and
        ``global``.
    """
    if scale == "smoke":
        return smoke(seed, progress)
    if scale == "full":
        return full(seed, progress)
    classifier = imagenet_classifier()
    encoder = load_encoder(classifier)
    scenes = Study(scene_setting(encoder, seed), progress)
    figures = {f"scenes.{name}": value for name, value in {**scenes.main_arms(), **ablations(scenes)}.items()}
    cutouts = Study(cutout_setting(classifier, encoder, seed), progress)
    return figures | {f"cutouts.{name}": value for name, value in cutouts.main_arms().items()}


label_free_tuning.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("CLIP ViT-B/32 and DINO ViT-B/16 in their shapes with random weights; two random images",),
    "small": (
        "the embedded text-image model of scenes, a vision transformer of 32 pixels, for CLIP; 1,500 scenes "
        "under noise, which it was not fitted to, for a collection, 800 others to test",
        "EfficientNet-Lite0 without its head, at 128 pixels, for DINO: it learned labels of ImageNet, none of these",
        "sentences made of the caption grammar, or written by hand, for those of GPT-3.5",
        "cut-outs: an image side trained here on the captions of other cut-outs and on what EfficientNet-Lite0 sees on "
        "them, into the sentences of MiniLM, for CLIP; the collection is judged itself, about 250 cut-outs",
        "6 or 30 epochs in batches of 128 or 64, 4 tokens, for 50 in batches of 512 and 16",
    ),
}


def ablations(study: Study) -> dict[str, float]:
    """Other shares of images, numbers of tokens, norms that stay, and a selection over all classes."""
    taught = study.teaching()
    shares = {name: study.teaching(share) for name, share in (("share_05", 0.05), ("share_50", 0.5))}
    overall = study.global_labels(taught)
    found = {f"{name}.teacher": study.judged(one)["teacher.on_collection"] for name, one in shares.items()}
    return {
        **found,
        "global.teacher": float((overall == study.setting.known).double().mean()),
        **{f"{name}.accuracy": study.student(one.labels) for name, one in shares.items()},
        "global.accuracy": study.student(overall),
        "prompts_0.accuracy": study.student(taught.labels, prompts=0),
        f"prompts_{MORE_PROMPTS}.accuracy": study.student(taught.labels, prompts=MORE_PROMPTS),
        "frozen_norms.accuracy": study.student(taught.labels, norms=False),
    }


def imagenet_classifier() -> Classifier:
    """EfficientNet-Lite0 at 128 pixels."""
    square = Preprocessing(size=(LARGE, LARGE), resize="exact", resize_to=(LARGE, LARGE), interpolation="bicubic")
    return load_classifier(ENCODER, preparation=square)


def scene_setting(encoder: FrozenEncoder, seed: int, *, collected: int = COLLECTED, tested: int = TESTED) -> Setting:
    """Scenes under noise."""
    tower = load_two_tower("bundled:scene-clip")
    texts = {name: (*sentences, TEMPLATE.replace("{}", name)) for name, sentences in all_sentences(seed).items()}
    world = noisy_scenes(collected, seed)
    collection = world.images(split="train")
    judged = world.model_copy(update={"count": tested}).images(split="val")
    assert collection.class_names == tuple(texts)

    def seen(images: ImageSet) -> tuple[ImageStore, Tensor]:
        store = ImageStore.of_images(images.unlabelled(), tower.preparation)
        return store, frozen_features(images.unlabelled(), encoder).features

    store, features = seen(collection)
    tested_store, tested_features = seen(judged)
    return Setting(
        tower=tower,
        texts=texts,
        images=store,
        features=features,
        tested=tested_store.images,
        tested_features=tested_features,
        truth=torch.from_numpy(judged.labels),
        known=torch.from_numpy(collection.labels),
        view=VIEW,
        plan=SCENE_PLAN.model_copy(update={"seed": seed}),
        prompts=PROMPTS,
        least=16,
        seed=seed,
    )


def cutout_setting(classifier: Classifier, encoder: FrozenEncoder, seed: int) -> Setting:
    """Cut-outs, which are judged themselves: they are few, and no label of them is read before."""
    told, collection = load_cutouts(seed)
    sentences = load_text_encoder("minilm")
    named = sentences.encode([TEMPLATE.replace("{}", name.split(",")[0]) for name in classifier.class_names])
    centre = named.mean(0)
    seen = named_vectors(imagenet_scores(classifier, told.large), named - centre)
    tower = fit_caption_towers(told.small, told.captions, seen, sentences, centre, seed=seed)
    features = _encoded(encoder, collection)
    ids = tuple(str(number) for number in range(len(collection)))
    return Setting(
        tower=tower,
        texts={name: (*of, TEMPLATE.replace("{}", name)) for name, of in SENTENCES.items()},
        images=ImageStore.of_tensors(collection.small, torch.full((len(collection),), -1), ids=ids),
        features=features,
        tested=collection.small,
        tested_features=features,
        truth=collection.groups,
        known=collection.groups,
        view=VIEW,
        plan=CUTOUT_PLAN.model_copy(update={"seed": seed}),
        prompts=PROMPTS,
        least=8,
        seed=seed,
    )


def _encoded(encoder: FrozenEncoder, cutouts: Cutouts) -> Tensor:
    return torch.cat([encoder.encode(to_unit(part)) for part in cutouts.large.split(32)])
