"""What is wrong with a specification, in words: the place, what was found, what is allowed."""

import re
import reprlib
from typing import Any

from pydantic import BaseModel, ValidationError

from ecgtwin.spec.advice import nearest, on_a_choice, on_a_number
from ecgtwin.spec.forms import (
    BRANCH,
    fields_at,
    forms_beside,
    homes_of,
    models_at,
    without_branches,
    without_last_branches,
    words_at,
)
from ecgtwin.spec.yaml_text import YamlText

MAX_FAULTS = 20  # told at once
_WORDS = {
    "a valid array": "a list",
    "an object": "keys and values",
    "a valid tuple": "a list",
    "a valid dictionary": "keys and values",
    "a valid string": "a text",
    "a valid integer": "a whole number",
    "a valid boolean": "true or false",
    "Tuple should": "List should",
    "String should": "Text should",
    "Dictionary should": "Keys and values should",
}
_NUMBERS = ("int_type", "float_type")
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")


class FaultInside(ValueError):
    """A fault of something inside the value that is checked: ``at`` leads there."""

    def __init__(self, message: str, *at: int | str) -> None:
        super().__init__(message)
        self.at = at


def explain(cls: type[BaseModel], error: ValidationError, text: YamlText) -> str:
    """Return a line for each fault that pydantic found, the first ones where there are many."""
    faults = [dict(fault) for fault in error.errors(include_url=False)]
    told = [fault for fault in faults if not _follows(fault, faults)]
    lines = [_one_fault(cls, fault, text) for fault in told[:MAX_FAULTS]]
    if len(told) > MAX_FAULTS:
        lines.append(f"and {len(told) - MAX_FAULTS:,} more faults; mend these first")
    return "\n".join(f"{text.origin}: {line}" for line in lines)


def where(location: tuple[int | str, ...]) -> str:
    """Return the path of a field; words that would not be seen as they are stand in quotes."""
    parts = [str(part) for part in location]
    seen = [one if one.isprintable() and one == one.strip() else repr(one) for one in parts]
    return ".".join(seen) or "the specification"


def at(place: object) -> str:
    """Return how a line begins that is about a place."""
    return "" if place is None else f"{place}: "


def found_at(text: YamlText, location: tuple[int | str, ...], value: object) -> str:
    """Return the value as it was written, and what YAML took it for where that was no text."""
    if value is None and text.root is None:
        return "nothing"
    return text.meaning_of(location) or reprlib.repr(value)


def _follows(fault: dict[str, Any], faults: list[dict[str, Any]]) -> bool:
    """Say whether a sequence is too short only because its entries have faults of their own."""
    place = fault["loc"]
    return fault["type"] == "too_short" and any(
        other["loc"][: len(place)] == place for other in faults if other is not fault
    )


def _one_fault(cls: type[BaseModel], fault: dict[str, Any], text: YamlText) -> str:
    location = without_branches(fault["loc"])
    if fault["type"] == "extra_forbidden":
        location = (*without_branches(fault["loc"][:-1]), fault["loc"][-1])
        place = text.place_of_key(location)
        return f"{at(place)}{where(location)}: {_unknown_key(cls, fault['loc'])}"
    if fault["type"] == "value_error":  # ours: it says what was found
        error = fault["ctx"]["error"]
        location = (*location, *getattr(error, "at", ()))
        return f"{at(text.place_of(location))}{where(location)}: {error}"
    begin = f"{at(text.place_of(location))}{where(location)}"
    if fault["type"] == "missing":
        return f"{begin}: is required and was not given"
    if fault["type"] == "union_tag_invalid":
        return begin + _unknown_kind(fault)
    message = re.sub(" (or instance of|after validation, not) .*", "", fault["msg"])
    for pydantics, ours in _WORDS.items():
        message = message.replace(pydantics, ours)
    if fault["type"] in _NUMBERS:
        message += "".join(f" or {word!r}" for word in words_at(cls, fault["loc"]))
    found = found_at(text, location, fault["input"])
    if fault["type"] in _BOUNDS:
        found = found.partition(",")[0]
    elif fault["type"] in ("string_too_long", "too_long"):
        found = str(len(fault["input"]))
    return f"{begin}: {message} (found {found}){_advice(cls, fault, text)}"


def _unknown_key(cls: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Return what to say of a key: which one is near, where it belongs, which are allowed."""
    name, outside = str(location[-1]), location[:-1]
    known = fields_at(cls, outside)
    allowed = f"allowed here: {', '.join(known)}"
    others = [sorted(model.model_fields) for model in forms_beside(cls, outside)]
    others = [fields for fields in others if name in fields]
    if name.partition(":")[0] in known:
        return f"unknown key, a colon lacks its space perhaps; {allowed}"
    if others:
        return f"does not go with the other keys; {allowed}; or else: {', '.join(others[0])}"
    near = nearest(name, known)
    if near:
        return f"unknown key, {near} perhaps; {allowed}"
    if not name.isprintable():
        return f"unknown key, its blanks are other signs perhaps, write it anew; {allowed}"
    homes = homes_of(cls, name)
    belongs = f", it belongs {' or '.join(homes)}" if homes else ""
    if f"in each entry of {where(without_branches(outside))}" in homes:
        belongs += ", whose first line begins with a dash and a space"
    return f"unknown key{belongs}; {allowed}"


def _unknown_kind(fault: dict[str, Any]) -> str:
    """Return what to say of a value whose ``kind`` names none of the forms that it may take."""
    tags = fault["ctx"]["expected_tags"].split(", ")
    kinds = sorted(tag.strip("'").removeprefix(BRANCH) for tag in tags)
    allowed, found = ", ".join(kinds), fault["input"]
    if not isinstance(found, dict):
        return f": needs keys and values, kind one of {allowed} (found {reprlib.repr(found)})"
    if "kind" not in found:
        return f".kind: is required and was not given; allowed: {allowed}"
    kind = found["kind"]
    return f".kind: {reprlib.repr(kind)} is unknown; allowed: {allowed}{on_a_choice(kind, kinds)}"


def _advice(cls: type[BaseModel], fault: dict[str, Any], text: YamlText) -> str:
    """Return what to do about a value that is not of the right form, empty where it is plain."""
    found, kind, location = fault["input"], fault["type"], fault["loc"]
    meaning = text.meaning_of(without_branches(location))
    if meaning == "an empty place":
        return "; a value is missing here"
    if kind == "string_type":
        if isinstance(found, dict):
            return "; put it in quotes"
        return "; put it in quotes" if meaning else ""
    if kind in _NUMBERS and isinstance(found, str):
        forms = models_at(cls, without_last_branches(location))
        takes_range = any("start" in one.model_fields for one in forms)
        return on_a_number(found, takes_range=takes_range)
    if kind in _NUMBERS and isinstance(found, float) and found.is_integer():
        return f"; write {found:.0f}"
    if kind == "literal_error":
        return on_a_choice(found, re.findall(r"'([^']*)'", fault["ctx"]["expected"]))
    if kind in ("tuple_type", "list_type"):
        if isinstance(found, dict):
            return "; begin each entry with a dash and a space"
        return f"; write a list of one as [{found}]" if len(str(found)) <= 40 else "; put it in [ ]"
    if kind in ("model_type", "model_attributes_type"):
        return f"; allowed here: {', '.join(fields_at(cls, location))}"
    return ""
