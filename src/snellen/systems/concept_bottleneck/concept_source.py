"""Where concepts come from: lists in a file, or a language model that lists the signs of each class.

Yan et al., MedCBM (arXiv 2310.03182): a language model names, for each class, what an expert would look for in an image
of this kind; lists are merged over classes, and what would give the answer away is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.models.language.listed_answers import ListedAnswers
from snellen.models.language.protocol import LanguageModel, ask_for_phrases
from snellen.systems.concept_bottleneck.filtering import Dropped, keep_usable

#: The question to a language model about each class; a file needs none.
QUESTION = (
    "You help an expert to read {modality}s. List visual features by which the expert tells {name!r} from {others}. "
    "Each is a short phrase of what can be seen, in plain words, without the name of any class. At most {count}."
)


@dataclass(frozen=True)
class Concepts:
    """Phrases that name what can be seen.

    Attributes:
        phrases: N of them, each once, in the order of all scores.
        questions: what each is an answer to, the key of its list; empty where there are none, or lists are by class.
        dropped: what was left out, and why.
    """

    phrases: tuple[str, ...]
    questions: tuple[str, ...]
    dropped: tuple[Dropped, ...] = ()

    def __len__(self) -> int:
        return len(self.phrases)


def read_concepts(
    source: LanguageModel,
    class_names: Sequence[str],
    *,
    confounders: Sequence[str] = (),
    modality: str = "photograph",
    count: int = 20,
    progress: Progress | None = None,
) -> Concepts:
    """Ask a source for concepts, and leave out what must not be among them.

    >>> listed = ListedAnswers({"texture": ["striped", "plain"], "place": ["on grass"]}, name="demo")
    >>> found = read_concepts(listed, ["good", "bad"], confounders=["grass"])
    >>> found.phrases, found.questions
    (('striped', 'plain'), ('texture', 'texture'))
    >>> found.dropped[0].reason
    "names the confounder 'grass'"

    Args:
        source: lists in a file, by question, by class, or one for all; or a language model, which is queried for each
            class.
        class_names: k of them.
        confounders: words for what must not decide, such as a hospital or a background.
        modality: what the images are, in words ("chest X-ray"); for a language model.
        count: most phrases requested from a language model, of each class.
        progress: callback that receives progress updates.

    Raises:
        InputError: nothing is left, with what was dropped and why.
        ModelError: the language model cannot be reached, or does not answer with a list.
    """
    listed = isinstance(source, ListedAnswers)
    keys: tuple[str | None, ...] = tuple(class_names)
    if isinstance(source, ListedAnswers):
        keys = source.keys or (None,)
    listener, found = progress or Silent(), list[tuple[str, str]]()
    listener.begin("asking for concepts", len(keys))
    for key in keys:
        others = " and ".join(repr(other) for other in class_names if other != key)
        question = QUESTION.format(modality=modality, name=key, others=others, count=count)
        for phrase in ask_for_phrases(source, question, key=key):
            found.append((phrase, key or ""))
        listener.advance("asking for concepts", 1)
    listener.finish("asking for concepts")
    by_question = listed and not set(keys) & {None, *class_names}
    kept, dropped = keep_usable(
        [phrase for phrase, _ in found],
        class_names=class_names,
        confounders=confounders,
    )
    if not kept:
        told = "; ".join(f"{one.phrase!r} {one.reason}" for one in dropped[:5])
        raise InputError(f"{source.name} gives no concept that can be used: {told}")
    return Concepts(
        phrases=tuple(found[place][0] for place in kept),
        questions=tuple(found[place][1] for place in kept) if by_question else (),
        dropped=dropped,
    )
