"""Ways to spoil a header, a signal file or a table; each is decided by its generator alone."""

import gzip
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.sources.fuzz_words import FIELDS, LONG, ZOO

Rng = random.Random
FOLDER: Final = "a folder"  # stands in the place of a file
Content = bytes | str | None  # bytes, FOLDER, or None for no file


@dataclass(frozen=True)
class Change:
    """What became of one file. ``must``: what may come of it, where that is known.

    ``same``: everything as without the change; ``reject``: the record cannot be accepted.
    """

    how: str
    content: Content
    must: str = ""


def _place(rng: Rng, data: bytes) -> int:
    return rng.randrange(len(data)) if data else 0


def flip(rng: Rng, data: bytes) -> bytes:
    """Turn one bit, or replace one byte."""
    at = _place(rng, data)
    new = rng.choice([data[at] ^ (1 << rng.randrange(8)), rng.randrange(256), 0]) if data else 0
    return data[:at] + bytes([new]) + data[at + 1 :]


def delete(rng: Rng, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + rng.choice([1, 1, 2, 7, 64]) :]


def insert(rng: Rng, data: bytes) -> bytes:
    at = _place(rng, data)
    return data[:at] + (rng.choice(ZOO) or b"\0") + data[at:]


def repeat(rng: Rng, data: bytes) -> bytes:
    at = _place(rng, data)
    stop = at + rng.choice([1, 2, 16, 200])
    return data[:stop] + data[at:]


def cut(rng: Rng, data: bytes) -> bytes:
    return data[: _place(rng, data)]


BYTES: tuple[Callable[[Rng, bytes], bytes], ...] = (flip, delete, insert, repeat, cut)


def line_delete(rng: Rng, lines: list[bytes]) -> None:
    del lines[rng.randrange(len(lines))]


def line_double(rng: Rng, lines: list[bytes]) -> None:
    at = rng.randrange(len(lines))
    lines.insert(rng.randrange(len(lines) + 1), lines[at])


def line_swap(rng: Rng, lines: list[bytes]) -> None:
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]


def line_cut(rng: Rng, lines: list[bytes]) -> None:
    at = rng.randrange(len(lines))
    lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]


def line_join(rng: Rng, lines: list[bytes]) -> None:
    at = rng.randrange(len(lines))
    lines[at : at + 2] = [b" ".join(lines[at : at + 2])]


LINES: tuple[Callable[[Rng, list[bytes]], None], ...] = (
    line_delete, line_double, line_swap, line_cut, line_join,
)  # fmt: skip


def header_field(rng: Rng, text: str, neighbour: str, own: str) -> tuple[str, str]:
    """Return (the field, the header with it replaced: once, or wherever it stands)."""
    name = rng.choice(list(FIELDS))
    pattern, values = FIELDS[name]
    value = rng.choice(values)
    value = {"NEIGHBOUR": neighbour, "HEADER": f"{own}.hea", "FOLDER": "folder.dat"}.get(
        value, value
    )
    places = list(re.finditer(pattern, text))
    if not places:
        return name, text
    for place in reversed(places if rng.random() < 0.4 else [rng.choice(places)]):
        text = text[: place.start()] + value + text[place.end() :]
    return name, text


def header_token(rng: Rng, data: bytes) -> bytes:
    """Replace, remove, double or swap what stands between blanks."""
    places = [match.span() for match in re.finditer(rb"\S+", data)]
    if not places:
        return data
    start, stop = rng.choice(places)
    what = rng.randrange(5)
    new = rng.choice(ZOO) if rng.random() > 0.02 else LONG
    if what == 1:
        new = data[start:stop] + b" " + data[start:stop]
    elif what == 2:
        other = rng.choice(places)
        new = data[other[0] : other[1]]
    return data[:start] + new + data[stop:]


