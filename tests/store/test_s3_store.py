"""The store's laws on an S3 server: moto, or Ceph RGW through scripts/rgw.sh."""

import multiprocessing
import os
import time
import uuid
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.utils.data import DataLoader

from ecgtwin.errors import DamageError, StoreError
from ecgtwin.store.commit import put_new
from ecgtwin.store.objects import list_names, object_exists, read_object, replace_object
from ecgtwin.store.reader import Corpus
from ecgtwin.store.torch_dataset import EcgDataset
from ecgtwin.store.verify import verify
from tests.store.contract import StoreContract
from tests.store.shards import write_corpus

pytestmark = pytest.mark.s3

REQUESTS = [
    list_names,
    read_object,
    object_exists,
    lambda url: put_new(url, b"x"),
    lambda url: replace_object(url, b"x"),
]


class TestS3Store(StoreContract):
    @pytest.fixture
    def root(self, s3_url: str) -> str:
        return s3_url


@pytest.mark.parametrize("request_to", REQUESTS)
def test_a_missing_bucket_is_named_and_not_created(s3_url, request_to):
    for _ in range(2):
        with pytest.raises(StoreError, match="bucket 'ecgtwin-no-such-bucket' does not exist") as e:
            request_to("s3://ecgtwin-no-such-bucket/folder/a")
        assert os.environ["AWS_ENDPOINT_URL"] in str(e.value)
        assert "\n" not in str(e.value)


@pytest.mark.rgw
@pytest.mark.parametrize("request_to", REQUESTS)
@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_refused_in_one_line(s3_url, request_to, variable, monkeypatch):
    monkeypatch.setenv(variable, "wrong")
    with pytest.raises(StoreError, match="refused the keys for bucket 'ecgtwin-") as error:
        request_to(f"{s3_url}/folder/a")
    assert "\n" not in str(error.value)
    assert "AWS_SECRET_ACCESS_KEY" in str(error.value)
    monkeypatch.undo()
    assert list_names(f"{s3_url}/folder") == []


@pytest.mark.parametrize("request_to", REQUESTS)
def test_an_unreachable_endpoint_is_named_soon(s3_url, request_to, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9 cannot be reached") as error:
        request_to(f"{s3_url}/a")
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 20


def test_a_listing_of_more_than_one_page_is_whole(s3_url):
    names = [f"shard-{number:09d}" for number in range(1005)]
    folder = f"{s3_url}/many/{uuid.uuid4().hex}"
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda name: put_new(f"{folder}/{name}", b""), names))
    assert list_names(folder) == names


def test_spawned_workers_read_from_s3(s3_url):
    url = f"{s3_url}/{uuid.uuid4().hex}"
    write_corpus(url)
    corpus = Corpus(url)
    corpus.samples_mv([0])  # the parent's connection must not be what the workers use
    dataset = EcgDataset(corpus, seed=0, batch_size=4)
    loader = DataLoader(dataset, batch_size=4, num_workers=2, multiprocessing_context="spawn")
    assert sorted(row for batch in loader for row in batch["row"].tolist()) == list(corpus.rows)


def test_a_forked_process_makes_its_own_connection(s3_url):
    put_new(f"{s3_url}/forked/a", b"parent")
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is the point
        child = context.Process(target=_put_in_child, args=(f"{s3_url}/forked/b",))
        child.start()
    child.join(60)
    assert child.exitcode == 0
    assert read_object(f"{s3_url}/forked/b") == b"child"


def _put_in_child(url: str) -> None:
    put_new(url, b"child")


def test_a_store_that_goes_away_is_not_called_damage(s3_url, monkeypatch):
    url = f"{s3_url}/{uuid.uuid4().hex}"
    write_corpus(url)
    corpus = Corpus(url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for request in (lambda: corpus.samples_mv([0]), lambda: verify(url)):
        with pytest.raises(StoreError, match="cannot be reached") as error:
            request()
        assert not isinstance(error.value, DamageError)


def test_no_keys_at_all_are_asked_for(s3_url, monkeypatch, tmp_path):
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        list_names(f"{s3_url}/a")
