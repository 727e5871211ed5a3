"""What people call a statement: its words, an abbreviation, an SCP-ECG or SNOMED CT code."""

import difflib
from collections.abc import Collection, Mapping

from ecgtwin.sources.statements import read_line, statement_table

# Abbreviations of the PhysioNet/CinC Challenge 2021 that no wording and no SCP code covers.
_ABBREVIATIONS: Mapping[str, str] = {
    "AF": "atrial fibrillation",
    "AFL": "atrial flutter",
    "CHB": "third degree av block",
    "IAVB": "first degree av block",
    "LAD": "left axis deviation",
    "LANFB": "left anterior fascicular block",
    "LPR": "prolonged pr interval",
    "LQRSV": "low qrs voltage",
    "LQT": "prolonged qt interval",
    "NSR": "sinus rhythm",
    "RAD": "right axis deviation",
    "SA": "sinus arrhythmia",
    "SB": "sinus bradycardia",
    "STACH": "sinus tachycardia",
    "SVPB": "supraventricular premature complex",
    "TINV": "t wave inversion",
    "VPB": "ventricular premature complex",
}


def canonical_code(text: str, known: Collection[str]) -> str | None:
    """Return the statement among ``known`` that ``text`` stands for, None where there is none.

    Words are taken as they are before they are taken for a code or an abbreviation.
    """
    words = " ".join(text.lower().split())
    for candidate in (words, *_stood_for(text.strip())):
        if candidate in known:
            return candidate
    return None


def nearest_codes(text: str, known: Collection[str], *, num: int = 3) -> list[str]:
    """Return the statements among ``known`` that are most like ``text`` or what it stands for."""
    words = " ".join(text.lower().split())
    asked = [words, *_stood_for(text.strip())]
    ratio = {
        code: max(difflib.SequenceMatcher(None, one, code).ratio() for one in asked)
        for code in known
    }
    return sorted(ratio, key=lambda code: (-ratio[code], code))[:num]


def _stood_for(text: str) -> list[str]:
    upper = text.upper()
    found = [_ABBREVIATIONS[upper]] if upper in _ABBREVIATIONS else []
    for vocabulary, code in (("scp", upper), ("snomed", text)):
        statements = statement_table(vocabulary).get(code, ())
        found += [one.code for one in statements] if len(statements) == 1 else []
    reading = read_line(text)
    if len(reading.statements) == 1 and not reading.unmapped:
        (one,) = reading.statements
        found += [one.code] if one.certainty == "definite" else []
    return found
