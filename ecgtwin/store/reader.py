"""Read a corpus or a cohort: committed rows only, in row order."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtwin.errors import DamageError, SpecificationError, StoreError
from ecgtwin.signals.leads import LEADS
from ecgtwin.store.corpus_tables import read_complete, read_corpus_table
from ecgtwin.store.layout import COLUMNS, FILL, Schema, SignalLayout, object_name
from ecgtwin.store.manifest import committed_shards, read_manifests
from ecgtwin.store.objects import join, read_object, store_errors
from ecgtwin.store.zarr_shards import open_samples, read_layout

CHUNKS_PER_READ = 32


class StoredSteps:
    """The stored samples at a URL by row number, whatever is known of the rows."""

    def __init__(self, url: str) -> None:
        """Read the layout; StoreError when nothing is at ``url``."""
        self.url = url
        self.layout: SignalLayout = read_layout(url)
        self._array: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}

    def read_steps(
        self, rows: NDArray[np.int64], *, are_accepted: bool = True
    ) -> NDArray[np.int16]:
        """Return stored steps (n, 12, time) of ``rows``, each chunk read once.

        DamageError where some of accepted ones are fill; rows that are not may have such.
        """
        steps = np.empty((len(rows), len(LEADS), self.layout.num_samples), dtype=np.int16)
        order = np.argsort(rows, kind="stable")
        chunks = rows[order] // self.layout.rows_per_chunk
        chunks_per_shard = self.layout.rows_per_shard // self.layout.rows_per_chunk
        for first, last in _runs(chunks, chunks_per_shard):
            mine = order[np.searchsorted(chunks, first) : np.searchsorted(chunks, last + 1)]
            start = first * self.layout.rows_per_chunk
            stop = min((last + 1) * self.layout.rows_per_chunk, self.layout.num_rows)
            steps[mine] = self._read_span(int(start), int(stop))[rows[mine] - start]
        holed = (steps == FILL).any(axis=(1, 2))
        if are_accepted and holed.any():
            self._raise_damaged(int(rows[np.flatnonzero(holed)[0]]), "it is missing or incomplete")
        return steps

    def _read_span(self, start: int, stop: int) -> NDArray[np.int16]:
        with store_errors(self.url):
            if self._array is None or self._array[0] != os.getpid():
                self._array = (os.getpid(), open_samples(self.url))
            try:
                found: NDArray[np.int16] = self._array[1][start:stop]
            except (ValueError, RuntimeError) as error:  # a checksum, or Blosc, refuses the bytes
                self._raise_damaged(start, str(error))
        return found

    def _raise_damaged(self, row: int, why: str) -> NoReturn:
        name = join(self.url, object_name(row // self.layout.rows_per_shard))
        raise DamageError(
            f"{name} (row {row}) is damaged: {why}; "
            "`verify` lists everything that is wrong; restore it or make the shard again"
        )


class ShardedEcgs(StoredSteps):
    """The committed rows at a URL. Rows without a manifest do not exist.

    ``columns``: every committed row, in row order, rejected ones too. ``rows``: the row numbers
    that are committed *and* accepted; ``len()``, ``column`` and ``samples_mv`` follow these.
    The manifests are read once, when made: make another reader to see later commits.
    """

    _expected: Schema = "cohort"  # of a URL at which no shard is committed yet

    def __init__(self, url: str) -> None:
        """Read the manifests; StoreError when nothing is at ``url``, DamageError when damaged."""
        super().__init__(url)
        self.schema: Schema
        self.columns: Mapping[str, list[Any]]
        self.schema, self.columns = self._read_columns()
        accepted = np.asarray(self.columns["accepted"], dtype=bool)
        self._kept: NDArray[np.int64] = np.flatnonzero(accepted)
        self.rows: NDArray[np.int64] = np.asarray(self.columns["row"], dtype=np.int64)[self._kept]

    def _read_columns(self) -> tuple[Schema, Mapping[str, list[Any]]]:
        return _read_columns(self.url, self.layout, self._expected)

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> NDArray[Any] | list[Any]:
        """Return one column aligned with ``rows``: a number array (NaN for None) or a list."""
        if name not in self.columns:
            raise StoreError(f"{self.url} has no column {name!r}; it has {', '.join(self.columns)}")
        values = self.columns[name]
        picked = [values[position] for position in self._kept]
        kind = COLUMNS[self.schema][name].to_pandas_dtype()
        if kind is np.object_ or kind is np.str_:
            return picked
        if np.issubdtype(kind, np.floating):
            return np.array([np.nan if value is None else value for value in picked], dtype=kind)
        return np.array(picked, dtype=kind)

    def samples_mv(self, positions: ArrayLike) -> NDArray[np.float32]:
        """Return (n, 12, time) in mV; ``positions`` index ``rows``.

        DamageError when an object is missing or cannot be decoded.
        """
        steps = self.read_steps(self.rows[np.asarray(positions, dtype=np.int64)])
        return to_mv(steps, step_mv=self.layout.step_mv)

    @property
    def description(self) -> dict[str, Any]:
        """What ``cohort.json`` or ``corpus.json`` says: specification, digests, provenance."""
        name = join(self.url, f"{self.schema}.json")
        try:
            text = read_object(name)
        except FileNotFoundError:
            raise StoreError(f"{name} is not there; {self.url} was not finished") from None
        try:
            found = json.loads(text)
        except ValueError as error:
            raise DamageError(f"{name} is damaged: it is not JSON ({error})") from error
        if not isinstance(found, dict):
            raise DamageError(f"{name} is damaged: it is not a JSON object")
        return found


class Cohort(ShardedEcgs):
    """A generated cohort. Never opens ``private/``."""

    def __init__(self, url: str) -> None:
        """Open the cohort at ``url``; StoreError when a corpus is there."""
        super().__init__(url)
        _check_schema(self, "cohort")


class Corpus(ShardedEcgs):
    """Ingested or simulated ECGs.

    Of a finished corpus the tables are read: there, a person or a recording that came from two
    sources has the id and the split under which it came first. Of one that is not finished, what
    the manifests say.
    """

    _expected: Schema = "corpus"

    def __init__(self, url: str) -> None:
        """Open the corpus at ``url``; StoreError when a cohort is there."""
        super().__init__(url)
        _check_schema(self, "corpus")

    def _read_columns(self) -> tuple[Schema, Mapping[str, list[Any]]]:
        complete = read_complete(self.url)
        if complete is None:
            return super()._read_columns()
        return "corpus", _TableColumns(self.url, complete)

    @property
    def is_settled(self) -> bool:
        """Whether persons and splits are final: not while an ingest has tables to write."""
        return read_complete(self.url) is not None or "plan_blocks" not in self.description


class _TableColumns(Mapping[str, list[Any]]):
    """The columns of a finished corpus; each becomes Python values when it is first asked for."""

    def __init__(self, url: str, complete: Mapping[str, Any]) -> None:
        tables = [read_corpus_table(url, complete, name) for name in ("conditions", "records")]
        self._arrow = {name: table.column(name) for table in tables for name in table.column_names}
        self._values: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._values:
            self._values[name] = self._arrow[name].to_pylist()
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in COLUMNS["corpus"] if name in self._arrow)

    def __len__(self) -> int:
        return len(self._arrow)


def check_archives_differ(named: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Raise SpecificationError where two trees of records may number other people alike.

    ``named``: what each corpus is called, and its description. Published archives have one
    numbering wherever they lie; trees of nobody's have the one that ``archive`` says.
    """
    unnamed = {
        json.dumps(said["source"], sort_keys=True): name
        for name, said in named
        if said.get("source", {}).get("name") == "wfdb" and not said["settings"].get("archive")
    }
    if len(unnamed) > 1:
        raise SpecificationError(
            f"{' and '.join(unnamed.values())} are different trees of records, and nothing says "
            "whether patient 1 of one is patient 1 of the other; ingest each with a name for its "
            "numbering, --set archive=NAME (the same name where they are the same people)"
        )


