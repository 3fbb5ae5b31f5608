"""Who recognises classes: the guide, whose opinion the control follows, and the judge, who labels its images.

A set that the guide labels says nothing about the guide. So a judge may be named, which must be another network.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.methods.generation.made_images import classifier_of, hash_of, weights_of, where
from snellen.models.dual_encoders.zero_shot import fill_templates, zero_shot_classifier
from snellen.models.references import load_two_tower

if TYPE_CHECKING:
    from snellen.systems.distributional_control.method import DistributionalControl


@lru_cache(maxsize=4)
def _in_words(tower: str, words: tuple[str, ...], template: str, device: str) -> Classifier:
    return zero_shot_classifier(load_two_tower(tower, device=device), fill_templates(words, [template]))


def guide_of(method: DistributionalControl) -> Classifier | None:
    """The classifier of classes and shares, or in words, that guides the control; None without one."""
    if method.words:
        return _in_words(method.tower, method.words, method.template, where()[0])
    return classifier_of(method.classifier) if method.classifier else None


#: What a judge by two towers begins with.
TOWERS = "towers:"


def judge_of(method: DistributionalControl) -> Classifier | None:
    """The classifier that labels: another one than the guide where ``judge`` names it, else the guide.

    Raises:
        InputError: a judge without a guide, one with the guide's weights, or without the guide's classes.
    """
    guide = guide_of(method)
    if not method.judge:
        return guide
    if guide is None or guide.task == "multilabel":
        raise InputError("a judge decides among the classes of a classifier: give --classifier or --words with them")
    if method.judge.startswith(TOWERS):
        judge = _in_words(method.judge.removeprefix(TOWERS), guide.class_names, method.template, where()[0])
    else:
        judge = classifier_of(method.judge)
    own, other = (_image_tower_of(one) for one in (guide, judge))
    if own == other:
        raise InputError(f"{method.judge} is the classifier that guides; a judge is another network")
    lacking = [name for name in guide.class_names if name not in judge.class_names]
    if lacking or judge.task == "multilabel":
        raise InputError(f"{method.judge} judges single classes of {guide.name}, and has no {', '.join(lacking)}")
    return judge


def _image_tower_of(classifier: Classifier) -> str | None:
    """Hash of what reads images, without the words."""
    tower = getattr(classifier.module, "image_tower", None)
    return weights_of(classifier) if tower is None else hash_of(tower)
