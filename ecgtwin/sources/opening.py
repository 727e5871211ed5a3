"""From what a user wrote to a Source: a kind of archive and its folder, or ``simulated``."""

import re
from pathlib import Path
from typing import Literal, get_args

from ecgtwin.errors import SourceError
from ecgtwin.sources.files import SourceFolder
from ecgtwin.sources.source import Source
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.objects import is_s3

ArchiveKind = Literal["ptbxl", "mimic-iv-ecg", "challenge", "ptb", "wfdb"]
KINDS: tuple[ArchiveKind, ...] = get_args(ArchiveKind)
SIMULATED = "simulated"

_TABLES: dict[str, ArchiveKind] = {  # whose name says what the folder is
    "ptbxl_database.csv": "ptbxl",
    "record_list.csv": "mimic-iv-ecg",
}
_PTB_RECORD = re.compile(r"(?:.*/)?s\d{4}(?:_re|lre)\.hea")  # s0010_re, s0014lre
_LOOKED_FOR = (
    "ptbxl_database.csv (PTB-XL), record_list.csv (MIMIC-IV-ECG), headers s0010_re.hea (PTB), "
    ".mat files (PhysioNet Challenge), other .hea files (WFDB)"
)


def open_archive(kind: str, url: str, settings: IngestSpec) -> Source:
    """Return the archive of that kind at ``url``; raise SourceError saying what is wrong."""
    _check_kind(kind, url)
    if kind == "ptbxl":
        from ecgtwin.sources.archives.ptbxl import PtbXlSource

        return PtbXlSource.open(url, settings=settings)
    if kind == "mimic-iv-ecg":
        from ecgtwin.sources.archives.mimic_iv_ecg import MimicIvEcgSource

        return MimicIvEcgSource.open(url, settings=settings)
    if kind == "challenge":
        from ecgtwin.sources.archives.challenge import ChallengeSource

        return ChallengeSource.open(url, settings=settings)
    if kind == "ptb":
        from ecgtwin.sources.archives.ptb import PtbSource

        return PtbSource.open(url, settings=settings)
    if kind == "wfdb":
        from ecgtwin.sources.archives.wfdb_tree import WfdbTreeSource

        return WfdbTreeSource.open(url, settings=settings)
    raise SourceError(f"{kind!r} is no kind of archive; allowed: {', '.join(KINDS)}")


def _check_kind(kind: str, url: str) -> None:
    """Refuse to read PTB-XL or MIMIC-IV-ECG without their tables: no label and no fold would be."""
    folder = SourceFolder(url)
    for name, right in _TABLES.items():
        if kind in KINDS and kind != right and folder.exists(name):
            raise SourceError(
                f"{url} holds {name}, so it is of the kind {right}, not {kind}; write "
                f"`ecgtwin ingest {right} SRC DEST`"
            )


def detect_kind(url: str) -> ArchiveKind:
    """Return which archive the folder holds; raise SourceError where it is none."""
    if not is_s3(url) and url.partition("://")[0] != "file":
        _check_folder(url)
    folder = SourceFolder(url)
    for name, kind in _TABLES.items():
        if folder.exists(name) or folder.exists(f"{name}.gz"):
            return kind
    names = [name for name, _ in folder.tree()]
    headers = [name for name in names if name.endswith(".hea")]
    if any(map(_PTB_RECORD.fullmatch, headers)):
        return "ptb"
    if any(name.endswith(".mat") for name in names):
        return "challenge"
    if headers:
        return "wfdb"
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    raise SourceError(f"source folder {url!r} holds {shown or 'nothing'}; looked for {_LOOKED_FOR}")


def open_source(
    where: str | Path,
    *,
    settings: IngestSpec | None = None,
    seed: int = 0,
    num_persons: int = 200,
    visits_per_person: int = 3,
) -> Source:
    """Return the source at ``where``, its kind found by what lies there, or ``simulated``.

    ``seed``, ``num_persons`` and ``visits_per_person`` are of the simulated population. Raises
    SourceError saying what is wrong.
    """
    if str(where) != SIMULATED:
        url = str(where)
        return open_archive(detect_kind(url), url, settings or IngestSpec())
    if min(num_persons, visits_per_person) < 1 or seed < 0:
        raise SourceError(
            f"a simulated population needs at least 1 person, 1 visit and a seed of at least 0 "
            f"(found {num_persons} persons, {visits_per_person} visits, seed {seed})"
        )
    from ecgtwin.sources.simulated import SimulatedSource

    return SimulatedSource(seed, num_persons, visits_per_person)


def _check_folder(path: str) -> None:
    allowed = f"allowed: {SIMULATED!r}, or a folder or s3:// URL with {_LOOKED_FOR}"
    if not Path(path).exists():
        raise SourceError(f"source {path!r} does not exist; {allowed}")
    if not Path(path).is_dir():
        raise SourceError(f"source {path!r} is a file; {allowed}")
