"""Tables that specifications are made from: of a corpus, and of PTB-XL itself."""

from pathlib import Path

import numpy as np
import pytest

from ecgtwin.errors import SourceError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.sources.case_tables import read_cases
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.simulated import SimulatedSource
from ecgtwin.spec.generate import class_counts
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.store.reader import Corpus

TABLE = "ptbxl_metadata/ptbxl_database_v101.csv.gz"


def test_the_table_of_ptbxl_is_read_without_its_signals(real_data: Path) -> None:
    table = read_cases(str(real_data / TABLE))
    assert len(table) == 21837  # Wagner et al. 2020
    assert np.isnan(table.heart_rate_bpm).all()
    assert 0 <= np.nanmin(table.age_years) <= np.nanmax(table.age_years) == 90  # over 89: one class
    counts = class_counts(table)
    # Table 12 there says 1,514 recordings with AFIB; reports of others say atrial fibrillation too.
    assert 1514 <= counts["atrial fibrillation"] < 1600
    assert set(table.sex) == {"female", "male"}


def test_the_table_may_lie_in_a_folder_by_its_published_name(
    real_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "ptbxl_database.csv.gz").write_bytes((real_data / TABLE).read_bytes())
    assert len(read_cases(str(tmp_path))) == 21837


def test_a_corpus_gives_what_its_columns_say(tmp_path: Path) -> None:
    source = SimulatedSource(3, num_persons=10, visits_per_person=2)
    url = str(tmp_path / "corpus")
    ingest(source, url, settings=IngestSpec(), executor=LocalExecutor())
    table, corpus = read_cases(url), Corpus(url)
    assert len(table) == len(corpus)
    assert [[code for code, _ in report] for report in table.reports] == [
        sorted(codes) for codes in corpus.column("statements")
    ]
    np.testing.assert_allclose(table.age_years, corpus.column("age_years"))
    np.testing.assert_allclose(table.heart_rate_bpm, corpus.column("heart_rate_bpm"))


@pytest.mark.parametrize("name", ["nothing", "empty", "empty/no.csv"])
def test_what_holds_no_table_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="give"):
        read_cases(str(tmp_path / name))
