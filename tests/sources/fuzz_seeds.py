"""The archives that are fuzzed: a few records each, of real data where it is there."""

import gzip
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from ecgtwin.spec.ingest import ColumnsSpec, IngestSpec
from tests.sources.mimic_tables import PATIENT_COLUMNS, write_archive
from tests.sources.records import edit_header, write_formats, write_tree

Files = dict[str, bytes]

_COLUMNS = ColumnsSpec(
    patient_id="person", recorded_at="day", age_years="age", sex="sex", heart_rate_bpm="rate",
    statements="statements", report="report", split="split",
)  # fmt: skip
_RECORDS = b"""record_id,person,day,age,sex,rate,statements,report,split,remark
rec0,anna,2020-01-02,61,F,60,sinus rhythm;426783006,"Normal, as before",train,
rec1,bert,2021-03-04T05:06:07,42.5,male,64,LBBB,,test,a remark
rec2,clara,2019-12-31,89,female,,atrial fibrillation|cannot rule out inferior infarct,,,
f212/rec,dora,2019-12-31,91,,72,,sinus rhythm,validation,
f24/rec,emil,2019-11-30,,M,300,sinus bradycardia,,,x
"""
_NAMED = ("rec0", "rec1", "rec2", "f212", "f24/")


@dataclass(frozen=True)
class Seed:
    """A sound archive, all of whose recordings are accepted.

    ``keys``: table -> (its column that names the rows, field of a planned row that it equals).
    """

    name: str
    kind: str
    files: Files
    settings: IngestSpec
    keys: dict[str, tuple[str, str]]

    def parts(self) -> dict[str, list[str]]:
        """Return the files to spoil: headers, signals, tables."""
        headers = sorted(name for name in self.files if name.endswith(".hea"))
        tables = sorted(self.keys)
        signals = sorted(set(self.files) - set(headers) - set(tables))
        parts = {"header": headers, "signal": signals, "table": tables}
        return {part: names for part, names in parts.items() if names}


def _seed(name: str, kind: str, files: Files, **more: object) -> Seed:
    keys = more.pop("keys", {})
    assert isinstance(keys, dict)
    return Seed(name, kind, files, IngestSpec.model_validate(more), keys)


def made_seeds(folder: Path) -> list[Seed]:
    """Return archives of simulated recordings."""
    write_tree(folder, 3)
    rng = np.random.default_rng(3)
    steps = np.cumsum(rng.integers(-9, 10, (600, 12)), axis=0)
    steps = np.clip(steps, -120, 120)
    for form in ("80", "24", "516"):
        (folder / f"f{form}").mkdir()
        write_formats(folder / f"f{form}", [form] * 12, steps)
    for form in ("212", "310", "311"):  # which wfdb does not write
        (folder / f"f{form}").mkdir()
        write_formats(folder / f"f{form}", ["16"] * 12, steps)
        (folder / f"f{form}" / "rec.dat").write_bytes(_packed(steps, form))
        edit_header(folder / f"f{form}" / "rec.hea", ".dat 16 ", f".dat {form} ")
    tree = _tree(folder)
    table = {
        "records.csv": _RECORDS,
        **{n: d for n, d in tree.items() if n[:4] not in ("f80/", "f310", "f311", "f516")},
    }
    return [
        _seed("tree", "wfdb", tree),
        _seed(
            "mapped", "wfdb", table, columns=_COLUMNS.model_dump(),
            keys={"records.csv": ("record_id", "record_id")},
        ),
    ]  # fmt: skip


def real_seeds(data: Path, folder: Path) -> list[Seed]:
    """Return archives of real recordings; ``folder`` is empty."""
    ptbxl = {500: _ptbxl(data, "hr", "500"), 100: _ptbxl(data, "lr", "100")}
    keys = {"ptbxl_database.csv": ("ecg_id", "record_id"), "scp_statements.csv": ("", "")}
    mimic = _mimic(data, folder / "mimic")
    joined = {
        "record_list.csv": ("study_id", "record_id"),
        "machine_measurements.csv": ("study_id", "record_id"),
        "patients.csv": ("subject_id", "patient_id"),
    }
    packed = {
        (f"{name}.gz" if name in joined else name): (
            gzip.compress(content, mtime=0) if name in joined else content
        )
        for name, content in mimic.items()
    }
    return [
        _seed("ptbxl", "ptbxl", ptbxl[500], keys=keys),
        _seed("ptbxl100", "ptbxl", ptbxl[100], ptbxl_rate_hz=100, keys=keys),
        _seed("challenge", "challenge", _challenge(data)),
        _seed("cpsc", "challenge", _cpsc(data)),
        _seed("ptb", "ptb", _ptb(data)),
        _seed("mimic", "mimic-iv-ecg", mimic, keys=joined),
        _seed(
            "mimic_gz", "mimic-iv-ecg", packed,
            keys={f"{name}.gz": key for name, key in joined.items()},
        ),
    ]  # fmt: skip


