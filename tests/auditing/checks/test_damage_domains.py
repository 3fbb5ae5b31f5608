"""Damage that fits: which domain is guessed, which kinds follow, what a family says, and how many are false."""

import json
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import snellen
from snellen.auditing.checks import resolve_checks
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.checks.damage_findings import unseen
from snellen.auditing.checks.family_words import family_title
from snellen.auditing.checks.guessed_domain import guess_domain, has_plain_border, is_page
from snellen.checks.damage_families import FamilyLoss, KindLoss
from snellen.checks.hypothesis import Hypothesis, confirmed
from snellen.checks.per_image import PerImage
from snellen.checks.strengths import lost_over
from snellen.checks.usual_losses import UsualLoss
from snellen.cli.app import app
from snellen.core.errors import InputError
from snellen.core.finding import Finding, rank
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.domains import domain
from snellen.metrics.corruption_error import Reference
from snellen.metrics.multiplicity import simes

MODEL, DATA = "bundled:fashion-cnn", "bundled:fashion-mnist"


def arrays(make, count=12):
    rng = np.random.default_rng(0)
    return snellen.load_images(np.stack([make(rng) for _ in range(count)]))


def page(rng):
    image = np.full((40, 40, 3), 240, dtype=np.uint8)
    for row in range(4, 36, 6):
        image[row : row + 2, 4:36:2] = 20
    return image


def product(rng):
    image = np.full((40, 40, 3), 250, dtype=np.uint8)
    image[10:30, 12:28] = rng.integers(0, 255, (20, 16, 3))
    return image


class Named(NamedTuple):
    """As much of a classifier as a guess needs."""

    class_names: tuple[str, ...]


def scene(rng):
    return rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)


# -- the domain --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "expected"), [(page, "documents"), (product, "products"), (scene, "photos")])
def test_a_domain_is_guessed_from_a_few_images(make, expected):
    guess = guess_domain(arrays(make), ["a", "b"])
    assert guess.domain == expected
    assert guess.why


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["AnnualCrop", "SeaLake", "Forest", "River"], "satellite"),
        (["good", "scratch", "dent"], "industrial"),
        (["melanoma", "nevus", "other"], "medical:dermatoscopy"),
        (["T-shirt/top", "Trouser", "Ankle boot"], "products"),
        (["scratch", "b", "c", "d"], "photos"),
    ],
)
def test_names_of_classes_decide_where_a_third_of_them_speak(names, expected):
    assert guess_domain(arrays(scene), names).domain == expected


def test_pages_and_plain_borders():
    rng = np.random.default_rng(0)
    assert is_page(page(rng).astype(float))
    assert not is_page(scene(rng).astype(float))
    shaded = np.full((40, 40, 3), 240.0)
    shaded[:2], shaded[24:] = 20, 150
    assert not is_page(shaded), "much of it is neither paper nor ink"
    assert has_plain_border(product(rng).astype(float))
    assert not has_plain_border(scene(rng).astype(float))
    assert not has_plain_border(np.full((40, 40, 3), 250.0)), "an image of nothing is no product"


