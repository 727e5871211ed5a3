"""WFDB in, millivolts in standard order out; every fault is one line that names the record."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecgtwin.errors import RecordError
from ecgtwin.signals.leads import LEADS, lead_positions, limb_residual_mv
from ecgtwin.sources.files import SourceFolder
from ecgtwin.sources.wfdb_records import write_wfdb
from tests.sources.records import (
    edit_header,
    read_path,
    record_by_wfdb,
    simulated_record,
    with_empty_lead,
    write_formats,
)

HALF_STEP_MV = 0.00051


@pytest.fixture(scope="module")
def record():
    return simulated_record()


def read(path: Path, **more):
    return read_path(path, **more)[0]


def test_reading_returns_what_was_written(record, tmp_path: Path) -> None:
    found, flags = read_path(write_wfdb(record, tmp_path))
    assert found.samples_mv.shape == (12, 5000)
    assert found.samples_mv.dtype == np.float32
    assert found.sampling_rate_hz == 500
    assert (found.record_id, found.patient_id, flags) == ("rec0", "someone", ())
    np.testing.assert_allclose(found.samples_mv, record.samples_mv, atol=HALF_STEP_MV)


def test_leads_are_ordered_by_name_not_by_place(record, tmp_path: Path) -> None:
    path = write_wfdb(record, tmp_path)
    lines = (tmp_path / "rec0.hea").read_text().splitlines()
    names = ["lead v6", "AVF", "iii", "V1", "aVL", "II", "V3", "AVR", "v2", "V5", "I", "V4"]
    lines[1:13] = [
        f"{line.rsplit(' ', 1)[0]} {name}" for line, name in zip(lines[1:13], names, strict=True)
    ]
    (tmp_path / "rec0.hea").write_text("\n".join(lines) + "\n")

    found = read(path).samples_mv

    assert found[LEADS.index("aVF")] == pytest.approx(record.samples_mv[1], abs=HALF_STEP_MV)
    assert found[LEADS.index("I")] == pytest.approx(record.samples_mv[10], abs=HALF_STEP_MV)


@pytest.mark.parametrize(
    ("unit", "mv_per_unit"), [("nV", 1e-6), ("uV", 1e-3), ("V", 1e3), ("mv", 1.0)]
)
def test_voltages_are_converted_to_mv(
    record, tmp_path: Path, unit: str, mv_per_unit: float
) -> None:
    path = write_wfdb(record, tmp_path)
    edit_header(tmp_path / "rec0.hea", "/mV", f"/{unit}")
    np.testing.assert_allclose(
        read(path).samples_mv, record.samples_mv * mv_per_unit, atol=HALF_STEP_MV * mv_per_unit
    )


def test_missing_samples_inside_a_lead_stay_nan(record, tmp_path: Path) -> None:
    samples_mv = record.samples_mv.copy()
    samples_mv[3, 100:110] = np.nan
    found = read(write_wfdb(replace(record, samples_mv=samples_mv), tmp_path)).samples_mv
    assert np.isnan(found).sum() == 10
    assert np.isnan(found[3, 100:110]).all()


@pytest.mark.parametrize(("start_s", "duration_s"), [(2.0, 3.0), (0, 4), (7.5, None), (9.0, 5.0)])
def test_a_window_is_a_part_of_the_whole(record, tmp_path: Path, start_s, duration_s) -> None:
    path = write_wfdb(record, tmp_path)
    found = read(path, start_s=start_s, duration_s=duration_s).samples_mv
    stop = 5000 if duration_s is None else round((start_s + duration_s) * 500)
    np.testing.assert_array_equal(found, read(path).samples_mv[:, round(start_s * 500) : stop])


def test_the_checksum_is_of_all_samples_whatever_the_window(record, tmp_path: Path) -> None:
    path = write_wfdb(record, tmp_path)
    data = bytearray((tmp_path / "rec0.dat").read_bytes())
    data[24 * 4000 + 6] ^= 1  # a step in lead aVR, second eight
    (tmp_path / "rec0.dat").write_bytes(data)
    with pytest.raises(RecordError, match="aVR") as caught:
        read(path, duration_s=2.0)
    assert (caught.value.kind, caught.value.value) == ("checksum_mismatch", "aVR")
    found, flags = read_path(path, on_checksum="flag")
    assert flags == ("checksum_mismatch:aVR",)
    np.testing.assert_allclose(found.samples_mv, record.samples_mv, atol=0.0016)


def test_the_first_value_is_compared_too(record, tmp_path: Path) -> None:
    """Two changes that cancel leave the sum as it is."""
    path = write_wfdb(record, tmp_path)
    steps = np.frombuffer((tmp_path / "rec0.dat").read_bytes(), "<i2").reshape(-1, 12).copy()
    steps[[0, 1], 4] += np.array([5, -5], np.int16)
    (tmp_path / "rec0.dat").write_bytes(steps.tobytes())
    with pytest.raises(RecordError, match="first value of aVL") as caught:
        read(path)
    assert caught.value.kind == "checksum_mismatch"


def test_a_file_longer_than_promised_is_believed_by_its_checksums(record, tmp_path: Path) -> None:
    path = write_wfdb(record, tmp_path)
    plain = read(path).samples_mv
    with (tmp_path / "rec0.dat").open("ab") as file:
        file.write(b"\1\2" * 12)
    found, flags = read_path(path)
    assert flags == ("signal_longer:24",)
    np.testing.assert_array_equal(found.samples_mv, plain)
    text = (tmp_path / "rec0.hea").read_text().splitlines()
    text[1:13] = [f"rec0.dat 16 1000.0(0)/mV {lead}" for lead in LEADS]
    (tmp_path / "rec0.hea").write_text("\n".join(text))
    with pytest.raises(RecordError, match="24 bytes more") as caught:
        read(path)
    assert caught.value.kind == "signal_longer"


FORMATS = ("16", "212", "24", "32", "80", "508", "516", "524")


@pytest.mark.parametrize("signal_format", FORMATS)
def test_every_format_gives_the_same_samples(tmp_path: Path, rng, signal_format: str) -> None:
    steps = rng.integers(-100, 100, (777, 12))
    write_formats(tmp_path, [signal_format] * 12, steps)
    found = read(tmp_path / "rec").samples_mv
    np.testing.assert_array_equal(found, (steps.T / 200).astype(np.float32))
    edit_header(tmp_path / "rec.hea", f" {steps[:, 11].sum() % 65536} ", " 77 ")
    with pytest.raises(RecordError, match="V6"):
        read(tmp_path / "rec")


@pytest.mark.parametrize(
    ("signal_format", "dtype", "zero"), [("61", ">i2", 0), ("160", "<u2", 2**15)]
)
def test_the_other_formats_of_16_bits(tmp_path: Path, rng, signal_format, dtype, zero) -> None:
    steps = rng.integers(-100, 100, (777, 12))
    write_formats(tmp_path, ["16"] * 12, steps)
    (tmp_path / "rec.dat").write_bytes((steps + zero).astype(dtype).tobytes())
    edit_header(tmp_path / "rec.hea", ".dat 16 ", f".dat {signal_format} ")
    found = read(tmp_path / "rec").samples_mv
    np.testing.assert_array_equal(found, (steps.T / 200).astype(np.float32))


def packed_310(steps: np.ndarray) -> np.ndarray:
    """Three samples in two words: two in bits 1 to 10, the third in bits 11 to 15 of both."""
    a, b, c = (steps.reshape(-1, 3).T & 0x3FF).astype(np.uint16)
    words = [(a << 1) | ((c & 0x1F) << 11), (b << 1) | ((c >> 5) << 11)]
    return np.stack(words, axis=1).astype("<u2")


def packed_311(steps: np.ndarray) -> np.ndarray:
    """Three samples in one word of 32 bits, the first lowest."""
    a, b, c = (steps.reshape(-1, 3).T & 0x3FF).astype("<u4")
    return a | (b << 10) | (c << 20)


@pytest.mark.parametrize(("signal_format", "pack"), [("310", packed_310), ("311", packed_311)])
def test_the_formats_of_ten_bits(tmp_path: Path, rng, signal_format, pack) -> None:
    steps = rng.integers(-500, 500, (776, 12))
    write_formats(tmp_path, ["16"] * 12, steps)
    (tmp_path / "rec.dat").write_bytes(pack(steps).tobytes())
    edit_header(tmp_path / "rec.hea", ".dat 16 ", f".dat {signal_format} ")
    found = read(tmp_path / "rec").samples_mv
    np.testing.assert_array_equal(found, (steps.T / 200).astype(np.float32))


def test_leads_in_several_files_and_formats_are_joined(tmp_path: Path, rng) -> None:
    steps = rng.integers(-100, 100, (500, 14))
    write_formats(tmp_path, ["212", *["16"] * 5, *["24"] * 6, *["80"] * 2], steps)
    (tmp_path / "rec_4.dat").unlink()  # holds no lead
    found = read(tmp_path / "rec").samples_mv
    np.testing.assert_array_equal(found, (steps[:, :12].T / 200).astype(np.float32))


def test_a_late_signal_is_moved_to_its_time(record, tmp_path: Path) -> None:
    path = write_wfdb(record, tmp_path)
    plain = read(path).samples_mv
    edit_header(tmp_path / "rec0.hea", ".dat 16 ", ".dat 16:3 ")
    moved = read(path).samples_mv
    np.testing.assert_array_equal(moved[:, :-3], plain[:, 3:])
    assert np.isnan(moved[:, -3:]).all()
    np.testing.assert_array_equal(
        read(path, start_s=2, duration_s=1).samples_mv, moved[:, 1000:1500]
    )


def test_several_samples_a_frame_keep_their_rate(record, tmp_path: Path) -> None:
    """Two samples of each of twelve leads a frame, and one of a thirteenth signal."""
    steps = np.round(record.samples_mv * 1000).astype("<i2")
    frames = np.concatenate([steps.reshape(12, 2500, 2).swapaxes(0, 1).reshape(2500, 24),
                             np.full((2500, 1), 9, "<i2")], axis=1)  # fmt: skip
    (tmp_path / "r.dat").write_bytes(frames.tobytes())
    lines = [f"r.dat 16x2 1000/mV 16 0 {lead[0]} {lead.sum()} 0 {name}"
             for name, lead in zip(LEADS, steps.astype(int), strict=True)]  # fmt: skip
    lines.append(f"r.dat 16 1000/mV 16 0 9 {9 * 2500} 0 resp")
    (tmp_path / "r.hea").write_text("\n".join(["r 13 250 2500", *lines]) + "\n")
    found = read(tmp_path / "r")
    assert found.sampling_rate_hz == 500
    np.testing.assert_allclose(found.samples_mv, record.samples_mv, atol=HALF_STEP_MV)


def test_baselines_beyond_32_bits_do_not_overflow(record, tmp_path: Path) -> None:
    path = write_wfdb(record, tmp_path)
    edit_header(tmp_path / "rec0.hea", "1000.0(0)", f"1000.0({10**17})")
    assert read(path).samples_mv[0, 0] == pytest.approx(-1e14, rel=1e-6)


def test_values_that_do_not_fit_are_refused(record, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"rec0: 40\.0 mV"):
        write_wfdb(replace(record, samples_mv=np.full((12, 100), 40, np.float32)), tmp_path)


def header_fault(old: str, new: str):
    return lambda folder: edit_header(folder / "rec0.hea", old, new)


def cut(num_bytes: int):
    def work(folder: Path) -> None:
        (folder / "rec0.dat").write_bytes((folder / "rec0.dat").read_bytes()[:num_bytes])

    return work


def a_folder_instead(folder: Path) -> None:
    (folder / "rec0.dat").unlink()
    (folder / "rec0.dat").mkdir()


FAULTS = {
    "the header is missing": ("header_missing", lambda folder: (folder / "rec0.hea").unlink()),
    "the header is not WFDB (rec0.hea, found 'no header')": (
        "header_malformed",
        lambda folder: (folder / "rec0.hea").write_text("no header\n"),
    ),
    "the signal file is missing (rec0.dat": (
        "signal_missing",
        lambda folder: (folder / "rec0.dat").unlink(),
    ),
    "rec0.dat cannot be read": ("file_unreadable", a_folder_instead),
    "the signal file does not fit the header": ("signal_truncated", cut(50_001)),
    "119999 bytes, 120000 are needed": ("signal_truncated", cut(119_999)),
    "found rec0.dat of 0 bytes": ("signal_truncated", cut(0)),
    "needed for 9000 samples a lead": ("signal_truncated", header_fault("500 5000", "500 9000")),
    "(checksum or first value of I, II": (
        "checksum_mismatch",
        header_fault("500 5000", "500 4000"),
    ),
    "signal format 17 is unknown": ("format_unknown", header_fault(".dat 16", ".dat 17")),
    "rec0.dat cannot be decoded": ("signal_malformed", header_fault(".dat 16", ".dat 516")),
    "samples are too many for one FLAC": (
        "header_malformed",
        lambda folder: [
            edit_header(folder / "rec0.hea", "500 5000", "500 500000000"),
            edit_header(folder / "rec0.hea", ".dat 16", ".dat 516"),
        ],
    ),
    "the sampling rate is 0": ("rate_invalid", header_fault("12 500", "12 0")),
    "lead I is in mmHg; allowed: nV, uV, mV, V": ("unit_unknown", header_fault("/mV", "/mmHg")),
    "the header is not ASCII": ("header_malformed", header_fault("/mV", "/\u00b5V")),
    "leads V6 are missing": ("lead_missing", header_fault(" V6", " V7")),
}


@pytest.mark.parametrize("wanted", FAULTS)
def test_a_fault_is_one_line_that_names_the_record(record, tmp_path: Path, wanted: str) -> None:
    path = write_wfdb(record, tmp_path)
    kind, spoil = FAULTS[wanted]
    spoil(tmp_path)
    with pytest.raises(RecordError) as caught:
        read(path)
    message = str(caught.value)
    assert wanted in message
    assert message.startswith("record rec0: ")
    assert message.isprintable()
    assert str(tmp_path) not in caught.value.value
    assert caught.value.kind == kind


def test_two_leads_are_refused_by_name(record, tmp_path: Path) -> None:
    path = write_wfdb(record, tmp_path)
    lines = (tmp_path / "rec0.hea").read_text().replace("rec0 12", "rec0 2").splitlines()
    (tmp_path / "rec0.hea").write_text("\n".join(lines[:3]) + "\n")
    with pytest.raises(RecordError, match=r"leads III, .* are missing \(found I, II\)"):
        read(path)


def test_a_lead_of_nan_is_refused(record, tmp_path: Path) -> None:
    path = write_wfdb(with_empty_lead(record, 7), tmp_path)
    with pytest.raises(RecordError, match=r"all NaN.* in lead V2") as caught:
        read(path)
    assert (caught.value.kind, caught.value.value) == ("lead_empty", "V2")


def test_real_records_are_read_as_wfdb_reads_them(real_data: Path) -> None:
    """Every header of the archives, but those that wfdb refuses or that have no signal."""
    num_read = 0
    for file, _ in SourceFolder(str(real_data)).tree(".hea"):
        name = file.removesuffix(".hea")
        if name.startswith("mimic"):
            continue
        found, flags = read_path(real_data / name)
        if flags:
            assert flags == ("header_repaired",)
            continue
        theirs = record_by_wfdb(real_data / name)
        wanted = theirs.p_signal.T[lead_positions(theirs.sig_name)].astype(np.float32)
        np.testing.assert_array_equal(found.samples_mv, wanted)
        num_read += 1
    assert num_read == 906


def test_matlab_records_of_the_challenges_are_read(real_data: Path) -> None:
    found = read(real_data / "challenge2020" / "ptbxl_hr" / "HR00001")
    same = read(real_data / "ptbxl" / "records500" / "00000" / "00001_hr")
    np.testing.assert_allclose(found.samples_mv, same.samples_mv, atol=1e-6)
    assert limb_residual_mv(same.samples_mv) < 0.01


def test_twelve_of_fifteen_leads_are_taken(real_data: Path) -> None:
    found = read(real_data / "ptb_diagnostic" / "s0010_re")
    same = read(real_data / "ptb_diagnostic" / "S0001")
    assert found.sampling_rate_hz == 1000
    np.testing.assert_allclose(found.samples_mv, same.samples_mv, atol=0.001)
