"""The store's laws on files."""

from pathlib import Path

import pytest

from tests.store.contract import StoreContract


class TestLocalStore(StoreContract):
    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        return str(tmp_path)


def test_a_file_url_is_a_path(tmp_path: Path):
    from ecgtwin.store.commit import put_new
    from ecgtwin.store.objects import list_names

    put_new(f"file://{tmp_path}/folder/a", b"x")
    assert (tmp_path / "folder" / "a").read_bytes() == b"x"
    assert list_names(f"file://{tmp_path}/folder") == ["a"]
