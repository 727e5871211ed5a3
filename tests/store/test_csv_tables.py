"""CSV tables as arrays: every line is a row, or is set aside with its number."""

import csv
import gzip
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.errors import SourceError
from ecgtwin.store.csv_tables import read_csv


def table(text, *, required=("a", "b"), **given):
    return read_csv(text.encode(), "t.csv", required=required, **given)


def numbers_of(found):
    return [line.number for line in found.malformed]


def test_columns_are_arrays_in_the_order_of_the_file():
    found = table("c,b,a\n1, x ,7\n2,,8.0\n3,x,9\n", repeated=("b",))
    assert len(found) == 3
    assert found.texts("b").tolist() == ["x", "", "x"]
    assert found.texts("b", 1, 3).tolist() == ["", "x"]
    codes, values = found.coded("b")
    assert [values[code] for code in codes] == ["x", "", "x"]
    assert found.whole_numbers("a").tolist() == [7, 8, 9]
    assert "c" not in found


def test_the_same_bytes_have_the_same_digest():
    assert table("a,b\n1,2\n").digest == table("a,b\n1,2\n").digest
    assert table("a,b\n1,2\n").digest != table("a,b\n1,3\n").digest


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7), ("7.0", 7), (" 7 ", 7), ("7.5", -1), ("-7", -1), ("", -1), ("7x", -1),
        ("1e3", -1), ("12345678901234567890", -1), ("\0007", -1), ("\u0667", -1),
    ],
)  # fmt: skip
def test_ids_are_whole_numbers_or_none(text, number):
    found = table(f"a,b\n{text},x\n3,x\n")
    assert found.whole_numbers("a").tolist() == [number, 3]


def test_ids_may_have_at_most_so_many_digits():
    assert table("a,b\n123,\n1234,\n").whole_numbers("a", max_digits=3).tolist() == [123, -1]


def test_numbers_are_finite_or_unknown():
    found = table("a,b\n1.5,\n-2,\n,\nnan,\ninf,\n1e999,\nold,\n")
    expected = [1.5, -2.0, *[math.nan] * 5]
    np.testing.assert_array_equal(found.numbers("a"), expected)


def test_dates_are_read_alike_whatever_stands_beside_them():
    dates = ["1984-11-09 09:17:34", "2180-07-23", "1984-11-09T09:17:34"]
    good = table("a,b\n" + "".join(f"{date},\n" for date in dates)).seconds("a")
    bad = ["1984-02-30 00:00:00", "soon", "", "1984"]
    mixed = table("a,b\n" + "".join(f"{date},\n" for date in [*dates, *bad])).seconds("a")
    assert good[0] == good[2] == 468839854
    np.testing.assert_array_equal(mixed, [*good, *[math.nan] * 4])


def test_parts_of_a_value_are_found():
    found = table("a,b\nx/p12/s3,\nx,\n")
    assert found.captured_numbers("a", r"/p(?P<number>[0-9]+)/").tolist() == [12, -1]
    assert found.matches("a", r"[\w/]+").tolist() == [True, True]
    assert found.matches("a", r"\w").tolist() == [False, True]


@pytest.mark.parametrize(
    "line",
    [
        '2,"x', '2,x"', '"2,x', '2,x"y', '2,"x"y', '2,"x""', '"2"x,y', '2,y"x,"z', "2", "2,3,4",
        "2\r,3", '2,"x,y""z',
    ],
)  # fmt: skip
def test_a_broken_line_is_set_aside_and_swallows_no_other(line):
    ends = "2\ufffd" if line == "2\r,3" else None  # a lone return is no end of a line
    found = table(f"a,b\n1,x\n\n{line}\n3,y\n4,z\n")
    if ends:
        assert found.texts("a").tolist() == ["1", ends, "3", "4"]
        return
    assert found.texts("a").tolist() == ["1", "3", "4"]
    assert numbers_of(found) == [4]
    assert found.malformed[0].text == line


def test_a_value_on_two_lines_is_two_broken_lines():
    found = table('a,b\n1,"x\ny"\n2,z\n')
    assert (numbers_of(found), found.texts("a").tolist()) == ([2, 3], ["2"])


def test_a_line_too_long_to_be_one_is_set_aside():
    found = table(f"a,b\n1,{'x' * 2**21}\n2,y\n")
    assert numbers_of(found) == [2]
    assert len(found.malformed[0].text) == 200
    assert found.texts("a").tolist() == ["2"]


def test_many_lines_keep_their_numbers_over_the_blocks_of_the_parser():
    kinds = ("1,hello world", "1", '"1,2', "")
    rng = np.random.default_rng(5)
    chosen = rng.choice(4, 300_000, p=[0.97, 0.01, 0.01, 0.01])
    found = table("a,b\n" + "\n".join(kinds[kind] for kind in chosen) + "\n")
    assert numbers_of(found) == (np.flatnonzero((chosen == 1) | (chosen == 2)) + 2).tolist()
    assert len(found) == (chosen == 0).sum()


def test_any_bytes_are_text_or_the_mark_of_something_else():
    found = read_csv(b"\xef\xbb\xbfa,b\r\n1,x\0y\r\n2,\xff\r\n", "t.csv", required=("a", "b"))
    assert found.texts("b").tolist() == ["x\ufffdy", "\ufffd"]
    assert found.texts("a").tolist() == ["1", "2"]


def test_a_gzipped_table_is_the_same_and_a_damaged_one_is_refused():
    data = gzip.compress(b"a,b\n1,2\n")
    assert read_csv(data, "t.csv.gz", required=("a",)).texts("a").tolist() == ["1"]
    for damaged in (data[:-5], data[:12] + b"xx" + data[14:]):
        with pytest.raises(SourceError, match="not a whole gzip file"):
            read_csv(damaged, "t.csv.gz", required=("a",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,c\n1,2\n", r"t\.csv has no column b, d \(found a, c\)"),
        ("", r"no column a, b, d \(found none\)"),
        ("\0\0", "no column a, b, d"),
        ("a,b,d,a\n1,2,3,4\n", "column a more than once"),
        ('"a,b,d\n1,2,3\n', "no column a, b, d"),
    ],
)
def test_a_table_without_its_columns_is_refused(text, message):
    with pytest.raises(SourceError, match=message):
        table(text, required=("a", "b", "d"))


def test_a_header_alone_is_a_table_without_rows():
    found = table("a,b", repeated=("b",))
    assert len(found) == 0
    assert found.texts("a").tolist() == found.coded("b")[1] == []
    assert found.numbers("b").shape == found.seconds("a").shape == (0,)


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8))
def test_what_a_csv_writer_writes_is_read(rows):
    text = io.StringIO()
    csv.writer(text).writerows([("a", "b"), *rows])
    found = table(text.getvalue(), repeated=("b",))
    assert found.malformed == ()
    assert [value.strip() for value, _ in rows] == [text.strip() for text in found.texts("a")]
    codes, values = found.coded("b")
    assert [values[code] for code in codes] == [value.strip() for _, value in rows]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=12), max_size=6))
def test_no_bytes_break_it_nor_are_lost(lines):
    data = b"a,b\n" + b"\n".join(lines) + b"\n"
    try:
        found = read_csv(data, "t.csv", required=("a", "b"))
    except SourceError:
        return
    given_lines = [line for line in b"\n".join(lines).split(b"\n") if line not in (b"", b"\r")]
    assert len(found) + len(found.malformed) == len(given_lines)
    for column in ("a", "b"):
        assert len(found.seconds(column)) == len(found.numbers(column)) == len(found)
