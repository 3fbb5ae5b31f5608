"""Settings under which each method takes a moment, and what it is run on: one row for each method of the index.

A value that is a function is called with a folder in which it may write what it names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from safetensors.torch import save_file

from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.planting.truth import set_column
from snellen.data.worlds.slides.slides import Slides
from snellen.data.worlds.solids.solid_set import Solids
from snellen.data.worlds.textures.textures import Textures
from snellen.methods.smoothing.branches import SmoothedNetwork
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.treatments.treatment import Patient
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.models.random_folders import write_random_clip
from snellen.models.residual_denoiser import ResidualDenoiser, architecture
from snellen.systems.concept_bottleneck.recipe import ConceptBottleneckRecipe
from snellen.systems.label_maps.annotating import annotate
from snellen.systems.perception.layer import PerceptualLayer
from snellen.systems.perception.perceptualized import PerceptualizedNetwork
from snellen.systems.perception.perceptualized import architecture as perceptualized
from snellen.testing.auditing import labelled_images
from snellen.testing.conformance import small_problem
from snellen.testing.treating import small_patient
from tests.data.worlds.glowing_objects import GlowingObjects, reader
from tests.systems.edited_regions.parts import made_set, save_detector
from tests.systems.label_maps.annotators import colour_annotator
from tests.systems.language_guided_augmentation.leaning import leaning_patient
from tests.systems.natural_transformations.parts import patient_of, save_pair
from tests.systems.perturbation_estimation.denoisers import save_denoiser
from tests.systems.smooth_inversion import toy_models
from tests.systems.text_image_to_video.small_videos import model as video_model

Value = Any | Callable[[Path], Any]


@dataclass(frozen=True)
class Row:
    """Parameters of the method, and arguments of the conformance check of its verb."""

    parameters: Mapping[str, Value] = field(default_factory=dict)
    given: Mapping[str, Value] = field(default_factory=dict)


def resolved(values: Mapping[str, Value], folder: Path) -> dict[str, Any]:
    """Values with functions replaced by what they make in the folder."""
    return {name: value(folder) if callable(value) else value for name, value in values.items()}


# -- what rows need ----------------------------------------------------------------------------------------------------


@cache
def clip(folder: Path) -> str:
    """A text-image model of random weights."""
    return f"hf:{write_random_clip(folder / 'clip')}"


@cache
def second_clip(folder: Path) -> str:
    """Another one."""
    return f"hf:{write_random_clip(folder / 'second-clip', image_size=24, seed=1)}"


def phrases(folder: Path) -> str:
    """A file of concepts."""
    path = folder / "concepts.json"
    path.write_text(json.dumps({"colour": ["red", "blue"], "thing": ["a star", "a ring"]}), encoding="utf-8")
    return str(path)


@cache
def denoiser(folder: Path) -> str:
    """An artifact that gives images back as they are."""
    save_denoiser(folder / "denoiser", ResidualDenoiser(depth=2, width=1), architecture(2, 1), size=toy_models.SIDE)
    return f"artifact:{folder / 'denoiser'}"


@cache
def style_generator(folder: Path) -> str:
    """A style generator with its encoder, of random weights, for the images of a small patient."""
    save_pair(folder / "pair")
    return str(folder / "pair")


def square_patient(_: Path) -> Patient:
    """A patient whose images have a size that a style generator makes."""
    return patient_of(Finding(kind="group_gap", subject="two", harm=0.3, title="planted"))


@cache
def edited(folder: Path) -> ImageSet:
    """A made set of edited images, to fit to."""
    made_set(folder / "edited", 8)
    return load_images(folder / "edited" / "fitting.csv")


def quiet_detector(folder: Path) -> str:
    """A detector that calls no pixel edited: one with its first weights has every image outside its scope."""
    save_detector(folder / "quiet", finds=False)
    return str(folder / "quiet")


@cache
def edits_detector(folder: Path) -> str:
    """A detector of edited regions with its first weights."""
    save_detector(folder / "edits")
    return str(folder / "edits")


@cache
def blobs(count: int = 16, side: int = 28) -> ImageSet:
    """Reddish and bluish noise in two classes."""
    labels = np.arange(count) % 2
    pixels = np.random.default_rng(0).integers(0, 120, (count, side, side, 3))
    pixels[labels == 0, ..., 0] += 100
    pixels[labels == 1, ..., 2] += 100
    return load_arrays(pixels.astype(np.uint8), labels, class_names=["warm", "cold"], name="blobs")


@cache
def concept_classifier(folder: Path) -> Classifier:
    """A classifier that decides by concepts."""
    recipe = ConceptBottleneckRecipe(tower=clip(folder), concepts=phrases(folder), penalty=0.01)
    recipe.fit(blobs(), rng=Randomness(0)).save(folder / "concept-classifier")
    return load_classifier(f"artifact:{folder / 'concept-classifier'}")


def concept_images(folder: Path) -> torch.Tensor:
    """What it sees."""
    classifier = concept_classifier(folder)
    return torch.stack([classifier.prepare(blobs().read(row)) for row in range(6)])


def perceiving(_: Path) -> Classifier:
    """A classifier behind an autoencoder of random weights, for grey images of 8 pixels."""
    record = perceptualized(
        {"kind": "perceptron", "width": 4, "side": 8, "channels": 1},
        PerceptualLayer(copies=1, steps=4, strength=0.0),
        {"name": "perceptron", "class_count": 2, "side": 8},
    )
    record.pop("name")
    torch.manual_seed(0)
    return Classifier(PerceptualizedNetwork(**record).eval(), class_names=["a", "b"], name="seen")


def label_maps(folder: Path) -> str:
    """Maps of an annotator that sees colours."""
    annotator = colour_annotator(names=("red", "blue"))
    annotator.class_names = blobs().class_names or ()
    return str(annotate(blobs(), annotator, folder / "maps", kept=2).folder)


def prompts(folder: Path, colours: Sequence[str] = ("red", "blue", "green"), name: str = "all") -> str:
    """A file of prompts, on which an autoencoder is fitted."""
    path = folder / f"{name}.txt"
    path.write_text("\n".join(f"a {c} {s}" for c in colours for s in ("star", "ring", "box")), encoding="utf-8")
    return str(path)


def kept_prompts(folder: Path) -> str:
    """Those that must stay as they are."""
    return prompts(folder, ("blue", "green"), "kept")


@cache
def generator(folder: Path) -> str:
    """A Stable Diffusion of random weights."""
    return f"diffusers:{write_smoke_folder('stable-diffusion-1.5', folder / 'generator')}"


def pictures(_: Path) -> list[dict[str, Any]]:
    """Requests of captions."""
    scenes = Scenes(count=3, size=32).images(split="train")
    return [{"id": f"image-{row}", "image": scenes.read(row)} for row in range(3)]


@cache
def slides(_: Path) -> ImageSet:
    """Bags of tiles, to learn from and to choose by."""
    world = Slides(count=4, tiles_across=6, tile_size=32, positive_rate=0.4, seed=3)
    return join([world.images(split="train"), world.images(split="val")])


def views(_: Path) -> ImageSet:
    """Views of solids."""
    return Solids(classes=("mug", "car"), objects=2, views=2, size=16, shadow=False).images(split="train")


def squares(_: Path) -> ImageSet:
    """Tiny grey drawings of two classes."""
    drawn = np.zeros((6, 8, 8), dtype=np.uint8)
    drawn[::2, :, :4], drawn[1::2, :4] = 200, 200
    return load_arrays(drawn, [0, 1] * 3, class_names=["left", "top"], name="squares")


def garments(_: Path) -> ImageSet:
    """Training images of Fashion-MNIST's classes."""
    images = load_images("bundled:fashion-mnist").limit(24)
    pixels = np.stack([np.asarray(images.read(row)) for row in range(len(images))])
    return load_arrays(pixels, images.labels, class_names=images.class_names, name="garments")


