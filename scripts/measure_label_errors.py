"""Measure how well planted label errors are found, beside cleanlab and DataEval, into docs/measured/label-errors.json.

    pip install --target PEERS cleanlab dataeval
    python scripts/measure_label_errors.py --peers PEERS [--case out|in|large] [--seeds 3]

Three cases, all on Fashion-MNIST (``--data``: the folder of its four files). ``out``: the bundled classifier and test
images, which it never saw. ``in``: small networks that were trained on the very images and labels that they judge.
``large``: 20,000 images and a network trained on others. Errors are ``symmetric`` (any other class), ``pair`` (the next
class) or ``runner-up``: the class that the bundled classifier ranks second, more often where that is probable.

Each peer gets the inputs that suit it best, by F1 in each cell: cleanlab the model's probabilities, or those of a
logistic regression on thumbnails, cross-validated; DataEval the model's features, or the
thumbnails. A case takes about 15 minutes on one core; then ``python scripts/write_tables.py label_errors``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor, nn

import snellen
from snellen.data.files.idx import read_idx
from snellen.metrics.inspection.fingerprints import fingerprint
from snellen.metrics.inspection.label_errors import label_errors, label_quality
from snellen.metrics.inspection.label_judgement import judge_labels, thumbnail_features

RESULT = Path(__file__).parents[1] / "docs" / "measured" / "label-errors.json"
SHARES, KINDS = (0.01, 0.03, 0.1), ("symmetric", "pair", "runner-up")

#: A share is found where the p value is below.
LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model says of images: probabilities (n, k), features (n, d), thumbnails (n, e)."""

    probabilities: NDArray[np.float64]
    features: NDArray[np.float32]
    thumbnails: NDArray[np.float64]


class Small(nn.Module):
    """Two strided convolutions and a hidden layer: 215,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1)),
            *(nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU()),
        )
        self.head = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (n, 10) of images (n, 1, 28, 28)."""
        scores: Tensor = self.head(self.features(images))
        return scores


def trained(images: Tensor, labels: NDArray[np.int64], epochs: int, seed: int) -> Small:
    """A network that was fitted to these labels."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Small()
    optimizer, targets = torch.optim.Adam(network.parameters(), 3e-3), torch.from_numpy(labels)
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), targets[rows]).backward()
            optimizer.step()
    return network.eval()


def thumbnails(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Thumbnails of grey images (n, 28, 28), as an audit keeps them."""
    parts = torch.from_numpy(pixels)[:, None].expand(-1, 3, -1, -1).split(1000)
    return np.concatenate([thumbnail_features(fingerprint(part)) for part in parts])


def by_network(network: Small, images: Tensor, pixels: NDArray[np.uint8]) -> Judged:
    """Opinions of a small network."""
    with torch.no_grad():
        features = torch.cat([network.features(part) for part in images.split(1000)])
        probabilities = network.head(features).double().softmax(1)
    return Judged(probabilities.numpy(), features.numpy(), thumbnails(pixels))


def by_bundled(pixels: NDArray[np.uint8]) -> Judged:
    """Opinions of the bundled classifier."""
    classifier = snellen.load_classifier("bundled:fashion-cnn")
    scores, features = [], []
    with torch.no_grad():
        for part in torch.from_numpy(pixels).float().div(255)[:, None].expand(-1, 3, -1, -1).split(1000):
            found = classifier.scores_and_features(part)
            scores.append(found[0].double().softmax(1))
            features.append(found[1])
    return Judged(torch.cat(scores).numpy(), torch.cat(features).numpy(), thumbnails(pixels))


