"""Ingest: a source becomes a corpus, shard by shard; a bad record keeps its row and its reason.

corpus.json              settings, source and its digests, digests of the plan; written first, once
plan/records-*.parquet   every row before its signal is read; workers read these, never the archive
private/pseudonym.key    the key by which cohorts and packs name persons; made once
signals.zarr, manifest/  as in any store; rejected rows are fill values with ``accepted`` false
ledger/                  what a simulator knows of its samples, a line per row
tables/                  written last: see store.corpus_tables
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from ecgtwin.errors import (
    CohortMismatchError,
    CommitConflictError,
    DamageError,
    SpecificationError,
    StoreError,
)
from ecgtwin.executors.protocol import Executor, Outcome
from ecgtwin.signals.fingerprint import SPAN_S
from ecgtwin.sources.corpus_rows import CorpusRow, corpus_rows
from ecgtwin.sources.finish import tally
from ecgtwin.sources.ingest_summary import IngestSummary
from ecgtwin.sources.plan_table import EncodedPlan, encode_plan, put_plan, read_planned
from ecgtwin.sources.source import PlannedRow, Reader, Source
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.shard import Shard
from ecgtwin.store.commit import put_new
from ecgtwin.store.corpus_tables import read_complete
from ecgtwin.store.layout import FORMAT_VERSION, SignalLayout
from ecgtwin.store.manifest import read_manifests, resumable_shards
from ecgtwin.store.objects import join, object_exists, read_object
from ecgtwin.store.reader import Corpus, check_archives_differ
from ecgtwin.store.writer import create_signals, write_shard
from ecgtwin.store.zarr_shards import read_layout

DESCRIPTION_NAME = "corpus.json"
KEY_NAME = "private/pseudonym.key"
KEY_BYTES = 32

_ROWS_VERSION = 3  # goes up when the same source and settings make other rows
_ENOUGH_ROWS = 2000  # after which the share of rejects says something of the rest


@dataclass(frozen=True, slots=True)
class IngestShard:
    """Work: one shard of a plan, read, prepared, checked, measured and committed."""

    reader: Reader
    source: str  # its name
    archive: str  # whose patient numbers it has
    url: str
    settings: IngestSpec
    layout: SignalLayout
    digest: str  # of the corpus

    def __call__(self, shard: Shard) -> tuple[int, int]:
        """Commit the shard; return how many of its rows are kept and how many rejected."""
        planned = read_planned(self.url, shard, self.settings, digest=self.digest)
        rows = corpus_rows(
            planned,
            self.reader.read(planned),
            source=self.source,
            archive=self.archive,
            settings=self.settings,
        )
        columns = {name: [row.columns[name] for row in rows] for name in rows[0].columns}
        write_shard(
            self.url,
            self.layout,
            shard,
            np.stack([row.samples_mv for row in rows]),
            columns,
            schema="corpus",
            plan_digest=self.digest,
            ledger=_ledger(planned, rows),
        )
        kept = sum(columns["accepted"])
        return kept, len(rows) - kept


def _ledger(planned: list[PlannedRow], rows: list[CorpusRow]) -> list[dict[str, Any]] | None:
    lines = [
        {"row": plan.row, **row.truth}
        for plan, row in zip(planned, rows, strict=True)
        if row.truth is not None
    ]
    return lines or None


def ingest(
    source: Source,
    url: str,
    *,
    settings: IngestSpec,
    executor: Executor,
    on_shard: Callable[[int], None] = lambda num_rows: None,
) -> IngestSummary:
    """Make, or finish, the corpus of ``source`` at ``url``; a finished one is left as it is.

    ``on_shard`` is told of the rows that are done, those of earlier runs first. Too many rejects
    end the ingest (``settings.max_reject_share``); the same call with a larger share goes on.
    CohortMismatchError when another source or other settings stand there already; nothing is
    changed then. Shards that failed in all their tries are in the summary; the rest is done.
    """
    layout = _layout(source, settings)
    plan = encode_plan(source, settings)
    digest = _claim(url, source, settings, plan)
    complete = read_complete(url)
    if complete is not None:
        on_shard(layout.num_rows)
        return IngestSummary.of(digest, complete["counts"], settings)
    put_plan(url, plan)
    del plan
    _ensure_key(url)
    create_signals(url, layout)

    done = resumable_shards(url, layout, plan_digest=digest)
    watch = _Watch(layout.num_rows, settings.max_reject_share)
    for manifest in read_manifests(url, sorted(done)):
        kept = sum(manifest.columns["accepted"])
        watch.add(kept, len(manifest.shard) - kept)
    on_shard(watch.num_done)
    archive = archive_of(source, settings)
    work = IngestShard(source.reader(), source.name, archive, url, settings, layout, digest)
    left = [shard for shard in layout.shards() if shard.index not in done]
    failures, num_written = _run(executor, work, left, watch, on_shard)
    is_whole = not failures and not watch.is_too_much
    counts = tally(url, layout, digest=digest, settings=settings, write=is_whole)
    return IngestSummary.of(
        digest,
        counts,
        settings,
        num_written=num_written,
        failures=failures,
        was_stopped=watch.is_too_much,
    )


def _run(
    executor: Executor,
    work: IngestShard,
    left: list[Shard],
    watch: "_Watch",
    on_shard: Callable[[int], None],
) -> tuple[tuple[Outcome, ...], int]:
    """Do the shards that are left until they are done, or too many rows were rejected."""
    failures = []
    num_written = 0
    if watch.is_too_much or not left:
        return (), 0
    outcomes = executor.run(work, left)
    try:
        for outcome in outcomes:
            if outcome.error is not None:
                failures.append(outcome)
                continue
            num_written += 1
            assert isinstance(outcome.result, tuple)
            watch.add(*outcome.result)
            on_shard(len(outcome.shard))
            if watch.is_too_much:
                break
    finally:
        outcomes.close()
    return tuple(failures), num_written


@dataclass(slots=True)
class _Watch:
    """Counts rows and says when more are rejected than may be."""

    num_rows: int
    max_share: float
    num_done: int = 0
    num_rejected: int = 0

    def add(self, kept: int, rejected: int) -> None:
        self.num_done += kept + rejected
        self.num_rejected += rejected

    @property
    def is_too_much(self) -> bool:
        """Whether the share cannot be met any more, or is far off after enough rows."""
        if self.num_rejected > self.max_share * self.num_rows:
            return True
        return (
            self.num_done >= _ENOUGH_ROWS
            and self.num_rejected > (0.5 + 0.5 * self.max_share) * self.num_done
        )


def archive_of(source: Source, settings: IngestSpec) -> str:
    """Return whose patient numbers the source has."""
    return settings.archive or source.archive


def _layout(source: Source, settings: IngestSpec) -> SignalLayout:
    return SignalLayout(
        num_rows=len(source),
        num_samples=settings.num_samples,
        sampling_rate_hz=settings.sampling_rate_hz,
        rows_per_shard=settings.rows_per_shard,
        rows_per_chunk=settings.rows_per_chunk,
    )


def _claim(url: str, source: Source, settings: IngestSpec, plan: EncodedPlan) -> str:
    """Write ``corpus.json``, or check that the one there is of this source; return the digest."""
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "rows_version": _ROWS_VERSION,
        "num_rows": len(source),
        "settings": settings.row_settings(),
        "source": source.describe(),
        "archive": archive_of(source, settings),
        "plan_blocks": plan.digests,
        "known": [_digest_of_known(known, source, settings) for known in settings.known],
    }
    digest = digest_of(content)
    description = {"digest": digest, **content, "ecgtwin_version": version("ecgtwin")}
    data = json.dumps(description, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    if object_exists(join(url, "cohort.json")):
        raise CohortMismatchError(f"{url} holds a cohort; choose another URL for the corpus")
    if not _is_claimed(url, content, digest):
        try:
            put_new(join(url, DESCRIPTION_NAME), data)
        except CommitConflictError:  # another ingest was quicker: the same one, or not
            _is_claimed(url, content, digest)
    return digest


def _named(source: Source, settings: IngestSpec) -> dict[str, Any]:
    return {"source": source.describe(), "settings": {"archive": settings.archive}}


def _digest_of_known(url: str, source: Source, settings: IngestSpec) -> str:
    """Return the digest of a finished corpus whose persons keep their ids and splits."""
    complete = read_complete(url)
    if complete is None:
        Corpus(url)  # says so where nothing is there
        raise StoreError(f"{url} is not finished, so its persons are not settled; ingest it first")
    check_archives_differ(
        [(url, Corpus(url).description), ("this source", _named(source, settings))]
    )
    layout = read_layout(url)
    window_s = layout.num_samples / layout.sampling_rate_hz
    if abs(min(window_s, SPAN_S) - min(settings.window_s, SPAN_S)) > 0.1:
        raise SpecificationError(
            f"{url} has rows of {window_s:g} s, and rows of {settings.window_s:g} s were asked "
            f"for: copies are found among rows of one length, or of {SPAN_S:g} s and more"
        )
    return str(complete["digest"])


def _is_claimed(url: str, content: dict[str, Any], digest: str) -> bool:
    """Say whether ``corpus.json`` is there; raise CohortMismatchError when it is of another."""
    name = join(url, DESCRIPTION_NAME)
    try:
        found = json.loads(read_object(name))
        found_digest = found["digest"]
    except FileNotFoundError:
        return False
    except StoreError:
        raise
    except (ValueError, KeyError, TypeError):
        raise DamageError(
            f"{name} is damaged: not the description of a corpus; restore it from a copy, "
            "or ingest to another URL"
        ) from None
    version_there = found.get("rows_version")
    if version_there != _ROWS_VERSION:
        raise CohortMismatchError(
            f"{url} holds another corpus, of version {version_there}; this ecgtwin makes version "
            f"{_ROWS_VERSION}; nothing was changed: ingest to another URL"
        )
    if found_digest != digest:
        wanted = json.loads(json.dumps(content))
        raise CohortMismatchError(
            f"{url} holds another corpus ({'; '.join(_differences(found, wanted))}); nothing was "
            "changed: choose another URL, or delete the corpus to start again"
        )
    return True


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return a line for each value of ``wanted`` that ``found`` has otherwise."""
    lines = []
    for key, value in wanted.items():
        there = found.get(key)
        if isinstance(there, dict) and isinstance(value, dict):
            lines += _differences(there, value)
        elif key == "plan_blocks" and there != value:
            lines.append("the rows of the source are others")
        elif there != value:
            lines.append(f"{key} is {there!r} there, {value!r} was asked for")
    return lines


def _ensure_key(url: str) -> None:
    name = join(url, KEY_NAME)
    if object_exists(name):
        return
    try:
        put_new(name, secrets.token_hex(KEY_BYTES).encode())
    except CommitConflictError:
        return  # another ingest of this corpus made the key first