# -- the tables --------------------------------------------------------------------------------------------------------

#: An attack in a norm ball is run in four of them besides.
ATTACKS = {
    "apgd": Row({"steps": 8, "target_classes": 3}),
    "carlini_wagner_l0": Row({"steps": 8, "share": 2.0, "weight_factor": 100.0}),
    "carlini_wagner_l2": Row({"steps": 8, "searches": 3}),
    "carlini_wagner_linf": Row({"steps": 8, "weight_factor": 10.0}),
    "cospgd": Row({"steps": 8}),
    "deepfool": Row({"steps": 8, "target_classes": 3}),
    "fab": Row({"steps": 8, "target_classes": 3}),
    "feature_guided_search": Row({"queries": 60}),
    "fgsm": Row(),
    "hop_skip_jump": Row({"budget": 200}),
    "pgd": Row(),
    "randomized_ensemble": Row({"steps": 8}),
    "representation_transfer": Row({"steps": 8}),
    "saliency_map": Row(),
    "segpgd": Row({"steps": 8}),
    "square": Row({"queries": 60}),
    "standard_ensemble": Row({"steps": 8, "queries": 60, "target_classes": 3}),
    "transfer": Row(),
    "viewpoint_attack": Row(
        {"components": 2, "popsize": 5, "iterations": 2, "samples": 8},
        {
            "classifier": lambda _: reader(),
            "renderer": lambda _: GlowingObjects(("light-1", "dark-1", "light-2")),
            "objects": ("light-1", "dark-1", "light-2"),
            "labels": torch.tensor([1, 0, 1]),
        },
    ),
}

