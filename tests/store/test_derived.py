"""Values kept beside a corpus: whole shards, never changed, known by what made them."""

import numpy as np
import pytest

from ecgtwin.errors import CommitConflictError, DamageError, StoreError
from ecgtwin.store.arrays import decode_arrays, encode_arrays
from ecgtwin.store.derived import DerivedKey, derived_shards, put_derived, read_derived

KEY = DerivedKey("latents", "a1b2", "c0ffee")


def values_of(rows):
    return np.asarray(rows, np.float32)[:, None, None] + np.arange(6, dtype=np.float32).reshape(
        2, 3
    )


def put(url, index, rows, **changes):
    stored = np.asarray(rows, np.int64)
    return put_derived(url, changes.get("key", KEY), index, stored, values_of(rows))


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def url(request, tmp_path):
    if request.param == "local":
        return str(tmp_path / "corpus")
    return f"{request.getfixturevalue('s3_url')}/{tmp_path.name}"


def test_values_are_found_by_row_in_any_order(url):
    assert derived_shards(url, KEY) == set()
    assert put(url, 0, [0, 2, 3])
    assert put(url, 2, [8, 11])
    assert derived_shards(url, KEY) == {0, 2}
    rows = np.array([11, 3, 1, 5, 0])
    has_value, values = read_derived(url, KEY, rows, rows_per_shard=4)
    assert has_value.tolist() == [True, True, False, False, True]
    np.testing.assert_array_equal(values[has_value], values_of(rows[has_value]))


def test_nothing_stored_is_no_array(url):
    has_value, values = read_derived(url, KEY, np.arange(3), rows_per_shard=4)
    assert (has_value.tolist(), values) == ([False] * 3, None)
    put(url, 0, [0])
    other = DerivedKey("latents", "other weights", "c0ffee")
    assert read_derived(url, other, np.arange(3), rows_per_shard=4)[1] is None


def test_the_first_values_stay(url):
    assert put(url, 0, [0, 1])
    assert not put(url, 0, [0, 1])
    nearly = values_of([0, 1]) + np.float32(1e-6)
    assert not put_derived(url, KEY, 0, np.arange(2), nearly)
    np.testing.assert_array_equal(
        read_derived(url, KEY, np.arange(2), rows_per_shard=4)[1], values_of([0, 1])
    )
    with pytest.raises(CommitConflictError):
        put(url, 0, [0, 1, 2])


def test_what_is_no_value_is_not_stored(tmp_path):
    url = str(tmp_path)
    with pytest.raises(StoreError, match="not finite"):
        put_derived(url, KEY, 0, np.arange(1), np.full((1, 2), np.nan, np.float32))
    with pytest.raises(StoreError, match="ascending"):
        put(url, 0, [1, 0])
    assert derived_shards(url, KEY) == set()


def test_any_changed_byte_is_noticed_or_changes_nothing(tmp_path):
    url = str(tmp_path)
    put(url, 0, [0, 1])
    (file,) = tmp_path.glob("derived/*/*.npz")
    data = bytearray(file.read_bytes())
    noticed = 0
    for place in range(0, len(data), 3):
        changed = bytes(data[:place]) + bytes([data[place] ^ 0x55]) + bytes(data[place + 1 :])
        file.write_bytes(changed)
        try:
            _, values = read_derived(url, KEY, np.arange(2), rows_per_shard=4)
        except DamageError:
            noticed += 1
        else:
            np.testing.assert_array_equal(values, values_of([0, 1]))
    assert noticed > 0.5 * len(data) / 3
    file.write_bytes(bytes(data[: len(data) // 2]))
    with pytest.raises(
        DamageError, match=r"shard-000000000\.npz is damaged.*delete it and encode the corpus again"
    ):
        read_derived(url, KEY, np.arange(2), rows_per_shard=4)


def test_values_of_another_corpus_are_refused(tmp_path):
    put(str(tmp_path), 0, [0, 1])
    other = DerivedKey(KEY.kind, KEY.digest, "another corpus")
    with pytest.raises(DamageError, match=r"other values \(corpus\)"):
        read_derived(str(tmp_path), other, np.arange(2), rows_per_shard=4)


def test_arrays_have_the_same_bytes_each_time_and_numpy_reads_them(tmp_path):
    arrays = {"b": np.arange(5, dtype=np.int16), "a": np.eye(3, dtype=np.float32)}
    data = encode_arrays(arrays, {"said": "ü"})
    assert data == encode_arrays(dict(arrays), {"said": "ü"})
    (tmp_path / "it.npz").write_bytes(data)
    with np.load(tmp_path / "it.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["b"], arrays["b"])
    found, about = decode_arrays(data, "it")
    assert about["said"] == "ü"
    assert set(found) == {"a", "b"}


def test_an_array_that_was_exchanged_is_noticed(tmp_path):
    """Even where the file itself is sound."""
    data = encode_arrays({"values": np.arange(4)}, {})
    (tmp_path / "it.npz").write_bytes(data)
    with np.load(tmp_path / "it.npz", allow_pickle=False) as file:
        members = dict(file)
    np.savez(tmp_path / "it.npz", **members)
    decode_arrays((tmp_path / "it.npz").read_bytes(), "it")
    np.savez(tmp_path / "it.npz", **members | {"values": np.arange(4)[::-1]})
    with pytest.raises(DamageError, match="not those that were written"):
        decode_arrays((tmp_path / "it.npz").read_bytes(), "it")
