"""What generated training images do on real garments and on scenes of 64 pixels, in the pages of three systems.

The figures are made by scripts/measure_generated_garments.py and scripts/measure_generated_scenes.py; those of poor
classes are in the record of scaling_laws. A block whose figures are not there yet is empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snellen.metrics.effective_robustness import MEAN
from snellen.reproduction.scaling_laws.materials import SMALL, UNKNOWN, shapes
from snellen.reproduction.shared.documents import Tables, markdown_table, mean_words, measured_path, read_measured
from snellen.systems.conditional_generation.arms import LONGER, MATCHED, MIXED, REAL
from snellen.systems.conditional_generation.reading import generated_name

#: Kinds of students of a robustness study, and what a page calls them.
ARMS = {
    REAL: "real images",
    "by_name": "generated images",
    f"by_name{MATCHED}": "both, equal updates",
    f"by_name{MIXED}": "both, twice the updates",
    LONGER: "real images, twice the updates",
}


#: Settings of the record of the laws, and what a page calls them.
SETTINGS = {
    "plain": "class names, 1",
    "guided": "class names, 2",
    "strong": "class names, 4",
    "captioned": "captions, 2",
}


def garments_arms(found: Mapping[str, Any]) -> str:
    """Accuracy of real, generated and mixed images of garments."""
    names = {"real": "real images", "generated": "generated images", "mixed": "both"}
    rows = [
        [
            names[name],
            *(
                cell
                for test in ("in distribution", "damaged")
                for cell in (share(arm[test]["accuracy"]), change(arm[test]))
            ),
        ]
        for name, arm in ((name, found["arms"][name]) for name in names)
    ]
    return _joined(
        "### On real garments",
        f"Fashion-MNIST: {found['real']} real images of each class, and {found['generated']} of each that "
        f"`bundled:fashion-diffusion` made. All students have as many updates, and there are "
        f"{found['seeds']} of each kind. "
        f"They were measured on {found['tested']:,} test images, as they are and damaged by noise, blur, fog, "
        f"brightness or contrast. Changes are against real images alone, in points, with 95 % intervals. The generator "
        f"saw 60,000 real training images, so its images hold more than those {found['real']} of each class.",
        markdown_table(["trained on", "in distribution", "change", "damaged", "change"], rows),
    )


def garments_gains(found: Mapping[str, Any]) -> str:
    """What the plan promised on garments, and what was measured."""
    return _joined(
        "### What a plan promised on real garments",
        f"Fashion-MNIST: the plan read {found['real']} real images of each class, and `bundled:fashion-diffusion` "
        f"generated others. It kept {guidance(found['kept'])}. Then {found['seeds']} other students of each kind were "
        f"measured on {found['tested']:,} test images that the plan had not read. Losses are in nats; less is better.",
        gains_table(found["gains"]),
        promises(found["gains"]),
    )


def scenes_arms(found: Mapping[str, Any]) -> str:
    """Accuracy of real, generated and mixed scenes of 64 pixels."""
    part = found["shift"]
    generated = generated_name("by_name")
    tests = list(dict.fromkeys(row["test"] for row in part["accuracies"] if row["test"] != generated))
    of = {(row["arm"], row["test"]): row for row in part["accuracies"]}
    mean = {row["arm"]: row for row in part["robustness"] if row["shift"] == MEAN}
    rows = [
        [
            words,
            *(share(of[arm, test]["accuracy"]) for test in tests),
            points(mean[arm]["tau"] if arm in mean else None),
        ]
        for arm, words in ARMS.items()
    ]
    first = of["by_name", tests[0]]["change"]
    equal = of[f"by_name{MATCHED}", tests[0]]["change"]
    tau = mean[f"by_name{MATCHED}"]["tau"]
    return _joined(
        "### Scenes of 64 pixels",
        f"The same question at twice the side: {part['real']} real images of each class, as many generated ones, "
        f"{part['seeds']} students of each kind, and {part['tested']} test images of each class and look. {_WHO} "
        f"The last column is the mean change under shift against real images, in points, with its 95 % interval.",
        markdown_table(["trained on", *tests, "change under shift"], rows),
        f"In distribution, generated images alone change accuracy by {points(first)} points, and both at equal updates "
        f"by {points(equal)}.",
        verdicts(
            {
                "Both beat real images under shift, at equal updates": tau is not None and tau[1] > 0,
                "Generated images alone lose in distribution": first[2] < 0,
            }
        ),
    )


def scenes_laws(found: Mapping[str, Any]) -> str:
    """Laws over guidance, poor classes, and promises, of scenes of 64 pixels."""
    part = found["laws"]
    law = {row["config"]: row for row in part["laws"]}
    grid = {row["setting"]: row for row in part["grid"]}
    rows = []
    for setting, scale in sorted(part["scales"].items(), key=lambda one: one[1]):
        poor = [row["class_name"] for row in part["classes"] if row["config"] == setting and row["group"] == "poor"]
        quality = grid[setting]["quality"]
        rows.append(
            [
                f"guidance {scale:g}",
                f"{quality['recognisability']:.2f}",
                f"{quality['diversity']:.3f}",
                exponent(law.get(setting)),
                ", ".join(poor) or "none",
            ]
        )
    rows.append(["real images", "", "", exponent(law.get("real")), ""])
    than = [
        f"Guidance {row['scale']:g} less {row['than']:g}: exponent {_signed(row['exponent'])}. Loss at the largest "
        f"size: {row['loss'][0]:+.2f} (seeds {row['loss'][1]:+.2f} to {row['loss'][2]:+.2f})."
        for row in part["differences"]
    ]
    return _joined(
        "### Scenes of 64 pixels",
        f"The same at twice the side: {part['made']} images of each class at most, {part['plan_seeds']} students of "
        f"each point. {_WHO} It never saw {' and '.join(part['unknown'])}.",
        markdown_table(["trained on", "recognised (F1)", "diversity", "exponent k", "poor classes"], rows),
        "\n".join(f"- {line}" for line in than),
        f"What the plan promised of guidance {part['scales'][part['best']]:g}, and what {part['proof_seeds']} other "
        f"students of each kind showed on {part['tested']} other test images of each class:",
        gains_table(part["gains"]),
        promises(part["gains"]),
        verdicts(
            {
                "Lower guidance gives a lower loss than the highest, in all seeds": all(
                    row["loss"][2] < 0 for row in part["differences"]
                ),
                "Lower guidance has a larger exponent": all(row["exponent"][1] > 0 for row in part["differences"]),
                "With the most promising guidance, the poor classes are those that the generator never saw": {
                    row["class_name"]
                    for row in part["classes"]
                    if row["config"] == part["best"] and row["group"] == "poor"
                }
                == set(part["unknown"]),
                "Each measured change lies within the promised interval": all(row["within"] for row in part["gains"]),
            }
        ),
    )


def scenes_adapted(found: Mapping[str, Any]) -> str:
    """Accuracy of students of shots, generated images and adapted ones, at 64 pixels."""
    part = found["adapted"]
    names = ("unadapted", "adapted", "shots", "adapted and shots", "oracle")
    words = {
        "unadapted": "the generator as it is",
        "adapted": "an adapter for each class",
        "oracle": "many real images",
    }
    rows = [
        [
            words.get(name, name),
            *map(share, part["accuracy"][name]),
            share(part["recognised"][name][0]) if name in part["recognised"] else "",
            share(part["copied"][name]) if name in part["copied"] else "",
        ]
        for name in names
    ]
    changes = [
        f"- {name[0].upper()}{name[1:]}: {points(one)} points of accuracy." for name, one in part["changes"].items()
    ]
    return _joined(
        "### Scenes of 64 pixels",
        f"The same at twice the side, with small networks that are trained from scratch instead of CLIP. Four shapes "
        f"are new to the generator and two are known. There are {part['shots']} shots and "
        f"{part['adapted_made']} generated images of each class, and {part['adapted_seeds']} seeds. {_WHO}",
        markdown_table(["trained on", "right", "right, new shapes", "recognised, new shapes", "copies of shots"], rows),
        "\n".join(changes),
        verdicts(
            {"Adapted images are better by 10 points or more": part["changes"]["adapted less unadapted"][1] > 0.1}
        ),
    )


def verdicts(expected: Mapping[str, bool]) -> str:
    """What was expected before the measurement, and whether its interval shows it."""
    rows = [[words, "holds" if found else "not shown"] for words, found in expected.items()]
    return markdown_table(["expected before the measurement", "found"], rows, ["---", "---"])


_WHO = (
    "The generator is the embedded one with an autoencoder of 64 pixels "
    "(`scripts/embedded/train_scene_autoencoder_64.py`)."
)


def recorded(root: Path) -> list[dict[str, Any]]:
    """Figures of each seed of the record of the laws."""
    return [
        json.loads(path.read_bytes())["figures"] for path in sorted((root / "results" / "scaling_laws").glob("*.json"))
    ]


def exponents(root: Path) -> str:
    """Exponents of the record of the laws, and what separates each from that of guidance 4."""
    seeds = recorded(root)
    of = {name: np.array([seed[f"{name}.exponent"] for seed in seeds]) for name in ("real", *SETTINGS)}
    words, rows = {"real": "real images", **SETTINGS}, []
    for name, values in of.items():
        less = "" if name == "strong" else mean_words(values - of["strong"], "{:+.2f}")
        rows.append([words[name], mean_words(values, "{:.2f}"), less])
    return _joined(
        f"Means over the {len(seeds)} seeds of the record, with 95 % intervals; a larger exponent is better:",
        markdown_table(["trained on", "exponent k", "less that of guidance 4"], rows),
    )


def poor_classes(root: Path) -> str:
    """Losses of each class in the record of the laws, and how often those that the generator never saw are highest."""
    seeds = recorded(root)
    tested = shapes("val", SMALL.test)
    labels, names = np.array(tested.labels), tested.class_names or ()
    unknown, rows = {names.index(name) for name in UNKNOWN}, []
    for figure, words in SETTINGS.items():
        losses = np.array([seed[f"{figure}.loss"] for seed in seeds])
        of_class = np.stack([losses[:, labels == label].mean(1) for label in range(len(names))], axis=1)
        first = sum(set(np.argsort(-one)[: len(unknown)].tolist()) == unknown for one in of_class)
        rows.append([words, *(f"{value:.2f}" for value in of_class.mean(0)), f"{first} of {len(seeds)}"])
    called = [seed["guided.poor_are_unknown"] for seed in seeds]
    return _joined(
        "The generator never saw the last two shapes. Losses of the largest students, means over the seeds:",
        markdown_table(["generated by", *names, "seeds in which these two are highest"], rows),
        f"The rule of the groups is weaker. It needs an interval of k, and in the record each size has one student. "
        f"With guidance 2 it called no class poor in {called.count(None)} of {len(seeds)} seeds. It called only others "
        f"poor in {called.count(0.0)}, and none but these two in {called.count(1.0)}. A plan has several students of "
        f"each size.",
    )


def gains_table(gains: Sequence[Mapping[str, Any]]) -> str:
    """Promised and measured changes of the loss."""
    rows = [
        [
            f"{row['real']:,}",
            f"{row['synthetic']:,}",
            _signed(row["promised"]),
            _signed(row["measured"]),
            "yes" if row["within"] else "no",
        ]
        for row in gains
    ]
    return markdown_table(
        ["real images", "generated ones added", "promised change of the loss", "measured", "within the promise"], rows
    )


def promises(gains: Sequence[Mapping[str, Any]]) -> str:
    """How many promises were kept."""
    within, apart = (sum(row[name] for row in gains) for name in ("within", "apart"))
    return (
        f"{within} of {len(gains)} measured changes lie within the promised interval. {apart} of {len(gains)} differ "
        f"from the promise by more than the errors of both."
    )


def guidance(setting: str) -> str:
    """A setting as a page names it."""
    return f"`{setting}`"


def exponent(law: Mapping[str, Any] | None) -> str:
    """K with its interval."""
    return "" if law is None or law.get("k") is None else f"{law['k']:.2f} ({law['low']:.2f} to {law['high']:.2f})"


def share(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.1f} %"


def change(measured: Mapping[str, Any]) -> str:
    """The change of an accuracy, where there is one."""
    return points(measured.get("accuracy_change"))


def points(found: Sequence[float] | None) -> str:
    """A change of shares in points, with its interval."""
    if found is None:
        return ""
    value, low, high = (100 * one for one in found)
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _signed(found: Sequence[float]) -> str:
    value, low, high = found
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def _joined(*parts: str) -> str:
    return "\n\n".join(parts)


def _where_measured(name: str, part: str | None, draw: Callable[[Any], str]) -> Callable[[Path], str]:
    """Nothing without figures; ``part`` is the one of them that is drawn, None all."""

    def block(root: Path) -> str:
        if not measured_path(root, name).exists():
            return ""
        found = read_measured(root, name)
        return draw(found) if part is None or part in found else ""

    return block


TABLES: Tables = {
    "docs/systems/conditional_generation.md": {
        "garments": _where_measured("generated-garments", None, garments_arms),
        "scenes of 64 pixels": _where_measured("generated-scenes", "shift", scenes_arms),
    },
    "docs/systems/scaling_laws.md": {
        "exponents": exponents,
        "poor classes": poor_classes,
        "garments": _where_measured("generated-garments", None, garments_gains),
        "scenes of 64 pixels": _where_measured("generated-scenes", "laws", scenes_laws),
    },
    "docs/systems/few_shot_adaptation.md": {
        "scenes of 64 pixels": _where_measured("generated-scenes", "adapted", scenes_adapted),
    },
}
