"""What is fuzzed: one target for each loader of files that others made.

A target is a function of bytes. Only the errors that the loader documents may leave it, and those it catches itself:
whatever else comes out is a fault of Snellen. Seeds are small valid files, made here.
"""

from __future__ import annotations

import atexit
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save

from snellen.auditing.compare.requirements_file import read_requirements
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.job import read_job
from snellen.auditing.ledger import read_ledger
from snellen.auditing.subject import _opened, _recorded
from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, ModelError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.run import Run
from snellen.core.run_plan import describe_beside
from snellen.data.files.decoding import DecodingLimits, decode
from snellen.data.files.idx import read_idx
from snellen.data.files.manifest import load_manifest
from snellen.data.files.medmnist import load_npz
from snellen.data.files.tar_shards.loading import load_tar
from snellen.data.references import load_images
from snellen.models.classifiers.model_options import plain_arguments
from snellen.models.classifiers.model_record import read_record
from snellen.models.classifiers.onnx_external_data import external_files
from snellen.models.classifiers.onnx_graph.running import run_by_torch
from snellen.models.weights.checkpoint_file import read_checkpoint
from snellen.models.weights.state_dict_file import read_state_dict

#: Small, so that an input that asks for much is refused and costs no time.
LIMITS = DecodingLimits(max_pixels=250_000)


