"""Tables of drops in the record, of what the control costs on scenes, and of EfficientNet-Lite0 on edited cut-outs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from snellen.reproduction.sample import mean_of
from snellen.reproduction.seed_file import read_seeds
from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table, read_all_measured

GROUNDS = {
    "white": "white",
    "grey": "grey",
    "black": "black",
    "surface": "photograph of a surface",
    "scene": "photograph of a scene",
}


def grounds_table(found: Mapping[str, Any]) -> str:
    """How many there are; a row for each ground behind the unedited cut-outs, beside white."""
    counts = (
        f"{found['stamps']} stamps of {found['classes']} classes, which cover {found['object_share']:.0%} of the image."
    )
    rows = []
    for key, name in GROUNDS.items():
        one = found["grounds"][key]
        lost = ["", ""] if key == "white" else [f"{one['of_those_right']:.1%}", _drop(one)]
        rows.append([name, f"{one['accuracy']:.1%}", *lost])
    head = ["ground", "right", "of those that are right on white", "lost of all (95 %)"]
    return f"{counts}\n\n{markdown_table(head, rows)}"


def edits_table(found: Mapping[str, Any]) -> str:
    """A row for each edit: right, and lost, before each background."""
    names = list(found["edits"])
    rows = [["unedited", *(f"{found['edits'][name]['accuracy']:.1%}" for name in names)]]
    for kind in found["edits"][names[0]]["kinds"]:
        edited = [found["edits"][name]["kinds"][kind] for name in names]
        rows.append([f"`{kind}`", *(f"{one['accuracy']:.1%} · {_drop(one)}" for one in edited)])
    return markdown_table(["right · lost, in points (95 %)", *names], rows)


def lost_table(found: Mapping[str, Any]) -> str:
    """A row for each attribute: how many of the images that are right unedited any of its edits makes wrong."""
    names = list(found["edits"])
    attributes = list(found["edits"][names[0]]["lost_by"])
    rows = [[name, *(str(found["edits"][one]["lost_by"][name]) for one in names)] for name in attributes]
    rows.append(["any of them", *(str(found["edits"][one]["lost_by_any"]) for one in names)])
    rows.append(["right unedited", *(str(round(_images(found, one))) for one in names)])
    return markdown_table(["wrong by", *names], rows)


#: What the page calls the pictures of the control.
CONTROLS = {
    "original": "unedited",
    "control": "painted (`inver`)",
    "near": "painted within 3 pixels of the object alone",
    "far": "painted outside of these alone",
    "pasted": "copied and pasted",
    "grain": "drawn again with another grain",
}


def control_table(root: Path) -> str:
    """A row for each way to change nothing: how many scenes the plain classifier has right, a column for each seed."""
    found = read_all_measured(root, "edit-control")
    rows = [[text, *(f"{100 * one['right'][name]:.1f}" for one in found)] for name, text in CONTROLS.items()]
    for weight in found[0]["complexity"]:
        moves = [" and ".join(f"{100 * move:+.1f}" for move in one["complexity"][weight]) for one in found]
        rows.append([f"complexity of plain and complex backgrounds, λ = {weight}, %", *moves])
    return markdown_table(["right, %", *(f"seed {one['seed']}" for one in found)], rows)


#: The classifiers of the record, its edits, and those that copy and paste makes too.
MODELS = ("plain", "augmented", "grouped", "dense", "unbiased")
PAINTED = ("plain_background", "complex_background", "adversarial_background")
PASTED = (
    "random_background", "full_size", "size_10", "size_8", "size_5", "random_position", "random_direction"
)  # fmt: skip
ATTRIBUTES = ("background", "size", "position", "direction")


def drops_table(root: Path) -> str:
    """What each edit costs each classifier, in points: means over the seeds of the record."""
    seeds = [one.measured() for one in read_seeds(root / "results", "attribute_editing")]

    def points(name: str) -> float:
        return 100 * fmean(value for seed in seeds if (value := mean_of(seed[name])) is not None)

    def row(said: str, name: str, beside: tuple[str, ...] = ()) -> list[str]:
        each = [points(f"{model}.{name}") for model in MODELS]
        others = [fmean(points(f"{way}.{model}.{name}") for model in MODELS) for way in beside]
        return [said, *(f"{one:.1f}" for one in (*each, fmean(each), *others)), *[""] * (2 - len(others))]

    rows = [row("accuracy unedited, %", "original"), row("`inver`", "inver", ("paste",))]
    rows += [row(f"`{kind}`", kind) for kind in PAINTED]
    rows += [row(f"`{kind}`", kind, ("paste", "oracle")) for kind in PASTED]
    rows.append(row("mean, neutral between models", "neutral"))
    rows += [row(f"worst attribute: {one}, % of images", f"worst.{one}") for one in ATTRIBUTES]
    return markdown_table(["drop, points", *MODELS, "mean", "copy and paste", "drawn truly"], rows)


def _images(found: Mapping[str, Any], name: str) -> float:
    edited = found["edits"][name]
    return float(edited["accuracy"]) * int(edited["images"])


def _drop(edited: Mapping[str, float]) -> str:
    drop, low, high = (100 * edited[name] for name in ("drop", "low", "high"))
    return f"{drop:.1f} ({low:.1f} to {high:.1f})"


TABLES: Tables = {
    "docs/systems/attribute_editing.md": {
        "drops": drops_table,
        "edit-control": control_table,
        "real-grounds": from_measured("real-edits", grounds_table),
        "real-edits": from_measured("real-edits", edits_table),
        "real-losses": from_measured("real-edits", lost_table),
    }
}
