"""From what a user wrote to a Source: ``simulated``, a PTB-XL folder, a folder of WFDB records."""

from pathlib import Path
from typing import Literal

from ecgtwin.errors import SourceError
from ecgtwin.sources.source import Source

SIMULATED = "simulated"
_ALLOWED = (
    f"allowed: {SIMULATED!r}, a folder with ptbxl_database.csv, or a folder of WFDB records (.hea)"
)


def open_source(
    where: str | Path,
    *,
    seed: int = 0,
    num_persons: int = 200,
    visits_per_person: int = 3,
    sampling_rate_hz: Literal[500, 100] = 500,
    limit: int | None = None,
) -> Source:
    """Return the source at ``where``; raise SourceError saying what is wrong with it.

    ``seed``, ``num_persons`` and ``visits_per_person`` are of the simulated population;
    ``sampling_rate_hz`` of PTB-XL; ``limit`` takes the first records of a folder.
    """
    if str(where) == SIMULATED:
        if min(num_persons, visits_per_person) < 1 or seed < 0:
            raise SourceError(
                f"a simulated population needs at least 1 person, 1 visit and a seed of at least 0 "
                f"(found {num_persons} persons, {visits_per_person} visits, seed {seed})"
            )
        from ecgtwin.sources.simulated import SimulatedSource

        return SimulatedSource(seed, num_persons, visits_per_person)

    folder = Path(where)
    if not folder.exists():
        raise SourceError(f"source {str(where)!r} does not exist; {_ALLOWED}")
    if not folder.is_dir():
        raise SourceError(f"source {str(where)!r} is a file; {_ALLOWED}")
    if (folder / "ptbxl_database.csv").is_file():
        from ecgtwin.sources.ptbxl import PtbXlSource

        return PtbXlSource.open(folder, sampling_rate_hz=sampling_rate_hz, limit=limit)
    if next(folder.rglob("*.hea"), None) is not None:
        from ecgtwin.sources.wfdb_tree import WfdbTreeSource

        return WfdbTreeSource.open(folder, limit=limit)
    found = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    raise SourceError(f"source folder {str(where)!r} holds {shown or 'nothing'}; {_ALLOWED}")
