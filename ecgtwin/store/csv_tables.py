"""CSV tables of an archive as plain arrays, at the size of 800,000 rows. Nothing is lost silently.

One record is one line. A line whose quotes do not close, or that has another number of values
than the header, is set aside in ``CsvTable.malformed`` with its number; it never swallows its
neighbours. Bytes that are not UTF-8 and NUL become U+FFFD, so that what held them no longer
reads as a number, a date or a path.
"""

import codecs
import csv
import gzip
import hashlib
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray

from ecgtwin.errors import SourceError

MAX_LINE_BYTES = 2**20
_BLOCK_BYTES = 2 * MAX_LINE_BYTES  # holds any line that is parsed
_SCAN_BYTES = 2**24  # of the search for quotes: bounds its memory
_SHOWN_CHARACTERS = 200
_QUOTE, _COMMA, _NEWLINE, _RETURN = 34, 44, 10, 13
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_ABSENT = "\ufffd".encode()
_EPOCH = datetime(1970, 1, 1)

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class MalformedLine:
    """A line that is no row: its number in the file, from 1, and the start of its text."""

    number: int
    text: str


@dataclass(frozen=True)
class CsvTable:
    """The wanted columns of one table; every accessor gives one entry per row, in file order.

    ``digest`` is of the bytes as they were stored.
    """

    name: str
    digest: str
    malformed: tuple[MalformedLine, ...]
    columns: Mapping[str, pa.ChunkedArray]
    num_rows: int

    def __len__(self) -> int:
        """Return the number of rows that could be cut into values."""
        return self.num_rows

    def __contains__(self, column: object) -> bool:
        """Say whether the table has a column that was asked for."""
        return column in self.columns

    def texts(self, column: str, start: int = 0, stop: int | None = None) -> NDArray[np.object_]:
        """Return the values of some rows without the blanks around them; ``""`` for none."""
        part = self._trimmed(column, start, stop)
        return np.asarray(part.to_numpy(zero_copy_only=False), dtype=object)

    def matches(self, column: str, pattern: str) -> NDArray[np.bool_]:
        """Return whether each whole value fits a regular expression (RE2)."""
        return _as_bools(pc.match_substring_regex(self._trimmed(column), f"^(?:{pattern})$"))

    def coded(self, column: str) -> tuple[NDArray[np.int32], list[str]]:
        """Return (code of each row, the different values without blanks around them)."""
        values = self.columns[column]
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        joined = values.unify_dictionaries().combine_chunks()
        if isinstance(joined, pa.ChunkedArray):  # what combine_chunks makes of no chunk at all
            return np.zeros(0, dtype=np.int32), []
        codes = np.asarray(joined.indices, dtype=np.int32)
        return codes, [text.strip() for text in joined.dictionary.to_pylist()]

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return the values as finite numbers; NaN where one is not."""
        codes, values = self.coded(column)
        parsed = np.array([_number(value) for value in values], dtype=np.float64)
        return parsed[codes]

    def whole_numbers(self, column: str, *, max_digits: int = 18) -> NDArray[np.int64]:
        """Return ids of at most ``max_digits`` digits, with or without ``.0``; -1 for others."""
        trimmed = self._trimmed(column)
        is_whole = pc.match_substring_regex(trimmed, rf"^[0-9]{{1,{max_digits}}}(\.0+)?$")
        digits = pc.replace_substring_regex(trimmed, pattern=r"\.0+$", replacement="")
        numbers = pc.cast(pc.if_else(is_whole, digits, "-1"), pa.int64())
        return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.int64)

    def captured_numbers(self, column: str, pattern: str) -> NDArray[np.int64]:
        """Return the digits that group ``number`` of an expression (RE2) finds; -1 for none."""
        found = pc.struct_field(pc.extract_regex(self._trimmed(column), pattern), "number")
        numbers = pc.cast(pc.fill_null(found, "-1"), pa.int64())
        return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.int64)

    def seconds(self, column: str) -> NDArray[np.float64]:
        """Return ISO dates, with or without a time, as seconds since 1970; NaN where unreadable."""
        trimmed = self._trimmed(column)
        try:
            instants = pc.cast(trimmed, pa.timestamp("s"))
        except pa.ArrowInvalid:  # at least one is not a date: one by one
            texts = trimmed.to_pylist()
            return np.array([_seconds(text) for text in texts], dtype=np.float64)
        seconds = instants.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return np.asarray(seconds, dtype=np.float64)

    def _trimmed(self, column: str, start: int = 0, stop: int | None = None) -> pa.ChunkedArray:
        part = self.columns[column].slice(start, None if stop is None else stop - start)
        return pc.utf8_trim_whitespace(part.cast(pa.string()))


def read_csv(
    data: bytes,
    name: str,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    repeated: Sequence[str] = (),
) -> CsvTable:
    """Return the ``required`` and those of the ``optional`` columns that table ``name`` has.

    ``data`` may be gzipped. ``repeated`` columns have few different values: they are kept coded.
    Raises SourceError where there is no header, or a column is missing or stands there twice.
    """
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    data = _readable(_unpacked(data, name))
    columns = _header(data, name, required, optional)
    wanted = [column for column in (*required, *optional) if column in columns]
    data, numbers, broken = _without_broken_lines(data, name)
    table, ragged = _parsed(data, name, wanted, repeated)
    malformed = [*broken, *(MalformedLine(int(numbers[row]), text) for row, text in ragged)]
    return CsvTable(
        name=name,
        digest=digest,
        malformed=tuple(sorted(malformed, key=lambda line: line.number)),
        columns={column: table.column(column) for column in wanted},
        num_rows=table.num_rows,
    )


def _unpacked(data: bytes, name: str) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(
            f"{name} is not a whole gzip file ({error}); copy it again from its publisher"
        ) from None


def _readable(data: bytes) -> bytes:
    """Return UTF-8 without NUL, with one kind of line end and an end of the last line."""
    data = data.removeprefix(_BOM)
    if b"\0" in data:
        data = data.replace(b"\0", _ABSENT)
    if b"\r" in data and b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    elif data.count(b"\r") != data.count(b"\r\n"):
        data = re.sub(rb"\r(?!\n)", _ABSENT, data)
    if not _is_utf8(data):
        data = data.decode("utf-8", "replace").encode()
    return data if data.endswith(b"\n") else data + b"\n"


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(data)
    try:
        for start in range(0, len(data), _SCAN_BYTES):
            decoder.decode(view[start : start + _SCAN_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _header(data: bytes, name: str, required: Sequence[str], optional: Sequence[str]) -> list[str]:
    line = data[: data.index(b"\n")].decode().rstrip("\r")
    try:
        columns = next(csv.reader([line], strict=True), [])
    except csv.Error:
        columns = []
    found = ", ".join(columns)[:_SHOWN_CHARACTERS] or "none"
    found = found if found.isprintable() else ascii(found)[1:_SHOWN_CHARACTERS]
    missing = [column for column in required if column not in columns]
    if missing:
        wanted = ", ".join(column or "without a name" for column in missing)
        raise SourceError(f"{name} has no column {wanted} (found {found})")
    twice = [column for column in (*required, *optional) if columns.count(column) > 1]
    if twice:
        raise SourceError(f"{name} has column {', '.join(twice)} more than once (found {found})")
    return columns


def _without_broken_lines(
    data: bytes, name: str
) -> tuple[bytes, NDArray[np.int64], list[MalformedLine]]:
    """Return (the lines that can be cut, the numbers of those that are not blank, the others).

    A quote must open at the start of a value and close at its end, on the same line: a parser
    that met another would take the following lines for a part of the value.
    """
    array = np.frombuffer(data, dtype=np.uint8)
    ends = _places(array, _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    is_broken = (ends - starts > MAX_LINE_BYTES) | _has_stray_quote(array, ends)
    is_blank = (ends == starts) | ((ends - starts == 1) & (array[starts] == _RETURN))
    numbers = np.flatnonzero(~is_broken & ~is_blank) + 1  # as the parser counts lines
    if is_broken[0]:
        raise SourceError(
            f"{name}: the line of column names is broken ({_shown(data, 0, ends[0])})"
        )
    if not is_broken.any():
        return data, numbers, []
    at = np.flatnonzero(is_broken)
    broken = [MalformedLine(int(line) + 1, _shown(data, starts[line], ends[line])) for line in at]
    cuts = zip([0, *(ends[at] + 1)], [*starts[at], len(data)], strict=True)
    return b"".join(data[start:stop] for start, stop in cuts), numbers, broken


def _has_stray_quote(array: Bytes, ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each line whether a quote in it neither opens nor closes a value."""
    quotes = _places(array, _QUOTE)
    line = np.searchsorted(ends, quotes)
    counts = np.bincount(line, minlength=len(ends))
    rank = np.arange(len(quotes)) - (np.cumsum(counts) - counts)[line]  # in its line
    before = np.where(quotes > 0, array[quotes - 1], _NEWLINE) if len(quotes) else quotes
    opens = np.isin(before, (_COMMA, _NEWLINE, _QUOTE))
    closes = np.isin(array[quotes + 1], (_COMMA, _NEWLINE, _RETURN, _QUOTE))
    found: NDArray[np.bool_] = counts % 2 == 1
    found[line[~np.where(rank % 2 == 0, opens, closes)]] = True
    return found


