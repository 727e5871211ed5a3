"""A folder of WFDB records, in any depth, with or without a table that says more of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ecgtwin.sources.archives.comments import (
    age_in,
    fields_of,
    says_nothing,
    sex_in,
    snomed_in,
    wordings_in,
)
from ecgtwin.sources.archives.header_archive import (
    HEADER,
    Described,
    Header,
    HeaderArchive,
    count_visits,
    described,
    stems,
)
from ecgtwin.sources.archives.ptbxl_persons import ptbxl_fold
from ecgtwin.sources.archives.record_table import (
    PATIENTS_TABLE,
    RECORDS_TABLE,
    RecordTable,
    find_table,
    patients_of,
    rate_in,
    statements_in,
)
from ecgtwin.sources.archives.recordings import shown
from ecgtwin.sources.splits import strictest
from ecgtwin.sources.statements import merge, read_report
from ecgtwin.sources.wfdb_header import WfdbHeader
from ecgtwin.spec.patients import Split

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass
class WfdbTreeSource(HeaderArchive):
    """Every header below a folder, ordered by its path, which is the record id.

    ``records.csv`` in the folder says what the specification maps of it; without a mapping
    ``patients.csv`` (``record_id``, ``patient_id``) says whose the records are. What no table says
    comes from the comments Age, Sex and Dx, or those of LUDB; what is absent is unknown, and each
    record its own patient. Rows of the table without a record come last, as rejects.
    """

    name = "wfdb"
    tables = (RECORDS_TABLE, PATIENTS_TABLE)

    def recordings(self) -> Iterator[Described]:
        """Yield what the table and the header of each record say."""
        table = find_table(self.folder, self.files, self.settings.columns)
        names = self.record_names()
        patients = patients_of(table, names)
        dates = [table.when(name) if table else (None, ()) for name in names]
        visits = count_visits(patients, [when for when, _ in dates])
        splits = _splits(table, names, patients)
        rows = zip(self.headers(names), patients, visits, dates, strict=True)
        for header, patient_id, (visit, days), (_, date_flags) in rows:
            recording = _recording(header, patient_id, table)
            yield replace(
                recording,
                visit=visit,
                days_since_first=days,
                official_split=splits.get(patient_id),
                flags=(*recording.flags, *date_flags),
            )
        if table is not None:
            yield from table.without_record(set(stems(self.files, HEADER)))


def _recording(header: Header, patient_id: str, table: RecordTable | None) -> Described:
    recording = described(header, patient_id)
    if not isinstance(header.found, WfdbHeader):
        return recording
    fields = fields_of(header.found.comments)
    given = _given(table, header.name, fields)
    age_years, age_flags = age_in(given["age_years"])
    rate, rate_flags = rate_in(given["heart_rate_bpm"])
    sex = sex_in(given["sex"])
    is_odd = sex == "unknown" and not says_nothing(given["sex"])
    reading = statements_in(given["statements"])
    if not given["statements"] and not given["report"]:
        reading = merge(snomed_in(fields.get("dx", "")), wordings_in(header.found.comments))
    return replace(
        recording,
        age_years=age_years,
        sex=sex,
        heart_rate_bpm=rate,
        reading=merge(reading, read_report(given["report"])),
        flags=(
            *recording.flags,
            *(table.row_flags(header.name) if table else ()),
            *age_flags,
            *([f"sex_unreadable:{shown(given['sex'])}"] if is_odd else ()),
            *rate_flags,
            *_split_flags(given["split"]),
        ),
        fault=recording.fault or (table.fault(header.name) if table else None),
    )


def _given(table: RecordTable | None, record_id: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Return what the table says of a record, and of age and sex, else, the header."""
    names = ("age_years", "sex", "heart_rate_bpm", "statements", "report", "split")
    given = {name: table.text(record_id, name) if table else "" for name in names}
    given["age_years"] = given["age_years"] or fields.get("age", "")
    given["sex"] = given["sex"] or fields.get("sex", "")
    return given


def _split_flags(text: str) -> list[str]:
    is_odd = text and text.lower() not in _SPLITS
    return [f"split_unknown:{shown(text)}"] if is_odd else []


def _splits(
    table: RecordTable | None, names: Sequence[str], patients: Sequence[str]
) -> dict[str, Split]:
    """Return patient -> split that the table gives; the strictest of its records."""
    found: dict[str, Split] = {}
    for name, patient_id in zip(names, patients, strict=True):
        split = _SPLITS.get(table.text(name, "split").lower()) if table else None
        split = split or ptbxl_fold(name)
        if split is not None:
            found[patient_id] = strictest([split, found.get(patient_id, split)])
    return found
