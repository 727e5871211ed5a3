"""The tables of a report, from results that may lack any figure."""

from collections.abc import Mapping, Sequence

from ecgtwin.plots.catalogue import (
    GROUPS,
    Figure,
    Group,
    Results,
    is_known,
    list_at,
    lookup,
    mappings_at,
    reason_at,
    target_of,
    written,
)
from ecgtwin.plots.figures import loss_curve, rate_scatter
from ecgtwin.plots.markup import element, escape

STATE_COLUMNS = (
    ("state", "State", "", 0),
    ("num_twins", "Twins", "", 0),
    ("share_measured", "With R peaks", "%", 0),
    ("mean_absolute_error_bpm", "Mean absolute error", "bpm", 1),
    ("median_requested_bpm", "Median rate requested", "bpm", 0),
    ("median_measured_bpm", "Median rate measured", "bpm", 0),
    ("rr_sd_ms", "R-R deviation, median", "ms", 0),
    ("qrs_ms", "QRS, median", "ms", 0),
)
TRAINING_COLUMNS = (
    ("network", "Network", "", 0),
    ("start", "Began from", "", 0),
    ("steps", "Steps", "", 0),
    ("first_loss", "Loss at first", "", 4),
    ("last_loss", "Loss at last", "", 4),
    ("seconds", "Time", "s", 0),
)
ABSENT = "not computed"


def target_table(results: Results) -> str:
    """Return the targets of the run with each verdict, or nothing when none were given."""
    rows, num_met = [], 0
    for figure in (figure for group in GROUPS for figure in group.figures):
        target = target_of(results, figure)
        if target:
            said, is_met = target
            num_met += is_met
            rows.append([figure.name, value_cell(results, figure), said, _verdict(is_met)])
    if not rows:
        return ""
    head = element("h3", f"Targets: {num_met} of {len(rows)} met")
    return head + table(["Figure", "This run", "Target", "Verdict"], rows, numbers={1})


def group_tables(results: Results, group: Group) -> str:
    """Return the figures of one group: value, target where there is one, and what it says."""
    rows = []
    has_targets = any(target_of(results, figure) for figure in group.figures)
    for figure in group.figures:
        row = [figure.name, value_cell(results, figure)]
        if has_targets:
            target = target_of(results, figure)
            row.append(_target_cell(*target) if target else "")
        rows.append([*row, _meaning_cell(results, figure)])
    header = ["Figure", "Value", *(["Target"] if has_targets else []), "What it says"]
    note = lookup(results, f"{group.key}.note")
    return table(header, rows, numbers={1}, name="group") + paragraph(str(note or ""), quiet=True)


def value_cell(results: object, figure: Figure) -> str:
    """Return a cell with the value of a figure, or the words that there is none."""
    value = lookup(results, figure.path)
    if not is_known(value):
        return element("td", ABSENT, class_="number missing")
    said = written(value, unit=figure.unit, decimals=figure.decimals)
    return element("td", escape(said), class_="number")


def _meaning_cell(results: object, figure: Figure) -> str:
    said = element("span", escape(figure.meaning), class_="quiet")
    if not is_known(lookup(results, figure.path)):
        reason = f"Not computed: {reason_at(results, figure.path)}."
        said += " " + element("span", escape(reason), class_="missing")
    return element("td", said)


def rate_figure(results: Results) -> str:
    """Return the scatter plot of requested and measured rates, or nothing without twins."""
    asked = list_at(results, "heart_rate.requested_bpm")
    found = list_at(results, "heart_rate.measured_bpm")
    states = list_at(results, "heart_rate.states") or ["all states"] * len(asked)
    if not asked or len(asked) != len(found) or len(states) != len(asked):
        return ""
    # A twin of which no rate was requested has no place in the plot.
    points = [point for point in zip(asked, found, states, strict=True) if point[0] is not None]
    if not points:
        return ""
    band: object = None
    targets = lookup(results, "targets")
    if isinstance(targets, Mapping):
        band = lookup(targets.get("heart_rate.mean_absolute_error_bpm"), "at_most")
    return rate_scatter(
        [float(str(value)) for value, _, _ in points],
        [None if value is None else float(str(value)) for _, value, _ in points],
        [str(state) for _, _, state in points],
        band_bpm=float(band) if isinstance(band, int | float) else None,
    )