def test_images_that_cannot_be_read_do_not_count(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(page(rng)).save(tmp_path / f"{number}.png")
        (tmp_path / f"broken-{number}.png").write_bytes(b"no image")
    guess = guess_domain(snellen.load_images(tmp_path), ["a", "b"])
    assert (guess.domain, guess.why) == ("documents", "6 of 6 images are dark on bright paper")


# -- an audit ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """The default of the check on the bundled classifier, few images and severities."""
    out = tmp_path_factory.mktemp("domains") / "run"
    return snellen.audit(MODEL, DATA, checks=["clean", "corruption"], limit=200, out=out)


def test_a_family_is_one_finding_with_the_kinds_inside(audited):
    keys = [one.key for one in audited.findings if one.kind == "corruption"]
    assert len(set(keys)) == len(keys)
    assert (
        {"corruption:blur", "corruption:digital"}
        <= set(keys)
        <= {f"corruption:{one}" for one in benchmark("sized").families}
    )
    blur = next(one for one in audited.findings if one.subject == "blur")
    assert "gaussian_blur" in str(blur.facts["kinds_found"])
    assert set(str(blur.facts["kinds_found"]).split(", ")) <= {"gaussian_blur", "defocus_blur", "motion_blur"}
    acuity = next(column.acuity for column in audited.eye_chart.columns if column.name == blur.facts["corruption"])
    assert (blur.facts["breakdown_severity"], blur.facts["breakdown_low"], blur.facts["breakdown_high"]) == (
        acuity.value,
        acuity.low,
        acuity.high,
    )
    assert "breaks down at severity" in blur.title
    assert all(one.treatments[0].startswith(f"snellen treat . --finding {one.key} ") for one in [blur])


def test_what_does_not_fit_is_listed_with_the_option_that_brings_it_back(audited):
    (note,) = [one for one in audited.notes if one.startswith("Damage is that of the domain products")]
    assert "guessed: 9 of 10 classes" in note
    assert "--domain NAME, in Python domain=, changes it" in note
    left = domain("products").left_out
    assert all(kind in note for kind in left)
    assert not any(f"corruption.{kind}." in name for kind in left for name in audited.metrics)
    (option,) = [part for part in note.split("'") if part.startswith("corruption.also=")]
    named = json.loads(option.partition("=")[2])
    again = CommonCorruptions(domain="products", also=named)
    assert set(again.chosen) == {*domain("products").kinds, *named}
    (panel,) = [one for one in audited.panels if one.title == "Which damage fits products"]
    assert {row[1]: row[3] for row in panel.rows}["fog"] == "not for this domain"
    assert "indoors" in {row[1]: row[4] for row in panel.rows}["fog"]


def test_a_gate_counts_the_costliest_kind_though_it_is_usual(audited):
    light = next(one for one in audited.findings if one.subject == "light")
    assert light.harm > 0.2, "contrast and brightness cost as much"
    assert light.whole_level == "severe"
    assert light.level in ("note", "mild", "moderate")


def test_published_benchmarks_keep_their_kinds_strengths_and_findings():
    report = snellen.audit(
        MODEL,
        DATA,
        checks=[
            "clean",
            {"check": "corruption", "benchmark": "imagenet-c", "kinds": ["fog", "contrast"], "severities": [5]},
        ],
        limit=100,
    )
    assert {one.key for one in report.findings if one.kind == "corruption"} == {"corruption:fog", "corruption:contrast"}
    assert any("severities 1 to 5 are those of its published tables" in note for note in report.notes)
    assert not any(note.startswith("Damage is that of the domain") for note in report.notes)
    families = CommonCorruptions(benchmark="imagenet-c", families=True)
    assert families.by_family
    assert not CommonCorruptions(benchmark="imagenet-c").by_family


def test_a_declared_domain_in_python_on_the_command_line_and_in_a_file(tmp_path):
    checks = ["clean", {"check": "corruption", "severities": [1]}]
    report = snellen.audit(MODEL, DATA, checks=checks, limit=20, domain="satellite")
    assert any("domain satellite (as declared)" in note for note in report.notes)
    assert "corruption.fog.1.accuracy" in report.metrics
    options = ["--set", "corruption.severities=[1]", "--checks", "corruption", "--limit", "20"]
    shown = CliRunner().invoke(app, ["audit", *options, "--domain", "satellite", "--out", str(tmp_path / "a")])
    assert shown.exit_code == 0, shown.output
    assert "damage: satellite (as declared)" in " ".join(shown.output.split())
    job = tmp_path / "audit.toml"
    lines = [f'model = "{MODEL}"', f'data = "{DATA}"', 'domain = "satellite"', 'checks = "corruption"', "limit = 20"]
    job.write_text("\n".join([*lines, "[settings.corruption]", "severities = [1]"]))
    figures = snellen.audit(str(job)).metrics
    assert figures.keys() == report.metrics.keys()
    assert figures == report.metrics


def test_a_medical_domain_takes_the_strengths_of_its_modality():
    check = resolve_checks(["clean", "corruption"], domain="medical:blood")[1]
    assert check.benchmark == "sized-blood"
    assert {"bubble", "stain_deposit", "gaussian_blur", "low_resolution"} <= set(check.chosen)
    assert "fog" not in check.chosen
    assert "fog" in CommonCorruptions(domain="medical:blood", also=("fog",)).chosen


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: resolve_checks(["clean"], domain="photos"),
            "the check 'corruption' measures, which does not run here",
        ),
        (lambda: resolve_checks(["corruption"], task="segment", domain="photos"), "does not run here"),
        (lambda: resolve_checks(["corruption"], domain="garments"), "unknown domain 'garments'"),
        (lambda: resolve_checks(["corruption"], domain="medical"), "medical:xray"),
        (
            lambda: resolve_checks([{"check": "corruption", "benchmark": "imagenet-c"}], domain="photos"),
            "the domain photos has the strengths sized, and the benchmark is imagenet-c; leave one of them out",
        ),
        (lambda: resolve_checks([{"check": "corruption", "also": ["fogg"]}]), "did you mean 'fog'"),
        (lambda: resolve_checks([{"check": "corruption", "also": ["nrkt"]}]), "did you mean 'nrtk'"),
        (
            lambda: resolve_checks([{"check": "corruption", "kinds": ["nrtk"]}], domain="medical:xray"),
            "no damage of NRTK is for medical:xray; name kinds of it: nrtk_haze",
        ),
    ],
)
def test_domains_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_reference_is_compared_with_the_strengths_of_a_domain_once_it_is_guessed():
    """The same name is another blur in a medical domain."""
    theirs = Reference("theirs", 0.1, {"gaussian_blur": 0.5}, conditions={"benchmark": "sized"})
    check = CommonCorruptions(kinds=("gaussian_blur",), reference=theirs)
    images = arrays(scene)
    assert check.seeing(images, Named(("a", "b"))).benchmark == "sized"
    with pytest.raises(InputError, match="was measured at benchmark sized, this check at sized-dermatoscopy"):
        check.seeing(images, Named(("melanoma", "nevus")))


