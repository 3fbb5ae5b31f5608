"""Edits: what goes, what stays, and controls of the same area elsewhere."""

import warnings

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.rendering import render, visible
from snellen.data.worlds.optotypes.scene import Lettering, Scene, SceneObject
from snellen.methods.edits.masked_object import widened
from snellen.methods.edits.painting import control_region, inpainting_painter, instructed_background
from snellen.models.detectors.protocol import Detected
from snellen.models.diffusion.smoke import write_inpainting_smoke_folder, write_instructed_smoke_folder
from snellen.models.random_folders import write_random_sam
from snellen.models.segmenters.protocol import Segmented
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.systems.language_guided_augmentation.edits import (
    DetectedEditor,
    SceneEditor,
    Subject,
    Wish,
)
from tests.models.detectors.small_detectors import owl

STAR = SceneObject(shape="star", colour="red", radius=0.4, x=0.3, y=0.1)
RING = SceneObject(shape="ring", colour="blue", radius=0.2, x=-0.6, y=-0.6)
SCENE = Scene(objects=(STAR, RING), background="grass", lettering=Lettering(text="AB", y=0.8), seed=3)
RNG = Randomness(0).for_examples(["a"])


def drawn(scene: Scene, size: int = 48) -> torch.Tensor:
    return render([scene], size).pixels[0].float() / 255


def of_scene(scene: Scene = SCENE, names=("star",)) -> Subject:
    return Subject("a", drawn(scene), names, scene.to_json())


@pytest.mark.parametrize(
    ("phrase", "left"),
    [
        ("blue ring", SCENE.model_copy(update={"objects": (STAR,)})),
        ("a ring", SCENE.model_copy(update={"objects": (STAR,)})),
        ("text AB", SCENE.model_copy(update={"lettering": None})),
    ],
)
def test_the_oracle_draws_the_scene_without_the_phrase_and_the_control_changes_as_much_elsewhere(phrase, left):
    subject = of_scene()
    found = SceneEditor().edit(subject, Wish("object", phrase), None, RNG)
    assert torch.equal(found.image, drawn(left))
    assert torch.equal(found.image[:, ~found.mask], subject.image[:, ~found.mask])
    touched = (found.control != subject.image).any(0)
    objects = visible([SCENE], 48)[0].sum(0) > 0
    assert 0 < int(touched.sum()) <= int(found.mask.sum())
    assert not (touched & (objects | found.mask)).any()


def test_the_oracle_puts_the_objects_before_another_background_and_before_their_own():
    subject, objects = of_scene(), visible([SCENE], 48)[0].sum(0) > 0
    found = SceneEditor().edit(subject, Wish("background", "grass", "fine sand"), None, RNG)
    assert torch.equal(found.image, drawn(SCENE.model_copy(update={"background": "sand"})))
    assert torch.equal(found.control[:, objects], subject.image[:, objects])
    apart = [(one - subject.image).abs()[:, ~objects].mean() for one in (found.control, found.image)]
    assert 0 < apart[0] < 0.5 * apart[1], "its own background is nearer than another"


@pytest.mark.covers("4.6")
def test_what_a_scene_does_not_show_is_recorded_and_nothing_is_edited():
    hidden = SCENE.model_copy(update={"objects": (RING, STAR.model_copy(update={"x": -0.6, "y": -0.6, "radius": 0.9}))})
    for subject, wish, reason in (
        (of_scene(), Wish("object", "yellow ring"), "not found"),
        (of_scene(), Wish("object", "text CD"), "not found"),
        (of_scene(), Wish("background", "sand", "grass"), "not found"),
        (of_scene(), Wish("background", "grass", "a desert"), "not found"),
        (of_scene(), Wish("object", "red star"), "not found"),
        (of_scene(hidden), Wish("object", "blue ring"), "not found: it cannot be seen"),
        (Subject("a", drawn(SCENE).flip(2), ("star",), SCENE.to_json()), Wish("object", "ring"), "not what its record"),
        (Subject("a", drawn(SCENE), ("star",), "{}x"), Wish("object", "ring"), "not the record of a scene"),
    ):
        found = SceneEditor().edit(subject, wish, None, RNG)
        assert (found.image, found.control) == (None, None), wish
        assert reason in found.reason


def test_a_control_has_the_area_of_the_edit_and_touches_nothing():
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[2:8, 3:12] = True
    kept = torch.zeros_like(mask)
    kept[:, 14:22] = True
    places = {tuple(control_region(mask, kept, draw).nonzero()[0].tolist()) for draw in (0.0, 0.3, 0.6, 0.9999)}
    assert len(places) == 4, "the draw decides"
    for draw in (0.0, 0.5, 0.9999):
        found = control_region(mask, kept, draw)
        rows, columns = found.any(1).nonzero().flatten(), found.any(0).nonzero().flatten()
        assert int(found.sum()) == 54 == len(rows) * len(columns), "in one piece"
        assert int(rows[-1] - rows[0]) == 5, "not around an edge"
        assert not (found & (mask | kept)).any()
    assert control_region(mask, ~mask, 0.5) is None