SHIFTS = {"attribute_editing": Row(), "corruption": Row()}

CERTIFICATES = {
    "dual_smoothing": Row({"sigma": 0.1, "selection": 10, "samples": 100, "view": "zeros"}),
    "smoothing": Row({"sigma": 0.1, "selection": 10, "samples": 100}),
}

EXPLANATIONS = {
    "concept_card": Row({"shown": 2}, {"classifier": concept_classifier, "images": lambda _: blobs()}),
    "concept_contributions": Row({}, {"classifier": concept_classifier, "images": concept_images}),
    "grad_cam": Row(),
    "gradient": Row(),
    "integrated_gradients": Row(),
    "neuron_descriptions": Row(
        {"layer": ("0",), "units": 3, "exemplars": 3, "beams": 2, "length": 6, "shown": 2},
        {"classifier": lambda _: small_problem()[0], "images": lambda _: toy_models.image_set(12)},
    ),
    "occlusion": Row(),
    "partition_shap": Row({"budget": 30}),
    "perception": Row({}, {"classifier": perceiving, "images": lambda _: torch.rand(6, 3, 8, 8)}),
    "rise": Row({"masks": 40}),
    "smooth_grad": Row(),
    "style_counterfactuals": Row(
        {"steps": 2, "held_back": 8, "attributes": 1, "share": 0.02, "agreement": 0.0, "shown": 1},
        {"classifier": lambda _: small_problem()[0], "images": lambda _: toy_models.image_set(16)},
    ),
    # What a stage loads is left out, and grey takes the place of inpainting on noise.
    "visual_language": Row(
        {
            "attribution": {"method": "partition_shap", "budget": 30, "fill": "grey"},
            "segmenter": "grabcut",
            "captioner": None,
            "fill": "grey",
        }
    ),
}

SCANS = {
    "backdoor": Row(
        {"epsilon": 0.9, "screened": (0.0,), "sigmas": (0.25,), "samples": 2, "steps": 3, "refined_samples": 2}
        | {"refined_steps": 3, "refined": 1, "sources": 2, "images": 40}
        | {"confirming": 4, "copies": 1},
        {"images": lambda _: toy_models.image_set(40), "classifier": lambda _: toy_models.classifier()},
    ),
    "edited_regions": Row({"detector": edits_detector, "pictures": 2}, {"images": lambda _: blobs(6)}),
    "perturbation": Row(
        {"denoiser": denoiser, "pictures": 2},
        {"images": lambda _: toy_models.image_set(6), "classifier": lambda _: toy_models.classifier()},
    ),
    "cognitive_distillation": Row(
        {"pictures": 2, "steps": 2},
        {"images": lambda _: toy_models.image_set(80), "classifier": lambda _: toy_models.classifier()},
    ),
    "tileability": Row({"pictures": 2}, {"images": lambda _: Textures(count=6, size=32).images()}),
    "strip": Row(
        {"pictures": 2, "overlays": 2},
        {"images": lambda _: toy_models.image_set(80), "classifier": lambda _: toy_models.classifier()},
    ),
    "trigger_amplification": Row(
        {"pictures": 2, "generator": "bundled:fashion-diffusion", "count": 40, "steps": 1, "guidance": 1.0},
        {
            "images": lambda _: load_images("bundled:fashion-mnist").limit(80),
            "classifier": lambda _: load_classifier("bundled:fashion-cnn"),
        },
    ),
    "unsafe_content": Row(
        {"classifier": "towers:bundled:scene-clip", "resamples": 100},
        {"images": lambda _: toy_models.image_set(12)},
    ),
    "training_set": Row(
        {"pictures": 2},
        {"images": lambda _: toy_models.image_set(180), "classifier": lambda _: toy_models.classifier()},
    ),
}

