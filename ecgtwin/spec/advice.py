"""What a person may have meant: the nearest name, a number without its unit."""

import difflib
import re
from collections.abc import Collection, Sequence

_NUMBER = re.compile(r"([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*(.*)")
_QUOTES = "\"'\u201c\u201d\u2018\u2019 "


def nearest(word: str, known: Collection[str]) -> str | None:
    """Return the name that ``word`` is likely to stand for: a slip, a beginning, a part of it."""
    plain = word.strip().lower().replace("-", "_")
    names = {name.lower(): name for name in sorted(known)}
    near = difflib.get_close_matches(plain, names, n=1)
    if near:
        return names[near[0]]
    like = [
        name
        for name in names
        if plain and (name.startswith(plain) or (len(plain) > 2 and plain in name.split("_")))
    ]
    return names[like[0]] if len(like) == 1 else None


def on_a_number(found: str, *, takes_range: bool) -> str:
    """Return advice on a text that stands where a number is wanted, empty where there is none."""
    match = _NUMBER.fullmatch(found.strip(_QUOTES))
    if match is None:
        return ""
    number, rest = match.groups()
    if not rest:
        return f"; write {float(number):.15g}"
    until = _NUMBER.fullmatch(rest.lstrip("-:.\u2013 "))
    if until and not until[2] and not rest.startswith("."):
        if takes_range and float(number) < float(until[1].lstrip("-")):
            return f"; write a range as {{start: {number}, stop: {until[1]}, count: 5}}"
        return ""
    if re.fullmatch(r",\d.*", rest):
        return "; write a point before decimals, and nothing between thousands"
    return f"; write {number}, without {rest!r}" if rest.isprintable() else ""


def on_a_choice(found: object, allowed: Sequence[str]) -> str:
    """Return which of the allowed words ``found`` may stand for, empty where none is near."""
    near = nearest(found, allowed) if isinstance(found, str) else None
    return f"; {near!r} perhaps" if near else ""
