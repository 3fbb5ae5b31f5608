"""What an audit of a model on images would find to work with, before anything is measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from snellen.auditing.checks import build_check
from snellen.auditing.effort import checks_at
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import COLUMNS, ImageSet
from snellen.core.listed_names import listed_names
from snellen.data.factors import Columns
from snellen.data.files.labels import align_labels
from snellen.data.rejections import counted_reasons, listed_reasons

#: Images that are read, spread over the set.
READ = 16

#: Names, sizes or values that are listed.
_LISTED = 5


@dataclass(frozen=True)
class Probe:
    """What was found.

    Attributes:
        model: lines on the model: classes, preprocessing, what is assumed.
        data: lines on the images: their number, sizes and labels.
        known: for each meaning of a column whether the images have it, in words.
        further: other columns, which could be given a meaning.
        skipped: why a check of the full effort will not run, by name; None: it will.
        warnings: what would stop the audit, or make it say little.
    """

    model: tuple[str, ...]
    data: tuple[str, ...]
    known: Mapping[str, str]
    further: tuple[str, ...]
    skipped: Mapping[str, str | None]
    warnings: tuple[str, ...]


def probe(classifier: Classifier, images: ImageSet) -> Probe:
    """Inspect a model and a few images, and say what an audit will do with them.

    Raises:
        InputError: there are no images.
    """
    if not len(images):
        raise InputError(f"{images.name} holds no images")
    warnings: list[str] = []
    aligned = images
    try:
        aligned = align_labels(images, classifier.class_names) if images.has_labels else images
    except InputError as error:
        warnings.append(str(error))
    if not images.has_labels:
        warnings.append("no image has a label: figures of accuracy need labels (class subfolders, or --column label=…)")
    sizes, lost = _sampled(images)
    if lost:
        warnings.append(f"{len(lost)} of {min(READ, len(images))} images that were read cannot be used: "
                        f"{listed_reasons(counted_reasons(lost))}")  # fmt: skip
    model = (
        f"{classifier.name}: {len(classifier.class_names)} classes ({listed_names(classifier.class_names, _LISTED)})",
        f"preprocessing: {classifier.preprocessing}",
        *(f"assumed: {note}" for note in classifier.notes),
    )
    shapes = [f"{width}x{height}" for (width, height), _ in sizes.most_common()]
    data = (
        f"{images.name}: {len(images):,} images{_split(images)}",
        f"sizes: {listed_names(shapes, _LISTED)} of {sum(sizes.values())} that were read",
        *([f"labels: {_labels(aligned)}"] if images.has_labels else []),
        *images.notes,
    )
    return Probe(
        model,
        data,
        {name: _values(images, column) for name, column in _MEANINGS.items() if _has(images, column)},
        tuple(name for name in images.table.column_names if name not in (*COLUMNS, "path")),
        _skipped(classifier, aligned),
        tuple(warnings),
    )


#: What a column may mean that checks ask for → column.
_MEANINGS = {"unit": "unit_id", "group": "group", "bag": "bag_id", "mask": "mask", "split": "split"}


def _has(images: ImageSet, column: str) -> bool:
    return any(value is not None for value in images.column(column))


def _values(images: ImageSet, column: str) -> str:
    values = [str(value) for value in images.column(column) if value is not None]
    if column == "mask":
        return f"{len(values):,} of {len(images):,} images have one"
    different = list(dict.fromkeys(values))
    return f"{len(different):,} ({listed_names(different, _LISTED)})"


def _split(images: ImageSet) -> str:
    return f", all of the split {images.split}" if images.split is not None else ""


def _labels(images: ImageSet) -> str:
    if images.class_names is None or "label" not in images.table.column_names:
        return "several for each image"
    times = Counter(images.labels[images.labels >= 0].tolist())
    unknown = len(images) - sum(times.values())
    shown = [f"{images.class_names[label]} {count:,}" for label, count in times.most_common(_LISTED)]
    more = len(times) - len(shown)
    return (
        ", ".join(shown)
        + (f" and {more} more classes" if more > 0 else "")
        + (f"; {unknown:,} images without" if unknown else "")
    )


def _sampled(images: ImageSet) -> tuple[Counter[tuple[int, int]], list[str]]:
    """Sizes of images that are spread over the set, and why some could not be read."""
    sizes: Counter[tuple[int, int]] = Counter()
    lost: list[str] = []
    count = min(READ, len(images))
    for place in range(count):
        try:
            sizes[images.read(place * len(images) // count).size] += 1
        except RejectedImageError as error:
            lost.append(str(error))
    return sizes, lost


def _skipped(classifier: Classifier, images: ImageSet) -> dict[str, str | None]:
    checks = (build_check(name, {}) for name in checks_at("full"))
    return {check.name: check.missing(classifier, images, frozenset()) for check in checks}


def job_text(
    found: Probe,
    *,
    model: str,
    data: str,
    classes: str | None = None,
    columns: Columns | None = None,
    masks: str | None = None,
    table: str | None = None,
    built: Mapping[str, object] | None = None,
) -> str:
    """The text of an ``audit.toml`` that runs as it stands, with what was found as comments."""
    runs = [name for name in checks_at("standard") if found.skipped[name] is None]
    lines = [
        "# An audit in one file: snellen audit audit.toml. Paths are relative to this file.",
        "",
        f"model = {_quoted(model)}",
        *_comments(found.model),
        *([f"classes = {_quoted(classes)}"] if classes else []),
        *(f"{key} = {_value(value)}" for key, value in (built or {}).items()),
        "",
        f"data = {_quoted(data)}",
        *_comments(found.data),
        *_comments(f"warning: {one}" for one in found.warnings),
        *(
            [f"masks = {_quoted(masks)}"]
            if masks
            else ['# masks = "masks"    # a folder of masks called like the images']
        ),
        *([f"table = {_quoted(table)}"] if table else ['# table = "table.csv"  # a table that names the images']),
        "",
        '# train = "..."  # images the model was trained on: leakage, drift and membership',
        '# val = "..."    # images that something may be fitted to: calibration, thresholds',
        '# costs = "costs.csv"  # what errors cost: a row for each true class, a column for each decision',
        "# prevalence = 0.01  # of the positive class where the model will be used",
        "",
        "# quick, standard or full",
        'effort = "standard"',
        *_comments([f"runs: {', '.join(runs)}"]),
        *_comments(f"skipped: {name}: {why}" for name, why in found.skipped.items() if why is not None),
        '# checks = ["+backdoor", "-slices"]  # more checks, and fewer',
        '# threats = ["linf:8/255"]  # what the model must withstand',
        "# limit = 1000  # images, drawn at random",
        '# out = "audit"  # run directory',
        "",
        "# What columns mean: unit (patient, lot, video), group (hospital, scanner), label, split.",
        '# Several groups: group = ["hospital", "scanner", "age:40,60"], where numbers are edges of bands.',
        "[columns]",
        *(f"{_quoted(meant)} = {_value(column)}" for meant, column in (columns or {}).items()),
        *_comments(f"{meant}: {words}" for meant, words in found.known.items()),
        *_comments([f"columns without a meaning: {', '.join(found.further)}"] if found.further else []),
        "",
        "# Parameters of checks.",
        "# [settings.corruption]",
        "# severities = [1, 3, 5]",
        "",
        "# What makes the command end with code 3.",
        "# [gate]",
        '# require = ["clean.accuracy>=0.9"]',
        '# fail_on = "severe"',
    ]
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    r"""A TOML string: JSON's escapes are TOML's, which wants DEL escaped, too.

    >>> print(_quoted('a"b\x7f'))
    "a\"b\u007f"

    Raises:
        InputError: a file name that is not UTF-8.
    """
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(f"{text!r} is not UTF-8, and TOML cannot hold it; rename the file")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    """A TOML value of a number, a text, a list, or a mapping with such.

    >>> _value({"num_classes": 7, "pool": "max"}), _value((96, 96))
    ('{"num_classes" = 7, "pool" = "max"}', '[96, 96]')

    Raises:
        InputError: None, or what TOML has no form for.
    """
    if value is None:
        raise InputError("TOML has no null: leave the argument out, or audit without a file")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(str(key))} = {_value(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):  # nan and inf, and no NaN and Infinity
        return repr(value)
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _comments(lines: Iterable[str]) -> list[str]:
    """Comments: names of images and classes are data, and may hold new lines and what TOML allows in no comment."""
    plain = (" ".join(line.split()) for line in lines)
    return [f"# {''.join(letter if letter.isprintable() else '�' for letter in line)}" for line in plain]
