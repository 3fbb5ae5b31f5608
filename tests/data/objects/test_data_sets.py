"""Data sets of torch, torchvision, Hugging Face and MAITE, loaders and lists."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.references import load_images


def equal(images, pixels):
    return all(np.array_equal(np.asarray(images.read(row)), picture) for row, picture in enumerate(pixels))


def test_lists_of_paths_pictures_and_arrays(photos, pixels):
    paths = sorted(photos.rglob("*.png"), key=lambda path: path.name)
    images = load_images(paths, ["cat", "dog"] * 3)
    assert (images.ids[:2], images.labels.tolist()) == (["cat/0.png", "dog/1.png"], [0, 1] * 3)
    assert equal(images, pixels)
    for made in ([Image.fromarray(one) for one in pixels], list(pixels), list(torch.from_numpy(pixels))):
        assert equal(load_images((made, [0, 1] * 3)), pixels)
    assert load_images([(one, row % 2) for row, one in enumerate(pixels)]).labels.tolist() == [0, 1] * 3
    with pytest.raises(InputError, match="5 values of label for 6 images"):
        load_images(paths, ["cat"] * 5)


def test_arrays_of_any_layout(pixels):
    grey = pixels[..., :1]
    for made in (pixels, pixels.transpose(0, 3, 1, 2), torch.from_numpy(pixels)):
        assert equal(load_images(made), pixels)
    for made in (grey, grey.transpose(0, 3, 1, 2), grey[..., 0]):
        assert equal(load_images(made, [0] * 6), np.repeat(grey, 3, 3))


def test_floats_need_a_range_and_are_exact_where_they_were_bytes(pixels):
    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    for made in (floats, floats.numpy(), floats.half()):
        with pytest.raises(InputError, match=r"snellen.load_images\(images, value_range=\(0, 1\)\)"):
            load_images(made)
    images = load_images(floats, value_range=(0, 1))
    assert equal(images, pixels)
    assert images.notes == ()
    assert equal(load_images(floats * 2 - 1, value_range=(-1, 1)), pixels)
    assert load_images(floats * 0.999, value_range=(0, 1)).notes == (
        "floating-point pixels of the images are rounded to bytes",
    )
    with pytest.raises(InputError, match=r"pixels from -1 to .* leave the declared range from 0 to 1"):
        load_images(floats * 2 - 1, value_range=(0, 1))
    with pytest.raises(InputError, match="value_range is"):
        load_images(floats, value_range=(1, 0))


def test_labels_may_be_names(pixels):
    images = load_images((pixels, np.array(["dog", "cat"] * 3)))
    assert (images.class_names, images.labels.tolist()) == (("cat", "dog"), [1, 0] * 3)
    with pytest.raises(InputError, match="'dog' is none of the class names: cat"):
        load_images(pixels, ["dog", "cat"] * 3, class_names=["cat"])


class Items(Dataset):
    """A user's data set: pictures through a transform."""

    classes = ("cat", "dog")

    def __init__(self, pixels, transform=None):
        self.pixels, self.transform, self.read = pixels, transform, 0

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        self.read += 1
        image = Image.fromarray(self.pixels[index])
        return (image if self.transform is None else self.transform(image)), index % 2


def test_a_torch_data_set_its_parts_and_its_loaders(pixels):
    images = load_images(Items(pixels))
    assert (images.class_names, images.labels.tolist(), images.name) == (("cat", "dog"), [0, 1] * 3, "Items")
    assert equal(images, pixels)
    part = load_images(Subset(Items(pixels), [4, 1]))
    assert (part.labels.tolist(), part.class_names) == ([0, 1], ("cat", "dog"))
    assert equal(part, pixels[[4, 1]])
    for loader in (DataLoader(Items(pixels), 4), DataLoader(Subset(Items(pixels), range(6)), 2, shuffle=True)):
        assert equal(load_images(loader), pixels)
    bytes_of = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    tensors = load_images(TensorDataset(bytes_of, torch.tensor([1, 0] * 3)))
    assert tensors.labels.tolist() == [1, 0] * 3


def test_an_endless_loader_is_refused(pixels):
    sampler = torch.utils.data.WeightedRandomSampler([1.0] * 6, 6)
    with pytest.raises(InputError, match=r"WeightedRandomSampler does not give every image once; pass its data set"):
        load_images(DataLoader(Items(pixels), 2, sampler=sampler))


