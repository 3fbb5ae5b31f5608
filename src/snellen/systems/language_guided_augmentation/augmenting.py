"""A classifier and its training images → edits that stand for its shortcuts → tokens → images without them: ASPIRE.

Edited images lie in ``OUT-edits``, tokens in ``OUT-tokens``, the generated set in ``OUT``. A stopped call keeps what is
finished. No group label is read.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError, RunConflictError
from snellen.core.images import ImageSet, Provenance
from snellen.core.preprocessing import to_image
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.rehearsal import rehearsing
from snellen.core.run import canonical_json, write_atomically
from snellen.data.class_balance import FLAG, synthetic
from snellen.data.files.labels import align_labels
from snellen.data.files.manifest import load_manifest
from snellen.methods.generation.made_images import generating_on, generator_of
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import Source
from snellen.methods.synthesis.synthesizing import synthesize_into
from snellen.methods.synthesis.synthetic_set import RECORD, WHAT, SyntheticSet
from snellen.models.diffusion.learned_tokens import row_of
from snellen.runs.estimate import Estimate, Planned
from snellen.runs.generated_files import write_manifest
from snellen.runs.given import Images, Model, given_classifier, given_images
from snellen.runs.runner import Running
from snellen.runs.safe_names import file_names
from snellen.runs.settings import Setting
from snellen.runs.thumbnails import png
from snellen.runs.unfinished import check_free
from snellen.runs.whole_file import whole_file
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.systems.language_guided_augmentation.discovery import class_statuses
from snellen.systems.language_guided_augmentation.examining import Examined
from snellen.systems.language_guided_augmentation.personalising import TokenFit, personalised

#: Fewer edited images teach no token.
FEWEST = 5

#: The record of the edits, and images that are decided together.
EDITED, TOGETHER = "edits.json", 64


class FewEditsWarning(UserWarning):
    """A class has too few edited images for a token."""


@dataclass(frozen=True, eq=False)
class Looked:
    """Which images of a set the classifier gets right, and what edits of them show.

    Attributes:
        images: the training images, labelled in the classifier's classes.
        found: phrases, edits and ranking; None where nothing can be known.
        statuses: of each class, in words.
    """

    images: ImageSet
    found: Examined | None
    statuses: Mapping[str, str]


def look(
    classifier: Classifier, images: ImageSet, check: Shortcuts, rng: Randomness, progress: Progress | None = None
) -> Looked:
    """Edit what captions name in training images that the classifier gets right.

    Args:
        classifier: that is examined.
        images: real training images; their groups are not read.
        check: says what reads, edits and ranks, and how many images are taken.
        rng: of the check.
        progress: callback that receives progress updates.

    Raises:
        InputError: images without labels or captions, or without what finds phrases.
    """
    aligned = align_labels(images.for_fitting(), classifier.class_names)
    why = check.missing(classifier, aligned, frozenset())
    if why is not None:
        raise InputError(f"shortcuts of {classifier.name} on {images.name}: {check.name} {why}")
    labelled = np.flatnonzero(aligned.known_labels >= 0)
    draws = rng.for_examples([aligned.ids[row] for row in labelled]).uniform("share", ()).numpy()
    drawn = labelled[draws < check.sized(len(labelled)).share]
    decisions = _decisions(classifier, aligned, drawn.tolist(), progress or Silent())
    rows = [row for row in drawn.tolist() if row in decisions]
    labels = [int(aligned.labels[row]) for row in rows]
    correct = [decisions[row] == label for row, label in zip(rows, labels, strict=True)]
    names = classifier.class_names
    why = check.nothing_known([decisions[row] for row in rows], correct)
    if why is not None:
        return Looked(aligned, None, dict.fromkeys(names, why))
    right = [(row, label) for row, label, hit in zip(rows, labels, correct, strict=True) if hit]
    found = check.examined(aligned, [row for row, _ in right], [label for _, label in right], classifier, rng)
    statuses = class_statuses(labels, correct, found.records, found.rows, len(names))
    return Looked(aligned, found, dict(zip(names, statuses, strict=True)))


@torch.no_grad()
def _decisions(classifier: Classifier, images: ImageSet, rows: Sequence[int], progress: Progress) -> dict[int, int]:
    """Position → decision; images that cannot be read are left out."""
    found, what = dict[int, int](), "deciding on training images"
    progress.begin(what, len(rows))
    for start in range(0, len(rows), TOGETHER):
        read, prepared = list[int](), []
        for row in rows[start : start + TOGETHER]:
            try:
                prepared.append(classifier.prepare(images.read(row)))
            except RejectedImageError:
                continue
            read.append(row)
        if read:
            scores = classifier(torch.stack(prepared).to(classifier.device))
            decided = torch.where(scores.isfinite().all(1), classifier.predict(scores), -1)
            found |= dict(zip(read, decided.tolist(), strict=True))
        progress.advance(what, len(rows[start : start + TOGETHER]))
    progress.finish(what)
    return found


def write_edits(looked: Looked, folder: Path, plan: Mapping[str, Any]) -> ImageSet | None:
    """Write the selected edits as a data set, and every edit with its provenance; None where none was selected."""
    found, names = looked.found, looked.images.class_names or ()
    rows = []
    if found is not None and found.chosen:
        ids = [f"{row.example_id}/{row.phrase}" for row in found.chosen]
        for row, key, name in zip(found.chosen, ids, file_names(ids, ".png"), strict=True):
            image = found.discovery.again(row).image
            assert image is not None, "edits that flip a decision were made"
            with whole_file(folder / "images" / name) as stream:
                stream.write(png(to_image(image)))
            origin = Provenance(origin="edited", generator=row.editor, source_id=row.example_id)
            known = {"label": names[row.label], "phrase": row.phrase, FLAG: "1", "split": "train"}
            provenance = origin.model_dump_json(exclude_none=True)
            rows.append({"path": f"images/{name}", "id": key, **known, "provenance": provenance})
        write_manifest(folder / "manifest.csv", rows)
    record = {
        "plan": dict(plan),
        "statuses": dict(looked.statuses),
        "selected": dict(Counter(row["label"] for row in rows)),
        "edits": [] if found is None else found.provenance(names),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / EDITED, canonical_json(record))
    return load_manifest(folder / "manifest.csv") if rows else None


def edited_images(
    classifier: Classifier,
    images: ImageSet,
    folder: Path,
    *,
    check: Shortcuts,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImageSet:
    """Training images without what decisions lean on, as a data set; a finished folder of the same is taken as it is.

    Raises:
        InputError: nothing that decisions lean on was found; the folder holds the reasons.
        RunConflictError: the folder holds edits of something else.
    """
    plan = {
        "classifier": classifier.fingerprint(),
        "images": images.fingerprint(progress),
        "check": check.record(),
        "seed": seed,
    }
    if (folder / EDITED).is_file():
        record = json.loads((folder / EDITED).read_text(encoding="utf-8"))
        if record["plan"] != json.loads(canonical_json(plan)):
            raise RunConflictError(f"{folder} holds edits of another classifier, other images or other settings")
        edits = load_manifest(folder / "manifest.csv") if record["selected"] else None
        statuses = record["statuses"]
    else:
        looked = look(classifier, images, check, Randomness(seed).child(check.name), progress)
        edits, statuses = write_edits(looked, folder, plan), looked.statuses
    if edits is None:
        listed = "; ".join(f"{name}: {why}" for name, why in statuses.items())
        raise InputError(
            f"no edit of {images.name} shows a shortcut of {classifier.name}, so there is nothing to generate "
            f"({listed}); {folder / EDITED} lists every edit"
        )
    return edits


def teachable(edits: ImageSet, classes: Sequence[str], instead: str) -> tuple[Source | None, list[str]]:
    """Classes with enough edited images for a token, with these; and the classes with fewer, or with none.

    Args:
        edits: that were selected; they know nothing of a class without any.
        classes: all that images are wanted of.
        instead: the warning's words of what becomes of a class without a token.
    """
    own = edits.class_names or ()
    held = Counter(own[label] for label in edits.labels.tolist())
    names = tuple(dict.fromkeys((*classes, *own)))
    few = [name for name in names if held[name] < FEWEST]
    if few:
        listed = ", ".join(f"{name} ({held[name] or 'none'})" for name in few)
        warnings.warn(
            f"fewer than {FEWEST} edited images teach no token: {listed}; {instead}", FewEditsWarning, stacklevel=3
        )
    kept = tuple(name for name in names if name not in few)
    if not kept:
        return None, few
    rows = [row for row, label in enumerate(edits.labels.tolist()) if own[label] in kept]
    return Source(kept, align_labels(edits.select(rows), kept)), few


def without_shortcuts(
    model: Model,
    data: Images,
    *,
    out: Path | str,
    method: ByName | None = None,
    check: Shortcuts | None = None,
    fit: TokenFit | None = None,
    count: int = 100,
    batch_size: int = 32,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> SyntheticSet:
    """Find what a classifier leans on in its training images, and generate training images without it.

    Every class of the training images gets as many. One with fewer than five selected edits, or with none, gets no
    token: it is generated from its name by the generator as it is, so that being generated says nothing of the class.

    Args:
        model: a classifier, or a reference of one.
        data: its labelled real training images, or a reference of some; of images with splits, those of ``train``.
        out: new folder of the generated set; edits and tokens go into ``OUT-edits`` and ``OUT-tokens`` beside it.
        method: generator, guidance (that of ``fit`` by default) and steps; other templates than the usual ones
            replace the prompt of ``fit``.
        check: what reads captions, edits images and ranks phrases.
        fit: numbers of the tokens; the published ones by default.
        count: images of each class for each trial.
        batch_size: images that are generated at once.
        seed: of everything random.
        device: where it runs: ``cpu``, ``cuda`` or ``mps``.
        progress: callback that receives progress updates.
        running: see :class:`~snellen.runs.runner.Running`; of the generation.

    Raises:
        InputError: images that cannot be examined, nothing that the classifier leans on, too few edits for a token, or
            a generator without one text tower.
        RunConflictError: a folder holds edits or tokens of something else.
    """
    folder, numbers, asked = Path(out), fit or TokenFit(), method or ByName()
    if asked.adapter is not None:
        raise InputError(f"shortcuts learns tokens of its own; leave out the adapter {asked.adapter}")
    if count < 1:
        raise InputError(f"at least 1 image of each class is generated; got {count}")
    check_free(folder, RECORD, WHAT)
    source = Source.of_images(given_images(data))
    assert source.images is not None
    made = int(synthetic(source.images).sum())
    if made:
        raise InputError(f"shortcuts are looked for in real images, and {made} of {source.images.name} are not")
    examined = check or Shortcuts()
    with generating_on(device):
        row_of(generator_of(asked.generator), numbers.word)  # refused before hours of edits
        if rehearsing():
            raise Planned(_estimate(source.images, examined, numbers, folder, count, batch_size))
        classifier = given_classifier(model, source.images)
        edits = edited_images(
            classifier,
            source.images,
            folder.with_name(f"{folder.name}-edits"),
            check=examined,
            seed=seed,
            progress=progress,
        )
        wanted = _classes_shown(classifier, source.images)
        taught, few = teachable(edits, wanted, "these are generated from their names by the generator as it is")
        if taught is None:
            raise InputError(
                f"no class has {FEWEST} edited images ({', '.join(few)} have fewer), so no token is learned; train "
                f"with the edited images alone: {folder.with_name(f'{folder.name}-edits') / 'manifest.csv'}"
            )
        tokens = folder.with_name(f"{folder.name}-tokens")
        settings = [
            Setting(
                f"trial-{trial}",
                personalised(
                    asked,
                    taught,
                    tokens / f"trial-{trial}",
                    fit=numbers,
                    plain=few,
                    trial=trial,
                    seed=seed,
                    progress=progress,
                ),
            )
            for trial in range(numbers.trials)
        ]
        return synthesize_into(
            settings,
            Source(wanted, align_labels(edits, wanted)),
            folder,
            count=count,
            batch_size=batch_size,
            seed=seed,
            progress=progress or Silent(),
            **running,
        )


def _classes_shown(classifier: Classifier, images: ImageSet) -> tuple[str, ...]:
    """Classes of the classifier that training images show, in its order."""
    labels = set(align_labels(images.for_fitting(), classifier.class_names).labels.tolist())
    return tuple(name for place, name in enumerate(classifier.class_names) if place in labels)


def _estimate(images: ImageSet, check: Shortcuts, fit: TokenFit, folder: Path, count: int, batch_size: int) -> Estimate:
    """What is known without a measurement."""
    classes = len(images.class_names or ())
    made = count * classes * fit.trials
    return Estimate(
        what=WHAT,
        folder=folder,
        items=made,
        shards=-(-made // batch_size),
        notes=(
            f"first about {round(check.sized(len(images)).share * len(images)):,} images are edited, each phrase of "
            f"their captions, and {fit.trials * classes} tokens are learned in {fit.steps:,} steps of {fit.batch_size} "
            f"images each",
        ),
    )