class Finds:
    """A detector with given boxes; it notes its requests."""

    name = "finds"

    def __init__(self, boxes):
        self.boxes, self.requests = boxes, []

    def detect(self, images, phrases, *, threshold=0.3):
        self.requests += [(phrase, threshold) for phrase in phrases]
        found = [torch.tensor(self.boxes.get(phrase, []), dtype=torch.float32).reshape(-1, 4) for phrase in phrases]
        return [Detected(one, torch.ones(len(one))) for one in found]


def black(image, hole, words, seed):
    return torch.where(hole, 0.0, image)


def region(*boxes, size=(24, 32)):
    mask = torch.zeros(size, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


GREY = torch.full((3, 24, 32), 0.5)
BIRD, TREES = (12, 8, 18, 16), ((2, 2, 6, 9), (24, 3, 28, 9))


@pytest.mark.covers("4.6")
def test_masks_are_the_union_of_all_boxes_dilated_and_nothing_is_painted_where_nothing_is_found():
    finds = Finds({"gull": [BIRD], "trees": TREES})
    editor = DetectedEditor(finds, paint=black, threshold=0.4, dilate=2)
    subject = Subject("a", GREY, ("gull", "bird"))
    found = editor.edit(subject, Wish("object", "trees"), None, RNG)
    hole = widened(region(*TREES), 2)
    assert torch.equal(found.mask, hole)
    assert torch.equal(found.image[0] == 0, hole)
    control = found.control[0] == 0
    assert int(control.sum()) == int(hole.sum())
    assert not (control & (hole | region(BIRD))).any()
    assert finds.requests == [("gull", 0.4), ("trees", 0.4)]
    lost = editor.edit(subject, Wish("object", "a boat"), None, RNG)
    assert (lost.image, lost.control, lost.mask, lost.reason) == (None, None, None, "not found")
    assert finds.requests[2:] == [("a boat", 0.4)], "the object of the class is found once for an image"


@pytest.mark.covers("4.4")
def test_pixels_of_the_class_stay_and_what_lies_on_it_is_not_taken_out():
    around = (8, 4, 24, 20)
    editor = DetectedEditor(
        Finds({"gull": [BIRD], "reeds": [around], "beak": [(13, 9, 16, 12)]}), paint=black, dilate=1
    )
    found = editor.edit(Subject("a", GREY, ("gull",)), Wish("object", "reeds"), None, RNG)
    assert torch.equal(found.image[:, region(BIRD)], GREY[:, region(BIRD)])
    assert torch.equal(found.mask, widened(region(around), 1) & ~region(BIRD))
    assert (found.control, found.reason) == (None, "no room for its control")
    on_it = editor.edit(Subject("a", GREY, ("gull",)), Wish("object", "beak"), None, RNG)
    assert (on_it.image, on_it.reason) == (None, "it lies on the object of the class")
    masked = editor.edit(Subject("a", GREY, ("gull",), mask=region(around)), Wish("object", "reeds"), None, RNG)
    assert masked.reason == "it lies on the object of the class", "a mask goes before the detector"


def test_a_background_comes_from_an_image_that_shows_it_and_its_control_is_the_own_one():
    finds = Finds({"gull": [BIRD], "owl": [(0, 0, 8, 8)]})
    lent = Subject("b", torch.full((3, 12, 16), 0.9), ("owl",))
    editor, subject = DetectedEditor(finds, dilate=1), Subject("a", GREY, ("gull",))
    found = editor.edit(subject, Wish("background", "a lake", "snow"), lent, RNG)
    bird = region(BIRD)
    assert torch.equal(found.image[:, bird], GREY[:, bird])
    torch.testing.assert_close(found.image[:, ~bird], torch.full_like(GREY, 0.9)[:, ~bird])
    torch.testing.assert_close(found.control, GREY)
    wish = Wish("background", "a lake", "snow")
    assert "no image lends the background 'snow'" in editor.edit(subject, wish, None, RNG).reason
    lost = editor.edit(Subject("a", GREY, ("heron",)), wish, lent, RNG)
    assert (lost.image, "nobody knows" in lost.reason) == (None, True)


def test_a_painter_that_reads_words_paints_the_background_and_its_own_as_the_control():
    requests = []

    class Paints:
        def edit(self, images, masks, prompts, seeds):
            requests.append((tuple(images.shape), masks.float().mean().item(), *prompts, *seeds))
            return torch.full_like(images, 0.2 if prompts == ["snow"] else 0.7)

    editor = DetectedEditor(Finds({"gull": [BIRD]}), paint=inpainting_painter(Paints()), by_words=True)
    found = editor.edit(Subject("a", GREY, ("gull",)), Wish("background", "a lake", "snow"), None, RNG)
    bird = region(BIRD)
    for image, value in ((found.image, 0.2), (found.control, 0.7)):
        assert torch.equal(image[:, bird], GREY[:, bird])
        torch.testing.assert_close(image[:, ~bird], torch.full_like(GREY, value)[:, ~bird])
    assert [one[2] for one in requests] == ["snow", "a lake"]
    assert requests[0][0] == (1, 3, 64, 64), "sides that a diffusion model takes"
    assert requests[0][1] == pytest.approx(1 - 48 / 768, abs=0.01)
    assert requests[0][3] == requests[1][3], "the same noise"


def test_an_instruction_edits_the_background_and_its_own_as_the_control():
    requests = []

    class Follows:
        def edit(self, images, instructions, seeds):
            requests.append((tuple(images.shape), *instructions, *seeds))
            return torch.full_like(images, 0.2 if "into snow" in instructions[0] else 0.7)

    editor = DetectedEditor(Finds({"gull": [BIRD]}), instruct=instructed_background(Follows()))
    found = editor.edit(Subject("a", GREY, ("gull",)), Wish("background", "a lake", "snow"), None, RNG)
    bird = region(BIRD)
    for image, value in ((found.image, 0.2), (found.control, 0.7)):
        assert torch.equal(image[:, bird], GREY[:, bird]), "the object of the class is put back"
        torch.testing.assert_close(image[:, ~bird], torch.full_like(GREY, value)[:, ~bird])
    words = ["turn the background of a lake into snow", "turn the background of a lake into a lake"]
    assert [one[1] for one in requests] == words
    assert requests[0][0] == (1, 3, 64, 64), "sides that a diffusion model takes"
    assert requests[0][2] == requests[1][2], "the same noise"


def test_a_segmenter_gets_every_box_in_its_own_convention():
    requests = []

    class Segments:
        name, prompts = "segments", frozenset({"boxes"})

        def segment(self, images, *, boxes):
            requests.append(boxes)
            masks = torch.stack([region(box).float() for box in ((2, 2, 4, 4), (25, 3, 27, 5))])
            chosen = torch.zeros(2, dtype=torch.int64)
            return Segmented(candidates=masks[:, None], predicted=torch.ones(2, 1), chosen=chosen, rule="-")

    editor = DetectedEditor(Finds({"trees": TREES}), Segments(), black, dilate=0)
    found = editor.edit(Subject("a", GREY, ("gull",)), Wish("object", "trees"), None, RNG)
    assert torch.equal(found.mask, region((2, 2, 4, 4), (25, 3, 27, 5)))
    assert requests[0].tolist() == [[1.5, 1.5, 5.5, 8.5], [23.5, 2.5, 27.5, 8.5]]


def test_the_real_classes_work_together(tmp_path):
    """OWLv2, SAM and an inpainting pipeline of random weights, by reference: pixels beside the hole stay."""
    check = Shortcuts(
        detector=f"hf:{owl(tmp_path / 'owl')}",
        segmenter=f"hf:{write_random_sam(tmp_path / 'sam')}",
        inpainter=f"diffusers:{write_inpainting_smoke_folder(tmp_path / 'inpainting')}",
        steps=2, threshold=0.0, dilate=1,
    )  # fmt: skip
    editor, image = check.editor("cpu"), Randomness(1).bind(1).uniform("image", (3, 40, 56))[0]
    mask = region((30, 20, 40, 30), size=(40, 56))
    subject = Subject("a", image, ("gull",), mask=mask)
    for wish in (Wish("object", "a red star"), Wish("background", "a lake", "snow")):
        found = editor.edit(subject, wish, None, RNG)
        assert found.image is not None, found.reason
        assert torch.equal(found.image[:, ~found.mask], image[:, ~found.mask])
        assert (found.image != image).any(0).sum() > 0.5 * found.mask.sum()
        assert torch.equal(found.image[:, mask], image[:, mask])
    assert torch.equal(found.mask, ~mask)
    assert (found.image - found.control).abs().max() > 1e-3, "other words, another background"


@pytest.mark.usefixtures("quietly")
def test_the_real_editor_by_instruction_is_driven_by_reference(tmp_path):
    check = Shortcuts(
        detector=f"hf:{owl(tmp_path / 'owl')}",
        instructor=f"diffusers:{write_instructed_smoke_folder(tmp_path / 'instructed')}",
        steps=1,
        threshold=0.0,
    )
    kept = region(BIRD)
    image = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))
    found = check.editor("cpu").edit(
        Subject("a", image, ("gull",), mask=kept), Wish("background", "a star", "a dog"), None, RNG
    )
    assert torch.equal(found.image[:, kept], image[:, kept])
    assert not torch.allclose(found.image[:, ~kept], image[:, ~kept], atol=0.01)
    assert not torch.allclose(found.image, found.control, atol=1e-3)


@pytest.fixture
def quietly():
    """What pipelines of the library warn of is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
