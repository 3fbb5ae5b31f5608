"""Editors and planners of published classes, with random weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.detectors.protocol import Detected
from snellen.models.diffusion.editor import BlendedEditor
from snellen.models.diffusion.editor_inpainting import InpaintingEditor
from snellen.models.diffusion.smoke import write_inpainting_smoke_folder, write_smoke_folder
from snellen.models.random_folders import write_random_blip, write_random_sam
from snellen.models.references import load_question_answerer, load_segmenter
from snellen.systems.edited_regions.by_reference import ModelPlanner, reference_editor
from snellen.systems.edited_regions.making import Base, EditSettings, make_edits


class Boxes:
    """A detector that finds a fixed box for one phrase."""

    name = "boxes"

    def identity(self):
        return "0"

    def detect(self, images, phrases, *, threshold=0.3):
        found = Detected(torch.tensor([[4.0, 4.0, 20.0, 18.0]]), torch.tensor([0.9]))
        return [found if phrase == "a cat" else Detected(torch.zeros(0, 4), torch.zeros(0)) for phrase in phrases]


class Undecided:
    """An answerer with mild scores: those of random weights are near certain."""

    def __init__(self, answerer):
        self.preparation, self.device, self.real = answerer.preparation, answerer.device, answerer

    def score(self, images, questions, answers):
        return self.real.score(images, questions, answers) / 100


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    sam = load_segmenter(f"hf:{write_random_sam(folder / 'sam')}")
    answerer = load_question_answerer(f"hf:{write_random_blip(folder / 'blip', answering=True)}")
    return sam, answerer


def test_regions_come_from_detector_and_segmenter(models):
    sam, answerer = models
    planner = ModelPlanner(Boxes(), sam, phrases=["a dog", "a cat"], answerer=answerer)
    image = torch.rand(3, 48, 40)
    regions = planner.propose_regions(image, Randomness(0).for_examples(["x"]))
    assert regions[0].name == "a cat"
    assert regions[0].mask.shape == (48, 40)
    assert [one.edits for one in regions[1:]] in ([("add",)], [])
    changed = planner.write_edit(image, regions[0], "change", Randomness(0))
    assert changed.prompt.endswith(" cat")
    assert planner.write_edit(image, regions[0], "remove", Randomness(0)).prompt == "empty background"
    with pytest.raises(InputError, match="can be edited by remove, change"):
        planner.write_edit(image, regions[0], "add", Randomness(0))


def test_the_judge_gives_a_probability_that_turns_around_for_a_removal(models):
    sam, answerer = models
    planner = ModelPlanner(Boxes(), sam, phrases=["a cat"], answerer=answerer)
    planner.answerer = Undecided(answerer)
    image, mask = torch.rand(3, 32, 32), torch.zeros(32, 32, dtype=torch.bool)
    mask[8:20, 8:20] = True
    region = SimpleNamespace(name="a cat", edits=("remove", "change"), mask=mask, key=0)
    gone = planner.write_edit(image, region, "remove", Randomness(0))
    there = SimpleNamespace(edit="change", prompt="a cat", mask=mask, region=region)
    first, second = (planner.score_edit(image, image, one, 0) for one in (gone, there))
    assert 0 < second < 1
    assert first == pytest.approx(1 - second, abs=1e-5)


def test_without_a_judge_the_changed_share_counts():
    planner = ModelPlanner(Boxes(), SimpleNamespace(prompts=frozenset({"boxes"}), name="s"), phrases=["a cat"])
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True
    after = torch.zeros(3, 8, 8)
    after[:, :2] = 1
    assert planner.score_edit(torch.zeros(3, 8, 8), after, SimpleNamespace(mask=mask), 0) == 0.5


def test_answers_are_words_and_nothing_else(models):
    sam, answerer = models
    planner = ModelPlanner(Boxes(), sam, answerer=answerer)
    planner.answerer = SimpleNamespace(
        answer=lambda images, questions: ("a cat and ../../etc, {x}\n<b>dog</b>",),
        preparation=lambda image: torch.zeros(3, 4, 4),
        device=torch.device("cpu"),
    )
    assert planner._named(torch.rand(3, 8, 8)) == ("a cat", "etc", "x   b dog  b")


def test_planners_that_cannot_work_are_refused(models):
    sam, _ = models
    with pytest.raises(InputError, match="takes no boxes"):
        ModelPlanner(Boxes(), SimpleNamespace(prompts=frozenset(), name="salient"), phrases=["a cat"])
    with pytest.raises(InputError, match="phrases to look for"):
        ModelPlanner(Boxes(), sam)


def test_published_pipelines_edit_a_photograph_in_turns(models, tmp_path):
    """The real classes of both kinds of editor, regions from a SAM, and a judge: the whole engine."""
    sam, answerer = models
    references = {
        "inpainting": f"diffusers:{write_inpainting_smoke_folder(tmp_path / 'inpainting')}",
        "blended": f"diffusers:{write_smoke_folder('stable-diffusion-1.5', tmp_path / 'plain')}",
    }
    loads = {name: reference_editor(one, steps=2, guidance=2.0) for name, one in references.items()}
    assert isinstance(loads["inpainting"]().editor, InpaintingEditor)
    assert isinstance(loads["blended"]().editor, BlendedEditor)
    assert loads["blended"]().identity() == loads["blended"]().identity()
    for other in (reference_editor(references["blended"], steps=3, guidance=2.0), loads["inpainting"]):
        assert other().identity() != loads["blended"]().identity()
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (6, 3, 30, 36), np.uint8))
    bases = [
        Base(f"photo {at}", one, "real", lambda: ModelPlanner(Boxes(), sam, phrases=["a cat"], answerer=answerer))
        for at, one in enumerate(pixels)
    ]
    settings = EditSettings(turns=2, least_score=0, tries=1, border=1)
    made = make_edits(bases, loads, tmp_path / "made", settings=settings)
    turns = [turn for one in made.images for turn in one.turns]
    assert turns
    assert all(turn.changed_outside == 0 for turn in turns)
    assert {turn.editor for turn in turns} <= set(references)


def test_a_planner_is_identified_by_models_words_and_threshold():
    def identity(detector="0", **options):
        boxes, sam = Boxes(), SimpleNamespace(prompts=frozenset({"boxes"}), name="s", identity=lambda: "1")
        boxes.identity = lambda: detector
        return ModelPlanner(boxes, sam, **{"phrases": ["a cat"], **options}).identity()

    assert identity() == identity()
    changes = [{"threshold": 0.4}, {"phrases": ["a dog"]}, {"objects": ["a tree"]}, {"detector": "2"}]
    assert len({identity(), *(identity(**one) for one in changes)}) == 5


def test_a_generator_of_classes_is_no_editor():
    with pytest.raises(InputError, match="takes"):
        reference_editor("bundled:fashion-diffusion", steps=2)()
