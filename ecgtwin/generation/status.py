"""How far a cohort is, from anywhere: what is committed, and what the runs recorded.

What is committed says how far it is. Rates and failures come from ``runs/``, which each driver
writes every few shards, so they lag behind.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ecgtwin.errors import DamageError, StoreError
from ecgtwin.executors.reasons import last_line
from ecgtwin.generation.plan import counted
from ecgtwin.store.manifest import committed_shards
from ecgtwin.store.objects import join, list_tree, read_object
from ecgtwin.store.zarr_shards import read_layout

_RECENT_S = 600.0  # a run that recorded nothing for so long is not taken to be under way


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What one run recorded: since when, until when, shards and ECGs made, by whom, and failures.

    ``failures`` has the last line of the traceback by shard.
    """

    name: str
    began: datetime
    latest: datetime
    num_shards: int
    num_ecgs: int
    of_workers: dict[str, int]
    failures: dict[int, str]

    @property
    def ecgs_per_second(self) -> float | None:
        """ECGs per second of wall time between the start and the latest record; None: not yet."""
        seconds = (self.latest - self.began).total_seconds()
        return self.num_ecgs / seconds if seconds > 0 and self.num_ecgs else None


@dataclass(frozen=True, slots=True)
class CohortStatus:
    """Shards and ECGs planned and committed, the newest run, and failures not made good since."""

    url: str
    num_shards: int
    num_committed: int
    num_ecgs: int
    num_ecgs_committed: int
    run: RunStatus | None
    failures: dict[int, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Say whether every shard is committed."""
        return self.num_committed == self.num_shards

    def lines(self, *, now: datetime) -> list[str]:
        """Return it in lines for a person."""
        share = self.num_ecgs_committed / self.num_ecgs
        found = [
            f"{self.num_ecgs_committed:,} of {counted(self.num_ecgs, 'ECG')} in "
            f"{self.num_committed:,} of {counted(self.num_shards, 'shard')} committed ({share:.1%})"
        ]
        run = self.run
        if run is not None:
            ago = (now - run.latest).total_seconds()
            rate = run.ecgs_per_second
            pace = "" if rate is None else f", {rate:,.3g} ECGs a second"
            found.append(
                f"run {run.name}: {counted(run.num_shards, 'shard')} made{pace}, latest record "
                f"{_duration(ago)} ago"
            )
            if rate is not None and not self.is_complete and ago < _RECENT_S:
                left = (self.num_ecgs - self.num_ecgs_committed) / rate
                found.append(f"  at this rate done in {_duration(left)}")
            found += [
                f"  {worker}: {counted(num, 'shard')}"
                for worker, num in sorted(run.of_workers.items())
            ]
        found += [f"shard {index} failed: {why}" for index, why in sorted(self.failures.items())]
        return found


def read_status(url: str) -> CohortStatus:
    """Return how far the cohort at ``url`` is; StoreError where nothing is planned there."""
    layout = read_layout(url)
    shards = layout.shards()
    committed = set(committed_shards(url))
    beyond = [index for index in committed if index >= len(shards)]
    if beyond:
        raise DamageError(
            f"{url}: the signals have {len(shards)} shards, but shard {max(beyond)} is committed; "
            "`ecgtwin cohort verify` says what is wrong"
        )
    runs = _runs(url)
    failures: dict[int, str] = {}
    for run in runs:
        failures |= run.failures
    return CohortStatus(
        url=url,
        num_shards=len(shards),
        num_committed=len(committed),
        num_ecgs=layout.num_rows,
        num_ecgs_committed=sum(len(shard) for shard in shards if shard.index in committed),
        run=runs[-1] if runs else None,
        failures={index: why for index, why in failures.items() if index not in committed},
    )


def _runs(url: str) -> list[RunStatus]:
    """Return what the runs recorded, the newest last; records that do not parse are passed over."""
    root = join(url, "runs")
    try:
        names = [name for name, _ in list_tree(root) if name.endswith(".jsonl")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    records: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        run, _, rest = name.partition("/")
        if rest.startswith("shards-"):
            records.setdefault(run, []).extend(_lines_of(join(root, name)))
    found = [_run(name, lines) for name, lines in records.items() if lines]
    return sorted(found, key=lambda run: run.latest)


def _lines_of(name: str) -> list[dict[str, Any]]:
    try:
        found = [json.loads(line) for line in read_object(name).decode().splitlines()]
    except (ValueError, StoreError, FileNotFoundError):
        return []
    return [line for line in found if isinstance(line, dict) and _is_record(line)]


def _is_record(line: dict[str, Any]) -> bool:
    """Say whether a line is what a run records of a shard."""
    try:
        at, error = datetime.fromisoformat(line["at"]), line["error"]
        num_rows = 0 if line.get("result") is None else line["result"]["num_rows"]
    except (KeyError, TypeError, ValueError):
        return False
    return (
        at.tzinfo is not None
        and isinstance(line.get("shard"), int)
        and isinstance(num_rows, int)
        and (error is None or isinstance(error, str))
        and "worker" in line
    )


def _run(name: str, lines: list[dict[str, Any]]) -> RunStatus:
    times = [datetime.fromisoformat(line["at"]) for line in lines]
    made = [line for line in lines if line["error"] is None]
    failed = {line["shard"]: line["error"] for line in lines if line["error"] is not None}
    first = min(times)
    try:
        began = datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        began = first
    return RunStatus(
        name=name,
        began=min(began, first),
        latest=max(times),
        num_shards=len(made),
        num_ecgs=sum(line["result"]["num_rows"] for line in made if line.get("result")),
        of_workers=dict(Counter(str(line["worker"]) for line in made)),
        failures={shard: last_line(error) or "unknown" for shard, error in failed.items()},
    )


def _duration(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:,.1f} h"
