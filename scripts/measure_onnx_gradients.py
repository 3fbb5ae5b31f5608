"""Measure how many ONNX exports of torch classifiers get gradients, and whether these are those of the module.

    python scripts/measure_onnx_gradients.py [--folder FILES] [--export] [NAME...]

Twelve architectures of torchvision and timm with random weights are exported by both exporters of torch, at opset 13
and at the newest one that each writes. At opset 13, timm's attention is written out, because the fused one has no
export there. Exporting takes a quarter of an hour; ``--folder`` keeps the files, and what an exporter could not write,
for the next time. ``--export`` stops there. The result goes to docs/measured/onnx-gradients.json, the summary to
docs/models.md by ``python scripts/write_tables.py onnx``.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import timm
import torch
import torchvision
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.preprocessing import Preprocessing
from snellen.core.run import canonical_json
from snellen.models.classifiers.assembly import probe_images
from snellen.models.classifiers.onnx_graph.module import OnnxModule
from snellen.models.classifiers.references import load_classifier

OUT = Path(__file__).parents[1] / "docs" / "measured" / "onnx-gradients.json"

#: Architecture → side of the images, in pixels.
ARCHITECTURES = {
    "torchvision:resnet18": 64,
    "torchvision:densenet121": 64,
    "torchvision:mobilenet_v3_small": 64,
    "torchvision:regnet_y_400mf": 64,
    "torchvision:swin_t": 64,
    "timm:convnext_atto": 64,
    "timm:efficientnet_b0": 64,
    "timm:ghostnet_100": 64,
    "timm:mobilevit_xxs": 64,
    "timm:resnetv2_50": 64,
    "timm:vit_tiny_patch16_224": 64,
    "timm:xcit_nano_12_p16_224": 64,
}

#: The exporters, and the opsets that each is asked for: the oldest that it should write, and its newest.
OLDEST = 13
EXPORTERS = {"torchscript": (OLDEST, 20), "dynamo": (OLDEST, 25)}

CLASSES = 10

#: Images that scores and gradients are compared on.
IMAGES = 4


def network(reference: str, side: int, *, fused: bool) -> nn.Module:
    """The architecture with seeded weights, in evaluation mode; nothing in it is zero or does nothing."""
    library, _, name = reference.partition(":")
    timm.layers.set_fused_attn(fused)
    torch.manual_seed(0)
    sized = {"img_size": side} if name.startswith("vit") else {}
    made: nn.Module = (
        timm.create_model(name, num_classes=CLASSES, **sized)
        if library == "timm"
        else torchvision.models.get_model(name, num_classes=CLASSES)
    )
    with torch.no_grad():
        for parameter in made.parameters():
            if float(parameter.abs().max()) < 1e-3:  # scales of layers that begin at 1e-6, and biases
                parameter.normal_(std=0.1)
        for layer in made.modules():
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_(std=0.1)
                layer.running_var.uniform_(0.5, 1.5)
    return made.eval().requires_grad_(False)


def export(made: nn.Module, path: Path, *, exporter: str, opset: int, side: int) -> str | None:
    """Write an ONNX file with a free batch size; None, or why the exporter cannot."""
    refusal = path.with_suffix(".txt")
    if path.is_file():
        return None
    if refusal.is_file():
        return refusal.read_text(encoding="utf-8")
    dynamo = exporter == "dynamo"
    free: dict[str, Any] = (
        {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if dynamo else {"dynamic_axes": {"images": {0: "n"}}}
    )
    written = path.with_suffix(".part")
    try:
        with torch.no_grad():
            torch.onnx.export(
                made,
                (torch.rand(2, 3, side, side),),
                written,
                dynamo=dynamo,
                opset_version=opset,
                input_names=["images"],
                external_data=False,
                verbose=False,
                **free,
            )
        found = max(entry.version for entry in onnx.load(written).opset_import if entry.domain == "")
        why = None if found == opset else f"the exporter wrote opset {found} instead"
    except Exception as error:
        lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        why = lines[0][:200]
    if why is None:
        written.rename(path)
    else:
        written.unlink(missing_ok=True)
        refusal.write_text(why, encoding="utf-8")
    return why


def gradients(scores: Tensor, images: Tensor) -> Tensor:
    """Gradients of a fixed mixture of the scores with respect to the images: (n, k), (n, c, h, w) → (n, c, h, w)."""
    weights = torch.linspace(-1.0, 1.0, scores.shape[1], dtype=scores.dtype)
    return torch.autograd.grad((scores * weights).sum(), images)[0]


def apart(found: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())


def measured(path: Path, made: nn.Module, side: int) -> dict[str, object]:
    """How the classifier of a file compares with ONNX Runtime and with the module it was exported from."""
    options: dict[str, Any] = {"preparation": Preprocessing(size=(side, side)), "normalization": Normalization()}
    names = [str(number) for number in range(CLASSES)]
    classifier = load_classifier(f"onnx:{path}", names, **options)
    if not classifier.differentiable:
        return {"gradients": False, "why": [note for note in classifier.notes if "gradients" in note]}
    runtime = load_classifier(f"onnx:{path}", names, **options, model_args={"run_by": "onnxruntime"})
    images = probe_images((side, side), IMAGES + 3)[3:]  # others than those that loading compares
    images.requires_grad_()
    scores, theirs = classifier(images), made(images)
    module, wide = copy.deepcopy(classifier.module), images.detach().double().requires_grad_()
    assert isinstance(module, OnnxModule)
    module.double().input_dtype = torch.float64
    exact = gradients(copy.deepcopy(made).double()(wide), wide)
    try:
        in_double = apart(gradients(module(wide), wide), exact)
    except RuntimeError:  # a graph that casts to float32 inside
        in_double = None
    return {
        "gradients": True,
        "layers": classifier.module is not None,
        "feature_layer": classifier.feature_layer,
        "scores_apart": apart(scores.detach(), runtime(images.detach())),
        "gradients_apart": apart(gradients(scores, images), gradients(theirs, images)),
        # Free of rounding: in float32, a ReLU whose input is nearly zero may open in one network and not in the other.
        "gradients_apart_in_double": in_double,
    }


def main() -> None:
    """Export, compare and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="architectures; all by default, and only then is a result written")
    parser.add_argument("--folder", type=Path, help="where exported files stay")
    parser.add_argument("--export", action="store_true", help="export only")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for reference in arguments.names or ARCHITECTURES:
            side = ARCHITECTURES[reference]
            for exporter, opsets in EXPORTERS.items():
                for opset in opsets:
                    made = network(reference, side, fused=opset > OLDEST)
                    path = folder / f"{reference.replace(':', '-')}-{exporter}-{opset}.onnx"
                    why = export(made, path, exporter=exporter, opset=opset, side=side)
                    found = {"exported": why is None, **({} if why is None else {"why": why})}
                    if why is None and not arguments.export:
                        found |= measured(path, made, side)
                    rows.append({"architecture": reference, "exporter": exporter, "opset": opset, **found})
                    print(json.dumps(rows[-1]), flush=True)
    if arguments.export or arguments.names:
        return
    record = {
        "versions": {module.__name__: module.__version__ for module in (torch, torchvision, timm, onnx)},
        "side": sorted(set(ARCHITECTURES.values())),
        "images": IMAGES,
        "rows": rows,
    }
    OUT.write_bytes(canonical_json(record))


if __name__ == "__main__":
    main()