def test_a_reference_brings_its_benchmark():
    assert CommonCorruptions(reference="alexnet/bloodmnist").benchmark == "bloodmnist"
    assert CommonCorruptions(reference="alexnet/imagenet-c").chosen == benchmark("imagenet-c").main


def test_families_of_two_runs_are_compared(audited, tmp_path):
    other = snellen.audit(MODEL, DATA, checks=["clean", "corruption"], limit=200, out=tmp_path / "b", domain="products")
    found = snellen.compare(audited.folder, other.folder)
    verdicts = {one.key: one.verdict for one in found.findings if one.key.startswith("corruption:")}
    assert verdicts
    assert set(verdicts.values()) == {"same"}
    assert not any(one.key == "corruption:gaussian_blur" for one in found.findings)


# -- the statistics ----------------------------------------------------------------------------------------------------


def test_harm_times_plausibility_orders_findings():
    rare = Finding(kind="corruption", subject="weather", harm=0.4, plausibility=0.2, title="rare")
    usual = Finding(kind="corruption", subject="blur", harm=0.1, title="usual")
    assert [one.title for one in rank([rare, usual])] == ["usual", "rare"]
    assert rare.level == "severe", "a level is one of harm alone"


def test_simes_by_hand():
    assert simes([0.02, 0.5]) == pytest.approx(0.04)
    assert simes([0.04, 0.05]) == pytest.approx(0.05)
    assert simes([0.2]) == pytest.approx(0.2)
    with pytest.raises(InputError, match="family without a test"):
        simes([])


def family(name, rng, losses, images=300, shared=0.5):
    """Kinds that cost so much on average, on the same images, whose decisions depend on one another."""
    right = rng.random(images) < 0.9
    frail = rng.random(images)
    members = []
    for number, loss in enumerate(losses):
        own = rng.random(images)
        tried = np.where(rng.random(images) < shared, frail, own)
        kept = right & (tried >= loss)
        # As many are gained as are lost by chance.
        flip = rng.random((3, images)) < 0.05
        outcomes = np.where(flip, rng.random((3, images)) < 0.9 * (1 - loss), kept).astype(np.int8)
        members.append(KindLoss(f"{name}{number}", lost_over(right, outcomes)))
    return FamilyLoss(name, members)


def hypothesis(one):
    def finding(harm):
        return Finding(kind="corruption", subject=one.name, harm=harm, title=one.name)

    def inside(found, confidence):
        return found.model_copy(update={"facts": {"kinds": ",".join(kind.kind for kind in one.found(confidence))}})

    return Hypothesis(one.p_value, one.harm, finding, inside)


def test_healthy_families_are_seldom_found_and_bounds_hold():
    rng, audits, false, above = np.random.default_rng(0), 200, 0, 0
    truth = 0.9 * 0.12 * 0.95
    for _ in range(audits):
        families = [family(name, rng, [0.0] * 4) for name in "abcd"] + [family("ill", rng, [0.12, 0.0, 0.0])]
        found = [one for one in confirmed([hypothesis(one) for one in families]) if one is not None]
        false += any(one.subject != "ill" for one in found) / max(len(found), 1)
        above += any(one.subject == "ill" and one.harm > truth for one in found)
    assert false / audits <= 0.05 + 2 * (0.05 * 0.95 / audits) ** 0.5
    assert above / audits <= 0.05 + 2 * (0.05 * 0.95 / audits) ** 0.5


