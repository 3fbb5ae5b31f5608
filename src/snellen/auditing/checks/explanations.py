"""Why the worst mistakes were made: where the evidence for the wrong class lies, as pictures."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from snellen.checks.check import Check, CheckInput, CheckResult, Several
from snellen.checks.panels import HeatPicture, Panel, keep_file
from snellen.checks.per_image import confident_mistakes
from snellen.core.errors import RejectedImageError
from snellen.core.method import Need
from snellen.core.preprocessing import to_image, to_unit
from snellen.methods.explanations.filling import blurred_filling
from snellen.methods.explanations.maps import pixel_map
from snellen.methods.explanations.overlay import scale_colours
from snellen.methods.explanations.partition_shap import partition_shap
from snellen.methods.explanations.score import TargetScore

#: Opacity of colours where there is no evidence.
FAINT = 0.4

#: Longest side of a picture, pixels; smaller ones are enlarged, so that pixels stay squares.
SIDE = 224


#: Images among which a budget shares the passes for the few mistakes: as many as it keeps at first.
SHARED_BY = 1_000


class Explanations(Check):
    """Partition SHAP of the most confident mistakes, for the class that was decided; nothing is tested.

    A removed block shows the image out of focus. The maps are made again from the images at the end of an audit, and
    only where pictures of images may be kept.
    """

    name: ClassVar[str] = "explanations"
    summary: ClassVar[str] = "where the evidence for the most confident mistakes lies, as pictures"
    several: ClassVar[Several | None] = "each"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})

    examples: int = Field(6, ge=0, description="mistakes that are explained")
    evaluations: int = Field(200, ge=2, description="passes for each of them")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return frozenset()  # it counts or points, and gives no figure

    def cost(self) -> float:
        """A few are explained, however many there are: shared by :data:`SHARED_BY` images, as if no more came."""
        return self.examples * self.evaluations / SHARED_BY

    def conclude(self, reading: CheckInput) -> CheckResult:
        """One panel of pictures; nothing where no picture may be kept, or nothing is wrong."""
        if reading.audited is None or not reading.pictured:
            return CheckResult()
        position = {key: index for index, key in enumerate(reading.audited.ids)}
        rows = {key: row for row, key in enumerate(reading.images.ids)}
        pictures: dict[str, bytes] = {}
        shown = []
        for mistake in confident_mistakes(reading.images, reading.names, self.examples):
            row = rows[mistake.example_id]
            try:
                image = to_unit(
                    reading.classifier.preparation.pixels(reading.audited.read(position[mistake.example_id]))
                )
            except RejectedImageError:
                continue  # readable before, and not any more: the figures stand without this picture
            evidence = self._evidence(reading, image, int(reading.images.predictions[row]))
            if evidence is None:
                continue
            sure = "" if reading.images.confidence is None else f", {reading.images.confidence[row]:.0%} sure"
            shown.append(
                HeatPicture(
                    title=mistake.example_id,
                    caption=f"{mistake.caption}{sure}",
                    plain=_keep(pictures, to_image(image)),
                    heat=_keep(pictures, coloured(image, evidence)),
                )
            )
        if not shown:
            return CheckResult()
        panel = Panel(
            check=self.name,
            title="Why the worst mistakes were made",
            about=(
                "The most confident mistakes, and where the evidence for the class that was decided lies. It is how "
                "much of its probability each block gave (Partition SHAP over a blurred image). It shows what the "
                "model used, not what it should have used; what speaks against the class is left dark."
            ),
            x_label="evidence for the decision, of the most",
            heat=tuple(shown),
        )
        return CheckResult(panels=[panel], pictures=pictures)

    def _evidence(self, reading: CheckInput, image: Tensor, decided: int) -> Tensor | None:
        """What speaks for a class at each pixel, of the most: (h, w) in [0, 1]; None where nothing does."""
        images = image[None].to(reading.classifier.device)
        score = TargetScore(reading.classifier, torch.tensor([decided]))
        found = partition_shap(score, images, blurred_filling(images), budget=self.evaluations)
        speaks = pixel_map(found.maps)[0].cpu().clamp(min=0)
        return speaks / speaks.max() if found.status[0] == "ok" and bool(speaks.any()) else None


def coloured(image: Tensor, evidence: Tensor) -> Image.Image:
    """Values over a grey copy of an image, in the colours of the report's heat maps.

    Args:
        image: (3, h, w) in [0, 1].
        evidence: (h, w) in [0, 1].
    """
    values = evidence.double().numpy()
    grey = np.asarray(to_image(image).convert("L"), dtype=np.float64)[..., None]
    opaque = (FAINT + (1 - FAINT) * values)[..., None]  # where there is little evidence, the image is seen
    return Image.fromarray((grey * (1 - opaque) + scale_colours(values) * opaque).round().astype(np.uint8))


def _keep(pictures: dict[str, bytes], picture: Image.Image) -> str:
    """A picture by the name of its bytes, large enough to see."""
    scale = SIDE / max(picture.size)
    whole = max(int(scale), 1)
    size = (
        (picture.width * whole, picture.height * whole)
        if scale >= 1
        else (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    )
    filter = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    return keep_file(pictures, picture.resize(size, filter), quality=85)
