"""Sentences have 25 words at most; longer ones are the exception, and those that are left only become fewer."""

import ast
import functools
import re
from collections.abc import Iterator

from tests.test_plain_words import ROOT, SOURCE, SUMMARY, page_of

#: Words that a sentence has, that the longest exception has, and the share of a page's sentences that are exceptions.
MOST, LONGEST, SHARE = 25, 40, 0.05

#: Place → how many long sentences it still has. These numbers only fall.
LEFT: dict[str, int] = {
    "README.md": 7,
    "docs/attacking.md": 2,
    "docs/audit-file.md": 1,
    "docs/audit.md": 4,
    "docs/benchmarks.md": 12,
    "docs/data.md": 10,
    "docs/design.md": 2,
    "docs/desk.md": 5,
    "docs/domains.md": 8,
    "docs/embedded-models.md": 7,
    "docs/explaining.md": 11,
    "docs/guided-generation.md": 17,
    "docs/index.md": 1,
    "docs/integrations.md": 3,
    "docs/models.md": 2,
    "docs/operating-points.md": 6,
    "docs/optotypes.md": 12,
    "docs/own-methods.md": 1,
    "docs/planning.md": 10,
    "docs/privacy.md": 12,
    "docs/quickstart.md": 2,
    "docs/releasing.md": 1,
    "docs/remote-classifiers.md": 11,
    "docs/scale.md": 16,
    "docs/several-labels.md": 4,
    "docs/slides.md": 17,
    "docs/statistics.md": 5,
    "docs/systems/adversarial_mixup.md": 12,
    "docs/systems/attribute_editing.md": 24,
    "docs/systems/concept_bottleneck.md": 15,
    "docs/systems/concept_erasing.md": 7,
    "docs/systems/conditional_generation.md": 4,
    "docs/systems/context_upsampling.md": 12,
    "docs/systems/continuous_nuisance.md": 25,
    "docs/systems/defensive_distillation.md": 9,
    "docs/systems/distributional_control.md": 7,
    "docs/systems/dual_smoothing.md": 21,
    "docs/systems/edited_regions.md": 16,
    "docs/systems/feature_guided_search.md": 7,
    "docs/systems/few_shot_adaptation.md": 6,
    "docs/systems/functional_hashing.md": 11,
    "docs/systems/generator_failure.md": 8,
    "docs/systems/gradient_free_guidance.md": 17,
    "docs/systems/guided_captions.md": 17,
    "docs/systems/label_free_tuning.md": 13,
    "docs/systems/label_maps.md": 23,
    "docs/systems/language_guided_augmentation.md": 13,
    "docs/systems/language_model_annotation.md": 6,
    "docs/systems/medical_corruptions.md": 12,
    "docs/systems/multiple_instance.md": 18,
    "docs/systems/natural_transformations.md": 24,
    "docs/systems/neuron_descriptions.md": 17,
    "docs/systems/perception.md": 13,
    "docs/systems/perturbation_estimation.md": 12,
    "docs/systems/plug_and_play_guidance.md": 17,
    "docs/systems/representation_transfer.md": 18,
    "docs/systems/scaling_laws.md": 8,
    "docs/systems/smooth_inversion.md": 30,
    "docs/systems/style_counterfactuals.md": 7,
    "docs/systems/text_image_to_video.md": 13,
    "docs/systems/tileability.md": 5,
    "docs/systems/trigger_amplification.md": 15,
    "docs/systems/unsafe_content.md": 9,
    "docs/systems/viewpoints.md": 16,
    "docs/systems/visual_language.md": 25,
    "docs/systems/worst_case_forget_set.md": 7,
    "docs/tasks/audit-onnx-with-groups.md": 2,
    "docs/training.md": 4,
    "docs/treating.md": 19,
    "docs/tutorials/attack-and-certify.md": 2,
    "docs/tutorials/corruption-and-treatment.md": 1,
    "docs/tutorials/find-a-backdoor.md": 1,
    "docs/tutorials/from-few-images.md": 3,
    "docs/tutorials/label-clean-up.md": 1,
    "docs/tutorials/my-pytorch-model.md": 1,
    "docs/wrong-labels.md": 6,
    "strings of auditing": 43,
    "strings of checks": 3,
    "strings of cli": 6,
    "strings of core": 2,
    "strings of data": 13,
    "strings of desk": 3,
    "strings of methods": 25,
    "strings of metrics": 4,
    "strings of models": 24,
    "strings of reproduction": 62,
    "strings of runs": 5,
    "strings of systems": 85,
    "strings of training": 2,
    "strings of verbs": 11,
    "templates": 4,
}

PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]