def header(rng: Rng, data: bytes, neighbour: str, own: str) -> Change:
    """Spoil a header; ``neighbour``: signal file of another record."""
    what = rng.random()
    if what < 0.03:
        return _whole(rng, data)
    if what < 0.08:
        return _legitimate_header(rng, data)
    names = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        kind = rng.choice(["bytes", "lines", "token", "token", "field", "field", "field"])
        if kind == "bytes":
            change = rng.choice(BYTES)
            data = change(rng, data)
            names.append(change.__name__)
        elif kind == "lines":
            lines = data.split(b"\n")
            move = rng.choice(LINES)
            move(rng, lines)
            data = b"\n".join(lines)
            names.append(move.__name__)
        elif kind == "token":
            data = header_token(rng, data)
            names.append("token")
        else:
            text = data.decode("utf-8", "surrogateescape")
            name, text = header_field(rng, text, neighbour, own)
            data = text.encode("utf-8", "surrogateescape")
            names.append(name)
    return Change("+".join(names), data)


def _whole(rng: Rng, data: bytes) -> Change:
    """Put something else in the place of a file."""
    others: dict[str, Content] = {
        "missing": None, "folder": FOLDER, "empty": b"", "newline": b"\n", "nul": bytes(5000),
        "utf-16": data.decode("latin-1").encode("utf-16"), "bom": b"\xef\xbb\xbf" + data,
        "gzip": gzip.compress(data, mtime=0), "noise": rng.randbytes(3000), "long": data + LONG,
        "html": b"<!DOCTYPE html><html>Not found</html>",
    }  # fmt: skip
    how = rng.choice(list(others))
    return Change(how, others[how], "" if how == "long" else "reject")


def _legitimate_header(rng: Rng, data: bytes) -> Change:
    """Write the same in another way that the format allows."""
    others = {
        "crlf": data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
        "blank lines": data.replace(b"\n", b"\n\n"),
        "blanks": re.sub(rb"(?m) +$", b"", data).replace(b" ", b"  "),
        "no end": data.rstrip(b"\n"),
        "comment": data + b"# a remark \xc3\xa9 \xff\n",
        "first comment": b"# a remark\n" + data,
    }
    how = rng.choice(list(others))
    return Change(how, others[how], "same" if how != "blanks" else "samples")


def signal(rng: Rng, data: bytes, start: int, frame: int, neighbour: bytes) -> Change:
    """Spoil a signal file whose samples begin at byte ``start``, ``frame`` bytes at a time."""
    how = rng.choice(
        ["flip", "flip", "flip", "flips", "cut", "cut by one", "extend", "frames", "whole",
         "blocks",
         "front", "neighbour", "shift", "zero", "delete", "insert", "repeat"]
    )  # fmt: skip
    at = rng.randrange(start, len(data))
    if how == "flip":
        changed = bytes([data[at] ^ (1 << rng.randrange(8))])
        return Change(how, data[:at] + changed + data[at + 1 :], "reject")
    if how == "front":
        if not start:
            return Change("shift", data[1:] + data[:1])
        at = rng.randrange(start)
        return Change(how, data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :], "same")
    if how == "whole":
        return _whole(rng, data)
    if how == "blocks":
        a = start + rng.randrange(20) * frame * 10
        b = a + rng.randrange(1, 20) * frame * 10
        size = frame * rng.randrange(1, 10)
        return Change(
            how,
            data[:a]
            + data[b : b + size]
            + data[a + size : b]
            + data[a : a + size]
            + data[b + size :],
        )
    made: dict[str, Callable[[], bytes]] = {
        "flips": lambda: _times(rng, flip, data),
        "cut": lambda: cut(rng, data),
        "cut by one": lambda: data[: -rng.choice([1, 2, 3, frame])],
        "extend": lambda: data + rng.randbytes(rng.choice([1, 2, 3, frame, 10_000])),
        "frames": lambda: data[: start + frame * rng.randrange(1, 500)],
        "neighbour": lambda: neighbour,
        "shift": lambda: data[:start] + data[start + 2 :] + data[start : start + 2],
        "zero": lambda: data[:at] + bytes(min(500, len(data) - at)) + data[at + 500 :],
        "delete": lambda: delete(rng, data),
        "insert": lambda: insert(rng, data),
        "repeat": lambda: repeat(rng, data),
    }
    return Change(how, made[how]())