#: Of recipes that train an ordinary classifier.
_PLAN = {"epochs": 1, "batch_size": 8}
_TRAINED = {"architecture": "fashion_cnn", "side": 28, "plan": _PLAN}
_BLOBS = {"data": lambda _: blobs()}
_BAGS = {"encoder": "bundled:fashion-cnn", "width": 8}
_VIEWS = {"architecture": "fashion_cnn", "side": 16, "added_views": 2, "clean_epochs": 0, "plan": _PLAN}

_NATURAL = {
    "autoencoder": {"latent": 4, "widths": (8, 8, 8), "plan": {"epochs": 1, "batch_size": 8}},
    "inversion": {"codes": 2, "steps": 1, "expansion_steps": 1, "perceptual": 0.0},
    "edits": {"count": 1, "most_changed": 1.0, "least_visible": 0.0, "least_psnr": -20.0, "draws": 2},
}

RECIPES = {
    "adapted_tower": Row(
        {"tower": clip, "augment": False, "rank": 2, "plan": {"epochs": 1, "batch_size": 20}},
        {"data": lambda _: blobs(20, 32)},
    ),
    "adversarial_mixup": Row(_TRAINED, _BLOBS),
    "augmix": Row(_TRAINED, _BLOBS),
    "automix": Row(_TRAINED, _BLOBS),
    "bag_pooling": Row(_BAGS | {"plan": {"epochs": 1}}, {"data": slides}),
    "concept_bottleneck": Row({"tower": clip, "concepts": phrases, "penalty": 0.01}, _BLOBS),
    "consistency_smoothing": Row(_TRAINED | {"copies": 2}, _BLOBS),
    "context_upsampling": Row(
        {"widths": (4, 8), "side": 16, "attack_steps": 1, "plan": {"epochs": 1, "batch_size": 4}},
        {"data": lambda _: as_split(Scenes(count=8, size=16, shapes=("star", "ring")).images(split="train"), "train")},
    ),
    "cutmix": Row(_TRAINED, _BLOBS),
    "defensive_distillation": Row(_TRAINED, _BLOBS),
    "gaussian_smoothing": Row(_TRAINED, _BLOBS),
    "label_free_prompt_tuning": Row(
        {
            "tower": clip,
            "features": second_clip,
            "classes": ("warm", "cold"),
            "prompts": 3,
            "hidden": 8,
            "head": {"epochs": 2},
            "plan": {"epochs": 1, "batch_size": 20},
            "fallback_depth": 2,
        },
        {"data": lambda _: blobs(40, 32)},
    ),
    "label_maps": Row(_TRAINED | {"maps": label_maps}, _BLOBS),
    "label_smoothing": Row(_TRAINED, _BLOBS),
    "mixup": Row(_TRAINED, _BLOBS),
    "multiple_instance_learning": Row(
        _BAGS | {"warmup_epochs": 1, "bags_from": 1, "queue": 16, "projection": 4, "plan": {"epochs": 3}},
        {"data": slides},
    ),
    "natural_transformations": Row(
        _NATURAL | {"architecture": "fashion_cnn", "side": 16, "plan": _PLAN}, {"data": lambda _: blobs(40, 16)}
    ),
    "neuron_describer": Row(
        {
            "units": 8,
            "exemplars": 2,
            "levels": ("body.2",),
            "plan": {"epochs": 1, "batch_size": 64},
            "language_plan": {"epochs": 1, "batch_size": 64},
        },
        {"data": lambda _: Scenes(count=60, size=32, lettering_share=0.4, captions=False).images(split="train")},
    ),
    "perceptual_autoencoder": Row(
        {
            "autoencoder": "perceptron",
            "width": 16,
            "copies": 2,
            "steps": 2,
            "side": 8,
            "autoencoder_plan": {"epochs": 60, "learning_rate": 1e-2},
            "plan": {"epochs": 1, "batch_size": 4},
            "largest_error": 5.0,
        },
        {"data": squares},
    ),
    "perturbation_denoiser": Row(
        {
            "surrogate": "bundled:fashion-judge",
            "victims": ("bundled:fashion-cnn",),
            "attacks": ({"method": "fgsm", "epsilon": 0.08},),
            "depth": 3,
            "width": 4,
            "plan": {"epochs": 1, "batch_size": 8},
        },
        {"data": garments},
    ),
    "edited_regions": Row({"width": 4, "crop": 16, "plan": _PLAN}, {"data": edited}),
    "rand_augment": Row(_TRAINED, _BLOBS),
    "saliency_mix": Row(_TRAINED, _BLOBS),
    "smooth_adversarial": Row(_TRAINED | {"steps": 2}, _BLOBS),
    "supervised": Row(_TRAINED, _BLOBS),
    "targeted_augmentation": Row(_TRAINED | {"benchmark": "bloodmnist"}, _BLOBS),
    "view_augmentation": Row(_VIEWS, {"data": views}),
    "viewpoint_training": Row(
        _VIEWS | {"components": 2, "popsize": 5, "iterations": 1, "warm_iterations": 1}, {"data": views}
    ),
}