def test_the_normalisation_of_a_transform_is_undone_exactly_and_stated(pixels):
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    images = load_images(Items(pixels, transforms.Compose([transforms.ToTensor(), normalise])))
    assert equal(images, pixels)
    assert images.stated.normalization == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    plain = load_images(Items(pixels, transforms.ToTensor()))
    assert equal(plain, pixels)
    assert (plain.stated.preparation.size, plain.stated.normalization) == ((10, 12), None)
    v2 = pytest.importorskip("torchvision.transforms.v2")
    newer = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])
    assert equal(load_images(Items(pixels, newer)), pixels)


def test_a_transform_that_cannot_be_read_needs_a_range(pixels):
    items = Items(pixels, lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1)
    with pytest.raises(InputError, match=r"no declared range; give value_range=\(black, white\)"):
        load_images(items)
    assert equal(load_images(items, value_range=(-1, 1)), pixels)


def test_random_transforms_are_refused(pixels):
    def noisy(image):
        return torch.rand(3, 10, 12)

    with pytest.raises(InputError, match="gives another image each time"):
        load_images(Items(pixels, noisy), value_range=(0, 1))


def test_an_item_that_fails_is_rejected_by_name(pixels):
    class Broken(Items):
        def __getitem__(self, index):
            if index == 3:
                raise FileNotFoundError(2, "No such file", "/clinic/Jane Doe.png")
            if index == 4:
                raise KeyError("Jane Doe")
            return super().__getitem__(index)[0]

    images = load_images(Broken(pixels), [0, 1] * 3)
    for row, why in ((3, "No such file"), (4, "KeyError")):
        with pytest.raises(RejectedImageError, match=f"^the data set fails on it: {why}$"):
            images.read(row)
    assert images.content_hash(3) != images.content_hash(2)


def test_an_image_folder_of_torchvision(photos, pixels):
    datasets = pytest.importorskip("torchvision.datasets", reason="torchvision is not installed")
    images = load_images(datasets.ImageFolder(photos))
    assert images.ids == ["cat/0.png", "cat/2.png", "cat/4.png", "dog/1.png", "dog/3.png", "dog/5.png"]
    assert (images.class_names, images.labels.tolist()) == (("cat", "dog"), [0] * 3 + [1] * 3)
    assert equal(images, pixels[[0, 2, 4, 1, 3, 5]])


class Rows:
    """A Hugging Face data set, by its structure: features, columns, and rows that are mappings."""

    class ClassLabel:
        names = ("cat", "dog")

    class Image:
        pass

    def __init__(self, pixels):
        self.pixels = pixels
        self.features = {"picture": self.Image(), "kind": self.ClassLabel(), "patient": object()}
        self.column_names = list(self.features)

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        if index == "kind":
            return [row % 2 for row in range(len(self))]
        return {"picture": Image.fromarray(self.pixels[index]), "kind": index % 2, "patient": index // 2}


def test_a_data_set_of_rows(pixels):
    images = load_images(Rows(pixels), columns={"unit": "patient"})
    assert (images.class_names, images.labels.tolist()) == (("cat", "dog"), [0, 1] * 3)
    assert images.column("unit_id") == ["0", "0", "1", "1", "2", "2"]
    assert equal(images, pixels)


def test_a_hugging_face_data_set(pixels):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    made = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(one) for one in pixels], "label": [0, 1] * 3},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}),
    )
    images = load_images(made)
    assert (images.class_names, images.labels.tolist()) == (("cat", "dog"), [0, 1] * 3)
    assert equal(images, pixels)


class Protocol:
    """A data set of MAITE, by its structure: (image, target, metadata of the datum), and metadata of the whole."""

    metadata = {"id": "pets", "index2label": {0: "cat", 1: "dog"}}

    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        target = np.eye(2, dtype=np.float32)[index % 2]
        return self.pixels[index].transpose(2, 0, 1), target, {"id": f"datum-{index}", "patient": f"p{index // 3}"}


def test_a_data_set_of_maite(pixels):
    images = load_images(Protocol(pixels), columns={"unit": "patient"})
    assert images.ids[:2] == ["datum-0", "datum-1"]
    assert (images.class_names, images.labels.tolist()) == (("cat", "dog"), [0, 1] * 3)
    assert images.column("unit_id") == ["p0"] * 3 + ["p1"] * 3
    assert equal(images, pixels)
    assert images.stated.whole_bytes
