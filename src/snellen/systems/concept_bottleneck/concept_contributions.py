"""Why a concept bottleneck decides as it does: what each concept adds to the score, exactly, and what if it were wrong.

Yan et al., MedCBM (arXiv 2310.03182): concept i adds W_{k,i} (s_i − E_train[s_i]) to class k, here with s in units of
its deviation on the training images; with the class's bias all of them add up to the logit. A correction puts another
score in the place of s_i and computes the last layer again.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.outcomes import Explained
from snellen.core.randomness import Randomness
from snellen.systems.concept_bottleneck.bottleneck import ConceptBottleneck
from snellen.systems.concept_bottleneck.corrections import as_row, corrected, read_corrections


class ConceptContributions(Method):
    """What each concept adds to the score of the class, and the decision with concepts corrected.

    >>> ConceptContributions().top
    3
    """

    name: ClassVar[str] = "concept_contributions"
    needs: ClassVar[frozenset[Need]] = frozenset({"logits", "layers"})

    top: int = Field(3, ge=1, description="concepts for and against the class that the sentence names, at most")
    correct: tuple[str, ...] = Field(
        (), description="what a person says of every image, PHRASE=present or PHRASE=absent; told is the decision then"
    )

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: a classifier that decides by no concepts."""
        if classifier is not None and not isinstance(classifier.module, ConceptBottleneck):
            return (
                f"explains classifiers that decide by concepts, and {classifier.name} is none; make one with "
                f"snellen train concept-bottleneck"
            )
        return super().missing(classifier, images)

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness) -> Explained:
        """Explain prepared images (n, 3, h, w).

        Returns:
            ``scores`` (n, N) are the contributions, in logits. ``figures``: ``completeness_gap``, their sum and the
            bias less the logit; ``drop``, the probability that is lost where the concepts that add most are at their
            mean on the training images, beside as many others at random.

        Raises:
            UnsupportedError: a classifier that decides by no concepts.
            UnknownNameError: a correction of something that is no concept.
            InputError: a correction that is neither present nor absent.
        """
        bottleneck = bottleneck_of(classifier, self.name)
        said = read_corrections(self.correct, bottleneck.phrases)
        rng = rng.bind(len(images))
        with classifier.counting() as spent, torch.no_grad():
            logits, scores = classifier.scores_and_features(images, "concepts")
            added = bottleneck.head.contributions(scores, targets)
            bias = bottleneck.head.linear.bias[targets]
            explained = logits.gather(1, targets[:, None])[:, 0]
            figures = {"completeness_gap": added.double().sum(1) + bias - explained}
            controls: dict[str, Tensor] = {}
            chosen = min(self.top, added.shape[1])
            if added.shape[1] > chosen:
                most = added.topk(chosen, 1).indices
                others = rng.uniform("other concepts", (added.shape[1],), like=added).scatter(1, most, -1.0)
                figures["drop"] = _drop(bottleneck, scores, targets, most)
                controls["drop"] = _drop(bottleneck, scores, targets, others.topk(chosen, 1).indices)
            after = bottleneck.head(
                corrected(scores, as_row(said, bottleneck.phrases).to(scores.device), *_usual(bottleneck))
            ).argmax(1)
        decided, names = logits.argmax(1).tolist(), classifier.class_names
        told = [
            self._sentence(bottleneck.phrases, row.tolist(), names[int(of)])
            for row, of in zip(added, targets, strict=True)
        ]
        if said:
            told = [
                f"{text} With {', '.join(self.correct)} it is taken for {names[int(then)]}"
                f"{', as before' if int(then) == before else f' instead of {names[before]}'}."
                for text, then, before in zip(told, after, decided, strict=True)
            ]
        return Explained(
            targets=targets,
            status=("ok",) * len(images),
            parts=bottleneck.phrases,
            scores=added,
            figures=figures,
            controls=controls,
            text=tuple(told),
            records=tuple(
                _record(bottleneck.phrases, scores[row], added[row], float(bias[row]), float(explained[row]))
                | ({"corrected": {key: said[key] for key in said}, "after": names[int(after[row])]} if said else {})
                for row in range(len(images))
            ),
            assumptions=(
                f"scores are {bottleneck.concepts.scoring}s of the text–image model, and may not tell what their "
                f"phrases say: see concept_card for how well they do where that is known",
                "contributions are exact for the last layer; how the image came to its scores is not explained",
            ),
            spent=spent(),
        )

    def _sentence(self, phrases: tuple[str, ...], added: list[float], name: str) -> str:
        """The concepts that speak most for the class, and against it."""
        order = sorted(range(len(phrases)), key=lambda place: -added[place])
        speaking = [f"{phrases[at]} ({added[at]:+.2f})" for at in order[: self.top] if added[at] > 0]
        against = [f"{phrases[at]} ({added[at]:+.2f})" for at in order[::-1][: self.top] if added[at] < 0]
        text = f"For {name}: {', '.join(speaking) or 'nothing'}"
        return f"{text}; against it: {', '.join(against)}." if against else f"{text}."


def bottleneck_of(classifier: Classifier, name: str) -> ConceptBottleneck:
    """The network of a classifier that decides by concepts.

    Raises:
        UnsupportedError: it is another one.
    """
    if not isinstance(classifier.module, ConceptBottleneck):
        raise UnsupportedError(f"{name} explains classifiers that decide by concepts, and {classifier.name} is none")
    return classifier.module


def _usual(bottleneck: ConceptBottleneck) -> tuple[Tensor, Tensor]:
    return bottleneck.head.absent, bottleneck.head.present


def _drop(bottleneck: ConceptBottleneck, scores: Tensor, targets: Tensor, places: Tensor) -> Tensor:
    """Probability that is lost where the concepts at ``places`` (n, m) are at their mean: (n,)."""
    at_mean = scores.scatter(1, places, bottleneck.head.standardise.mean[places])
    both = [bottleneck.head(one).double().softmax(1).gather(1, targets[:, None])[:, 0] for one in (scores, at_mean)]
    return both[0] - both[1]


def _record(phrases: tuple[str, ...], scores: Tensor, added: Tensor, bias: float, logit: float) -> dict[str, Any]:
    """The card of an image: every concept with its score and what it adds, and the sum."""
    rows = zip(phrases, scores.tolist(), added.tolist(), strict=True)
    return {
        "bias": round(bias, 6),
        "logit": round(logit, 6),
        "concepts": {
            phrase: {"score": round(score, 6), "adds": round(value, 6)} for phrase, score, value in rows if value
        },
    }