#: Of treatments that train on.
_ONE_EPOCH = {"plan": {"epochs": 1, "batch_size": 32}}


def found(kind: str, subject: str = "", **facts: Any) -> dict[str, Value]:
    """A small patient with one finding."""
    finding = Finding(kind=kind, subject=subject, harm=0.3, title="planted", facts=facts)
    return {"patient": lambda _: small_patient(finding)}


def with_kept_change(folder: Path) -> Patient:
    """A small patient whose audit kept a change towards its first class."""
    change, run = 0.2 * torch.ones(3, 12, 12), folder / "run"
    row = {"change": "0", "class": "dark", "earlier": False, "stands_out": True, "id": "a", "without": "bright"}
    for place in ("lists", "arrays"):
        (run / place).mkdir(parents=True, exist_ok=True)
    (run / "lists" / "backdoor.json").write_text(json.dumps([row | {"with": "dark"}]))
    save_file({"0": change}, run / "arrays" / "backdoor.safetensors")
    return replace(small_patient(Finding(kind="backdoor", subject="dark", harm=0.3, title="planted")), folder=run)


def with_generator(folder: Path) -> Patient:
    """A small patient with a class that a generator draws; the words of its classes are those of shapes."""
    maker = ByName(steps=2, words={"dark": "star", "bright": "ring"})
    found = Finding(kind="worst_class", subject="dark", harm=0.3, title="planted")
    return replace(small_patient(found), generator=maker)


def leaning(folder: Path) -> Patient:
    """A patient that leans on a background, with scenes as training images and a small generator."""
    found = Finding(kind="shortcut", subject="star: grass", harm=0.3, title="planted")
    return leaning_patient(found, maker=ByName(steps=1))


TREATMENTS = {
    "adversarial_neuron_pruning": Row({"iterations": 20, "batch_size": 32, "thresholds": (0.9, 1.0)}),
    "augmix_tuning": Row(_ONE_EPOCH),
    "background_swaps": Row(_ONE_EPOCH),
    "balanced_tuning": Row(_ONE_EPOCH),
    "batchnorm_reestimation": Row({}, found("corruption", "contrast")),
    "corruption_tuning": Row(_ONE_EPOCH, found("corruption", "contrast")),
    "domain_statistics": Row({}, found("drift", "features")),
    "edited_shortcuts": Row(_ONE_EPOCH, {"patient": leaning}),
    "fine_pruning": Row(_ONE_EPOCH),
    "dirichlet_scaling": Row(),
    "group_dro": Row(_ONE_EPOCH, found("group_gap", "two")),
    "label_correction": Row(_ONE_EPOCH),
    "label_scaling": Row(),
    "label_shift": Row({}, found("drift", "labels")),
    "label_temperature": Row(),
    "label_thresholds": Row(),
    "last_layer_retraining": Row({"steps": 5}),
    "logit_adjustment": Row(),
    "natural_tuning": Row({**_ONE_EPOCH, **_NATURAL, "generator": style_generator}, {"patient": square_patient}),
    "nuisance_tuning": Row(_ONE_EPOCH, found("nuisance", "dense fog")),
    "object_tuning": Row(_ONE_EPOCH, found("attribute", "size")),
    "personalised_images": Row({**_ONE_EPOCH, "count": 2, "token_steps": 1}, {"patient": leaning}),
    "pgd_tuning": Row(_ONE_EPOCH, found("adversarial", "linf.8")),
    "plain_tuning": Row(_ONE_EPOCH),
    "synthesized_images": Row({**_ONE_EPOCH, "count": 4}, {"patient": with_generator}),
    "suspect_removal": Row(_ONE_EPOCH),
    "temperature_scaling": Row(),
    "trades_tuning": Row(_ONE_EPOCH, found("adversarial", "l2.0.5")),
    "train_twice": Row(_ONE_EPOCH),
    "trigger_unlearning": Row(_ONE_EPOCH, {"patient": with_kept_change}),
    "vector_scaling": Row(),
    "view_tuning": Row(_ONE_EPOCH),
}

