"""A method *is* its parameters plus one verb: a frozen, validated, keyword-only model.

Fields are the only place where a default lives; command-line options, forms, JSON schema, documentation, ``repr`` and
cache keys come from them. Models in fields are reference strings, methods in fields are tagged unions
(:func:`method_field`), tensors are never fields. The protocols below are the verbs; a method implements exactly one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, ValidationError, WithJsonSchema
from torch import Tensor

from snellen.core import index
from snellen.core.artifact import Artifact
from snellen.core.budget import Budget
from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion
from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.core.outcomes import Attacked, AttackedViews, Certified, Described, Edited, Explained, Scanned, Searched
from snellen.core.parameters import Parameters, holds_text
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.refused_values import refused_values
from snellen.core.view_renderer import ViewRenderer

if TYPE_CHECKING:
    from snellen.methods.forgetting.forget_split import ForgetSplit
    from snellen.methods.treatments.treatment import Patient
    from snellen.models.classifiers.trainable import PreparedNetwork

Need = Literal["labels", "scores", "gradients", "logits", "layers", "units", "groups", "masks", "captions", "bags"]


class Method(Parameters):
    """Base of all methods: parameters, and what the method needs, finds and treats.

    >>> class Fade(Method):
    ...     name = "fade"
    ...     amount: float = 0.5
    >>> Fade(amount=0.25)
    Fade(amount=0.25)
    >>> Fade().cache_key() == Fade(amount=0.5).cache_key()
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=False)

    #: Name in the index of the area.
    name: ClassVar[str] = ""
    #: What it needs of the classifier and the images.
    needs: ClassVar[frozenset[Need]] = frozenset()
    #: Kinds of finding that its evidence can show (see :data:`snellen.core.finding.KINDS`).
    finds: ClassVar[tuple[str, ...]] = ()
    #: Kinds of finding that it treats.
    treats: ClassVar[tuple[str, ...]] = ()

    def cache_key(self) -> str:
        """Hash of class and parameters (sha256, hex)."""
        target = f"{type(self).__module__}:{type(self).__qualname__}"
        record = {"class": target, "parameters": self.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """Name and parameters as JSON values: what manifests store, and what :func:`build` takes."""
        return {"method": self.name, **self.model_dump(mode="json")}

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this method cannot run on these inputs, or None when it can."""
        return missing_needs(self.needs, classifier, images)

    @property
    def concurrent(self) -> bool:
        """Whether threads may use it side by side: no field names another model. A method of one's own says so itself.

        >>> from snellen.methods.attacks.pgd import PGD
        >>> from snellen.methods.attacks.transfer import Transfer
        >>> PGD().concurrent, Transfer(surrogate="bundled:fashion-cnn").concurrent
        (True, False)
        """
        return type(self).__module__.partition(".")[0] == "snellen" and not holds_text(self)

    def load(self) -> None:
        """Load what its references name, so that an unusable one raises before a long run and not in it."""


def missing_needs(
    needs: frozenset[Need], classifier: Classifier | None = None, images: ImageSet | None = None
) -> str | None:
    """First unmet need, in words, or None.

    >>> from torch import nn
    >>> by_url = Classifier(lambda images: images.flatten(1)[:, :2], class_names=["a", "b"], name="by-url")
    >>> missing_needs(frozenset({"gradients"}), by_url)
    'needs gradients, and by-url gives none'
    """
    if classifier is not None:
        offered = {
            "gradients": classifier.differentiable,
            "scores": classifier.output != "labels",
            "logits": classifier.output == "logits",
            "layers": classifier.module is not None,
        }
        for need, has in offered.items():
            if need in needs and not has:
                return f"needs {need}, and {classifier.name} gives none"
    if images is not None:
        columns = {"units": "unit_id", "groups": "group", "masks": "mask", "captions": "caption", "bags": "bag_id"}
        if "labels" in needs and not images.has_labels:
            return f"needs labels, and {images.name} has none"
        for need, column in columns.items():
            if need in needs and all(value is None for value in images.column(column)):
                return f"needs {need} (column {column}), and {images.name} has none"
    return None


def build(area: str, value: str | Mapping[str, Any] | Method) -> Method:
    """Make a method from its name, from ``{"method": name, **parameters}``, or pass one through.

    Raises:
        UnknownNameError: no method of that name in the area.
        InputError: parameters that the method refuses, or a method of another area.
    """
    if isinstance(value, Method):
        verb = index.AREAS[area]
        has_verb = isinstance(value, VERBS[verb])
        if not has_verb:
            raise InputError(f"{value!r} is no method of {area}: it has no verb {verb!r}")
        return value
    parameters: dict[str, Any] = {"method": value} if not isinstance(value, Mapping) else {**value}
    name = parameters.pop("method", None)
    if not isinstance(name, str):
        raise InputError(f"a method of {area} is written as a name or as {{'method': name, ...}}; got {value!r}")
    method_class = index.entry(area, name).load()
    try:
        built = method_class.model_validate(parameters)
    except ValidationError as error:
        raise InputError(
            f"parameters of {name}: {refused_values(error, name, known=method_class.model_fields)}"
        ) from error
    assert isinstance(built, Method)
    return built


def method_field(area: str, form: type[Any] | None = None) -> Any:  # noqa: ANN401 - a type, for use in annotations
    """Type of a field that holds any method of an area: a tagged union that imports a method only when it is chosen.

    ``form`` is one of the forms of the area's verb, where the field takes no other.
    """

    def checked(value: str | Mapping[str, Any] | Method) -> Method:
        method = build(area, value)
        if form is not None and not isinstance(method, form):
            raise InputError(f"{method.name} is of another form of the verb {index.AREAS[area]!r} than is used here")
        return method

    return Annotated[
        Method,
        BeforeValidator(checked),
        PlainSerializer(lambda method: method.record()),
        WithJsonSchema({"type": "object", "required": ["method"], "x-snellen-area": area}),
    ]


# -- the verbs -------------------------------------------------------------------------------------------------------


@runtime_checkable
class Attack(Protocol):
    """Search for a changed image that meets a criterion."""

    def attack(
        self, classifier: Classifier, images: Tensor, labels: Tensor, *, criterion: Criterion, rng: Randomness
    ) -> Attacked:
        """Attack prepared images (n, 3, h, w); for a targeted criterion, ``labels`` are the targets."""
        ...


@runtime_checkable
class ViewAttack(Protocol):
    """Search for cameras from which objects meet a criterion: an attack that changes no pixel of a given image."""

    def attack_views(
        self,
        classifier: Classifier,
        renderer: ViewRenderer,
        objects: Sequence[str],
        labels: Tensor,
        *,
        criterion: Criterion,
        rng: Randomness,
        progress: Progress | None = None,
    ) -> AttackedViews:
        """Attack objects of the renderer, int64 labels (n,); draws are bound to the objects' ids.

        Views go through the classifier's own preparation, as its images do.
        """
        ...


@runtime_checkable
class Shift(Protocol):
    """The same images under a nuisance."""

    def shift(self, images: Tensor, severity: float, *, rng: Randomness) -> Tensor:
        """Change prepared images (n, 3, h, w); severity is continuous, 0 is the identity."""
        ...


@runtime_checkable
class Editing(Protocol):
    """The same images with one attribute of their object changed: a shift of images whose objects are known."""

    def edit(
        self,
        images: Tensor,
        masks: Tensor,
        severity: float,
        *,
        rng: Randomness,
        backgrounds: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Edited:
        """Edit prepared images (n, 3, h, w) with objects bool (n, h, w); severity is continuous, 0 is the identity.

        ``backgrounds`` (n, 3, h, w) are what lies behind each object; None: the method makes them. ``labels`` (n,) are
        classes, for edits that mislead a classifier. An image that cannot be edited has a status, and is no error.
        """
        ...


@runtime_checkable
class Explainer(Protocol):
    """Say why."""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness) -> Explained:
        """Explain the scores of ``targets`` (n,) on prepared images (n, 3, h, w)."""
        ...


@runtime_checkable
class Describer(Protocol):
    """Describe the parts of a model over a set of images: an explanation that belongs to no single image."""

    def describe(
        self, classifier: Classifier, images: ImageSet, *, rng: Randomness, progress: Progress | None = None
    ) -> Described:
        """Describe parts of the classifier, such as units of a layer, by what they do on the images."""
        ...


@runtime_checkable
class Certifier(Protocol):
    """Say what can be proven."""

    def certify(self, classifier: Classifier, images: Tensor, *, rng: Randomness) -> Certified:
        """Certify prepared images (n, 3, h, w)."""
        ...


@runtime_checkable
class Scanner(Protocol):
    """Look for something planted, wrong or unwanted."""

    def scan(
        self,
        images: ImageSet,
        *,
        classifier: Classifier | None = None,
        rng: Randomness,
        progress: Progress | None = None,
    ) -> Scanned:
        """Scan images, before a classifier where one is given, or a classifier by means of images.

        A method whose ``needs`` name something that a classifier gives is never called without one. An image that
        cannot be used is a row of status ``rejected``, never an error. What is random in one image depends on its id.
        """
        ...


@runtime_checkable
class Recipe(Protocol):
    """Make something trained."""

    def fit(
        self,
        data: ImageSet,
        *,
        base: Artifact | None = None,
        rng: Randomness,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> Artifact:
        """Fit to data, starting from ``base`` if given.

        ``checkpoint`` is a file to save to, and to go on from if it exists; ``progress`` receives updates.
        """
        ...


@runtime_checkable
class Treatment(Protocol):
    """Make a classifier better at what was found, from the weights that it has."""

    def treat(
        self,
        network: PreparedNetwork,
        patient: Patient,
        *,
        rng: Randomness,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> PreparedNetwork:
        """Change a network that takes prepared images; ``patient`` holds findings, training and validation images."""
        ...


@runtime_checkable
class GeneratorMethod(Protocol):
    """Make images."""

    def generate(self, requests: Sequence[Mapping[str, Any]], *, rng: Randomness) -> ImageSet:
        """Generate one image per request (prompt, class, source id …), with provenance."""
        ...


@runtime_checkable
class Forgetter(Protocol):
    """Remove what was learned from some examples."""

    def forget(
        self,
        network: PreparedNetwork,
        split: ForgetSplit,
        *,
        rng: Randomness,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> PreparedNetwork:
        """A network that should behave as if it had never seen the forget set; the given one stays as it is."""
        ...


@runtime_checkable
class Searcher(Protocol):
    """Search a space of designs."""

    def search(
        self,
        space: object,
        evaluate: Callable[[object], float],
        *,
        budget: Budget,
        rng: Randomness,
    ) -> Searched:
        """Find a design with a high value of ``evaluate`` within the budget."""
        ...


@runtime_checkable
class World(Protocol):
    """Make images with everything known."""

    def images(self, *, split: Split = "test") -> ImageSet:
        """One split of the world; an image does not depend on how many there are, and splits share no individual."""
        ...


@runtime_checkable
class Defect(Protocol):
    """Spoil an image set on purpose, and keep the truth."""

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The same set with the defect; the column ``planted`` holds for each image what was done to it."""
        ...


#: The protocol of each verb; an attack is on images or on the camera, a shift is of images alone or of images with
#: masks, an explanation of images or of the model itself.
VERBS: dict[str, type[Any] | tuple[type[Any], ...]] = {
    "attack": (Attack, ViewAttack),
    "shift": (Shift, Editing),
    "explain": (Explainer, Describer),
    "certify": Certifier,
    "scan": Scanner,
    "fit": Recipe,
    "treat": Treatment,
    "generate": GeneratorMethod,
    "forget": Forgetter,
    "search": Searcher,
    "images": World,
    "plant": Defect,
}