def test_the_kinds_inside_a_family_are_seldom_false():
    rng, audits, share, seen = np.random.default_rng(1), 200, 0.0, 0
    for _ in range(audits):
        families = [family("ill", rng, [0.12, 0.0, 0.0, 0.0]), *(family(name, rng, [0.0] * 3) for name in "abc")]
        (found,) = confirmed([hypothesis(one) for one in families])[:1]
        if found is None:
            continue
        kinds = [kind for kind in str(found.facts["kinds"]).split(",") if kind]
        share += sum(kind != "ill0" for kind in kinds) / max(len(kinds), 1)
        seen += "ill0" in kinds
    assert seen > 0.95 * audits
    assert share / audits <= 0.05 + 2 * (0.05 * 0.95 / audits) ** 0.5


def test_the_worst_kind_is_that_of_the_largest_harm_beyond_the_usual_times_plausibility():
    rng = np.random.default_rng(0)
    first, second = family("f", rng, [0.3, 0.2], images=2000).kinds
    both = [first, second]
    assert FamilyLoss("f", both).worst.kind == first.kind
    rare = KindLoss(first.kind, first.lost, weight=0.2)
    assert FamilyLoss("f", [rare, second]).worst.kind == second.kind
    usual = KindLoss(first.kind, first.lost, usual=0.35)
    chosen = FamilyLoss("f", [usual, second])
    assert chosen.worst.kind == second.kind
    harm = chosen.harm(0.95)
    assert harm == pytest.approx(first.lost.drop.lower(0.975)), "gates count the costliest"
    assert harm - chosen.usual(harm, 0.95) == pytest.approx(second.lost.drop.lower(0.975))


def test_a_kind_that_costs_more_than_the_worst_is_named_too():
    first, second = family("f", np.random.default_rng(0), [0.5, 0.1], images=2000).kinds
    rare = FamilyLoss("blur", [KindLoss("zoom_blur", first.lost, weight=0.1), KindLoss("defocus_blur", second.lost)])
    title = family_title(rare, {"zoom_blur": UsualLoss(0.1, 0.6, 9, 28)})
    costs = [f"costs {100 * one.lost.mean:.1f}" for one in (second, first)]
    assert title.startswith(f"Blur: defocus blur {costs[0]} points")
    assert title.endswith(f". Zoom blur {costs[1]} (healthy classifiers: 10 to 60)")
    assert "oom blur" not in family_title(FamilyLoss("blur", [KindLoss("defocus_blur", second.lost)]), {})


@pytest.mark.parametrize("usual", [0.0, 0.001])
def test_the_level_is_that_of_the_largest_excess_however_rare_the_kind(usual):
    first, second = family("f", np.random.default_rng(0), [0.5, 0.1], images=2000).kinds
    one = FamilyLoss("f", [KindLoss(first.kind, first.lost, usual=usual, weight=0.1), second])
    assert one.worst.kind == second.kind
    level = one.harm(0.95) - one.usual(one.harm(0.95), 0.95)
    assert level == pytest.approx(first.lost.drop.lower(0.975) - usual)
    assert level * one.plausibility(0.95) == pytest.approx(second.lost.drop.lower(0.975)), "the order is the worst's"
    alike = FamilyLoss("f", [KindLoss(first.kind, first.lost, usual=1.0, weight=0.2)])
    assert alike.plausibility(0.95) == 0.2, "where nothing is beyond the usual"


def test_a_family_picks_its_worst_kind_from_intervals_that_hold_together(audited):
    blur = next(one for one in audited.findings if one.subject == "blur")
    apart = snellen.audit(
        MODEL,
        DATA,
        checks=["clean", {"check": "corruption", "domain": "products", "kinds": ["gaussian_blur"]}],
        limit=200,
    )
    (alone,) = [one for one in apart.findings if one.subject == "blur"]
    width, narrower = (one.facts["mean_drop_high"] - one.facts["mean_drop_low"] for one in (blur, alone))
    assert blur.facts["mean_drop"] == alone.facts["mean_drop"]
    assert width > 1.1 * narrower


def test_what_would_be_found_grows_with_the_kinds_of_a_family():
    right = np.random.default_rng(0).random(500) < 0.9
    images = PerImage(tuple(map(str, range(500))), np.zeros(500, int), np.where(right, 0, 1))
    outcomes = {"fog": np.where(np.arange(500) % 20, right, ~right).astype(np.int8)[None]}
    losses = []
    for families in (False, True):
        check = CommonCorruptions(domain="photos", kinds=("fog", "snow"), families=families)
        rivals = check._rivals(check.chosen)
        assert rivals == {"fog": 1 + families, "snow": 1 + families}
        losses.append(unseen(images, outcomes, 0.01, rivals))
    assert losses[1] == unseen(images, outcomes, 0.005, {"fog": 1})
    assert losses[0] != losses[1]
