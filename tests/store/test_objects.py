"""URLs, and what a folder that refuses says."""

import errno
import os

import pytest

from ecgtwin.errors import DamageError, StoreError
from ecgtwin.store.commit import put_new
from ecgtwin.store.objects import join, list_names, read_object, replace_object
from ecgtwin.store.tables import put_table, read_table


def test_join_puts_one_slash_between():
    assert join("s3://b/c/", "/d/", "e.json") == "s3://b/c/d/e.json"
    assert join("folder", "a") == "folder/a"


@pytest.mark.parametrize("url", ["gs://b/a", "https://host/a", "S3://b/a"])
def test_other_schemes_are_refused(url):
    with pytest.raises(StoreError, match="use a path, file:///folder or s3://bucket/folder"):
        put_new(url, b"")
    with pytest.raises(StoreError):
        read_object(url)


def test_a_bucket_must_be_named():
    with pytest.raises(StoreError, match="names no bucket"):
        list_names("s3:///folder")


def test_an_empty_url_is_no_place():
    """It would be the root of the disk."""
    with pytest.raises(StoreError, match="empty URL"):
        join("", "twin.json")


def test_a_file_in_the_way_is_said_in_one_line(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    for request in (put_new, replace_object):
        with pytest.raises(StoreError, match="check the path") as error:
            request(str(tmp_path / "a" / "b"), b"x")
        assert "\n" not in str(error.value)


def test_temporary_files_are_not_listed_and_are_swept(tmp_path):
    (tmp_path / ".a.123-abcd").write_bytes(b"half")
    (tmp_path / ".b.123-abcd").write_bytes(b"half")
    assert list_names(str(tmp_path)) == []
    put_new(str(tmp_path / "a"), b"whole")
    assert list_names(str(tmp_path)) == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.123-abcd", "a"]


def test_sweeping_leaves_the_temporary_files_of_others(tmp_path):
    """Those of ``a.json`` when ``a`` is put, and those of a replacement that is under way."""
    others = [".a.json.123-abcd", ".a~123-abcd"]
    for name in others:
        (tmp_path / name).write_bytes(b"half")
    put_new(str(tmp_path / "a"), b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "a"])


def test_a_replacement_outlives_a_put_of_the_bytes_before_it(tmp_path, monkeypatch):
    target = str(tmp_path / "a")
    put_new(target, b"before")
    replace = os.replace

    def put_first(*paths):
        put_new(target, b"before")
        replace(*paths)

    monkeypatch.setattr(os, "replace", put_first)
    replace_object(target, b"after")
    assert read_object(target) == b"after"


@pytest.mark.parametrize("url", ["s3://a bucket/a", "s3://bucket!/a", "s3://bücket/a"])
def test_a_bucket_has_a_possible_name(url):
    with pytest.raises(StoreError, match="cannot be a bucket's name") as error:
        read_object(url)
    assert len(str(error.value)) < 200


def test_a_table_that_is_none_is_damage(tmp_path):
    put_new(str(tmp_path / "t.parquet"), b"PAR1")
    with pytest.raises(DamageError, match=r"t\.parquet is damaged"):
        read_table(str(tmp_path / "t.parquet"))


def test_equal_tables_have_equal_bytes(tmp_path):
    for name in ("a", "b"):
        put_table(str(tmp_path / name), {"x": [1, 2], "y": ["p", None]}, {"k": "v", "j": "w"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_disk_that_refuses_the_bytes_keeps_no_part_of_them(tmp_path, monkeypatch):
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        for request in (put_new, replace_object):
            with pytest.raises(StoreError, match="No space left on device; check the path"):
                request(str(tmp_path / "a"), b"some")
    assert list(tmp_path.iterdir()) == []
