"""The S3 connection: one file system per process, and its failures as one clear line each."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ecgtwin.errors import StoreError

# Each by a variable of the environment, for a store that is slower, or one that fails on purpose.
CONNECT_TIMEOUT_S = ("ECGTWIN_S3_CONNECT_TIMEOUT_S", 4.0)  # three tries stay below 20 s
READ_TIMEOUT_S = ("ECGTWIN_S3_READ_TIMEOUT_S", 30.0)
TRIES = ("ECGTWIN_S3_TRIES", 3)  # of a request that failed on the way

_KEY_CODES = {
    "403", "AccessDenied", "ExpiredToken", "Forbidden", "InvalidAccessKeyId", "InvalidToken",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
_SETTINGS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
    CONNECT_TIMEOUT_S[0], READ_TIMEOUT_S[0], TRIES[0],
)  # fmt: skip

# The connection stood, so that the request may have arrived.
_BROKEN_OFF = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED)

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")

_open: dict[tuple[str | None, ...], Any] = {}


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket and a key inside it."""

    bucket: str
    key: str

    @classmethod
    def of(cls, url: str) -> "S3Location":
        """Split ``s3://bucket/key``."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        if not bucket:
            raise StoreError(f"{url}: names no bucket; write s3://bucket/folder")
        if not _BUCKET.fullmatch(bucket):
            raise StoreError(
                f"{url}: {bucket!r} cannot be a bucket's name; allowed are letters, digits, '.', "
                "'-' and '_': correct the URL"
            )
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def endpoint_url() -> str | None:
    """Return the endpoint set in the environment; None means AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def storage_options() -> dict[str, Any]:
    """Return what s3fs needs: bounded waiting, no cached listings, plain PUTs off AWS."""
    config: dict[str, Any] = {
        "connect_timeout": _setting(*CONNECT_TIMEOUT_S),
        "read_timeout": _setting(*READ_TIMEOUT_S),
        "retries": {"mode": "standard", "total_max_attempts": int(_setting(*TRIES))},
    }
    if endpoint_url():
        config["request_checksum_calculation"] = "when_required"
        config["response_checksum_validation"] = "when_required"
        config["s3"] = {"addressing_style": "path"}
    return {
        "endpoint_url": endpoint_url(),
        "config_kwargs": config,
        "use_listings_cache": False,
        "skip_instance_cache": True,
    }


def _setting(name: str, default: float) -> float:
    given = os.environ.get(name)
    if given is None:
        return default
    try:
        value = type(default)(given)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        kind = "whole number" if isinstance(default, int) else "number"
        raise StoreError(f"{name} is {given!r}; set a {kind} above 0, or unset it")
    return value


def filesystem(*, asynchronous: bool = False) -> Any:  # noqa: ANN401  (s3fs has no types)
    """Return this process's s3fs file system for the present environment.

    A forked or spawned process gets its own: sockets and event loops do not survive a fork.
    """
    import s3fs

    settings = (str(os.getpid()), str(asynchronous), *map(os.environ.get, _SETTINGS))
    if settings not in _open:
        made = s3fs.S3FileSystem(asynchronous=asynchronous, **storage_options())
        made.retries = 2  # s3fs adds these to cover a body that breaks off
        _open[settings] = made
    return _open[settings]


def error_code(error: BaseException | None) -> str:
    """Return the S3 error code somewhere behind ``error``, or an empty string."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


def was_never_sent(error: BaseException | None) -> bool:
    """Say whether ``error`` comes from before a request left: no connection, no keys."""
    from botocore.exceptions import ConnectionError as Unconnected
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError

    while error is not None:
        if isinstance(error, Unconnected):
            return not _was_broken_off(error)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return True
        error = error.__cause__
    return False


def _was_broken_off(error: Exception) -> bool:
    """Say whether the connection stood: botocore calls its end a failure to connect, too."""
    cause = getattr(error, "kwargs", {}).get("error")
    return isinstance(cause, ConnectionResetError) or getattr(cause, "errno", 0) in _BROKEN_OFF


@contextmanager
def s3_errors(place: S3Location) -> Iterator[None]:
    """Turn the failures of a request about ``place`` into one-line errors that say what to do.

    A missing key stays FileNotFoundError.
    """
    from botocore.exceptions import BotoCoreError
    from s3fs.core import S3_RETRYABLE_ERRORS  # a body that breaks off is of no other class

    try:
        yield
    except StoreError:
        raise
    except (OSError, BotoCoreError, ValueError, *S3_RETRYABLE_ERRORS) as error:
        code = error_code(error)
        if code == "NoSuchKey":
            raise FileNotFoundError(str(place)) from error
        raise StoreError(_explain(place, code, error)) from error


def _explain(place: S3Location, code: str, error: Exception) -> str:
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError

    where = endpoint_url() or "AWS"
    if code == "NoSuchBucket":
        return f"bucket {place.bucket!r} does not exist at {where}; create it, or correct the URL"
    if code in _KEY_CODES or isinstance(error, PermissionError):
        return (
            f"{where} refused the keys for bucket {place.bucket!r} ({code or error}); check "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's permissions"
        )
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return (
            f"no S3 keys for bucket {place.bucket!r} at {where}; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    said = " ".join(str(error).split())
    if code:
        return f"{where} answered {code} for {place} ({said}); check that it is an S3 endpoint"
    if was_never_sent(error) or isinstance(error, TimeoutError):
        return (
            f"{where} cannot be reached for bucket {place.bucket!r} ({said}); "
            "check AWS_ENDPOINT_URL and the network"
        )
    return f"{where} failed for {place} ({said}); check the AWS_* settings"
