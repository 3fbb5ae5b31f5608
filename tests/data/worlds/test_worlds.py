import pytest

from snellen.core.errors import InputError, UnknownNameError
from snellen.data.references import load_images


def test_a_reference_names_world_parameters_and_split():
    images = load_images("optotypes:scenes?count=5&shapes=star,ring&seed=4&size=24#train", name="mine")
    assert (len(images), images.class_names, images.split, images.name) == (5, ("star", "ring"), "train", "mine")
    assert images.read(0).size == (24, 24)
    assert images.fingerprint() != load_images("optotypes:scenes?count=5&shapes=star,ring&size=24#train").fingerprint()


def test_without_a_split_it_is_the_test_split():
    assert load_images("optotypes:scenes?count=2").split == "test"


def test_values_may_be_numbers_names_pairs_and_flags():
    images = load_images("optotypes:scenes?count=3&objects=2,2&nuisance_share=1&nuisances=fog&captions=false")
    assert images.column("caption") == [None] * 3
    assert all('"fog":0.0' not in text for text in images.column("attributes"))
    assert [len(boxes) for boxes in images.column("boxes")] == [2, 2, 2]


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("optotypes:scene", UnknownNameError, "scenes"),
        ("optotypes:scenes?cuont=3", UnknownNameError, "count"),
        ("optotypes:scenes?count=0", InputError, "count=0: .*at least 1"),
        ("optotypes:scenes?shapes=blob", InputError, "shapes=blob"),
        ("optotypes:scenes?count", InputError, "write parameters as"),
        ("optotypes:scenes?count=3&count=4", InputError, "count is given twice"),
        ("optotypes:scenes?objects=3,1", InputError, "the smaller one first"),
        ("optotypes:scenes#nowhere", InputError, "unknown split 'nowhere'"),
        ("optotypes:scenes?count=5#nowhere", InputError, "unknown split 'nowhere'"),
        ("optotypes:scenes?shapes=star,blob", InputError, "shapes=star,blob: 1: expected 'circle'"),
        ("optotypes:scenes?sizes=", InputError, "at least 1 item"),
    ],
)
def test_refused(reference, error, message):
    with pytest.raises(error, match=message):
        load_images(reference)