@dataclass(frozen=True)
class Target:
    """One loader.

    Attributes:
        run: bytes → None; what it raises is a fault.
        seeds: valid inputs to begin with.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]


@cache
def _folder() -> Path:
    """A folder of this process; its files are written over with each input."""
    folder = tempfile.mkdtemp(prefix="snellen-fuzzing-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _file(name: str, content: bytes) -> Path:
    path = _folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def check_reason(error: RejectedImageError) -> None:
    """A reason is one short line."""
    assert "\n" not in str(error)
    assert len(str(error)) < 6000


def _look_at(images: ImageSet, most: int = 8) -> None:
    """Use a set as an audit does: ids, labels, contents, pixels."""
    ids = images.ids
    assert len(set(ids)) == len(ids)
    json.dumps([ids, images.class_names, images.column("split")])
    _ = images.labels, images.has_labels
    for index in range(min(most, len(images))):
        images.content_hash(index)
        try:
            assert images.read(index).mode == "RGB"
        except RejectedImageError as error:
            check_reason(error)


# -- the loaders -------------------------------------------------------------------------------------------------------


def image(content: bytes) -> None:
    """The decoder."""
    try:
        found = decode(content, limits=LIMITS)
    except RejectedImageError as error:
        check_reason(error)
        return
    assert found.mode == "RGB"
    assert found.width * found.height <= LIMITS.max_pixels


def npz(content: bytes) -> None:
    """Archives of arrays."""
    try:
        _look_at(load_npz(_file("x.npz", content), max_array_bytes=2**20))
    except InputError:
        return


def idx(content: bytes) -> None:
    """IDX files; with a first byte 31 packed ones."""
    path = _file("x-idx3-ubyte.gz" if content[:1] == b"\x1f" else "x-idx3-ubyte", content)
    try:
        read_idx(path)
    except InputError:
        return


@cache
def _beside() -> Path:
    """A folder of two images."""
    for name in ("a", "b"):
        _file(f"beside/{name}.png", _picture("PNG"))
    return _folder() / "beside"


def table(content: bytes) -> None:
    """Tables that name the images of a folder, as text and as Parquet."""
    for name in ("t.csv", "t.parquet"):
        with suppress(InputError):
            _look_at(load_images(_beside(), table=_file(name, content)))


def mask(content: bytes) -> None:
    """A folder of masks."""
    _file("masks/a_mask.png", content)
    images = load_images(_beside(), masks=_folder() / "masks")
    describe_beside(images)
    try:
        found = images.read_mask(0)
    except RejectedImageError as error:
        check_reason(error)
        return
    assert found is not None
    assert found.mode == "L"


def job(content: bytes) -> None:
    """Files that describe an audit."""
    with suppress(InputError):
        read_job(_file("j/audit.toml", content)).named_checks()


def requirements(content: bytes) -> None:
    """Files of written requirements."""
    with suppress(InputError):
        for one in read_requirements(_file("q/requirements.toml", content)).requirement:
            assert one.shown_metric


def ledger(content: bytes) -> None:
    """Ledgers of test sets."""
    with suppress(InputError):
        read_ledger(_file("looks.jsonl", content))


def csv_manifest(content: bytes) -> None:
    """Manifests of text."""
    try:
        _look_at(load_manifest(_file("m/x.csv", content)))
    except InputError:
        return


def parquet(content: bytes) -> None:
    """Parquet files: manifests, and images inside."""
    path = _file("p/x.parquet", content)
    for place in (path, path.parent):
        try:
            _look_at(load_images(place))
        except InputError:
            continue


def tar(content: bytes) -> None:
    """Tar shards."""
    try:
        _look_at(load_tar(_file("x.tar", content), limits=LIMITS))
    except InputError:
        return


def dicom(content: bytes) -> None:
    """DICOM files."""
    _look_at(load_images(f"dicom:{_file('dicom/x.dcm', content).parent}"), 2)


def nifti(content: bytes) -> None:
    """NIfTI volumes."""
    _look_at(load_images(f"nifti:{_file('nifti/x.nii', content).parent}"), 2)


def weights(content: bytes) -> None:
    """Files of weights."""
    try:
        read_state_dict(_file("x.safetensors", content))
    except (InputError, ModelError):
        return


def checkpoint(content: bytes) -> None:
    """Files that torch saved."""
    try:
        read_checkpoint(_file("x.pth", content))
    except (InputError, ModelError):
        return


def onnx_graph(content: bytes) -> None:
    """ONNX files as torch modules: whatever is wrong with one, the runtime is kept."""
    run_by_torch(
        content,
        None,
        lambda images: torch.zeros(len(images), 2),
        result="scores",
        size=(4, 4),
        normalization=None,
        dtype=torch.float32,
        grey=False,
        batch=None,
    )
    with suppress(InputError):
        external_files(content)


def card(content: bytes) -> None:
    """Cards of artifacts, and records beside a model file."""
    folder = _file("a/card.json", content).parent
    _file("a/weights.safetensors", _weights())
    with suppress(InputError):
        Artifact.load(folder)
    for name in ("model.onnx.json", "model.onnx.toml"):
        with suppress(InputError):
            record = read_record(_file(name, content))
            plain_arguments((record and record.arguments) or {}, name)


def run(content: bytes) -> None:
    """Run directories: the first byte says which of their files the rest is."""
    which, rest = content[:1], content[1:]
    folder = _folder() / "r"
    for name, good in _run_files().items():
        _file(f"r/{name}", good)
    _file(f"r/{RUN_FILES[which[0] % len(RUN_FILES) if which else 0]}", rest)
    with suppress(InputError):
        record = RunRecord.read(folder)
        _ = record.images, record.report.findings
    try:
        opened = Run.open(folder, {"seed": 0})
    except InputError:
        return
    opened.done(0)


def inputs(content: bytes) -> None:
    """What a run directory says of the images that it audited."""
    folder = _file("i/inputs.json", content).parent
    with suppress(InputError):
        recorded = _recorded(folder)
        for name, one in ({} if recorded is None else {"audited": recorded.images, **recorded.companions}).items():
            _opened(one, name, folder)


# -- seeds -------------------------------------------------------------------------------------------------------------

RUN_FILES = ("report.json", "manifest.json", "evidence/clean.parquet", "shards/000000/extra.json")


def _picture(kind: str, mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def image_seeds() -> list[bytes]:
    kinds = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
    found = [_picture(kind) for kind in kinds]
    found += [_picture("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA")]
    found += [_picture("JPEG", "CMYK"), _picture("JPEG", progressive=True), _picture("WEBP", lossless=True)]
    found += [_picture("TIFF", compression=packing) for packing in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")]
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):
        stream = io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
        found.append(stream.getvalue())
    return found


def npz_seeds() -> list[bytes]:
    found = []
    for packing in (np.savez, np.savez_compressed):
        for side in ((2, 6, 6), (2, 6, 6, 3)):
            stream = io.BytesIO()
            packing(stream, test_images=np.zeros(side, np.uint8), test_labels=np.array([[0], [1]], np.uint8))
            found.append(stream.getvalue())
    return found


def idx_seeds() -> list[bytes]:
    import gzip

    plain = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 3, 3)) + bytes(18)
    return [plain, gzip.compress(plain, mtime=0), b"\0\0\x08\x01\0\0\0\2\0\1"]


def dicom_seeds() -> list[bytes]:
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    made, stream = pydicom.Dataset(), io.BytesIO()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    made.file_meta.MediaStorageSOPClassUID = "1.2.3"
    made.PatientID, made.WindowCenter, made.WindowWidth = "x", ["4", "5"], ["8", "9"]
    made.Rows = made.Columns = 4
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME1", 0
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.NumberOfFrames, made.PixelData = 15, 2, bytes(range(64))
    pydicom.dcmwrite(stream, made, enforce_file_format=True)
    return [stream.getvalue()]


def nifti_seeds() -> list[bytes]:
    import gzip

    import nibabel
    import numpy as np

    plain = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4)).to_bytes()
    return [plain, gzip.compress(plain, mtime=0)]


def csv_seeds() -> list[bytes]:
    return [
        b"path,label,split,unit_id\nx.png,cat,test,1\n../y.png,dog,val,2\n",
        b'path,labels,boxes,attributes\nx.png,"[0, 1]","[[0, 0, 2, 2]]","{""a"": 1}"\n',
        b'\xef\xbb\xbfid,path,label,bag_id,bag_label,provenance\na,x.png,3,s,1,"{""origin"": ""real""}"\nb,,-1,s,1,\n',
    ]


def table_seeds() -> list[bytes]:
    stream = io.BytesIO()
    pq.write_table(pa.table({"file": ["a.png", "b.png"], "unit_id": ["1", "2"], "split": ["test", "val"]}), stream)
    return [b"file,label,split,unit_id\na.png,cat,test,1\nb,dog,val,2\n", stream.getvalue()]


def mask_seeds() -> list[bytes]:
    return [_picture("PNG", "L"), _picture("GIF", "1"), _picture("TIFF", "L")]


def job_seeds() -> list[bytes]:
    return [
        b'model = "timm:resnet18@a.pth"\ndata = "images#test"\nsize = [8, 8]\nmean = 0.5\nstd = [0.1, 0.2, 0.3]\n'
        b'checks = ["-slices"]\nlimit = 5\n[columns]\nunit = "patient"\n[gate]\nrequire = ["clean.accuracy>=0.9"]\n',
        b'model = "m"\ndata = "d"\nmodel_args = {num_classes = 3}\n[settings.corruption]\nseverities = [1]\n',
    ]


def requirements_seeds() -> list[bytes]:
    return [
        b'title = "T"\n[[requirement]]\nid = "R1"\ntext = "t"\nmetric = "clean.accuracy >= 0.9"\nsource = "s"\n'
        b'[[requirement]]\nid = "R2"\ntext = "t"\nmetric = "clean.accuracy"\nnot_worse_than = "1pt"\nbaseline = "a"\n'
    ]


def ledger_seeds() -> list[bytes]:
    line = {"kind": "audit", "images": 2, "set": "0" * 64, "look": "1" * 64, "sketch": ["a" * 16], "date": "2026-01-01"}
    gate = {**line, "kind": "gate", "gate": "2" * 64, "passed": True, "sketch": []}
    return [b"\n".join(json.dumps(one).encode() for one in (line, gate)) + b"\n"]


def parquet_seeds() -> list[bytes]:
    stored = pa.array([{"bytes": _picture("PNG"), "path": "x.png"}, None])
    described = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}}}
    inside = pa.table({"image": stored, "label": [1, -1]}).replace_schema_metadata(
        {"huggingface": json.dumps(described)}
    )
    listed = pa.table(
        {"path": ["x.png", "y"], "label": ["cat", None], "labels": [[0, 1], [1, 1]], "split": ["test", "val"]}
    )
    found = []
    for table in (inside, listed, pa.table({"image": pa.array([_picture("GIF")], pa.binary()), "caption": ["x"]})):
        for packing in ("none", "snappy"):
            stream = io.BytesIO()
            pq.write_table(table, stream, compression=packing, row_group_size=1)
            found.append(stream.getvalue())
    return found


def tar_seeds() -> list[bytes]:
    import tarfile

    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            long = "n" * 90 if form == tarfile.USTAR_FORMAT else "\u00e9" * 90
            texts = {"a.cls": b"1", "a.json": b'{"caption": "x", "split": "test"}', "b/c.txt": b"t"}
            for name, content in {"a.png": _picture("PNG", "L"), f"{long}.png": b"x", "b.pyd": b"x", **texts}.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("l.png")
            link.type, link.linkname = tarfile.SYMTYPE, "a.png"
            archive.addfile(link)
        # Without most of the zeros behind the end.
        found.append(stream.getvalue().rstrip(b"\0") + bytes(1024))
    return found


@cache
def _weights() -> bytes:
    return save({"a": np.ones((2, 3), np.float32), "b": np.zeros(0, np.int64), "c": np.float16([1])})


def weights_seeds() -> list[bytes]:
    return [_weights()]


def checkpoint_seeds() -> list[bytes]:
    """A state dict alone, under a key, and in the form before archives."""
    weights = {"module.a.weight": torch.ones(2, 3), "module.a.bias": torch.zeros(2)}
    seeds = []
    for held, archive in ((weights, True), ({"state_dict": weights, "epoch": 3}, True), (weights, False)):
        stream = io.BytesIO()
        torch.save(held, stream, _use_new_zipfile_serialization=archive)
        seeds.append(stream.getvalue())
    return seeds


def onnx_seeds() -> list[bytes]:
    """A convolution, shapes that are computed, and a linear layer."""
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["maps"], name="/conv/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["positive"], name="/relu/Relu"),
        helper.make_node("Shape", ["positive"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["count"]),
        helper.make_node("Concat", ["count", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["positive", "target"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["scores"], transB=1),
    ]
    constants = {
        "kernel": np.full((2, 3, 3, 3), 0.1, np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
        "rest": np.array([32]),
        "weight": np.full((2, 32), 0.1, np.float32),
        "bias": np.zeros(2, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "seed",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ("n", 3, 4, 4))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("n", 2))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return [model.SerializeToString()]


def card_seeds() -> list[bytes]:
    import hashlib

    lineage = {"recipe": {"method": "x"}, "data": "-", "seed": 0, "code_version": "0"}
    told = {
        "name": "x", "kind": "classifier", "architecture": {"name": "fashion_cnn"}, "class_names": ["a", "b"],
        "preparation": {"size": [8, 8]}, "normalization": {"mean": [0.5], "std": [0.5]}, "metrics": {"accuracy": 0.5},
        "history": [{"loss": 1.0}], "lineage": lineage, "sha256": hashlib.sha256(_weights()).hexdigest(),
    }  # fmt: skip
    record = {"class_names": ["a", "b"], "output": "logits", "preparation": {"size": [8, 8]}}
    return [json.dumps(told).encode(), json.dumps(record).encode()]


@cache
def _run_files() -> dict[str, bytes]:
    """A small audit's files."""
    from snellen.auditing.audit import audit
    from snellen.testing.conformance import small_problem

    classifier, images, labels = small_problem(count=6, size=12)
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        audit(classifier, load_images((pixels, labels.numpy())), checks=["clean", "calibration"], out=folder)
        return {name: (folder / name).read_bytes() for name in RUN_FILES}


