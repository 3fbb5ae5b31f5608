"""Make images that were edited in turns, with the label of every pixel and the whole history of every image.

arXiv 2511.19111: a base image, a region and an instruction, masked inpainting by a model that is drawn, up to three
times; a score decides what is kept. The split belongs to the *base image*, so that no photograph is on both sides, and
each split has images that nobody edited. Of each try of a turn all images of one editor are edited together, so that a
pipeline is loaded once for a group, and not again where the group before was its own. Parts are written whole, and an
interrupted call resumes behind the last one, if editors, planners and bases are still the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError, RunConflictError
from snellen.core.preprocessing import to_image, to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.run import canonical_json, write_atomically
from snellen.core.unwritable import explained_unwritable, tidy
from snellen.models.diffusion.editor import Editor
from snellen.runs.safe_names import file_names
from snellen.runs.unfinished import UNFINISHED, check_free, opened
from snellen.runs.whole_file import whole_file
from snellen.systems.edited_regions.labels import MOST_EDITORS, changed_pixels, composite, label_map, write_labels
from snellen.systems.edited_regions.loaded_editors import LoadedEditors, identities_of_editors
from snellen.systems.edited_regions.made_set import (
    FITTING,
    MANIFEST,
    RECORD,
    BaseKind,
    Decision,
    MadeSet,
    Provenance,
    TurnRecord,
    read_made,
    table_of,
)
from snellen.systems.edited_regions.measures import area_histogram
from snellen.systems.edited_regions.planning import EDIT_TYPES, Instruction, Planner
from snellen.systems.edited_regions.small_editors import hash_mask

TASK = "editing images"


@dataclass(frozen=True, eq=False)
class Base:
    """An image to edit.

    Attributes:
        id: its name; edits of one base share a split.
        image: bytes (3, h, w).
        kind: whether it was photographed or generated.
        planner: makes what decides about its edits; called anew for each edited version.
    """

    id: str
    image: Tensor
    kind: BaseKind
    planner: Callable[[], Planner]


class EditSettings(BaseModel):
    """Numbers of the maker.

    >>> EditSettings(turns=1).turns
    1
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    turns: int = Field(3, ge=1, le=8, description="most turns of an image; each number from 1 on is as likely")
    untouched: float = Field(0.25, gt=0, lt=1, description="share of images of each split that nobody edits")
    least_score: float = Field(0.5, ge=0, le=1, description="score below which an edit is dropped")
    tries: int = Field(2, ge=1, description="candidates for a turn before it is left out")
    composited: bool = Field(True, description="put the pixels outside of the region back")
    border: int = Field(2, ge=0, le=16, description="pixels of the soft border of a composite, inside of the region")
    versions: int = Field(1, ge=1, description="edited versions of each base image")
    val: float = Field(0.1, gt=0, lt=1, description="share of the base images that are for validation")
    test: float = Field(0.2, gt=0, lt=1, description="share of the base images that are for tests")
    part: int = Field(64, ge=1, description="images that are edited before they are written")
    batch_size: int = Field(16, ge=1, description="images of one call of an editor")


@dataclass
class _Piece:
    """An image that is being edited."""

    id: str
    base: Base
    split: str
    turns: int
    image: Tensor
    planner: Planner
    file: str = ""
    masks: list[Tensor] = field(default_factory=list)
    kept: list[TurnRecord] = field(default_factory=list)


def splits_of(ids: Sequence[str], settings: EditSettings, seed: int) -> dict[str, str]:
    """The split of each base image: train, val or test, by a draw of its own name and exact shares.

    Raises:
        InputError: too few base images for an untouched and an edited one in each split.
    """
    order = sorted(ids, key=lambda one: derive_seed(seed, "split", one))
    test, val = max(2, round(settings.test * len(ids))), max(2, round(settings.val * len(ids)))
    if len(set(ids)) != len(ids) or len(ids) < test + val + 2:
        raise InputError(
            f"{len(ids)} base images, {len(set(ids))} of them different: six different ones are needed at least, an "
            f"untouched and an edited one in each of train, val and test"
        )
    return {one: "test" if at < test else "val" if at < test + val else "train" for at, one in enumerate(order)}


