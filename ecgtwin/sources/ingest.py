"""Ingest: a source becomes a corpus, shard by shard; a bad record keeps its row and its reason.

corpus.json              source, settings and their digest; written first, once
private/pseudonym.key    the key by which cohorts name persons; made once, never changed
signals.zarr, manifest/  as in any store; rejected rows are fill values with ``accepted`` false
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from ecgtwin.errors import CohortMismatchError, CommitConflictError, DamageError, StoreError
from ecgtwin.executors.protocol import Executor, Outcome
from ecgtwin.sources.corpus_rows import corpus_row
from ecgtwin.sources.ingest_summary import IngestSummary, summarise
from ecgtwin.sources.source import Source
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.shard import Shard
from ecgtwin.store.commit import put_new
from ecgtwin.store.layout import FORMAT_VERSION, SignalLayout
from ecgtwin.store.manifest import resumable_shards
from ecgtwin.store.objects import join, object_exists, read_object
from ecgtwin.store.writer import create_signals, write_shard

DESCRIPTION_NAME = "corpus.json"
KEY_NAME = "private/pseudonym.key"
KEY_BYTES = 32

_ROWS_VERSION = 1  # goes up when the same source and settings make other rows


@dataclass(frozen=True, slots=True)
class IngestShard:
    """Work: one shard of a source, read, prepared, checked, measured and committed."""

    source: Source
    url: str
    settings: IngestSpec
    layout: SignalLayout
    digest: str  # of the corpus

    def __call__(self, shard: Shard) -> int:
        """Commit the shard; return how many of its rows are accepted."""
        rows = [
            corpus_row(item, source=self.source.name, settings=self.settings)
            for item in self.source.read(shard.start, shard.stop)
        ]
        columns = {name: [row.columns[name] for row in rows] for name in rows[0].columns}
        samples_mv = np.stack([row.samples_mv for row in rows])
        write_shard(
            self.url,
            self.layout,
            shard,
            samples_mv,
            columns,
            schema="corpus",
            plan_digest=self.digest,
        )
        return sum(columns["accepted"])


def ingest(
    source: Source,
    url: str,
    *,
    settings: IngestSpec,
    executor: Executor,
    on_shard: Callable[[Outcome], None] | None = None,
) -> IngestSummary:
    """Make, or finish, the corpus of ``source`` at ``url``; a finished one is left as it is.

    CohortMismatchError when another source or other settings stand there already; nothing is
    changed then. Shards that failed in all their tries are in the summary; the rest is done.
    """
    layout = _layout(source, settings)
    digest = _claim(url, source, settings)
    _ensure_key(url)
    create_signals(url, layout)

    done = resumable_shards(url, layout, plan_digest=digest)
    left = [shard for shard in layout.shards() if shard.index not in done]
    failures = []
    for outcome in executor.run(IngestShard(source, url, settings, layout, digest), left):
        if outcome.error is not None:
            failures.append(outcome)
        if on_shard is not None:
            on_shard(outcome)
    return summarise(
        url, digest=digest, num_written=len(left) - len(failures), failures=tuple(failures)
    )


def count_shards(source: Source, settings: IngestSpec) -> int:
    """Return how many shards the corpus of ``source`` has."""
    return len(_layout(source, settings).shards())


def _layout(source: Source, settings: IngestSpec) -> SignalLayout:
    return SignalLayout(
        num_rows=len(source),
        num_samples=settings.num_samples,
        sampling_rate_hz=settings.sampling_rate_hz,
        rows_per_shard=settings.rows_per_shard,
        rows_per_chunk=settings.rows_per_chunk,
    )


def _claim(url: str, source: Source, settings: IngestSpec) -> str:
    """Write ``corpus.json``, or check that the one there is of this source; return the digest."""
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "rows_version": _ROWS_VERSION,
        "num_rows": len(source),
        "settings": settings.model_dump(mode="json"),
        "source": source.describe(),
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
