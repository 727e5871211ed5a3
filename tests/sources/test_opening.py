"""What a user writes is opened as what it is, or refused with what was found."""

from pathlib import Path

import pytest

from ecgtwin.errors import SourceError, StoreError
from ecgtwin.sources.opening import KINDS, detect_kind, open_archive, open_source
from ecgtwin.spec.ingest import IngestSpec
from tests.sources.records import write_tree


def test_each_kind_is_recognised(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", 3)
    sources = [
        open_source("simulated", num_persons=4, visits_per_person=2),
        open_source(str(tmp_path / "tree")),
        open_source(tmp_path / "tree", settings=IngestSpec(limit=2)),
        open_source(f"file://{tmp_path}/tree"),
    ]
    found = [(source.name, len(source)) for source in sources]
    assert found == [("simulated", 8), ("wfdb", 3), ("wfdb", 2), ("wfdb", 3)]


def test_real_folders_are_recognised(real_data: Path) -> None:
    kinds = {
        "ptbxl": "ptbxl",
        "mimic_iv_ecg_format": "mimic-iv-ecg",
        "challenge2020": "challenge",
        "challenge2020/cpsc2018_native_mat": "challenge",
        "ptb_diagnostic": "ptb",
        "ludb": "wfdb",
    }
    for folder, kind in kinds.items():
        assert detect_kind(str(real_data / folder)) == kind
        source = open_archive(kind, str(real_data / folder), IngestSpec(limit=3))
        assert source.name == kind
        assert len(source) >= 1
    assert set(kinds.values()) == set(KINDS)


@pytest.mark.s3
def test_what_lies_in_a_bucket_is_recognised(tmp_path: Path, s3_url: str) -> None:
    from ecgtwin.store.objects import replace_object

    write_tree(tmp_path, 1)
    for path in tmp_path.iterdir():
        replace_object(f"{s3_url}/opening/{path.name}", path.read_bytes())
    assert detect_kind(f"{s3_url}/opening") == "wfdb"
    with pytest.raises(SourceError, match="does not exist"):
        detect_kind(f"{s3_url}/nothing")


def test_what_is_no_source_is_refused_with_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    faults = {
        tmp_path / "nowhere": "does not exist",
        f"file://{tmp_path}/nowhere": "does not exist",
        tmp_path / "notes.txt": "is a file",
        tmp_path: r"holds notes\.txt",
    }
    for where, message in faults.items():
        with pytest.raises(SourceError, match=message) as caught:
            open_source(where)
        assert "\n" not in str(caught.value)
    with pytest.raises(SourceError, match=r"looked for ptbxl_database\.csv \(PTB-XL\)"):
        open_source(tmp_path)
    with pytest.raises(SourceError, match="allowed: 'simulated'"):
        open_source(tmp_path / "nowhere")


def test_another_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(SourceError, match="'edf' is no kind of archive; allowed: ptbxl, mimic-iv"):
        open_archive("edf", "x", IngestSpec())


def test_other_schemes_are_refused() -> None:
    with pytest.raises(StoreError, match="scheme 'gs'"):
        open_source("gs://bucket/folder")


def test_a_population_needs_somebody() -> None:
    with pytest.raises(SourceError, match="at least 1 person"):
        open_source("simulated", num_persons=0)
