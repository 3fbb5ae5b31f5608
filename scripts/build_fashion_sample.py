"""Write the embedded sample of Fashion-MNIST: the first 2,000 test images, as a MedMNIST-style .npz.

    python scripts/build_fashion_sample.py [--source /usr/share/datasets/fashion-mnist]

The bytes of the file follow from the images alone (members in fixed order, fixed dates).
"""

from __future__ import annotations

import argparse
import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SOURCE = Path("/usr/share/datasets/fashion-mnist")
TARGET = Path(__file__).parents[1] / "src" / "snellen" / "assets" / "fashion-mnist-2000.npz"
COUNT = 2000


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes: two zero bytes, type 8, number of axes, their lengths (big-endian), values."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise SystemExit(f"{path} is not an IDX file of bytes")
    axes = content[3]
    shape = tuple(int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(axes))
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)


def npz_bytes(arrays: dict[str, NDArray[np.uint8]]) -> bytes:
    """Compress arrays to an .npz whose bytes hold no clock reading."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue(), compresslevel=9)
    return stream.getvalue()


def main() -> None:
    """Write the sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of the idx.gz files")
    parser.add_argument("--target", type=Path, default=TARGET, help="file to write")
    options = parser.parse_args()
    images = read_idx(options.source / "t10k-images-idx3-ubyte.gz")[:COUNT]
    labels = read_idx(options.source / "t10k-labels-idx1-ubyte.gz")[:COUNT, None]
    options.target.parent.mkdir(parents=True, exist_ok=True)
    options.target.write_bytes(npz_bytes({"test_images": images, "test_labels": labels}))
    print(f"{options.target}: {len(images)} images, {options.target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