def to_mv(steps: NDArray[np.int16], *, step_mv: float) -> NDArray[np.float32]:
    """Return stored steps in mV; ``step_mv`` is of the layout that they were stored in."""
    samples_mv = steps.astype(np.float32)
    samples_mv *= np.float32(step_mv)
    return samples_mv


def _check_schema(ecgs: ShardedEcgs, wanted: Schema) -> None:
    if len(ecgs.columns["row"]) and ecgs.schema != wanted:
        raise StoreError(f"{ecgs.url} holds a {ecgs.schema}, not a {wanted}; check the URL")


def _read_columns(
    url: str, layout: SignalLayout, schema: Schema
) -> tuple[Schema, dict[str, list[Any]]]:
    indices = committed_shards(url)
    shards = layout.shards()
    plan_digest = ""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS[schema]}
    for position, manifest in enumerate(read_manifests(url, indices)):
        index = manifest.shard.index
        if index >= len(shards) or manifest.shard != shards[index]:
            raise DamageError(f"{url}: the manifest of shard {index} does not fit the signals")
        if position == 0:
            schema, plan_digest = manifest.schema, manifest.plan_digest
            columns = {name: [] for name in COLUMNS[schema]}
        if manifest.schema != schema:
            raise DamageError(f"{url}: the manifest of shard {index} is of a {manifest.schema}")
        if manifest.plan_digest != plan_digest:
            raise DamageError(
                f"{url}: the manifest of shard {index} is of plan {manifest.plan_digest}, those "
                f"before it of {plan_digest}; `verify` lists which do not belong"
            )
        for name, values in columns.items():
            values.extend(manifest.columns[name])
    return schema, columns


def _runs(chunks: NDArray[np.int64], chunks_per_shard: int) -> Sequence[tuple[int, int]]:
    """Return (first, last) of runs of neighbouring chunks of a shard, at most CHUNKS_PER_READ."""
    runs: list[tuple[int, int]] = []
    for chunk in np.unique(chunks).tolist():
        joins = runs and runs[-1][1] + 1 == chunk and chunk % chunks_per_shard
        if joins and chunk - runs[-1][0] < CHUNKS_PER_READ:
            runs[-1] = (runs[-1][0], chunk)
        else:
            runs.append((chunk, chunk))
    return runs
