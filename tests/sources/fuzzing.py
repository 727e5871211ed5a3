"""Spoil one file of a sound archive, read it as an ingest does, and judge what came of it.

Allowed: an EcgTwinError in one line for a whole table; a Reject with kind, reason and value; or a
row whose samples are those that an independent reader finds in the same bytes. All other rows stay
as they were.
"""

import gzip
import io
import pickle
import random
import re
import signal
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.io

from ecgtwin.errors import EcgTwinError
from ecgtwin.sources.opening import open_archive
from ecgtwin.sources.plan_table import encode_plan
from ecgtwin.sources.source import PlannedRow, Reject, SourceRow, planned_rows
from tests.sources import fuzz_mutations as mutations
from tests.sources.fuzz_checks import check_labels, check_line, check_reject
from tests.sources.fuzz_mutations import FOLDER, Change
from tests.sources.fuzz_oracle import said
from tests.sources.fuzz_seeds import Seed
from tests.sources.records import planned

CPU_SECONDS = 2.0
_BLIND = re.compile(r"^f(24|310|311|516)/")  # has bits that are no sample, or beyond a checksum


class WrongError(AssertionError):
    """What must never happen, with what to replay it."""


@dataclass(frozen=True)
class Entry:
    """A row as it was planned, and as it was read."""

    plan: PlannedRow
    read: SourceRow | Reject | None  # None: not this time

    @property
    def key(self) -> tuple[str, int]:
        return self.plan.record_id, self.plan.window