def run_seeds() -> list[bytes]:
    return [bytes([number]) + _run_files()[name] for number, name in enumerate(RUN_FILES)]


def inputs_seeds() -> list[bytes]:
    from snellen.runs.reopening import described_images

    images = described_images(load_images("bundled:fashion-mnist").select([3, 5]))
    recorded = {"classifier": {"ref": "bundled:fashion-cnn"}, "images": images, "companions": {"train": images}}
    return [json.dumps(recorded).encode()]


TARGETS: dict[str, Target] = {
    "image": Target(image, image_seeds),
    "npz": Target(npz, npz_seeds),
    "idx": Target(idx, idx_seeds),
    "csv": Target(csv_manifest, csv_seeds),
    "table": Target(table, table_seeds),
    "mask": Target(mask, mask_seeds),
    "job": Target(job, job_seeds),
    "requirements": Target(requirements, requirements_seeds),
    "ledger": Target(ledger, ledger_seeds),
    "parquet": Target(parquet, parquet_seeds),
    "tar": Target(tar, tar_seeds),
    "dicom": Target(dicom, dicom_seeds),
    "nifti": Target(nifti, nifti_seeds),
    "weights": Target(weights, weights_seeds),
    "checkpoint": Target(checkpoint, checkpoint_seeds),
    "onnx": Target(onnx_graph, onnx_seeds),
    "card": Target(card, card_seeds),
    "run": Target(run, run_seeds),
    "inputs": Target(inputs, inputs_seeds),
}