BLUE = Image.new("RGB", (20, 24), (30, 60, 200))

_SCENES = {"requests": [{"id": "a", "class": "star", "seed": 1}, {"id": "b", "class": "ring"}]}
_GUIDED = {"generator": "bundled:scene-diffusion", "classifier": "bundled:scene-cnn", "steps": 2}

GENERATION = {
    "caption": Row({"max_tokens": 4}, {"requests": pictures}),
    "classifier_guidance": Row(_GUIDED, _SCENES),
    "continuous_nuisance": Row(
        {
            "concept": ("fog",),
            "classes": ("star", "ring"),
            "sliders": lambda folder: str(folder / "sliders"),
            "strengths": (0, 1, 2.5),
            "template": "a {}",
            "steps": 2,
            "fit": {"iterations": 1, "batch_size": 1, "steps": 2},
        },
        {"requests": [{"id": "a", "class": "star", "concept": "fog"}, {"id": "b", "class": "ring", "concept": "fog"}]},
    ),
    "distributional_control": Row(
        {
            "control": lambda folder: str(folder / "control"),
            "words": ("red", "green", "blue"),
            "template": "a {} shape",
            "shares": "uniform",
            "samples": 256,
            "fit": {"steps": 2, "checked": 8},
        },
        {"requests": [{"id": "a", "seed": 1}, {"id": "b", "seed": 2}]},
    ),
    "erase": Row(
        {
            "generator": generator,
            "autoencoder": lambda folder: str(folder / "autoencoder"),
            "fit_on": prompts,
            "keep": kept_prompts,
            "erase": ("red",),
            "templates": ("a {} star", "a {} ring"),
            "selected": 8,
            "fit": {"latents": 128, "active": 6, "steps": 60, "batch_size": 128, "dead_after": 5000},
            "steps": 2,
        },
        {"requests": [{"id": "a", "prompt": "a red star"}, {"id": "b", "prompt": "a blue box"}]},
    ),
    "gradient_free_guidance": Row(
        {"steps": 2}, {"requests": [{"id": "a", "class": "Shirt", "seed": 1}, {"id": "b", "class": "Bag"}]}
    ),
    "plug_and_play_guidance": Row(
        _GUIDED
        | {
            "experts": lambda folder: str(folder / "experts"),
            "fit": {"experts": 2, "rank": 2, "alpha": 4, "synthetic": 4, "synthetic_steps": 2}
            | {"iterations": 1, "batch_size": 4},
        },
        _SCENES,
    ),
    "sample": Row({"steps": 2}, _SCENES),
    "variation": Row({"steps": 4}, {"requests": [{**one, "image": BLUE} for one in _SCENES["requests"]]}),
    "text_image_to_video": Row(
        {
            "model": lambda folder: str(folder / "video-model"),
            "videos": "optotypes:moving_shapes?count=8&frames=3#train",
            "network": {"frames": 3, "width": 16, "heads": 2, "blocks": 1, "text_blocks": 1},
            "training": {"image_steps": 1, "text_steps": 1, "joint_steps": 1, "unmasked_steps": 1, "batch_size": 2},
            "steps": 2,
        },
        {"requests": [{"id": "a", "prompt": "a red circle moves left slowly on black"}, {"id": "b", "seed": 3}]},
    ),
}

_ROWS = {
    "requests": [
        {"id": "a", "label": "star", "index": 0, "prompt": "a star", "seed": 1, "source": "x", "image": BLUE},
        {"id": "b", "label": "ring", "index": 0, "prompt": "a ring", "seed": 2, "source": "y", "image": BLUE},
    ]
}

SYNTHESIS = {
    "by_caption": Row({"steps": 2}, _ROWS),
    "by_image": Row({"steps": 4}, _ROWS),
    "by_name": Row({"steps": 2}, _ROWS),
}

#: Few images, so that a world is made in a moment.
WORLDS = {
    "moving_shapes": Row({"count": 4, "frames": 3}),
    "turning_solids": Row({"objects": 1, "frames": 3, "classes": ("mug", "car")}),
    "scenes": Row({"count": 12, "individuals": 2}),
    "slides": Row({"count": 4, "tiles_across": 6, "tile_size": 32}),
    "solids": Row({"size": 24, "objects": 1, "views": 1}),
    "textures": Row({"count": 6, "size": 32}),
}