def untouched_of(splits: Mapping[str, str], settings: EditSettings, seed: int) -> frozenset[str]:
    """The base images that nobody edits: the share of each split, at least one and never all."""
    chosen: set[str] = set()
    for split in ("train", "val", "test"):
        own = sorted((one for one in splits if splits[one] == split), key=lambda one: derive_seed(seed, "clean", one))
        chosen |= set(own[: min(max(1, round(settings.untouched * len(own))), len(own) - 1)])
    return frozenset(chosen)


def make_edits(
    bases: Sequence[Base],
    editors: Mapping[str, Callable[[], Editor]],
    folder: Path | str,
    *,
    settings: EditSettings | None = None,
    identities: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> MadeSet:
    """Edit base images in turns, and write images, label maps, a manifest and the record.

    The folder gets ``images/``, ``labels/`` (see :mod:`snellen.systems.edited_regions.labels`), ``manifest.csv`` with
    the columns path, id, label, unit_id, split, edits, base_kind and turns, ``fitting.csv`` with the same of the splits
    train and val, and ``edits.json``, the record, last.

    Args:
        bases: six or more, sides as the editors take them.
        editors: name → what loads it; one at a time is kept. The first has label 1. Each is loaded once before all
            edits for its method ``identity()``, a hash of weights and settings, unless it is in ``identities``.
        folder: new, or one in which the same call was interrupted; a finished one is read again.
        settings: numbers.
        identities: hashes of editors, for those without that method, or to spare the loading.
        seed: of splits, turns, instructions and edits.
        progress: callback that receives progress updates.

    Raises:
        InputError: too few bases, no editor, an editor that cannot be used, identities of others, a folder with
            something else, or a set to compare with editors or planners that nothing identifies.
        RunConflictError: the folder holds another set: other editors, planners, bases, settings or another seed.
    """
    settings, folder, listener = settings or EditSettings(), Path(folder), progress or Silent()
    if not 1 <= len(editors) <= MOST_EDITORS:
        raise InputError(f"editors are 1 to {MOST_EDITORS}, got {len(editors)}")
    splits = splits_of([one.id for one in bases], settings, seed)
    kept = LoadedEditors(editors)
    known = identities_of_editors(kept, identities or {})
    planners = _planners(bases)
    plan: dict[str, Any] = {
        "kind": "edited regions",
        "settings": settings.model_dump(mode="json"),
        "editors": list(editors),
        "identities": known,
        "planners": planners,
        "bases": hash_tensors({f"{at}": one.image for at, one in enumerate(bases)}),
        "ids": [one.id for one in bases],
        "kinds": [one.kind for one in bases],
        "seed": seed,
    }
    check_free(folder, RECORD, "set of edited images")
    unknown = [f"the editor {name!r}" for name, one in known.items() if one is None]
    unknown += ["a planner"] if planners is None else []
    if unknown and any((folder / name).exists() for name in (RECORD, UNFINISHED)):
        raise InputError(
            f"{folder} holds a set of edited images, and {', '.join(unknown)} has no method identity(): it cannot be "
            f"compared with that of the set; give it one, or choose another folder"
        )
    with explained_unwritable(folder):
        if (folder / RECORD).is_file():
            return _finished(folder, plan)
        maker = _Maker(kept, folder, settings, seed, listener)
        pieces = maker.pieces(bases, splits)
        parts = [pieces[at : at + settings.part] for at in range(0, len(pieces), settings.part)]
        listener.begin(TASK, len(pieces))
        with opened(folder, plan) as run:
            for number, part in enumerate(parts):
                if not run.done(number):
                    run.write_shard(number, {}, maker.made(part))
                listener.advance(TASK, len(part))
            extras = [run.shard_extra(number) for number in range(len(parts))]
            made = _concluded(plan, list(editors), extras)
            fitted = [one for one in made.images if one.split != "test"]
            write_atomically(folder / MANIFEST, table_of(made.images).encode())
            write_atomically(folder / FITTING, table_of(fitted).encode())
            write_atomically(folder / RECORD, canonical_json(made.model_dump(mode="json")))
            shutil.rmtree(run.folder)
        tidy(folder)
        listener.finish(TASK)
    return made


def _planners(bases: Sequence[Base]) -> str | None:
    """Hash of the planners of all bases; None where one has none."""
    digest = hashlib.sha256()
    for base in bases:
        own = getattr(base.planner(), "identity", None)
        if own is None:
            return None
        digest.update(f"{own()}\n".encode())
    return digest.hexdigest()


def _finished(folder: Path, plan: Mapping[str, Any]) -> MadeSet:
    """The set in a folder, if it is of this plan."""
    made = read_made(folder)
    wanted = json.loads(canonical_json(plan))
    if made.plan != wanted:
        differing = sorted(key for key in {*made.plan, *wanted} if made.plan.get(key) != wanted.get(key))
        raise RunConflictError(
            f"{folder} holds another set (differs in: {', '.join(differing)}); choose another folder"
        )
    return made


@dataclass(frozen=True, eq=False)
class _Maker:
    editors: LoadedEditors
    folder: Path
    settings: EditSettings
    seed: int
    progress: Progress

    def pieces(self, bases: Sequence[Base], splits: Mapping[str, str]) -> list[_Piece]:
        clean = untouched_of(splits, self.settings, self.seed)
        found = []
        for base in bases:
            for version in range(1 if base.id in clean else self.settings.versions):
                name = base.id if self.settings.versions == 1 else f"{base.id} {version + 1}"
                draw = float(Randomness(self.seed).child("turns").for_examples([name]).uniform("number", ())[0])
                turns = 0 if base.id in clean else 1 + min(int(draw * self.settings.turns), self.settings.turns - 1)
                found.append(_Piece(name, base, splits[base.id], turns, to_unit(base.image), base.planner()))
        for piece, name in zip(found, file_names([piece.id for piece in found], ".png"), strict=True):
            piece.file = name
        return found

    def made(self, pieces: Sequence[_Piece]) -> dict[str, Any]:
        """Edit the images of a part, write them, and return their record."""
        decisions: list[Decision] = []
        for turn in range(1, self.settings.turns + 1):
            waiting = [piece for piece in pieces if piece.turns >= turn]
            for attempt in range(self.settings.tries):
                decided = self._grouped(waiting, turn, attempt)
                decisions += decided
                refused = {one.id for one in decided if not one.accepted and one.score is not None}
                waiting = [piece for piece in waiting if piece.id in refused]
        for piece in pieces:
            with whole_file(self.folder / "images" / piece.file) as stream:
                to_image(piece.image).save(stream, "PNG")
            masks = [mask.numpy() for mask in piece.masks]
            labels = label_map(masks, [one.label for one in piece.kept], tuple(piece.image.shape[1:]))  # type: ignore[arg-type]
            write_labels(self.folder / "labels" / piece.file, labels, len(self.editors.names))
        return {
            "images": [_provenance(piece).model_dump(mode="json") for piece in pieces],
            "decisions": [one.model_dump(mode="json") for one in decisions],
        }

    def _grouped(self, waiting: Sequence[_Piece], turn: int, attempt: int) -> list[Decision]:
        """All candidates of one try, editor by editor; the one in memory comes first, and the log has another order."""
        names = self.editors.names
        groups: dict[str, list[tuple[_Piece, Randomness]]] = {}
        for piece in waiting:
            rng = Randomness(self.seed).child("turn", turn, attempt).for_examples([piece.id])
            groups.setdefault(names[int(rng.integers("editor", (), 0, len(names))[0])], []).append((piece, rng))
        order = sorted(groups, key=lambda name: (name != self.editors.name, names.index(name)))
        made = {name: self._edited(name, groups[name], turn, attempt) for name in order}
        return [one for name in names if name in made for one in made[name]]

    def _edited(self, name: str, group: Sequence[tuple[_Piece, Randomness]], turn: int, attempt: int) -> list[Decision]:
        """The candidates of one editor; those that are accepted are entered."""
        planned = [(piece, rng, _instruction(piece, rng)) for piece, rng in group]
        ready = [(piece, rng, one) for piece, rng, one in planned if one is not None and bool(one.mask.any())]
        known = {"turn": turn, "attempt": attempt, "editor": name}
        decisions = [
            Decision(id=piece.id, edit="change", prompt="", score=None, accepted=False, **known)
            for piece, _, one in planned
            if one is None or not bool(one.mask.any())
        ]
        editor = self.editors.get(name) if ready else None
        sizes = list(dict.fromkeys(tuple(piece.image.shape) for piece, _, _ in ready))
        for size in sizes:
            alike = [one for one in ready if tuple(one[0].image.shape) == size]
            for at in range(0, len(alike), self.settings.batch_size):
                batch = alike[at : at + self.settings.batch_size]
                seeds = [rng.generator(f"edit {piece.id}").initial_seed() % 2**31 for piece, rng, _ in batch]
                images = torch.stack([piece.image for piece, _, _ in batch])
                masks = torch.stack([one.mask for _, _, one in batch])[:, None]
                assert editor is not None
                edited = editor.edit(images, masks, [one.prompt for _, _, one in batch], seeds).cpu().float()
                for (piece, _, one), picture, drawn in zip(batch, edited, seeds, strict=True):
                    record = self._turn(piece, one, picture.clamp(0, 1), drawn, name)
                    decisions.append(
                        Decision(
                            id=piece.id,
                            edit=one.edit,
                            prompt=one.prompt,
                            score=record.score,
                            accepted=bool(piece.kept) and piece.kept[-1] is record,
                            **known,
                        )
                    )
        return decisions

    def _turn(self, piece: _Piece, instruction: Instruction, picture: Tensor, seed: int, name: str) -> TurnRecord:
        """Judge an edit, and enter it where it is good enough: bytes, as a file would hold them."""
        before, pasted = piece.image, self.settings.composited
        after = composite(before, picture, instruction.mask, self.settings.border) if pasted else picture
        after = after.mul(255).round() / 255
        score, changed = (
            piece.planner.score_edit(before, after, instruction, seed),
            changed_pixels(before, after, instruction.mask),
        )
        record = TurnRecord(
            editor=name,
            label=1 + self.editors.names.index(name),
            edit=instruction.edit,
            prompt=instruction.prompt,
            mask_sha256=hash_mask(instruction.mask),
            area=float(instruction.mask.float().mean()),
            seed=seed,
            composited=pasted,
            score=score,
            changed_inside=changed.inside,
            changed_outside=changed.outside,
        )
        if score >= self.settings.least_score:
            piece.image = after
            piece.masks.append(instruction.mask)
            piece.kept.append(record)
            piece.planner.accept(instruction)
        return record


def _instruction(piece: _Piece, rng: Randomness) -> Instruction | None:
    """A drawn type of edit, and a drawn region that can be edited so; None where there is no region."""
    regions = [one for one in piece.planner.propose_regions(piece.image, rng.child("regions")) if bool(one.mask.any())]
    if not regions:
        return None
    types = [one for one in EDIT_TYPES if any(one in region.edits for region in regions)]
    edit = types[int(rng.integers("type", (), 0, len(types))[0])]
    fitting = [region for region in regions if edit in region.edits]
    region = fitting[int(rng.integers("region", (), 0, len(fitting))[0])]
    return piece.planner.write_edit(piece.image, region, edit, rng.child("prompt"))


def _provenance(piece: _Piece) -> Provenance:
    return Provenance(
        id=piece.id,
        file=piece.file,
        base=piece.base.id,
        base_kind=piece.base.kind,
        base_sha256=hash_tensors({"image": piece.base.image}),
        split=piece.split,
        turns=tuple(piece.kept),
    )


def _concluded(plan: dict[str, Any], names: Sequence[str], extras: Sequence[Mapping[str, Any]]) -> MadeSet:
    images = tuple(Provenance.model_validate(one) for extra in extras for one in extra["images"])
    decisions = tuple(Decision.model_validate(one) for extra in extras for one in extra["decisions"])
    judged = [one for one in decisions if one.score is not None]
    return MadeSet(
        plan=plan,
        editors=dict(enumerate(names, start=1)),
        images=images,
        decisions=decisions,
        acceptance=float(np.mean([one.accepted for one in judged])) if judged else None,
        areas=area_histogram([turn.area for one in images for turn in one.turns]),
    )