def _places(array: Bytes, value: int) -> NDArray[np.int64]:
    parts = [
        np.flatnonzero(array[start : start + _SCAN_BYTES] == value) + start
        for start in range(0, len(array), _SCAN_BYTES)
    ]
    return np.concatenate(parts)


def _shown(data: bytes, start: int, stop: int) -> str:
    text = data[start : min(stop, start + 4 * _SHOWN_CHARACTERS)].decode("utf-8", "replace")
    shown = text[:_SHOWN_CHARACTERS].strip()
    return shown if shown.isprintable() else ascii(shown)[1:-1]


def _parsed(
    data: bytes, name: str, wanted: Sequence[str], repeated: Sequence[str]
) -> tuple[pa.Table, list[tuple[int, str]]]:
    """Return (table, [(place of a line from 0, its text) where the number of values is wrong])."""
    ragged: list[tuple[int, str]] = []

    def set_aside(row: arrow_csv.InvalidRow) -> str:
        ragged.append((row.number - 1, row.text[:_SHOWN_CHARACTERS]))
        return "skip"

    coded = pa.dictionary(pa.int32(), pa.string())
    types = {column: coded if column in repeated else pa.string() for column in wanted}
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=set_aside),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types, include_columns=list(wanted), null_values=[]
            ),
        )
    except pa.ArrowException as error:
        raise SourceError(f"{name} is not a CSV table ({str(error).splitlines()[0]})") from None
    return table, ragged


def _as_bools(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _seconds(text: str) -> float:
    try:
        return (datetime.fromisoformat(text).replace(tzinfo=None) - _EPOCH).total_seconds()
    except ValueError:
        return math.nan
