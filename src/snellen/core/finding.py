"""What an audit says: a kind, how much harm, the facts, examples, and what treats it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from snellen.core.errors import unknown_name

#: Every kind of finding; plugins add names that begin with ``x-``.
KINDS: dict[str, str] = {
    "accuracy": "the classifier is often wrong",
    "class_order": "the classes of the model and of the labels are in another order",
    "in_sample": "the classifier was trained on these images, so that its figures do not hold for new ones",
    "unanswered_classes": "the classifier never answers several of its classes",
    "worst_class": "one class is much worse than the others",
    "costly_decisions": "decisions ignore what errors cost",
    "slice": "a hidden subgroup is much worse than the rest",
    "group_gap": "a known group is much worse than another",
    "calibration": "confidence does not match accuracy",
    "threshold": "another threshold for a label loses fewer decisions",
    "corruption": "accuracy falls under noise, blur, compression or weather",
    "nuisance": "accuracy falls under a generated, continuous nuisance",
    "natural_shift": "accuracy falls on naturally different images",
    "adversarial": "small deliberate changes flip the decision",
    "gradient_masking": "apparent robustness comes from useless gradients",
    "backdoor": "a planted trigger controls the decision",
    "background_shortcut": "decisions follow the background, each background to a class of its own",
    "background_sensitivity": "right decisions are lost before other backgrounds",
    "shortcut": "decisions of a class lean on an object or a background beside it",
    "attribute": "the decision changes with an attribute that should not matter",
    "viewpoint": "the decision changes with the camera",
    "metadata_shortcut": "labels follow from metadata, such as the scanner, without a look at the image",
    "label_noise": "labels look wrong",
    "multi_label": "images hold several classes but have one label",
    "duplicate": "the same image occurs more than once",
    "leakage": "the same image or unit is in training and test",
    "drift": "test images differ from training images",
    "out_of_distribution": "single images are unlike those that the classifier knows",
    "membership": "scores give away which images the classifier was trained on",
    "coverage": "kinds of images are missing",
    "data_quality": "files or pixels are damaged or unusual",
    "unsafe_content": "images are unsafe",
    "generated_content": "images look generated",
    "manipulated_region": "part of an image was edited",
    "generator_failure": "a generator does not follow its prompt",
    "memorisation": "a generator repeats its training images",
    "unforgotten": "what should be forgotten is still there",
    "temporal": "frames of a video contradict each other",
    "texture_seam": "a texture does not tile",
    "bag_accuracy": "bags, such as slides, are decided hardly better than by guessing",
    "missed_bags": "positive bags are called negative more often than the others are called wrongly",
    "bag_false_alarms": "bags that are not positive are called so more often than positive ones are missed",
    "bag_group_gap": "the bags of a known group are served worse than those of another",
    "bag_evidence": "positive bags are found for images that are not positive",
    "bag_contradiction": "labels of bags contradict those of their images",
    "aliasing": "decisions or outputs change with sub-pixel position",
}

#: Kinds that come first for any harm: they make every other figure doubtful.
FIRST = frozenset({"class_order", "in_sample"})

#: Kinds of stress: what breaks every classifier to some degree. They come after the defects of this one.
STRESS = frozenset(
    {
        "corruption",
        "nuisance",
        "natural_shift",
        "adversarial",
        "attribute",
        "viewpoint",
        "aliasing",
        "background_sensitivity",
    }
)

#: Kinds that make other figures doubtful without a loss of their own: among the defects for any harm.
UNDERMINING = frozenset({"gradient_masking"})

#: Kinds whose harm is a share of the bags; for all others it is a share of the images.
OF_BAGS = frozenset(
    {"bag_accuracy", "missed_bags", "bag_false_alarms", "bag_group_gap", "bag_evidence", "bag_contradiction"}
)

#: Figures of an audit that count bags; all others count images.
FIGURES_OF_BAGS = frozenset({"bags.auroc", "bags.accuracy", "bags.sensitivity", "bags.specificity"})

Level = Literal["note", "mild", "moderate", "severe"]

#: Lower bounds of harm for each level. Harm is a share of the data lost: 0.05 is at least one image in twenty.
LEVELS: dict[Level, float] = {"severe": 0.20, "moderate": 0.05, "mild": 0.005, "note": 0.0}


class FindingExample(BaseModel):
    """One image that shows a finding; ``image`` and ``after`` are names of pictures beside the report, if any.

    Attributes:
        example_id: id of the image.
        caption: what is seen, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    example_id: str
    caption: str = ""
    image: str | None = Field(None, description="sha256 of the picture before")
    after: str | None = Field(None, description="sha256 of the picture after, when something was done to it")


