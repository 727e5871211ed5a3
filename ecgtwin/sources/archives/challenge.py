"""The PhysioNet/CinC Challenges 2020 and 2021, and CPSC 2018: headers, and MATLAB structs.

Alday et al. 2020, https://doi.org/10.1088/1361-6579/abc960.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from ecgtwin.errors import RecordError
from ecgtwin.sources.archives.comments import age_in, fields_of, sex_in, snomed_in
from ecgtwin.sources.archives.cpsc_matlab import RATE_HZ, SUFFIX, parse_cpsc
from ecgtwin.sources.archives.header_archive import (
    HEADER,
    Described,
    Header,
    HeaderArchive,
    content_digest,
    described,
    printable,
    stems,
    unprintable,
)
from ecgtwin.sources.archives.ptbxl_persons import ptbxl_person
from ecgtwin.sources.wfdb_header import WfdbHeader, read_signal_file

_PTBXL_OVER_89 = 300.0
_PTBXL_NAME = re.compile(r"HR(\d{5})")  # of the copies of PTB-XL: the number is its ecg_id


@dataclass
class ChallengeSource(HeaderArchive):
    """Records with Challenge comments, and ``.mat`` files that have no header.

    Every record is a person of its own, but the copies of PTB-XL (``HR00001``): theirs are known,
    and their official folds with them. A ``.mat`` without header is read as CPSC 2018 published it.
    """

    name = "challenge"

    @classmethod
    def wanted(cls) -> str:
        """Return what a folder without recordings lacks, in words."""
        return "no Challenge record (no .hea and no .mat file at any depth)"

    def record_names(self) -> list[str]:
        """Return the headers' names without suffix, and those of the bare ``.mat`` with it."""
        headed = stems(self.files, HEADER)
        bare = set(stems(self.files, SUFFIX)) - set(headed)
        names = [*headed, *(f"{stem}{SUFFIX}" for stem in bare)]
        return sorted(names, key=lambda name: name.removesuffix(SUFFIX))[: self.settings.limit]

    def recordings(self) -> Iterator[Described]:
        """Yield what the header of each record says, or its struct."""
        visits: dict[str, int] = {}
        for is_bare, names in groupby(self.record_names(), lambda name: name.endswith(SUFFIX)):
            if is_bare:
                found = self.folder.map(self._bare, names)
            else:
                found = map(_headed, self.headers(names))
            for recording in found:
                visit = visits.get(recording.patient_id, 0)
                visits[recording.patient_id] = visit + 1
                yield replace(recording, visit=visit)

    def _bare(self, name: str) -> Described:
        shown = printable(name)
        record_id = shown.removesuffix(SUFFIX)
        recording = Described(record_id, shown, record_id)
        if shown != name:
            return replace(recording, fault=unprintable(shown))
        try:
            data = read_signal_file(self.folder, name, record_id=record_id)
            recording = replace(recording, content=content_digest(data))
            found = parse_cpsc(data, name=name, record_id=record_id)
        except RecordError as error:
            return replace(recording, fault=error)
        age_years, flags = age_in(found.age)
        return replace(
            recording,
            age_years=age_years,
            sex=sex_in(found.sex),
            flags=flags,
            num_samples=found.num_samples,
            rate_hz=RATE_HZ,
        )


def _headed(header: Header) -> Described:
    stem = header.name.rpartition("/")[2]
    match = _PTBXL_NAME.fullmatch(stem)
    person = ptbxl_person(int(match[1])) if match else None
    recording = described(header, f"ptbxl {person[0]}" if person else header.name)
    recording = replace(recording, official_split=person[1] if person else None)
    if not isinstance(header.found, WfdbHeader):
        return recording
    fields = fields_of(header.found.comments)
    age_years, flags = age_in(fields.get("age", ""), over_89=_PTBXL_OVER_89 if match else None)
    return replace(
        recording,
        age_years=age_years,
        sex=sex_in(fields.get("sex", "")),
        reading=snomed_in(fields.get("dx", "")),
        flags=(*recording.flags, *flags),
    )