def planted(
    truth: NDArray[np.int64], share: float, kind: str, reference: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Labels of which a share is wrong, (n,)."""
    given, count = truth.copy(), round(share * len(truth))
    if kind == "runner-up":
        second = reference.copy()
        second[np.arange(len(truth)), truth] = 0
        weight = np.sqrt(second.max(1))
        rows = rng.choice(len(truth), count, replace=False, p=weight / weight.sum())
        given[rows] = second[rows].argmax(1)
        return given
    rows = rng.permutation(len(truth))[:count]
    given[rows] = (truth[rows] + (1 if kind == "pair" else rng.integers(1, 10, count))) % 10
    return given


def figures(suspected: NDArray[np.bool_], badness: NDArray[np.floating], wrong: NDArray[np.bool_]) -> dict[str, float]:
    """Precision, recall and F1 of the suspects, and average precision of the ranking."""
    hits, count = int((suspected & wrong).sum()), max(int(suspected.sum()), 1)
    return {
        "precision": hits / count,
        "recall": hits / int(wrong.sum()),
        "f1": 2 * hits / (int(suspected.sum()) + int(wrong.sum())),
        "average_precision": float(average_precision_score(wrong, badness)),
    }


def ours(model: Judged, given: NDArray[np.int64]) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Figures of Snellen without those of the suspects, and how bad each label is."""
    started = time.process_time()
    found = judge_labels(model.probabilities, given, features=model.features, thumbnails=model.thumbnails)
    suspects = label_errors(found.probabilities, given, rule=found.rule).suspects
    seconds = time.process_time() - started
    share = found.share
    return {
        "suspects": suspects,
        "found": float(share.p_value < LEVEL),
        "share": share.share,
        "low": share.lower(),
        "in_sample": float(found.in_sample),
        "agreement": found.agreement,
        "seconds": seconds,
    }, -label_quality(found.probabilities, given)


def cleanlab(
    model: Judged, given: NDArray[np.int64], wrong: NDArray[np.bool_], small: bool
) -> Iterator[dict[str, float]]:
    """Figures of cleanlab for each of its inputs."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    for blind in (False, True)[: 1 + small]:
        started = time.process_time()
        probabilities = model.probabilities
        if blind:
            folds = StratifiedKFold(5, shuffle=True, random_state=0)
            head = LogisticRegression(max_iter=300, C=0.1)
            probabilities = cross_val_predict(head, model.thumbnails, given, cv=folds, method="predict_proba")
        suspected = find_label_issues(given, probabilities, n_jobs=1)
        quality = get_label_quality_scores(given, probabilities)
        seconds = time.process_time() - started
        yield {**figures(suspected, -quality, wrong), "seconds": seconds}


def dataeval(model: Judged, given: NDArray[np.int64], wrong: NDArray[np.bool_]) -> Iterator[dict[str, float]]:
    """Figures of DataEval for each of its inputs."""
    from dataeval.core import label_errors as theirs

    for embeddings in (model.features, model.thumbnails):
        started = time.process_time()
        found = theirs(np.asarray(embeddings, dtype=np.float32), given)
        seconds = time.process_time() - started
        suspected = np.zeros(len(given), dtype=np.bool_)
        suspected[list(found["errors"])] = True
        yield {**figures(suspected, found["scores"], wrong), "seconds": seconds}


def compared(model: Judged, truth: NDArray[np.int64], given: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """All three tools on the same labels."""
    wrong = given != truth
    mine, badness = ours(model, given)
    suspected = np.isin(np.arange(len(given)), mine.pop("suspects"))
    best = {
        "cleanlab": list(cleanlab(model, given, wrong, len(given) <= 5000)),
        "dataeval": list(dataeval(model, given, wrong)),
    }
    peers = {name: max(runs, key=lambda run: run["f1"]) for name, runs in best.items()}
    for name, runs in best.items():
        peers[name]["average_precision"] = max(run["average_precision"] for run in runs)
    precision, recall, _ = precision_recall_curve(wrong, badness)
    reached = float(recall[precision >= peers["dataeval"]["precision"]].max())
    return {"snellen": {**mine, **figures(suspected, badness, wrong), "recall_at_dataeval": reached}, **peers}


def cells(case: str, folder: Path, seeds: int) -> Iterator[tuple[int, str, float, dict[str, dict[str, float]]]]:
    """Images, kind, share and figures of every run of a case."""
    split = "t10k" if case == "out" else "train"
    pixels, labels = read(folder, split)
    reference = by_bundled(pixels if case != "large" else pixels[:20])
    for n in (20_000,) if case == "large" else (1000, 5000):
        for seed in range(max(seeds - 2, 1) if n >= 5000 and case != "out" else seeds):
            rng = np.random.default_rng([seed, n])
            rows = rng.permutation(len(labels))
            rows, others = rows[:n], rows[n : n + 10_000]
            truth, network = labels[rows], None
            images = torch.from_numpy(pixels[rows]).float().div(255)[:, None]
            if case == "large":
                network = trained(torch.from_numpy(pixels[others]).float().div(255)[:, None], labels[others], 6, seed)
            for kind in KINDS[: 1 if case == "large" else 3]:
                for share in SHARES[1:2] if case == "large" else SHARES:
                    given = planted(
                        truth, share, kind, reference.probabilities[rows % len(reference.probabilities)], rng
                    )
                    if case == "out":
                        model = Judged(*(part[rows] for part in vars(reference).values()))
                    else:
                        judge = network or trained(images, given, 50 if n == 1000 else 30, seed)
                        model = by_network(judge, images, pixels[rows])
                    yield n, kind, share, compared(model, truth, given)


def read(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (n, 28, 28) and labels (n,) of Fashion-MNIST."""
    images = read_idx(folder / f"{split}-images-idx3-ubyte.gz").copy()
    return images, read_idx(folder / f"{split}-labels-idx1-ubyte.gz").astype(np.int64)


def main() -> None:
    """Measure the cases and write them, beside those that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, action="append", help="folder with cleanlab or dataeval, repeatable")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--case", choices=("out", "in", "large"), action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    sys.path += [str(folder) for folder in options.peers or ()]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for case in options.case or ("out", "in", "large"):
        runs: dict[tuple[int, str, float], list[dict[str, dict[str, float]]]] = {}
        for n, kind, share, found in cells(case, options.data, options.seeds):
            runs.setdefault((n, kind, share), []).append(found)
            print(
                case,
                n,
                kind,
                share,
                {name: {k: round(v, 3) for k, v in one.items()} for name, one in found.items()},
                flush=True,
            )
        rows = [
            {"case": case, "images": n, "kind": kind, "share": share, "seeds": len(found), **averaged(found)}
            for (n, kind, share), found in runs.items()
        ]
        known = json.loads(options.out.read_text(encoding="utf-8"))["rows"] if options.out.exists() else []
        rows = [row for row in known if row["case"] != case] + rows
        versions = {name: importlib.metadata.version(name) for name in ("cleanlab", "dataeval", "numpy", "torch")}
        text = json.dumps({"level": LEVEL, "versions": versions, "rows": rows}, indent=1)
        options.out.write_text(text + "\n", encoding="utf-8")


def averaged(found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means over the seeds, by tool and figure."""
    return {
        tool: {name: round(float(np.mean([run[tool][name] for run in found])), 4) for name in found[0][tool]}
        for tool in found[0]
    }


if __name__ == "__main__":
    main()
