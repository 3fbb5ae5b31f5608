"""Which kinds fit: names of families, what stands in the note and the table, and guesses at their limits."""

import numpy as np
import pytest

import snellen
from snellen.auditing.checks.fitting_kinds import fit_note, fit_panel, named_kinds
from snellen.auditing.checks.guessed_domain import guess_domain, has_plain_border, is_page
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.domains import domain
from snellen.methods.corruptions.nrtk_kinds import NRTK_KINDS

SIZED, PRODUCTS = benchmark("sized"), domain("products")


def test_a_family_stands_for_kinds_of_another_package_only_where_it_has_no_others():
    assert named_kinds(["weather"], SIZED, PRODUCTS) == ("fog", "frost", "snow", "spatter")
    assert named_kinds(["optics"], SIZED, PRODUCTS) == ("nrtk_defocus", "nrtk_jitter", "nrtk_turbulence")


def test_what_is_measured_is_not_listed_as_left_out():
    measured = (*PRODUCTS.kinds, "fog", "nrtk_jitter")
    note = fit_note(PRODUCTS, measured, None)
    assert "snow" in note
    assert "fog" not in note
    rows = {row[1]: row[2] for row in fit_panel(PRODUCTS, SIZED, measured, "corruption").rows}
    assert (rows["fog"], rows["snow"], rows["nrtk_jitter"]) == ("yes", "no", "yes")
    assert set(rows) == {*SIZED.kinds} - {*NRTK_KINDS} | {"nrtk_jitter"}


@pytest.mark.parametrize(
    ("name", "expected"), [("bloodmnist_64", "medical:blood"), ("ChestMNIST", "medical:xray"), ("mnist", "photos")]
)
def test_sets_of_medmnist_are_known_by_their_names(name, expected):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3)).astype(np.uint8)
    assert guess_domain(snellen.load_images(pixels, name=name), ["a", "b"]).domain == expected


def test_a_few_pages_among_photos_are_no_documents():
    pixels = np.random.default_rng(0).integers(0, 255, (4, 40, 40, 3)).astype(np.uint8)
    pixels[0] = 240
    pixels[0, 4:36:6, 4:36:2] = 20
    assert is_page(pixels[0].astype(float))
    assert guess_domain(snellen.load_images(pixels), ["a", "b"]).domain == "photos"


def test_blank_paper_is_no_page_and_an_object_may_touch_the_border():
    paper = np.full((40, 40, 3), 240.0)
    assert not is_page(paper)
    trousers = np.full((40, 40, 3), 250.0)
    trousers[:, 15:25] = 60
    assert has_plain_border(trousers)
