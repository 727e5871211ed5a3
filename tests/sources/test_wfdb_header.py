"""Headers: as wfdb reads them where both do, and refused where a wrong signal would follow."""

from pathlib import Path

import pytest

from ecgtwin.errors import RecordError
from ecgtwin.signals.leads import LEADS
from ecgtwin.sources.files import SourceFolder
from ecgtwin.sources.wfdb_header import MAX_HEADER_BYTES, WfdbHeader, parse_header, read_header
from tests.sources.records import header_by_wfdb

LINES = [
    f"r.dat 16 1000(0)/mV 16 0 {number} {number * 7} 0 {LEADS[number]}" for number in range(12)
]
PLAIN = "\n".join(["r 12 500 5000", *LINES, "#Age: 61"])


def parse(text: str | bytes) -> WfdbHeader:
    data = text if isinstance(text, bytes) else text.encode()
    return parse_header(data, name="r", record_id="r")


def fault_of(text: str | bytes) -> RecordError:
    with pytest.raises(RecordError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("record r: ")
    assert message.isprintable()
    return caught.value


def test_real_headers_are_read_as_wfdb_reads_them(real_data: Path) -> None:

    folder = SourceFolder(str(real_data))
    refused, repaired = [], []
    for file, _ in folder.tree(".hea"):
        name = file.removesuffix(".hea")
        found = read_header(folder, name, record_id=name)
        theirs = header_by_wfdb(real_data / name)
        if theirs is None:
            refused.append(name)
        if "header_repaired" in found.flags:
            repaired.append(name)
            continue
        signals = found.signals
        assert (found.rate_hz, found.num_samples) == (theirs.fs, theirs.sig_len)
        assert list(found.comments) == theirs.comments
        assert [line.file for line in signals] == theirs.file_name
        assert [line.format for line in signals] == theirs.fmt
        assert [line.offset for line in signals] == [given or 0 for given in theirs.byte_offset]
        assert [line.gain for line in signals] == theirs.adc_gain
        assert [line.baseline for line in signals] == theirs.baseline
        assert [line.units for line in signals] == theirs.units
        assert [line.first for line in signals] == theirs.init_value
        assert [line.checksum for line in signals] == theirs.checksum
        assert [line.name for line in signals] == theirs.sig_name
    assert refused == repaired
    assert len(repaired) == 22
    assert {name.split("/")[1] for name in repaired} == {"georgia"}


def test_a_repaired_header_is_the_header_without_the_suffix() -> None:
    found = parse(PLAIN.replace("r 12", "r.mat 12", 1))
    plain = parse(PLAIN)
    assert (found.flags, plain.flags) == (("header_repaired",), ())
    assert (found.signals, found.num_samples) == (plain.signals, plain.num_samples)


def test_every_field_of_the_specification_is_read() -> None:
    text = PLAIN.replace("r 12 500 5000", "#before\r\nr_1-a 12 5e2/100(-3.5) 40 10:00:00 1/2/1990")
    text = text.replace(LINES[1], "\tq.mat 212x1:3+24 2.5e2(-7)/uV 12 5 -6 -70 512 lead ii  ")
    found = parse(text)
    second = found.signals[1]
    assert found.rate_hz == 500
    assert found.num_samples == 40
    assert found.comments == ("before", "Age: 61")
    assert (second.file, second.format, second.per_frame) == ("q.mat", "212", 1)
    assert (second.skew, second.offset, second.gain, second.baseline) == (3, 24, 250, -7)
    assert (second.units, second.first, second.checksum, second.name) == ("uV", -6, -70, "lead ii")
    assert second.steps_per_mv == pytest.approx(250_000)


def test_what_is_not_written_is_what_the_specification_says() -> None:
    found = parse(PLAIN.replace(LINES[0], "r.dat 16 200 12 5 I"))
    first = found.signals[0]
    assert first.baseline == 5  # the ADC zero
    assert (first.units, first.first, first.checksum) == ("mV", None, None)
    assert (first.per_frame, first.skew, first.offset) == (1, 0, 0)


def test_leads_are_found_by_name() -> None:
    swapped = PLAIN.replace(" aVF", " x").replace(" aVL", " AVF").replace(" x", " lead avl")
    assert parse(swapped).leads == (0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11)


def test_several_samples_a_frame_are_a_faster_rate() -> None:
    found = parse(PLAIN.replace(" 16 1000", " 16x2 1000"))
    assert (found.rate_hz, found.num_samples, found.num_frames) == (1000, 10_000, 5000)


def edit(old: str, new: str) -> str:
    assert old in PLAIN
    return PLAIN.replace(old, new, 1)


FAULTS = {
    "empty": ("", "header_malformed"),
    "only comments": ("# a\n# b", "header_malformed"),
    "words": ("no header", "header_malformed"),
    "no rate": (edit("r 12 500 5000", "r 12"), "rate_invalid"),
    "rate of words": (edit("500 5000", "fast 5000"), "header_malformed"),
    "rate 0": (edit("500 5000", "0 5000"), "rate_invalid"),
    "rate negative": (edit("500 5000", "-500 5000"), "rate_invalid"),
    "rate infinite": (edit("500 5000", "inf 5000"), "rate_invalid"),
    "rate overflows": (edit("500 5000", "9e999 5000"), "rate_invalid"),
    "rate nan": (edit("500 5000", "nan 5000"), "rate_invalid"),
    "rate of no ECG": (edit("500 5000", "9.9 5000"), "rate_invalid"),
    "rate absurd": (edit("500 5000", "100001 5000"), "rate_invalid"),
    "rate absurd by frames": (PLAIN.replace(" 16 1000", " 16x999 1000"), "header_malformed"),
    "no samples": (edit("500 5000", "500"), "header_malformed"),
    "0 samples": (edit("500 5000", "500 0"), "header_malformed"),
    "too many samples": (edit("500 5000", "500 1000000001"), "header_malformed"),
    "endless samples": (edit("500 5000", "500 " + "9" * 9999), "header_malformed"),
    "endless frames": (PLAIN.replace("16 1000", "16x" + "9" * 9999 + " 1000"), "header_malformed"),
    "endless gain": (edit("16 1000(0)", "16 1" + "0" * 9999 + "(0)"), "gain_invalid"),
    "samples of words": (edit("500 5000", "500 50x0"), "header_malformed"),
    "a lead too many": (edit("r 12", "r 13"), "header_malformed"),
    "a lead too few": (edit("r 12", "r 11"), "header_malformed"),
    "no leads": (edit("r 12", "r 0"), "header_malformed"),
    "too many leads": ("\n".join(["r 65 500 50", *(LINES * 6)[:65]]), "header_malformed"),
    "endless leads": (edit("r 12", "r " + "9" * 9999), "header_malformed"),
    "segments": (edit("r 12", "r/3 12"), "several_segments"),
    "a line without format": (edit(LINES[3], "r.dat"), "header_malformed"),
    "a line of NUL": (edit(LINES[3], "\0 16 200 0 0 0 0 0 aVR"), "header_malformed"),
    "a file elsewhere": (edit("r.dat", "../r.dat"), "header_malformed"),
    "a file at the root": (edit("r.dat", "/etc/passwd"), "header_malformed"),
    "a folder": (edit("r.dat", ".."), "header_malformed"),
    "two formats in a file": (edit(" 16 1000", " 212 1000"), "header_malformed"),
    "two offsets in a file": (edit(" 16 1000", " 16+24 1000"), "header_malformed"),
    "two rates": (edit(" 16 1000", " 16x2 1000"), "header_malformed"),
    "no samples a frame": (PLAIN.replace(" 16 1000", " 16x0 1000"), "header_malformed"),
    "gain 0": (edit("1000(0)", "0(0)"), "gain_invalid"),
    "gain negative": (edit("1000(0)", "-1000(0)"), "gain_invalid"),
    "gain infinite": (edit("1000(0)", "1e400(0)"), "gain_invalid"),
    "gain tiny": (edit("1000(0)", "1e-300(0)"), "gain_invalid"),
    "no gain": (edit(LINES[0], "r.dat 16 I"), "gain_invalid"),
    "gain cut": (edit("1000(0)/mV", "1000(0"), "lead_missing"),
    "another unit": (edit("/mV", "/mmHg"), "unit_unknown"),
    "a micro sign": (edit("/mV", "/\u00b5V"), "header_malformed"),
    "a micro sign, Latin-1": (edit("/mV", "/\u00b5V").encode("latin-1"), "header_malformed"),
    "a lead twice": (edit(" V6", " V5"), "lead_duplicate"),
    "no V6": (edit(" V6", " V7"), "lead_missing"),
    "a name of NUL": (edit(" V6", " \0V6"), "lead_missing"),
    "too long": (PLAIN + "#" * MAX_HEADER_BYTES, "header_malformed"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_may_not_be_believed_is_refused(fault: str) -> None:
    text, kind = FAULTS[fault]
    assert fault_of(text).kind == kind


@pytest.mark.parametrize(
    ("unit", "steps_per_mv"), [("nV", 1e9), ("uV", 1e6), ("mv", 1e3), ("V", 1)]
)
def test_units_of_voltage_are_known_in_any_case(unit: str, steps_per_mv: float) -> None:
    found = parse(PLAIN.replace("/mV", f"/{unit}"))
    assert found.signals[0].steps_per_mv == pytest.approx(steps_per_mv)


def test_comments_may_hold_anything() -> None:
    found = parse(PLAIN.encode() + b"\n# caf\xe9 \0 \xff\r\n#")
    assert found.comments == ("Age: 61", "caf\ufffd \ufffd \ufffd", "")


def test_a_missing_header_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        RecordError, match=r"record x: the header is missing \(a/r\.hea\)"
    ) as caught:
        read_header(SourceFolder(str(tmp_path)), "a/r", record_id="x")
    assert caught.value.kind == "header_missing"


def test_a_header_that_is_a_folder_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "r.hea").mkdir()
    with pytest.raises(RecordError, match=r"r\.hea cannot be read") as caught:
        read_header(SourceFolder(str(tmp_path)), "r", record_id="r")
    assert caught.value.kind == "file_unreadable"
