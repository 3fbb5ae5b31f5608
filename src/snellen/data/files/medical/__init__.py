"""Slices of medical images: DICOM and NIfTI files below a folder."""
