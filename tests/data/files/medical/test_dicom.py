"""DICOM files are read right, hostile ones are refused, and no value of a header comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")

from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless

from snellen import load_images
from snellen.core.deep_picture import DeepPicture
from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.medical.window import Window, windowed
from tests.data.files.medical.medical_files import DOCTOR, IDENTITY, PATIENT, write_dicom

RAMP = np.linspace(0, 4095, 64).round().astype(np.uint16).reshape(8, 8)


def grey(path: Path, query: str = "", row: int = 0) -> np.ndarray:
    return np.asarray(load_images(f"dicom:{path}{query}").read(row))[..., 0]


def test_a_window_of_the_file_is_used_and_others_by_number_or_name(tmp_path: Path) -> None:
    hounsfield = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
    write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=["40", "-600"], WindowWidth=["400", "1500"], **hounsfield)
    values = RAMP.astype(float) - 1024
    # PS3.3 C.11.2.1.2.1, as written there.
    expected = np.clip((values - 39.5) / 399 + 0.5, 0, 1) * 255
    assert (grey(tmp_path) == np.rint(expected)).all()
    assert (grey(tmp_path, "?window=file2") == np.rint(np.clip((values + 600.5) / 1499 + 0.5, 0, 1) * 255)).all()
    assert (grey(tmp_path, "?window=lung") == np.rint(255 * windowed(values, Window(-600, 1500)))).all()
    assert (grey(tmp_path, "?window=10,20") == np.rint(255 * windowed(values, Window(10, 20)))).all()
    with pytest.raises(RejectedImageError, match="has 2 windows"):
        grey(tmp_path, "?window=file3")


def test_a_window_of_width_one_parts_two_values(tmp_path: Path) -> None:
    """PS3.3 C.11.2.1.2.1 allows it; masks have it."""
    mask = np.array([[0, 1, 1, 2]] * 4, dtype=np.uint8)
    write_dicom(tmp_path / "a.dcm", mask, WindowCenter="1", WindowWidth="1")
    assert grey(tmp_path)[0].tolist() == [0, 255, 255, 255]
    write_dicom(tmp_path / "a.dcm", mask, WindowCenter="1", WindowWidth="0.5")
    with pytest.raises(RejectedImageError, match="cannot be"):
        grey(tmp_path)


def test_all_sixteen_bits_count_and_monochrome1_is_inverted(tmp_path: Path) -> None:
    wide = np.array([[0, 1000, 30000, 65535]] * 4, dtype=np.uint16)
    write_dicom(tmp_path / "plain" / "a.dcm", wide)
    write_dicom(tmp_path / "turned" / "a.dcm", wide, PhotometricInterpretation="MONOCHROME1")
    shown = grey(tmp_path / "plain")
    assert shown[0].tolist() == [0, 4, 117, 255]
    assert (grey(tmp_path / "turned") == 255 - shown).all()
    signed = np.array([[-1000, 0, 1000, 3000]] * 4, dtype=np.int16)
    write_dicom(tmp_path / "signed" / "a.dcm", signed)
    assert grey(tmp_path / "signed", "?window=1000,4000")[0].tolist() == [0, 64, 128, 255]


def test_frames_are_images_and_a_table_may_name_their_file(tmp_path: Path) -> None:
    frames = np.stack([np.full((8, 8), 50 * one, dtype=np.uint8) for one in range(3)])
    write_dicom(tmp_path / "series.dcm", frames)
    write_dicom(tmp_path / "single.dcm", frames[1])
    (tmp_path / "labels.csv").write_text("file,finding\nseries.dcm,mass\nsingle,edema\n")
    images = load_images(
        f"dicom:{tmp_path}", table=tmp_path / "labels.csv", columns={"image": "file", "label": "finding"}
    )
    assert images.ids == ["series.dcm#1", "series.dcm#2", "series.dcm#3", "single.dcm"]
    assert [images.read(row).getpixel((0, 0))[0] for row in range(4)] == [0, 50, 100, 50]
    assert images.labels.tolist() == [1, 1, 1, 0]
    assert len(set(images.content_hashes)) == 4
    middle = load_images(f"dicom:{tmp_path}?frames=middle")
    assert middle.ids == ["series.dcm#2", "single.dcm"]


def test_units_are_patients_by_hashes_and_class_folders_are_classes(tmp_path: Path) -> None:
    write_dicom(tmp_path / "mass" / "1.2.840.17", RAMP)
    write_dicom(tmp_path / "mass" / "b.dcm", RAMP, StudyInstanceUID="1.9")
    write_dicom(tmp_path / "none" / "c.dcm", RAMP, PatientID="other")
    images = load_images(f"dicom:{tmp_path}?group=Modality")
    units = images.column("unit_id")
    assert units[0] == units[1] != units[2]
    assert images.class_names == ("mass", "none")
    assert images.column("group") == ["CT"] * 3
    assert len(set(images.column("study"))) == 2
    assert len(set(load_images(f"dicom:{tmp_path}?unit=study").column("unit_id"))) == 2
    held = str(images.table.to_pylist())
    assert not any(name in held for name in (PATIENT, IDENTITY, DOCTOR, "1.2.3.4.5"))


def test_colour_and_palettes(tmp_path: Path) -> None:
    write_dicom(tmp_path / "rgb" / "a.dcm", np.full((4, 4, 3), (10, 20, 30), dtype=np.uint8))
    assert load_images(f"dicom:{tmp_path}/rgb").read(0).getpixel((1, 1)) == (10, 20, 30)


HOSTILE: dict[str, tuple[dict[str, object], str]] = {
    "more pixels than the file holds": ({"Rows": 60000, "Columns": 1000}, "announces 120000000 bytes of pixels"),
    "more pixels than are read": ({"Rows": 65535, "Columns": 65535}, "more than 64000000"),
    "no pixels at all": ({"Rows": 0}, "edge is shorter"),
    "a strip": ({"Rows": 1, "Columns": 60000}, "to 1 \\(max_aspect\\)"),
    "more frames than it holds": ({"NumberOfFrames": 9000}, "announces 1152000 bytes"),
    "a window without a width": ({"WindowCenter": "0", "WindowWidth": "0"}, "cannot be"),
    "an unknown function": ({"WindowCenter": "0", "WindowWidth": "9", "VOILUTFunction": "OTHER"}, "not known"),
    "no pixel data": ({"PixelData": None}, "holds no pixels"),
    "odd bits": ({"BitsAllocated": 64}, "64 bits"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused_with_a_reason(tmp_path: Path, case: str) -> None:
    elements, reason = HOSTILE[case]
    write_dicom(tmp_path / "a.dcm", RAMP, **elements)
    with pytest.raises(RejectedImageError, match=reason) as caught:
        load_images(f"dicom:{tmp_path}").read(0)
    assert PATIENT not in str(caught.value)


def test_what_is_broken_is_a_rejection_and_costs_no_other_file(tmp_path: Path) -> None:
    whole = write_dicom(tmp_path / "a.dcm", RAMP).read_bytes()
    (tmp_path / "b.dcm").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "c.dcm").write_bytes(b"not at all")
    (tmp_path / "DICOMDIR").write_bytes(b"index")
    write_dicom(tmp_path / "d.dcm", RAMP, NumberOfFrames=10**6)
    images = load_images(f"dicom:{tmp_path}")
    assert images.ids == ["a.dcm", "b.dcm", "c.dcm", "d.dcm"]
    images.read(0)
    for row, reason in ((1, "pixels|header"), (2, "not a DICOM file"), (3, "announces 1000000 frames")):
        with pytest.raises(RejectedImageError, match=reason):
            images.read(row)


def test_a_compressed_file_names_the_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders import base

    write_dicom(tmp_path / "a.dcm", RAMP, syntax=JPEG2000Lossless, PixelData=encapsulate([b"\xff\x4f" * 40]))
    monkeypatch.setattr(base.Decoder, "is_available", property(lambda _: False))
    with pytest.raises(RejectedImageError, match="JPEG 2000, which needs the package pylibjpeg-openjpeg"):
        load_images(f"dicom:{tmp_path}").read(0)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("?window=blue", "window='blue'"),
        ("?windows=lung", "unknown parameter of dicom"),
        ("?frames=some", "one of all, middle"),
        ("?group=PatientName", "one of Modality"),
        ("/nowhere", "no folder"),
    ],
)
def test_a_wrong_reference_says_what_was_expected(tmp_path: Path, query: str, reason: str) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP)
    with pytest.raises(InputError, match=reason):
        load_images(f"dicom:{tmp_path}{query}")


def test_a_folder_without_any_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="holds no DICOM files"):
        load_images(f"dicom:{tmp_path}")


def test_neither_logs_nor_warnings_repeat_a_header(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP)
    content = path.read_bytes().replace(b"1.2.3.4.5\0", b"Jane^Doe..")
    path.write_bytes(content)
    images = load_images(f"dicom:{tmp_path}")
    images.read(0)
    assert "Jane" not in caplog.text + str(images.table.to_pylist())


def test_tables_take_the_place_of_rescaling_and_of_windows(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.add_new("LUTData", "OW", (65535 - 16 * np.arange(4096)).astype(np.uint16).tobytes())
    plain = np.rint(values / 4095 * 255)
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        write_dicom(tmp_path / name / "a.dcm", values, BitsStored=12, HighBit=11, **{name: [table]})
        shown = np.array(load_images(f"dicom:{tmp_path / name}").read(0))[..., 0]
        assert np.abs(shown - (255.0 - plain)).max() <= 1
    full = np.array(load_images(f"dicom:{tmp_path / 'VOILUTSequence'}?window=full").read(0))[..., 0]
    assert np.abs(full - plain).max() <= 1
    second = load_images(f"dicom:{tmp_path / 'VOILUTSequence'}?window=file2")
    with pytest.raises(RejectedImageError, match="has 1 windows, and number 2"):
        second.read(0)


@pytest.mark.parametrize(("stored", "deep"), [(8, False), (12, True)])
def test_a_picture_has_16_bits_where_a_file_stores_more_than_8(tmp_path: Path, stored: int, deep: bool) -> None:
    values = RAMP % 256
    query = f"dicom:{tmp_path}?window=127.5,255"
    write_dicom(tmp_path / "a.dcm", values, BitsStored=stored, HighBit=stored - 1)
    write_dicom(
        tmp_path / "b.dcm", values, BitsStored=stored, HighBit=stored - 1, PhotometricInterpretation="MONOCHROME1"
    )
    images = load_images(query)
    assert [isinstance(images.read(row), DeepPicture) for row in range(2)] == [deep] * 2
    plain, inverted = (np.asarray(images.read(row))[..., 0] for row in range(2))
    assert np.array_equal(plain, values)
    assert np.array_equal(inverted, 255 - values)
