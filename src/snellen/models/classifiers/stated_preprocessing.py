"""What stands beside a model says how its images are prepared: weights, a transform, an image processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from PIL import Image
from torch import Tensor

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError
from snellen.core.preprocessing import Interpolation, Preprocessing, Resize, Stated
from snellen.data.objects.transforms import steps_of
from snellen.models.classifiers.hugging_face_models import same_pixels, translate

#: Steps that change neither geometry nor values, once images are numbers in [0, 1].
_NEUTRAL = frozenset(
    {"ToTensor", "MaybeToTensor", "PILToTensor", "MaybePILToTensor", "ToImage", "ConvertImageDtype", "ToDtype", "ToRGB"}
)


def stated_by(beside: Any) -> Stated:  # noqa: ANN401 - of any library
    """What an object says about the preprocessing of the model that it was given with.

    Args:
        beside: a :class:`Preprocessing`; weights of torchvision; an image processor of transformers; or a transform of
            torchvision or timm, of resizing, centre crop and normalisation.

    Raises:
        InputError: something else, or a transform of other steps.
    """
    name = type(beside).__name__
    if isinstance(beside, Preprocessing):
        return Stated("the caller", beside)
    if hasattr(beside, "meta") and callable(getattr(beside, "transforms", None)):
        preparation, normalization = translated(beside.transforms(), name=str(beside))
        names = tuple(str(one) for one in beside.meta.get("categories", ())) or None
        return Stated(f"the weights {beside}", preparation, normalization, names)
    if hasattr(beside, "image_mean") and hasattr(beside, "do_resize"):
        return Stated(f"the {name}", *translate(beside, name=name))
    if callable(beside):
        return Stated(f"the transform {name}", *translated(beside, name=name))
    raise InputError(
        f"a {name} says nothing about preprocessing; beside a model stands its weights (torchvision), its transform, "
        f"its image processor (transformers), or a snellen.Preprocessing"
    )


def translated(transform: Callable[[Image.Image], Any], *, name: str) -> tuple[Preprocessing, Normalization]:
    """Translate a transform of torchvision or timm, and see on three images that the translation gives the same.

    Raises:
        InputError: a step that is not known here, or other pixels.
    """
    size: tuple[int, int] | None = None
    resize: Resize = "none"
    resize_to: tuple[int, int] | None = None
    interpolation, normalization = "bilinear", Normalization()
    for step in steps_of(transform):
        kind = type(step).__name__
        if kind == "ImageClassification":
            resize, resize_to, size = "shorter", (step.resize_size[0],) * 2, (step.crop_size[0],) * 2  # type: ignore[attr-defined]
            interpolation, normalization = _filter(step), _scale(step)
        elif kind == "Resize" and resize == "none":
            edges = _edges(step)
            resize, resize_to = ("shorter", edges * 2) if len(edges) == 1 else ("exact", edges)  # type: ignore[assignment]
            interpolation = _filter(step)
            size = resize_to if resize == "exact" else None
        elif kind in ("CenterCrop", "CenterCropOrPad"):
            edges = _edges(step)
            size = edges * 2 if len(edges) == 1 else edges  # type: ignore[assignment]
        elif kind == "Normalize":
            normalization = _scale(step)
        elif kind not in _NEUTRAL:
            raise _not_understood(name, f"its step {kind}")
    if interpolation not in get_args(Interpolation):
        raise _not_understood(name, f"its interpolation {interpolation}")
    preparation = Preprocessing.model_validate(
        {"size": size, "resize": resize, "resize_to": resize_to, "interpolation": interpolation}
    )

    def theirs(image: Image.Image) -> Tensor:
        made = transform(image)
        if not isinstance(made, Tensor) or made.ndim != 3:
            raise _not_understood(name, f"its result, a {type(made).__name__}")
        return made

    if not same_pixels(theirs, preparation, normalization):
        raise _not_understood(name, "what it makes of three images, which differs from its steps")
    return preparation, normalization


def _edges(step: Any) -> tuple[int, ...]:  # noqa: ANN401 - of an extra
    size = step.size
    return (int(size),) if isinstance(size, int) else tuple(int(edge) for edge in size)


def _filter(step: Any) -> str:  # noqa: ANN401 - of an extra
    return str(getattr(step.interpolation, "value", step.interpolation)).lower()


def _scale(step: Any) -> Normalization:  # noqa: ANN401 - of an extra
    return Normalization(tuple(float(value) for value in step.mean), tuple(float(value) for value in step.std))


def _not_understood(name: str, what: str) -> InputError:
    return InputError(
        f"the transform {name} cannot be translated ({what}); give the model with "
        f"preparation=snellen.Preprocessing(...) and normalization=snellen.Normalization(mean, std) to "
        f"snellen.load_classifier, in the model's own numbers"
    )
