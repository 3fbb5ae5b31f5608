"""Full scale by reference, with a text encoder of the width of Stable Diffusion 1.4 and random weights."""

import pytest
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.models.diffusion import smoke
from snellen.reproduction.concept_erasing import full
from snellen.reproduction.concept_erasing.experiment import concept_erasing
from snellen.reproduction.concept_erasing.full_tasks import EVERYDAY, FOLDER, GENERATOR, SELECTED, TASKS
from snellen.reproduction.seed_file import named_figures
from snellen.systems.concept_erasing.fitting import AutoencoderFit

CLASSES = ("red", "star", "ring", "other")
ERASED = {"persons": "red", "styles": "star", "explicit": "ring"}
TINY = full.FullSize(
    fit=AutoencoderFit(latents=512, active=4, steps=20, batch_size=64, dead_after=2000),
    layer=1,
    images=2,
    steps=1,
    batch=3,
)


def wide(diffusers, transformers):
    """Stable Diffusion 1 with states of 768 numbers for each of 77 tokens."""
    made = smoke._stable_diffusion_1(diffusers, transformers)
    text = smoke._clip(
        transformers, made.tokenizer, hidden_size=768, intermediate_size=256, num_attention_heads=12, projection_dim=768
    )
    made.register_modules(text_encoder=text, unet=smoke._text_unet(diffusers, cross_attention_dim=768))
    return made


class Brightest(nn.Module):
    """The brightest quarter of the image is the class, so that any change of the image may change it."""

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(smoke.SMOKE_FOLDERS, "wide", wide)
        return smoke.write_smoke_folder("wide", tmp_path_factory.mktemp("generator") / "wide")


@pytest.fixture
def variables(generator, tmp_path, monkeypatch):
    """Everything that is named by a variable, and the table of tasks."""

    def written(name, lines):
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    fit = written("fit.txt", [f"a {one} {two}" for one in ("red", "green", "blue") for two in ("star", "ring", "box")])
    rows = []
    for task, concept in ERASED.items():
        shape = "box" if concept == "red" else "blue"
        keep = written(f"{task}-keep.txt", ["a green heart", "a yellow cross"])
        shows = [f"{concept}\ta {concept}", f"{concept}\tthe {concept} {shape}"]
        rows += [f"[{task}]", f'fit = "{fit}"', f'keep = "{keep}"', f'judge = "{task}"']
        rows += [f'targets = "{written(f"{task}-targets.tsv", shows)}"']
        rows += [f'tested = "{written(f"{task}-tested.tsv", shows[1:])}"']
        rows += [f'kept = "{written(f"{task}-kept.tsv", [f"other{chr(9)}a green heart", f"other{chr(9)}a cross"])}"']
        if task == "persons":
            rows += [f'attacked = "{written("attacked.tsv", shows[:1])}"']
    table = written("tasks.toml", rows)
    everyday = written("everyday.txt", ["two dogs in the rain", "a yellow cross"])
    values = {GENERATOR: f"diffusers:{generator}", TASKS: table, EVERYDAY: everyday, FOLDER: tmp_path / "kept"}
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    judge = Classifier(Brightest().eval(), class_names=CLASSES, preparation=Preprocessing(size=(16, 16)), name="judge")
    monkeypatch.setattr(full, "load_classifier", lambda reference, device: judge)
    return table


def test_every_figure_of_a_claim_is_measured_and_what_passes_is_untouched(variables, monkeypatch):
    found = full.full(0, Silent(), size=TINY)
    assert set(named_figures(find_system("34"), "full")) <= set(found)
    assert {name: found[f"{name}.passes"] for name in ERASED} == dict.fromkeys(ERASED, 1.0)
    counts = {name: len(found[f"{name}.named"].values) for name in ERASED}
    assert counts == {"persons": 2, "styles": 2, "explicit": 1}
    assert len(found["persons.kept_loss"].values) == 4
    assert len(found["persons.attacked"].values) == 2
    assert found["styles.attacked"] is None
    for name in ERASED:
        assert found[f"{name}.flagged"].mean == 1.0, "the tested prompt is a target prompt as well"
        assert found[f"{name}.features"] >= 1
        if found[f"{name}.kept_flagged"].mean == 0:
            assert set(found[f"{name}.kept_loss"].values) == {0.0}

    def refuse(*given, **options):
        raise AssertionError("an autoencoder that is there is not fitted again")

    monkeypatch.setattr(full, "fit_autoencoder", refuse)
    assert full.full(0, Silent(), size=TINY) == found


def test_the_published_sizes_are_those_of_the_paper():
    size = full.PUBLISHED_SIZE
    assert (size.fit.latents, size.fit.active, size.layer, size.steps) == (524_288, 64, 8, 50)
    assert SELECTED == {"persons": 128, "styles": 256, "explicit": 128}


def test_what_is_missing_or_wrong_is_named(variables, tmp_path, monkeypatch):
    text = variables.read_text()
    for changed, reason in (
        (text.replace("[styles]", "[other]"), "has the tables persons, other, explicit; expected persons, styles"),
        (text.replace("judge", "judges"), "persons.judge: Field required"),
    ):
        variables.write_text(changed)
        with pytest.raises(InputError, match=reason):
            concept_erasing("full", 0, Silent())
    variables.write_text(text)
    (tmp_path / "persons-kept.tsv").write_text("somebody\ta cross\nother a heart")
    with pytest.raises(InputError, match="has 2 lines, 2 of them without a class of judge, a tab and a prompt"):
        full.full(0, Silent(), size=TINY)
    monkeypatch.delenv(FOLDER)
    monkeypatch.delenv(EVERYDAY)
    with pytest.raises(InputError, match=r"needs SNELLEN_ITD_EVERYDAY, SNELLEN_ITD_FOLDER\. SNELLEN_ITD_GEN"):
        concept_erasing("full", 0, Silent())
