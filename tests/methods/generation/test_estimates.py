"""What a classifier is shown: the preparation of decoded images against that of the classifier itself."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.preprocessing import Preprocessing, to_image
from snellen.core.randomness import Randomness
from snellen.methods.generation.teachers import as_prepared, check_guide

PREPARATIONS = {
    "as it is": Preprocessing(size=(20, 28)),
    "any size": Preprocessing(),
    "shrunk and cut": Preprocessing(size=(12, 12), resize="shorter", resize_to=(14, 14)),
    "enlarged": Preprocessing(size=(40, 40), resize="shorter", resize_to=(44, 44)),
    "squashed": Preprocessing(size=(16, 16), resize="exact", resize_to=(16, 16), interpolation="bicubic"),
    "padded": Preprocessing(size=(32, 32), resize="longer", resize_to=(28, 28), fill=(124, 116, 104)),
    "nearest, shrunk": Preprocessing(size=(13, 9), resize="exact", resize_to=(13, 9), interpolation="nearest"),
    "nearest, enlarged": Preprocessing(size=(41, 60), resize="exact", resize_to=(41, 60), interpolation="nearest"),
    "floor": Preprocessing(size=(11, 11), resize="shorter", resize_to=(14, 14), crop_start="floor"),
}


def classifier(**options):
    return Classifier(nn.Flatten(), class_names=["a", "b"], **options)


@pytest.mark.parametrize("name", PREPARATIONS)
def test_tensors_are_prepared_as_pictures_are(name):
    """Against the exact preparation of bytes, up to rounding to bytes."""
    preparation = PREPARATIONS[name]
    smooth = torch.nn.functional.interpolate(
        Randomness(0).bind(2).uniform("pixels", (3, 5, 7)), (20, 28), mode="bilinear", align_corners=True
    )
    pictures = torch.stack([preparation(to_image(one)) for one in smooth])
    tensors = as_prepared(classifier(preparation=preparation), smooth)
    assert tensors.shape == pictures.shape
    torch.testing.assert_close(tensors, pictures, atol=3 / 255, rtol=0)


def test_one_channel_becomes_three():
    grey = torch.rand(2, 1, 8, 8)
    found = as_prepared(classifier(preparation=Preprocessing(size=(8, 8))), grey)
    assert torch.equal(found, grey.expand(-1, 3, -1, -1))


def test_a_classifier_that_cannot_guide_is_refused():
    check_guide(classifier())
    with pytest.raises(UnsupportedError, match="is multilabel"):
        check_guide(classifier(task="multilabel"))
    with pytest.raises(UnsupportedError, match="gives labels"):
        check_guide(classifier(output="labels"))
    with pytest.raises(InputError, match="at least two classes"):
        check_guide(Classifier(nn.Flatten(), class_names=["only"]))