def _times(rng: Rng, change: Callable[[Rng, bytes], bytes], data: bytes) -> bytes:
    for _ in range(rng.randrange(2, 30)):
        data = change(rng, data)
    return data


def table(rng: Rng, data: bytes) -> Change:
    """Spoil a table, packed or not."""
    if data.startswith(b"\x1f\x8b"):
        if rng.random() < 0.4:
            change = rng.choice(BYTES)
            return Change(f"gzip {change.__name__}", change(rng, data), "gzip")
        found = table(rng, gzip.decompress(data))
        if not isinstance(found.content, bytes):
            return found
        must = "" if found.how == "gzip" else found.must  # packed twice
        return Change(found.how, gzip.compress(found.content, 1, mtime=0), must)
    what = rng.random()
    if what < 0.03:
        found = _whole(rng, data)
        return Change(found.how, found.content, "same" if found.how in ("bom", "gzip") else "")
    if what < 0.08:
        return _legitimate_table(rng, data)
    if what < 0.18:
        change = rng.choice(BYTES)
        return Change(change.__name__, change(rng, data))
    lines = data.split(b"\n")
    if what < 0.28:
        move = rng.choice(LINES)
        move(rng, lines)
        return Change(move.__name__, b"\n".join(lines))
    if what < 0.36:
        return _columns(rng, lines)
    return _cell(rng, lines)


def _legitimate_table(rng: Rng, data: bytes) -> Change:
    others = {
        "crlf": data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
        "bom": b"\xef\xbb\xbf" + data,
        "no end": data.rstrip(b"\r\n"),
        "gzip": gzip.compress(data, 1, mtime=0),
        "blank end": data + b"\n\n",
    }
    how = rng.choice(list(others))
    return Change(how, others[how], "same")


def cells(line: bytes) -> list[bytes]:
    """Return the cells of a line as they are written, quotes included."""
    return re.findall(rb'(?:^|(?<=,))((?:"(?:[^"]|"")*"|[^,])*)(?=,|$)', line.rstrip(b"\r"))


def _columns(rng: Rng, lines: list[bytes]) -> Change:
    """Remove, double, move or rename a column; or change what stands between the columns."""
    rows = [cells(line) for line in lines if line.strip()]
    width = len(rows[0])
    order = list(range(width))
    how = rng.choice(["column missing", "column twice", "columns moved", "renamed", "semicolons"])
    at = rng.randrange(width)
    if how == "column missing":
        order.remove(at)
    elif how == "column twice":
        order.insert(rng.randrange(width), at)
    elif how == "columns moved":
        rng.shuffle(order)
    elif how == "renamed":
        rows[0][at] = rng.choice([b"", b"x", rows[0][at].upper(), rows[0][at] + b" ", b'"'])
    comma = b";" if how == "semicolons" else b","
    data = b"".join(comma.join(row[place] for place in order) + b"\n" for row in rows)
    return Change(how, data, "same" if how == "columns moved" else "columns")


def _cell(rng: Rng, lines: list[bytes]) -> Change:
    """Put something else in one to three cells."""
    at = [number for number, line in enumerate(lines) if line.strip()][1:]
    number = rng.choice(at)
    row = cells(lines[number])
    names = cells(lines[0])
    places = rng.sample(range(len(row)), rng.choice([1, 1, 1, 2, 3]))
    for place in places:
        row[place] = _new_cell(rng, row[place], [cells(lines[other])[place] for other in at])
    lines[number] = b",".join(row)
    changed = b"+".join(sorted(names[place] for place in places)).decode()
    return Change(f"cell {changed}", b"\n".join(lines))


def _new_cell(rng: Rng, old: bytes, column: Sequence[bytes]) -> bytes:
    what = rng.randrange(6)
    if what == 0:
        return rng.choice(column)
    if what == 1:
        return old + (rng.choice(ZOO) or b"x")
    if what == 2:
        return rng.choice(BYTES)(rng, old)
    new = rng.choice(ZOO) if rng.random() > 0.02 else LONG
    if b"," in new or rng.random() < 0.2:
        return b'"' + new.replace(b'"', b'""') + b'"'
    return new
