"""YAML that people write wrongly: refused at once, with line, column and advice."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import Spec
from ecgtwin.spec.yaml_document import MAX_ALIASES, MAX_BYTES, MAX_DEPTH
from ecgtwin.spec.yaml_text import YamlText

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


class Inner(Spec):
    name: str
    rate: float | None = None


class Outer(Spec):
    inner: Inner
    several: tuple[Inner, ...] = ()
    ids: tuple[str, ...] = ()
    is_on: bool = False


def refused(text: str | bytes) -> str:
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(SpecificationError) as caught:
        Outer.parse_text(YamlText.of(content, origin="x.yaml"))
    return str(caught.value)


A = "inner: {name: a}\n"
TEXT, NUMBER = "Input should be a text", "Input should be a valid number"
QUOTE = "; put it in quotes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{A}inner: {{name: b}}\n",
            "line 2, column 1: 'inner' stands here twice, first in line 1",
        ),
        ("inner: {name: a, name: b}\n", "line 1, column 18: 'name' stands here twice"),
        ("inner:\n\tname: a\n", "line 2, column 1: found character"),
        ("inner:\n\tname: a\n", "indent by spaces"),
        ("inner:\n  name: a\n rate: 3\n", "line 3, column 2"),
        ("inner: {name: a\n", "is not YAML: line 2, column 1"),
        ("inner: {name: 'a}\n", "is not YAML: line "),
        ("inner: !!python/object:os.system {name: a}\n", "is not YAML: line 1, column 8"),
        ("inner: {name: *a}\n", "line 1, column 15: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1"),
        ("? [a]\n: b\n", "line 1, column 3: a key is a word, not a list"),
        (BOMB, "line 6, column 4: this stands for more than 500,000 values"),
        ("a: &a [" + "*a, " * (MAX_ALIASES + 1) + "]", "one of more than 100 aliases"),
        ("a: &a [*a]\n", "line 1, column 4: this holds itself"),
        ("a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "inside more than 40 others"),
        ("a: " + "[" * 200_000, "x.yaml: is not YAML: line 1, column "),
        (b"inner: {name: \xff}\n", "line 1, column 15: byte 0xff is not UTF-8"),
        (b"\x00", "is not YAML"),
        (b" " * (MAX_BYTES + 1), "is larger than 4 MiB"),
        ("", "the specification: Input should be keys and values (found nothing)"),
        ("- 1\n", "line 1, column 1: the specification: Input should be keys and values"),
        ("several: []\n", "line 1, column 1: inner: is required and was not given"),
        ("inner:\n  rate: 1\n", "line 2, column 3: inner.name: is required"),
        (
            "inner:\n  name: a\n  rtae: 2\n",
            "line 3, column 3: inner.rtae: unknown key, rate perhaps; allowed here: name, rate",
        ),
        (
            f"{A}several:\n  - name: b\n  - name: c\n    rate: fast\n",
            f"line 5, column 11: several.1.rate: {NUMBER} (found 'fast')",
        ),
        (
            "inner: {name: a, rate: .nan}\n",
            "line 1, column 24: inner.rate: Input should be a finite number",
        ),
        ("inner: {name: a, rate: .inf}\n", "inner.rate: Input should be a finite number"),
        ("inner: {name: a, rate: '60'}\n", f"inner.rate: {NUMBER} (found '60')"),
        ("inner: {name: a, rate: yes}\n", f"inner.rate: {NUMBER} (found yes, true or false)"),
        ("inner: {name: no}\n", f"inner.name: {TEXT} (found no, true or false){QUOTE}"),
        (
            f"{A}ids: [0123]\n",
            f"line 2, column 7: ids.0: {TEXT} (found 0123, a whole number){QUOTE}",
        ),
        (f"{A}ids: [12345]\n", f"ids.0: {TEXT} (found 12345, a whole number){QUOTE}"),
        (f"{A}ids: [2020-01-01]\n", "line 2, column 7: ids.0: 2020-01-01, a date stands where"),
        (
            f"{A}ids: [2020-13-45]\n",
            "is not YAML: line 2, column 7: '2020-13-45' cannot be read as a date",
        ),
        (f"{A}ids: [~]\n", f"ids.0: {TEXT} (found ~, nothing){QUOTE}"),
        (f"{A}ids: a\n", "line 2, column 6: ids: Input should be a list (found 'a')"),
        (f"{A}is_on: 1\n", "line 2, column 8: is_on: Input should be true or false (found 1, a"),
        (
            "2020-01-01: a\n",
            "line 1, column 1: the specification: a key is a word (found 2020-01-01",
        ),
        ("inner: {1: a}\n", "inner: a key is a word (found 1, a whole"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str | bytes, message: str) -> None:
    assert message in refused(text)


def test_what_is_right_is_taken_as_it_stands() -> None:
    text = (
        b"inner: &i {name: a, rate: 60}\nseveral: [*i, {name: '0123'}]\n"
        b"ids: ['2020-01-01', 1e3]\n"  # YAML 1.1 has no such number
    )
    outer = Outer.parse_text(YamlText.of(text, origin="x.yaml"))
    assert outer.inner == outer.several[0] == Inner(name="a", rate=60.0)
    assert (outer.several[1].name, outer.ids) == ("0123", ("2020-01-01", "1e3"))


def test_a_file_that_is_not_there_or_a_folder_is_said_so(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SpecificationError, match="cannot be read"):
            Outer.from_yaml(path)


PIECES = st.sampled_from(
    [
        "inner:", "{", "}", "[", "]", ",", "a", "''", "1:30", "010", "2020-13-45",
        "0x" + "f" * 5000, "1" + ":00" * 300 + ".5", "!!int", "!!float", "!!bool", "!!timestamp",
        "!!binary", "!!set", "!!omap", "!!null", "!!map", "!!str", "=:", "<<:", "&a", "*a", "\n",
        "- ", "? ", "\0",
    ]
)  # fmt: skip


@given(
    st.one_of(
        st.binary(max_size=80),
        st.text(alphabet="ab:-[]{}&*!|>'\"#%@ \n\t0.~", max_size=60).map(str.encode),
        st.lists(PIECES, max_size=12).map(" ".join).map(str.encode),
    )
)
def test_any_bytes_are_values_or_an_error(content: bytes) -> None:
    with contextlib.suppress(SpecificationError):
        Outer.parse_text(YamlText.of(content, origin="x.yaml"))