def _packed(steps: np.ndarray, form: str) -> bytes:
    """Return (time, signal) steps in a packed format of the specification."""
    if form == "212":
        low, high = (steps.ravel().reshape(-1, 2) & 0xFFF).T
        return (
            np.stack([low & 255, low >> 8 | high >> 8 << 4, high & 255], 1).astype("u1").tobytes()
        )
    a, b, c = (steps.ravel().reshape(-1, 3) & 0x3FF).T
    if form == "311":
        return (a | b << 10 | c << 20).astype("<u4").tobytes()
    return np.stack([a << 1 | (c & 31) << 11, b << 1 | c >> 5 << 11], 1).astype("<u2").tobytes()


def _tree(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _ptbxl(data: Path, suffix: str, rate: str) -> Files:
    root = data / "ptbxl"
    files: Files = {}
    for number in range(1, 5):
        name = f"records{rate}/00000/{number:05d}_{suffix}"
        files |= {
            f"{name}.{kind}": (root / f"{name}.{kind}").read_bytes() for kind in ("hea", "dat")
        }
    for table, lines in (("ptbxl_database.csv", 5), ("scp_statements.csv", 72)):
        content = (root / table).read_bytes().split(b"\n")[:lines]
        files[table] = b"\n".join(content) + b"\n"
    return files


def _challenge(data: Path) -> Files:
    root = data / "challenge2020"
    names = ("georgia/E07938", "chapman_ningbo/JS00001", "cpsc2018/A0001", "ptbxl_hr/HR00001")
    return {
        f"{name}.{kind}": (root / f"{name}.{kind}").read_bytes()
        for name in names
        for kind in ("hea", "mat")
    }


def _cpsc(data: Path) -> Files:
    """Return one file as published, and one cut and written anew without compression."""
    root = data / "challenge2020" / "cpsc2018_native_mat"
    struct = scipy.io.loadmat(root / "A1980.mat")["ECG"][0, 0]
    target = io.BytesIO()
    short = {"sex": struct["sex"], "age": struct["age"], "data": struct["data"][:, :700]}
    scipy.io.savemat(target, {"ECG": short})
    return {"A1980.mat": (root / "A1980.mat").read_bytes(), "A0002.mat": target.getvalue()}


def _ptb(data: Path) -> Files:
    """Return the fifteen leads of one record, cut twice to eleven seconds, as two records."""
    root, rows = data / "ptb_diagnostic", 11_000
    header = (root / "s0010_re.hea").read_text().splitlines()
    files: Files = {}
    for name, start in (("s0010_re", 0), ("s0014lre", 12_000)):
        lines = [f"{name} 15 1000 {rows}"]
        for suffix, width, of_file in (("dat", 12, header[1:13]), ("xyz", 3, header[13:16])):
            stored = np.fromfile(root / f"s0010_re.{suffix}", "<i2").reshape(-1, width)
            stored = stored[start : start + rows]
            files[f"{name}.{suffix}"] = stored.tobytes()
            lines += _signal_lines(of_file, stored, f"{name}.{suffix}")
        files[f"{name}.hea"] = "\n".join([*lines, *header[16:40]]).encode() + b"\n"
    return files


def _signal_lines(lines: Iterable[str], stored: np.ndarray, file: str) -> list[str]:
    found = []
    for line, signal in zip(lines, stored.T, strict=True):
        fields = line.split()
        checksum = (int(signal.astype(np.int64).sum()) + 2**15) % 2**16 - 2**15
        found.append(" ".join([file, *fields[1:5], str(signal[0]), str(checksum), *fields[7:]]))
    return found


def _mimic(data: Path, folder: Path) -> Files:
    """Return MIMIC's two real headers with waveforms made up to fit their checksums."""
    root = data / "mimic_iv_ecg_format"
    subject, studies = 10000032, (40689238, 49036311)
    lines = [
        {
            "study_id": study,
            "file_name": study,
            "ecg_time": f"218{number}-07-23 08:44:00",
            "path": f"files/p1000/p{subject}/s{study}/{study}",
        }
        for number, study in enumerate(studies)
    ]
    person = dict(zip(PATIENT_COLUMNS, (subject, "F", 52, 2180, "2014 - 2016", ""), strict=True))
    other = dict(zip(PATIENT_COLUMNS, (10000048, "M", 91, 2126, "2008 - 2010", ""), strict=True))
    measured = [line | {"report_1": "Possible right atrial abnormality"} for line in lines]
    write_archive(folder, lines, measured, [person, other])
    files = _tree(folder)
    rng = np.random.default_rng(1)
    for study in studies:
        header = (root / f"{study}.hea").read_bytes()
        signals = re.findall(rb"(-?\d+) (-?\d+) 0 \w+\r?\n", header)
        stored = np.cumsum(rng.integers(-3, 4, (5000, len(signals))), axis=0)
        stored[0] = [int(first) for first, _ in signals]
        stored[-1] = 0
        rest = np.array([int(checksum) for _, checksum in signals]) - stored.sum(axis=0)
        stored[-1] = (rest + 2**15) % 2**16 - 2**15
        path = f"files/p1000/p{subject}/s{study}/{study}"
        files |= {f"{path}.hea": header, f"{path}.dat": stored.astype("<i2").tobytes()}
    return files
