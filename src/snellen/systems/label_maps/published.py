"""The published label maps of ImageNet, brought into one file.

The archive of the paper (github.com/naver-ai/relabel_imagenet) holds a PyTorch file for each training image: a tensor
(2, 5, h, w), values first, classes second. Such a file is a pickle in a ZIP archive. It is read by PyTorch's restricted
unpickler, which makes tensors and nothing else, after the archive was checked: members that are stored as they are, and
few bytes in all, so that a small file cannot become a large one.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.data.files.contained_file import locate, read_file
from snellen.systems.label_maps.sparse import SparseMaps
from snellen.systems.label_maps.store import LabelMaps, MappedImages, MapsRecord, existing_maps, write_maps

#: Order of the two axes of a published map. Its generator is not published, and the published training code takes the
#: first axis for the width in one place (see docs/systems/label_maps.md).
Axes = Literal["hw", "wh"]

#: A published map has 9,000 bytes of numbers.
_MOST_BYTES = 2**20


def import_published(
    images: ImageSet,
    folder: Path,
    out: Path,
    *,
    axes: Axes = "wh",
    batch_size: int = 256,
    progress: Progress | None = None,
) -> LabelMaps:
    """Write the published maps of these images as label maps.

    The map of the image ``n01440764/n01440764_10026.JPEG`` is the file of the same name with ``.pt`` behind it, or
    with ``.pt`` instead of what follows the last dot. Images without a file have no map, and are named in the record.

    Args:
        images: their class names must be in the order of the published indices.
        folder: of the published files.
        out: folder for the maps: free, unfinished, or complete.
        axes: ``wh``: the first axis of a file is the width, under which the published training code is right; ``hw``:
            it is the height.
        batch_size: images that are confirmed together.
        progress: callback that receives progress updates.

    Raises:
        InputError: images without class names; a file that is no published map, with its name; maps of other classes;
            or ``out`` holds something else.
        RunConflictError: ``out`` holds other maps.
    """
    if images.class_names is None:
        raise InputError(f"{images.name} has no class names, so the indices of its label maps mean nothing")
    classes = images.class_names
    plan: dict[str, object] = {"published": True, "axes": axes, "classes": list(classes)}
    found = existing_maps(out, plan, images.ids)
    if found is not None:
        return found
    first = next((one for one in images.ids if _file_of(folder, one) is not None), None)
    if first is None:
        raise InputError(
            f"{folder} holds no label map of the {len(images)} images of {images.name}; expected a file such as "
            f"{_names_of(images.ids[0])[1]}"
        )
    kept, height, width = _read(folder, first, axes, len(classes)).values.shape[1:]
    record = MapsRecord(plan=plan, class_names=classes, kept=kept, height=height, width=width, ids=tuple(images.ids))

    def produce(start: int, stop: int) -> MappedImages:
        maps, rejected = list[SparseMaps](), dict[int, str]()
        for place, one in enumerate(images.ids[start:stop]):
            if _file_of(folder, one) is None:
                rejected[place] = f"no file {_names_of(one)[1]}"
                continue
            maps.append(_read(folder, one, axes, len(classes)))
            if maps[-1].values.shape[1:] != (kept, height, width):
                raise InputError(
                    f"the label map of {one!r} is {tuple(maps[-1].values.shape[1:])}, that of {first!r} "
                    f"{(kept, height, width)}: all must be alike"
                )
        empty = torch.zeros(0, kept, height, width)
        together = SparseMaps(
            torch.cat([empty, *(one.values for one in maps)]), torch.cat([empty.long(), *(one.indices for one in maps)])
        )
        return MappedImages(together, [(0, 0)] * len(maps), [""] * len(maps), rejected)

    return write_maps(out, record, produce, batch_size=batch_size, progress=progress)


def _names_of(example_id: str) -> tuple[str, str]:
    """Names that the file of an image may have."""
    path = PurePosixPath(example_id)
    return f"{example_id}.pt", str(path.with_name(f"{path.stem}.pt"))


def _file_of(folder: Path, example_id: str) -> str | None:
    for name in _names_of(example_id):
        try:
            locate(folder, name)
        except RejectedImageError:
            continue
        return name
    return None


def _read(folder: Path, example_id: str, axes: Axes, class_count: int) -> SparseMaps:
    """One map (1, m, h, w)."""
    name = _file_of(folder, example_id)
    assert name is not None
    try:
        content = read_file(folder, name, _MOST_BYTES)
    except RejectedImageError as error:
        raise InputError(f"{name}: {error}") from error
    tensor = _tensor(content, name)
    if tensor.ndim != 4 or tensor.shape[0] != 2 or 0 in tensor.shape:
        raise InputError(
            f"{name}: a published label map is (2, m, h, w), values and classes; got {tuple(tensor.shape)}"
        )
    values, indices = tensor.double()
    if not bool(torch.isfinite(tensor.double()).all()):
        raise InputError(f"{name}: the label map holds NaN or infinity")
    if bool((indices != indices.round()).any() or (indices < 0).any() or (indices >= class_count).any()):
        raise InputError(
            f"{name}: the second half of a label map are classes, whole numbers from 0 to {class_count - 1}; got "
            f"{float(indices.min()):g} to {float(indices.max()):g}. Are the images of other classes?"
        )
    maps = SparseMaps(values.float()[None], indices.long()[None])
    return maps if axes == "hw" else SparseMaps(maps.values.transpose(2, 3), maps.indices.transpose(2, 3))


def _tensor(content: bytes, name: str) -> Tensor:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise InputError(f"{name}: not a PyTorch file in the ZIP format") from error
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise InputError(f"{name}: a compressed PyTorch file is refused; PyTorch itself writes none")
    if sum(member.file_size for member in members) > _MOST_BYTES:
        raise InputError(f"{name}: more than {_MOST_BYTES} bytes are no label map")
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds: every fault is one of this file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{name}: cannot be read as a tensor alone: {reason}") from error
    if not isinstance(loaded, Tensor) or loaded.layout != torch.strided or loaded.is_quantized:
        raise InputError(f"{name}: expected one tensor, got a {type(loaded).__name__}")
    return loaded
