"""How long, and how often, an S3 store is asked: by variables of the environment."""

import pytest

from ecgtwin.errors import StoreError
from ecgtwin.store.s3 import storage_options


def test_timeouts_and_tries_are_those_of_the_environment(monkeypatch):
    usual = storage_options()["config_kwargs"]
    assert (usual["connect_timeout"], usual["read_timeout"]) == (4, 30)
    assert usual["retries"]["total_max_attempts"] == 3
    monkeypatch.setenv("ECGTWIN_S3_CONNECT_TIMEOUT_S", "0.5")
    monkeypatch.setenv("ECGTWIN_S3_READ_TIMEOUT_S", "120")
    monkeypatch.setenv("ECGTWIN_S3_TRIES", "7")
    asked = storage_options()["config_kwargs"]
    assert (asked["connect_timeout"], asked["read_timeout"]) == (0.5, 120)
    assert asked["retries"]["total_max_attempts"] == 7


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("ECGTWIN_S3_READ_TIMEOUT_S", "soon", "number"),
        ("ECGTWIN_S3_READ_TIMEOUT_S", "nan", "number"),
        ("ECGTWIN_S3_CONNECT_TIMEOUT_S", "0", "number"),
        ("ECGTWIN_S3_CONNECT_TIMEOUT_S", "inf", "number"),
        ("ECGTWIN_S3_TRIES", "1.5", "whole number"),
        ("ECGTWIN_S3_TRIES", "-1", "whole number"),
    ],
)
def test_other_values_are_refused_by_name(monkeypatch, name, value, kind):
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=f"{name} is '{value}'; set a {kind} above 0, or unset it"):
        storage_options()
