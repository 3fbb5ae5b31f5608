"""The scan: verdicts, figures where the truth is known, and images that cannot be judged and are never safe."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import snellen
from snellen.cli import on_images
from snellen.cli.app import app
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.folder import load_folder
from snellen.data.references import load_images
from snellen.models.captioners.random_llava import write_random_llava
from snellen.scans import UnsafeContent
from snellen.systems.unsafe_content import method as method_module
from snellen.systems.unsafe_content import safety
from snellen.systems.unsafe_content.labels import source_of
from snellen.systems.unsafe_content.method import blurred
from snellen.systems.unsafe_content.outcomes import IS_UNSAFE, UNCLEAR, answer_for
from snellen.systems.unsafe_content.policy import default_policy
from snellen.systems.unsafe_content.safety import ByAnswers, ByScores, load_safety_classifier
from tests.systems.unsafe_content.symbol_network import POLICY, squares, trained

SQUARE = Preprocessing(size=(16, 16), resize="exact", resize_to=(16, 16))
TOML = "\n".join(f'[[category]]\nname = "{one.name}"\ndefinition = "{one.definition}"' for one in POLICY.each())


class Red(nn.Module):
    """Unsafe is red."""

    def forward(self, images):
        margin = 20 * (images[:, 0] - images[:, 1]).amax((1, 2)) - 9
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def red(names=("safe", "unsafe")):
    return Classifier(Red(), class_names=names, preparation=SQUARE, name="red")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A policy and a follower as files."""
    folder = tmp_path_factory.mktemp("with spaces in it")
    (folder / "policy.toml").write_text(TOML)
    trained().save(folder / "follower.safetensors", POLICY)
    return folder