MARKS = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=#)")
END = re.compile(r"(?<!\bal\.)(?<=[.!?])[\"”)*]*\s+(?=[^a-z\s])")
#: Texts of a template: what stands between tags that begin a new line or cell.
UNSEEN = re.compile(r"\{#.*?#\}|\{%.*?%\}|<(script|style|svg)\b.*?</\1>", re.DOTALL)
INLINE = re.compile(r"</?(?:a|b|i|em|strong|code|span|abbr|small|sub|sup)\b[^>]*>")
TAG = re.compile(r"<[^>]*>")


def sentences(text: str) -> Iterator[str]:
    """Sentences of Markdown or plain text: items of lists and paragraphs end one; headings and tables have none."""
    for paragraph in PARAGRAPH.split(LINK.sub(r"\1", MARKS.sub("", text))):
        plain = " ".join(paragraph.split())
        if plain and not plain.startswith(("|", "#")):
            yield from END.split(plain)


def words(sentence: str) -> int:
    """Words of a sentence; code is one word."""
    return len(re.findall(r"\S*\w\S*", re.sub(r"`[^`]*`", "x", sentence)))


def strings_of(code: str) -> Iterator[str]:
    """Texts of a file of Python that a user may read: its strings, without docstrings."""
    tree = ast.parse(code)
    nodes = list(ast.walk(tree))
    skipped = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    skipped |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)


def template_of(text: str) -> Iterator[str]:
    """What a template shows."""
    yield re.sub(r"\{\{.*?\}\}", "x", TAG.sub("\n\n", INLINE.sub("", UNSEEN.sub("", text))), flags=re.DOTALL)


@functools.cache
def counted() -> dict[str, list[str]]:
    """Sentences by place: each page, templates, one-line descriptions, and the strings of each room."""
    found = {place: list(sentences(page_of(ROOT / place))) for place in PAGES}
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix == ".py":
            place, texts = f"strings of {path.relative_to(SOURCE).parts[0]}", strings_of
        elif path.name.endswith(".html.j2"):
            place, texts = "templates", template_of
        elif path.name in ("system.toml", "methods.toml", "checks.toml", "treatments.toml"):
            place, texts = "descriptions", SUMMARY.findall
        else:
            continue
        of_file = [one for text in texts(path.read_text(encoding="utf-8")) for one in sentences(text)]
        found.setdefault(place, []).extend(of_file)
    return found


def long_ones(place: str, most: int = MOST) -> list[str]:
    """Sentences of a place with more words than that."""
    return [one for one in counted()[place] if words(one) > most]


def test_long_sentences_only_become_fewer():
    found = {place: long_ones(place) for place in counted()}
    more = {place: left for place, left in found.items() if len(left) > LEFT.get(place, 0)}
    assert not more, f"sentences of more than {MOST} words: " + "".join(
        f"\n{place} has {len(left)} instead of at most {LEFT.get(place, 0)}:"
        + "".join(f"\n  {words(one)}: {one}" for one in left)
        for place, left in more.items()
    )
    fewer = {place: len(found.get(place, ())) for place in LEFT if len(found.get(place, ())) < LEFT[place]}
    assert not fewer, f"well done: lower these numbers in LEFT of this file (0: drop the line): {fewer}"


def test_long_sentences_are_the_exception_of_each_page():
    shares = {place: len(long_ones(place)) / max(len(counted()[place]), 1) for place in PAGES}
    assert not {place: share for place, share in shares.items() if share >= SHARE}
    assert not {place: found for place in PAGES if (found := long_ones(place, LONGEST))}


def test_what_is_no_sentence_is_not_counted(tmp_path):
    text = " ".join(["word"] * 26)
    page = tmp_path / "page.md"
    for other in (f"| {text} |", f"```\n{text}\n```", f"<!-- a:begin -->\n{text}\n<!-- a:end -->", f"# {text}"):
        page.write_text(other, encoding="utf-8")
        assert not [one for one in sentences(page_of(page)) if words(one) > MOST], other
    assert [words(one) for one in sentences(f"Short one. {text.capitalize()}.")] == [2, 26]
    assert len([*sentences(f"- {text}\n- {text}")]) == 2
    assert [words(one) for one in sentences("See `a b c` and [two words](a b.md).")] == [5]


def test_strings_and_templates_are_read_as_a_user_sees_them():
    code = '"""Not this."""\nx = f"one {y} two" " three"\nraise ValueError("four")\n'
    assert sorted(strings_of(code)) == ["four", "one x two three"]
    assert [
        *sentences("".join(template_of("<p>One <b>{{ two }}</b>.</p><script>no</script><td>Three{% if a %}</td>")))
    ] == [
        "One x.",
        "Three",
    ]
