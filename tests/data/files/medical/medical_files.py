"""DICOM and NIfTI files as tests write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

#: What no output may hold.
PATIENT, IDENTITY, DOCTOR = "Ottokar^Wunderlich", "MRN-7781234", "Quacksalber^Emil"


def write_dicom(path: Path, values: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **elements: object) -> Path:
    """A file of one frame (h, w) or (h, w, 3), or of several (f, h, w); further elements as keywords."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    meta.TransferSyntaxUID = syntax
    made = pydicom.Dataset()
    made.file_meta = meta
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.PatientName, made.PatientID, made.ReferringPhysicianName = PATIENT, IDENTITY, DOCTOR
    made.StudyInstanceUID, made.Modality = "1.2.3.4.5", "CT"
    colour = values.ndim == 3 and values.shape[2] == 3
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    if values.ndim == 3 and not colour:
        made.NumberOfFrames = len(values)
    made.Rows, made.Columns = values.shape[:2] if colour else values.shape[-2:]
    made.BitsAllocated = made.BitsStored = 8 * values.dtype.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    made.PixelData = values.tobytes()
    for name, value in elements.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, made, enforce_file_format=True)
    return path