def labelled(count=96, **columns):
    shown = squares(count, seed=3)
    images = load_arrays(
        shown.images.permute(0, 2, 3, 1).numpy(), np.array(shown.unsafe, dtype=np.int64), class_names=("safe", "unsafe")
    )
    columns = {"category": list(shown.categories), "source": ["real", "generated"] * (count // 2)} | columns
    table = images.table
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return replace(images, table=table)


def scan(place, images, **options):
    method = UnsafeContent(
        classifier=f"policy:{place / 'follower.safetensors'}",
        policy=str(place / "policy.toml"),
        resamples=100,
        **options,
    )
    return method.scan(images, rng=Randomness(0))


@pytest.mark.covers("29.1")
@pytest.mark.covers("29.12")
def test_verdicts_name_categories_and_figures_keep_sources_apart(place):
    found = scan(place, labelled())
    rows = found.evidence.table.to_pylist()
    assert [row["label"] for row in rows] == [int(one) for one in squares(96, seed=3).unsafe]
    right = np.mean([row["label"] == row["prediction"] for row in rows])
    assert right > 0.9
    named = [row["category"] for row in rows if row["prediction"] == 1]
    assert set(named) <= set(POLICY.names)
    assert None not in named
    assert found.statistic == pytest.approx(len(named) / 96)
    assert found.figures["F1, real"] > 0.85
    assert found.figures["F1, Ring, generated"] is not None
    assert "F1, real less generated" in found.figures
    bounds = {"F1, real less generated.low", "F1, real less generated.high"}
    assert (bounds <= set(found.figures)) == (right < 1), "where all is right, resamples do not differ"
    assert f"{len(named)} of 96 images are judged unsafe" in found.verdict
    assert found.pictures == []


@pytest.mark.covers("29.2")
def test_a_classifier_is_scored_on_its_claims_alone():
    method = UnsafeContent(policy=None, claims=("nudenet",), resamples=100)
    images = labelled(category=["Sexual", "Political"] * 48)
    found = method.scan(images, classifier=red(), rng=Randomness(0))
    assert not [name for name in found.figures if "Political" in name]
    assert "F1, Sexual" in found.figures
    assert "claims: Sexual; other categories are not judged" in " ".join(found.evidence.assumptions)
    both = UnsafeContent(claims=("Sexual", "Political"), resamples=100).scan(
        images, classifier=red(), rng=Randomness(0)
    )
    assert both.figures["F1"] != found.figures["F1"]


@pytest.mark.covers("29.7")
@pytest.mark.covers("29.8")
def test_robust_accuracy_is_measured_for_each_source(place):
    found = scan(place, labelled(), attacked=6, steps=5, epsilon=0.2)
    for source in ("real", "generated"):
        assert found.figures[f"attacked, {source}"] == 6
        noise, pgd = (found.figures[f"robust accuracy, {one}, {source}"] for one in ("noise", "pgd"))
        assert 0 <= pgd < noise <= 1
    assert not [name for name in scan(place, labelled()).figures if "robust" in name]
    plain = Classifier(lambda images: Red()(images), class_names=("safe", "unsafe"), preparation=SQUARE)
    attacking, spam = UnsafeContent(attacked=2, resamples=100), labelled(category=["Spam"] * 96)
    with pytest.raises(InputError, match="no logits with gradients"):
        attacking.scan(spam, classifier=plain, rng=Randomness(0))


@pytest.mark.covers("29.2")
@pytest.mark.covers("29.9")
def test_every_image_is_scored_or_counted_with_the_reason(place):
    shown = squares(24, seed=3)
    category, source = list(shown.categories), ["real"] * 24
    bad, good = shown.unsafe.index(True), shown.unsafe.index(False)
    category[bad], source[good] = "Dragons", "web"
    found = scan(place, labelled(24, category=category, source=source), claims=("Triangle", "Ring")).figures
    assert found["not scored: unsafe in no category of the policy"] == 1
    assert found["not scored: a source other than real or generated"] == 1
    assert found["not scored: a category that is not claimed"] == sum(
        name == "Plus" for at, name in enumerate(category) if at not in (bad, good)
    )
    lost = sum(value for name, value in found.items() if name.startswith("not scored: "))
    assert found["scored"] + lost == found["images"] == 24
    assert found["scored, Ring"] == category.count("Ring")
    assert 0 < found["scored, unsafe, Ring"] < found["scored, Ring"]
    assert found["scored, unclear, Ring, real"] == 0
    plain = load_arrays(np.zeros((3, 16, 16, 3), dtype=np.uint8))
    nothing = scan(place, plain).figures
    assert (nothing["scored"], nothing["not scored: no label that says safe or unsafe"]) == (0, 3)


def test_what_cannot_be_attacked_is_refused_before_any_image_is_judged(place, monkeypatch):
    monkeypatch.setattr(UnsafeContent, "_judged", lambda *_: pytest.fail("judged before it was refused"))
    with pytest.raises(InputError, match="needs labels that say safe or unsafe"):
        scan(place, load_arrays(np.zeros((3, 16, 16, 3), dtype=np.uint8)), attacked=5)


def test_only_images_that_are_attacked_are_read_again(place, monkeypatch):
    read = []
    usual = method_module.prepared_batches
    monkeypatch.setattr(
        method_module, "prepared_batches", lambda images, *rest: read.append(len(images)) or usual(images, *rest)
    )
    scan(place, labelled(), attacked=3, steps=1)
    assert read == [96, 3, 3]


@pytest.mark.covers("29.10")
def test_images_that_were_trained_on_are_not_scored(tmp_path, place):
    images = labelled(48)
    for at in range(12):
        images.read(at).resize((64, 64)).save(tmp_path / f"{at}.png")
    found = scan(place, images, training=str(tmp_path))
    assert found.figures["also among the training images"] == 12
    truth = squares(48, seed=3).unsafe[12:]
    kept = found.evidence.table.to_pylist()[12:]
    hits = sum(row["prediction"] == 1 == row["label"] for row in kept)
    assert found.figures["F1"] == pytest.approx(2 * hits / (sum(truth) + sum(row["prediction"] == 1 for row in kept)))


def test_what_cannot_be_judged_is_named_and_never_safe(tmp_path, place):
    plain = Image.new("RGB", (32, 32), (128, 128, 128))
    plain.save(tmp_path / "plain.png")
    clear = plain.convert("RGBA")
    clear.save(tmp_path / "opaque.png")
    clear.putalpha(Image.linear_gradient("L").resize((32, 32)))
    clear.save(tmp_path / "see through.png")
    palette = plain.convert("P")
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    plain.save(tmp_path / "film.gif", save_all=True, append_images=[Image.new("RGB", (32, 32), "red")])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    (tmp_path / "empty.jpg").write_bytes(b"")
    found = scan(place, load_folder(tmp_path))
    rows = {row["example_id"]: row for row in found.evidence.table.to_pylist()}
    status = {name: row["status"] for name, row in rows.items()}
    judged = sorted(name for name, one in status.items() if one == "ok")
    assert judged == ["opaque.png", "plain.png"]
    lost = {name: rows[name] for name in rows if name not in judged}
    assert set(lost) == {"see through.png", "palette.png", "film.gif", "broken.png", "empty.jpg"}
    assert all(row["status"] == "rejected" and row["prediction"] is None for row in lost.values())
    assert "partly transparent" in lost["see through.png"]["reason"]
    assert "partly transparent" in lost["palette.png"]["reason"]
    assert "several frames" in lost["film.gif"]["reason"]
    assert found.figures["images"] == 2
    assert found.figures["not judged"] == 5
    assert "5 images could not be judged and are not counted as safe" in found.verdict
    for name in judged:
        (tmp_path / name).unlink()
    nothing = scan(place, load_folder(tmp_path))
    assert nothing.statistic is None
    assert "does not mean that any is safe" in nothing.verdict


def test_pictures_are_off_by_default_and_blurred_beyond_recognition(place):
    found = scan(place, labelled(), blurred=3)
    assert len(found.pictures) == 3
    checks = torch.zeros(3, 48, 48)
    checks[:, ::2, ::2] = 1
    assert float(blurred(checks).std()) < 0.02
    assert blurred(torch.rand(3, 48, 48)).unique().numel() > 1


def test_an_image_with_scores_that_are_not_finite_is_unclear():
    class Broken(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 2), torch.nan)

    model = Classifier(Broken(), class_names=("safe", "unsafe"), preparation=SQUARE)
    found = UnsafeContent().scan(labelled(), classifier=model, rng=Randomness(0))
    assert found.figures["unclear"] == 96
    assert set(found.evidence.table["status"].to_pylist()) == {"failed"}
    assert found.figures["unsafe"] == 0
    assert "96 answers are unclear, which is not safe" in found.verdict


@pytest.mark.parametrize(
    ("names", "reason"),
    [(("cat", "dog"), "not known to be safe or unsafe: cat, dog"), (("safe", "unsafe", "cat"), "safe or unsafe: cat")],
)
def test_classes_must_be_known(names, reason):
    with pytest.raises(InputError, match=reason):
        ByScores(Classifier(Red(), class_names=names), default_policy())


def test_classes_in_another_order_and_under_other_names_mean_the_same():
    images = torch.rand(20, 3, 16, 16)

    class Turned(nn.Module):
        def forward(self, images):
            return Red()(images).flip(1)

    plain = ByScores(red(), default_policy()).judge(images)
    for names in (("unsafe", "safe"), ("NSFW", "normal"), ("Violence", "Safe"), ("hot dog", "safe")):
        turned = ByScores(Classifier(Turned(), class_names=names), default_policy()).judge(images)
        assert turned.outcomes == plain.outcomes
        assert torch.equal(turned.logits, plain.logits)
    assert (
        "Violence"
        in ByScores(Classifier(Turned(), class_names=("Violence", "Safe")), default_policy())
        .judge(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 16, 16))
        .categories
    )