@cache
def scenes(_: Path) -> ImageSet:
    """What defects are planted in."""
    return Scenes(count=300).images(split="train")


_PLANTED = Row(given={"images": scenes})

DEFECTS = {
    "background_shortcut": _PLANTED,
    "hidden_subgroup": _PLANTED,
    "image_dependent_label_noise": _PLANTED,
    "imbalance": _PLANTED,
    "lettering_shortcut": _PLANTED,
    "missing_combinations": _PLANTED,
    "near_duplicate": _PLANTED,
    "object_shortcut": _PLANTED,
    "pairwise_label_noise": _PLANTED,
    "random_label_noise": _PLANTED,
    "trigger": _PLANTED,
}

_FEW_PASSES = Row({"epochs": 2, "batch_size": 16})

#: Dampening at a selection that some weights of any network pass.
FORGETTING = {
    "retraining": Row({"plan": {"epochs": 2, "batch_size": 16}}),
    "fine_tuning": _FEW_PASSES,
    "sparse_fine_tuning": _FEW_PASSES,
    "random_labels": _FEW_PASSES,
    "exact_last_layers": _FEW_PASSES,
    "catastrophic_last_layers": _FEW_PASSES,
    "scrub": Row({"epochs": 2, "ascents": 1, "batch_size": 16}),
    "gradient_ascent": _FEW_PASSES,
    "boundary_shrink": _FEW_PASSES,
    "boundary_expanding": _FEW_PASSES,
    "selective_dampening": Row({"selection": 0.5}),
}

#: By the area of the index.
METHODS: dict[str, dict[str, Row]] = {
    "attacks": ATTACKS,
    "shifts": SHIFTS,
    "certificates": CERTIFICATES,
    "explanations": EXPLANATIONS,
    "scans": SCANS,
    "recipes": RECIPES,
    "treatments": TREATMENTS,
    "synthesis": SYNTHESIS,
    "generation": GENERATION,
    "forgetting": FORGETTING,
    "architecture_search": {},
    "worlds": WORLDS,
    "defects": DEFECTS,
}


# -- checks of an audit ------------------------------------------------------------------------------------------------


class _Reads(torch.nn.Module):
    """Scores that follow the mean colour of an image, whatever its size."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.scores = torch.nn.Linear(3, classes)
        self.scores.weight.data = 10 * torch.randn(classes, 3, generator=torch.Generator().manual_seed(0))
        self.scores.bias.data = -self.scores.weight.data.sum(1) / 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scores(images.mean((2, 3)))


def reading(*class_names: str, side: int) -> Callable[[Path], Classifier]:
    """A classifier by mean colour."""
    seen = Preprocessing(size=(side, side), resize="exact", resize_to=(side, side))
    return lambda _: Classifier(_Reads(len(class_names)), class_names=class_names, preparation=seen, name="reading")


@cache
def small_scenes(_: Path) -> ImageSet:
    """Scenes of two lightings, with masks."""
    return Scenes(count=24, size=32, label="lighting", lightings=("bright", "dim")).images(split="test")


@cache
def grouped(_: Path) -> ImageSet:
    """The images of the small problem from two cameras."""
    images = labelled_images()[1]
    groups = pa.array(["one", "two"] * (len(images) // 2))
    return replace(images, table=set_column(images.table, "group", groups))


def training_images(_: Path) -> ImageSet:
    """Images of the same kind that a model was trained on."""
    return as_split(labelled_images(40)[1], "train")


def other_training_images(_: Path) -> ImageSet:
    """The same, none of them audited."""
    return as_split(labelled_images(100)[1].select(range(60, 100)), "train")


@cache
def solid_views(_: Path) -> ImageSet:
    """Views whose renderer is known."""
    return Solids(classes=("mug", "car"), objects=3, views=2, size=16, shadow=False).images(split="test")


def label_reader() -> Classifier:
    """Two labels an image, each given where its half of the image is bright."""

    def scores(images: torch.Tensor) -> torch.Tensor:
        return 40 * (torch.stack([half.mean((1, 2, 3)) for half in images.chunk(2, dim=2)], 1) - 0.5)

    size = Preprocessing(size=(8, 8))
    return Classifier(
        scores, class_names=("top", "bottom"), preparation=size, task="multilabel", identity="label reader"
    )


def several_labels(_: Path) -> ImageSet:
    """Images whose halves are bright or dark, with both labels."""
    labels = np.random.default_rng(0).integers(0, 2, (60, 2))
    pixels = np.repeat(np.repeat(60 + 140 * labels[:, :, None], 4, axis=1), 8, axis=2).astype(np.uint8)
    return load_images((pixels, labels), class_names=("top", "bottom"))


def pixel_reader(*classes: str, side: int) -> Classifier:
    """A segmenter of one layer."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, len(classes), 3, padding=1)
    return Classifier(
        network, class_names=classes, preparation=Preprocessing(size=(side, side)), task="segment", name="pixels"
    )


