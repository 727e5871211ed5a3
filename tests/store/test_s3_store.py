"""The store's laws on an S3 server: moto, or Ceph RGW through scripts/rgw.sh."""

import os
import time

import pytest

from ecgtwin.errors import StoreError
from ecgtwin.store.commit import put_new
from ecgtwin.store.objects import list_names, object_exists, read_object, replace_object
from tests.store.contract import StoreContract

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


def test_no_keys_at_all_are_asked_for(s3_url, monkeypatch, tmp_path):
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        list_names(f"{s3_url}/a")
