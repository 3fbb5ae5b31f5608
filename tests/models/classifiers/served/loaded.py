"""The model of a server, asked without patience, and images for it."""

import torch

from snellen.core.classifier import Classifier
from snellen.models.classifiers.references import load_classifier
from tests.models.classifiers.served.inference_server import InferenceServer

IMAGES = torch.rand(5, 3, 4, 6, generator=torch.Generator().manual_seed(0))


def load(server: InferenceServer, settings: str = "", **options: object) -> Classifier:
    joined = f"retries=2&backoff=0.001{settings and '&'}{settings}"
    return load_classifier(f"{server.reference}?{joined}", **options)
