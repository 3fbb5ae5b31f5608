"""An audit of a segmenter: figures from counts of pixels, planted faults, attacks, masks that cannot be used."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import snellen
from snellen.auditing.checks.segmentation import Segmentation
from snellen.auditing.overlap_hypotheses import of_groups
from snellen.auditing.overlap_rows import OverlapRows
from snellen.cli.app import app
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, UnknownNameError
from snellen.core.evidence import Evidence
from snellen.core.preprocessing import Preprocessing
from snellen.metrics.segmentation import (
    confusion,
    mean_overlap,
    overlap_of_classes,
    overlap_of_parts,
    overlap_parts,
    weighted_overlap,
)

NAMES = ("ground", "disc", "bar")

QUICK = Segmentation(kinds=("brightness",), severities=(3,), epsilons=(), examples=2)


class ByColour(nn.Module):
    """Red pixels are discs, blue ones bars, if they exceed the score of ground; ``blind`` finds no bar."""

    def __init__(self, blind=False, ground=0.5):
        super().__init__()
        self.register_buffer("blind", torch.tensor(float(blind)))
        self.register_buffer("ground", torch.tensor(ground))

    def forward(self, images):
        red, green, blue = images.unbind(1)
        disc, bar = 4 * (red - green - blue), 4 * (blue - red - green) - 100 * self.blind
        return torch.stack([torch.ones_like(disc) * self.ground, disc, bar], 1)


def segmenter(blind=False, ground=0.5, **given):
    return Classifier(
        ByColour(blind, ground),
        class_names=NAMES,
        preparation=Preprocessing(size=(24, 24)),
        task="segment",
        name="own",
        **given,
    )


def drawn(number, bar=True):
    """A picture and the class of each pixel: a disc left and a bar right, before a dark ground."""
    rng = np.random.default_rng(number)
    picture = rng.integers(20, 60, (24, 24, 3))
    truth = np.zeros((24, 24), dtype=np.uint8)
    y, x = np.ogrid[:24, :24]
    disc = (y - 12) ** 2 + (x - 6) ** 2 < 16
    picture[disc], truth[disc] = (220, 20, 20), 1
    if bar:
        picture[4:20, 16:20], truth[4:20, 16:20] = (20, 20, 220), 2
    return picture.astype(np.uint8), truth


def folder_of(folder, count=40, groups=None, damaged=(), spoiled=()):
    """A manifest of pictures and masks of classes; ``spoiled`` pictures show other colours than their mask says."""
    rows = []
    for number in range(count):
        picture, truth = drawn(number)
        if number in spoiled:
            picture = picture[..., ::-1].copy()
        if number in damaged:
            truth[0, 0] = 77
        truth[-1] = 255
        Image.fromarray(picture).save(folder / f"{number}.png")
        Image.fromarray(truth).save(folder / f"{number}-mask.png")
        row = {"path": f"{number}.png", "mask": f"{number}-mask.png"}
        rows.append(row if groups is None else row | {"group": groups[number]})
    with (folder / "manifest.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    return str(folder / "manifest.csv")


SCENES = "optotypes:scenes?count=24&shapes=star,ring&size=32"


@pytest.fixture
def trained(tmp_path):
    """A folder with a segmenter that was trained in a moment."""
    recipe = {"method": "context_upsampling", "side": 32, "widths": (8, 16), "plan": {"epochs": 1}}
    snellen.train(recipe, snellen.load_images(SCENES + "#train"), out=tmp_path / "trained")
    return tmp_path


def audited(model, manifest, check=QUICK, **given):
    return snellen.audit(model, manifest, checks=["clean", check], **given)


def of_kind(report, kind):
    return [finding for finding in report.findings if finding.kind == kind]


def test_parts_give_the_overlaps_of_whole_counts():
    rng = torch.Generator().manual_seed(0)
    first, second = (torch.randint(0, 4, (6, 9, 9), generator=rng) for _ in range(2))
    counts = confusion(first, second, 4)
    assert np.array_equal(overlap_of_parts(overlap_parts(counts)), overlap_of_classes(counts))
    weights = np.array([0, 1, 2, 0, 3, 1.0])
    total = (weights[:, None, None] * counts).sum(0)
    assert weighted_overlap(overlap_parts(counts))(weights) == pytest.approx(float(mean_overlap(total)))
    assert weighted_overlap(overlap_parts(counts), 2)(weights) == pytest.approx(overlap_of_classes(total)[2])


def test_figures_are_those_of_all_pixels_with_a_known_class(tmp_path):
    report = audited(segmenter(), folder_of(tmp_path))
    assert report.metrics["segmentation.miou"].value == 1.0
    assert report.metrics["segmentation.miou"].n == 40
    assert "own on manifest: mIoU 1.000" in repr(report)
    assert not of_kind(report, "accuracy")
    blind = audited(segmenter(blind=True), str(tmp_path / "manifest.csv"))
    whole = 24 * 23
    disc, bar = (int((drawn(0)[1][:-1] == label).sum()) for label in (1, 2))
    ground = (whole - disc - bar) / (whole - disc)
    assert blind.metrics["segmentation.class.bar.iou"].value == 0
    assert blind.metrics["segmentation.class.ground.iou"].value == pytest.approx(ground)
    assert blind.metrics["segmentation.miou"].value == pytest.approx((ground + 1 + 0) / 3)


def test_a_class_that_is_never_found_is_a_finding_with_wrong_pixels_in_red(tmp_path):
    report = audited(segmenter(blind=True), folder_of(tmp_path), out=tmp_path / "run")
    (finding,) = of_kind(report, "worst_class")
    assert finding.subject == "bar"
    share = float((drawn(0)[1][:-1] == 2).mean())
    assert 0.5 * share < finding.harm <= share, "harm counts the pixels of the class"
    assert not any("snellen treat" in text for text in finding.treatments)
    example = finding.examples[0]
    assert example.after is not None
    assert example.after != example.image
    page = (tmp_path / "run" / "report.html").read_text()
    assert "of the mIoU" in page
    assert "evidence/segmentation.parquet, setting unchanged" in page
    assert 'id="treatment"' not in page, "no command treats a segmenter"
    rows = json.loads((tmp_path / "run" / "lists" / "segmentation.json").read_text())
    assert rows[0]["overlap"]["bar"] == 0


def test_a_group_that_is_served_worse_is_found(tmp_path):
    groups = ["old" if number % 2 else "new" for number in range(80)]
    manifest = folder_of(tmp_path, 80, groups, spoiled=set(range(1, 80, 4)))
    report = audited(segmenter(), manifest)
    (finding,) = of_kind(report, "group_gap")
    assert finding.subject == "old"
    assert report.metrics["segmentation.group.old.miou"].high < report.metrics["segmentation.group.new.miou"].low
    assert 0 < finding.harm < 0.8 * finding.facts["lost"] * 0.5, "a lower bound, times the share of the group"


def test_each_of_several_groups_is_judged_and_compared(tmp_path):
    scanners = ["old" if number % 2 else "new" for number in range(80)]
    manifest = folder_of(tmp_path, 80, scanners, spoiled=set(range(1, 80, 4)))
    groups = {"site": (["north"] * 4 + ["south"] * 4) * 10, "scanner": scanners}
    given = {"checks": ["clean", QUICK], "groups": groups}
    report = snellen.audit(segmenter(), manifest, out=tmp_path / "first", **given)
    (finding,) = of_kind(report, "group_gap")
    assert finding.subject == "scanner=old"
    assert "segmentation.group.site=north.miou" in report.metrics
    snellen.audit(segmenter(), manifest, out=tmp_path / "second", **given)
    found = {one.key: one for one in snellen.compare(tmp_path / "first", tmp_path / "second").findings}
    assert found["group_gap:scanner=old"].verdict == "same"


def test_random_groups_are_accused_no_more_often_than_the_level():
    """Images of one kind, cut into two groups by chance: p values below 5 % come in about 5 % of the draws."""
    rng, low = np.random.default_rng(0), 0
    for draw in range(60):
        counts = np.stack([rng.binomial(500, [share, share / 4], (60, 2)) for share in (0.8, 0.1)], 1)
        spread = rng.integers(1, 6, (60, 1, 1))
        rows = OverlapRows(
            evidence=Evidence.merge([]),
            ids=tuple(map(str, range(60))),
            parts=overlap_parts(counts * spread),
            right=np.ones(60),
            units=np.arange(60),
            groups=tuple(rng.permutation(["a", "b"] * 30)),
            seed=draw,
        )
        low += of_groups(rows, examples=0).hypotheses[0].p_value < 0.05
    assert low <= 9, "one-sided, at 5 %: 3 are expected, more than 9 in one of a thousand tests"


def test_a_corruption_that_changes_colours_costs_overlap_and_one_that_moves_pixels_is_refused(tmp_path):
    report = audited(
        segmenter(), folder_of(tmp_path), Segmentation(kinds=("contrast",), severities=(1, 5), epsilons=())
    )
    (finding,) = of_kind(report, "corruption")
    assert finding.subject == "contrast"
    after = [report.metrics[f"segmentation.corruption.contrast.{severity}.miou"].value for severity in (1, 5)]
    assert after[1] < after[0] <= 1
    assert finding.facts["lost"] == pytest.approx(1 - np.mean(after))
    with pytest.raises(ValueError, match="moves pixels, so that masks no longer fit"):
        Segmentation(kinds=("elastic_transform",))
    assert "elastic_transform" not in Segmentation().chosen


def test_attacks_are_measured_without_harm_and_need_gradients(tmp_path):
    manifest = folder_of(tmp_path)
    attacked = Segmentation(kinds=("brightness",), severities=(1,), epsilons=(0.3,), steps=5, attacked=1.0)
    report = audited(segmenter(), manifest, attacked)
    for name in ("segpgd", "cospgd"):
        left = report.metrics[f"segmentation.attack.{name}.76.5.miou"]
        assert left.high < 0.9
    found = of_kind(report, "adversarial")
    assert {finding.subject for finding in found} == {"segpgd.76.5", "cospgd.76.5"}
    assert all(finding.harm == 0 for finding in found)
    blind = Classifier(
        ByColour().forward, class_names=NAMES, preparation=Preprocessing(size=(24, 24)), task="segment",
        differentiable=False, name="function",
    )  # fmt: skip
    report = audited(blind, manifest, attacked)
    assert not any(name.startswith("segmentation.attack") for name in report.metrics)
    assert any("has no gradients, so that it was not attacked" in note for note in report.notes)


def test_images_whose_mask_cannot_be_used_are_counted_with_the_reason(tmp_path):
    with pytest.raises(InputError, match="2 of 30"):
        audited(segmenter(), folder_of(tmp_path, 30, damaged=(3, 8)))
    report = audited(segmenter(), folder_of(tmp_path, damaged=(3, 8)))
    assert report.metrics["segmentation.miou"].n == 38
    note = next(note for note in report.notes if "count in no figure" in note)
    assert "2 images" in note
    assert "its mask holds the value 77, and there are 3 classes, 0 to 2, and 255 for none" in note


def test_too_few_usable_masks_are_an_error_and_no_clean_report(tmp_path):
    with pytest.raises(InputError, match=r"nothing can be concluded about own .* needs 20 images .* there are 12"):
        audited(segmenter(), folder_of(tmp_path, 14, damaged=(0, 1)), allow_rejected=True)


def test_every_other_check_is_skipped_by_name(tmp_path):
    report = snellen.audit(segmenter(), folder_of(tmp_path), checks="clean,corruption,calibration")
    skipped = {one.name: one.reason for one in report.checks if one.status == "skipped"}
    assert set(skipped) == {"clean", "corruption", "calibration"}
    assert all("is not for segmenters" in reason for reason in skipped.values())
    assert "segmentation.miou" in report.metrics


def test_masks_of_objects_take_the_class_of_their_image(tmp_path):
    class Darker(nn.Module):
        """Star where a pixel is not the colour of the corner; it knows no ring."""

        def forward(self, images):
            differs = (images - images[:, :, :1, :1]).abs().sum(1) - 0.1
            return torch.stack([-differs, differs, torch.full_like(differs, -9.0)], 1)

    names = ("background", "star", "ring")
    images = snellen.load_images("optotypes:scenes?count=60&shapes=star,ring&size=32")
    model = Classifier(
        Darker(), class_names=names, preparation=Preprocessing(size=(32, 32)), task="segment", name="one"
    )
    report = audited(model, images)
    assert report.metrics["segmentation.class.ring.iou"].value == 0
    assert report.metrics["segmentation.class.star.iou"].value > 0.02


def test_a_model_of_pixels_must_be_declared_as_one(tmp_path):
    with pytest.raises(ModelError, match=r'decides each pixel is loaded with task="segment"'):
        snellen.load_classifier(ByColour(), NAMES, preparation=Preprocessing(size=(24, 24)))
    loaded = snellen.load_classifier(ByColour(), NAMES, preparation=Preprocessing(size=(24, 24)), task="segment")
    assert audited(loaded, folder_of(tmp_path)).metrics["segmentation.miou"].value == 1.0


def test_the_command_audits_a_trained_folder_as_a_segmenter(trained, monkeypatch):
    monkeypatch.chdir(trained)
    refused = CliRunner().invoke(app, ["audit", "artifact:trained", SCENES, "--out", "no"])
    assert isinstance(refused.exception, InputError)
    assert "--task segment" in str(refused.exception)
    options = ["--set", 'segmentation.kinds=["fog"]', "--set", "segmentation.steps=1", "--checks", "clean,segmentation"]
    done = CliRunner().invoke(app, ["audit", "artifact:trained", SCENES, "--task", "segment", "--out", "run", *options])
    assert done.exit_code == 0, done.output
    assert "segmentation.miou" in done.output
    assert "mIoU at severity" in done.output
    assert (trained / "run" / "report.html").is_file()


def test_two_audits_of_segmenters_are_compared_image_by_image(tmp_path):
    groups = ["old" if number % 2 else "new" for number in range(60)]
    manifest = folder_of(tmp_path, 60, groups)
    check = Segmentation(kinds=("brightness",), severities=(3,), epsilons=(8 / 255,), steps=1, attacked=1.0)
    audited(segmenter(blind=True), manifest, check, out=tmp_path / "first")
    audited(segmenter(), manifest, check, out=tmp_path / "second")
    found = snellen.compare(tmp_path / "first", tmp_path / "second")
    assert found.paired
    by_name = {one.name: one for one in found.figures}
    bar = by_name["segmentation.class.bar.iou"]
    assert (bar.first, bar.second, bar.difference, bar.verdict) == (0.0, 1.0, 1.0, "better")
    assert by_name["segmentation.miou"].verdict == by_name["segmentation.group.old.miou"].verdict == "better"
    assert by_name["segmentation.class.disc.iou"].verdict == "same"
    assert {one.key: one.verdict for one in found.findings}["worst_class:bar"] == "mended"
    again = snellen.compare(tmp_path / "second", tmp_path / "first")
    assert {one.key: one.verdict for one in again.findings}["worst_class:bar"] == "new"


def test_what_corruptions_and_attacks_cost_is_compared(tmp_path):
    manifest = folder_of(tmp_path)
    check = Segmentation(kinds=("contrast",), severities=(2, 4), epsilons=(0.05,), steps=2, attacked=1.0)
    for name, ground in (("steady", 0.5), ("fragile", 2.5)):
        audited(segmenter(ground=ground), manifest, check, out=tmp_path / name)
    found = snellen.compare(tmp_path / "steady", tmp_path / "fragile")
    by_name, by_key = ({one.name: one for one in found.figures}, {one.key: one for one in found.findings})
    assert by_name["segmentation.miou"].verdict == "same"
    for figure in ("corruption.contrast.2", "attack.segpgd.12.75", "attack.cospgd.12.75"):
        assert by_name[f"segmentation.{figure}.miou"].verdict == "worse"
    lost = [1 - np.mean([getattr(by_name[f"segmentation.corruption.contrast.{at}.miou"], side) for at in (2, 4)])
            for side in ("first", "second")]  # fmt: skip
    assert by_key["corruption:contrast"].difference == pytest.approx(lost[1] - lost[0], abs=1e-6)
    assert by_key["adversarial:segpgd.12.75"].verdict in ("worse", "new")


def test_audits_of_segmenters_on_other_images_are_compared_unpaired(tmp_path):
    for name, count in (("first", 40), ("second", 30)):
        (tmp_path / name).mkdir()
        audited(segmenter(), folder_of(tmp_path / name, count), out=tmp_path / f"{name}-run")
    found = snellen.compare(tmp_path / "first-run", tmp_path / "second-run")
    assert not found.paired
    assert {one.name: one for one in found.figures}["segmentation.miou"].difference == 0


def test_a_file_of_an_audit_names_the_task(trained, monkeypatch):
    monkeypatch.chdir(trained)
    (trained / "audit.toml").write_text(
        f'model = "artifact:trained"\ntask = "segment"\ndata = "{SCENES}"\nchecks = ["clean", "segmentation"]\n'
        '[settings.segmentation]\nkinds = ["fog"]\nepsilons = []\n'
    )
    assert "segmentation.miou" in snellen.audit("audit.toml").metrics
    done = CliRunner().invoke(app, ["audit", "audit.toml", "--out", "run"])
    assert done.exit_code == 0, done.output
    assert "segmentation.miou" in done.output


def test_the_background_is_found_by_its_name_wherever_it_stands():
    class Differs(nn.Module):
        """Star where a pixel is not the colour of the corner; scores of background and star in a given order."""

        def __init__(self, order):
            super().__init__()
            self.register_buffer("order", torch.tensor(order))

        def forward(self, images):
            differs = (images - images[:, :, :1, :1]).abs().sum(1) - 0.1
            return torch.stack([-differs, differs], 1)[:, self.order]

    images = snellen.load_images("optotypes:scenes?count=40&shapes=star&size=32")

    def model(order, *names):
        prepared = Preprocessing(size=(32, 32))
        return Classifier(Differs(order), class_names=names, preparation=prepared, task="segment", name="one")

    first = audited(model([0, 1], "background", "star"), images)
    last = audited(model([1, 0], "star", "background"), images)
    name = "segmentation.class.star.iou"
    assert first.metrics[name] == last.metrics[name]
    with pytest.raises(InputError, match="needs to know which class is the background"):
        audited(model([1, 0], "star", "ground"), images)


def test_maps_of_another_size_than_the_image_are_an_error_that_says_so(tmp_path):
    half = Classifier(
        nn.Sequential(nn.AvgPool2d(2), ByColour()), class_names=NAMES, preparation=Preprocessing(size=(24, 24)),
        task="segment", name="half",
    )  # fmt: skip
    with pytest.raises(ModelError, match="half gives scores of 12x12 for images of 24x24 pixels; interpolate"):
        audited(half, folder_of(tmp_path))


def test_a_gate_and_a_baseline_judge_a_segmenter(trained, monkeypatch):
    monkeypatch.chdir(trained)
    options = ["--task", "segment", "--set", 'segmentation.kinds=["fog"]', "--set", "segmentation.epsilons=[]"]
    call = ["audit", "artifact:trained", SCENES, *options]
    met = CliRunner().invoke(app, [*call, "--out", "one", "--require", "segmentation.miou<=1"])
    assert met.exit_code == 0, met.output
    failed = CliRunner().invoke(app, [*call, "--out", "two", "--fail-on", "note"])
    assert failed.exit_code == 3
    assert "no labelled image was judged" not in failed.output
    same = CliRunner().invoke(app, [*call, "--out", "three", "--baseline", "one"])
    assert same.exit_code == 0, same.output


def test_an_unknown_task_and_a_check_without_its_key_are_named():
    with pytest.raises(UnknownNameError, match="segmentation"):
        snellen.load_classifier(ByColour(), NAMES, preparation=Preprocessing(size=(24, 24)), task="segmentation")
    with pytest.raises(InputError, match="names itself by the key 'check'"):
        snellen.audit(segmenter(), np.zeros((20, 24, 24, 3), np.uint8), checks=[{"method": "segmentation"}])
