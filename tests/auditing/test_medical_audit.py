"""Audits of DICOM files with several labels: rejections are counted, and no name of a header comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("pydicom")

import snellen
from snellen.auditing.audit import audit
from tests.data.files.medical.medical_files import DOCTOR, IDENTITY, PATIENT, write_dicom

NAMES = ("effusion", "edema")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty files of 30 patients, one of them broken; half are MONOCHROME1, and all have 12 bits."""
    folder = tmp_path_factory.mktemp("scans")
    rng, rows = np.random.default_rng(0), ["file,effusion,edema"]
    for number in range(60):
        labels = rng.integers(0, 2, 2)
        values = rng.integers(800, 1000, (8, 8)) + np.repeat([labels * 2000], 4, axis=1).reshape(8, 1)
        turned = number % 2 == 1
        stored = (4095 - values if turned else values).astype(np.uint16)
        path = write_dicom(
            folder / f"{number:03d}.dcm",
            stored,
            BitsStored=12,
            HighBit=11,
            PhotometricInterpretation="MONOCHROME1" if turned else "MONOCHROME2",
            PatientID=f"{IDENTITY}-{number // 2}",
            PatientName=f"{PATIENT}-{number}",
        )
        if number == 7:
            path.write_bytes(path.read_bytes()[:-40])
        rows.append(f"{path.name},{labels[0]},{labels[1]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def reader() -> snellen.Classifier:
    """Gives a label where its half of the image is bright."""

    def scores(images: torch.Tensor) -> torch.Tensor:
        return 40 * (torch.stack([half.mean((1, 2, 3)) for half in images.chunk(2, dim=2)], 1) - 0.45)

    return snellen.load_classifier(scores, NAMES, task="multi_label", preparation=snellen.Preprocessing(size=(8, 8)))


@pytest.mark.parametrize("hidden", [False, True])
def test_no_name_of_a_header_is_in_any_file_of_a_run(scans: Path, tmp_path: Path, hidden: bool) -> None:
    images = snellen.load_images(
        f"dicom:{scans}?group=Modality", table=scans / "labels.csv", columns={"labels": ",".join(NAMES)}
    )
    key = {"pseudonyms": tmp_path / "key"} if hidden else {}
    report = audit(reader(), images, effort="quick", out=tmp_path / "run", **key)
    assert report.metrics["labels.exact_match"].value == 1.0
    assert report.data["rejected"] == 1
    assert report.data["units"] == 30
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 5
    import pyarrow.parquet as pq

    for path in files:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += str(pq.read_table(path).to_pylist()).encode()
        for name in (PATIENT, IDENTITY, DOCTOR, *PATIENT.split("^"), "1.2.3.4.5"):
            assert name.encode() not in content, f"{name} is in {path}"
    assert not hidden or b"patient-" not in (tmp_path / "run" / "report.json").read_bytes()
