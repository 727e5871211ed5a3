"""MATLAB structs of CPSC 2018: as scipy reads them, and never a traceback on damaged bytes."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from ecgtwin.errors import RecordError
from ecgtwin.signals.leads import limb_residual_mv
from ecgtwin.sources.archives import cpsc_matlab
from ecgtwin.sources.archives.cpsc_matlab import parse_cpsc, read_cpsc
from ecgtwin.sources.files import SourceFolder


def parse(data: bytes):
    return parse_cpsc(data, name="A1.mat", record_id="A1")


def written(folder: Path, value: object, *, name: str = "ECG", compressed: bool = True) -> bytes:
    path = folder / "A1.mat"
    scipy.io.savemat(path, {name: value}, do_compression=compressed)
    return path.read_bytes()


def struct_of(**changed: object) -> dict[str, object]:
    data = np.random.default_rng(3).normal(size=(12, 700))
    return {"sex": "Female", "age": 61, "data": data} | changed


def test_real_records_are_read_as_scipy_reads_them(real_data: Path) -> None:
    folder = SourceFolder(str(real_data / "challenge2020" / "cpsc2018_native_mat"))
    names = [name for name, _ in folder.tree(".mat")]
    assert len(names) == 5
    for name in names:
        found = read_cpsc(folder, name, record_id=name)
        theirs = scipy.io.loadmat(Path(folder.url) / name)["ECG"][0, 0]
        np.testing.assert_array_equal(found.samples_mv, theirs["data"])
        assert found.age == str(theirs["age"][0, 0])
        assert found.sex == theirs["sex"][0]
        assert limb_residual_mv(found.samples_mv) < 0.03  # so the limb leads are in our order


@pytest.mark.parametrize("compressed", [True, False])
def test_what_scipy_writes_is_read(tmp_path: Path, compressed: bool) -> None:
    given = struct_of()
    found = parse(written(tmp_path, given, compressed=compressed))
    np.testing.assert_array_equal(found.samples_mv, given["data"])
    assert (found.age, found.sex, found.num_samples) == ("61", "Female", 700)
    window = found.window("p", start_s=0.5, duration_s=0.5)
    assert (window.patient_id, window.record_id, window.sampling_rate_hz) == ("p", "A1", 500)
    np.testing.assert_array_equal(window.samples_mv, given["data"][:, 250:500].astype(np.float32))


def test_whole_numbers_are_numbers(tmp_path: Path) -> None:
    steps = np.arange(12 * 9, dtype=np.int16).reshape(12, 9)
    np.testing.assert_array_equal(parse(written(tmp_path, struct_of(data=steps))).samples_mv, steps)


def test_what_is_not_known_of_a_person_is_empty(tmp_path: Path) -> None:
    assert parse(written(tmp_path, struct_of(age=np.zeros((0, 0))))).age == ""
    assert parse(written(tmp_path, struct_of(age="NaN"))).age == "NaN"


OTHERS = {
    "not (12, samples)": struct_of(data=np.zeros((15, 700))),
    "data has shape (12, 0)": struct_of(data=np.zeros((12, 0))),
    "samples beyond": struct_of(data=np.full((12, 9), np.inf)),
    "complex": struct_of(data=np.full((12, 9), 1j)),
    "two dimensions": struct_of(data=np.zeros((12, 9, 2))),
    "no field sex": {"age": 3, "data": np.zeros((12, 9))},
    "of class 6": np.zeros((12, 700)),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_anything_else_is_refused(tmp_path: Path, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        parse(written(tmp_path, OTHERS[reason]))
    assert reason in str(caught.value)
    assert caught.value.kind == "signal_malformed"


def test_another_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="'val'"):
        parse(written(tmp_path, struct_of(), name="val"))


def test_leads_without_a_number_are_refused(tmp_path: Path) -> None:
    data = np.zeros((12, 9))
    data[4] = np.nan
    with pytest.raises(RecordError, match="in lead aVL") as caught:
        parse(written(tmp_path, struct_of(data=data)))
    assert caught.value.kind == "lead_empty"


def test_a_signal_file_that_lost_its_header_is_said(real_data: Path) -> None:
    data = (real_data / "challenge2020" / "georgia" / "E00001.mat").read_bytes()
    with pytest.raises(RecordError, match="has no header beside it") as caught:
        parse(data)
    assert caught.value.kind == "header_missing"


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cpsc_matlab, "_MAX_BYTES", 2**20)
    bomb = zlib.compress(bytes(2**21))
    tag = (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little")
    with pytest.raises(RecordError, match="longer than"):
        parse(written(tmp_path, struct_of())[:128] + tag + bomb)


@pytest.mark.parametrize("compressed", [True, False])
def test_damaged_bytes_end_in_one_line(tmp_path: Path, rng, compressed: bool) -> None:
    given = struct_of()
    whole = written(tmp_path, given, compressed=compressed)
    messages = []
    for _ in range(600):
        damaged = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.2 else whole)
        for place in rng.integers(0, min(len(damaged), 500), 3):
            damaged[place] = rng.integers(256)
        try:
            found = parse(bytes(damaged))
        except RecordError as error:
            messages.append(str(error))
        else:
            assert found.samples_mv.shape[0] == 12
            assert found.num_samples <= 700
    assert len(messages) > 300
    assert all(message.isprintable() for message in messages)
