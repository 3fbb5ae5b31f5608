"""Do decisions hold while an image moves: generated frames that follow it, beside the same image under a known pan."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Companion
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Line, Panel, Point, keep_picture
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError, UnknownNameError
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.core.preprocessing import to_unit
from snellen.metrics.clustered import ClusteredMean, clustered_mean
from snellen.models.classifiers.references import load_classifier
from snellen.systems.text_image_to_video.given_frames import BLANK
from snellen.systems.text_image_to_video.pretrained import SCHEME, AnyVideoModel, load_pretrained_video_model
from snellen.systems.text_image_to_video.video_model import SampleSettings, load_video_model
from snellen.systems.text_image_to_video.videos import square
from snellen.systems.text_image_to_video.watching import (
    TOGETHER,
    Watched,
    continued,
    decided,
    joined,
    panned,
    watched_frames,
)

#: Fewer videos than this, with a first frame that is decided rightly, are not judged.
FEWEST = 10

#: A video model of whose frames the judge finds the class in fewer than this does not keep it.
KEPT = 0.5


class Motion(Check):
    """Right decisions that are lost in the frames that follow an image, beyond those lost as the camera pans over it.

    The image is the first frame of a video that a model generates; its class stays. Both kinds of frames have the size
    of the video model, and only images that are decided rightly at that size count. In a pan the truth is known; in a
    generated video it is only as good as the generator. So a finding needs a second classifier, which judges the
    frames: what that one loses as well is taken for an error of the generator, and counts in neither. Without one
    there are figures and pictures, and no finding.
    """

    name: ClassVar[str] = "motion"
    summary: ClassVar[str] = "whether decisions hold in the frames that follow an image (a video model, on request)"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    by_default: ClassVar[bool] = False

    model: str = Field(
        "",
        description="folder of a video model, as snellen generate text-image-to-video trains it, or diffusers:FOLDER",
    )
    prompts: tuple[str, ...] = Field(
        ("{}",), min_length=1, description="texts of the motion, one drawn for each image; {} stands for its class"
    )
    judge: str | None = Field(
        None, description="reference of a second classifier of the same classes; none: figures, but no finding"
    )
    images: int = Field(64, ge=FEWEST, description="images that become videos, at most, drawn by their ids")
    frames: int | None = Field(None, ge=2, description="of each video; none: as the model was trained")
    sampling: SampleSettings = Field(default_factory=lambda: SampleSettings(), description="how videos are sampled")
    pan: float = Field(0.03, gt=0, le=0.25, description="share of the width that the camera moves from frame to frame")
    examples: int = Field(5, ge=0, description="pictures for the finding")

    @field_validator("prompts")
    @classmethod
    def _once_each(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(prompts)) != len(prompts):
            raise ValueError(f"each text only once, got {prompts}")
        return prompts

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why it cannot run: nothing moves the images."""
        if not self.model:
            return (
                f"needs a video model: --set {self.name}.model=FOLDER (snellen generate text-image-to-video trains one)"
            )
        return super().missing(classifier, images, companions)

    def resolved(self, classifier: Classifier) -> Motion:
        """As it is; what cannot be used is refused now, and not after hours.

        Raises:
            InputError: no such model or judge, or one of other classes.
            UnknownNameError: a word that the model does not know, in the texts of every class.
        """
        if self.model:
            self._nameable(self._model(classifier), classifier)
            self._judge(classifier)
        return self

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names("lost", "generated.flips", "panned.flips")

    def cost(self) -> float:
        """Videos are of a fixed number of images and not of each audited one, and are not counted here."""
        return 0.0

    def conclude(self, reading: CheckInput) -> CheckResult:
        """One hypothesis: generated motion costs no more right decisions than a pan."""
        images = reading.images
        if reading.audited is None:
            return CheckResult(skipped="the audited images are not known any more")
        model = self._model(reading.classifier)
        nameable = self._nameable(model, reading.classifier)
        drawn = self._drawn(reading, nameable)
        watched, unread = self._watched(model, drawn, reading)
        words = ", ".join(name for name, known in zip(reading.names, nameable, strict=True) if not known)
        notes = (
            [f"Motion: the video model has no words for these classes, which are left out: {words}."] if words else []
        )
        notes += [f"Motion: {len(unread)} of {len(drawn)} images cannot be read; first: {one}." for one in unread[:1]]
        if len(watched.rows) < FEWEST:
            return CheckResult(
                notes=notes,
                skipped=f"of {len(drawn)} images only {len(watched.rows)} are decided rightly when they have "
                f"{model.side} pixels, as the video model makes them, and {FEWEST} are needed",
            )
        if watched.shown.mean() < KEPT:
            return CheckResult(
                notes=notes,
                skipped=f"{self.judge} finds the class in {watched.shown.mean():.0%} of the generated frames: this "
                f"video model does not keep it, and nothing follows for the classifier",
            )
        units = None if images.units is None else images.units[watched.rows]
        lost = clustered_mean(watched.lost, units, pseudo_units=1.0)
        metrics = {
            f"{self.name}.lost": _figure(lost, float(watched.lost.mean()), -1.0),
            f"{self.name}.generated.flips": _flips(watched.generated, units),
            f"{self.name}.panned.flips": _flips(watched.panned, units),
        }
        pictures: dict[str, bytes] = {}
        examples = self._examples(watched, reading, pictures)
        notes.append(
            f"Motion: figures are of {len(watched.rows)} images at {model.side} pixels. "
            + (
                f"{self.judge} finds the class in {watched.shown.mean():.0%} of the generated frames; others count in "
                f"none of them."
                if self.judge is not None
                else "Whether a generated frame still shows its class was not judged, so nothing is concluded: name a "
                f"second classifier, --set {self.name}.judge=REFERENCE."
            )
        )
        return CheckResult(
            metrics=metrics,
            hypotheses=[
                Hypothesis(
                    lost.p_value(),
                    lambda confidence: max(lost.lower(confidence), 0.0) * len(watched.rows) / len(drawn),
                    partial(self._finding, watched, lost, examples),
                )
            ]
            if self.judge is not None
            else [],
            panels=[self._panel(watched, units)],
            lists={self.name: self._rows(watched, reading)},
            notes=notes,
            pictures=pictures,
        )

    def _model(self, classifier: Classifier) -> AnyVideoModel:
        if self.model.startswith(SCHEME):
            half = torch.bfloat16 if classifier.device.type == "cuda" else torch.float32
            return load_pretrained_video_model(self.model, device=str(classifier.device), dtype=half)
        folder = Path(self.model)
        if not (folder / "card.json").is_file():
            raise InputError(
                f"{self.name}.model={self.model}: no video model is there; train one with snellen generate "
                f"text-image-to-video REQUESTS --model {shlex.quote(str(folder))} --videos DATA"
            )
        return load_video_model(folder, device=str(classifier.device))

    def _nameable(self, model: AnyVideoModel, classifier: Classifier) -> NDArray[np.bool_]:
        """Whether the model knows the words of all texts of each class, (k,).

        Raises:
            UnknownNameError: of none.
        """
        known, first = np.ones(len(classifier.class_names), dtype=np.bool_), None
        for at, name in enumerate(classifier.class_names):
            try:
                model.check_texts([self._text(prompt, name) for prompt in self.prompts])
            except UnknownNameError as error:
                known[at], first = False, first or error
        if first is not None and not known.any():
            raise first
        return known

    def _judge(self, classifier: Classifier) -> Classifier | None:
        if self.judge is None:
            return None
        judge = load_classifier(self.judge, device=str(classifier.device))
        if judge.identity is not None and judge.fingerprint() == classifier.fingerprint():
            raise InputError(
                f"{self.name}.judge={self.judge} is the audited classifier itself, which would excuse its own "
                f"mistakes; name a second one"
            )
        if judge.class_names != classifier.class_names:
            raise InputError(
                f"{self.name}.judge={self.judge} has other classes, or another order of them: {judge.class_names[:4]} "
                f"in place of {classifier.class_names[:4]}"
            )
        return judge

    def _drawn(self, reading: CheckInput, nameable: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Images of classes that the model can name, drawn by their ids, in the order of the set."""
        labelled = np.flatnonzero(reading.images.labelled)
        known = labelled[nameable[reading.images.labels[labelled]]]
        if not len(known):
            return known
        bound = reading.rng.child(self.name).for_examples([reading.images.ids[row] for row in known])
        places = bound.uniform("images", ()).numpy()
        return np.sort(known[np.argsort(places, kind="stable")[: self.images]])

    def _watched(
        self, model: AnyVideoModel, drawn: NDArray[np.int64], reading: CheckInput
    ) -> tuple[Watched, list[str]]:
        """Both kinds of frames of the drawn images, decided; and the reasons of those that cannot be read."""
        classifier, judge, images = reading.classifier, self._judge(reading.classifier), reading.images
        assert reading.audited is not None
        found, unread = list[Watched](), list[str]()
        place = {key: row for row, key in enumerate(reading.audited.ids)}
        preparation, length = square(model.side), self.frames or model.frames
        for part in np.array_split(drawn, max(1, -(-len(drawn) // TOGETHER))):
            first, rows = list[Tensor](), list[int]()
            for row in part.tolist():
                try:
                    first.append(preparation.pixels(reading.audited.read(place[images.ids[row]])))
                except (RejectedImageError, KeyError) as error:
                    unread.append(f"{images.ids[row]}: {error}")
                    continue
                rows.append(row)
            if not rows:
                continue
            labels = torch.from_numpy(images.labels[rows])
            right = decided(classifier, torch.stack(first)[:, None])[:, 0] == labels
            kept = np.array(rows, dtype=np.int64)[right.numpy()]
            if not len(kept):
                continue
            start = to_unit(torch.stack(first)[right])
            bound = reading.rng.child(self.name).for_examples([images.ids[row] for row in kept])
            choice = bound.integers("prompt", (), 0, len(self.prompts)).tolist()
            names = [reading.names[images.labels[row]] for row in kept]
            videos = continued(
                model,
                start,
                [self._text(self.prompts[number], name) for number, name in zip(choice, names, strict=True)],
                bound.integers("seed", (), 0, 2**31).tolist(),
                frames=length,
                settings=self.sampling,
            )
            moved = panned(start, bound.uniform("way", ()), length, self.pan)
            found.append(watched_frames(kept, labels[right], classifier, judge, videos, moved))
        return joined(found, length), unread

    def _text(self, prompt: str, name: str) -> str:
        return prompt.replace(BLANK, name)

    def _finding(
        self, watched: Watched, lost: ClusteredMean, examples: tuple[FindingExample, ...], harm: float
    ) -> Finding:
        moving, still = (~watched.generated).mean(), (~watched.panned).mean()
        return Finding(
            kind="temporal",
            harm=harm,
            p_value=lost.p_value(),
            title=f"Decisions do not hold while images move: {moving:.0%} of generated frames lose the right one, "
            f"{still:.0%} as the camera pans",
            facts={
                "videos": len(watched.rows),
                "generated_flips": float(moving),
                "panned_flips": float(still),
                "lost": float(watched.lost.mean()),
            },
            examples=examples,
        )

    def _examples(
        self, watched: Watched, reading: CheckInput, pictures: dict[str, bytes]
    ) -> tuple[FindingExample, ...]:
        order = np.argsort(-watched.lost, kind="stable")
        found = []
        for at in order[watched.lost[order] > 0][: self.examples].tolist():
            frame = int(np.flatnonzero(~watched.generated[at])[0])
            row, said = int(watched.rows[at]), int(watched.said[at, frame])
            after = None
            if reading.pictured:
                after = keep_picture(pictures, to_unit(watched.videos[at, frame]))
            found.append(
                FindingExample(
                    example_id=reading.images.ids[row],
                    caption=f"{reading.names[reading.images.labels[row]]}, frame {frame + 2}: {reading.names[said]}",
                    after=after,
                )
            )
        return tuple(found)

    def _panel(self, watched: Watched, units: NDArray[np.int64] | None) -> Panel:
        lines = []
        for name, right, reference in (
            ("generated motion", watched.generated, False),
            ("pan of the camera", watched.panned, True),
        ):
            each = [_flips(right[:, at : at + 1], units) for at in range(right.shape[1])]
            points = [Point(x=at + 2, y=one.value, low=one.low, high=one.high) for at, one in enumerate(each)]
            lines.append(Line(name=name, points=(Point(x=1, y=0.0), *points), reference=reference))
        return Panel(
            check=self.name,
            title="Decisions while an image moves",
            about="Share of the images, all decided rightly at first, whose right decision is lost in each frame.",
            x_label="frame",
            y_label="right decisions lost",
            lines=tuple(lines),
        )

    def _rows(self, watched: Watched, reading: CheckInput) -> list[dict[str, object]]:
        """Each video, those that lose most first."""
        return [
            {
                "id": reading.images.ids[int(watched.rows[at])],
                "class": reading.names[reading.images.labels[watched.rows[at]]],
                "generated": float((~watched.generated[at]).mean()),
                "panned": float((~watched.panned[at]).mean()),
                "lost": float(watched.lost[at]),
            }
            for at in np.argsort(-watched.lost, kind="stable").tolist()
        ]


def _figure(mean: ClusteredMean, value: float, least: float) -> CheckFigure:
    low, high = mean.interval()
    return CheckFigure(value=value, low=max(low, least), high=min(high, 1.0), n=mean.n)


def _flips(right: NDArray[np.bool_], units: NDArray[np.int64] | None) -> CheckFigure:
    """Share of frames whose right decision is lost, with an interval in which units are drawn."""
    shares = (~right).mean(1)
    return _figure(clustered_mean(shares, units, pseudo_units=1.0), float(shares.mean()), 0.0)