class Finding(BaseModel):
    """One problem of a classifier or its data.

    ``harm`` = lower 95 % bound of (error under the condition − error of its control) × share of the data concerned,
    and never below 0. Its level is that of the harm beyond what healthy classifiers lose under the same stress.

    Attributes:
        kind: one of the kinds that Snellen knows, or one of a plugin, which begins with x-.
        title: one sentence for a reader.
        examples: images that show it.

    >>> Finding(kind="corruption", harm=0.12, title="Blur costs 20 points").level
    'moderate'
    >>> Finding(kind="corruption", harm=0.12, usual=0.11, title="Blur costs 20 points").level
    'mild'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    subject: str = Field("", description="what it is about: a corruption, a class, a threat; the same in every run")
    harm: float = Field(ge=0, le=1, description="share of the data lost, a lower bound at 95 %")
    usual: float = Field(
        0.0, ge=0, le=1, description="harm of the same stress that one in ten healthy classifiers exceeds; 0: not known"
    )
    plausibility: float = Field(
        1.0, gt=0, le=1, description="of such damage in the declared domain: harm is multiplied by it for the order"
    )
    p_value: float | None = Field(None, ge=0, le=1, description="one-sided, of no harm; None when nothing was tested")
    title: str
    facts: dict[str, float | int | str] = Field(default_factory=dict, description="figures behind the title")
    examples: tuple[FindingExample, ...] = ()
    treatments: tuple[str, ...] = Field((), description="commands or recipes that treat it")

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS and not kind.startswith("x-"):
            raise unknown_name("kind of finding", kind, KINDS)
        return kind

    @property
    def key(self) -> str:
        """Name by which the finding is found again in another run: kind and subject."""
        return f"{self.kind}:{self.subject}" if self.subject else self.kind

    @property
    def excess(self) -> float:
        """Harm beyond the usual."""
        return max(self.harm - self.usual, 0.0)

    @property
    def level(self) -> Level:
        """note, mild, moderate or severe: :attr:`excess` by :data:`LEVELS`."""
        return level_of(self.excess)

    @property
    def shown_level(self) -> str:
        """The level as people read it: "usual" where healthy classifiers lose as much.

        >>> Finding(kind="corruption", harm=0.4, usual=0.5, title="Fog costs 42 points").shown_level
        'usual'
        """
        return "usual" if self.usual and self.level == "note" else self.level

    @property
    def whole_level(self) -> Level:
        """The level of all harm, the usual included: what a gate counts."""
        return level_of(self.harm)


def level_of(harm: float) -> Level:
    """The level of a harm, by :data:`LEVELS`."""
    return next(level for level, bound in LEVELS.items() if harm >= bound)


def rank(findings: Iterable[Finding]) -> list[Finding]:
    """Order: :data:`FIRST`; then defects of this classifier and its data, then stress, then notes; each by harm.

    Harm is counted beyond the usual and times its plausibility in the domain; ties go by all harm, kind and title, so
    that the order is reproducible.

    >>> fog = Finding(kind="corruption", harm=0.4, title="fog")
    >>> dead = Finding(kind="worst_class", harm=0.1, title="bag")
    >>> [finding.title for finding in rank([fog, dead])]
    ['bag', 'fog']
    """

    def place(finding: Finding) -> tuple[object, ...]:
        if finding.kind in FIRST:
            group = 0
        elif finding.kind in UNDERMINING:
            group = 1
        elif finding.level == "note":
            group = 3
        else:
            group = 2 if finding.kind in STRESS else 1
        return group, -finding.excess * finding.plausibility, -finding.harm, finding.kind, finding.title

    return sorted(findings, key=place)
