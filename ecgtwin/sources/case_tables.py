"""What is said of many recordings, as a table that specifications are made from.

Of a corpus, or of the table that PTB-XL publishes, of which no signal is needed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecgtwin.errors import SourceError
from ecgtwin.sources.archives.ptbxl import TABLE, PtbXlSource
from ecgtwin.spec.condition import OVER_89_YEARS
from ecgtwin.spec.generate import CaseTable, Report
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.objects import join, object_exists
from ecgtwin.store.reader import Corpus

_BLOCK_ROWS = 4096


def is_corpus(url: str) -> bool:
    """Say whether a corpus is at ``url``, finished or not."""
    return object_exists(join(url, "corpus.json"))


def check_table(url: str) -> None:
    """Raise SourceError where neither a corpus nor a table of PTB-XL can be at ``url``."""
    if not is_corpus(url):
        _place(url)


def read_cases(url: str) -> CaseTable:
    """Return the table of a corpus, or of PTB-XL's ``ptbxl_database.csv`` (plain or gzipped).

    ``url`` is the corpus, the table itself, or the folder that holds it. Raises SourceError where
    neither is there.
    """
    return cases_of_corpus(Corpus(url)) if is_corpus(url) else cases_of_ptbxl(url)


def cases_of_corpus(corpus: Corpus) -> CaseTable:
    """Return the usable recordings of a corpus, of long ones the first window."""
    is_first = np.asarray(corpus.column("window")) == 0
    measured = np.asarray(corpus.column("measured_heart_rate_bpm"), float)
    labelled = np.asarray(corpus.column("heart_rate_bpm"), float)
    return _table(
        list(zip(corpus.column("statements"), corpus.column("certainties"), strict=True)),
        np.where(labelled > 0, labelled, measured),
        np.asarray(corpus.column("age_years"), float),
        corpus.column("sex"),
        is_first,
    )


def cases_of_ptbxl(url: str) -> CaseTable:
    """Return the rows of PTB-XL's table that are recordings. It has no heart rates."""
    folder, name = _place(url)
    source = PtbXlSource.open(folder, settings=IngestSpec(), table=name)
    columns: dict[str, list[Any]] = {}
    for block in source.plan(_BLOCK_ROWS):
        for column, values in block.items():
            columns.setdefault(column, []).extend(values)
    ages = np.array([np.nan if age is None else age for age in columns["age_years"]], float)
    return _table(
        list(zip(columns["statements"], columns["certainties"], strict=True)),
        np.full(len(ages), np.nan),
        ages,
        columns["sex"],
        np.array([reason is None for reason in columns["reason_kind"]], bool),
    )


def _place(url: str) -> tuple[str, str]:
    """Return the folder, and the name of the table in it."""
    if url.endswith((".csv", ".csv.gz")):
        folder, _, name = url.rpartition("/")
        return folder or ".", name.removesuffix(".gz")
    if not _may_hold_files(url):
        raise SourceError(
            f"{url} is neither a corpus nor a folder with {TABLE}; give one of them, or that table"
        )
    return url, TABLE


def _may_hold_files(url: str) -> bool:
    """Say whether files may lie at ``url``."""
    return "://" in url or Path(url).is_dir()


def _table(
    reports: Sequence[tuple[Sequence[str], Sequence[str]]],
    rates_bpm: NDArray[np.float64],
    ages: NDArray[np.float64],
    sexes: ArrayLike,
    is_kept: NDArray[np.bool_],
) -> CaseTable:
    places, sexes_N = np.flatnonzero(is_kept).tolist(), np.asarray(sexes, dtype=object)
    with np.errstate(invalid="ignore"):
        ages = np.where(ages > 89, OVER_89_YEARS, ages)
    return CaseTable(
        list(_reports(reports[place] for place in places)),
        rates_bpm[places],
        ages[places],
        [None if sexes_N[place] == "unknown" else str(sexes_N[place]) for place in places],
    )


def _reports(found: Iterator[tuple[Sequence[str], Sequence[str]]]) -> Iterator[Report]:
    for codes, certainties in found:
        yield tuple(sorted(zip(codes, certainties, strict=True)))
