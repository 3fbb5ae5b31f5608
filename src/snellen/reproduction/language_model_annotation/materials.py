"""Concepts of scenes with an idiosyncratic clause, and stand-ins for the models, with errors of a known rate.

The owner writes a description in a small language: "must: shape is star; never: background is sand". The language model
is an interpreter of it that reads nothing but the prompts of the system. Where a description lacks the clause, it
defines the concept by its prior, which is too general.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel

from snellen.core.budget import Spent
from snellen.core.images import ImageSet
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.small_world import BACKGROUNDS, COLOURS, SHAPES, TEXTURES
from snellen.models.language.protocol import Message, Reply, read_form
from snellen.systems.language_model_annotation.definition import Definition
from snellen.systems.language_model_annotation.questions import Question
from snellen.systems.language_model_annotation.tools import Answer, Pictures

#: Factors that conditions are about, with their values.
FACTORS: Mapping[str, Sequence[str]] = {
    "shape": SHAPES, "colour": COLOURS, "texture": TEXTURES, "background": BACKGROUNDS
}  # fmt: skip

#: Words of a caption with a value in its place; a texture that is plain is not named.
_PHRASES = {"shape": "a {}", "colour": "a {} object", "texture": "a {} object", "background": "an object on {}"}

_CLAUSE = re.compile(r"(shape|colour|texture|background) is (.+)")


@dataclass(frozen=True)
class Concept:
    """A hidden concept.

    Attributes:
        name: of the concept.
        prior: description without the clause.
        clause: what only the owner knows, a negative cue.
    """

    name: str
    prior: str
    clause: str

    @property
    def described(self) -> str:
        """The whole description."""
        return f"{self.prior}; never: {self.clause}" if self.clause else self.prior

    def truth(self, images: ImageSet) -> np.ndarray:
        """The owner's labels, 0 and 1, (n,)."""
        parts = parsed(self.described)
        return np.array([_holds_all(parts, values) for values in factors(images)], dtype=int)


#: Compound concepts with a clause each; about a twentieth of all scenes belong to one.
COMPOUND = (
    Concept("warm star", "must: shape is star; any: colour is red; any: colour is yellow; any: colour is white",
            "background is sand or grey"),
    Concept("garden ornament", "must: background is grass; must: shape is heart or ring or cross; any: texture is "
            "striped; any: texture is dotted", "colour is purple or white"),
    Concept("warning sign", "must: shape is triangle or square; any: colour is red; any: colour is yellow; must: "
            "background is grey or brick or sand", "texture is dotted or striped"),
    Concept("cold fabric", "must: texture is striped or dotted; must: background is brick or sand; any: colour is "
            "blue; any: colour is purple", "shape is heart or square or star"),
    Concept("party cross", "must: shape is cross or star; must: texture is dotted; any: colour is green; any: colour "
            "is white; any: colour is purple; any: colour is blue", "background is grey or brick"),
)  # fmt: skip

#: Concepts of one attribute, for which decomposition must bring nothing.
SINGLE = (Concept("star", "must: shape is star", ""), Concept("purple object", "must: colour is purple", ""))


def factors(images: ImageSet) -> list[dict[str, str]]:
    """Values of all factors of each scene."""
    scenes = [Scene.model_validate_json(str(one)) for one in images.column("attributes")]
    return [
        {
            "shape": scene.objects[0].shape, "colour": scene.objects[0].colour, "texture": scene.objects[0].texture,
            "background": scene.background,
        }
        for scene in scenes
    ]  # fmt: skip


def parsed(description: str) -> dict[str, tuple[str, ...]]:
    """Texts of conditions by the word in front: must, any, never."""
    found: dict[str, tuple[str, ...]] = {"must": (), "any": (), "never": ()}
    for part in description.split(";"):
        kind, _, text = part.strip().partition(": ")
        found[kind] = (*found[kind], text)
    return found