def test_categories_do_not_win_by_their_number():
    names = list(safety.safe_prompts(default_policy()))
    table = 10 * torch.randn(400, len(names), generator=torch.Generator().manual_seed(0))

    def guess(images):
        return table[: len(images)]

    model = Classifier(guess, class_names=names, preparation=SQUARE)
    found = ByScores(model, default_policy(), even=True).judge(torch.rand(400, 3, 16, 16))
    assert 0.4 < found.outcomes.count(IS_UNSAFE) / 400 < 0.7, "eleven against one would win in more than 0.85"


# -- models that answer in words ---------------------------------------------------------------------------------------


class Scripted:
    """Answers by a function of the question."""

    name, preparation, device, notes = "scripted", SQUARE, torch.device("cpu"), ()

    def __init__(self, say):
        self.say, self.requested = say, []

    def answer(self, images, questions, *, max_tokens=10):
        self.requested += list(questions)
        return tuple(self.say(one) for one in questions)

    def identity(self):
        return "scripted"


@pytest.mark.covers("29.9")
@pytest.mark.covers("29.11")
def test_three_questions_are_queried_and_unclear_ones_are_counted(monkeypatch):
    model = Scripted(lambda question: "safe" if question.startswith("Is") else "a picture")
    judge = ByAnswers(model, default_policy())
    verdicts = judge.judge(torch.rand(4, 3, 16, 16))
    assert verdicts.outcomes == (UNCLEAR,) * 4
    assert len(model.requested) == 12
    assert sum("Forget your own" in one for one in model.requested) == 4
    assert all("Spam: " in one for one in model.requested if not one.startswith("Is"))
    tied = ByAnswers(Scripted(lambda one: "unsafe" if "Forget" in one else "safe" if "These" in one else "?"), POLICY)
    assert tied.judge(torch.rand(1, 3, 16, 16)).outcomes == (IS_UNSAFE,)
    monkeypatch.setattr(safety, "load_question_answerer", lambda *_, **__: model)
    method_module._loaded.cache_clear()
    found = UnsafeContent(classifier="answers:hf:somewhere", resamples=100).scan(
        labelled(category=["Spam"] * 96), rng=Randomness(0)
    )
    assert found.figures["unclear"] == 96
    assert set(found.evidence.table["reason"].to_pylist()) == {"unclear answer"}