@dataclass
class Tally:
    """What came of the changes: by part and result, and by kind of reject."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)


class Fuzzed:
    """One archive on disk, spoiled and mended again and again."""

    def __init__(self, seed: Seed, folder: Path, tally: Tally) -> None:
        self.seed, self.folder, self.tally = seed, folder, tally
        for name, content in seed.files.items():
            _put(folder / name, content)
        (folder / "folder.dat").mkdir()  # for headers that name it
        self.clean = self._read(set())
        rejected = [entry.read for entry in self.clean if isinstance(entry.read, Reject)]
        assert not rejected, rejected
        for entry in self.clean:
            self._check_row(entry)

    def run(self, part: str, number: int) -> str:
        """Make change ``number`` of a part and judge it; return the result in a word."""
        rng = random.Random(f"{self.seed.name}/{part}/{number}")
        name = rng.choice(self.seed.parts()[part])
        change = self._change(rng, part, name)
        try:
            with self._spoiled(name, change), _cpu_limit(), warnings.catch_warnings():
                warnings.simplefilter("error")
                result = self._judge(part, name, change, self._stems(rng, part, name))
        except Exception as error:
            raise WrongError(
                f"replay {self.seed.name}/{part}/{number}: {name}, {change.how}: "
                f"{type(error).__name__}: {str(error)[:800]}"
            ) from error
        self.tally.outcomes[part, result] += 1
        return result

    def spoil(self, part: str, number: int) -> tuple[str, Change]:
        """Make change ``number`` of a part and leave it there."""
        rng = random.Random(f"{self.seed.name}/{part}/{number}")
        name = rng.choice(self.seed.parts()[part])
        change = self._change(rng, part, name)
        _put(self.folder / name, change.content)
        return name, change

    def _change(self, rng: random.Random, part: str, name: str) -> Change:
        data = self.seed.files[name]
        others = [other for other in self.seed.parts().get("signal", ()) if other != name]
        other = rng.choice([other for other in others if _stem(other) != _stem(name)] or others)
        if part == "header":
            return mutations.header(rng, data, other.rpartition("/")[2], Path(name).stem)
        if part == "table":
            return mutations.table(rng, data)
        start = 24 if name.endswith(".mat") and self.seed.name != "cpsc" else 0
        frame = 30 if name.endswith("_re.dat") else 24
        change = mutations.signal(rng, data, start, frame, self.seed.files[other])
        is_strict = change.how == "flip" and self.seed.name != "cpsc" and not _BLIND.search(name)
        is_twelve = not name.endswith(".xyz")
        must = change.must if is_strict or change.how == "front" else ""
        return Change(change.how, change.content, must if is_twelve else "same")

    @contextmanager
    def _spoiled(self, name: str, change: Change) -> Iterator[None]:
        path = self.folder / name
        _put(path, change.content)
        try:
            yield
        finally:
            _put(path, self.seed.files[name])

    def _read(self, stems: set[str]) -> list[Entry]:
        """Return the rows, those of the records ``stems`` read; all where none are named."""
        source = open_archive(self.seed.kind, str(self.folder), self.seed.settings)
        encode_plan(source, self.seed.settings)
        rows = planned_rows(planned(source), first=0)
        assert len(rows) == len(source)
        wanted = [row for row in rows if not stems or _stem(row.file) in stems]
        read = pickle.loads(pickle.dumps(source.reader())).read(wanted)
        found = {row.row: one for row, one in zip(wanted, read, strict=True)}
        return [Entry(row, found.get(row.row)) for row in rows]

    def _stems(self, rng: random.Random, part: str, name: str) -> set[str]:
        """Return which records to read: the spoiled one and another, or all."""
        if part == "table":
            return set()
        others = sorted({_stem(entry.plan.file) for entry in self.clean} - {_stem(name)})
        return {_stem(name), rng.choice(others)}

    def _judge(self, part: str, name: str, change: Change, stems: set[str]) -> str:
        refused = None
        try:
            entries = self._read(stems)
        except EcgTwinError as error:
            refused = str(error)
        if refused is not None:
            assert part == "table", f"one record stops the archive: {refused}"
            assert change.must not in ("same", "samples"), f"a sound table is refused: {refused}"
            check_line(refused)
            return "source refused"
        for entry in entries:
            self._check_row(entry)
        if change.must == "same":
            assert _equal(self.clean, entries), "a sound file is read otherwise"
            return "same"
        if part == "table":
            return self._judge_table(name, change, entries)
        stem = _stem(name)
        mine = [entry for entry in entries if _stem(entry.plan.file) == stem]
        rest = [entry for entry in entries if _stem(entry.plan.file) != stem]
        others = [entry for entry in self.clean if _stem(entry.plan.file) != stem]
        assert _equal(others, rest), "another record has changed"
        if not mine:
            assert change.content in (None, FOLDER), "the record is lost"
            return "absent"
        if all(isinstance(entry.read, Reject) for entry in mine):
            assert change.must not in ("same", "samples"), f"refused: {mine[0].read}"
            self.tally.rejects.update(_kinds(mine[:1]))
            return "reject"
        assert change.must != "reject", "accepted, but its bytes were changed"
        before = [entry for entry in self.clean if _stem(entry.plan.file) == stem]
        same = _equal(before, mine)
        assert same or change.must != "samples" or _same_samples(before, mine)
        return "same" if same else "accepted as the bytes say"

    def _judge_table(self, name: str, change: Change, entries: Sequence[Entry]) -> str:
        if change.must == "gzip":
            assert _equal(self.clean, entries), "a damaged gzip file is read otherwise"
            return "same"
        if not isinstance(change.content, bytes):  # a table that the archive can do without
            assert name.split(".")[0] not in ("ptbxl_database", "record_list", "records")
            return "without table"
        self._check_untouched(name, change.content, entries)
        bad = [entry for entry in entries if isinstance(entry.read, Reject)]
        self.tally.rejects.update(_kinds(bad))
        if bad:
            return "reject"
        return "same" if _equal(self.clean, entries) else "other labels"

    def _check_untouched(self, name: str, data: bytes, entries: Sequence[Entry]) -> None:
        """Compare the rows whose line is as it was, and is the only one that names them."""
        before, after = _lines(self.seed.files[name]), _lines(data)
        column, identity = self.seed.keys[name]
        if not after or before[0] != after[0]:
            return
        if name.startswith(("ptbxl_database", "record_list")):
            count = sum(entry.plan.window == 0 for entry in entries)
            assert count == len([line for line in after[1:] if line]), "a line is lost"
        place = mutations.cells(before[0]).index(column.encode()) if column else -1
        for line in filter(None, before[1:] if column else ()):
            key = mutations.cells(line)[place].decode()
            word = re.compile(rf"(?<![\w/]){re.escape(key)}(?![\w/])".encode())
            if line not in after or sum(bool(word.search(other)) for other in after) != 1:
                continue
            old = [entry for entry in self.clean if getattr(entry.plan, identity) == key]
            new = [entry for entry in entries if getattr(entry.plan, identity) == key]
            assert _equal(old, new, visits=False), f"{key} has changed, its line has not"

    def _check_row(self, entry: Entry) -> None:
        plan, read = entry.plan, entry.read
        texts = [plan.record_id, plan.patient_id, plan.file, *plan.unmapped, *plan.flags]
        if isinstance(read, Reject):
            assert plan.record_id, "a reject without record"
            check_reject(read)
            texts += [read.record_id, read.patient_id]
        elif read is not None:
            check_labels(read)
            if self.seed.kind in ("ptbxl", "mimic-iv-ecg"):
                assert int(re.findall(r"\d+", Path(plan.file).name)[0]) == int(plan.record_id)
            self._check_samples(plan, read)
            texts += [*read.flags, *read.unmapped]
        for text in texts:
            text.encode()
            assert "\0" not in text, f"NUL in {text[:50]!r}"
        assert all(flag.isprintable() and len(flag) < 200 for flag in plan.flags), plan.flags

    def _check_samples(self, plan: PlannedRow, row: SourceRow) -> None:
        samples_mv, rate_hz = self._said(plan.file)
        assert row.record.sampling_rate_hz == rate_hz
        assert row.record.samples_mv.dtype == np.float32
        window_s = self.seed.settings.window_s
        assert abs(plan.window_start_s - plan.window * window_s) <= 1.0001 / rate_hz
        start = round(plan.window_start_s * rate_hz)
        wanted = samples_mv[:, start : start + int(np.ceil(window_s * rate_hz - 1e-6))]
        assert wanted.shape[1] > 0, "the window lies behind the end"
        np.testing.assert_allclose(row.record.samples_mv, wanted, rtol=1e-6, atol=1e-30)

    def _said(self, file: str) -> tuple[np.ndarray, float]:
        path = self.folder / file
        if file.endswith(".mat"):
            struct = scipy.io.loadmat(io.BytesIO(path.read_bytes()))["ECG"][0, 0]
            return struct["data"].astype(np.float64), 500.0
        files = _Files(path.parent)
        found = said(path.with_name(f"{path.name}.hea").read_bytes(), files)
        assert found.checksums_hold, "accepted against a checksum"
        return found.samples_mv, found.rate_hz


class _Files(dict[str, bytes]):
    """The content of the files beside a header."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __missing__(self, name: str) -> bytes:
        assert "/" not in name, "a file outside the folder was read"
        return (self._folder / name).read_bytes()


