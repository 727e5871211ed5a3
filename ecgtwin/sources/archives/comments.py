"""What the comments of WFDB headers say: age, sex, codes, wordings, dates.

Three styles are read: those of the PhysioNet Challenges (``#Age: 61``), of PTB
(``# age: 61``, ``# Diagnose:``) and of LUDB (``#<age>: 61``, wordings below ``#<diagnoses>:``).
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from ecgtwin.sources.archives.recordings import age_of, shown
from ecgtwin.sources.statements import Reading, merge, read_machine, read_snomed
from ecgtwin.spec.condition import OVER_89_YEARS, Sex

_SEXES: dict[str, Sex] = {"male": "male", "m": "male", "female": "female", "f": "female"}
_NOTHING = {"", "unknown", "n/a", "na", "nan", "none", "no", "-"}
_WORDINGS = "diagnoses"  # in LUDB every line below it
_PTB_DATE = "%d/%m/%Y"
_SECONDS_A_DAY = 86400.0


def fields_of(comments: Sequence[str]) -> dict[str, str]:
    """Return the ``key: value`` comments, keys in lower case; of a repeated key the first."""
    fields: dict[str, str] = {}
    for line in comments:
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().strip("<>").lower(), value.strip())
    return fields


def age_in(text: str, *, over_89: float | None = None) -> tuple[float | None, tuple[str, ...]]:
    """Return (age in years, flags); words are unknown, ``>89`` and ``over_89`` one class."""
    text = text.strip()
    if text.startswith(">") and text[1:].strip() == "89":
        return OVER_89_YEARS, ()
    try:
        years = float(text)
    except ValueError:
        return None, ()
    return age_of(years, over_89=over_89)


def sex_in(text: str) -> Sex:
    """Return the sex that a word or a letter says."""
    return _SEXES.get(text.strip().lower(), "unknown")


def says_nothing(text: str) -> bool:
    """Say whether a value stands for an absent one."""
    return text.strip().strip(".").lower() in _NOTHING


def snomed_in(text: str) -> Reading:
    """Return the reading of comma-separated SNOMED CT codes; words among them are no codes."""
    parts = [part.strip() for part in text.split(",")]
    codes = [part for part in parts if part.isdecimal()]
    words = [part for part in parts if not part.isdecimal() and not says_nothing(part)]
    return merge(read_snomed(codes), Reading(unmapped=tuple(words)))


def wordings_in(comments: Sequence[str]) -> Reading:
    """Return the reading of the lines below ``diagnoses:``, as LUDB writes them."""
    keys = [line.partition(":")[0].strip().strip("<>").lower() for line in comments]
    if _WORDINGS not in keys:
        return Reading()
    below = comments[keys.index(_WORDINGS) + 1 :]
    return read_machine([line.removeprefix("Rhythm:").strip().rstrip(".") for line in below])


def ptb_reading(fields: Mapping[str, str]) -> Reading:
    """Return the reading of PTB's diagnoses: the reason for admission and its infarctions.

    They are of the patient at that time, not of the recording alone.
    """
    lines = []
    for key, age in (("acute", "acute"), ("former", "old")):
        where = fields.get(f"{key} infarction (localization)", "")
        if not says_nothing(where):
            lines.append(f"{age} {_localization(where)} myocardial infarction")
    reason = fields.get("reason for admission", "")
    others = fields.get("additional diagnoses", "")
    lines += [text for text in (reason, others) if not says_nothing(text)]
    return read_machine(lines)


def ptb_day(fields: Mapping[str, str]) -> tuple[float | None, tuple[str, ...]]:
    """Return (seconds since 1970 of ``ECG date``, flags)."""
    text = fields.get("ecg date", "")
    if says_nothing(text):
        return None, ()
    try:
        day = datetime.strptime(text, _PTB_DATE).toordinal() - datetime(1970, 1, 1).toordinal()
    except ValueError:
        return None, (f"date_unreadable:{shown(text)}",)
    return day * _SECONDS_A_DAY, ()


def _localization(text: str) -> str:
    """Return where an infarction is; PTB cuts the word: ``infero-latera``."""
    return re.sub(r"latera$", "lateral", text.lower().strip())
