"""Strata made from a table of recordings: bring classes to a count, mirror a population, fill up.

Tables come as arrays; who reads them is elsewhere. The same input gives the same strata.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.condition import MAX_RATE_BPM, MIN_RATE_BPM

Floats = NDArray[np.float64]
Report = tuple[tuple[str, str], ...]  # code and certainty of each statement, sorted

AGE_EDGES = (0, 18, 30, 40, 50, 60, 70, 80, 121)
RATE_EDGES = (20, 50, 60, 70, 80, 90, 100, 120, 150, 301)
REPORTS_OF_A_CLASS = 5
MOST_STRATA = 5_000
_MOST_NAMED = 5
MOST_RATES = 20  # drawn for one stratum
_RATES_A_BPM = 3  # of the ten that there are: draws come quickly
_SEED_DIGITS = 6
FEWEST_RATES = 5  # known, for a distribution to be made of them


@dataclass(frozen=True)
class CaseTable:
    """What is said of recordings, a row each. Unknown: NaN, or None. No report: an empty one."""

    reports: Sequence[Report]
    heart_rate_bpm: Floats
    age_years: Floats
    sex: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.reports)


@dataclass(frozen=True, slots=True)
class PatientsAtHand:
    """Whose twins there can be: their ages (NaN: unknown) and sexes (None: unknown)."""

    age_years: Floats
    sex: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class MadeStrata:
    """Strata as plain values of a specification, and what to say of them."""

    strata: list[dict[str, Any]]
    notes: list[str]


def codes_of(report: Report) -> frozenset[str]:
    """Return what a report says is there."""
    return frozenset(code for code, certainty in report if certainty == "definite")


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """Divide ``total`` in proportion to ``weights``, exactly (Hamilton's largest remainders)."""
    whole = sum(weights)
    if whole <= 0:
        raise ValueError("weights must have a sum above 0")
    quotas = [weight * total / whole for weight in weights]
    found = [int(quota) for quota in quotas]
    rest = total - sum(found)
    by_remainder = sorted(
        range(len(quotas)), key=lambda place: (found[place] - quotas[place], place)
    )
    for place in by_remainder[:rest]:
        found[place] += 1
    return found


def balance(table: CaseTable, classes: Sequence[str], *, to: int) -> MadeStrata:
    """Return what brings every class to ``to`` recordings, those of the table counted.

    A class is filled with its most frequent reports, preferably with those that hold no other
    class: what one brings to another is counted, and said where it goes beyond ``to``.
    """
    counts = class_counts(table)
    _check_classes(classes, counts)
    wanted: dict[Report, _Wanted] = {}
    added: Counter[str] = Counter()
    for code in sorted(classes, key=lambda one: (counts[one], one)):
        missing = to - counts[code] - added[code]
        if missing > 0:
            filling = _reports_to_fill(table, code, set(classes), missing)
            for number, (report, rows, count) in enumerate(filling, start=1):
                label = code if len(filling) == 1 else f"{code} {number}"
                before = wanted.get(report, _Wanted(label, rows, 0))
                wanted[report] = before._replace(num=before.num + count)
                for other in codes_of(report):
                    added[other] += count
    if not wanted:
        raise SpecificationError(
            f"every one of the {len(classes):,} classes has {to:,} recordings already; ask for more"
        )
    strata = [_stratum(table, report, one) for report, one in wanted.items()]
    notes = [_balance_note(code, counts[code], added[code], to) for code in sorted(classes)]
    return MadeStrata(strata, notes)


class _Wanted(NamedTuple):
    """What is wanted of a report: what it is called, the rows that bear it, how many more."""

    label: str
    rows: Sequence[int]
    num: int


def rare(table: CaseTable, *, below: int, at_least: int = 1) -> MadeStrata:
    """Return what fills every class with ``at_least`` and fewer than ``below`` recordings up."""
    counts = class_counts(table)
    classes = sorted(code for code, count in counts.items() if at_least <= count < below)
    if not classes:
        raise SpecificationError(
            f"no statement has between {at_least:,} and {below - 1:,} recordings; "
            "ask for a larger count"
        )
    return balance(table, classes, to=below)


def mirror(table: CaseTable, *, total: int, patients: PatientsAtHand) -> MadeStrata:
    """Return ``total`` ECGs distributed as the table over report, sex, age and heart rate.

    Ages and rates by AGE_EDGES and RATE_EDGES. Cells of which no patient at hand can be are left
    out, as are the smallest beyond MOST_STRATA; the notes say how much, and how far the rest is
    from the table (total variation).
    """
    cells = Counter(
        zip(
            table.reports,
            table.sex,
            _bands(table.age_years, AGE_EDGES),
            _bands(table.heart_rate_bpm, RATE_EDGES),
            strict=True,
        )
    )
    at_hand = set(zip(patients.sex, _bands(patients.age_years, AGE_EDGES), strict=True))
    possible = {cell: count for cell, count in cells.items() if cell[0] and cell[1:3] in at_hand}
    if not possible:
        raise SpecificationError(
            "no patient at hand is of an age and sex that the table has reports of"
        )
    ordered = sorted(possible, key=lambda cell: (-possible[cell], _sortable(cell)))[:MOST_STRATA]
    given = apportion([possible[cell] for cell in ordered], total)
    strata = [
        _cell_stratum(cell, count) for cell, count in zip(ordered, given, strict=True) if count
    ]
    apart = sum(
        abs(cells[cell] / len(table) - count / total)
        for cell, count in zip(ordered, given, strict=True)
    )
    chosen = set(ordered)
    apart += sum(count for cell, count in cells.items() if cell not in chosen) / len(table)
    left_out = len(table) - sum(
        possible[cell] for cell, count in zip(ordered, given, strict=True) if count
    )
    return MadeStrata(
        strata,
        [
            f"{total:,} ECGs as {len(table):,} recordings are distributed over reports, sex, age "
            f"and heart rate, in {len(strata):,} strata",
            f"{left_out:,} recordings ({left_out / len(table):.1%}) are of cells without a "
            "patient at hand, without a report, or too small to be a stratum",
            f"total variation from the table: {apart / 2:.3f}",
        ],
    )


def cut_down(made: MadeStrata, *, total: int) -> MadeStrata:
    """Return strata of ``total`` ECGs in all, in proportion, to try a specification out."""
    counts = [one["count"] for one in made.strata]
    if sum(counts) <= total:
        return made
    given = apportion(counts, total)
    strata = [
        {**one, "count": count} for one, count in zip(made.strata, given, strict=True) if count
    ]
    left = f", {len(made.strata) - len(strata):,} strata left out" * (len(strata) < len(counts))
    return MadeStrata(
        [_with_fewer_rates(one) for one in strata],
        [*made.notes, f"cut down from {sum(counts):,} ECGs to {total:,}{left}"],
    )


def _with_fewer_rates(stratum: dict[str, Any]) -> dict[str, Any]:
    """Return the stratum with no more rates drawn than it has ECGs."""
    rates = stratum.get("heart_rate_bpm")
    if not isinstance(rates, dict) or rates["count"] <= stratum["count"]:
        return stratum
    return {**stratum, "heart_rate_bpm": {**rates, "count": stratum["count"]}}


def within(table: CaseTable, known: Collection[str]) -> tuple[CaseTable, list[str]]:
    """Return the table without the statements that are not ``known``, and what was left out."""
    left_out = Counter(code for report in table.reports for code, _ in report if code not in known)
    if not left_out:
        return table, []
    reports = [tuple(one for one in report if one[0] in known) for report in table.reports]
    most = ", ".join(f"{code} ({count:,})" for code, count in left_out.most_common(_MOST_NAMED))
    return (
        CaseTable(reports, table.heart_rate_bpm, table.age_years, table.sex),
        [
            f"{len(left_out):,} statements that the checkpoint has not learnt are left out, of "
            f"{sum(left_out.values()):,} places; the most frequent: {most}"
        ],
    )


def class_counts(table: CaseTable) -> Counter[str]:
    """Return how many recordings show each statement."""
    return Counter(code for report in table.reports for code in codes_of(report))


def _check_classes(classes: Sequence[str], counts: Counter[str]) -> None:
    absent = [code for code in classes if not counts[code]]
    if absent:
        raise SpecificationError(
            f"no recording of the table shows {', '.join(map(repr, absent))}: there is no report "
            "to take after"
        )


def _reports_to_fill(
    table: CaseTable, code: str, classes: set[str], count: int
) -> list[tuple[Report, list[int], int]]:
    """Return reports with ``code``, the rows that bear them, and a share of ``count`` for each."""
    rows_of: dict[Report, list[int]] = {}
    for row, report in enumerate(table.reports):
        if code in codes_of(report):
            rows_of.setdefault(report, []).append(row)
    alone = [report for report in rows_of if not (codes_of(report) & classes) - {code}]
    chosen = sorted(alone or rows_of, key=lambda one: (-len(rows_of[one]), one))
    chosen = chosen[:REPORTS_OF_A_CLASS]
    shares = apportion([len(rows_of[one]) for one in chosen], count)
    return [
        (report, rows_of[report], share)
        for report, share in zip(chosen, shares, strict=True)
        if share
    ]


def _balance_note(code: str, there: int, added: int, to: int) -> str:
    beyond = there + added - to
    if not added:
        return f"{code}: {there:,} are there already" + (
            f", {beyond:,} beyond {to:,}" * (beyond > 0)
        )
    more = f", {beyond:,} beyond {to:,}: reports of other classes show it too" * (beyond > 0)
    return f"{code}: {there:,} there and {added:,} made are {there + added:,}{more}"


def _stratum(table: CaseTable, report: Report, wanted: _Wanted) -> dict[str, Any]:
    rates = _rates_like(table.heart_rate_bpm[list(wanted.rows)], report, wanted.num)
    return {
        "label": wanted.label,
        "statements": written_report(report),
        **({} if rates is None else {"heart_rate_bpm": rates}),
        "count": wanted.num,
    }


def _rates_like(known_bpm: Floats, report: Report, count: int) -> dict[str, Any] | None:
    """Return draws from a normal distribution like that of the rates, None where few are known."""
    known = known_bpm[(known_bpm >= MIN_RATE_BPM) & (known_bpm <= MAX_RATE_BPM)]
    if len(known) < FEWEST_RATES:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    low, high = float(np.floor(low)), float(np.ceil(high))
    return {
        "distribution": "normal",
        "mean": round(float(np.clip(known.mean(), low, high)), 1),
        "sd": round(max(float(known.std()), 0.1), 1),
        "low": low,
        "high": high,
        "count": _num_rates(low, high, count),
        "seed": _seed_of(report),
    }


def _num_rates(low: float, high: float, count: int) -> int:
    """Return how many rates to draw: no more than ECGs, and few of those that there are."""
    return min(count, MOST_RATES, 1 + int((high - low) * _RATES_A_BPM))


def _seed_of(*what: object) -> int:
    """Return a seed that follows from what is drawn, so that not all strata draw alike."""
    return int(digest_of(list(what))[:_SEED_DIGITS], 16)


def _cell_stratum(cell: tuple[Report, str | None, int, int], count: int) -> dict[str, Any]:
    report, sex, age_band, rate_band = cell
    among = [
        "patient.sex is unknown" if sex is None else f"patient.sex == '{sex}'",
        "patient.age_years is unknown"
        if age_band < 0
        else f"{AGE_EDGES[age_band]} <= patient.age_years < {AGE_EDGES[age_band + 1]}",
    ]
    rates: dict[str, Any] = {}
    if rate_band >= 0:
        low, high = float(RATE_EDGES[rate_band]), RATE_EDGES[rate_band + 1] - 0.1
        rates["heart_rate_bpm"] = {
            "distribution": "uniform",
            "low": low,
            "high": high,
            "count": _num_rates(low, high, count),
            "seed": _seed_of(cell),
        }
    return {
        "statements": written_report(report),
        **rates,
        "count": count,
        "among": " and ".join(among),
    }


def written_report(report: Report) -> list[Any]:
    """Return a report as a specification writes it: a definite statement by its code alone."""
    return [
        code if certainty == "definite" else {"code": code, "certainty": certainty}
        for code, certainty in report
    ]


def _bands(values: Floats, edges: Sequence[int]) -> list[int]:
    """Return the band of each value, -1 where it is unknown or in none."""
    with np.errstate(invalid="ignore"):
        band = np.searchsorted(np.asarray(edges, float), values, side="right") - 1
    is_in = np.isfinite(values) & (band >= 0) & (band < len(edges) - 1)
    found: list[int] = np.where(is_in, band, -1).tolist()
    return found


def _sortable(cell: tuple[Report, str | None, int, int]) -> tuple[Report, str, int, int]:
    report, sex, age_band, rate_band = cell
    return report, sex or "", age_band, rate_band