def _equal(old: Sequence[Entry], new: Sequence[Entry], *, visits: bool = True) -> bool:
    """Say whether all is the same: samples, labels, and where asked for what visits it is."""
    return [_labels(entry, visits=visits) for entry in old] == [
        _labels(entry, visits=visits) for entry in new
    ] and _same_samples(old, new)


def _same_samples(old: Sequence[Entry], new: Sequence[Entry]) -> bool:
    return len(old) == len(new) and all(
        b.read is None
        or (
            isinstance(a.read, SourceRow)
            and isinstance(b.read, SourceRow)
            and np.array_equal(a.read.record.samples_mv, b.read.record.samples_mv, equal_nan=True)
        )
        for a, b in zip(old, new, strict=True)
    )


def _labels(entry: Entry, *, visits: bool) -> tuple[object, ...]:
    plan = entry.plan
    found = (entry.key, plan.patient_id, plan.condition, plan.unmapped, plan.flags, plan.file)
    return (*found, plan.visit, plan.days_since_first, plan.official_split) if visits else found


def _kinds(entries: Sequence[Entry]) -> list[str]:
    return [entry.read.kind for entry in entries if isinstance(entry.read, Reject)]


def _stem(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    stem = re.sub(r"^rec_\d$", "rec", file.partition(".")[0])  # one of several signal files
    return f"{folder}{slash}{stem}"


def _lines(data: bytes) -> list[bytes]:
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    return [line.rstrip(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


def _put(path: Path, content: bytes | str | None) -> None:
    if path.is_dir():
        path.rmdir()
    if content is None:
        path.unlink(missing_ok=True)
    elif content == FOLDER:
        path.unlink(missing_ok=True)
        path.mkdir()
    else:
        assert isinstance(content, bytes)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@contextmanager
def _cpu_limit() -> Iterator[None]:
    """Raise in whatever takes longer than a change may."""

    def stop(*_: object) -> None:
        raise WrongError(f"more than {CPU_SECONDS:g} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