def state_table(results: Results) -> str:
    """Return one line per state."""
    head = element("h3", "By state")
    rows = mappings_at(results, "states")
    if not rows:
        return head + paragraph(f"By state: {ABSENT}, {reason_at(results, 'states')}.")
    rows = sorted(rows, key=lambda row: -float(str(row.get("num_twins") or 0)))
    return head + _listing(rows, STATE_COLUMNS)


def training_tables(results: Results) -> str:
    """Return one line per network and a loss curve for each that came with one."""
    rows = mappings_at(results, "training")
    if not rows:
        return paragraph(f"Training: nothing to show, {reason_at(results, 'training')}.")
    curves = ""
    for row in rows:
        name = str(row.get("network", "network"))
        points = [
            (float(point[0]), float(point[1]))
            for point in list_at(row, "losses")
            if isinstance(point, Sequence) and len(point) == 2 and None not in point
        ]
        svg = loss_curve(points, name=name)
        curves += element("div", escape(name) + svg) if svg else ""
    return _listing(rows, TRAINING_COLUMNS) + (
        element("div", curves, class_="curves") if curves else ""
    )


def comparison_table(results: Results) -> str:
    """Return the figures of this run beside those of the run that began from nothing."""
    other = lookup(results, "from_scratch")
    head = element("h3", "The same run from scratch")
    if not isinstance(other, Mapping):
        return head + paragraph(f"From scratch: {ABSENT}, this run did not include it.")
    rows = [
        [figure.name, value_cell(results, figure), value_cell(other, figure)]
        for group in GROUPS
        for figure in group.figures
        if lookup(other, figure.path) is not None
    ]
    note = str(
        other.get("note") or "The same steps of training and generation, begun from nothing."
    )
    if not rows:
        return head + paragraph(f"From scratch: {ABSENT}, {reason_at(other, 'reason')}.")
    header = ["Figure", "This run", "From scratch"]
    return head + paragraph(note, quiet=True) + table(header, rows, numbers={1, 2})


def _listing(
    rows: Sequence[Mapping[str, object]], columns: Sequence[tuple[str, str, str, int]]
) -> str:
    """Return a table of the columns that at least one row knows."""
    shown = [column for column in columns if any(row.get(column[0]) is not None for row in rows)]
    cells = [
        [
            "-" if row.get(key) is None else written(row[key], unit=unit, decimals=decimals)
            for key, _, unit, decimals in shown
        ]
        for row in rows
    ]
    numbers = {
        place
        for place, (key, *_) in enumerate(shown)
        if not any(isinstance(row.get(key), str) for row in rows)
    }
    return table([name for _, name, _, _ in shown], cells, numbers=numbers)


def _verdict(is_met: bool) -> str:
    said, name = ("target met", "met") if is_met else ("target not met", "unmet")
    return element("td", element("span", said, class_=name))


def _target_cell(said: str, is_met: bool) -> str:
    verdict, name = ("met", "met") if is_met else ("not met", "unmet")
    return element("td", f"{escape(said)}: {element('span', verdict, class_=name)}")


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: set[int], name: str = "plain"
) -> str:
    """Return a table of escaped cells; ``numbers`` are the columns set to the right.

    A cell that already is markup (it begins with "<td") stands as it is.
    """
    top = "".join(
        element("th", escape(name) or "&#160;", **_number_class(column, numbers))
        for column, name in enumerate(header)
    )
    lines = [
        "".join(
            cell
            if cell.startswith("<td")
            else element("td", escape(cell) or "&#160;", **_number_class(column, numbers))
            for column, cell in enumerate(row)
        )
        for row in rows
    ]
    body = "\n".join(element("tr", line) for line in lines)
    return element(
        "table", element("thead", element("tr", top)) + element("tbody", body), class_=name
    )


def _number_class(column: int, numbers: set[int]) -> dict[str, str]:
    return {"class_": "number"} if column in numbers else {}


def paragraph(said: str, *, quiet: bool = False) -> str:
    """Return a paragraph of escaped text."""
    return element("p", escape(said), **({"class_": "quiet"} if quiet else {})) if said else ""


def facts(pairs: Sequence[tuple[str, str, bool]]) -> str:
    """Return (name, value, whether it is code) triples as a grid; code takes double width."""
    cells = [
        element(
            "div",
            element("dt", escape(name))
            + element("dd", element("code", escape(value)) if is_code else escape(value)),
            **({"class_": "wide"} if is_code else {}),
        )
        for name, value, is_code in pairs
        if value
    ]
    return element("dl", "".join(cells)) if cells else ""
