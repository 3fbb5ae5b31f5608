"""System 35 at its other scales: all stages in the shapes of CLIP and DINO, and EuroSAT and DTD with their weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization, hash_tensors
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.folder import load_folder
from snellen.models.dual_encoders.hugging_face_towers import ClipImageTower, ClipTextTower
from snellen.models.dual_encoders.prompted import prompted_classifier
from snellen.models.dual_encoders.towers import Tokeniser, Towers, TwoTower
from snellen.models.dual_encoders.zero_shot import class_vectors, fill_templates
from snellen.models.encoders.feature_store import frozen_features
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.references import load_encoder
from snellen.models.language.references import load_language_model
from snellen.models.references import load_two_tower
from snellen.models.tokens.small_tokenizers import clip_tokenizer
from snellen.models.weights.hugging_face_folder import import_transformers
from snellen.models.weights.quiet_loading import quiet_loading
from snellen.reproduction.label_free_tuning.arms import Setting, Study
from snellen.systems.label_free_tuning.descriptions import class_texts
from snellen.systems.label_free_tuning.method import aligned
from snellen.systems.label_free_tuning.selection import CollapsedClassesWarning
from snellen.systems.label_free_tuning.teaching import class_probabilities, teach
from snellen.systems.label_free_tuning.tuning import TUNING_PLAN, StrongView, tune_network
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore

#: Folders: CLIP ViT-B/32 and DINO ViT-B/16 in the format of transformers, and the two collections with train and test.
CLIP, DINO, DATA = "SNELLEN_CLIP", "SNELLEN_DINO", {"eurosat": "SNELLEN_EUROSAT", "dtd": "SNELLEN_DTD"}

#: Files of sentences for the classes, beside each collection.
SENTENCES_FILE = "sentences.json"

_CLIP_SCALE = Normalization((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET_SCALE = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_SQUARE = Preprocessing(size=(224, 224), resize="shorter", resize_to=(224, 224), interpolation="bicubic")


def smoke(seed: int, progress: Progress) -> Mapping[str, float]:
    """Two random images and two classes through all stages, with CLIP ViT-B/32 and DINO ViT-B/16 of random weights."""
    tower, encoder = random_clip(seed), random_dino(seed)
    pixels = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    vectors = class_vectors(tower, fill_templates(["cat", "dog"], ["a {}", "a photo of a {}."]))
    own = class_probabilities(tower, pixels, vectors)
    features = encoder.encode(to_unit(pixels))
    with warnings.catch_warnings():
        # Random weights may find one class on both images; the other falls back to the second choice.
        warnings.simplefilter("ignore", CollapsedClassesWarning)
        taught = teach(own, features, ["cat", "dog"], rng=Randomness(seed), least=1, progress=progress)
    before = hash_tensors(taught.head.state_dict())
    with seeded(seed, torch.device("cpu")):  # its tokens are drawn by torch's own generator
        network = prompted_classifier(tower, vectors, prompts=16)
    trained = tune_network(
        network,
        ImageStore.of_tensors(pixels, taught.labels),
        plan=TUNING_PLAN.model_copy(update={"epochs": 1, "batch_size": 2, "seed": seed}),
        progress=progress,
    )
    return {
        "classes": float(own.shape[1]),
        "selected": float(len(taught.selected.positions)),
        "features": float(features.shape[1]),
        "vectors": float(vectors.shape[1]),
        "loss": trained.history[-1]["train.loss"],
        "trained_parameters": float(sum(one.numel() for one in network.trainable_parameters().values())),
        "teacher_unchanged": float(before == hash_tensors(taught.head.state_dict())),
    }


def random_clip(seed: int) -> Towers:
    """CLIP ViT-B/32 with random weights and a small tokenizer."""
    transformers = import_transformers("CLIP in its shape")
    tokenizer = clip_tokenizer()
    with seeded(seed, torch.device("cpu")), quiet_loading():
        text = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id, "projection_dim": 512}
        config = transformers.CLIPConfig(text_config=text, vision_config={"projection_dim": 512}, projection_dim=512)
        model = transformers.CLIPModel(config)
    return Towers(
        name="CLIP ViT-B/32, random",
        image_tower=ClipImageTower(model),
        text_tower=ClipTextTower(model),
        tokeniser=Tokeniser(
            lambda texts: tokenizer(list(texts), padding=False)["input_ids"], int(tokenizer.pad_token_id), 77, False
        ),
        preparation=_SQUARE,
        normalization=_CLIP_SCALE,
        dimension=512,
        logit_scale=100.0,
    )


def random_dino(seed: int) -> FrozenEncoder:
    """DINO ViT-B/16 with random weights: the class token behind the last norm."""
    transformers = import_transformers("DINO in its shape")

    class ClassToken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = transformers.ViTModel(transformers.ViTConfig(), add_pooling_layer=False)

        def forward(self, images: Tensor) -> Tensor:
            vectors: Tensor = self.backbone(pixel_values=images).last_hidden_state[:, 0]
            return vectors

    with seeded(seed, torch.device("cpu")), quiet_loading():
        network = ClassToken()
    return FrozenEncoder(
        name="DINO ViT-B/16, random", network=network, preparation=_SQUARE, normalization=_IMAGENET_SCALE
    )


def full(seed: int, progress: Progress) -> Mapping[str, float]:
    """EuroSAT and DTD by path, with the weights of CLIP and DINO by path: the paper's numbers on both."""
    wanted = (CLIP, DINO, *DATA.values())
    absent = [name for name in wanted if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs folders in {', '.join(absent)}: {CLIP} and {DINO} hold CLIP ViT-B/32 and DINO "
            f"ViT-B/16 as transformers saves them, the others a collection with train and test of class folders, and "
            f"{SENTENCES_FILE} with the sentences of each class"
        )
    tower, encoder = load_two_tower(f"hf:{os.environ[CLIP]}"), load_encoder(f"hf:{os.environ[DINO]}")
    figures: dict[str, float] = {}
    for name, variable in DATA.items():
        study = Study(_by_path(Path(os.environ[variable]), tower, encoder, seed, progress), progress)
        found = study.main_arms()
        figures |= {f"{name}.{key}": value for key, value in found.items()}
    return figures


def _by_path(folder: Path, tower: TwoTower, encoder: FrozenEncoder, seed: int, progress: Progress) -> Setting:
    collection, judged = (replace(load_folder(folder / part), split=None) for part in ("train", "test"))
    assert collection.class_names is not None
    listed = folder / SENTENCES_FILE
    source = load_language_model(f"file:{listed}") if listed.is_file() else None
    texts = class_texts([name.replace("_", " ") for name in collection.class_names], source)

    def seen(images: ImageSet) -> tuple[ImageStore, Tensor, Tensor]:
        hidden = images.unlabelled()
        store = ImageStore.of_images(hidden, tower.preparation, progress=progress)
        features = frozen_features(hidden, encoder, progress=progress)
        store, rows = aligned(store, features)
        label_of = dict(zip(images.ids, images.labels.tolist(), strict=True))
        return store, features.features[rows], torch.tensor([label_of[one] for one in store.ids])

    store, features, known = seen(collection)
    tested, tested_features, truth = seen(judged)
    return Setting(
        tower=tower,
        texts=texts,
        images=store,
        features=features,
        tested=tested.images,
        tested_features=tested_features,
        truth=truth,
        known=known,
        view=StrongView(),
        plan=TUNING_PLAN.model_copy(update={"batch_size": 64, "accumulate": 8, "seed": seed}),
        prompts=16,
        least=16,
        seed=seed,
    )
