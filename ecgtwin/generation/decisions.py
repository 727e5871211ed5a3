"""What gates decided of a shard's rows: attempts, acceptance and the ledger must agree."""

import json
from collections.abc import Iterator

from ecgtwin.generation.planned_rows import Columns
from ecgtwin.spec.gates import GatesSpec
from ecgtwin.store.manifest import Manifest


def keeps_rejects(gates: GatesSpec | None) -> bool:
    """Say whether every ECG that was rejected stands in the ledger."""
    return gates is not None and gates.accept == "exact"


def decision_faults(gates: GatesSpec | None, columns: Columns) -> Iterator[tuple[int, str]]:
    """Yield place and fault of each row of a manifest that the gates cannot have decided so."""
    most = 1 if gates is None else gates.attempts
    is_exact = keeps_rejects(gates)
    names = ("attempt", "accepted", "gate_failures")
    rows = zip(*(columns[name] for name in names), strict=True)
    for place, (attempt, accepted, failures) in enumerate(rows):
        if not 0 <= attempt < most:
            yield place, f"attempt {attempt}, the plan allows 0 to {most - 1}"
        elif is_exact and accepted == bool(failures):
            yield place, f"accepted {accepted}, though it failed {failures or 'no gate'}"
        elif is_exact and not accepted and attempt != most - 1:
            yield place, f"attempt {attempt} rejected, though {most} are allowed"


def wanted_rejects(manifest: Manifest) -> list[tuple[int, int]]:
    """Return (row, attempt) of every reject, in the order of the ledger."""
    columns = manifest.columns
    rows = list(zip(columns["row"], columns["attempt"], columns["accepted"], strict=True))
    return [
        (row, attempt)
        for attempt in range(max(columns["attempt"]) + 1)
        for row, last, accepted in rows
        if attempt < last or (attempt == last and not accepted)
    ]


def ledger_fault(data: bytes, manifest: Manifest) -> str | None:
    """Return what the lines of a ledger part say otherwise than its manifest; None: nothing."""
    wanted = wanted_rejects(manifest)
    lines = data.decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            found = (entry["row"], entry["attempt"])
        except (ValueError, TypeError, KeyError) as error:
            return f"line {number} is no record of a reject ({error!r})"
        if number > len(wanted) or found != wanted[number - 1]:
            return f"line {number} is of row {found[0]}, attempt {found[1]}, which is not its turn"
    if len(lines) < len(wanted):
        return f"{len(lines)} rejects, the attempts of its manifest make {len(wanted)}"
    return None