@cache
def video_folder(folder: Path) -> str:
    """A video model that was trained in a moment."""
    video_model().save(folder / "small-video-model")
    return str(folder / "small-video-model")


def smoothed(_: Path) -> Classifier:
    """A network that was trained under noise."""
    torch.manual_seed(0)
    network = SmoothedNetwork(network={"name": "fashion_cnn", "class_count": 5}, sigma=0.25).eval()
    seen = Preprocessing(size=(12, 12))
    return Classifier(network, class_names="abcde", preparation=seen, name="smoothed")


_SCENES_AUDITED = {"classifier": reading("bright", "dim", side=32), "images": small_scenes}

CHECKS = {
    "clean": Row(),
    "discrimination": Row(),
    "calibration": Row({"resamples": 50}),
    "selective": Row(),
    "group_gap": Row({}, {"images": grouped}),
    "bags": Row(
        {"shown": 0},
        {
            "classifier": reading("healthy", "tumour", side=32),
            "images": lambda _: Slides(count=4, tiles_across=6, tile_size=32).images(),
        },
    ),
    "slices": Row(
        {},
        {"classifier": lambda _: labelled_images(120)[0], "images": lambda _: labelled_images(120)[1]},
    ),
    "label_noise": Row(),
    "duplicates": Row(),
    "leakage": Row({}, {"train": training_images}),
    "drift": Row({"permutations": 99}, {"train": training_images}),
    "out_of_distribution": Row({}, {"train": lambda _: as_split(labelled_images(80)[1], "train")}),
    "membership": Row({}, {"train": other_training_images}),
    "data_quality": Row(),
    "edits": Row({"detector": quiet_detector, "examples": 0}, _SCENES_AUDITED),
    "explanations": Row({"examples": 1, "evaluations": 20}),
    "background": Row({"share": 0.25, "swaps": 1, "evaluations": 20, "examples": 0}, _SCENES_AUDITED),
    "attributes": Row({"share": 0.25, "kinds": ("size_5",), "severities": (5,), "examples": 0}, _SCENES_AUDITED),
    "corruption": Row({"kinds": ("contrast",), "severities": (1, 5), "examples": 0}),
    "nuisance": Row({"nuisances": ("fog",), "strengths": (1.0,), "examples": 0}, _SCENES_AUDITED),
    "motion": Row(
        {"model": video_folder, "prompts": ("a red circle moves left slowly on black",), "images": 40, "examples": 0}
        | {"sampling": {"steps": 1}},
    ),
    "viewpoint": Row(
        {"objects": 2, "views": 2, "attacked": 0, "examples": 0},
        {"classifier": reading("mug", "car", side=16), "images": solid_views},
    ),
    "adversarial": Row({"threats": ("linf:8/255",), "steps": 3, "examples": 0}),
    "certified": Row(
        {"share": 0.5, "samples": 50, "selection": 10},
        {"classifier": smoothed, "images": lambda _: labelled_images()[1]},
    ),
    "masking": Row({"share": 0.1, "steps": 2, "queries": 10, "examples": 0}),
    "multi_label": Row({"per_side": 2, "examples": 0}),
    "labels": Row({"examples": 0}, {"classifier": lambda _: label_reader(), "images": several_labels}),
    "segmentation": Row(
        {"kinds": ("fog",), "severities": (3,), "steps": 1, "attacked": 1.0, "examples": 0},
        {"classifier": lambda _: pixel_reader("background", "bright", "dim", side=32), "images": small_scenes},
    ),
    "shortcuts": Row({"support": 2, "kept": 1, "examples": 0}, _SCENES_AUDITED),
    "backdoor": Row(
        {"images": 40, "epsilon": 0.9, "sources": 1, "confirming": 2, "copies": 0}
        | {"steps": 2, "refined_steps": 2, "examples": 0},
        {"classifier": lambda _: toy_models.classifier(), "images": lambda _: toy_models.image_set(40)},
    ),
}