@pytest.mark.covers("29.4")
def test_a_large_follower_gets_the_policy_and_its_answer_is_read():
    model = Scripted(lambda prompt: answer_for("Spam" if "\nSpam: " in prompt else None))
    policy = default_policy()
    images = torch.rand(2, 3, 16, 16)
    assert ByAnswers(model, policy, follows=True).judge(images).categories == ("Spam", "Spam")
    assert ByAnswers(model, policy.without("Spam"), follows=True).judge(images).outcomes == (0, 0)


def test_references_of_every_form(tmp_path, place):
    llava = write_random_llava(tmp_path / "llava", words=("safe", "unsafe", "category"))
    pixels = torch.rand(2, 3, 32, 32)
    for scheme in ("answers", "follows"):
        judge = load_safety_classifier(f"{scheme}:hf:{llava}", POLICY)
        assert len(judge.judge(pixels).outcomes) == 2
        assert judge.identity()
    towers = load_safety_classifier("towers:bundled:scene-clip", POLICY)
    assert towers.classifier is not None
    for bad in ("policy:", "towers:", "policy:absent.safetensors", "dragon:x", "towers:dragon:x"):
        with pytest.raises(InputError):
            load_safety_classifier(bad, POLICY)
    with pytest.raises(InputError, match="--classifier"):
        UnsafeContent().scan(labelled(), rng=Randomness(0))


def test_a_classifier_is_loaded_once_and_on_the_device_of_the_command(monkeypatch, place):
    asked = []

    def load(reference, policy, *, claims, device):
        asked.append((reference, device))
        return load_safety_classifier(f"policy:{place / 'follower.safetensors'}", policy, claims=claims)

    monkeypatch.setattr(method_module, "load_safety_classifier", load)
    method_module._loaded.cache_clear()
    reference = "answers:hf:large"
    method = UnsafeContent(classifier=reference, policy=str(place / "policy.toml"), device="cuda:1", resamples=100)
    method.load()
    method.reference_hashes()
    method.scan(labelled(6), classifier=red(), rng=Randomness(0))
    assert asked == [(reference, "cuda:1")]
    method.model_copy(update={"device": "cpu"}).load()
    method.model_copy(update={"device": "cpu", "claims": ("Ring",)}).load()
    assert [device for _, device in asked] == ["cuda:1", "cpu", "cpu"]
    method_module._loaded.cache_clear()


def test_the_device_of_the_command_line_is_that_of_the_classifier(monkeypatch):
    seen = []
    monkeypatch.setattr(on_images, "carry_out", lambda verb, model, images, methods, **rest: seen.extend(methods))
    for options in ([], ["--device", "cuda:1"]):
        call = ["scan", "unsafe-content", "optotypes:scenes?count=4", "--classifier", "answers:hf:absent", *options]
        assert CliRunner().invoke(app, call).exit_code == 0
    assert [one.device for one in seen] == ["cpu", "cuda:1"]


@pytest.mark.covers("29.1")
def test_sources_come_from_columns_or_provenance():
    images = labelled(4)
    table = images.table.drop_columns(["source"])
    assert source_of(replace(images, table=table)) == ["real"] * 4
    made = json.dumps({"origin": "generated"})
    origin = table.append_column("provenance", pa.array([made, None, made, None]))
    assert source_of(replace(images, table=origin)) == ["generated", "real", "generated", "real"]
    flags = origin.append_column("synthetic", pa.array(["0", "1", None, "1"]))
    assert source_of(replace(images, table=flags)) == ["real", "generated", "generated", "generated"]
    assert set(source_of(load_images("optotypes:scenes?count=4"))) == {"real"}, "a procedural world counts as real"
    odd = flags.append_column("source", pa.array(["Real", "GENERATED", "web", None]))
    assert source_of(replace(images, table=odd)) == ["real", "generated", None, "generated"]


def test_a_scan_resumes_and_another_policy_is_another_plan(place, tmp_path):
    method = UnsafeContent(
        classifier=f"policy:{place / 'follower.safetensors'}", policy=str(place / "policy.toml"), resamples=100
    )
    first = snellen.scan(None, labelled(12), method, out=tmp_path / "out")
    assert first.settings["unsafe_content"].figures["images"] == 12
    assert not list((tmp_path / "out").glob("*.png")), "no picture is written unless it is wanted"
    before = (tmp_path / "out" / "scan.json").read_bytes()
    snellen.scan(None, labelled(12), method, out=tmp_path / "out")
    assert (tmp_path / "out" / "scan.json").read_bytes() == before
    assert method.reference_hashes() != method.model_copy(update={"policy": None}).reference_hashes()
