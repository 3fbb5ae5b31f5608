"""What a user of CheckMAITE writes for accuracy and duplicates of a folder; runs in an environment of its own.

    python checkmaite_job.py MODEL.pt FOLDER CLASS,CLASS,...

Prints the accuracy and the number of groups of exact copies, as JSON in the last line.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from checkmaite.core.image_classification import DataevalCleaning, MaiteEvaluation
from checkmaite.core.image_classification.metrics import accuracy_multiclass_torch_metric_factory
from PIL import Image

torch.set_num_threads(1)


class Images:
    """A folder with a folder for each class, as a MAITE dataset of bytes."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.names = names
        self.files = [(path, label) for label, name in enumerate(names) for path in sorted((folder / name).iterdir())]
        self.metadata = {"id": "images", "index2label": dict(enumerate(names))}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
        path, label = self.files[row]
        pixels = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
        return pixels, np.eye(len(self.names), dtype=np.float32)[label], {"id": path.name}


class Network:
    """A traced network on images in [0, 1], as a MAITE model."""

    def __init__(self, file: str, names: list[str]) -> None:
        self.network = torch.jit.load(file).eval()
        self.metadata = {"id": "network", "index2label": dict(enumerate(names))}

    def __call__(self, batch: Sequence[np.ndarray]) -> list[torch.Tensor]:
        with torch.inference_mode():
            return list(self.network(torch.from_numpy(np.stack(batch)).float() / 255).softmax(1))


def main() -> None:
    file, folder, classes = sys.argv[1:]
    names = classes.split(",")
    images, network = Images(Path(folder), names), Network(file, names)
    metric = accuracy_multiclass_torch_metric_factory(num_classes=len(names))
    capability = MaiteEvaluation()
    config = capability._create_config().model_copy(update={"batch_size": 32})
    evaluated = capability.run(models=[network], datasets=[images], metrics=[metric], config=config, use_cache=False)
    cleaned = DataevalCleaning().run(datasets=[images], use_cache=False)
    for run in (evaluated, cleaned):
        run.collect_md_report(threshold=0.5)
    (accuracy,) = (one.overall_metric_value for one in evaluated.outputs.metrics.values())
    copies = cleaned.outputs.model_dump()["duplicates"]["exact"]
    print(
        json.dumps({"version": importlib.metadata.version("checkmaite"), "accuracy": accuracy, "copies": len(copies)})
    )


if __name__ == "__main__":
    main()
