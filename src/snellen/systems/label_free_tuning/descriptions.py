"""Sentences that describe classes, from a file, a language model or templates, and the class vectors of them.

Imam et al., NoLA (arXiv 2411.19346), section on class description embeddings, after Pratt et al. (CuPL, ICCV 2023,
arXiv 2209.03320): a language model gets several questions about each class, several times each, and its sentences stand
beside the templates. Replies of a server are kept by the hash of model and question.

W = [w_1 … w_k], w_c = norm(mean of norm(t(s)) over the texts s of class c): NoLA (arXiv 2411.19346), step 1, which is
:func:`snellen.models.dual_encoders.zero_shot.class_vectors`. A file named after a data set alone would serve one
model's vectors to another.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.core.run import canonical_json, write_atomically
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.dual_encoders.zero_shot import TEMPLATE, class_vectors, fill_templates
from snellen.models.language.listed_answers import ListedAnswers
from snellen.models.language.protocol import LanguageModel, ask_for_phrases

#: Six questions for each class, as in the paper; the words are ours.
QUESTIONS = (
    "Describe in one sentence what {} looks like in a photo.",
    "In one sentence: how can {} be recognised by eye?",
    "What shape, colours and texture does {} have? Answer in one sentence.",
    "Describe in one sentence a typical image of {}.",
    "In one sentence: what sets {} apart from things that look alike?",
    "Where is {} usually seen, and what is around it? Answer in one sentence.",
)

#: Samples of each question and sampling settings, as in the published script.
SAMPLES, TEMPERATURE, MAX_TOKENS = 10, 0.99, 50


class NoSentencesWarning(UserWarning):
    """A class has no sentences of its own: hand-made templates describe it."""


def class_texts(
    class_names: Sequence[str],
    source: LanguageModel | None,
    *,
    templates: Sequence[str] = (TEMPLATE,),
    beside_templates: bool = True,
    questions: Sequence[str] = QUESTIONS,
    samples: int = SAMPLES,
    progress: Progress | None = None,
) -> dict[str, tuple[str, ...]]:
    """All texts of each class: its sentences, and the templates with its name.

    >>> listed = ListedAnswers({"ring": ["a circle that is empty inside"]}, name="demo")
    >>> class_texts(["ring"], listed, templates=["a {}"])
    {'ring': ('a circle that is empty inside', 'a ring')}

    Args:
        class_names: k of them.
        source: who describes: lists in a file, or a language model; None for templates alone.
        templates: sentences with ``{}`` for the class name.
        beside_templates: whether templates stand beside sentences; a class without sentences has them anyway.
        questions: with ``{}`` for the class name; a file gives all sentences of a class at once.
        samples: how often a language model gets each question.
        progress: callback that receives progress updates.

    Raises:
        InputError: no classes, a name twice, templates or questions without exactly one ``{}``, or a file of one list
            for all classes.
        ModelError: the model cannot be reached.
    """
    filled = fill_templates(class_names, templates)
    if source is None:
        return filled
    for question in questions:
        if question.count("{}") != 1:
            raise InputError(f"a question has exactly one {{}} for the class name; got {question!r}")
    listener, texts = progress or Silent(), dict[str, tuple[str, ...]]()
    listener.begin("describing classes", len(filled))
    for name in filled:
        sentences = _sentences(name, source, questions, samples)
        if not sentences:
            warnings.warn(
                f"{source.name} has no sentences for the class {name!r}: the templates describe it",
                NoSentencesWarning,
                stacklevel=2,
            )
        texts[name] = tuple(dict.fromkeys([*sentences, *(filled[name] if beside_templates or not sentences else ())]))
        listener.advance("describing classes", 1, name)
    listener.finish("describing classes")
    return texts


def count_described(texts: Mapping[str, Sequence[str]], templates: Sequence[str]) -> int:
    """How many classes have a text that is none of the templates."""
    filled = fill_templates(list(texts), templates)
    return sum(bool(set(texts[name]) - set(filled[name])) for name in texts)


def _sentences(name: str, source: LanguageModel, questions: Sequence[str], samples: int) -> tuple[str, ...]:
    if isinstance(source, ListedAnswers):
        if source.keys and name not in source.keys:
            return ()
        return ask_for_phrases(source, questions[0].replace("{}", name), key=name)
    found = [
        source.complete(
            question.replace("{}", name), key=name, max_tokens=MAX_TOKENS, temperature=TEMPERATURE, sample=sample
        ).text
        for question in questions
        for sample in range(samples)
    ]
    return tuple(dict.fromkeys(sentence for text in found if (sentence := first_sentence(text))))


def first_sentence(text: str) -> str:
    """A reply up to its first full stop, which is where the published script lets the model stop.

    >>> first_sentence(" A ring is a circle. It is empty inside.")
    'A ring is a circle.'
    """
    line = " ".join(text.split())
    head, stop, _ = line.partition(". ")
    return head + stop.strip()


def matrix_key(identity: str, texts: Mapping[str, Sequence[str]]) -> str:
    """Hash (sha256) of a tower's identity and of the texts of every class, in order.

    >>> matrix_key("tower", {"cat": ["a cat"]}) == matrix_key("tower", {"cat": ["a tabby"]})
    False
    """
    return hashlib.sha256(
        canonical_json({"tower": identity, "texts": [[name, *of] for name, of in texts.items()]})
    ).hexdigest()


def class_matrix(tower: TwoTower, texts: Mapping[str, Sequence[str]], *, folder: Path | None = None) -> Tensor:
    """Vectors of classes (k, d), each of length one, in the order of ``texts``.

    Args:
        tower: whose text side encodes.
        texts: of each class.
        folder: where vectors are kept; None keeps none. A damaged file is made again.

    Raises:
        InputError: no classes, a class without texts, or a text that is too long.
    """
    if folder is None:
        return class_vectors(tower, texts)
    path = folder / f"{matrix_key(tower.identity(), texts)}.safetensors"
    if path.is_file():
        try:
            kept = load(path.read_bytes())["vectors"]
            if kept.shape == (len(texts), tower.dimension):
                return kept.to(tower.device)
        except (OSError, SafetensorError, KeyError):
            pass
    vectors = class_vectors(tower, texts)
    write_atomically(path, save({"vectors": vectors.cpu().contiguous()}))
    return vectors
