"""SourceFolder: what lies in a folder or a bucket, whatever holds it."""

import os
from pathlib import Path

import pytest

from ecgtwin.errors import SourceError, StoreError
from ecgtwin.sources.files import SourceFolder
from ecgtwin.store.objects import replace_object


def fill(url: str) -> SourceFolder:
    for name in ("b.hea", "a/deep/c.hea", "a/b.dat", ".hidden/d.hea", "a/.e.hea", "table.csv"):
        replace_object(f"{url}/{name}", b"\xef\xbb\xbfid\n" + name.encode())
    return SourceFolder(url)


def check(folder: SourceFolder) -> None:
    assert folder.tree() == [
        ("a/b.dat", 13),
        ("a/deep/c.hea", 18),
        ("b.hea", 11),
        ("table.csv", 15),
    ]
    assert folder.tree(".hea") == [("a/deep/c.hea", 18), ("b.hea", 11)]
    assert folder.names() == ["b.hea", "table.csv"]
    assert folder.read("a/b.dat").endswith(b"a/b.dat")
    assert folder.exists("a/b.dat")
    assert not folder.exists("a/z.dat")
    with pytest.raises(FileNotFoundError):
        folder.read("a/z.dat")
    found = list(folder.read_all(["b.hea", "z.hea", *["a/b.dat"] * 300]))
    assert found[1] is None
    assert [len(data or b"") for data in found] == [11, 0, *[13] * 300]
    assert folder.open_table("table.csv").read() == "id\ntable.csv"
    with pytest.raises(SourceError, match=r"nowhere.*does not exist"):
        SourceFolder(f"{folder.url}/nowhere").tree()


def test_a_local_folder(tmp_path: Path) -> None:
    check(fill(str(tmp_path)))
    check(SourceFolder(f"file://{tmp_path}/"))


@pytest.mark.s3
def test_a_folder_of_a_bucket(s3_url: str) -> None:
    check(fill(f"{s3_url}/files"))


@pytest.mark.s3
def test_a_bucket_out_of_reach_is_no_missing_folder(s3_url: str) -> None:
    with pytest.raises(StoreError, match="does not exist at"):
        SourceFolder("s3://ecgtwin-no-such-bucket/a").tree()


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.hea").write_bytes(b"x")
    os.symlink(tmp_path, tmp_path / "a" / "up")
    assert SourceFolder(str(tmp_path)).tree() == [("a/x.hea", 1)]


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere", "does not exist"), ("x.csv", "is a file")]
)
def test_what_is_no_folder_is_refused_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\n")
    with pytest.raises(SourceError, match=message) as caught:
        SourceFolder(str(tmp_path / name)).tree()
    assert "\n" not in str(caught.value)


def test_a_table_must_be_there_and_be_text(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(SourceError, match=r"not a UTF-8 table \(byte 2\)"):
        SourceFolder(str(tmp_path)).open_table("x.csv")
    with pytest.raises(SourceError, match=r"y\.csv does not exist"):
        SourceFolder(str(tmp_path)).open_table("y.csv")