def read_clause(text: str) -> tuple[str, tuple[str, ...]]:
    """Factor and values of "colour is red or yellow"."""
    match = _CLAUSE.fullmatch(text)
    assert match is not None, f"{text!r} is no condition of this world"
    return match[1], tuple(match[2].split(" or "))


def holds(text: str, values: Mapping[str, str]) -> bool:
    """Whether a condition holds in a scene."""
    factor, allowed = read_clause(text)
    return values[factor] in allowed


def _holds_all(parts: Mapping[str, Sequence[str]], values: Mapping[str, str]) -> bool:
    every = all(holds(text, values) for text in parts["must"])
    some = not parts["any"] or any(holds(text, values) for text in parts["any"])
    return every and some and not any(holds(text, values) for text in parts["never"])


class RuleInterpreter:
    """A :class:`~snellen.models.language.protocol.LanguageModel` for descriptions in the small language.

    It decides about an image by the caption where that names the factor, and else by the answer.
    """

    name, sees_images, spent = "rule interpreter", False, Spent()

    def __init__(self, *, near_misses: bool = True) -> None:
        self.near_misses = near_misses
        self.requests = 0

    def complete(
        self,
        prompt: str | Sequence[Message],
        *,
        key: str | None = None,
        schema: type[BaseModel] | None = None,
        max_tokens: int = 512,
        temperature: float | None = 0.0,
        sample: int = 0,
    ) -> Reply:
        """Answer by the kind of request; tokens are estimated from the letters of the prompt."""
        self.requests += 1
        text = prompt if isinstance(prompt, str) else prompt[-1].text
        assert schema is not None
        kinds = {"definition": _define, "questions": _question, "judgement": _judge, "queries": self._query}
        answer = json.dumps(kinds.get(str(key), _correct)(text))
        return Reply(answer, read_form(answer, schema), len(text) // 4, len(answer) // 4)

    def _query(self, text: str) -> dict[str, object]:
        conditions = json.loads(re.search(r"defined by (\{.*?\})\. Write", text)[1])  # type: ignore[index]
        each = int(re.search(r"Write (\d+) captions", text)[1])  # type: ignore[index]
        kinds: dict[str, list[str]] = {"must": [], "any": [], "never": []}
        for one, clause in conditions.items():
            kinds[{"necessary": "must", "positive": "any", "negative": "never"}[one.split()[0]]].append(clause)
        inside, near = list[str](), list[str]()
        for combination in itertools.product(*FACTORS.values()):
            values = dict(zip(FACTORS, combination, strict=True))
            missed = [text for text in kinds["must"] if not holds(text, values)]
            missed += ["any"] if kinds["any"] and not any(holds(text, values) for text in kinds["any"]) else []
            missed += [text for text in kinds["never"] if holds(text, values)]
            if not missed:
                inside.append(_caption(values))
            elif len(missed) == 1:
                near.append(_caption(values))
        rng = np.random.default_rng(derive_seed(text))
        positive = [inside[at] for at in rng.permutation(len(inside))[:each].tolist()]
        if not self.near_misses:
            others = [inside[at] for at in rng.permutation(len(inside)).tolist() if inside[at] not in positive]
            return {"positive": positive, "near_misses": others[:each] or ["a plain scene"]}
        return {"positive": positive, "near_misses": [near[at] for at in rng.permutation(len(near))[:each].tolist()]}


def _caption(values: Mapping[str, str]) -> str:
    texture = "" if values["texture"] == "plain" else f"{values['texture']} "
    return f"a {values['colour']} {texture}{values['shape']} on {values['background']}"


def _define(prompt: str) -> dict[str, object]:
    described = json.loads(re.search(r'described as ("(?:[^"\\]|\\.)*")', prompt)[1])  # type: ignore[index]
    parts = parsed(described)
    return {"necessary": parts["must"], "positive": parts["any"], "negative": parts["never"], "notes": []}


def _correct(prompt: str) -> dict[str, object]:
    now = json.loads(re.search(r"^\{.*\}$", prompt, re.MULTILINE)[0])  # type: ignore[index]
    correction = json.loads(re.search(r'corrects it: ("(?:[^"\\]|\\.)*")', prompt)[1])  # type: ignore[index]
    return {**now, "negative": [*now["negative"], *parsed(correction)["never"]]}


def _question(prompt: str) -> dict[str, object]:
    listed = json.loads(re.search(r"^\[.*\]$", prompt, re.MULTILINE)[0])  # type: ignore[index]
    return {"questions": [as_question(one["condition"], one["text"]).model_dump() for one in listed]}


def as_question(condition: str, text: str) -> Question:
    """The question of a condition, with phrases for two towers."""
    factor, allowed = read_clause(text)
    others = tuple(_PHRASES[factor].format(value) for value in FACTORS[factor] if value not in allowed)
    phrases = tuple(_PHRASES[factor].format(value) for value in allowed)
    wording = f"Is the {text.replace(' is ', ' ', 1)}?"
    return Question(condition=condition, question=wording, phrases=phrases, instead=others)


def _judge(prompt: str) -> dict[str, object]:
    task, data = (json.loads(line) for line in prompt.splitlines() if line.startswith("{"))
    answers = {one["condition"]: one["answer"] for one in data["answers"]}
    seen = dict(part.split(" is ", 1) for part in data["caption"].split(", ") if " is " in part)
    verdicts = {}
    for one in task["conditions"]:
        factor, allowed = read_clause(one["text"])
        given = answers.get(one["condition"], "unclear")
        verdicts[one["condition"]] = ("yes" if seen[factor] in allowed else "no") if factor in seen else given
    inside = all(v == "yes" for k, v in verdicts.items() if k.startswith("necessary"))
    cues = [v for k, v in verdicts.items() if k.startswith("positive")]
    inside = inside and (not cues or "yes" in cues)
    inside = inside and not any(v == "yes" for k, v in verdicts.items() if k.startswith("negative"))
    listed = [{"condition": key, "holds": value} for key, value in verdicts.items()]
    return {"verdicts": listed, "rating": 5 if inside else 1, "summary": "by the conditions"}


@dataclass
class FactorCaptioner:
    """Names each factor of a scene with probability ½, always rightly."""

    seed: int
    name: str = "partial listing"

    def describe(self, pictures: Pictures) -> list[Answer]:
        """A list of some values."""
        return [
            Answer(", ".join(f"{key} is {own}" for key, own in values.items() if _draw(self.seed, one, key) < 0.5))
            for one, values in zip(pictures.images.ids, factors(pictures.images), strict=True)
        ]


@dataclass
class FactorAnswerer:
    """Looks a factor up, and answers wrongly with probability ``error``, always alike for an image and a question.

    A question about several conditions at once is answered by the first of them alone.
    """

    seed: int
    error: float
    questions: int = 0

    @property
    def name(self) -> str:
        """With seed and error."""
        return f"factor look-up, seed {self.seed}, error {self.error}"

    def answer(self, pictures: Pictures, question: Question) -> list[Answer]:
        """Yes or no."""
        self.questions += len(pictures)
        text = question.question.removeprefix("Is the ").removesuffix("?").replace(" ", " is ", 1)
        if not _CLAUSE.fullmatch(text):
            text = next(
                match[0] for match in re.finditer(r"(?<=: )(?:shape|colour|texture|background) is [a-z ]+", text)
            )
        found = []
        for one, values in zip(pictures.images.ids, factors(pictures.images), strict=True):
            wrong = _draw(self.seed, one, question.question) < self.error
            found.append(Answer("yes" if holds(text, values) != wrong else "no"))
        return found


def _draw(*parts: int | str) -> float:
    return derive_seed(*parts) / 2**63


def definition(concept: Concept, *, clause: bool) -> Definition:
    """Name and description, with or without the clause; conditions are the language model's to write."""
    return Definition(name=concept.name, description=concept.described if clause else concept.prior)
